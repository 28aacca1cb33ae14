//! A change of what runs on nodes, under traffic: one node at a time, by one patch of its label.
//!
//! The settled `DaemonSet` is kept off nodes with the arriving revision's label before the first label is written; the
//! arriving one runs only there. On a node the agent goes first, passes its gate, then the label moves. When every node
//! is done the arriving `DaemonSet` becomes the one for all, the others are deleted, then the labels go.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::act::{Act, Plan};
use super::nodes::{self, Expected, NodeView, Stage};
use super::target::Target;
use crate::api::conditions::{Reason, Step};
use crate::facts::{Facts, Live, Node, ObjectKey};
use crate::health;
use crate::names;
use crate::status::Wait;

/// Where a `DaemonSet` says on which nodes it runs.
const TERMS: &str = "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchExpressions";

/// Every proxy `DaemonSet` of ours.
pub(super) fn daemon_sets(facts: &Facts) -> impl Iterator<Item = (&ObjectKey, &Live)> {
    facts
        .objects
        .iter()
        .map(|(key, live)| (key, live.as_ref()))
        .filter(|(key, live)| {
            key.kind == "DaemonSet"
                && live
                    .body
                    .pointer("/metadata/labels/app")
                    .and_then(Value::as_str)
                    == Some(names::ZTUNNEL)
        })
}

/// What runs on nodes is not what should.
pub(super) fn is_needed(facts: &Facts, target: &Target) -> bool {
    let agent = facts.object(&agent_key()).is_some_and(|live| {
        annotation(live, names::TEMPLATE_HASH_ANNOTATION) != Some(&target.agent_hash)
    });
    let stale = facts
        .pods_with("k8s-app", names::CNI_DAEMON_SET)
        .filter(|pod| !pod.deleting)
        .filter(|pod| {
            facts
                .nodes
                .get(&pod.node)
                .is_some_and(|node| target.rules.supports(node))
        })
        .any(|pod| pod.template_hash.as_deref() != Some(&target.agent_hash));
    agent
        || stale
        || daemon_sets(facts).any(|(key, live)| key.name != target.daemon_set && !live.deleting)
}

fn agent_key() -> ObjectKey {
    ObjectKey::in_system("DaemonSet", names::CNI_DAEMON_SET)
}

fn annotation<'a>(live: &'a Live, key: &str) -> Option<&'a str> {
    live.body
        .get("metadata")?
        .get("annotations")?
        .get(key)?
        .as_str()
}

/// Labels that mean nothing once only one `DaemonSet` is left.
pub(super) fn tidy(facts: &Facts, plan: &mut Plan) {
    if daemon_sets(facts).count() > 1 {
        return;
    }
    plan.acts.extend(
        facts
            .nodes
            .values()
            .filter(|node| node.labels.contains_key(names::NODE_ZTUNNEL_LABEL))
            .map(|node| label(node, None)),
    );
}

fn label(node: &Node, value: Option<&str>) -> Act {
    Act::LabelNode {
        name: node.name.clone(),
        value: value.map(str::to_owned),
        resource_version: node.resource_version.clone(),
    }
}

/// Revisions a `DaemonSet` is bound to; empty when it runs by default.
fn bound_to(live: &Live) -> BTreeSet<&str> {
    expressions(live, "In")
}

fn kept_off(live: &Live) -> BTreeSet<&str> {
    expressions(live, "NotIn")
}

fn expressions<'a>(live: &'a Live, operator: &str) -> BTreeSet<&'a str> {
    live.body
        .pointer(TERMS)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|one| one["key"] == names::NODE_ZTUNNEL_LABEL && one["operator"] == operator)
        .filter_map(|one| one["values"].as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// The merge patch that keeps a `DaemonSet` off nodes with these revisions; `None` when it has no such list.
pub fn exclusion(live: &Live, revisions: &[String]) -> Option<Value> {
    let mut list: Vec<Value> = live
        .body
        .pointer(TERMS)?
        .as_array()?
        .iter()
        .filter(|one| one["key"] != names::NODE_ZTUNNEL_LABEL)
        .cloned()
        .collect();
    list.push(json!({"key": names::NODE_ZTUNNEL_LABEL, "operator": "NotIn", "values": revisions}));
    Some(json!({
        "metadata": {"resourceVersion": live.resource_version},
        "spec": {"template": {"spec": {"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": list}]}
        }}}}},
    }))
}

/// Moves nodes to the target, one at a time.
pub(super) fn move_nodes(facts: &Facts, target: &Target, mut plan: Plan, now: Timestamp) -> Plan {
    let others: Vec<(&ObjectKey, &Live)> = daemon_sets(facts)
        .filter(|(key, live)| key.name != target.daemon_set && !live.deleting)
        .collect();
    let own_key = ObjectKey::in_system("DaemonSet", &target.daemon_set);
    let own = facts.object(&own_key).filter(|live| !live.deleting);
    let is_default = |live: &Live| bound_to(live).is_empty();
    let is_settled = own.is_some_and(is_default) && !others.is_empty();
    // The end was begun and not finished: the target runs everywhere already, the others are still to be deleted.
    let finishing = is_settled && others.iter().any(|(_, live)| is_default(live));
    // Back to the one that is settled still: its nodes are those without a label.
    let returning = is_settled && !finishing;
    super::apply(facts, &target.agent, &mut plan);
    if others.is_empty() {
        super::apply(facts, &target.proxy, &mut plan);
        tidy(facts, &mut plan);
    } else if !is_settled {
        if let Some(wait) = make_room(target, &others, &mut plan) {
            return plan.waiting(Step::Nodes, wait);
        }
        super::apply(facts, &target.arriving, &mut plan);
    }
    let label_to_carry = if others.is_empty() || finishing {
        None
    } else if returning {
        Some(None)
    } else {
        Some(Some(target.revision.as_str()))
    };
    let expected = Expected {
        label: label_to_carry,
        beside_others: finishing,
    };
    let mut views = nodes::views(facts, target, expected);
    for view in &mut views {
        if matches!(view.stage, Stage::Old | Stage::AgentDone) && is_changing(facts, view.node) {
            view.stage = Stage::Proxy;
        }
    }
    let mut ready_to_move = BTreeSet::new();
    for view in &mut views {
        if nodes::judge(facts, view, &mut plan, now) && view.stage == Stage::AgentDone {
            ready_to_move.insert(view.node.name.clone());
        }
    }
    plan.nodes = Some(nodes::summary(facts, target, &views));
    if plan
        .acts
        .iter()
        .any(|act| matches!(act, Act::Apply(object) if object.key.kind == "DaemonSet"))
    {
        return plan.waiting(
            Step::Nodes,
            Wait {
                reason: Reason::Nodes,
                object: own_key.to_string(),
                message: "it is being applied".to_owned(),
            },
        );
    }
    let active: Vec<&NodeView> = views
        .iter()
        .filter(|view| view.set_aside.is_none() && view.stage != Stage::Done)
        .collect();
    if active.is_empty() {
        return finish(facts, target, &others, &views, plan);
    }
    // Never two nodes in disruption: what has begun comes first.
    let begun = active
        .iter()
        .find(|view| !matches!(view.stage, Stage::Old | Stage::AgentDone))
        .or_else(|| active.iter().find(|view| view.stage == Stage::AgentDone));
    let view = begun.unwrap_or(&active[0]);
    match view.stage {
        // An agent that does not run anyway is replaced without asking.
        Stage::Old | Stage::Agent => plan
            .acts
            .extend(view.stale_agents.iter().map(|pod| Act::delete_pod(pod))),
        Stage::AgentDone if ready_to_move.contains(&view.node.name) => {
            plan.acts.push(label(view.node, label_to_carry.flatten()));
        }
        // A node without a proxy has nothing to lose.
        Stage::Proxy if !view.moved => {
            plan.acts.push(label(view.node, label_to_carry.flatten()));
        }
        _ => {}
    }
    let wait = view.wait(target);
    plan.waiting(Step::Nodes, wait)
}

/// The node's label was changed a moment ago: it does not carry yet what its label says.
fn is_changing(facts: &Facts, node: &Node) -> bool {
    let carried = node
        .labels
        .get(names::NODE_ZTUNNEL_LABEL)
        .map(String::as_str);
    let bound = daemon_sets(facts)
        .find(|(_, live)| carried.is_some_and(|carried| bound_to(live).contains(carried)));
    let mut by_default = daemon_sets(facts).filter(|(_, live)| {
        bound_to(live).is_empty()
            && !carried.is_some_and(|carried| kept_off(live).contains(carried))
    });
    let Some((key, _)) = bound.or_else(|| by_default.next()) else {
        return false;
    };
    let mut proxies = facts
        .pods_with("app", names::ZTUNNEL)
        .filter(|pod| pod.node == node.name);
    !proxies.all(|pod| {
        let revision = pod.labels.get(names::REVISION_LABEL);
        revision.is_some_and(|revision| key.name == format!("{}-{revision}", names::ZTUNNEL))
    })
}

/// Keeps every `DaemonSet` that runs by default off the nodes of the others, and waits until its controller knows.
fn make_room(target: &Target, others: &[(&ObjectKey, &Live)], plan: &mut Plan) -> Option<Wait> {
    let mut revisions: BTreeSet<&str> =
        others.iter().flat_map(|(_, live)| bound_to(live)).collect();
    revisions.insert(target.revision.as_str());
    for (key, live) in others.iter().filter(|(_, live)| bound_to(live).is_empty()) {
        let wait = |message: &str| Wait {
            reason: Reason::Nodes,
            object: key.to_string(),
            message: message.to_owned(),
        };
        if !revisions.is_subset(&kept_off(live)) {
            plan.acts.push(Act::Exclude {
                key: (*key).clone(),
                revisions: revisions.iter().map(|&one| one.to_owned()).collect(),
                resource_version: live.resource_version.clone(),
            });
            return Some(wait("it is being kept off the nodes that move"));
        }
        if !health::is_observed(live) {
            return Some(wait("its controller has not seen yet which nodes move"));
        }
    }
    None
}

/// Every node that can move has moved: the target becomes the one for all, the others go.
fn finish(
    facts: &Facts,
    target: &Target,
    others: &[(&ObjectKey, &Live)],
    views: &[NodeView<'_>],
    mut plan: Plan,
) -> Plan {
    if others.is_empty() {
        plan.step = Step::Verify;
        plan.done = plan.acts.is_empty();
        return plan;
    }
    // A node that is away may come back with the settled proxy only.
    let behind: Vec<&str> = views
        .iter()
        .filter(|view| view.set_aside.is_some() && view.stage != Stage::Verifying)
        .map(|view| view.node.name.as_str())
        .collect();
    if !behind.is_empty() {
        return plan.waiting(
            Step::Finish,
            Wait {
                reason: Reason::WaitingForNodes,
                object: format!("Node {}", behind[0]),
                message: format!(
                    "{} of {} nodes are set aside; the old revision stays until they have moved or are deleted: {}",
                    behind.len(),
                    views.len(),
                    behind.iter().take(8).copied().collect::<Vec<_>>().join(", ")
                ),
            },
        );
    }
    plan.acts.extend(
        target
            .proxy
            .iter()
            .filter(|object| object.key.kind == "DaemonSet" && super::is_due(object, facts))
            .cloned()
            .map(|object| Act::Apply(Box::new(object))),
    );
    plan.acts
        .extend(others.iter().map(|(key, live)| Act::delete(key, live)));
    plan.step = Step::Finish;
    plan
}
