//! Users' connections, what proxies count of them, and what is kept of that on nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Model;
use crate::facts::{Connections, Question};
use crate::names;

/// What proxies tell of what they have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Telling {
    #[default]
    Counts,
    /// They do not count which connections fail.
    Nothing,
    /// They do not answer.
    Silence,
}

#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Connections that each node makes in a step.
    pub busy: u64,
    /// Revisions whose proxies fail one in ten of them.
    pub failing: BTreeSet<String>,
    pub telling: Telling,
    /// What proxies have counted, by uid.
    pub counted: BTreeMap<String, Connections>,
}

impl Traffic {
    pub(super) fn answers(&self) -> Result<bool, String> {
        match self.telling {
            Telling::Silence => Err("nobody answers".to_owned()),
            Telling::Counts | Telling::Nothing => Ok(true),
        }
    }
}

impl Model {
    /// Users' connections of a step: through the proxy that has the newest connection to the agent, while it is ready.
    pub(super) fn connect(&mut self) {
        let Traffic {
            busy,
            failing,
            counted,
            ..
        } = &mut self.traffic;
        let proxies = self.facts.pods.values().filter(|pod| pod.ready);
        for pod in proxies.filter(|pod| self.mesh.newest(&pod.node) == Some(pod.name.as_str())) {
            let before = counted.entry(pod.uid.clone()).or_default();
            let tried = before.tried() + *busy;
            let revision = pod.labels.get(names::REVISION_LABEL);
            let fails = revision.is_some_and(|one| failing.contains(one));
            let failed = before.failed() + if fails { *busy / 10 } else { 0 };
            *before = Connections::new(tried, failed);
        }
    }

    /// What the proxy that is asked has counted.
    pub(super) fn counts(&self, question: &Question) -> Option<Connections> {
        let Question::Counts { pod, .. } = question else {
            return None;
        };
        let pod = self.facts.pods.get(pod)?;
        let counted = self.traffic.counted.get(&pod.uid).copied();
        (self.traffic.telling == Telling::Counts).then(|| counted.unwrap_or_default())
    }

    pub fn annotate(&mut self, name: &str, key: &str, value: Option<&str>) {
        let mut node = self.facts.nodes[name].as_ref().clone();
        match value {
            Some(value) => node.annotations.insert(key.to_owned(), value.to_owned()),
            None => node.annotations.remove(key),
        };
        node.resource_version = self.next();
        self.facts.nodes.insert(name.to_owned(), Arc::new(node));
    }
}
