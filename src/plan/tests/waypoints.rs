//! Waypoints while the default moves: pinned, given back, and never more than that.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::api::conditions::{Reason, Step};
use crate::facts::{GatewayPod, NamespaceFact, PodMeta};
use crate::names;
use crate::plan::{Plan, pins, planes};

const WAYPOINT: &str = "istio-waypoint";

fn newer() -> Targets {
    between(&plain(), &release((1, 7, 0), LogLevel::Info))
}

fn pinning(act: &Act) -> Option<(&str, Option<&str>)> {
    match act {
        Act::Pin { name, release, .. } => Some((name, release.as_deref())),
        _ => None,
    }
}

fn pinned(model: &Model) -> usize {
    pins(&model.facts).count()
}

/// Works, act by act, until this holds of the model or the plan.
fn until(model: &mut Model, targets: &Targets, wanted: impl Fn(&Model, &Plan) -> bool) -> Plan {
    for round in 0..800_u16 {
        let plan = model.operate(targets, Phase::Installed, 1);
        if wanted(model, &plan) {
            return plan;
        }
        model.step(u8::try_from(round % 7 + 8 * (round / 7 % 30)).unwrap());
    }
    panic!("it never came to it");
}

#[test]
fn loose_waypoints_are_pinned_before_the_default_moves_and_given_back_one_by_one_after() {
    let mut model = installed(2);
    for (name, class, label) in [
        ("a", WAYPOINT, None),
        ("b", "istio-east-west", None),
        ("ours-not", "nginx", None),
        ("next", WAYPOINT, Some("1-7-0")),
        ("empty", WAYPOINT, Some("")),
    ] {
        model.add_gateway(name, class, label);
    }
    let targets = newer();
    until(&mut model, &targets, |model, _| pinned(model) == 2);
    assert_eq!(planes::default_release(&model.facts), Some("1-6-0"));
    let plan = until(&mut model, &targets, |_, plan| plan.step == Step::Waypoints);
    assert_eq!(planes::default_release(&model.facts), Some("1-7-0"));
    assert!(!plan.is_revertible);
    assert_eq!(plan.wait.unwrap().reason, Reason::Gateways);
    let given_back = plan.acts.iter().filter_map(pinning).collect::<Vec<_>>();
    assert_eq!(given_back, [("a", None)], "one at a time");
    assert_eq!(
        (model.holder("a"), model.holder("b")),
        (Some("1-7-0"), Some("1-6-0"))
    );
    assert!(settle(&mut model, &targets, Phase::Installed));
    let acts: Vec<_> = model.acts.iter().filter_map(pinning).collect();
    let (to, back) = (Some("1-6-0"), None);
    assert_eq!(acts, [("a", to), ("b", to), ("a", back), ("b", back)]);
    let labels = ["a", "b", "next", "empty"].map(|name| model.gateway(name).revision.clone());
    assert_eq!(
        labels,
        [None, None, Some("1-7-0".to_owned()), Some(String::new())]
    );
}

#[test]
fn the_next_waypoint_and_the_old_istiod_wait_for_the_pods_of_the_one_before() {
    let mut model = installed(2);
    let targets = newer();
    for name in ["a", "b"] {
        model.add_gateway(name, WAYPOINT, None);
        let made = GatewayPod {
            gateway: name.to_owned(),
            release: "1-6-0".to_owned(),
        };
        let pod = PodMeta {
            gateway: Some(Box::new(made)),
            ..PodMeta::default()
        };
        let place = ("shop".to_owned(), format!("{name}-0"));
        model.facts.workloads.insert(place, Arc::new(pod));
    }
    for name in ["a", "b"] {
        assert!(!settle(&mut model, &targets, Phase::Installed));
        let plan = model.operate(&targets, Phase::Installed, usize::MAX);
        assert_eq!(plan.step, Step::Waypoints);
        assert!(!plan.acts.iter().any(|act| pinning(act).is_some()));
        let wait = plan.wait.unwrap();
        assert_eq!(wait.reason, Reason::Gateways);
        assert_eq!(wait.object, format!("Pod shop/{name}-0"));
        assert_eq!(pinned(&model), usize::from(name == "a"), "{name}");
        let place = ("shop".to_owned(), format!("{name}-0"));
        model.facts.workloads.remove(&place);
    }
    assert!(settle(&mut model, &targets, Phase::Installed));
}

#[test]
fn what_follows_a_label_of_its_namespace_is_not_pinned() {
    let mut model = installed(1);
    model.add_gateway("a", WAYPOINT, None);
    let label = (names::ISTIO_REVISION_LABEL.to_owned(), "1-7-0".to_owned());
    let shop = NamespaceFact {
        labels: [label].into(),
        ..NamespaceFact::default()
    };
    let namespaces = &mut model.facts.namespaces;
    namespaces.insert("shop".to_owned(), Arc::new(shop));
    assert!(settle(&mut model, &newer(), Phase::Installed));
    assert!(!model.acts.iter().any(|act| pinning(act).is_some()));
}

#[test]
fn another_template_of_the_same_release_pins_nobody() {
    let mut model = installed(2);
    model.add_gateway("a", WAYPOINT, None);
    let other = target(LogLevel::Debug, LogLevel::Info);
    assert!(settle(&mut model, &other, Phase::Installed));
    assert!(!model.acts.iter().any(|act| pinning(act).is_some()));
}

#[test]
fn a_gateway_that_names_the_old_release_holds_its_end_and_is_named() {
    let mut model = installed(2);
    let targets = newer();
    model.add_gateway("mine", "nginx", Some("1-6-0"));
    model.add_gateway("loose", WAYPOINT, None);
    assert!(!settle(&mut model, &targets, Phase::Installed));
    let plan = model.operate(&targets, Phase::Installed, usize::MAX);
    assert_eq!(plan.step, Step::Retire);
    let wait = plan.wait.unwrap();
    assert_eq!(wait.reason, Reason::RevisionInUse);
    assert_eq!(wait.object, "Gateway shop/mine");
    assert!(wait.message.starts_with("1 objects"), "{wait:?}");
    assert_eq!(model.gateway("loose").revision, None, "given back already");
    model.label_gateway("mine", None);
    assert!(settle(&mut model, &targets, Phase::Installed));
}

#[test]
fn what_was_pinned_is_given_back_when_the_move_is_taken_back() {
    let mut model = installed(2);
    let targets = newer();
    model.add_gateway("a", WAYPOINT, None);
    until(&mut model, &targets, |model, _| pinned(model) == 1);
    model.orders.failed = Some("aborted".to_owned());
    assert!(settle_at(&mut model, &targets, &plain(), Phase::Installed));
    assert_eq!(pinned(&model), 0);
    assert_eq!(model.holder("a"), Some("1-6-0"));
}

#[test]
fn the_default_moves_when_istiods_have_had_the_time_to_see_the_last_pin() {
    let mut model = installed(1);
    let targets = newer();
    model.add_gateway("a", WAYPOINT, None);
    until(&mut model, &targets, |model, _| pinned(model) == 1);
    let at = model.gateway("a").pinned_at.unwrap();
    let waits = until(&mut model, &targets, |_, plan| {
        (plan.wait.as_ref()).is_some_and(|wait| wait.message.contains("once that has been seen"))
    });
    let due = at + SignedDuration::from_secs(5);
    assert_eq!(waits.again_at, Some(due), "it looks again by itself");
    let has_moved = |model: &Model| planes::default_release(&model.facts) == Some("1-7-0");
    until(&mut model, &targets, |model, _| has_moved(model));
    assert!(model.now >= due, "{} {due}", model.now);
    // A clock that is wrong by hours holds nobody.
    let mut model = installed(1);
    model.add_gateway("a", WAYPOINT, None);
    until(&mut model, &targets, |model, _| pinned(model) == 1);
    for gateway in model.facts.gateways.values_mut() {
        Arc::make_mut(gateway).pinned_at = Some(model.now + SignedDuration::from_hours(3));
    }
    until(&mut model, &targets, |model, _| has_moved(model));
}

#[test]
fn a_pin_that_somebody_has_made_his_own_stays_as_he_wrote_it() {
    for label in [Some("1-6-0"), Some("1-7-0"), None] {
        let mut model = installed(1);
        let targets = newer();
        model.add_gateway("a", WAYPOINT, None);
        until(&mut model, &targets, |model, _| pinned(model) == 1);
        model.label_gateway("a", label);
        let ends = settle(&mut model, &targets, Phase::Installed);
        assert_eq!(ends, label != Some("1-6-0"), "{label:?}");
        let gateway = model.gateway("a");
        assert_eq!(
            (gateway.revision.as_deref(), &gateway.pinned),
            (label, &None)
        );
    }
}

#[test]
fn nothing_moves_while_nobody_knows_which_gateways_there_are() {
    let mut model = installed(1);
    let targets = newer();
    model.facts.gateways_unseen = true;
    assert!(!settle(&mut model, &targets, Phase::Installed));
    let plan = model.operate(&targets, Phase::Installed, usize::MAX);
    assert_eq!((plan.step, plan.is_revertible), (Step::Finish, true));
    assert_eq!(planes::default_release(&model.facts), Some("1-6-0"));
    model.facts.gateways_unseen = false;
    assert!(settle(&mut model, &targets, Phase::Installed));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Killed after any act, aborted or not, while users make and label Gateways as they like: no waypoint changes hands
    /// by a pin, no label of a user's changes, no istiod goes that somebody has (the model sees to these), and in the end
    /// nothing is pinned.
    #[test]
    fn a_pin_never_outlives_the_move(
        choices in prop::collection::vec((any::<u8>(), any::<u8>(), 0_usize..4), 20..160),
        aborts in any::<bool>(),
    ) {
        let mut model = installed(1);
        let targets = newer();
        for (number, (choice, user, most)) in choices.iter().enumerate() {
            let name = format!("g{}", user % 4);
            let label = [None, None, Some("1-6-0"), Some("1-7-0"), Some("")][usize::from(user / 4 % 5)];
            match user / 20 {
                0 => model.add_gateway(&name, [WAYPOINT, "nginx"][usize::from(choice % 2)], label),
                1 => model.label_gateway(&name, label),
                _ => {}
            }
            if aborts && number == choices.len() / 2 && pinned(&model) > 0 {
                model.orders.failed = Some("aborted".to_owned());
            }
            model.operate(&targets, Phase::Installed, *most);
            model.step(*choice);
        }
        let gone_back = model.orders.failed.is_some()
            && planes::default_release(&model.facts) == Some("1-6-0");
        let (end, retired) = if gone_back { (plain(), "1-7-0") } else { (targets.clone(), "1-6-0") };
        for name in ["g0", "g1", "g2", "g3"] {
            let names_it = model.facts.gateways.contains_key(&("shop".to_owned(), name.to_owned()))
                && !model.gateway(name).is_pinned()
                && model.gateway(name).revision.as_deref() == Some(retired);
            if names_it {
                model.label_gateway(name, None);
            }
        }
        // What somebody has made his own while it was pinned shows as his when it is given back.
        let mut ended = settle_at(&mut model, &targets, &end, Phase::Installed);
        for name in ["g0", "g1", "g2", "g3"].into_iter().filter(|_| !ended) {
            if model.facts.users_of(retired).contains(&format!("Gateway shop/{name}")) {
                model.label_gateway(name, None);
            }
        }
        ended = ended || settle_at(&mut model, &targets, &end, Phase::Installed);
        prop_assert!(ended);
        prop_assert_eq!(pinned(&model), 0);
        for (place, times) in &model.gateways.pinned {
            prop_assert!(*times <= model.gateways.written[place], "{place:?} was pinned {times} times");
        }
    }
}
