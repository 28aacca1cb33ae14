//! Labels and taints of ours on nodes that are not on their way, or not any longer.

use super::act::{Act, Plan};
use super::fleet::{Proxies, daemon_sets};
use super::target::NodeRules;
use crate::api::conditions::Reason;
use crate::facts::{Facts, Node};
use crate::names;
use crate::status::Wait;

/// Labels and taints that mean nothing once only one `DaemonSet` is left, as soon as its controller is known to have seen
/// that it needs none. Returns what is waited for meanwhile.
#[must_use]
pub(super) fn tidy(facts: &Facts, plan: &mut Plan) -> Option<Wait> {
    if daemon_sets(facts).count() > 1 {
        return None;
    }
    let left = clean(facts);
    if left.is_empty() {
        return None;
    }
    let wait = daemon_sets(facts).find_map(|set| Proxies::of(set).unobserved(Reason::Finish));
    if wait.is_none() {
        plan.acts.extend(left);
    }
    wait
}

/// Takes our taint and our label off every node that has one.
pub fn clean(facts: &Facts) -> Vec<Act> {
    let marked = facts.nodes.values().filter_map(|node| unmark(node));
    marked.collect()
}

fn unmark(node: &Node) -> Option<Act> {
    let label = node.labels.get(names::NODE_ZTUNNEL_LABEL).map(|_| None);
    let taint = node.is_moving().then_some(false);
    (label.is_some() || taint.is_some()).then(|| Act::MarkNode {
        name: node.name.clone(),
        label,
        baseline: None,
        taint,
        resource_version: node.resource_version.clone(),
    })
}

/// The taint of nodes that have left the mesh on their way: nothing of ours runs there, so no tour comes past them.
pub(super) fn strangers(facts: &Facts, plan: &mut Plan) {
    let left =
        (facts.nodes.values()).filter(|node| node.is_moving() && !NodeRules::can_carry(node));
    plan.acts.extend(left.map(|node| Act::MarkNode {
        name: node.name.clone(),
        label: None,
        baseline: None,
        taint: Some(false),
        resource_version: node.resource_version.clone(),
    }));
}
