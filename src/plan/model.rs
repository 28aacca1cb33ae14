//! A cluster as a model: acts change it at once, controllers and kubelets in steps of a seeded order. Enough to show that
//! plans converge whatever happens in between.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Act, Bundle, Object, Phase, Plan, Target, plan};
use crate::api::v1alpha1::LogLevel;
use crate::blueprint::Blueprint;
use crate::desired::crds;
use crate::facts::{
    Answer, Definition, Evidence, Facts, Live, Node, ObjectKey, Pod, Question, fingerprint,
};
use crate::names;

/// A blueprint as small as it gets.
pub fn blueprint(log_level: LogLevel, agent_level: LogLevel) -> Blueprint {
    use crate::blueprint::{Agent, ControlPlane, Images, NodeProxy, Owner, Release};
    let image = |name: &str| format!("{name}:1");
    Blueprint {
        owner: Owner {
            name: "east".to_owned(),
            uid: "u".to_owned(),
        },
        network: "east".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        mtls: crate::api::v1alpha1::Mtls::Permissive,
        release: Release {
            version: crate::catalogue::Version::new(1, 6, 0),
            istio: crate::catalogue::Version::new(1, 31, 0),
        },
        images: Images {
            istiod: image("pilot"),
            cni: image("install-cni"),
            ztunnel: image("applink"),
            waypoint: image("proxyv2"),
        },
        pull_secrets: Vec::new(),
        platform: crate::platform::Platform::Vanilla,
        families: crate::blueprint::IpFamilies::V4,
        node_selector: BTreeMap::new(),
        tolerations: vec![k8s_openapi::api::core::v1::Toleration {
            operator: Some("Exists".to_owned()),
            ..Default::default()
        }],
        ztunnel: NodeProxy {
            log_level,
            ..NodeProxy::default()
        },
        cni: Agent {
            log_level: agent_level,
            ..Agent::default()
        },
        control_plane: ControlPlane::default(),
        waypoint: crate::blueprint::WaypointDefaults::default(),
    }
}

/// A definition of the folder.
fn definition(name: &str) -> crds::Bundled {
    let document = json!({
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {"group": "networking.istio.io", "versions": [{"name": "v1"}]},
    });
    crds::definition("f", document, None).unwrap().unwrap()
}

/// The model.
#[derive(Clone)]
pub struct Model {
    pub facts: Facts,
    pub bundle: Bundle,
    pub now: Timestamp,
    /// Nodes that were without a ready proxy although the mesh was installed, the most at a time.
    pub most_silent: usize,
    /// Every act that was carried out.
    pub acts: Vec<Act>,
    counter: u64,
}

impl Model {
    pub fn new(nodes: usize) -> Self {
        let mut bundle = Bundle::default();
        bundle.push(definition("sidecars.networking.istio.io"));
        let mut model = Self {
            facts: Facts::default(),
            bundle,
            now: Timestamp::from_second(1_000_000).unwrap(),
            most_silent: 0,
            acts: Vec::new(),
            counter: 0,
        };
        for index in 0..nodes {
            model.add_node(&format!("node-{index}"));
        }
        model
    }

    pub fn add_node(&mut self, name: &str) {
        let uid = self.next();
        let node = Node {
            name: name.to_owned(),
            uid: uid.clone(),
            resource_version: uid,
            ready: true,
            os: "linux".to_owned(),
            arch: "amd64".to_owned(),
            ..Node::default()
        };
        self.facts.nodes.insert(name.to_owned(), Arc::new(node));
    }

    pub fn remove_node(&mut self, name: &str) {
        self.facts.nodes.remove(name);
        self.facts.pods.retain(|_, pod| pod.node != name);
    }

    pub fn set_ready(&mut self, name: &str, ready: bool) {
        let mut node = self.facts.nodes[name].as_ref().clone();
        node.ready = ready;
        self.facts.nodes.insert(name.to_owned(), Arc::new(node));
    }

    fn next(&mut self) -> String {
        self.counter += 1;
        self.counter.to_string()
    }

    /// Plans, and carries out the first `most` acts: then the operator is killed.
    pub fn operate(&mut self, target: &Target, phase: Phase, most: usize) -> Plan {
        let plan = plan(&self.facts, target, &self.bundle, phase, self.now);
        for act in plan.acts.iter().take(most) {
            self.act(act);
        }
        plan
    }

    fn act(&mut self, act: &Act) {
        self.acts.push(act.clone());
        match act {
            Act::Apply(object) => self.apply(object),
            Act::Define(wanted) => {
                for name in wanted {
                    let entry = self
                        .bundle
                        .entries
                        .iter()
                        .find(|entry| entry.bundled.manifest.name == *name)
                        .unwrap();
                    let meta = &entry.bundled.manifest.body["metadata"];
                    let texts = |value: &Value| -> BTreeMap<String, String> {
                        serde_json::from_value(value.clone()).unwrap_or_default()
                    };
                    let definition = Definition {
                        labels: texts(&meta["labels"]),
                        annotations: texts(&meta["annotations"]),
                        served: vec!["v1".to_owned()],
                        stored: vec!["v1".to_owned()],
                        ..Definition::default()
                    };
                    self.facts
                        .definitions
                        .insert(name.clone(), Arc::new(definition));
                }
            }
            Act::Delete { key, uid } => {
                if self
                    .facts
                    .objects
                    .get(key)
                    .is_some_and(|live| live.uid == *uid)
                {
                    self.facts.objects.remove(key);
                }
            }
            Act::DeletePod { name, uid, .. } => {
                if self.facts.pods.get(name).is_some_and(|pod| pod.uid == *uid) {
                    self.facts.pods.remove(name);
                }
            }
            Act::LabelNode {
                name,
                value,
                resource_version,
            } => {
                let version = self.next();
                let mut node = self.facts.nodes[name].as_ref().clone();
                assert_eq!(
                    node.resource_version, *resource_version,
                    "a node patch is fenced"
                );
                match value {
                    Some(value) => node
                        .labels
                        .insert(names::NODE_ZTUNNEL_LABEL.to_owned(), value.clone()),
                    None => node.labels.remove(names::NODE_ZTUNNEL_LABEL),
                };
                node.resource_version = version;
                self.facts.nodes.insert(name.clone(), Arc::new(node));
            }
            Act::Exclude { key, revisions, .. } => {
                let version = self.next();
                let mut live = self.facts.objects[key].as_ref().clone();
                let patch = super::exclusion(&live, revisions).unwrap();
                live.body["spec"]["template"]["spec"]["affinity"] =
                    patch["spec"]["template"]["spec"]["affinity"].clone();
                live.resource_version = version;
                live.generation += 1;
                self.facts.objects.insert(key.clone(), Arc::new(live));
            }
            Act::Ask(question) => self.answer(question),
            Act::Unenrol { .. } | Act::Release(_) => {}
        }
    }

    fn answer(&mut self, question: &Question) {
        let answer = Answer {
            at: self.now,
            seen: Ok(Evidence {
                good: true,
                text: "well".to_owned(),
            }),
            failures: 0,
        };
        self.facts.answers.insert(question.clone(), answer);
    }

    fn apply(&mut self, object: &Object) {
        let uid = self.next();
        let mut body = object.manifest.body.clone();
        let (uid, generation) = match self.facts.objects.get(&object.key) {
            Some(live) => {
                body["status"] = live.body["status"].clone();
                let changed = live.body["spec"] != body["spec"];
                (live.uid.clone(), live.generation + i64::from(changed))
            }
            None => (uid, 1),
        };
        let live = Live {
            uid,
            resource_version: self.next(),
            generation,
            deleting: false,
            digest: fingerprint(&body),
            body,
        };
        self.facts
            .objects
            .insert(object.key.clone(), Arc::new(live));
    }

    /// One step of what the cluster does by itself; which one is chosen by `choice`.
    pub fn step(&mut self, choice: u8) {
        self.now = self
            .now
            .checked_add(jiff::SignedDuration::from_secs(5))
            .unwrap();
        match choice % 6 {
            0 => self.establish(),
            1 => self.observe(),
            2 => self.deploy(),
            3 => self.schedule(),
            4 => self.facts.root_config_map |= self.deployed(),
            _ => self.start_one(choice),
        }
    }

    fn establish(&mut self) {
        for definition in self.facts.definitions.values_mut() {
            Arc::make_mut(definition).established = true;
        }
    }

    fn observe(&mut self) {
        for live in self.facts.objects.values_mut() {
            let live = Arc::make_mut(live);
            let generation = live.generation;
            live.body["status"]["observedGeneration"] = json!(generation);
        }
    }

    fn deployed(&self) -> bool {
        self.facts
            .pods_with("app", names::ISTIOD)
            .any(|pod| pod.ready)
    }

    /// The Deployment controller.
    fn deploy(&mut self) {
        let deployments: Vec<ObjectKey> = self
            .facts
            .objects
            .keys()
            .filter(|key| key.kind == "Deployment")
            .cloned()
            .collect();
        for key in deployments {
            let uid = self.next();
            let mut live = self.facts.objects[&key].as_ref().clone();
            live.body["status"] = json!({
                "observedGeneration": live.generation, "replicas": 2,
                "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2,
            });
            self.facts.objects.insert(key.clone(), Arc::new(live));
            let name = format!("{}-5d4-x", key.name);
            self.facts.pods.entry(name.clone()).or_insert_with(|| {
                Arc::new(Pod {
                    name,
                    uid,
                    ready: true,
                    labels: BTreeMap::from([("app".to_owned(), names::ISTIOD.to_owned())]),
                    ..Pod::default()
                })
            });
        }
    }

    /// The DaemonSet controller: pods on nodes that match, none on nodes that do not, strategy OnDelete.
    fn schedule(&mut self) {
        let sets: Vec<(ObjectKey, Live)> = self
            .facts
            .objects
            .iter()
            .filter(|(key, _)| key.kind == "DaemonSet")
            .map(|(key, live)| (key.clone(), live.as_ref().clone()))
            .collect();
        self.facts.pods.retain(|_, pod| {
            pod.labels.get("app").map(String::as_str) == Some(names::ISTIOD)
                || sets.iter().any(|(key, live)| {
                    pod.name.starts_with(&format!("{}.", key.name))
                        && self
                            .facts
                            .nodes
                            .get(&pod.node)
                            .is_some_and(|node| matches(live, node))
                })
        });
        let nodes: Vec<Arc<Node>> = self.facts.nodes.values().cloned().collect();
        for (key, live) in &sets {
            for node in nodes.iter().filter(|node| matches(live, node)) {
                let name = format!("{}.{}", key.name, node.name);
                if self.facts.pods.contains_key(&name) {
                    continue;
                }
                let template = &live.body["spec"]["template"]["metadata"];
                let pod = Pod {
                    uid: self.next(),
                    node: node.name.clone(),
                    labels: serde_json::from_value(template["labels"].clone()).unwrap(),
                    template_hash: template["annotations"][names::TEMPLATE_HASH_ANNOTATION]
                        .as_str()
                        .map(str::to_owned),
                    name: name.clone(),
                    ..Pod::default()
                };
                self.facts.pods.insert(name, Arc::new(pod));
            }
        }
    }

    /// A kubelet: one pod on a Ready node becomes ready.
    fn start_one(&mut self, choice: u8) {
        let waiting: Vec<String> = self
            .facts
            .pods
            .values()
            .filter(|pod| !pod.ready)
            .filter(|pod| {
                self.facts
                    .nodes
                    .get(&pod.node)
                    .is_some_and(|node| node.ready)
            })
            .map(|pod| pod.name.clone())
            .collect();
        if waiting.is_empty() {
            return;
        }
        let name = &waiting[usize::from(choice / 6) % waiting.len()];
        let mut pod = self.facts.pods[name].as_ref().clone();
        pod.ready = true;
        self.facts.pods.insert(name.clone(), Arc::new(pod));
    }

    /// Ready nodes whose proxy or agent does not run.
    pub fn silent(&self) -> Vec<&str> {
        self.facts
            .nodes
            .values()
            .filter(|node| node.ready)
            .filter(|node| {
                let runs = |label: &'static str, value: &'static str| {
                    self.facts
                        .pods_with(label, value)
                        .any(|pod| pod.node == node.name && pod.ready)
                };
                !runs("app", names::ZTUNNEL) || !runs("k8s-app", names::CNI_DAEMON_SET)
            })
            .map(|node| node.name.as_str())
            .collect()
    }

    pub fn note_silence(&mut self) {
        self.most_silent = self.most_silent.max(self.silent().len());
    }

    /// Everything runs as the target says, and nothing else is left.
    pub fn is_at(&self, target: &Target) -> bool {
        let sets: Vec<&str> = super::rollout::daemon_sets(&self.facts)
            .map(|(key, _)| key.name.as_str())
            .collect();
        sets == [target.daemon_set.as_str()]
            && self.silent().is_empty()
            && self
                .facts
                .nodes
                .values()
                .all(|node| !node.labels.contains_key(names::NODE_ZTUNNEL_LABEL))
            && self
                .facts
                .pods_with("k8s-app", names::CNI_DAEMON_SET)
                .all(|pod| pod.template_hash.as_deref() == Some(&target.agent_hash))
            && self
                .facts
                .pods_with("app", names::ZTUNNEL)
                .all(|pod| pod.labels[names::REVISION_LABEL] == target.revision.as_str())
    }
}

fn matches(live: &Live, node: &Node) -> bool {
    let carried = node
        .labels
        .get(names::NODE_ZTUNNEL_LABEL)
        .map(String::as_str);
    let terms = &live.body["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        ["nodeSelectorTerms"][0]["matchExpressions"];
    terms.as_array().into_iter().flatten().all(|term| {
        if term["key"] != names::NODE_ZTUNNEL_LABEL {
            return true;
        }
        let listed = term["values"]
            .as_array()
            .is_some_and(|values| values.iter().any(|value| value.as_str() == carried));
        listed == (term["operator"] == "In")
    })
}
