//! Nodes that are away, full, on their way out, or none of the mesh's.

use super::*;
use crate::api::conditions::{Reason, Step};
use crate::api::v1alpha1::OnFullNode;
use crate::names;
use crate::plan::Plan;

/// Marks of a node so far.
fn marks(model: &Model, node: &str) -> usize {
    let is_mark = |act: &&Act| act.marked() == Some(node);
    model.acts.iter().filter(is_mark).count()
}

/// Lets them work until the plan stands still, for as long as a rollout of a few nodes takes.
fn stuck(model: &mut Model, target: &Targets) -> Plan {
    assert!(!settle(model, target, Phase::Installed));
    model.operate(target, Phase::Installed, 0)
}

#[test]
fn more_nodes_away_than_allowed_hold_the_next_wave_and_are_counted() {
    let mut model = installed(4);
    model.orders.strategy.max_unreachable = Size::Number(1);
    for node in ["node-1", "node-2"] {
        model.set_ready(node, false);
    }
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    let wait = stuck(&mut model, &arriving).wait.unwrap();
    assert_eq!(wait.reason, Reason::WaitingForNodes);
    let expected = "2 of 4 nodes do not answer, upgrade.strategy.maxUnreachable is 1";
    assert_eq!(wait.message, expected);
    assert_eq!(labels(&model, |_| true), 0);
    // As many as allowed hold the end only.
    model.set_ready("node-2", true);
    assert_eq!(stuck(&mut model, &arriving).step, Step::Finish);
    assert_eq!(labels(&model, is_moving), 3);
    model.set_ready("node-1", true);
    assert!(settle(&mut model, &arriving, Phase::Installed));
}

#[test]
fn who_preempts_moves_a_node_without_room() {
    let mut model = installed(2);
    model.full.insert("node-0".to_owned());
    model.orders.strategy.on_full_node = OnFullNode::Preempt;
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    assert!(settle(&mut model, &arriving, Phase::Installed));
}

#[test]
fn a_node_that_is_being_taken_away_is_not_touched_and_holds_the_end_only() {
    let mut model = installed(3);
    model.change("node-0", |node| {
        let taint = ("karpenter.sh/disrupted", "NoSchedule");
        node.taints = vec![(taint.0.to_owned(), String::new(), taint.1.to_owned())];
    });
    let arriving = target(LogLevel::Debug, LogLevel::Debug);
    let plan = stuck(&mut model, &arriving);
    assert_eq!(plan.step, Step::Finish);
    let nodes = plan.nodes.unwrap();
    assert_eq!((nodes.updated, nodes.set_aside), (2, 1));
    assert_eq!(nodes.failed[0].reason, "NodeLeaving");
    assert_eq!(marks(&model, "node-0"), 0);
    model.remove_node("node-0");
    assert!(settle(&mut model, &arriving, Phase::Installed));
}

#[test]
fn a_cordoned_node_moves_like_any_other() {
    let mut model = installed(2);
    model.change("node-0", |node| node.unschedulable = true);
    let arriving = target(LogLevel::Debug, LogLevel::Debug);
    assert!(settle(&mut model, &arriving, Phase::Installed));
    assert!(model.facts.nodes["node-0"].unschedulable, "it is a user's");
}

#[test]
fn a_node_that_no_pod_of_the_mesh_runs_on_is_counted_and_not_touched() {
    let mut model = installed(3);
    model.change("node-0", |node| node.os = "windows".to_owned());
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    let plan = {
        let mut plans = (0..60_u8).map(|round| {
            model.step(round % 7);
            model.operate(&arriving, Phase::Installed, usize::MAX)
        });
        plans.find(|plan| plan.nodes.as_ref().is_some_and(|nodes| nodes.updated == 1))
    };
    let nodes = plan.unwrap().nodes.unwrap();
    assert_eq!((nodes.total, nodes.unsupported), (2, 1));
    assert!(settle(&mut model, &arriving, Phase::Installed));
    assert_eq!(marks(&model, "node-0"), 0);
}

#[test]
fn a_node_that_is_no_longer_of_the_mesh_does_not_keep_our_taint() {
    let mut model = installed(2);
    let arriving = target(LogLevel::Info, LogLevel::Debug);
    let is_tainted = |model: &Model| {
        let taints = &model.facts.nodes["node-0"].taints;
        taints.iter().any(|(key, ..)| key == names::MOVING_TAINT)
    };
    work(&mut model, &arriving, 60, is_tainted);
    assert!(is_tainted(&model));
    model.change("node-0", |node| node.os = "windows".to_owned());
    model.operate(&arriving, Phase::Installed, usize::MAX);
    assert!(!is_tainted(&model));
}

#[test]
fn a_node_made_anew_under_its_name_while_it_moves_begins_anew() {
    let mut model = installed(3);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    work(&mut model, &arriving, 60, |model| {
        labels(model, is_moving) == 1
    });
    let begun = marks(&model, "node-0");
    assert!(begun > 0);
    model.remove_node("node-0");
    model.add_node("node-0");
    assert!(settle(&mut model, &arriving, Phase::Installed));
    assert!(marks(&model, "node-0") > begun, "its label went with it");
    assert_eq!(model.most_in_flight, 1);
}

#[test]
fn a_node_that_is_lost_on_its_way_is_neither_moved_on_nor_back() {
    let mut model = installed(3);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    work(&mut model, &arriving, 60, |model| {
        labels(model, is_moving) == 1
    });
    let carried =
        |model: &Model| model.facts.nodes["node-0"].labels[names::NODE_ZTUNNEL_LABEL].clone();
    let label = carried(&model);
    assert!(is_moving(Some(label.as_str())), "{label}");
    model.set_ready("node-0", false);
    let plan = stuck(&mut model, &arriving);
    assert_eq!(plan.step, Step::Finish);
    assert_eq!(carried(&model), label);
    // Nor when the release has failed meanwhile.
    model.orders.failed = Some("aborted".to_owned());
    work(&mut model, &arriving, 100, |_| false);
    assert_eq!(carried(&model), label);
    model.set_ready("node-0", true);
    assert!(settle_at(&mut model, &arriving, &plain(), Phase::Installed));
}
