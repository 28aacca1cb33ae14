//! What a cluster does by itself: controllers and kubelets, a step at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Model, Object, is_agent, is_proxy, is_puller};
use crate::facts::{Live, Node, ObjectKey, Pod, fingerprint};
use crate::names;
use crate::plan::NodeRules;

impl Model {
    /// One step of what the cluster does by itself; which one is chosen by `choice`.
    pub fn step(&mut self, choice: u8) {
        self.now = self
            .now
            .checked_add(jiff::SignedDuration::from_secs(2))
            .unwrap();
        self.note_flight();
        self.connect();
        match choice % 8 {
            0 => self.establish(),
            1 => self.observe(),
            2 => self.deploy(),
            3 => self.schedule(),
            4 => self.facts.root_config_map |= self.deployed(),
            5 => {
                self.start_one(choice);
                self.start_probes();
            }
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
        for (key, live) in &mut self.facts.objects {
            let seen = Arc::make_mut(live);
            let generation = seen.generation;
            seen.body["status"]["observedGeneration"] = json!(generation);
            if key.kind == "DaemonSet" {
                self.seen.insert(key.clone(), live.clone());
            }
        }
    }

    fn deployed(&self) -> bool {
        self.facts
            .pods_with("app", names::ISTIOD)
            .any(|pod| pod.ready)
    }

    /// The Deployment controller: one pod for all replicas. What is broken never gets ready.
    fn deploy(&mut self) {
        let deployments: Vec<ObjectKey> = self
            .facts
            .objects
            .keys()
            .filter(|key| key.kind == "Deployment")
            .cloned()
            .collect();
        for pod in self.facts.pods.values_mut() {
            let is_istiod = pod.labels.get("app").map(String::as_str) == Some(names::ISTIOD);
            let is_owned = |key: &ObjectKey| pod.name.starts_with(&format!("{}-", key.name));
            if is_istiod && !deployments.iter().any(is_owned) {
                Arc::make_mut(pod).deleting = true;
            }
        }
        for key in deployments {
            let name = format!("{}-5d4-x", key.name);
            if self.facts.pods.get(&name).is_some_and(|pod| pod.deleting) {
                continue;
            }
            if self.refused.contains(&key.name) && !self.facts.pods.contains_key(&name) {
                let mut live = self.facts.objects[&key].as_ref().clone();
                let known = live.body.pointer("/status/conditions/0/lastTransitionTime");
                let since = known
                    .cloned()
                    .unwrap_or_else(|| json!(self.now.to_string()));
                live.body["status"] = json!({
                    "observedGeneration": live.generation,
                    "conditions": [{
                        "type": "ReplicaFailure", "status": "True", "lastTransitionTime": since,
                        "message": "exceeded quota: few",
                    }],
                });
                self.facts.objects.insert(key.clone(), Arc::new(live));
                continue;
            }
            let works = !self.broken.contains(&key.name);
            let lacks = i32::from(self.lacking.contains(&key.name));
            let up = if works { 2 - lacks } else { 0 };
            let uid = self.next();
            let mut live = self.facts.objects[&key].as_ref().clone();
            live.body["status"] = json!({
                "observedGeneration": live.generation, "replicas": 2,
                "updatedReplicas": 2, "availableReplicas": up, "readyReplicas": up,
            });
            self.facts.objects.insert(key.clone(), Arc::new(live));
            let created = Some(self.now);
            let pod = self.facts.pods.entry(name.clone()).or_insert_with(|| {
                Arc::new(Pod {
                    name,
                    uid,
                    created,
                    labels: BTreeMap::from([("app".to_owned(), names::ISTIOD.to_owned())]),
                    ..Pod::default()
                })
            });
            Arc::make_mut(pod).ready = works;
        }
    }

    /// The DaemonSet controller: pods on nodes that match, none on nodes that do not, strategy OnDelete.
    fn schedule(&mut self) {
        self.seen
            .retain(|key, _| self.facts.objects.contains_key(key));
        for (key, live) in &self.facts.objects {
            if key.kind == "DaemonSet" && !self.seen.contains_key(key) {
                self.seen.insert(key.clone(), live.clone());
            }
        }
        let sets = self.seen.clone();
        let leaving: Vec<String> =
            self.facts
                .pods
                .values()
                .filter(|pod| pod.labels.get("app").map(String::as_str) != Some(names::ISTIOD))
                .filter(|pod| {
                    !sets.iter().any(|(key, live)| {
                        pod.name.starts_with(&format!("{}.", key.name))
                            && self.facts.nodes.get(&pod.node).is_some_and(|node| {
                                matches(live, node) && tolerates(live, node, true)
                            })
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
            if self.refused.contains(&key.name) {
                continue;
            }
            let takes = |node: &&Arc<Node>| matches(live, node) && tolerates(live, node, false);
            for node in nodes.iter().filter(takes) {
                let name = format!("{}.{}", key.name, node.name);
                if self.facts.pods.contains_key(&name) {
                    continue;
                }
                let template = &live.body["spec"]["template"]["metadata"];
                let mut labels: BTreeMap<String, String> =
                    serde_json::from_value(template["labels"].clone()).unwrap();
                let made = &live.body["spec"]["template"];
                let revision = format!("{:016x}", fingerprint(made));
                (self.facts.templates)
                    .entry(format!("{}-{revision}", key.name))
                    .or_insert_with(|| Arc::new(made.clone()));
                labels.insert("controller-revision-hash".to_owned(), revision);
                let pod = Pod {
                    uid: self.next(),
                    created: Some(self.now),
                    node: node.name.clone(),
                    labels,
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
            .filter(|pod| !pod.ready && !pod.deleting && !pod.node.is_empty())
            .filter(|pod| {
                let revision = pod.labels.get(names::REVISION_LABEL);
                let hash = pod.template_hash.as_ref();
                let is_broken = revision.is_some_and(|revision| self.broken.contains(revision))
                    || is_agent(pod) && hash.is_some_and(|hash| self.broken.contains(hash));
                if is_puller(pod) {
                    !self.stuck.contains(&pod.node)
                } else {
                    !is_broken
                }
            })
            // A proxy is ready when an agent has sent it the full list.
            .filter(|pod| is_agent(pod) || is_puller(pod) || self.has_agent(&pod.node))
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
        pod.pulled = true;
        pod.ready = true;
        pod.ready_since = Some(self.now);
        if is_agent(&pod) {
            // Whoever has not stood down connects, in no certain order.
            let mut proxies: Vec<String> = self
                .facts
                .pods
                .values()
                .filter(|one| one.node == pod.node && one.ready && is_proxy(one))
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
        } else if is_proxy(&pod) {
            self.mesh.connect(&pod.node, name);
        }
        self.facts.pods.insert(name.clone(), Arc::new(pod));
    }

    /// A pod of the probe is there, on the node that its affinity names.
    pub(super) fn place(&mut self, object: &Object) {
        let name = object.key.name.clone();
        let field = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields/0/values/0";
        let node = object.manifest.body.pointer(field);
        let node = node.and_then(Value::as_str).unwrap().to_owned();
        assert!(self.facts.nodes.contains_key(&node), "{name} is nowhere");
        let pod = Pod {
            uid: self.next(),
            created: Some(self.now),
            name: name.clone(),
            node,
            ..Pod::default()
        };
        self.facts.probes.insert(name, Arc::new(pod));
    }

    fn start_probes(&mut self) {
        let now = self.now;
        for pod in self.facts.probes.values_mut() {
            let pod = Arc::make_mut(pod);
            if let Some(trouble) = self.unprobed.get(&pod.node) {
                pod.trouble.clone_from(trouble);
            } else if !pod.ready
                && self
                    .facts
                    .nodes
                    .get(&pod.node)
                    .is_some_and(|node| node.ready)
            {
                pod.ready = true;
                pod.ready_since = Some(now);
                pod.address = Some("10.0.0.1".to_owned());
            }
        }
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
}

/// A pod is placed in spite of the node's taints; or stays, which it does with every taint but those with `NoExecute`.
fn tolerates(live: &Live, node: &Node, stays: bool) -> bool {
    let mut node = node.clone();
    node.taints.retain(|one| !stays || one.2 == "NoExecute");
    NodeRules::of(live).is_none_or(|rules| {
        let tolerations = NodeRules {
            selector: Vec::new(),
            ..rules
        };
        tolerations.lack(&node).is_none()
    })
}

fn matches(live: &Live, node: &Node) -> bool {
    let selector = NodeRules::of(live).map(|rules| rules.selector);
    let is_selected = |one: &(String, String)| node.labels.get(&one.0) == Some(&one.1);
    if !selector.unwrap_or_default().iter().all(is_selected) {
        return false;
    }
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
