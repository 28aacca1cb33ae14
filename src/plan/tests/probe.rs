//! What the operator's own probe sees, and what it costs when it sees nothing.

use super::*;
use crate::facts::{NamespaceFact, Trouble};
use crate::names;
use crate::plan::Gate;

/// Lets a rollout run until something has failed, or nothing is left to do.
fn run(model: &mut Model, target: &Targets) -> Option<String> {
    if settle(model, target, Phase::Installed) {
        return None;
    }
    Some(model.orders.failed.clone().unwrap_or_default())
}

fn placed(model: &Model, prefix: &str) -> Vec<String> {
    let is_placed = |act: &Act| match act {
        Act::Place(object) if object.key.name.starts_with(prefix) => Some(object.key.name.clone()),
        _ => None,
    };
    model.acts.iter().filter_map(is_placed).collect()
}

#[test]
fn a_proxy_that_refuses_connections_is_caught_on_the_canary_without_any_workload() {
    let mut model = installed(3);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    model.refusing.insert(arriving.target.revision.to_string());
    let reason = run(&mut model, &arriving).unwrap();
    let start = format!("gate {} on node node-0, pod ztunnel-", Gate::Probe);
    assert!(reason.starts_with(&start), "{reason}");
    assert_eq!(
        labels(&model, is_moving),
        2,
        "there and back, the canary only"
    );
    assert!(settle_at(&mut model, &arriving, &plain(), Phase::Installed));
    // Another release is well.
    model.orders.failed = None;
    model.refusing.clear();
    assert!(settle(&mut model, &arriving, Phase::Installed));
}

#[test]
fn each_node_is_probed_once_and_nothing_of_it_is_left() {
    let mut model = installed(4);
    model.orders.strategy = strategy(1, 2);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    assert!(settle(&mut model, &arriving, Phase::Installed));
    let mut nodes = placed(&model, "node-");
    nodes.sort();
    let expected: Vec<String> = (0..4).map(|index| format!("node-node-{index}")).collect();
    assert_eq!(nodes, expected);
    assert!(model.facts.probes.is_empty());
    // Before the settled proxy is told to go, and asked after it has gone.
    let at = |wanted: &dyn Fn(&Act) -> bool| model.acts.iter().position(wanted).unwrap();
    let gone = Some(arriving.target.revision.to_string());
    assert!(
        at(&|act| matches!(act, Act::Place(_)))
            < at(&|act| matches!(act, Act::MarkNode { label: Some(label), .. } if *label == gone))
    );
    assert!(
        at(&|act| matches!(act, Act::MarkNode { label: Some(label), .. } if *label == gone))
            < at(&|act| matches!(act, Act::Ask(crate::facts::Question::Probe { .. })))
    );
}

#[test]
fn peers_are_on_nodes_that_do_not_move_where_there_are_any() {
    let mut model = installed(2);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    assert!(settle(&mut model, &arriving, Phase::Installed));
    assert_eq!(
        placed(&model, "peer-"),
        ["node-1", "node-1", "node-0", "node-0"]
            .iter()
            .enumerate()
            .map(|(number, node)| format!("peer-{}-{node}", number % 2))
            .collect::<Vec<_>>()
    );
    let mut model = installed(1);
    assert!(settle(&mut model, &arriving, Phase::Installed));
    assert_eq!(placed(&model, "").len(), 3, "all on the only node");
}

#[test]
fn a_peer_stays_where_it_is_until_its_node_moves() {
    for nodes in 3..9 {
        let mut model = installed(nodes);
        model.orders.strategy = strategy(1, 2);
        let arriving = target(LogLevel::Debug, LogLevel::Info);
        assert!(settle(&mut model, &arriving, Phase::Installed));
        let mut all = placed(&model, "peer-");
        // Two at first, and one more for each of them when its node moves, on a node that is done.
        assert!(all.len() <= 4, "{nodes} nodes: {all:?}");
        all.sort();
        all.dedup_by_key(|name| name.split_once("node-").map(|(_, node)| node.to_owned()));
        assert!(all.len() >= 3, "on different nodes: {all:?}");
    }
}

#[test]
fn what_keeps_a_probe_from_running_and_is_not_the_mesh_fails_nothing() {
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    let trouble = |reason: &str| {
        Some(Trouble {
            reason: reason.to_owned(),
            ..Trouble::default()
        })
    };
    for reason in ["Unschedulable", "ErrImagePull", "CrashLoopBackOff"] {
        let mut model = installed(2);
        model.unprobed.insert("node-0".to_owned(), trouble(reason));
        let mut told = None;
        for round in 0..250_u8 {
            let plan = model.operate(&arriving, Phase::Installed, usize::MAX);
            told = told.or_else(|| plan.unproved.get("node-0").cloned());
            model.step(round % 7);
        }
        assert!(told.unwrap().contains(reason));
        assert_eq!(run(&mut model, &arriving), None, "{reason}");
    }
    // No peer runs anywhere: it says nothing of the node either.
    let mut model = installed(2);
    for node in ["node-0", "node-1"] {
        model.unprobed.insert(node.to_owned(), None);
    }
    assert_eq!(run(&mut model, &arriving), None);
    // Nor is it asked where it cannot be.
    let mut model = installed(2);
    model.facts.namespaces.insert(
        names::PROBE_NAMESPACE.to_owned(),
        NamespaceFact::default().into(),
    );
    assert_eq!(run(&mut model, &arriving), None);
    assert!(placed(&model, "").is_empty());
    let mut model = installed(2);
    model.facts.refused_probes = ["node-0", "node-1"]
        .map(|node| (format!("node-{node}"), "forbidden".to_owned()))
        .into();
    assert_eq!(run(&mut model, &arriving), None);
    assert!(placed(&model, "").is_empty());
}

#[test]
fn a_pod_that_is_not_let_into_the_mesh_of_a_node_that_moved_fails_the_release() {
    let mut model = installed(2);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    model.unprobed.insert("node-0".to_owned(), None);
    let reason = run(&mut model, &arriving).unwrap();
    assert!(
        reason.starts_with("gate Probe on node node-0") && reason.contains("let into the mesh"),
        "{reason}"
    );
}

#[test]
fn a_proxy_that_starts_to_refuse_while_it_is_watched_is_caught() {
    let mut model = installed(2);
    model.orders.strategy.canary_soak = SignedDuration::from_hours(2);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    let is_probed = |model: &Model| {
        let mut answers = model.facts.answers.iter();
        answers.any(|(question, answer)| {
            matches!(question, crate::facts::Question::Probe { .. }) && answer.is_good()
        })
    };
    work(&mut model, &arriving, 200, is_probed);
    assert!(is_probed(&model));
    model.refusing.insert(arriving.target.revision.to_string());
    assert!(run(&mut model, &arriving).unwrap().contains("gate Probe"));
}
