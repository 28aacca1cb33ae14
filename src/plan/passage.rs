//! One node on its way: where it is, what it lacks, what is due on it now. Who finds that out is the judge.

use std::collections::BTreeMap;

use super::act::Act;
use super::gate::Failed;
use super::way::Place;
use crate::facts::{Facts, Node, Pod, Question};
use crate::names;

/// What happens on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nothing yet.
    Settled,
    /// Its network agent is being replaced, or does not run.
    Agent,
    /// Its new proxy starts.
    Proxy,
    /// Both proxies run; the one that stays takes over.
    Overlap,
    /// The proxy that leaves lets its connections end.
    Leaving,
    /// The proxy that stays is alone, and is asked what it serves.
    Verifying,
    /// It serves, and is watched.
    Soaking,
    /// Done.
    Done,
}

/// Whether a node may be worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flight {
    /// It waits for its turn.
    Waiting,
    /// It has begun, and is not done.
    Moving,
    /// It is not as it should be, and nobody's work on it is the reason.
    Ailing,
    /// It is done.
    Done,
    /// It is left alone for now.
    Aside(&'static str),
}

/// Why a node is set aside that carries a proxy and gets none any longer.
pub(super) const NOT_COVERED: &str = "NodeNotCovered";

/// A change of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The label to carry; `Some(None)` removes it.
    pub label: Option<Option<String>>,
    /// What the proxy that leaves with this label has counted.
    pub baseline: Option<String>,
    /// Whether to carry the taint.
    pub taint: Option<bool>,
}

/// One node.
#[derive(Clone, Debug)]
pub(super) struct Passage<'a> {
    pub node: &'a Node,
    pub place: Place,
    pub stage: Stage,
    pub flight: Flight,
    /// It carries our taint.
    pub tainted: bool,
    /// What is due on it.
    pub mark: Option<Mark>,
    /// Agents that are to be replaced now.
    pub stale: Vec<&'a Pod>,
    /// Agents made from another template than wanted, whether or not it is their turn.
    pub other_agents: Vec<&'a Pod>,
    /// No agent of the wanted template is there yet.
    pub lacks_agent: bool,
    /// Its probe is to be placed before the settled proxy may go.
    pub lacks_probe: bool,
    /// What is waited for.
    pub told: String,
    /// What is wrong with a pod of it.
    pub trouble: Option<(&'a Pod, String)>,
    pub failed: Option<Failed>,
    /// What it was done by: may be asked once more.
    pub proof: Option<Question>,
}

impl<'a> Passage<'a> {
    /// A node that waits for its turn, of whose pods nothing is known.
    pub fn waiting(node: &'a Node, place: Place) -> Self {
        Self {
            node,
            place,
            stage: Stage::Settled,
            flight: Flight::Waiting,
            tainted: node.is_moving(),
            mark: None,
            stale: Vec::new(),
            other_agents: Vec::new(),
            lacks_agent: false,
            lacks_probe: false,
            told: "it waits for its turn".to_owned(),
            trouble: None,
            failed: None,
            proof: None,
        }
    }

    /// The patch that is due.
    pub fn act(&self, mark: &Mark) -> Act {
        Act::MarkNode {
            name: self.node.name.clone(),
            label: mark.label.clone(),
            baseline: mark.baseline.clone(),
            taint: mark.taint,
            resource_version: self.node.resource_version.clone(),
        }
    }
}

/// Pods of the node components by node.
pub(super) type Pods<'a> = BTreeMap<&'a str, (Vec<&'a Pod>, Vec<&'a Pod>)>;

/// Agents and proxies of each node.
pub(super) fn pods(facts: &Facts) -> Pods<'_> {
    let mut pods = Pods::new();
    for pod in facts.pods_with("k8s-app", names::CNI_DAEMON_SET) {
        pods.entry(pod.node.as_str()).or_default().0.push(pod);
    }
    for pod in facts.pods_with("app", names::ZTUNNEL) {
        pods.entry(pod.node.as_str()).or_default().1.push(pod);
    }
    pods
}
