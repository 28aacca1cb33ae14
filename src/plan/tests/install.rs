//! The first install, and drift after it.

use super::*;
use crate::api::conditions::{Reason, Step};
use crate::api::v1alpha1::Mtls;
use crate::facts::Trouble;
use crate::names;
use crate::plan::restored;

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
    // It starts while its definitions are written; what serves nodes waits for both.
    assert!(applied("Deployment", "istiod") < first(&|act| matches!(act, Act::Define(_))));
    assert!(first(&|act| matches!(act, Act::Define(_))) < applied("DaemonSet", "istio-cni-node"));
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

/// Somebody edits a template, and a pod of one node starts from it before the operator looks.
fn edit(model: &mut Model, set: &str, node: &str) {
    let key = crate::facts::ObjectKey::in_system("DaemonSet", set);
    let mut live = model.facts.objects[&key].as_ref().clone();
    live.body["spec"]["template"]["spec"]["containers"][0]["image"] = "theirs".into();
    live.digest += 1;
    model.facts.objects.insert(key, live.into());
    model.end(&format!("{set}.{node}"));
    for choice in [OBSERVE, 3, 5].repeat(4) {
        model.step(choice);
    }
    assert!(model.silent().is_empty());
}

#[test]
fn pods_that_started_from_an_edited_template_are_replaced_once_it_is_repaired_node_by_node() {
    let target = plain();
    for set in ["istio-cni-node", target.target.daemon_set.as_str()] {
        let mut model = installed(4);
        for node in ["node-1", "node-2"] {
            edit(&mut model, set, node);
        }
        let uids = |model: &Model| -> Vec<(String, String)> {
            let pods = model.facts.pods.values();
            pods.map(|pod| (pod.name.clone(), pod.uid.clone()))
                .collect()
        };
        let before = uids(&model);
        // The template first; what stands in for the one that is to be is not gone to by deleting what runs.
        let plan = model.operate(&target, Phase::Installed, usize::MAX);
        assert!(matches!(&plan.acts[..], [Act::Apply(object)] if object.key.name == set));
        assert!(settle(&mut model, &target, Phase::Installed));
        let after = uids(&model);
        let changed: Vec<&str> = (after.iter().filter(|one| !before.contains(one)))
            .map(|(name, _)| name.as_str())
            .collect();
        let expected = ["node-1", "node-2"].map(|node| format!("{set}.{node}"));
        assert_eq!(changed, expected, "these and no others");
        assert_eq!(model.most_silent, 1, "node by node");
    }
}

#[test]
fn what_others_added_to_a_template_replaces_no_pod() {
    let mut model = installed(2);
    let target = plain();
    let key = crate::facts::ObjectKey::in_system("DaemonSet", "istio-cni-node");
    let mut live = model.facts.objects[&key].as_ref().clone();
    live.body["spec"]["template"]["metadata"]["annotations"]["theirs"] = "x".into();
    live.digest += 1;
    model.facts.objects.insert(key, live.into());
    model.end("istio-cni-node.node-0");
    assert!(settle(&mut model, &target, Phase::Installed));
    let deletes = |act: &&Act| matches!(act, Act::DeletePod { .. } | Act::MarkNode { .. });
    assert_eq!(model.acts.iter().filter(deletes).count(), 0);
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
fn the_policy_of_a_strict_network_goes_when_it_is_permissive_again() {
    let mut blueprint = blueprint(LogLevel::Info, LogLevel::Info);
    blueprint.mtls = Mtls::Strict;
    let strict = Targets::one(Target::of(&blueprint).unwrap().into());
    let policies = |model: &Model| {
        let keys = model.facts.objects.keys();
        keys.filter(|key| key.kind == "PeerAuthentication").count()
    };
    let mut model = Model::new(2);
    assert!(settle(&mut model, &strict, Phase::Installing));
    assert_eq!(policies(&model), 1);
    assert!(settle(&mut model, &plain(), Phase::Installed));
    assert_eq!(policies(&model), 0);
    assert!(settle(&mut model, &strict, Phase::Installed));
    assert_eq!(policies(&model), 1);
}

#[test]
fn a_definition_of_ours_that_is_not_served_is_touched_now_and_then() {
    let mut model = installed(1);
    let now = model.now;
    let name = model.facts.definitions.keys().next().unwrap().clone();
    let ago = |seconds| now - SignedDuration::from_secs(seconds);
    // How long ago its names were accepted and it was touched, whose it is, and whether it is touched now.
    let rows = [
        (Some(9), None, names::MANAGED_BY, false),
        (Some(11), None, names::MANAGED_BY, true),
        (Some(11), None, "somebody", false),
        (Some(300), Some(9), names::MANAGED_BY, false),
        (Some(300), Some(11), names::MANAGED_BY, true),
        (None, None, names::MANAGED_BY, false),
    ];
    for (accepted, touched, owner, expected) in rows {
        let live = model.facts.definitions.get_mut(&name).unwrap();
        let live = std::sync::Arc::make_mut(live);
        live.established = false;
        live.accepted = accepted.map(ago);
        live.labels
            .insert(names::MANAGED_BY_LABEL.to_owned(), owner.to_owned());
        live.annotations.remove(names::TOUCHED_ANNOTATION);
        if let Some(touched) = touched {
            let at = ago(touched).to_string();
            live.annotations
                .insert(names::TOUCHED_ANNOTATION.to_owned(), at);
        }
        let plan = model.operate(&plain(), Phase::Installed, 0);
        let is_touched = plan.acts.contains(&Act::Touch(name.clone()));
        assert_eq!(is_touched, expected, "{accepted:?} {touched:?} {owner}");
        let is_looked_at = plan
            .again_at
            .is_some_and(|at| at > now && at <= now + SignedDuration::from_secs(1));
        let waits = accepted.is_some() && owner == names::MANAGED_BY && !expected;
        assert_eq!(
            is_looked_at, waits,
            "{accepted:?} {touched:?} {owner}: {:?}",
            plan.again_at
        );
    }
}
