//! Which nodes begin together.

use super::*;

/// Names of the nodes that begin in the same pass, in the order in which they do.
fn waves_of(model: &mut Model, targets: &Targets) -> Vec<Vec<String>> {
    let mut waves = Vec::new();
    for round in 0..700_u16 {
        let begun = model.acts.len();
        let plan = model.operate(targets, Phase::Installed, usize::MAX);
        let begins = |act: &Act| match act {
            Act::MarkNode {
                name,
                label: Some(Some(label)),
                ..
            } if label.ends_with(".moving") => Some(name.clone()),
            _ => None,
        };
        let wave: Vec<String> = model.acts[begun..].iter().filter_map(begins).collect();
        if !wave.is_empty() {
            waves.push(wave);
        }
        if plan.done {
            return waves;
        }
        model.step(u8::try_from(round % 7).unwrap());
    }
    panic!("it never came to its end: {waves:?}");
}

#[test]
fn nodes_begin_in_the_waves_that_were_told_before() {
    let zone = "topology.kubernetes.io/zone";
    let mut model = installed(9);
    for (number, zoned) in ["b", "a", "b", "a", "b", "c", "b", "a", "b"]
        .iter()
        .enumerate()
    {
        model.label(&format!("node-{number}"), zone, zoned);
    }
    // The replicas of two workloads, and one whose replicas are together.
    for (node, controller) in [(0, 1), (2, 1), (4, 2), (6, 2), (8, 2), (7, 3), (7, 3)] {
        model.run(&format!("node-{node}"), controller);
    }
    model.orders.strategy = strategy(2, 4);
    let nodes = model.facts.nodes.clone();
    let nodes: Vec<&crate::facts::Node> = nodes.values().map(std::sync::Arc::as_ref).collect();
    let told = crate::plan::waves(&nodes, &model.replicas, &model.orders.strategy);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    let seen = waves_of(&mut model, &arriving);
    assert_eq!(seen, told);
    let on = |wave: &Vec<String>, nodes: &[u8]| {
        let mut names = nodes.iter().map(|number| format!("node-{number}"));
        names.all(|name| wave.contains(&name))
    };
    for wave in &seen {
        assert!(!on(wave, &[0, 2]) && !on(wave, &[4, 6, 8]), "{seen:?}");
    }
    assert!(seen.iter().any(|wave| wave.len() > 2), "{seen:?}");
}

#[test]
fn the_replicas_of_a_workload_on_two_nodes_do_not_move_at_a_time() {
    let mut model = installed(10);
    model.orders.strategy = strategy(1, 2);
    for node in ["node-1", "node-2"] {
        model.run(node, 7);
    }
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    let waves = waves_of(&mut model, &arriving);
    assert_eq!(waves[1], ["node-1", "node-3"], "{waves:?}");
    assert_eq!(waves[2], ["node-2", "node-4"], "{waves:?}");
}

#[test]
fn a_batch_that_grows_in_the_middle_holds_from_the_next_wave_and_moves_nobody_twice() {
    let mut model = installed(8);
    model.orders.strategy = strategy(1, 1);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    let revision = arriving.target.revision.to_string();
    let moved = |model: &Model| labels(model, |label| label == Some(revision.as_str()));
    work(&mut model, &arriving, 250, |model| moved(model) == 2);
    assert_eq!((moved(&model), model.most_in_flight), (2, 1));
    model.orders.strategy = strategy(1, 3);
    assert!(settle(&mut model, &arriving, Phase::Installed));
    assert_eq!(model.most_in_flight, 3);
    assert_eq!(labels(&model, is_moving), 8);
}

#[test]
fn waves_are_counted_from_the_canary_and_the_end_is_none_of_them() {
    for (nodes, batch, last) in [(1, 1, 1), (3, 1, 3), (5, 2, 3)] {
        let mut model = installed(nodes);
        model.orders.strategy = strategy(1, batch);
        let arriving = target(LogLevel::Debug, LogLevel::Info);
        let mut told = Vec::new();
        for round in 0..300_u16 {
            let plan = model.operate(&arriving, Phase::Installed, usize::MAX);
            told.extend(plan.wave.filter(|wave| told.last() != Some(wave)));
            if plan.done {
                break;
            }
            model.step(u8::try_from(round % 7).unwrap());
        }
        assert_eq!(told, (1..=last).collect::<Vec<i32>>(), "{nodes} nodes");
    }
}

/// All nodes but the last have moved; that has no room, so that the end is not come to. Each is in its zone.
fn moved(zones: &[&str], batch: usize, agent: LogLevel) -> Model {
    let mut model = installed(zones.len());
    for (number, zoned) in zones.iter().enumerate() {
        let zone = "topology.kubernetes.io/zone";
        model.label(&format!("node-{number}"), zone, zoned);
    }
    model.orders.strategy = strategy(1, batch);
    let others = zones.len() - 1;
    model.full.insert(format!("node-{others}"));
    let arriving = target(LogLevel::Debug, agent);
    let has_moved = |model: &Model| {
        let revision = arriving.target.revision.as_str();
        labels(model, |label| label == Some(revision)) == others
    };
    for _ in 0..4 {
        work(&mut model, &arriving, 250, has_moved);
    }
    assert!(has_moved(&model));
    model
}

#[test]
fn on_the_way_back_no_wave_takes_a_whole_zone_either() {
    let zones = ["a", "a", "b", "b", "b", "c", "d"];
    let mut model = moved(&zones, 6, LogLevel::Debug);
    let mut most = 0;
    for round in 0..700_u16 {
        let plan = model.operate(&plain(), Phase::Installed, usize::MAX);
        if plan.done {
            break;
        }
        let in_flight: Vec<&str> = (model.facts.nodes.values())
            .filter(|node| {
                let label = node.labels.get(crate::names::NODE_ZTUNNEL_LABEL);
                node.is_moving() || is_moving(label.map(String::as_str))
            })
            .map(|node| node.name.as_str())
            .collect();
        let has = |nodes: &[&str]| nodes.iter().all(|node| in_flight.contains(node));
        assert!(!has(&["node-0", "node-1"]), "{in_flight:?}");
        assert!(!has(&["node-2", "node-3", "node-4"]), "{in_flight:?}");
        most = most.max(in_flight.len());
        model.step(u8::try_from(round % 7 + 8 * (round / 7 % 30)).unwrap());
    }
    assert!(most > 2, "{most} at a time");
    assert!(settle(&mut model, &plain(), Phase::Installed));
}

/// Nodes in the order in which they were told to carry both proxies.
fn order(model: &Model) -> Vec<String> {
    let moves = model.acts.iter().filter_map(|act| match act {
        Act::MarkNode {
            name,
            label: Some(label),
            ..
        } if is_moving(label.as_deref()) => Some(name.clone()),
        _ => None,
    });
    moves.collect()
}

#[test]
fn nodes_go_back_in_the_reverse_of_the_order_in_which_they_moved() {
    let mut model = moved(&["b", "a", "b", "a", "c"], 1, LogLevel::Info);
    let mut there = order(&model);
    assert_eq!(there, ["node-1", "node-3", "node-0", "node-2"]);
    model.acts.clear();
    assert!(settle(&mut model, &plain(), Phase::Installed));
    there.reverse();
    assert_eq!(order(&model), there);
}
