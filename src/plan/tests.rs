//! What plans must never do, and always come to.

use proptest::prelude::*;

use super::model::{Model, blueprint};
use super::{Act, Phase, Target, restored};
use crate::api::conditions::{Reason, Step};
use crate::api::v1alpha1::LogLevel;
use crate::facts::{Answer, Trouble};

fn target(proxy: LogLevel, agent: LogLevel) -> Target {
    Target::of(&blueprint(proxy, agent)).unwrap()
}

fn plain() -> Target {
    target(LogLevel::Info, LogLevel::Info)
}

/// Lets the cluster and the operator work until nothing is left to do.
fn settle(model: &mut Model, target: &Target, phase: Phase) -> bool {
    for round in 0..400_u16 {
        let plan = model.operate(target, phase, usize::MAX);
        let done = plan.done && plan.acts.is_empty();
        if done && model.is_at(target) {
            return true;
        }
        for choice in 0..6 {
            model.step(choice + 6 * u8::try_from(round % 40).unwrap());
            if phase == Phase::Installed {
                model.note_silence();
            }
        }
    }
    false
}

fn installed(nodes: usize) -> Model {
    let mut model = Model::new(nodes);
    assert!(settle(&mut model, &plain(), Phase::Installing));
    model.acts.clear();
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
        model.step(round % 6 + 6 * (round / 6));
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
        model.step(round % 6 + 6 * (round / 6));
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
    let name = format!("{}.node-0", target.daemon_set);
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
    assert_eq!(model.most_silent, 1);
    assert!(
        !model
            .acts
            .iter()
            .any(|act| matches!(act, Act::DeletePod { .. }))
    );
    let labels = model
        .acts
        .iter()
        .filter(|act| matches!(act, Act::LabelNode { value: Some(_), .. }))
        .count();
    assert_eq!(labels, 4);
    let excluded = model
        .acts
        .iter()
        .position(|act| matches!(act, Act::Exclude { .. }))
        .unwrap();
    let labelled = model
        .acts
        .iter()
        .position(|act| matches!(act, Act::LabelNode { .. }))
        .unwrap();
    assert!(
        excluded < labelled,
        "room is made before the first node moves"
    );
}

#[test]
fn a_change_of_the_agent_replaces_one_agent_at_a_time() {
    let mut model = installed(3);
    let arriving = target(LogLevel::Info, LogLevel::Debug);
    assert!(settle(&mut model, &arriving, Phase::Installed));
    assert_eq!(model.most_silent, 1);
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
    for round in 0..60_u8 {
        model.operate(&arriving, Phase::Installed, usize::MAX);
        model.step(round % 6 + 6 * (round / 6));
        let moved = model
            .acts
            .iter()
            .filter(|act| matches!(act, Act::LabelNode { value: Some(_), .. }))
            .count();
        if moved == 2 {
            break;
        }
    }
    assert!(settle(&mut model, &plain(), Phase::Installed));
    assert_eq!(model.most_silent, 1);
    assert!(
        model
            .acts
            .iter()
            .any(|act| matches!(act, Act::LabelNode { value: None, .. }))
    );
}

#[test]
fn a_proxy_that_does_not_serve_every_pod_holds_the_next_node() {
    let mut model = installed(3);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    let mut labels = 0;
    for round in 0..120_u8 {
        let plan = super::plan(
            &model.facts,
            &arriving,
            &model.bundle,
            Phase::Installed,
            model.now,
        );
        labels += plan
            .acts
            .iter()
            .filter(|act| matches!(act, Act::LabelNode { value: Some(_), .. }))
            .count();
        model.operate(&arriving, Phase::Installed, usize::MAX);
        let now = model.now;
        for (question, answer) in &mut model.facts.answers {
            let of_new = matches!(question, crate::facts::Question::Proxy { pod, .. } if pod.starts_with(&arriving.daemon_set));
            if of_new {
                *answer = Answer {
                    at: now,
                    seen: Err("no answer".to_owned()),
                    failures: 1,
                };
            }
        }
        model.step(round % 6 + 6 * (round / 6));
    }
    assert_eq!(labels, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Killed after any act, with the cluster's own steps in any order, an install and a rollout come to their end, and
    /// at most one Ready node is without a proxy or agent while the mesh is installed.
    #[test]
    fn it_always_converges(
        nodes in 1_usize..5,
        choices in prop::collection::vec((any::<u8>(), 0_usize..4), 0..160),
        agent in any::<bool>(),
    ) {
        let mut model = Model::new(nodes);
        let first = plain();
        for (choice, most) in &choices {
            model.operate(&first, Phase::Installing, *most);
            model.step(*choice);
        }
        prop_assert!(settle(&mut model, &first, Phase::Installing));
        let level = if agent { LogLevel::Debug } else { LogLevel::Info };
        let arriving = target(LogLevel::Warn, level);
        for (choice, most) in &choices {
            model.operate(&arriving, Phase::Installed, *most);
            model.note_silence();
            model.step(*choice);
            model.note_silence();
        }
        prop_assert!(settle(&mut model, &arriving, Phase::Installed));
        prop_assert!(model.most_silent <= 1, "{} nodes at a time", model.most_silent);
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
