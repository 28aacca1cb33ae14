//! What a node's own connections say of a release, and what that costs.

use super::*;
use crate::facts::{Connections, Question};
use crate::names;
use crate::plan::Gate;
use crate::plan::model::Telling;

const BASELINE: &str = names::BASELINE_ANNOTATION;

/// A mesh whose users make connections, and have for a while.
fn busy(nodes: usize) -> Model {
    let mut model = installed(nodes);
    model.traffic.busy = 50;
    for _ in 0..20 {
        model.step(7);
    }
    model.acts.clear();
    model
}

fn arriving() -> Targets {
    target(LogLevel::Debug, LogLevel::Info)
}

/// The proxies of this revision fail a part of the connections.
fn fails(model: &mut Model, targets: &Targets) {
    let revision = targets.target.revision.to_string();
    model.traffic.failing.insert(revision);
}

fn baselines(model: &Model) -> Vec<Option<&String>> {
    let nodes = model.facts.nodes.values();
    nodes.map(|node| node.annotations.get(BASELINE)).collect()
}

/// Lets them work until the first node has been left to the arriving proxy.
fn until_alone(model: &mut Model, targets: &Targets) {
    let revision = targets.target.revision.to_string();
    let is_alone = |model: &Model| {
        let mut nodes = model.facts.nodes.values();
        nodes.any(|node| node.labels.get(names::NODE_ZTUNNEL_LABEL) == Some(&revision))
    };
    work(model, targets, 250, is_alone);
    assert!(is_alone(model));
}

fn looks(model: &Model) -> Vec<&str> {
    let node = |act| match act {
        &Act::Ask(Question::Counts { ref node, .. }) => Some(node.as_str()),
        _ => None,
    };
    model.acts.iter().filter_map(node).collect()
}

#[test]
fn a_release_that_fails_a_part_of_the_connections_is_caught_on_the_canary_and_taken_back() {
    let mut model = busy(3);
    let arriving = arriving();
    fails(&mut model, &arriving);
    assert!(settle_at(&mut model, &arriving, &plain(), Phase::Installed));
    let reason = model.orders.failed.clone().unwrap();
    let start = format!("gate {} on node node-0, pod ztunnel-", Gate::Failures);
    assert!(reason.starts_with(&start), "{reason}");
    assert!(
        reason.contains("(10.0%) new connections failed, before 0 of ")
            && reason.ends_with("at most 1% more may"),
        "{reason}"
    );
    assert_eq!(
        labels(&model, is_moving),
        2,
        "there and back, the canary only"
    );
    assert_eq!(model.most_silent, 0);
    assert_eq!(baselines(&model), [None; 3], "nothing of it is left");
    // Another release is well.
    model.orders.failed = None;
    model.traffic.failing.clear();
    assert!(settle(&mut model, &arriving, Phase::Installed));
    assert_eq!(baselines(&model), [None; 3]);
}

#[test]
fn a_release_is_not_blamed_for_what_failed_before_as_well_or_for_what_may_fail() {
    for is_before in [true, false] {
        let mut model = busy(2);
        let arriving = arriving();
        fails(&mut model, &arriving);
        if is_before {
            fails(&mut model, &plain());
            for _ in 0..200 {
                model.step(7);
            }
        } else {
            model.orders.strategy.max_failure_increase = crate::blueprint::Permille(100);
        }
        let mut seen = Vec::new();
        for round in 0..200_u8 {
            let plan = model.operate(&arriving, Phase::Installed, usize::MAX);
            seen.extend(plan.compared);
            model.step(round % 7);
        }
        assert!(!seen.is_empty());
        assert!(
            settle(&mut model, &arriving, Phase::Installed),
            "{is_before}"
        );
    }
}

#[test]
fn few_connections_and_silent_proxies_leave_it_to_the_other_gates() {
    let arriving = arriving();
    // Nobody uses it; somebody does, and no proxy tells anything of it.
    for telling in [Telling::Counts, Telling::Nothing, Telling::Silence] {
        let is_told = telling == Telling::Counts;
        let mut model = if is_told { installed(2) } else { busy(2) };
        fails(&mut model, &arriving);
        model.traffic.telling = telling;
        assert!(
            settle(&mut model, &arriving, Phase::Installed),
            "{telling:?}"
        );
    }
    // The one that leaves tells, the one that stays does not.
    for (telling, words) in [
        (Telling::Nothing, "well"),
        (Telling::Silence, "nobody answers"),
    ] {
        let mut model = busy(1);
        until_alone(&mut model, &arriving);
        assert!(baselines(&model)[0].is_some());
        model.traffic.telling = telling;
        let mut told = None;
        for round in 0..100_u8 {
            let plan = model.operate(&arriving, Phase::Installed, usize::MAX);
            told = told.or_else(|| plan.unproved.get("node-0").cloned());
            model.step(round % 7);
        }
        assert_eq!(told.unwrap(), format!("its connections: {words}"));
        assert!(settle(&mut model, &arriving, Phase::Installed));
    }
}

#[test]
fn the_baseline_goes_with_the_label_in_one_patch_and_outlives_the_operator() {
    let mut model = busy(2);
    let arriving = arriving();
    fails(&mut model, &arriving);
    until_alone(&mut model, &arriving);
    let with_label = model.acts.iter().filter(|act| {
        matches!(act, Act::MarkNode { label: Some(Some(label)), baseline: Some(_), .. }
            if label == arriving.target.revision.as_str())
    });
    assert_eq!(with_label.count(), 1);
    let without = model.acts.iter().filter(
        |act| matches!(act, Act::MarkNode { label, baseline: Some(_), .. } if label.is_none()),
    );
    assert_eq!(without.count(), 0);
    let written = baselines(&model)[0].cloned().unwrap();
    assert!(
        written.contains(arriving.target.revision.as_str()),
        "{written}"
    );
    // Another operator knows nothing but what is in the cluster.
    model.facts.answers.clear();
    assert!(settle_at(&mut model, &arriving, &plain(), Phase::Installed));
    assert!(model.orders.failed.unwrap().contains("gate Failures"));
}

#[test]
fn what_somebody_else_wrote_in_its_place_is_no_baseline() {
    let arriving = arriving();
    let other = r#"{"to":"1-9-0-ffffff","tried":9120,"failed":0}"#;
    for foreign in ["", "{", other, "[1,2]", "\u{1F}"] {
        let mut model = busy(1);
        fails(&mut model, &arriving);
        until_alone(&mut model, &arriving);
        model.annotate("node-0", BASELINE, Some(foreign));
        assert!(settle(&mut model, &arriving, Phase::Installed), "{foreign}");
        assert_eq!(baselines(&model), [None]);
    }
}

#[test]
fn proxies_that_start_anew_are_judged_by_what_they_have_counted_since() {
    let arriving = arriving();
    // The one that leaves has just started: it has no rate.
    let mut model = busy(1);
    fails(&mut model, &arriving);
    let name = format!("{}.node-0", plain().target.daemon_set);
    let uid = model.facts.pods[&name].uid.clone();
    let few = Connections::new(19, 0);
    model.traffic.busy = 0;
    model.traffic.counted.insert(uid, few);
    until_alone(&mut model, &arriving);
    model.traffic.busy = 50;
    assert!(settle(&mut model, &arriving, Phase::Installed));
    // The one that stays starts again while it is watched: what it counted before is gone, what it fails is seen again.
    let mut model = busy(1);
    model.orders.strategy.canary_soak = SignedDuration::from_hours(1);
    until_alone(&mut model, &arriving);
    work(&mut model, &arriving, 60, |_| false);
    let name = format!("{}.node-0", arriving.target.daemon_set);
    let mut pod = model.facts.pods[&name].as_ref().clone();
    pod.restarts += 1;
    model.traffic.counted.remove(&pod.uid);
    model.facts.pods.insert(name, pod.into());
    fails(&mut model, &arriving);
    assert!(settle_at(&mut model, &arriving, &plain(), Phase::Installed));
    assert!(model.orders.failed.unwrap().contains("gate Failures"));
}

#[test]
fn a_node_is_looked_at_six_times_at_most_however_long_it_is_watched() {
    let arriving = arriving();
    for (soak, watched) in [(0, 1), (300, 3)] {
        let mut model = busy(2);
        let soak = SignedDuration::from_secs(soak);
        model.orders.strategy.canary_soak = soak;
        model.orders.strategy.batch_soak = soak;
        for round in 0..6_000_u16 {
            let plan = model.operate(&arriving, Phase::Installed, usize::MAX);
            if plan.done {
                break;
            }
            model.step(u8::try_from(round % 7).unwrap());
        }
        assert!(settle(&mut model, &arriving, Phase::Installed));
        for node in ["node-0", "node-1"] {
            let count = looks(&model).iter().filter(|one| **one == node).count();
            assert!(
                (watched + 1..=6).contains(&count),
                "{count} looks at {node}"
            );
        }
    }
}

#[test]
fn a_node_that_was_done_long_ago_is_not_judged_anew() {
    let mut model = busy(2);
    let arriving = arriving();
    // The second node has no room, so that nothing ends.
    model.full.insert("node-1".to_owned());
    work(&mut model, &arriving, 250, |_| false);
    assert!(
        !model.facts.probes.contains_key("node-node-0"),
        "it is done"
    );
    // What fails now is not the rollout's, and another operator does not make it so.
    fails(&mut model, &arriving);
    model.now = model
        .now
        .checked_add(SignedDuration::from_hours(2))
        .unwrap();
    for _ in 0..50 {
        model.step(7);
    }
    model.facts.answers.clear();
    work(&mut model, &arriving, 100, |_| false);
    assert_eq!(model.orders.failed, None);
    model.full.clear();
    model.traffic.failing.clear();
    assert!(settle(&mut model, &arriving, Phase::Installed));
}
