//! Labels of nodes that are of no rollout, or not any longer.

use super::*;
use crate::api::conditions::{Reason, Step};
use crate::facts::ObjectKey;
use crate::names;
use crate::plan::fleet::Proxies;

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
fn labels_of_no_revision_at_all_move_nobody_and_are_removed_before_a_rollout() {
    for stale in ["1-0-0-abcdef", "1-0-0-abcdef.moving", "mine"] {
        let mut model = installed(3);
        model.label("node-1", names::NODE_ZTUNNEL_LABEL, stale);
        let arriving = target(LogLevel::Debug, LogLevel::Info);
        let cleans = |act: &Act| matches!(act, Act::MarkNode { name, label: Some(None), .. } if name == "node-1");
        let plan = until(&mut model, &arriving, |plan| plan.acts.iter().any(cleans));
        let told = plan.wait.unwrap();
        assert_eq!(plan.step, Step::Nodes);
        assert_eq!(
            told.message, "labels and taints that are of no rollout are removed first: node-1",
            "{stale}"
        );
        work(&mut model, &arriving, 250, |model| {
            labels(model, is_moving) == 1
        });
        let node = &model.facts.nodes["node-1"];
        assert!(
            !node.labels.contains_key(names::NODE_ZTUNNEL_LABEL),
            "{stale}"
        );
        // And again, while another node moves.
        model.label("node-2", names::NODE_ZTUNNEL_LABEL, stale);
        assert!(settle(&mut model, &arriving, Phase::Installed), "{stale}");
        assert_eq!(
            (model.most_silent, labels(&model, is_moving)),
            (0, 3),
            "{stale}"
        );
        // The model counts what looks as if it moved.
        let most = 1 + usize::from(is_moving(Some(stale)));
        assert!(model.most_in_flight <= most, "{stale}");
    }
}

/// Two nodes that have moved. The proxy that arrived is the one for all, which its controller has not observed.
fn unobserved(arriving: &Targets) -> Model {
    let key = ObjectKey::in_system("DaemonSet", &arriving.target.daemon_set);
    let mut model = installed(2);
    for round in 0..250_u8 {
        model.operate(arriving, Phase::Installed, usize::MAX);
        let live = model.facts.objects.get(&key).map(|live| (&key, &**live));
        if live.is_some_and(|live| Proxies::of(live).is_default()) {
            return model;
        }
        model.step(round % 7);
    }
    panic!("it never became the one for all");
}

/// The controller makes pods and takes them away by what it knows of the set, and by what nodes carry now: nothing of either
/// changes until it is known to have observed the set.
fn waits(model: &mut Model, targets: &Targets) {
    let settled = ObjectKey::in_system("DaemonSet", &plain().target.daemon_set);
    for _ in 0..4 {
        let plan = model.operate(targets, Phase::Installed, usize::MAX);
        assert_eq!((plan.done, plan.step), (false, Step::Finish));
        let wait = plan.wait.unwrap();
        let said = (wait.reason, wait.message.contains("has not observed"));
        assert_eq!(said, (Reason::Finish, true), "{wait:?}");
        model.step(3);
        model.note_silence();
    }
    assert!(model.facts.objects.contains_key(&settled));
    assert_eq!(labels(model, |label| label.is_none()), 0);
}

#[test]
fn labels_go_once_it_is_observed_that_the_proxy_that_stays_needs_none() {
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    let mut model = unobserved(&arriving);
    waits(&mut model, &arriving);
    assert!(settle(&mut model, &arriving, Phase::Installed));
    assert_eq!(labels(&model, |label| label.is_none()), 2);
    assert_eq!(model.most_silent, 0);
}

#[test]
fn so_do_they_where_the_next_rollout_is_asked_for_before() {
    let mut model = unobserved(&target(LogLevel::Debug, LogLevel::Info));
    let next = target(LogLevel::Warn, LogLevel::Info);
    waits(&mut model, &next);
    assert!(settle(&mut model, &next, Phase::Installed));
    assert_eq!(model.most_silent, 0);
}

#[test]
fn a_node_that_comes_at_the_end_has_the_proxy_that_stays_before_the_other_one_goes() {
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    let mut model = unobserved(&arriving);
    model.add_node("late");
    let settled = ObjectKey::in_system("DaemonSet", &plain().target.daemon_set);
    for round in 0..100_u8 {
        model.operate(&arriving, Phase::Installed, usize::MAX);
        if !model.facts.objects.contains_key(&settled) {
            break;
        }
        model.step(round % 7);
    }
    let name = format!("{}.late", arriving.target.daemon_set);
    assert!(model.facts.pods[&name].ready);
    assert!(settle(&mut model, &arriving, Phase::Installed));
}

#[test]
fn a_label_that_somebody_leaves_in_a_steady_state_is_no_rollout() {
    let mut model = installed(2);
    let label = names::NODE_ZTUNNEL_LABEL.to_owned();
    model.change("node-1", |node| {
        node.labels.insert(label, "1-5-0-abcdef".to_owned());
    });
    let key = ObjectKey::in_system("DaemonSet", &plain().target.daemon_set);
    let mut live = model.facts.objects[&key].as_ref().clone();
    live.generation += 1;
    model.facts.objects.insert(key, live.into());
    let plan = model.operate(&plain(), Phase::Installed, usize::MAX);
    assert!(!plan.is_rolling && plan.acts.is_empty(), "{:?}", plan.acts);
    assert!(settle(&mut model, &plain(), Phase::Installed));
    assert_eq!(labels(&model, |label| label.is_none()), 1);
}
