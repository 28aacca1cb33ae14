//! Whatever happens in between, in whatever order.

use proptest::prelude::*;

use super::*;

/// Another template, or another release.
fn arriving(upgrade: bool, agent: LogLevel) -> Targets {
    if upgrade {
        between(&plain(), &release((1, 7, 0), agent))
    } else {
        target(LogLevel::Warn, agent)
    }
}

/// What befalls a cluster in the middle of anything.
fn befall(model: &mut Model, choice: u8, pick: u8) {
    let nodes: Vec<String> = model.facts.nodes.keys().cloned().collect();
    let node = &nodes[usize::from(pick) % nodes.len()];
    match choice % 8 {
        0 => model.kill(usize::from(pick)),
        1 => model.reboot(node),
        2 => model.set_ready(node, false),
        3 => model.set_ready(node, true),
        4 if nodes.len() > 1 => model.remove_node(node),
        6 => {
            // Another machine under its name.
            model.remove_node(node);
            model.add_node(node);
        }
        7 => model.change(node, |node| node.unschedulable = !node.unschedulable),
        5 if nodes.len() < 6 => model.add_node(&format!("node-{}", 10 + usize::from(pick))),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Killed after any act, with the cluster's own steps in any order, an install and a rollout come to their end, no
    /// pod is left without a proxy, and never more nodes are in flight than a batch allows.
    #[test]
    fn it_always_converges(
        nodes in 1_usize..5,
        choices in prop::collection::vec((any::<u8>(), 0_usize..4), 0..160),
        agent in any::<bool>(),
        batch in 1_usize..3,
        upgrade in any::<bool>(),
        busy in 0_u64..200,
    ) {
        let mut model = Model::new(nodes);
        model.traffic.busy = busy;
        let first = plain();
        for (choice, most) in &choices {
            model.operate(&first, Phase::Installing, *most);
            model.step(*choice);
        }
        prop_assert!(settle(&mut model, &first, Phase::Installing));
        model.orders.strategy = strategy(1, batch);
        let level = if agent { LogLevel::Debug } else { LogLevel::Info };
        let arriving = arriving(upgrade, level);
        for (choice, most) in &choices {
            model.operate(&arriving, Phase::Installed, *most);
            model.note_silence();
            model.step(*choice);
            model.note_silence();
        }
        prop_assert!(settle(&mut model, &arriving, Phase::Installed));
        let most = if agent || upgrade { batch } else { 0 };
        prop_assert!(model.most_silent <= most, "{} nodes at a time", model.most_silent);
        prop_assert!(model.most_in_flight <= batch, "{} nodes in flight", model.most_in_flight);
    }

    /// Pods die, nodes are lost, added, rebooted, the release is broken or not, the spec goes back and forth: in the end
    /// everything runs, and nobody is left out.
    #[test]
    fn it_converges_through_whatever_befalls_it(
        nodes in 1_usize..5,
        choices in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>(), 0_usize..5), 0..120),
        agent in any::<bool>(),
        breaks in 0_u8..6,
        busy in 0_u64..200,
        minds in any::<bool>(),
        upgrade in any::<bool>(),
    ) {
        let mut model = installed(nodes);
        let level = if agent { LogLevel::Debug } else { LogLevel::Info };
        let first = plain();
        let arriving = arriving(upgrade, level);
        if breaks == 0 {
            model.broken.insert(arriving.target.revision.to_string());
        }
        if breaks == 1 && (agent || upgrade) {
            model.broken.insert(arriving.target.agent_hash.clone());
        }
        if breaks == 2 && upgrade {
            model.broken.insert(arriving.target.istiod.clone());
        }
        if breaks == 3 {
            model.traffic.failing.insert(arriving.target.revision.to_string());
        }
        model.traffic.busy = busy;
        for (choice, what, pick, most) in &choices {
            let target = if minds && *what == 77 { &first } else { &arriving };
            model.operate(target, Phase::Installed, *most);
            if what.is_multiple_of(5) {
                befall(&mut model, what / 5, *pick);
            }
            model.step(*choice);
        }
        let names: Vec<String> = model.facts.nodes.keys().cloned().collect();
        for name in names {
            model.set_ready(&name, true);
        }
        let is_broken = !model.broken.is_empty();
        let failed = model.orders.failed.is_some();
        if is_broken || failed {
            prop_assert!(settle_at(&mut model, &arriving, &first, Phase::Installed));
        } else {
            let well = settle(&mut model, &arriving, Phase::Installed)
                || (model.orders.failed.is_some()
                    && settle_at(&mut model, &arriving, &first, Phase::Installed));
            prop_assert!(well);
        }
        prop_assert!(model.most_in_flight <= 2, "{} nodes in flight", model.most_in_flight);
    }

    /// Whatever objects are taken away under it, the mesh is whole again.
    #[test]
    fn whatever_is_taken_away_comes_back(picks in prop::collection::vec(any::<u16>(), 1..12)) {
        let mut model = installed(2);
        let target = plain();
        for pick in picks {
            let keys: Vec<_> = model.facts.objects.keys().cloned().collect();
            if keys.is_empty() {
                break;
            }
            let key = &keys[usize::from(pick) % keys.len()];
            model.facts.objects.remove(key);
            model.step(u8::try_from(pick % 256).unwrap_or(0));
        }
        prop_assert!(settle(&mut model, &target, Phase::Installed));
    }
}
