//! A cluster as a model: acts change it at once, controllers and kubelets in steps of a seeded order. Enough to show that
//! plans converge whatever happens in between.

mod controllers;
mod fixtures;
mod gateways;
mod look;
mod mesh;
mod nodes;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Act, Bundle, Object, Orders, Phase, Plan, Targets, plan, planes};
use crate::api::v1alpha1::OnFailure;
use crate::facts::{
    Accepted, Answer, Definition, Evidence, Facts, Live, NamespaceFact, ObjectKey, Pod, Question,
    Replicas, Trouble, fingerprint,
};
use crate::names;
pub use fixtures::blueprint;
use fixtures::definition;
use gateways::Gateways;
use mesh::Mesh;
pub use traffic::Telling;
use traffic::Traffic;

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
    /// Deployments that lack a replica, which no node takes.
    pub lacking: BTreeSet<String>,
    /// Deployments whose istiods are ready and sign nothing.
    pub mute: BTreeSet<String>,
    /// The most nodes that were in flight at a time.
    pub most_in_flight: usize,
    /// Nodes that were not ready at some time: one that is lost in flight comes back beside those that began meanwhile.
    pub lost: BTreeSet<String>,
    /// Revisions whose proxies get ready and refuse connections.
    pub refusing: BTreeSet<String>,
    /// What users do, and what proxies count of it.
    pub traffic: Traffic,
    /// Nodes on which a pod of the probe does not start, and what keeps it; nothing known where it is empty.
    pub unprobed: BTreeMap<String, Option<Trouble>>,
    /// `DaemonSets` and Deployments of which no pod can be made.
    pub refused: BTreeSet<String>,
    /// Nodes that pull no image.
    pub stuck: BTreeSet<String>,
    /// Nodes without room.
    pub full: BTreeSet<String>,
    /// Enrolled pods by node and by their controller.
    pub replicas: BTreeMap<String, Replicas>,
    /// Nodes with pods that wait for their sandbox.
    pub crowded: BTreeSet<String>,
    /// What users have written on Gateways.
    pub gateways: Gateways,
    /// Revisions whose proxies get ready and answer nobody who asks them.
    pub silent: BTreeSet<String>,
    /// Nodes that report themselves as ready and on which nobody can be asked.
    pub cut: BTreeSet<String>,
    /// What others of a node said is forgotten when a proxy is asked to take a new connection.
    pub is_forgetful: bool,
    /// `DaemonSets` as their controller has seen them: it learns of a changed one later than of a node's label, as the
    /// two come by watches of their own.
    seen: BTreeMap<ObjectKey, Arc<Live>>,
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
            lacking: BTreeSet::new(),
            mute: BTreeSet::new(),
            most_in_flight: 0,
            lost: BTreeSet::new(),
            full: BTreeSet::new(),
            replicas: BTreeMap::new(),
            crowded: BTreeSet::new(),
            refusing: BTreeSet::new(),
            traffic: Traffic::default(),
            unprobed: BTreeMap::new(),
            refused: BTreeSet::new(),
            stuck: BTreeSet::new(),
            gateways: Gateways::default(),
            silent: BTreeSet::new(),
            cut: BTreeSet::new(),
            is_forgetful: false,
            seen: BTreeMap::new(),
            counter: 0,
        };
        let mode = (
            names::DATAPLANE_MODE_LABEL.to_owned(),
            names::DATAPLANE_MODE_AMBIENT.to_owned(),
        );
        let space = NamespaceFact {
            labels: BTreeMap::from([mode]),
            ..NamespaceFact::default()
        };
        let name = names::PROBE_NAMESPACE.to_owned();
        model.facts.namespaces.insert(name, space.into());
        for index in 0..nodes {
            model.add_node(&format!("node-{index}"));
        }
        model
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

    fn next(&mut self) -> String {
        self.counter += 1;
        self.counter.to_string()
    }

    /// Plans, and carries out the first `most` acts: then the operator is killed.
    pub fn operate(&mut self, targets: &Targets, phase: Phase, most: usize) -> Plan {
        self.facts.gaps = self.facts.gaps.seen(&self.facts, self.now);
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
            if self.orders.strategy.on_failure == OnFailure::Rollback {
                self.orders.failed = Some(failed.to_string());
                plan.acts.clear();
                return plan;
            }
            self.orders.halted.get_or_insert_with(|| failed.to_string());
        }
        let mut marked = BTreeSet::new();
        for act in &plan.acts {
            if let Act::MarkNode { name, .. } = act {
                assert!(marked.insert(name), "marked twice: {:?}", plan.acts);
            }
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
                node.is_moving() || label.is_some_and(|label| label.ends_with(".moving"))
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
            Act::Place(object) => self.place(object),
            Act::Delete { key, uid } if key.kind == "Pod" => {
                (self.facts.probes).retain(|name, pod| *name != key.name || pod.uid != *uid);
            }
            Act::Delete { key, uid } => {
                assert_ne!(key.name, names::CNI_DAEMON_SET, "the agent is never absent");
                self.check_needs(key);
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
                        .any(|one| one.node == node && one.deleting && is_proxy(one));
                    assert!(!is_draining, "two components of {node} in disruption");
                    self.end(name);
                }
            }
            Act::MarkNode {
                name,
                label,
                baseline,
                taint,
                resource_version,
            } => {
                self.mark(name, label.as_ref(), *taint, resource_version);
                if label.is_some() {
                    self.annotate(name, names::BASELINE_ANNOTATION, baseline.as_deref());
                }
            }
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
            Act::Pin { .. } => self.pin(act),
            Act::Ask(question) => self.answer(question),
            Act::Touch(_) | Act::Unenrol { .. } | Act::Release(_) | Act::Forget { .. } => {}
        }
    }

    /// Nothing of a control plane goes that a proxy or an unlabelled object needs.
    fn check_needs(&self, key: &ObjectKey) {
        let body = &self.facts.objects[key].body;
        let release = &body["metadata"]["labels"][names::ISTIO_REVISION_LABEL];
        let Some(release) = release.as_str() else {
            return;
        };
        assert_ne!(key.name, names::DEFAULT_VALIDATOR, "it moves");
        assert!(!planes::is_used(&self.facts, release), "{key} is used");
        assert_ne!(planes::default_release(&self.facts), Some(release), "{key}");
        self.check_gateways(release);
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
        let is_cleared = label.is_none_or(Option::is_none) && taint != Some(true);
        assert!(node.ready || is_cleared, "{name} is moved while it is away");
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
        node.marked = Some(self.now);
        self.facts.nodes.insert(name.to_owned(), Arc::new(node));
        // Answers from before the last change say nothing.
        self.facts
            .answers
            .retain(|question, _| question.node() != Some(name));
    }

    fn answer(&mut self, question: &Question) {
        self.forget(question);
        let replicas = match question {
            Question::Room { node, .. } => self.replicas.get(node).cloned().unwrap_or_default(),
            _ => Replicas::new(),
        };
        let seen = match question {
            _ if self.is_unanswered(question) => Err("no answer within 5 s".to_owned()),
            Question::ControlPlane { pod, .. } => {
                Ok(!self.mute.iter().any(|name| pod.starts_with(name)))
            }
            Question::Probe { node, pods, .. } => {
                assert!(self.facts.probes.contains_key(&pods[0].pod));
                let is_refused = |pod: &&Pod| {
                    let revision = pod.labels.get(names::REVISION_LABEL);
                    pod.node == *node && revision.is_some_and(|one| self.refusing.contains(one))
                };
                Ok(self
                    .facts
                    .pods_with("app", names::ZTUNNEL)
                    .find(is_refused)
                    .is_none())
            }
            Question::Counts { .. } => self.traffic.answers(),
            Question::Vacant { node, .. } => Ok(self.mesh.is_vacant(node)),
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
                let is_ours = super::fleet::daemon_sets(&self.facts)
                    .map(super::fleet::Proxies::of)
                    .filter(|one| pod.starts_with(&format!("{}.", one.key.name)))
                    .all(|one| one.is_applink());
                let again = self
                    .facts
                    .answers
                    .get(question)
                    .is_some_and(|answer| !answer.is_good());
                if is_ours && (again || *reconnect) && self.has_agent(node) {
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
            counted: self.counts(question),
            replicas,
            ..Evidence::default()
        });
        let answer = Answer::after(self.facts.answers.get(question), self.now, seen);
        self.facts.answers.insert(question.clone(), answer);
    }

    fn apply(&mut self, object: &Object) {
        let uid = self.next();
        let mut body = object.manifest.body.clone();
        body["metadata"]["creationTimestamp"] = json!(self.now.to_string());
        let (uid, generation) = match self.facts.objects.get(&object.key) {
            Some(live) => {
                body["metadata"]["creationTimestamp"] =
                    live.body["metadata"]["creationTimestamp"].clone();
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
}

fn is_agent(pod: &Pod) -> bool {
    pod.labels.get("k8s-app").map(String::as_str) == Some(names::CNI_DAEMON_SET)
}

fn is_proxy(pod: &Pod) -> bool {
    pod.labels.get("app").map(String::as_str) == Some(names::ZTUNNEL)
}

fn is_puller(pod: &Pod) -> bool {
    pod.labels.get("app").map(String::as_str) == Some(names::PREPULL)
}
