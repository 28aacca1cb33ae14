//! A cluster as a model: acts change it at once, controllers and kubelets in steps of a seeded order. Enough to show that
//! plans converge whatever happens in between.

mod mesh;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Act, Bundle, Object, Orders, Phase, Plan, Target, Targets, plan};
use crate::api::v1alpha1::LogLevel;
use crate::blueprint::Blueprint;
use crate::desired::crds;
use crate::facts::{
    Accepted, Answer, Definition, Evidence, Facts, Live, Node, ObjectKey, Pod, Question,
    fingerprint,
};
use crate::names;
use mesh::Mesh;

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
    /// How rollouts go.
    pub orders: Orders,
    /// Who serves which pods.
    pub mesh: Mesh,
    /// Hashes and revisions whose pods never get ready.
    pub broken: BTreeSet<String>,
    /// The most nodes that were in flight at a time.
    pub most_in_flight: usize,
    /// Nodes that were not ready at some time: one that is lost in flight comes back beside those that began meanwhile.
    pub lost: BTreeSet<String>,
    /// Nodes without room.
    pub full: BTreeSet<String>,
    /// Nodes with pods that wait for their sandbox.
    pub crowded: BTreeSet<String>,
    counter: u64,
}

impl Model {
    pub fn new(nodes: usize) -> Self {
        let bundle = Bundle::of(vec![definition("sidecars.networking.istio.io")]);
        let mut model = Self {
            facts: Facts::default(),
            bundle,
            now: Timestamp::from_second(1_000_000).unwrap(),
            most_silent: 0,
            acts: Vec::new(),
            orders: Orders::default(),
            mesh: Mesh::default(),
            broken: BTreeSet::new(),
            most_in_flight: 0,
            lost: BTreeSet::new(),
            full: BTreeSet::new(),
            crowded: BTreeSet::new(),
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
        self.mesh.forget(name);
    }

    pub fn label(&mut self, name: &str, key: &str, value: &str) {
        let mut node = self.facts.nodes[name].as_ref().clone();
        node.labels.insert(key.to_owned(), value.to_owned());
        node.resource_version = self.next();
        self.facts.nodes.insert(name.to_owned(), Arc::new(node));
    }

    /// Every pod of a node ends at once, and is made anew.
    pub fn reboot(&mut self, name: &str) {
        self.facts.pods.retain(|_, pod| pod.node != name);
        self.mesh.forget(name);
    }

    /// A pod of a node component dies.
    pub fn kill(&mut self, pick: usize) {
        let on_nodes: Vec<String> = self
            .facts
            .pods
            .values()
            .filter(|pod| !pod.node.is_empty())
            .map(|pod| pod.name.clone())
            .collect();
        if !on_nodes.is_empty() {
            self.end(&on_nodes[pick % on_nodes.len()]);
        }
    }

    pub fn end(&mut self, name: &str) {
        let Some(pod) = self.facts.pods.remove(name) else {
            return;
        };
        if is_agent(&pod) {
            self.mesh.disconnect(&pod.node);
        } else {
            self.mesh.remove(&pod.node, name);
        }
    }

    /// The agent of a node is ready.
    fn has_agent(&self, node: &str) -> bool {
        self.facts
            .pods
            .values()
            .any(|pod| pod.node == node && pod.ready && is_agent(pod))
    }

    pub fn set_ready(&mut self, name: &str, ready: bool) {
        let mut node = self.facts.nodes[name].as_ref().clone();
        node.ready = ready;
        if !ready {
            self.lost.insert(name.to_owned());
        }
        self.facts.nodes.insert(name.to_owned(), Arc::new(node));
    }

    fn next(&mut self) -> String {
        self.counter += 1;
        self.counter.to_string()
    }

    /// Plans, and carries out the first `most` acts: then the operator is killed.
    pub fn operate(&mut self, targets: &Targets, phase: Phase, most: usize) -> Plan {
        let mut plan = plan(
            &self.facts,
            targets,
            &self.orders,
            &self.bundle,
            phase,
            self.now,
        );
        if let Some(failed) = plan.failed.as_ref().filter(|_| most > 0) {
            // What the shell does first: the failure is in status before anything is taken back.
            self.orders.failed = Some(failed.to_string());
            plan.acts.clear();
            return plan;
        }
        for act in plan.acts.iter().take(most) {
            self.act(act);
            self.note_flight();
        }
        plan
    }

    fn note_flight(&mut self) {
        let in_flight = self
            .facts
            .nodes
            .values()
            .filter(|node| node.ready && !self.lost.contains(&node.name))
            .filter(|node| {
                let label = node.labels.get(names::NODE_ZTUNNEL_LABEL);
                super::passage::is_tainted(node)
                    || label.is_some_and(|label| label.ends_with(".moving"))
            })
            .count();
        self.most_in_flight = self.most_in_flight.max(in_flight);
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
                assert_ne!(key.name, names::CNI_DAEMON_SET, "the agent is never absent");
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
                if let Some(pod) = self.facts.pods.get(name).filter(|pod| pod.uid == *uid) {
                    let node = pod.node.clone();
                    let is_draining = self
                        .facts
                        .pods
                        .values()
                        .any(|one| one.node == node && one.deleting && !is_agent(one));
                    assert!(!is_draining, "two components of {node} in disruption");
                    self.end(name);
                }
            }
            Act::MarkNode {
                name,
                label,
                taint,
                resource_version,
            } => self.mark(name, label.as_ref(), *taint, resource_version),
            Act::PassCanary { key, .. } => {
                let version = self.next();
                let mut live = self.facts.objects[key].as_ref().clone();
                live.body["metadata"]["annotations"][names::CANARY_ANNOTATION] = json!("Passed");
                live.resource_version = version;
                self.facts.objects.insert(key.clone(), Arc::new(live));
            }
            Act::Exclude { key, revisions, .. } => {
                let version = self.next();
                let mut live = self.facts.objects[key].as_ref().clone();
                let patch = super::exclusion(&live, revisions).unwrap();
                live.body["spec"]["template"]["spec"]["affinity"] =
                    patch["spec"]["template"]["spec"]["affinity"].clone();
                live.resource_version = version;
                live.generation += 1;
                live.digest = live.digest.wrapping_add(1);
                self.facts.objects.insert(key.clone(), Arc::new(live));
            }
            Act::Ask(question) => self.answer(question),
            Act::Unenrol { .. } | Act::Release(_) => {}
        }
    }

    fn mark(
        &mut self,
        name: &str,
        label: Option<&Option<String>>,
        taint: Option<bool>,
        resource_version: &str,
    ) {
        let version = self.next();
        let mut node = self.facts.nodes[name].as_ref().clone();
        assert_eq!(
            node.resource_version, resource_version,
            "a node patch is fenced"
        );
        let key = names::NODE_ZTUNNEL_LABEL;
        let before = node.labels.get(key).cloned();
        match label {
            Some(Some(value)) => {
                node.labels.insert(key.to_owned(), value.clone());
            }
            Some(None) => {
                node.labels.remove(key);
            }
            None => {}
        }
        let sets: Vec<&str> = super::fleet::daemon_sets(&self.facts)
            .map(|(key, _)| key.name.as_str())
            .collect();
        if let Some(label) = label.filter(|label| **label != before && sets.len() > 1) {
            let is_middle = |label: &Option<String>| {
                label
                    .as_ref()
                    .is_some_and(|label| label.ends_with(".moving"))
            };
            let is_known = |label: &Option<String>| {
                label.as_ref().is_none_or(|label| {
                    let revision = label.trim_end_matches(".moving");
                    sets.iter().any(|set| set.ends_with(revision))
                })
            };
            assert!(
                is_middle(label) || is_middle(&before) || !is_known(&before),
                "from {before:?} to {label:?} in one patch"
            );
        }
        node.taints
            .retain(|(key, ..)| taint.is_none() || key != names::MOVING_TAINT);
        if taint == Some(true) {
            let effect = "NoSchedule".to_owned();
            node.taints
                .push((names::MOVING_TAINT.to_owned(), String::new(), effect));
        }
        node.resource_version = version;
        self.facts.nodes.insert(name.to_owned(), Arc::new(node));
        // Answers from before the last change say nothing.
        self.facts
            .answers
            .retain(|question, _| question.node() != Some(name));
    }

    fn answer(&mut self, question: &Question) {
        let seen = match question {
            Question::ControlPlane { .. } => Ok(true),
            Question::Room { node, .. } => Ok(!self.full.contains(node)),
            Question::Sandboxes { node, .. } => Ok(!self.crowded.contains(node)),
            Question::StandDown { node, pod, .. } => {
                self.mesh.stand_down(node, pod);
                Ok(true)
            }
            Question::Proxy {
                node,
                pod,
                reconnect,
                ..
            } => {
                let again = self
                    .facts
                    .answers
                    .get(question)
                    .is_some_and(|answer| !answer.is_good());
                if (again || *reconnect) && self.has_agent(node) {
                    self.mesh.reconnect(node, pod);
                    if let Some(pod) = self.facts.pods.get_mut(pod) {
                        Arc::make_mut(pod).ready = true;
                    }
                }
                Ok(self.mesh.missing(node, pod) == 0)
            }
        };
        let seen = seen.map(|good| Evidence {
            good,
            text: if good { "well" } else { "not all" }.to_owned(),
        });
        let answer = Answer::after(self.facts.answers.get(question), self.now, seen);
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
        let accepted = Accepted {
            sent: object.sent,
            digest: live.digest,
        };
        self.facts.accepted.insert(object.key.clone(), accepted);
        self.facts
            .objects
            .insert(object.key.clone(), Arc::new(live));
    }

    /// One step of what the cluster does by itself; which one is chosen by `choice`.
    pub fn step(&mut self, choice: u8) {
        self.now = self
            .now
            .checked_add(jiff::SignedDuration::from_secs(2))
            .unwrap();
        self.note_flight();
        match choice % 8 {
            0 => self.establish(),
            1 => self.observe(),
            2 => self.deploy(),
            3 => self.schedule(),
            4 => self.facts.root_config_map |= self.deployed(),
            5 => self.start_one(choice),
            6 => self.end_one(),
            _ => self.workload(choice),
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
        let leaving: Vec<String> = self
            .facts
            .pods
            .values()
            .filter(|pod| pod.labels.get("app").map(String::as_str) != Some(names::ISTIOD))
            .filter(|pod| {
                !sets.iter().any(|(key, live)| {
                    pod.name.starts_with(&format!("{}.", key.name))
                        && self
                            .facts
                            .nodes
                            .get(&pod.node)
                            .is_some_and(|node| matches(live, node))
                })
            })
            .map(|pod| pod.name.clone())
            .collect();
        for name in leaving {
            if let Some(pod) = self.facts.pods.get_mut(&name) {
                Arc::make_mut(pod).deleting = true;
            }
        }
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
                    created: Some(self.now),
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
            .filter(|pod| !pod.ready && !pod.deleting)
            .filter(|pod| {
                let revision = pod.labels.get(names::REVISION_LABEL);
                let hash = pod.template_hash.as_ref();
                let is_broken = revision.is_some_and(|revision| self.broken.contains(revision))
                    || is_agent(pod) && hash.is_some_and(|hash| self.broken.contains(hash));
                !is_broken
            })
            // A proxy is ready when an agent has sent it the full list.
            .filter(|pod| is_agent(pod) || self.has_agent(&pod.node))
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
        let name = &waiting[usize::from(choice / 8) % waiting.len()];
        let mut pod = self.facts.pods[name].as_ref().clone();
        pod.ready = true;
        pod.ready_since = Some(self.now);
        if is_agent(&pod) {
            // Whoever has not stood down connects, in no certain order.
            let mut proxies: Vec<String> = self
                .facts
                .pods
                .values()
                .filter(|one| one.node == pod.node && one.ready && !is_agent(one))
                .map(|one| one.name.clone())
                .collect();
            if choice.is_multiple_of(16) {
                proxies.reverse();
            }
            for proxy in proxies {
                if self.mesh.stands_down(&pod.node, &proxy) {
                    let mut lost = self.facts.pods[&proxy].as_ref().clone();
                    lost.ready = false;
                    self.facts.pods.insert(proxy, Arc::new(lost));
                } else {
                    self.mesh.connect(&pod.node, &proxy);
                }
            }
        } else {
            self.mesh.connect(&pod.node, name);
        }
        self.facts.pods.insert(name.clone(), Arc::new(pod));
    }

    /// A proxy that was told to end has ended.
    fn end_one(&mut self) {
        let ending = self
            .facts
            .pods
            .values()
            .find(|pod| {
                let node = self.facts.nodes.get(&pod.node);
                pod.deleting && node.is_none_or(|node| node.ready)
            })
            .map(|pod| pod.name.clone());
        if let Some(name) = ending {
            self.end(&name);
        }
    }

    /// An enrolled pod starts or ends somewhere.
    fn workload(&mut self, choice: u8) {
        let names: Vec<String> = self.facts.nodes.keys().cloned().collect();
        let Some(node) = names.get(usize::from(choice / 16) % names.len().max(1)) else {
            return;
        };
        if choice.is_multiple_of(5) {
            self.mesh.delete(node);
        } else if self.has_agent(node) {
            self.mesh.create(node);
        }
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
        let sets: Vec<&str> = super::fleet::daemon_sets(&self.facts)
            .map(|(key, _)| key.name.as_str())
            .collect();
        sets == [target.daemon_set.as_str()]
            && self.silent().is_empty()
            && self.mesh.orphans() == 0
            && !self
                .facts
                .nodes
                .values()
                .any(|node| super::passage::is_tainted(node))
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

fn is_agent(pod: &Pod) -> bool {
    pod.labels.get("k8s-app").map(String::as_str) == Some(names::CNI_DAEMON_SET)
}
