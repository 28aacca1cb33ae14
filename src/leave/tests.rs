//! The order of a leave, and what may hold it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::desired::Manifest;
use crate::facts::{GatewayFact, NamespaceFact, Node, Trouble};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn add(facts: &mut Facts, kind: &str, name: &str, labels: &[(&str, &str)]) {
    let namespace = (!kind.starts_with("Cluster") && !kind.starts_with("Validating"))
        .then(|| names::SYSTEM_NAMESPACE.to_owned());
    let mut all = serde_json::Map::new();
    all.insert(names::MEMBER_LABEL.to_owned(), json!("east"));
    for (key, value) in labels {
        all.insert((*key).to_owned(), json!(value));
    }
    let key = ObjectKey {
        kind: kind.to_owned(),
        namespace,
        name: name.to_owned(),
    };
    let live = Live {
        uid: name.to_owned(),
        generation: 1,
        body: json!({"metadata": {"labels": all}, "status": {"observedGeneration": 1, "desiredNumberScheduled": 1}}),
        ..Live::default()
    };
    facts.objects.insert(key, Arc::new(live));
}

fn pod(facts: &mut Facts, name: &str, label: (&str, &str), node: &str, ready: bool) {
    let pod = Pod {
        name: name.to_owned(),
        node: node.to_owned(),
        ready,
        labels: BTreeMap::from([(label.0.to_owned(), label.1.to_owned())]),
        ..Pod::default()
    };
    facts.pods.insert(name.to_owned(), Arc::new(pod));
}

/// A cluster of one node with everything installed.
fn cluster() -> Facts {
    let mut facts = Facts::default();
    let node = Node {
        name: "a".to_owned(),
        ready: true,
        ..Node::default()
    };
    facts.nodes.insert("a".to_owned(), Arc::new(node));
    add(&mut facts, "DaemonSet", "ztunnel-1", &[("app", "ztunnel")]);
    add(
        &mut facts,
        "DaemonSet",
        names::CNI_DAEMON_SET,
        &[("k8s-app", names::CNI_DAEMON_SET)],
    );
    add(&mut facts, "Deployment", "istiod-1", &[("app", "istiod")]);
    add(&mut facts, "ClusterRoleBinding", "applink-istio-cni", &[]);
    add(
        &mut facts,
        "ValidatingWebhookConfiguration",
        names::DEFAULT_VALIDATOR,
        &[],
    );
    pod(&mut facts, "z", ("app", "ztunnel"), "a", true);
    pod(
        &mut facts,
        "c",
        ("k8s-app", names::CNI_DAEMON_SET),
        "a",
        true,
    );
    facts
}

fn enrolled() -> Membership {
    Membership {
        namespaces: vec!["shop".to_owned()],
        ..Membership::default()
    }
}

fn terms(policy: LeavePolicy) -> Terms {
    let manifest = Manifest {
        resource: crate::desired::crds::resource(),
        namespace: Some(names::SYSTEM_NAMESPACE.to_owned()),
        name: CHECK.to_owned(),
        body: json!({"metadata": {}}),
        initial: None,
    };
    let mut check = Object::of(manifest);
    check.key.kind = "DaemonSet".to_owned();
    Terms {
        policy,
        check: Some(check),
    }
}

fn deleted(leave: &Leave) -> Vec<String> {
    let Leave::Going(plan) = leave else {
        panic!("not going: {leave:?}")
    };
    plan.acts
        .iter()
        .filter_map(|act| match act {
            Act::Delete { key, .. } => Some(key.name.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn pods_of_the_probe_that_a_rollout_left_go_first() {
    let mut facts = cluster();
    for (name, deleting) in [("node-a", false), ("peer-0-a", true)] {
        let pod = Pod {
            name: name.to_owned(),
            deleting,
            ..Pod::default()
        };
        facts.probes.insert(name.to_owned(), Arc::new(pod));
    }
    let mut progress = Progress::default();
    let none = Membership::default();
    let terms = terms(LeavePolicy::RefuseWhileEnrolled);
    let leave = plan(&facts, &terms, &none, &mut progress, at(0));
    assert_eq!(deleted(&leave), ["node-a", "ztunnel-1"]);
    let nothing = Facts {
        probes: facts.probes,
        ..Facts::default()
    };
    let mut progress = Progress::default();
    let leave = plan(&nothing, &terms, &none, &mut progress, at(0));
    assert_eq!(deleted(&leave), ["node-a"], "though nothing else is left");
}

#[test]
fn enrolled_namespaces_hold_a_leave_and_are_named() {
    let mut progress = Progress::default();
    let leave = plan(
        &cluster(),
        &terms(LeavePolicy::RefuseWhileEnrolled),
        &enrolled(),
        &mut progress,
        at(0),
    );
    let Leave::Blocked(problem) = leave else {
        panic!("{leave:?}")
    };
    assert_eq!(problem.reason, Reason::NamespacesEnrolled);
    assert!(problem.message.contains("shop") && problem.message.contains("leavePolicy"));
}

#[test]
fn pods_with_a_label_of_their_own_hold_it_under_either_policy() {
    let membership = Membership {
        by_pod: vec!["odd".to_owned()],
        ..Membership::default()
    };
    for policy in [
        LeavePolicy::RefuseWhileEnrolled,
        LeavePolicy::UnenrolNamespaces,
    ] {
        let leave = plan(
            &cluster(),
            &terms(policy),
            &membership,
            &mut Progress::default(),
            at(0),
        );
        assert!(matches!(leave, Leave::Blocked(problem) if problem.message.contains("odd")));
    }
}

#[test]
fn everything_goes_in_order_and_each_stage_waits_for_the_one_before() {
    let (mut facts, mut progress) = (cluster(), Progress::default());
    let terms = terms(LeavePolicy::UnenrolNamespaces);
    facts
        .namespaces
        .insert("shop".to_owned(), Arc::new(NamespaceFact::default()));
    let mut go = |facts: &Facts, membership: &Membership| {
        plan(facts, &terms, membership, &mut progress, at(0))
    };
    let leave = go(&facts, &enrolled());
    assert!(
        matches!(&leave, Leave::Going(plan) if matches!(&plan.acts[..], [Act::Unenrol { namespace, .. }] if namespace == "shop"))
    );
    let redirected = Membership {
        redirected: vec!["shop/web".to_owned()],
        ..Membership::default()
    };
    assert!(
        deleted(&go(&facts, &redirected)).is_empty(),
        "pods are still captured"
    );
    let none = Membership::default();
    assert_eq!(deleted(&go(&facts, &none)), ["ztunnel-1"]);
    facts.objects.retain(|key, _| key.name != "ztunnel-1");
    assert!(deleted(&go(&facts, &none)).is_empty(), "its pod still ends");
    facts.pods.remove("z");
    assert_eq!(deleted(&go(&facts, &none)), [names::CNI_DAEMON_SET]);
    facts
        .objects
        .retain(|key, _| key.name != names::CNI_DAEMON_SET);
    assert!(
        deleted(&go(&facts, &none)).is_empty(),
        "agents clean up with their rights"
    );
    facts.pods.remove("c");
    let leave = go(&facts, &none);
    assert!(
        matches!(&leave, Leave::Going(plan) if matches!(&plan.acts[..], [Act::Apply(object)] if object.key.name == CHECK))
    );
    add(&mut facts, "DaemonSet", CHECK, &[("app", CHECK)]);
    pod(&mut facts, "k", ("app", CHECK), "a", false);
    let leave = go(&facts, &none);
    assert!(
        matches!(&leave, Leave::Going(plan) if plan.wait.as_ref().is_some_and(|wait| wait.object == "Node a"))
    );
    pod(&mut facts, "k", ("app", CHECK), "a", true);
    assert_eq!(deleted(&go(&facts, &none)), [CHECK]);
    facts.objects.retain(|key, _| key.name != CHECK);
    facts.pods.remove("k");
    // A node that was on its way, before the first label of it was written.
    let before = facts.nodes.clone();
    let [key, effect] = [names::MOVING_TAINT, "NoSchedule"].map(str::to_owned);
    let marked = Arc::make_mut(facts.nodes.get_mut("a").unwrap());
    marked.taints.push((key, String::new(), effect));
    let leave = go(&facts, &none);
    let frees = |act: &Act| matches!(act, Act::MarkNode { name, taint, .. } if name == "a" && *taint == Some(false));
    assert!(matches!(&leave, Leave::Going(plan) if plan.acts.iter().any(frees)));
    assert_eq!(
        deleted(&leave),
        [names::DEFAULT_VALIDATOR, "istiod-1", "applink-istio-cni"],
        "webhooks before who answers them, rights last"
    );
    facts.nodes = before;
    facts.objects.clear();
    assert_eq!(go(&facts, &none), Leave::Sweep);
    progress.swept = true;
    assert_eq!(
        plan(&facts, &terms, &none, &mut progress, at(0)),
        Leave::Done
    );
    assert!(progress.left.is_empty());
}

#[test]
fn a_stage_waits_for_its_limit_only_and_tells_what_is_left() {
    let (facts, mut progress) = (cluster(), Progress::default());
    let terms = terms(LeavePolicy::UnenrolNamespaces);
    let stuck = Membership {
        redirected: vec!["shop/web".to_owned()],
        ..Membership::default()
    };
    let mut go = |second: i64| plan(&facts, &terms, &stuck, &mut progress, at(second));
    let leave = go(0);
    assert!(matches!(&leave, Leave::Going(plan) if plan.again_at == Some(at(180))));
    assert!(deleted(&go(179)).is_empty());
    assert_eq!(deleted(&go(180)), ["ztunnel-1"]);
    assert_eq!(
        progress.left,
        ["Pod shop/web still redirected by the network agent"]
    );
}

#[test]
fn an_operator_that_is_started_again_and_again_starts_no_clock_anew() {
    let facts = cluster();
    let terms = terms(LeavePolicy::UnenrolNamespaces);
    let stuck = Membership {
        redirected: vec!["shop/web".to_owned()],
        ..Membership::default()
    };
    let mut written = Progress::default().write();
    for second in (0..180).step_by(20) {
        let mut progress = Progress::read(&written);
        let leave = plan(&facts, &terms, &stuck, &mut progress, at(second));
        assert!(deleted(&leave).is_empty(), "after {second} s");
        written = progress.write();
    }
    let mut progress = Progress::read(&written);
    let leave = plan(&facts, &terms, &stuck, &mut progress, at(180));
    assert_eq!(deleted(&leave), ["ztunnel-1"]);
    assert_eq!(
        Progress::read(&progress.write()),
        progress,
        "nothing is lost"
    );
}

#[test]
fn stages_are_read_by_the_names_they_are_written_with_and_others_are_passed_over() {
    let since = Stage::ALL
        .iter()
        .zip(0..)
        .map(|(stage, second)| (*stage, at(second)))
        .collect();
    let progress = Progress {
        since,
        swept: true,
        left: vec!["Node a is not clean".to_owned()],
    };
    let mut written = progress.write();
    written.stages[0].name = "Farewell".to_owned();
    let read = Progress::read(&written);
    assert_eq!(read.since.len(), progress.since.len() - 1);
    assert!(read.swept && read.left == progress.left);
}

#[test]
fn pods_of_a_node_that_is_gone_or_silent_are_not_waited_for() {
    for keep in [false, true] {
        let mut facts = cluster();
        if keep {
            let mut node = facts.nodes["a"].as_ref().clone();
            node.ready = false;
            facts.nodes.insert("a".to_owned(), Arc::new(node));
        } else {
            facts.nodes.clear();
        }
        facts.objects.retain(|key, _| key.kind != "DaemonSet");
        let leave = plan(
            &facts,
            &Terms {
                check: None,
                ..terms(LeavePolicy::UnenrolNamespaces)
            },
            &Membership::default(),
            &mut Progress::default(),
            at(0),
        );
        assert_eq!(deleted(&leave).len(), 3, "the rest is deleted at once");
    }
}

/// The check has been made and every agent is gone; the node's pod is `ready`, or in trouble.
fn checking(ready: bool, trouble: Option<Trouble>) -> (Facts, Progress) {
    let mut facts = cluster();
    facts.objects.retain(|key, _| key.kind != "DaemonSet");
    facts.pods.clear();
    add(&mut facts, "DaemonSet", CHECK, &[("app", CHECK)]);
    pod(&mut facts, "k", ("app", CHECK), "a", ready);
    let mut check = facts.pods["k"].as_ref().clone();
    check.trouble = trouble;
    facts.pods.insert("k".to_owned(), Arc::new(check));
    let progress = Progress {
        since: BTreeMap::from([(Stage::Check, at(0))]),
        ..Progress::default()
    };
    (facts, progress)
}

#[test]
fn a_node_that_does_not_answer_is_told_as_not_looked_at_with_what_to_do_and_holds_nothing() {
    let (mut facts, mut progress) = checking(true, None);
    let lost = Node {
        name: "lost".to_owned(),
        os: "linux".to_owned(),
        ..Node::default()
    };
    facts.nodes.insert("lost".to_owned(), Arc::new(lost));
    pod(&mut facts, "l", ("app", CHECK), "lost", false);
    let leave = plan(
        &facts,
        &terms(LeavePolicy::UnenrolNamespaces),
        &Membership::default(),
        &mut progress,
        at(0),
    );
    assert_eq!(deleted(&leave), [CHECK]);
    let [left] = &progress.left[..] else {
        panic!("{:?}", progress.left)
    };
    assert!(
        left.starts_with("Node lost not Ready") && left.contains("applink verify-node-clean"),
        "{left}"
    );
}

#[test]
fn a_check_that_cannot_run_says_why_and_does_not_call_its_node_dirty() {
    let trouble = Trouble {
        reason: "ImagePullBackOff".to_owned(),
        message: "not found".to_owned(),
        image: Some("applink:1".to_owned()),
    };
    let (facts, mut progress) = checking(false, Some(trouble));
    let mut go = |second: i64| {
        let terms = terms(LeavePolicy::UnenrolNamespaces);
        plan(
            &facts,
            &terms,
            &Membership::default(),
            &mut progress,
            at(second),
        )
    };
    let Leave::Going(going) = go(0) else {
        panic!("not going")
    };
    let wait = going.wait.unwrap();
    assert_eq!(wait.object, "Node a");
    assert!(
        wait.message
            .contains("cannot be looked at: ImagePullBackOff of applink:1"),
        "{wait:?}"
    );
    assert_eq!(deleted(&go(180)), [CHECK], "and the leave is bounded");
    assert_eq!(
        progress.left,
        ["Node a cannot be looked at: ImagePullBackOff of applink:1: not found"]
    );
}

#[test]
fn an_operator_that_is_started_after_the_last_object_went_sweeps_before_it_lets_go() {
    let mut facts = cluster();
    facts.objects.clear();
    facts.pods.clear();
    let terms = terms(LeavePolicy::RefuseWhileEnrolled);
    pod(&mut facts, "d", ("app", names::ISTIOD), "a", true);
    let mut ending = facts.pods["d"].as_ref().clone();
    ending
        .labels
        .insert(names::MEMBER_LABEL.to_owned(), "east".to_owned());
    facts.pods.insert("d".to_owned(), Arc::new(ending));
    // A namespace that was enrolled since then is served by nobody and holds nothing.
    let go =
        |facts: &Facts, progress: &mut Progress| plan(facts, &terms, &enrolled(), progress, at(0));
    let mut progress = Progress::default();
    let leave = go(&facts, &mut progress);
    assert!(
        matches!(&leave, Leave::Going(plan) if plan.acts.is_empty() && plan.wait.is_some()),
        "istiod still writes: {leave:?}"
    );
    facts.pods.clear();
    let mut progress = Progress::default();
    assert_eq!(go(&facts, &mut progress), Leave::Sweep);
    progress.swept = true;
    assert_eq!(go(&facts, &mut progress), Leave::Done);
}

#[test]
fn nodes_are_not_looked_at_again_once_the_rest_has_begun_to_go() {
    let mut facts = cluster();
    facts
        .objects
        .retain(|key, _| key.kind == "ClusterRoleBinding");
    facts.pods.clear();
    let leave = plan(
        &facts,
        &terms(LeavePolicy::UnenrolNamespaces),
        &Membership::default(),
        &mut Progress::default(),
        at(0),
    );
    assert_eq!(deleted(&leave), ["applink-istio-cni"]);
}

#[test]
fn waypoints_that_are_pinned_are_given_back_and_hold_a_leave_to_its_limit_only() {
    let gateway = GatewayFact {
        revision: Some("1-6-0".to_owned()),
        pinned: Some("1-6-0".to_owned()),
        ..GatewayFact::default()
    };
    let place = ("shop".to_owned(), "waypoint".to_owned());
    let mut facts = Facts::default();
    facts.gateways.insert(place.clone(), gateway.clone().into());
    let members = Membership::default();
    let terms = Terms::default();
    let mut progress = Progress::default();
    let first = plan(&facts, &terms, &members, &mut progress, at(0));
    let Leave::Going(going) = first else {
        panic!("not going: {first:?}")
    };
    assert_eq!(going.acts, [Act::pin(&place, &gateway, None)]);
    // Somebody refuses the write.
    let late = plan(&facts, &terms, &members, &mut progress, at(180));
    assert_eq!(late, Leave::Sweep);
    assert!(progress.left[0].contains("Gateway shop/waypoint"));
    facts.gateways.clear();
    let mut progress = Progress::default();
    let soon = plan(&facts, &terms, &members, &mut progress, at(1));
    assert_eq!(soon, Leave::Sweep);
}
