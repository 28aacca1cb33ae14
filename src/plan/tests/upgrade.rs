//! From one release to the next, and back.

use super::*;
use crate::api::conditions::{Reason, Step};
use crate::facts::{NamespaceFact, ObjectKey, PodMeta, Question, Trouble};
use crate::names;
use crate::plan::planes;

fn position(model: &Model, wanted: impl Fn(&Act) -> bool) -> usize {
    model.acts.iter().position(wanted).unwrap()
}

fn applies(act: &Act, kind: &str, name: &str) -> bool {
    matches!(act, Act::Apply(object) if object.key.kind == kind && object.key.name == name)
}

fn deletes(act: &Act, kind: &str, name: &str) -> bool {
    matches!(act, Act::Delete { key, .. } if key.kind == kind && key.name == name)
}

#[test]
fn a_release_comes_beside_the_old_one_and_the_old_one_goes_last() {
    let mut model = installed(3);
    let (old, targets) = (plain(), newer());
    assert!(settle(&mut model, &targets, Phase::Installed));
    assert_eq!(model.most_silent, 1, "an agent at a time is replaced");
    assert_eq!(model.most_in_flight, 1);
    let (first, last) = (&old.target, &targets.target);
    let order = [
        position(&model, |act| applies(act, "Deployment", &last.istiod)),
        position(&model, |act| matches!(act, Act::Exclude { .. })),
        position(
            &model,
            |act| matches!(act, Act::MarkNode { label: Some(label), .. } if is_moving(label.as_deref())),
        ),
        position(&model, |act| {
            applies(
                act,
                "ValidatingWebhookConfiguration",
                names::DEFAULT_VALIDATOR,
            )
        }),
        position(&model, |act| deletes(act, "DaemonSet", &first.daemon_set)),
        position(&model, |act| {
            deletes(
                act,
                "ValidatingWebhookConfiguration",
                "istio-validator-1-6-0-applink-system",
            )
        }),
        position(&model, |act| deletes(act, "Deployment", &first.istiod)),
        position(&model, |act| matches!(act, Act::Forget { .. })),
        position(&model, |act| deletes(act, "ConfigMap", "istio-1-6-0")),
    ];
    assert!(order.is_sorted(), "{order:?}");
    let shared = [
        "ServiceAccount",
        "ClusterRoleBinding",
        "RoleBinding",
        "Namespace",
    ];
    assert!(
        !model.acts.iter().any(
            |act| matches!(act, Act::Apply(object) if shared.contains(&object.key.kind.as_str()))
        ),
        "what both share is not written"
    );
    let plan = model.operate(&targets, Phase::Installed, 0);
    assert_eq!(targets.left(&plan).version, last.version);
    // Status says now that the new release runs.
    let alone = Targets::one(targets.target.clone());
    let plan = model.operate(&alone, Phase::Installed, usize::MAX);
    assert!(plan.done && plan.acts.is_empty(), "{:?}", plan.acts);
}

#[test]
fn steps_are_told_in_their_order_and_there_is_a_point_of_no_return() {
    let mut model = installed(2);
    let targets = newer();
    let mut steps = Vec::new();
    for round in 0..1000_u16 {
        let plan = model.operate(&targets, Phase::Installed, usize::MAX);
        let told = (plan.step, plan.is_revertible);
        if steps.last() != Some(&told) {
            steps.push(told);
        }
        if plan.done {
            break;
        }
        model.step(u8::try_from(round % 7 + 8 * (round / 7 % 30)).unwrap());
    }
    assert_eq!(
        steps,
        [
            (Step::Prepull, true),
            (Step::ControlPlane, true),
            (Step::Nodes, true),
            (Step::Verify, true),
            (Step::Finish, false),
            (Step::Retire, false),
            (Step::Verify, false),
        ]
    );
}

#[test]
fn hops_follow_each_other_and_a_second_one_that_fails_ends_at_the_first() {
    let first_hop = newer();
    let end = release((1, 8, 0), LogLevel::Info);
    let second_hop = between(&first_hop, &end);
    let mut model = installed(2);
    assert!(settle(&mut model, &first_hop, Phase::Installed));
    let mut fails = model.clone();
    assert!(settle(&mut model, &second_hop, Phase::Installed));
    assert_eq!(model.most_in_flight, 1);

    fails.broken.insert(end.target.revision.to_string());
    assert!(settle_at(
        &mut fails,
        &second_hop,
        &first_hop,
        Phase::Installed
    ));
    let plan = fails.operate(&second_hop, Phase::Installed, 0);
    assert_eq!(second_hop.left(&plan).version, Version::new(1, 7, 0));
    assert_eq!(fails.most_in_flight, 1);
}

#[test]
fn a_control_plane_that_never_runs_is_taken_away_and_no_node_is_touched() {
    for is_mute in [false, true] {
        let mut model = installed(3);
        let targets = newer();
        let istiod = targets.target.istiod.clone();
        if is_mute {
            model.mute.insert(istiod);
        } else {
            model.broken.insert(istiod);
        }
        assert!(settle_at(&mut model, &targets, &plain(), Phase::Installed));
        let reason = model.orders.failed.clone().unwrap();
        assert!(
            reason.starts_with("gate ControlPlane, pod istiod-1-7-0-"),
            "{reason}"
        );
        assert_eq!(labels(&model, |_| true), 0);
        let nodes = |act: &&Act| matches!(act, Act::MarkNode { .. } | Act::DeletePod { .. });
        assert_eq!(model.acts.iter().filter(nodes).count(), 0);
        let plan = model.operate(&targets, Phase::Installed, 0);
        assert!(plan.done && plan.is_held);
        assert_eq!(targets.left(&plan).version, plain().target.version);
    }
}

#[test]
fn a_proxy_that_fails_is_taken_back_and_its_control_plane_goes_when_no_node_runs_it() {
    let mut model = installed(3);
    let targets = newer();
    model.broken.insert(targets.target.revision.to_string());
    assert!(settle_at(&mut model, &targets, &plain(), Phase::Installed));
    assert!(
        model
            .orders
            .failed
            .clone()
            .unwrap()
            .starts_with("gate Proxy on node node-0")
    );
    assert_eq!(labels(&model, is_moving), 1, "the canary only");
    let daemon_set = &targets.target.daemon_set;
    let order = [
        position(&model, |act| deletes(act, "DaemonSet", daemon_set)),
        position(&model, |act| {
            deletes(act, "Deployment", &targets.target.istiod)
        }),
    ];
    assert!(order.is_sorted());
    // Tried again, and well this time.
    model.broken.clear();
    model.orders.failed = None;
    assert!(settle(&mut model, &targets, Phase::Installed));
}

#[test]
fn who_names_the_old_revision_holds_its_end_and_is_named() {
    let label = (names::ISTIO_REVISION_LABEL.to_owned(), "1-6-0".to_owned());
    let shop = NamespaceFact {
        labels: [label].into(),
        ..NamespaceFact::default()
    };
    let cart = PodMeta {
        revision: Some("1-6-0".into()),
        ..PodMeta::default()
    };
    let place = ("shop".to_owned(), "cart-1".to_owned());
    for (what, is_pod) in [("Namespace shop", false), ("Pod shop/cart-1", true)] {
        let mut model = installed(2);
        let targets = newer();
        if is_pod {
            let pod = cart.clone().into();
            model.facts.workloads.insert(place.clone(), pod);
        } else {
            let space = shop.clone().into();
            model.facts.namespaces.insert("shop".to_owned(), space);
        }
        assert!(!settle(&mut model, &targets, Phase::Installed));
        let plan = model.operate(&targets, Phase::Installed, usize::MAX);
        assert_eq!(plan.step, Step::Retire);
        let wait = plan.wait.unwrap();
        assert_eq!(wait.reason, Reason::RevisionInUse);
        assert_eq!(wait.object, what);
        assert!(
            wait.message.contains(what) && wait.message.contains("1-6-0"),
            "{wait:?}"
        );
        // It is cared for as long as it stays.
        let key = ObjectKey::in_system("Deployment", &plain().target.istiod);
        model.facts.objects.remove(&key).unwrap();
        model.operate(&targets, Phase::Installed, usize::MAX);
        assert!(model.facts.objects.contains_key(&key), "{what}");
        model.facts.namespaces.clear();
        model.facts.workloads.remove(&place);
        assert!(settle(&mut model, &targets, Phase::Installed), "{what}");
    }
}

#[test]
fn a_node_that_is_away_holds_the_end_and_the_default_stays_where_it_is() {
    let mut model = installed(3);
    model.set_ready("node-1", false);
    let targets = newer();
    assert!(!settle(&mut model, &targets, Phase::Installed));
    let plan = model.operate(&targets, Phase::Installed, usize::MAX);
    assert_eq!((plan.step, plan.is_revertible), (Step::Finish, true));
    assert_eq!(plan.wait.unwrap().reason, Reason::WaitingForNodes);
    assert_eq!(planes::default_release(&model.facts), Some("1-6-0"));
    model.set_ready("node-1", true);
    assert!(settle(&mut model, &targets, Phase::Installed));
}

#[test]
fn what_was_begun_to_be_finished_is_finished() {
    let targets = newer();
    let mut begun = installed(2);
    let plan = until(&mut begun, &targets, |plan| {
        plan.step == Step::Finish && !plan.acts.is_empty()
    });
    assert!(!plan.is_revertible);
    let is_past_return = |model: &Model| {
        let (from, to) = (plain().target.version, targets.target.version);
        crate::plan::is_past_return(&model.facts, from, to)
    };
    assert!(!is_past_return(&begun));
    // The operator dies after the first act, and somebody aborts, or pauses, or it had stood still at a gate.
    begun.operate(&targets, Phase::Installed, 1);
    assert_eq!(planes::default_release(&begun.facts), Some("1-7-0"));
    assert!(is_past_return(&begun));
    for what in ["aborted", "paused", "halted"] {
        let mut model = begun.clone();
        match what {
            "aborted" => model.orders.failed = Some(what.to_owned()),
            "paused" => (model.orders.paused, model.orders.stops) = (true, true),
            _ => model.orders.halted = Some("gate Soak".to_owned()),
        }
        let plan = model.operate(&targets, Phase::Installed, 0);
        assert!(!plan.is_revertible && plan.failed.is_none(), "{what}");
        assert!(settle(&mut model, &targets, Phase::Installed), "{what}");
    }
}

#[test]
fn a_third_release_waits_until_the_nodes_are_back_from_the_second() {
    let mut model = installed(3);
    let (old, second) = (plain(), newer());
    let third = between(&old, &release((1, 6, 1), LogLevel::Info));
    for round in 0..200_u8 {
        model.operate(&second, Phase::Installed, usize::MAX);
        model.step(round % 7 + 8 * (round / 7));
        if labels(&model, is_moving) == 2 {
            break;
        }
    }
    model.acts.clear();
    assert!(settle(&mut model, &third, Phase::Installed));
    let order = [
        position(&model, |act| {
            deletes(act, "DaemonSet", &second.target.daemon_set)
        }),
        position(&model, |act| {
            applies(act, "Deployment", &third.target.istiod)
        }),
    ];
    assert!(order.is_sorted());
    assert_eq!(model.most_in_flight, 1);
}

#[test]
fn to_an_older_release_the_proxy_of_a_node_goes_before_its_agent() {
    let mut model = installed(2);
    let targets = between(&plain(), &release((1, 5, 0), LogLevel::Info));
    assert!(settle(&mut model, &targets, Phase::Installed));
    for node in ["node-0", "node-1"] {
        let order = [
            position(
                &model,
                |act| matches!(act, Act::MarkNode { name, label: Some(Some(label)), .. } if name == node && label == targets.target.revision.as_str()),
            ),
            position(
                &model,
                |act| matches!(act, Act::MarkNode { name, taint: Some(true), .. } if name == node),
            ),
            position(
                &model,
                |act| matches!(act, Act::DeletePod { node: on, .. } if on == node),
            ),
        ];
        assert!(order.is_sorted(), "{node}: {order:?}");
    }
    assert_eq!(model.most_in_flight, 1);
}

#[test]
fn images_are_pulled_before_anything_is_touched_and_what_pulls_them_goes() {
    let mut model = installed(2);
    let targets = newer();
    let plan = until(&mut model, &targets, |plan| plan.step == Step::Nodes);
    assert_eq!(plan.step, Step::Nodes);
    let order = [
        position(&model, |act| {
            applies(act, "DaemonSet", &targets.target.prepull.key.name)
        }),
        position(&model, |act| {
            applies(act, "Deployment", &targets.target.istiod)
        }),
    ];
    assert!(order.is_sorted());
    assert!(settle(&mut model, &targets, Phase::Installed));
    assert!(
        !model
            .facts
            .objects
            .contains_key(&targets.target.prepull.key)
    );
    // Another log level brings no image.
    model.acts.clear();
    let level = release((1, 7, 0), LogLevel::Debug);
    assert!(settle(&mut model, &level, Phase::Installed));
    assert!(!model.acts.iter().any(|act| applies(
        act,
        "DaemonSet",
        &level.target.prepull.key.name
    )));
}

#[test]
fn an_image_that_no_node_can_pull_fails_the_release_before_anything_is_touched() {
    let mut model = installed(2);
    let targets = newer();
    model.stuck.extend(["node-0", "node-1"].map(str::to_owned));
    until(&mut model, &targets, |plan| {
        plan.step == Step::Prepull && plan.acts.is_empty()
    });
    model.step(3);
    // One puller has ended on the node that comes first, the other one cannot have its image.
    for (node, reason) in [("node-0", "CrashLoopBackOff"), ("node-1", "ErrImagePull")] {
        let name = format!("{}.{node}", targets.target.prepull.key.name);
        let pod = std::sync::Arc::make_mut(model.facts.pods.get_mut(&name).unwrap());
        pod.trouble = Some(Trouble {
            reason: reason.to_owned(),
            image: Some("applink:1-7-0".to_owned()),
            ..Trouble::default()
        });
    }
    assert!(settle_at(&mut model, &targets, &plain(), Phase::Installed));
    let reason = model.orders.failed.clone().unwrap();
    assert!(
        reason.starts_with("gate Prepull on node node-1") && reason.contains("applink:1-7-0"),
        "{reason}"
    );
    let touched = |act: &&Act| {
        matches!(act, Act::MarkNode { .. } | Act::DeletePod { .. })
            || matches!(act, Act::Apply(object) if object.key.kind == "Deployment")
    };
    assert_eq!(model.acts.iter().filter(touched).count(), 0);
}

#[test]
fn a_node_that_pulls_slowly_is_set_aside_and_moves_when_it_has_the_images() {
    let mut model = installed(3);
    let targets = newer();
    model.stuck.insert("node-1".to_owned());
    assert!(!settle(&mut model, &targets, Phase::Installed));
    let plan = model.operate(&targets, Phase::Installed, usize::MAX);
    assert_eq!(plan.step, Step::Finish);
    let nodes = plan.nodes.unwrap();
    assert_eq!(
        (nodes.updated, nodes.failed[0].reason.as_str()),
        (2, "ImagesMissing")
    );
    model.stuck.clear();
    assert!(settle(&mut model, &targets, Phase::Installed));
}

#[test]
fn what_pulls_images_asks_nothing_of_a_node_and_evicts_nobody() {
    let target = plain().target;
    let body = &target.prepull.manifest.body;
    let spec = &body["spec"]["template"]["spec"];
    let images: Vec<&str> = (spec["containers"].as_array().unwrap().iter())
        .map(|one| one["image"].as_str().unwrap())
        .collect();
    assert_eq!(images, ["applink:1", "install-cni:1"]);
    for absent in [
        "priorityClassName",
        "volumes",
        "hostNetwork",
        "serviceAccountName",
    ] {
        assert_eq!(spec[absent], serde_json::Value::Null, "{absent}");
    }
    for one in spec["containers"].as_array().unwrap() {
        let security = &one["securityContext"];
        assert_eq!(security["runAsNonRoot"], true);
        assert_eq!(security["allowPrivilegeEscalation"], false);
    }
}

#[test]
fn every_node_is_read_once_more_before_the_point_of_no_return() {
    let mut model = installed(2);
    let targets = newer();
    until(&mut model, &targets, |plan| {
        plan.step == Step::Finish && !plan.acts.is_empty()
    });
    // Much later: what was proved then proves nothing now.
    model.now += SignedDuration::from_mins(10);
    let plan = model.operate(&targets, Phase::Installed, 0);
    let asks = |act: &&Act| matches!(act, Act::Ask(Question::Proxy { .. }));
    let asks_istiod = |act: &&Act| matches!(act, Act::Ask(Question::ControlPlane { .. }));
    assert_eq!((plan.step, plan.is_revertible), (Step::Verify, true));
    assert_eq!(plan.acts.iter().filter(asks).count(), 2);
    assert_eq!(plan.acts.iter().filter(asks_istiod).count(), 1);
    assert!(settle(&mut model, &targets, Phase::Installed));
}

#[test]
fn a_node_is_watched_from_when_the_connections_of_the_leaver_have_had_their_time() {
    for (soak, least) in [(90, 90 + 240), (0, 0)] {
        let mut model = installed(2);
        model.orders.strategy.canary_soak = SignedDuration::from_secs(soak);
        model.orders.strategy.drain = std::time::Duration::from_mins(4);
        let targets = newer();
        let passes = |plan: &Plan| {
            let mut acts = plan.acts.iter();
            acts.any(|act| matches!(act, Act::PassCanary { .. }))
        };
        until(&mut model, &targets, passes);
        let revision = targets.target.revision.as_str();
        let mut proxies = model.facts.pods_with("app", names::ZTUNNEL);
        let arrived = proxies.find(|pod| pod.labels[names::REVISION_LABEL] == revision);
        let watched = model
            .now
            .duration_since(arrived.unwrap().ready_since.unwrap());
        assert!(
            watched >= SignedDuration::from_secs(least),
            "{soak}: {watched:?}"
        );
        assert!(
            soak > 0 || watched < SignedDuration::from_mins(4),
            "{watched:?}"
        );
    }
}
