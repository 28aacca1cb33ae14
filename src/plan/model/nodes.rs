//! What befalls nodes, and what runs on them.

use std::sync::Arc;

use super::Model;
use crate::facts::{Mode, Node, PodMeta, Question};
use crate::names;

impl Model {
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
        self.facts.probes.retain(|_, pod| pod.node != name);
        self.mesh.forget(name);
    }

    /// Something of a node is changed by somebody else.
    pub fn change(&mut self, name: &str, change: impl FnOnce(&mut Node)) {
        let mut node = self.facts.nodes[name].as_ref().clone();
        change(&mut node);
        node.resource_version = self.next();
        self.facts.nodes.insert(name.to_owned(), Arc::new(node));
    }

    /// Somebody taints a node.
    pub fn taint(&mut self, name: &str, key: &str, effect: &str) {
        let taint = (key.to_owned(), String::new(), effect.to_owned());
        self.change(name, |node| node.taints.push(taint));
    }

    /// Somebody takes a taint off.
    pub fn untaint(&mut self, name: &str, key: &str) {
        self.change(name, |node| node.taints.retain(|one| one.0 != key));
    }

    pub fn label(&mut self, name: &str, key: &str, value: &str) {
        self.change(name, |node| {
            node.labels.insert(key.to_owned(), value.to_owned());
        });
    }

    /// Every pod of a node ends at once, and is made anew.
    pub fn reboot(&mut self, name: &str) {
        self.facts.pods.retain(|_, pod| pod.node != name);
        self.mesh.forget(name);
    }

    pub fn set_ready(&mut self, name: &str, ready: bool) {
        let mut node = self.facts.nodes[name].as_ref().clone();
        node.ready = ready;
        if !ready {
            self.lost.insert(name.to_owned());
        }
        self.facts.nodes.insert(name.to_owned(), Arc::new(node));
    }

    /// Whoever is asked does not answer.
    pub(super) fn is_unanswered(&self, question: &Question) -> bool {
        let is_asked = |pod: &str, node: &str| {
            let revision = self.facts.pods.get(pod).and_then(|pod| {
                let revision = pod.labels.get(names::REVISION_LABEL);
                revision.filter(|one| self.silent.contains(*one))
            });
            revision.is_some() || self.cut.contains(node)
        };
        match question {
            Question::Proxy { pod, node, .. }
            | Question::StandDown { pod, node, .. }
            | Question::Counts { pod, node, .. } => is_asked(pod, node),
            Question::Probe { pods, .. } => {
                pods[..2].iter().any(|one| self.cut.contains(&one.node))
            }
            _ => false,
        }
    }

    /// What the shell forgets when it asks a proxy to take a new connection. Only where that is looked at: it asks seconds
    /// apart and plans in between, while here every step may ask.
    pub(super) fn forget(&mut self, question: &Question) {
        if let Question::Proxy {
            node,
            pod,
            reconnect: true,
            ..
        } = question
            && self.is_forgetful
        {
            (self.facts.answers).retain(|one, _| !one.is_over_by(node, pod));
        }
    }

    /// An enrolled pod of this controller runs on a node.
    pub fn run(&mut self, node: &str, controller: u64) {
        let on_node = self.replicas.entry(node.to_owned()).or_default();
        *on_node.entry(controller).or_default() += 1;
        let pod = PodMeta {
            mode: Mode::Ambient,
            controller: Some(controller),
            ..PodMeta::default()
        };
        let place = ("shop".to_owned(), self.next());
        self.facts.workloads.insert(place, pod.into());
    }
}
