//! What a model is judged by.

use super::Model;
use crate::names;
use crate::plan::{Target, fleet, planes, waypoints};

impl Model {
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
        let sets: Vec<&str> = fleet::daemon_sets(&self.facts)
            .map(|(key, _)| key.name.as_str())
            .collect();
        let istiods: Vec<&str> = self
            .facts
            .objects
            .keys()
            .filter(|key| key.kind == "Deployment")
            .map(|key| key.name.as_str())
            .collect();
        let release = planes::slug(target);
        sets == [target.daemon_set.as_str()]
            && istiods == [target.istiod.as_str()]
            && planes::default_release(&self.facts) == Some(&release)
            && planes::strangers(&self.facts, &[release]).is_empty()
            && waypoints::pins(&self.facts).next().is_none()
            && self.silent().is_empty()
            && self.mesh.orphans() == 0
            && self.facts.probes.is_empty()
            && !self.facts.nodes.values().any(|node| node.is_moving())
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
