//! Pods that nobody makes: a node asks for one by its label or taint, and there is none.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Facts;
use crate::names;

/// Since when marked nodes lack the pod that a `DaemonSet` should have made there, as far as this process has seen.
///
/// A pod that is replaced is missing for a moment, too. How long a node has asked for it is told by the node itself:
/// [`Node::marked`](super::Node::marked).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gaps(BTreeMap<(String, String), Timestamp>);

impl Gaps {
    /// Since when a node lacks the pod of this `DaemonSet`.
    pub fn since(&self, node: &str, daemon_set: &str) -> Option<Timestamp> {
        let key = (node.to_owned(), daemon_set.to_owned());
        self.0.get(&key).copied()
    }

    /// What is missing now. Pods that end are still there: the next one is made when they have ended.
    #[must_use]
    pub fn seen(&self, facts: &Facts, now: Timestamp) -> Self {
        let label = |node: &super::Node| node.labels.get(names::NODE_ZTUNNEL_LABEL).cloned();
        let marked: Vec<_> = facts
            .nodes
            .values()
            .map(|node| (&node.name, label(node), node.is_moving()))
            .filter(|(_, label, is_moving)| label.is_some() || *is_moving)
            .collect();
        if marked.is_empty() {
            return Self::default();
        }
        let agents: BTreeSet<&str> = facts
            .pods_with("k8s-app", names::CNI_DAEMON_SET)
            .map(|pod| pod.node.as_str())
            .collect();
        let proxies: BTreeSet<(&str, &str)> = facts
            .pods_with("app", names::ZTUNNEL)
            .filter_map(|pod| {
                let revision = pod.labels.get(names::REVISION_LABEL)?;
                Some((pod.node.as_str(), revision.as_str()))
            })
            .collect();
        let mut gaps = BTreeMap::new();
        let mut lacks = |node: &str, daemon_set: String| {
            let key = (node.to_owned(), daemon_set);
            let since = self.0.get(&key).copied().unwrap_or(now);
            gaps.insert(key, since);
        };
        for (node, label, _) in &marked {
            if !agents.contains(node.as_str()) {
                lacks(node, names::CNI_DAEMON_SET.to_owned());
            }
            let revision = label.as_deref().map(names::revision_of);
            if let Some(revision) = revision.filter(|one| !proxies.contains(&(node, one))) {
                lacks(node, names::proxies(revision));
            }
        }
        Self(gaps)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::facts::{Node, Pod};

    #[test]
    fn a_gap_counts_from_when_it_was_seen_first_and_ends_with_the_pod() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let node = |name: &str, label: Option<&str>| Node {
            name: name.to_owned(),
            labels: label
                .map(|label| (names::NODE_ZTUNNEL_LABEL.to_owned(), label.to_owned()))
                .into_iter()
                .collect(),
            ..Node::default()
        };
        let mut facts = Facts::default();
        for one in [node("a", Some("1-6-0-abcdef.moving")), node("b", None)] {
            facts.nodes.insert(one.name.clone(), Arc::new(one));
        }
        let gaps = Gaps::default().seen(&facts, at(10)).seen(&facts, at(20));
        for set in ["ztunnel-1-6-0-abcdef", "istio-cni-node"] {
            assert_eq!(gaps.since("a", set), Some(at(10)), "{set}");
            assert_eq!(gaps.since("b", set), None, "nobody asks for it");
        }
        let pod = Pod {
            name: "z".to_owned(),
            node: "a".to_owned(),
            labels: [
                ("app", names::ZTUNNEL),
                (names::REVISION_LABEL, "1-6-0-abcdef"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
            ..Pod::default()
        };
        facts.pods.insert("z".to_owned(), Arc::new(pod));
        let gaps = gaps.seen(&facts, at(30));
        assert_eq!(gaps.since("a", "ztunnel-1-6-0-abcdef"), None);
        facts.pods.clear();
        let gaps = gaps.seen(&facts, at(40));
        assert_eq!(gaps.since("a", "ztunnel-1-6-0-abcdef"), Some(at(40)));
        assert_eq!(gaps.since("a", "istio-cni-node"), Some(at(10)));
    }
}
