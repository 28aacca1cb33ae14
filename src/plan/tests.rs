//! What plans must never do, and always come to.

use proptest::prelude::*;

use jiff::SignedDuration;

use super::model::{Model, blueprint};
use super::{Act, Phase, Target, Targets, restored};
use crate::api::conditions::{Reason, Step};
use crate::api::v1alpha1::LogLevel;
use crate::blueprint::{Canary, Size, Strategy};
use crate::facts::{Answer, Trouble};
use crate::names;

fn target(proxy: LogLevel, agent: LogLevel) -> Targets {
    Targets::one(Target::of(&blueprint(proxy, agent)).unwrap().into())
}

/// Quick enough for a model in which every step takes two seconds.
fn strategy(canary: usize, batch: usize) -> Strategy {
    Strategy {
        canary: Canary::Count(canary),
        canary_soak: SignedDuration::from_secs(20),
        batch: Size::Number(batch),
        batch_soak: SignedDuration::from_secs(5),
        gate_timeout: SignedDuration::from_mins(4),
        max_unreachable: Size::Percent(100),
        ..Strategy::default()
    }
}

fn labels(model: &Model, wanted: impl Fn(Option<&str>) -> bool) -> usize {
    let is_wanted = |act: &&Act| matches!(act, Act::MarkNode { label: Some(label), .. } if wanted(label.as_deref()));
    model.acts.iter().filter(is_wanted).count()
}

fn is_moving(label: Option<&str>) -> bool {
    label.is_some_and(|label| label.ends_with(".moving"))
}

fn plain() -> Targets {
    target(LogLevel::Info, LogLevel::Info)
}

/// Lets the cluster and the operator work until nothing is left to do.
fn settle(model: &mut Model, target: &Targets, phase: Phase) -> bool {
    settle_at(model, target, target, phase)
}

/// The same where another revision than the target is to be left in the end.
fn settle_at(model: &mut Model, target: &Targets, end: &Targets, phase: Phase) -> bool {
    for round in 0..240_u16 {
        let plan = model.operate(target, phase, usize::MAX);
        let done = plan.done && plan.acts.is_empty();
        if done && model.is_at(&end.target) {
            return true;
        }
        for choice in 0..7 {
            // No pod is made at the very end: it could be the last thing that happens, and nobody would look again.
            model.step(choice + 8 * u8::try_from(round % 30).unwrap());
            if phase == Phase::Installed {
                model.note_silence();
            }
        }
        if round < 100 {
            model.step(7 + 8 * u8::try_from(round % 30).unwrap());
        }
    }
    let plan = model.operate(target, phase, 0);
    let acts: Vec<String> = plan
        .acts
        .iter()
        .map(|act| format!("{act:?}").chars().take(300).collect())
        .collect();
    eprintln!(
        "stuck: {:?} {:?} {:?} failed {:?} orphans {}",
        plan.step,
        plan.wait,
        acts,
        model.orders.failed,
        model.mesh.orphans()
    );
    false
}

fn installed(nodes: usize) -> Model {
    let mut model = Model::new(nodes);
    assert!(settle(&mut model, &plain(), Phase::Installing));
    model.acts.clear();
    model.orders.strategy = strategy(1, 1);
    model
}

#[test]
fn an_install_comes_to_its_end_and_then_does_nothing() {
    let mut model = installed(3);
    let plan = model.operate(&plain(), Phase::Installed, usize::MAX);
    assert!(plan.acts.is_empty(), "{:?}", plan.acts);
    assert!(plan.done);
}

#[test]
fn steps_follow_each_other_behind_their_gates() {
    let mut model = Model::new(2);
    let target = plain();
    let mut steps = Vec::new();
    for round in 0..200_u8 {
        let plan = model.operate(&target, Phase::Installing, usize::MAX);
        if steps.last() != Some(&plan.step) {
            steps.push(plan.step);
        }
        if plan.done {
            break;
        }
        model.step(round % 7 + 8 * (round / 7));
    }
    assert_eq!(
        steps,
        [Step::Crds, Step::ControlPlane, Step::Nodes, Step::Verify]
    );
    let first = |wanted: &dyn Fn(&Act) -> bool| model.acts.iter().position(wanted).unwrap();
    let applied = |kind: &'static str, prefix: &'static str| {
        first(
            &move |act| matches!(act, Act::Apply(object) if object.key.kind == kind && object.key.name.starts_with(prefix)),
        )
    };
    assert!(first(&|act| matches!(act, Act::Define(_))) < applied("Deployment", "istiod"));
    assert!(applied("Deployment", "istiod") < applied("DaemonSet", "istio-cni-node"));
    assert!(applied("ServiceAccount", "ztunnel") < applied("DaemonSet", "ztunnel"));
}

#[test]
fn the_first_install_does_not_wait_for_a_node_that_is_not_ready_and_names_it() {
    let mut model = Model::new(3);
    model.set_ready("node-1", false);
    let target = plain();
    let mut last = None;
    for round in 0..200_u8 {
        let plan = model.operate(&target, Phase::Installing, usize::MAX);
        if plan.done {
            last = Some(plan);
            break;
        }
        model.step(round % 7 + 8 * (round / 7));
    }
    let nodes = last.unwrap().nodes.unwrap();
    assert_eq!((nodes.total, nodes.updated, nodes.set_aside), (3, 2, 1));
    assert_eq!(nodes.failed[0].name, "node-1");
}

#[test]
fn a_replica_of_the_control_plane_on_a_node_that_is_lost_holds_nothing_and_one_that_starts_does() {
    for lost in [true, false] {
        let mut model = Model::new(2);
        let target = plain();
        for choice in [0, 1, 2].repeat(4) {
            model.operate(&target, Phase::Installing, usize::MAX);
            model.step(choice);
        }
        model.set_ready("node-1", !lost);
        let (key, live) = (model.facts.objects.iter())
            .find(|(key, _)| key.kind == "Deployment")
            .map(|(key, live)| (key.clone(), live.as_ref().clone()))
            .unwrap();
        let mut live = live;
        live.body["status"]["availableReplicas"] = 1.into();
        model.facts.objects.insert(key, live.into());
        let served = (model.facts.pods_with("app", "istiod")).next().unwrap();
        let mut second = served.clone();
        second.name = format!("{}-second", served.name.trim_end_matches("-x"));
        second.node = "node-1".to_owned();
        second.ready = false;
        model.facts.pods.insert(second.name.clone(), second.into());
        let plan = model.operate(&target, Phase::Installing, 0);
        let wait = plan.wait.unwrap();
        assert_eq!(wait.message.contains("1 are available"), !lost, "{wait:?}");
    }
}

#[test]
fn an_image_that_cannot_be_pulled_is_told_with_node_and_image() {
    let mut model = Model::new(1);
    let target = plain();
    for choice in [0, 1, 2, 3, 4].repeat(12) {
        model.operate(&target, Phase::Installing, usize::MAX);
        model.step(choice);
    }
    let name = format!("{}.node-0", target.target.daemon_set);
    let mut pod = model.facts.pods[&name].as_ref().clone();
    pod.trouble = Some(Trouble {
        reason: "ImagePullBackOff".to_owned(),
        message: "not found".to_owned(),
        image: Some("applink:1".to_owned()),
    });
    model.facts.pods.insert(name, pod.into());
    let plan = model.operate(&target, Phase::Installing, 0);
    let wait = plan.wait.unwrap();
    assert_eq!(wait.reason, Reason::ImageUnavailable);
    assert!(
        wait.object.contains("on node node-0") && wait.message.contains("applink:1"),
        "{wait:?}"
    );
}

#[test]
fn drift_is_repaired_at_once_and_needs_no_rollout() {
    let mut model = installed(2);
    let target = plain();
    let removed: Vec<_> = model
        .facts
        .objects
        .keys()
        .filter(|key| key.kind != "DaemonSet")
        .cloned()
        .collect();
    for key in &removed {
        model.facts.objects.remove(key);
    }
    model.facts.definitions.clear();
    let before = model.facts.clone();
    let plan = model.operate(&target, Phase::Installed, usize::MAX);
    assert!(!plan.is_rolling);
    let told: Vec<String> = plan
        .acts
        .iter()
        .filter_map(|act| restored(act, &before))
        .collect();
    assert!(
        matches!(&told[..], [one] if one.contains("sidecars.networking.istio.io") && one.contains("apply them again")),
        "{told:?}"
    );
    let changed: Vec<_> = plan
        .acts
        .iter()
        .map(|act| restored(act, &model.facts))
        .collect();
    assert!(
        changed.iter().all(Option::is_none),
        "it is there, and only differs"
    );
    assert_eq!(plan.acts.len(), removed.len() + 1);
    assert!(settle(&mut model, &target, Phase::Installed));
}

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
    model.full.clear();
    assert!(settle(&mut model, &arriving, Phase::Installed));
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
    for round in 0..60_u8 {
        if agent(&model) != settled {
            break;
        }
        model.operate(&arriving, Phase::Installed, usize::MAX);
        model.step(round % 7);
    }
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
fn labels_of_an_earlier_rollout_are_removed_before_the_first_node_moves() {
    let mut model = installed(2);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    model.label(
        "node-1",
        crate::names::NODE_ZTUNNEL_LABEL,
        arriving.target.revision.as_str(),
    );
    assert!(settle(&mut model, &arriving, Phase::Installed));
    assert_eq!(model.most_silent, 0);
    let first = model
        .acts
        .iter()
        .find(|act| matches!(act, Act::MarkNode { .. } | Act::Exclude { .. }));
    assert!(
        matches!(
            first,
            Some(Act::MarkNode {
                label: Some(None),
                ..
            })
        ),
        "{first:?}"
    );
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
    ) {
        let mut model = Model::new(nodes);
        let first = plain();
        for (choice, most) in &choices {
            model.operate(&first, Phase::Installing, *most);
            model.step(*choice);
        }
        prop_assert!(settle(&mut model, &first, Phase::Installing));
        model.orders.strategy = strategy(1, batch);
        let level = if agent { LogLevel::Debug } else { LogLevel::Info };
        let arriving = target(LogLevel::Warn, level);
        for (choice, most) in &choices {
            model.operate(&arriving, Phase::Installed, *most);
            model.note_silence();
            model.step(*choice);
            model.note_silence();
        }
        prop_assert!(settle(&mut model, &arriving, Phase::Installed));
        let most = if agent { batch } else { 0 };
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
        breaks in 0_u8..4,
        minds in any::<bool>(),
    ) {
        let mut model = installed(nodes);
        let level = if agent { LogLevel::Debug } else { LogLevel::Info };
        let first = plain();
        let arriving = target(LogLevel::Warn, level);
        if breaks == 0 {
            model.broken.insert(arriving.target.revision.to_string());
        }
        if breaks == 1 && agent {
            model.broken.insert(arriving.target.agent_hash.clone());
        }
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
