//! Control planes that lose something while nodes are on their way, or at the very end.

use super::*;
use crate::api::conditions::{Reason, Step};
use crate::facts::{ObjectKey, Pod, Trouble};
use crate::names;

/// Its node is between both proxies.
fn is_in_flight(model: &Model) -> bool {
    labels(model, is_moving) == 1 && labels(model, |label| !is_moving(label)) == 0
}

/// A replica that no node takes, made this long ago.
fn unplaced(model: &mut Model, istiod: &str, age: SignedDuration) {
    let pod = Pod {
        name: format!("{istiod}-5d4-unplaced"),
        uid: "unplaced".to_owned(),
        created: Some(model.now - age),
        labels: [("app".to_owned(), names::ISTIOD.to_owned())].into(),
        trouble: Some(Trouble {
            reason: "Unschedulable".to_owned(),
            message: "0/3 nodes are available".to_owned(),
            image: None,
        }),
        ..Pod::default()
    };
    model.facts.pods.insert(pod.name.clone(), pod.into());
    model.lacking.insert(istiod.to_owned());
}

#[test]
fn a_replica_that_finds_no_place_holds_the_next_wave_and_no_node_that_has_begun() {
    for arriving in [target(LogLevel::Debug, LogLevel::Info), newer()] {
        let mut model = installed(3);
        model.orders.strategy = strategy(1, 1);
        work(&mut model, &arriving, 250, is_in_flight);
        assert!(is_in_flight(&model));
        let istiod = arriving.target.istiod.clone();
        unplaced(&mut model, &istiod, SignedDuration::from_hours(1));
        // Its counters are looked at anew.
        model.step(2);
        let plan = model.operate(&arriving, Phase::Installed, 0);
        let told = plan.wait.unwrap().message;
        assert!(told.contains("no further node begins"), "{told}");
        assert!(told.contains("0/3 nodes are available"), "{told}");
        let plan = until(&mut model, &arriving, |plan| {
            plan.step == Step::ControlPlane
        });
        let nodes = plan.nodes.unwrap();
        assert_eq!((nodes.total, nodes.updated), (3, 1), "the canary is done");
        let wait = plan.wait.unwrap();
        assert_eq!(wait.reason, Reason::ControlPlane);
        assert!(wait.message.contains("0/3 nodes are available"), "{wait:?}");
        for round in 0..40 {
            model.operate(&arriving, Phase::Installed, usize::MAX);
            model.step(round);
        }
        assert_eq!(labels(&model, is_moving), 1, "nothing new begins");
        assert_eq!(model.orders.failed, None);
        model.facts.pods.remove(&format!("{istiod}-5d4-unplaced"));
        model.lacking.clear();
        assert!(settle(&mut model, &arriving, Phase::Installed));
    }
}

#[test]
fn a_replica_that_finds_no_place_before_the_first_node_moves_fails_the_release() {
    let mut model = installed(2);
    let targets = newer();
    until(&mut model, &targets, |plan| plan.step == Step::ControlPlane);
    unplaced(&mut model, &targets.target.istiod, SignedDuration::ZERO);
    assert!(settle_at(&mut model, &targets, &plain(), Phase::Installed));
    let reason = model.orders.failed.clone().unwrap();
    assert!(reason.starts_with("gate ControlPlane"), "{reason}");
    assert_eq!(labels(&model, is_moving), 0);
}

#[test]
fn a_control_plane_that_signs_no_longer_is_found_out_before_the_point_of_no_return() {
    let mut model = installed(2);
    let targets = newer();
    until(&mut model, &targets, |plan| {
        plan.step == Step::Finish && !plan.acts.is_empty()
    });
    model.mute.insert(targets.target.istiod.clone());
    model.now += SignedDuration::from_mins(10);
    // The probe and the pods of nodes are well.
    assert!(settle_at(&mut model, &targets, &plain(), Phase::Installed));
    let reason = model.orders.failed.clone().unwrap();
    assert!(
        reason.starts_with("gate ControlPlane, pod istiod-1-7-0-"),
        "{reason}"
    );
}

#[test]
fn the_control_plane_of_before_stays_until_the_new_one_has_signed_once_more() {
    let mut model = installed(2);
    let targets = newer();
    let first = plain().target.istiod.clone();
    let goes = |plan: &Plan| {
        plan.acts.iter().any(|act| {
            matches!(act, Act::Delete { key, .. } if key.kind.ends_with("WebhookConfiguration"))
        })
    };
    until(&mut model, &targets, goes);
    model.mute.insert(targets.target.istiod.clone());
    model.now += SignedDuration::from_mins(10);
    for round in 0..60 {
        let plan = model.operate(&targets, Phase::Installed, usize::MAX);
        assert!(!goes(&plan) && !plan.done, "{:?}", plan.acts);
        model.step(round);
    }
    let key = ObjectKey::in_system("Deployment", &first);
    assert!(model.facts.objects.contains_key(&key));
    model.mute.clear();
    assert!(settle(&mut model, &targets, Phase::Installed));
}

#[test]
fn a_rollout_at_the_same_release_leaves_the_control_plane_alone() {
    let mut model = installed(2);
    let istiods = |model: &Model| -> Vec<String> {
        let pods = model.facts.pods_with("app", names::ISTIOD);
        pods.map(|pod| pod.uid.clone()).collect()
    };
    let before = istiods(&model);
    let arriving = target(LogLevel::Debug, LogLevel::Debug);
    let mut steps = Vec::new();
    for round in 0..700_u16 {
        let plan = model.operate(&arriving, Phase::Installed, usize::MAX);
        if plan.done {
            break;
        }
        steps.extend((steps.last() != Some(&plan.step)).then_some(plan.step));
        model.step(u8::try_from(round % 7).unwrap());
    }
    assert!(settle(&mut model, &arriving, Phase::Installed));
    // A change of templates brings no image, and moves no default.
    assert_eq!(steps, [Step::Nodes, Step::Verify, Step::Finish]);
    let of_nodes = ["DaemonSet", "Pod"];
    for act in &model.acts {
        let (Act::Apply(object) | Act::Place(object)) = act else {
            if let Act::Delete { key, .. } = act {
                assert!(of_nodes.contains(&key.kind.as_str()), "{key} is deleted");
            }
            assert!(
                !matches!(act, Act::Forget { .. } | Act::Pin { .. }),
                "{act:?}"
            );
            continue;
        };
        assert!(
            of_nodes.contains(&object.key.kind.as_str()),
            "{} is applied",
            object.key
        );
    }
    assert_eq!(istiods(&model), before, "istiod stays");
}
