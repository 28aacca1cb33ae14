//! Another template of the same release.

use super::*;
use crate::api::conditions::{Reason, Step};
use crate::facts::{Answer, Trouble};
use crate::names;

#[test]
fn a_change_of_the_proxy_moves_one_node_at_a_time_and_leaves_agents_alone() {
    let mut model = installed(4);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    assert!(settle(&mut model, &arriving, Phase::Installed));
    assert_eq!(model.most_silent, 0, "no node is ever without a proxy");
    assert_eq!(model.most_in_flight, 1);
    let deleted = |act: &&Act| matches!(act, Act::DeletePod { .. });
    assert_eq!(model.acts.iter().filter(deleted).count(), 0);
    assert_eq!(labels(&model, is_moving), 4);
    let at = |wanted: &dyn Fn(&Act) -> bool| model.acts.iter().position(wanted).unwrap();
    assert!(
        at(&|act| matches!(act, Act::Exclude { .. }))
            < at(&|act| matches!(act, Act::MarkNode { .. })),
        "room is made before the first node moves"
    );
}

#[test]
fn a_change_of_the_agent_replaces_one_agent_at_a_time_behind_the_taint() {
    let mut model = installed(3);
    let arriving = target(LogLevel::Info, LogLevel::Debug);
    assert!(settle(&mut model, &arriving, Phase::Installed));
    assert_eq!(model.most_silent, 1);
    assert_eq!(model.most_in_flight, 1);
    let mut tainted = false;
    for act in &model.acts {
        match act {
            Act::MarkNode { taint, .. } => tainted = taint.unwrap_or(tainted),
            Act::DeletePod { name, .. } => assert!(tainted, "{name}"),
            _ => {}
        }
    }
}

#[test]
fn the_canary_is_watched_before_a_batch_begins_and_batches_are_as_large_as_asked() {
    let mut model = installed(6);
    model.orders.strategy = strategy(2, 3);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    assert!(settle(&mut model, &arriving, Phase::Installed));
    assert_eq!(model.most_in_flight, 3);
    let passed = model
        .acts
        .iter()
        .position(|act| matches!(act, Act::PassCanary { .. }))
        .unwrap();
    let before = model.acts[..passed]
        .iter()
        .filter(|act| matches!(act, Act::MarkNode { label: Some(label), .. } if is_moving(label.as_deref())))
        .count();
    assert_eq!((before, labels(&model, is_moving)), (2, 6));
}

#[test]
fn a_canary_selector_that_matches_nothing_holds_the_rollout_and_says_so() {
    let mut model = installed(2);
    let selector = serde_json::json!({"matchLabels": {"pool": "canary"}});
    model.orders.strategy.canary = Canary::Selector(serde_json::from_value(selector).unwrap());
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    assert!(!settle(&mut model, &arriving, Phase::Installed));
    let plan = model.operate(&arriving, Phase::Installed, 0);
    assert!(plan.wait.unwrap().message.contains("matches no node"));
    assert_eq!(labels(&model, |_| true), 0);
    model.label("node-1", "pool", "canary");
    assert!(settle(&mut model, &arriving, Phase::Installed));
}

#[test]
fn a_node_without_room_is_set_aside_and_holds_the_end_only() {
    let mut model = installed(3);
    model.full.insert("node-0".to_owned());
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    assert!(!settle(&mut model, &arriving, Phase::Installed));
    let plan = model.operate(&arriving, Phase::Installed, 0);
    assert_eq!(plan.step, Step::Finish);
    let nodes = plan.nodes.unwrap();
    assert_eq!((nodes.updated, nodes.set_aside), (2, 1));
    assert_eq!(nodes.failed[0].reason, "NodeFull");
    // Nobody tells when a pod of somebody else's has gone.
    let again = plan.again_at.unwrap().duration_since(model.now);
    assert!(again.as_secs() <= 30, "{again}");
    model.full.clear();
    assert!(settle(&mut model, &arriving, Phase::Installed));
}

#[test]
fn nodes_without_room_take_the_place_of_no_other() {
    // By default all nodes are in one zone, of which one node at least is left out of every wave.
    for (nodes, full) in [(4, 2), (2, 1), (7, 5)] {
        let mut model = installed(nodes);
        model.orders.strategy = strategy(1, 1);
        model.full = (0..full).map(|node| format!("node-{node}")).collect();
        let arriving = target(LogLevel::Debug, LogLevel::Info);
        assert!(!settle(&mut model, &arriving, Phase::Installed));
        // What room there is is asked anew now and then.
        let mut plans = (0..40_u8).map(|round| {
            model.step(round % 7);
            model.operate(&arriving, Phase::Installed, usize::MAX)
        });
        let plan = plans.find(|plan| plan.step == Step::Finish);
        drop(plans);
        let plan = plan.unwrap_or_else(|| panic!("{full} of {nodes} hold the others"));
        let told = plan.nodes.unwrap();
        let left = u64::try_from(nodes - full).unwrap();
        assert_eq!(
            u64::try_from(told.updated).unwrap(),
            left,
            "{full} of {nodes}"
        );
        assert_eq!(model.most_in_flight, 1);
        model.full.clear();
        assert!(settle(&mut model, &arriving, Phase::Installed));
    }
}

#[test]
fn the_way_back_waits_for_no_replica_of_istiod() {
    let mut model = installed(3);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    model.broken.insert(arriving.target.revision.to_string());
    let has_failed = |model: &Model| model.orders.failed.is_some();
    work(&mut model, &arriving, 250, has_failed);
    assert!(has_failed(&model));
    model.lacking.insert(arriving.target.istiod.clone());
    let is_back = |model: &Model| {
        let mut objects = model.facts.objects.keys();
        !objects.any(|key| key.name == arriving.target.daemon_set)
    };
    work(&mut model, &arriving, 250, is_back);
    assert!(is_back(&model), "it waits for the replica");
    model.lacking.clear();
    assert!(settle_at(&mut model, &arriving, &plain(), Phase::Installed));
}

#[test]
fn pods_that_wait_for_their_sandbox_hold_the_replacement_of_an_agent_for_a_while() {
    let mut model = installed(1);
    model.crowded.insert("node-0".to_owned());
    let arriving = target(LogLevel::Info, LogLevel::Debug);
    let agent = |model: &Model| {
        let mut agents = model.facts.pods_with("k8s-app", names::CNI_DAEMON_SET);
        agents.next().map(|pod| pod.uid.clone())
    };
    let settled = agent(&model);
    let begun = model.now;
    work(&mut model, &arriving, 60, |model| agent(model) != settled);
    assert_ne!(agent(&model), settled, "it is held for ever");
    let held = model.now.duration_since(begun).as_secs();
    assert!(held >= 30, "it was held for {held} s only");
    model.crowded.clear();
    assert!(settle(&mut model, &arriving, Phase::Installed));
}

#[test]
fn a_proxy_that_never_gets_ready_is_caught_on_the_canary_and_taken_back() {
    let mut model = installed(3);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    model.broken.insert(arriving.target.revision.to_string());
    assert!(settle_at(&mut model, &arriving, &plain(), Phase::Installed));
    let reason = model.orders.failed.clone().unwrap();
    assert!(reason.starts_with("gate Proxy on node node-0"), "{reason}");
    assert_eq!(labels(&model, is_moving), 1, "the canary only");
    assert_eq!(model.most_silent, 0);
    let plan = model.operate(&arriving, Phase::Installed, 0);
    assert!(plan.done && plan.is_held);
    // Tried again, and well this time.
    model.broken.clear();
    model.orders.failed = None;
    assert!(settle(&mut model, &arriving, Phase::Installed));
}

#[test]
fn an_agent_that_crashes_is_caught_on_the_canary_and_no_other_node_gets_it() {
    let mut model = installed(3);
    let arriving = target(LogLevel::Info, LogLevel::Debug);
    model.broken.insert(arriving.target.agent_hash.clone());
    for round in 0..40_u8 {
        model.operate(&arriving, Phase::Installed, usize::MAX);
        model.step(round % 7);
        let is_arriving = |pod: &&crate::facts::Pod| {
            pod.template_hash.as_deref() == Some(&arriving.target.agent_hash)
        };
        let got: Vec<&str> = model
            .facts
            .pods_with("k8s-app", crate::names::CNI_DAEMON_SET)
            .filter(is_arriving)
            .map(|pod| pod.node.as_str())
            .collect();
        assert!(got.is_empty() || got == ["node-0"], "{got:?}");
    }
    // A node is added, and an agent is deleted elsewhere, while the canary waits.
    model.add_node("node-9");
    model.end("istio-cni-node.node-1");
    assert!(settle_at(&mut model, &arriving, &plain(), Phase::Installed));
    assert!(
        model
            .orders
            .failed
            .unwrap()
            .contains("gate Agent on node node-0")
    );
}

#[test]
fn paused_nothing_begins_and_what_has_begun_comes_to_a_safe_point() {
    let mut model = installed(3);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    for round in 0..200_u8 {
        model.operate(&arriving, Phase::Installed, usize::MAX);
        model.step(round % 7 + 8 * (round / 7));
        model.orders.paused |= labels(&model, is_moving) == 1;
    }
    assert_eq!(labels(&model, is_moving), 1);
    assert_eq!(
        labels(&model, |label| label
            == Some(arriving.target.revision.as_str())),
        1
    );
    model.orders.paused = false;
    assert!(settle(&mut model, &arriving, Phase::Installed));
}

#[test]
fn a_template_that_waits_is_applied_nowhere_and_what_runs_is_still_cared_for() {
    let mut model = installed(2);
    model.orders.held = true;
    let arriving = target(LogLevel::Debug, LogLevel::Debug);
    model.end("istio-cni-node.node-1");
    work(&mut model, &arriving, 100, |_| false);
    assert_eq!(model.acts, [], "neither set is applied, no node is touched");
    let plan = model.operate(&arriving, Phase::Installed, 0);
    assert!(plan.done && plan.is_held && !plan.is_rolling);
    // One that is equal moves nothing, whoever renders it.
    model.orders.held = false;
    work(&mut model, &plain(), 50, |_| false);
    assert_eq!(model.acts, []);
    assert!(settle(&mut model, &arriving, Phase::Installed));
}

#[test]
fn another_target_in_the_middle_waits_until_the_nodes_are_back() {
    let mut model = installed(3);
    let (second, third) = (
        target(LogLevel::Debug, LogLevel::Info),
        target(LogLevel::Warn, LogLevel::Info),
    );
    for round in 0..200_u8 {
        model.operate(&second, Phase::Installed, usize::MAX);
        model.step(round % 7 + 8 * (round / 7));
        if labels(&model, is_moving) == 2 {
            break;
        }
    }
    assert!(settle(&mut model, &third, Phase::Installed));
    assert_eq!(model.most_silent, 0);
    assert_eq!(model.most_in_flight, 1);
}

#[test]
fn a_node_that_is_away_holds_the_end_and_no_other_node() {
    let mut model = installed(3);
    model.set_ready("node-1", false);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    assert!(!settle(&mut model, &arriving, Phase::Installed));
    let plan = model.operate(&arriving, Phase::Installed, usize::MAX);
    assert_eq!(plan.step, Step::Finish);
    let wait = plan.wait.unwrap();
    assert_eq!(wait.reason, Reason::WaitingForNodes);
    assert!(wait.message.contains("node-1"));
    let mut returned = model.clone();
    returned.set_ready("node-1", true);
    assert!(
        settle(&mut returned, &arriving, Phase::Installed),
        "it returns"
    );
    model.remove_node("node-1");
    assert!(
        settle(&mut model, &arriving, Phase::Installed),
        "it is deleted"
    );
}

#[test]
fn a_change_of_mind_in_the_middle_goes_back_node_by_node() {
    let mut model = installed(4);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    for round in 0..200_u8 {
        model.operate(&arriving, Phase::Installed, usize::MAX);
        model.step(round % 7 + 8 * (round / 7));
        if labels(&model, is_moving) == 2 {
            break;
        }
    }
    assert!(settle(&mut model, &plain(), Phase::Installed));
    assert_eq!(model.most_silent, 0);
    assert!(labels(&model, |label| label.is_none()) > 0);
}

#[test]
fn a_proxy_that_does_not_serve_every_pod_holds_the_next_node() {
    let mut model = installed(3);
    model.orders.strategy.gate_timeout = SignedDuration::from_hours(10);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    for round in 0..160_u8 {
        model.operate(&arriving, Phase::Installed, usize::MAX);
        let now = model.now;
        for (question, answer) in &mut model.facts.answers {
            let of_new = matches!(question, crate::facts::Question::Proxy { pod, .. } if pod.starts_with(&arriving.target.daemon_set));
            if of_new {
                *answer = Answer::after(Some(answer), now, Err("no answer".to_owned()));
            }
        }
        model.step(round % 7 + 8 * (round / 7));
    }
    assert_eq!(labels(&model, is_moving), 1);
    assert_eq!(labels(&model, |label| label.is_none()), 0);
}

#[test]
fn a_proxy_that_crashes_alone_on_its_node_is_not_waited_for() {
    let mut model = installed(2);
    model.orders.strategy.gate_timeout = SignedDuration::from_hours(1);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    let name = format!("{}.node-0", arriving.target.daemon_set);
    let is_alone = |model: &Model| {
        let mut here =
            (model.facts.pods_with("app", names::ZTUNNEL)).filter(|pod| pod.node == "node-0");
        here.next().is_some_and(|pod| pod.name == name && pod.ready) && here.next().is_none()
    };
    for round in 0..80_u8 {
        if is_alone(&model) {
            break;
        }
        model.operate(&arriving, Phase::Installed, usize::MAX);
        model.step(round % 7);
    }
    assert!(is_alone(&model));
    let mut pod = model.facts.pods[&name].as_ref().clone();
    pod.ready = false;
    pod.trouble = Some(Trouble {
        reason: "CrashLoopBackOff".to_owned(),
        message: "back-off 10s".to_owned(),
        image: None,
    });
    model.facts.pods.insert(name.clone(), pod.into());
    let failed = model
        .operate(&arriving, Phase::Installed, 0)
        .failed
        .unwrap();
    assert_eq!(
        (failed.gate, failed.pod),
        (super::super::gate::Gate::Proxy, name)
    );
    assert!(
        failed.message.contains("alone on its node"),
        "{}",
        failed.message
    );
}

#[test]
fn a_proxy_that_was_told_to_stand_down_is_told_otherwise_though_the_other_one_has_died() {
    let mut model = installed(2);
    let arriving = target(LogLevel::Debug, LogLevel::Debug);
    let settled = |model: &Model| {
        let arrives = format!("{}.", arriving.target.daemon_set);
        let here = model.facts.pods_with("app", names::ZTUNNEL);
        let mut here = here.filter(|pod| pod.node == "node-0" && !pod.name.starts_with(&arrives));
        here.next().map(|pod| pod.name.clone()).unwrap()
    };
    let stands_down = |model: &Model| model.mesh.stands_down("node-0", &settled(model));
    for round in 0..80_u8 {
        if stands_down(&model) {
            break;
        }
        model.operate(&arriving, Phase::Installed, 1);
        model.step(round % 7);
    }
    assert!(stands_down(&model));
    let name = format!("{}.node-0", arriving.target.daemon_set);
    let mut pod = model.facts.pods[&name].as_ref().clone();
    (pod.ready, pod.restarts) = (false, 3);
    model.facts.pods.insert(name, pod.into());
    model.broken.insert(arriving.target.revision.to_string());
    assert!(settle_at(&mut model, &arriving, &plain(), Phase::Installed));
    assert!(!stands_down(&model), "its agent is a new one");
    let pods = || model.facts.pods_with("app", names::ZTUNNEL);
    assert!(
        pods().all(|pod| pod.ready),
        "{:?}",
        pods().collect::<Vec<_>>()
    );
}
