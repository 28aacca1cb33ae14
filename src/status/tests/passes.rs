//! What each kind of pass makes of a status.

use super::*;
use crate::api::conditions::Reason;
use crate::api::v1alpha1::LeaveStatus;
use crate::status::{Failure, Problem};

#[test]
fn a_pass_that_saw_nothing_leaves_unknown_behind() {
    let status = next(None, &Outcome::default(), at(0));
    assert_eq!(
        summary(&status),
        [
            "Accepted=Unknown/NotObserved",
            "MembershipHealthy=Unknown/NotObserved",
            "Ready=False/Installing",
            "UpToDate=Unknown/NotObserved"
        ]
    );
}

#[test]
fn an_install_shows_its_step_what_it_waits_for_and_the_numbers_seen() {
    let status = next(None, &working(Step::Nodes), at(0));
    assert_eq!(
        summary(&status),
        [
            "Accepted=True/Valid",
            "MembershipHealthy=Unknown/NotObserved",
            "Ready=False/Installing",
            "Reconciling=True/Nodes",
            "UpToDate=False/Progressing"
        ]
    );
    let rollout = status.rollout.as_ref().unwrap();
    assert_eq!(
        (
            rollout.step.as_str(),
            rollout.to.as_deref(),
            rollout.from.as_deref()
        ),
        ("Nodes", Some("1.6.0"), None)
    );
    assert_eq!(
        rollout.message.as_deref(),
        Some("DaemonSet applink-system/ztunnel: 1 of 2 pods are ready")
    );
    assert_eq!(rollout.nodes.as_ref().unwrap().updated, 1);
    let version = status.version.as_ref().unwrap();
    assert_eq!(
        (version.current.as_deref(), version.target.as_deref()),
        (None, Some("1.6.0"))
    );
    assert_eq!(
        status.upgrade.as_ref().unwrap().follows.as_deref(),
        Some("1.6")
    );
    assert_eq!(
        condition(&status, ConditionType::Accepted).unwrap().message,
        "version 1.6 means 1.6.0 (Istio 1.31.0)"
    );
}

#[test]
fn ready_stays_true_while_a_new_template_is_rolled_out() {
    let during = Outcome {
        components: settled().components,
        ..working(Step::Nodes)
    };
    let status = next(Some(&installed()), &during, at(60));
    assert_eq!(
        summary(&status),
        [
            "Accepted=True/Valid",
            "MembershipHealthy=True/AllServed",
            "Ready=True/Serving",
            "Reconciling=True/Nodes",
            "UpToDate=False/Progressing"
        ]
    );
    assert_eq!(status.rollout.unwrap().from.as_deref(), Some("1.6.0"));
}

#[test]
fn a_component_that_does_not_serve_is_named_with_its_numbers() {
    let outcome = Outcome {
        components: Some(vec![component("istiod", false), component("ztunnel", true)]),
        ..settled()
    };
    let status = next(Some(&installed()), &outcome, at(60));
    let ready = condition(&status, ConditionType::Ready).unwrap();
    assert_eq!(
        (ready.status.as_str(), ready.message.as_str()),
        ("False", "istiod: 1 of 2 ready")
    );
}

#[test]
fn a_blocking_check_stalls_and_says_code_object_and_remedy() {
    let outcome = Outcome {
        findings: vec![blocked()],
        ..working(Step::Preflight)
    };
    let status = next(None, &outcome, at(0));
    let stalled = condition(&status, ConditionType::Stalled).unwrap();
    assert_eq!(stalled.reason, "PreflightFailed");
    assert_eq!(
        stalled.message,
        "ForeignZtunnel: DaemonSet a/ztunnel: it is somebody else's; remove it"
    );
    assert_eq!(condition(&status, ConditionType::Reconciling), None);
    let mended = next(Some(&status), &working(Step::ControlPlane), at(9));
    assert_eq!(condition(&mended, ConditionType::Stalled), None);
    assert_eq!(
        condition(&mended, ConditionType::Reconciling)
            .unwrap()
            .reason,
        "ControlPlane"
    );
}

#[test]
fn a_rival_and_a_missing_right_have_their_own_reasons() {
    for (code, accepted, stalled) in [
        (
            Code::ClusterAlreadyMember,
            "ClusterAlreadyMember",
            "ClusterAlreadyMember",
        ),
        (Code::MissingRights, "Valid", "MissingRights"),
    ] {
        let outcome = Outcome {
            findings: vec![Finding { code, ..blocked() }],
            ..working(Step::Preflight)
        };
        let status = next(None, &outcome, at(0));
        assert_eq!(
            condition(&status, ConditionType::Accepted).unwrap().reason,
            accepted
        );
        assert_eq!(
            condition(&status, ConditionType::Stalled).unwrap().reason,
            stalled
        );
    }
}

#[test]
fn warnings_do_not_stop_anything_and_are_readable() {
    let warning = Finding {
        severity: Severity::Warn,
        code: Code::NodesNotReady,
        ..blocked()
    };
    let outcome = Outcome {
        findings: vec![warning],
        ..settled()
    };
    let status = next(None, &outcome, at(0));
    let accepted = condition(&status, ConditionType::Accepted).unwrap();
    assert_eq!(
        (accepted.status.as_str(), accepted.reason.as_str()),
        ("True", "ValidWithWarnings")
    );
    assert!(accepted.message.ends_with(
        "; warnings: NodesNotReady: DaemonSet a/ztunnel: it is somebody else's; remove it"
    ));
    assert_eq!(condition(&status, ConditionType::Stalled), None);
}

#[test]
fn a_version_nobody_knows_is_not_accepted_and_still_shown() {
    let outcome = resolved(pinned("1.9"), None);
    let status = next(None, &outcome, at(0));
    assert_eq!(
        summary(&status),
        [
            "Accepted=False/UnknownVersion",
            "MembershipHealthy=Unknown/NotObserved",
            "Ready=False/Installing",
            "Stalled=True/UnknownVersion",
            "UpToDate=Unknown/NotObserved"
        ]
    );
    let upgrade = status.upgrade.unwrap();
    assert_eq!(
        (upgrade.mode.as_deref(), upgrade.follows.as_deref()),
        (Some("SelfManaged"), Some("1.9"))
    );
}

#[test]
fn an_invalid_reference_is_not_accepted() {
    let problem = Problem {
        reason: Reason::ReferenceNotResolved,
        message: "Secret applink-operator/pull is not there; create it".into(),
    };
    let status = next(
        None,
        &Outcome {
            invalid: Some(problem),
            ..working(Step::Preflight)
        },
        at(0),
    );
    assert_eq!(
        condition(&status, ConditionType::Accepted).unwrap().reason,
        "ReferenceNotResolved"
    );
    assert_eq!(
        condition(&status, ConditionType::Stalled).unwrap().reason,
        "ReferenceNotResolved"
    );
}

#[test]
fn a_terminal_failure_stalls_and_a_passing_one_is_retried() {
    let failure = |is_terminal| Failure {
        reason: Reason::RootMissing,
        message: "Secret cacerts is gone; restore it".into(),
        is_terminal,
    };
    let with = |is_terminal| {
        next(
            Some(&installed()),
            &Outcome {
                failure: Some(failure(is_terminal)),
                ..settled()
            },
            at(60),
        )
    };
    assert_eq!(
        condition(&with(true), ConditionType::Stalled)
            .unwrap()
            .reason,
        "RootMissing"
    );
    assert_eq!(condition(&with(true), ConditionType::Reconciling), None);
    assert_eq!(
        condition(&with(true), ConditionType::Ready).unwrap().status,
        "True"
    );
    assert_eq!(condition(&with(false), ConditionType::Stalled), None);
    assert_eq!(
        condition(&with(false), ConditionType::Reconciling)
            .unwrap()
            .message,
        "RootMissing: Secret cacerts is gone; restore it"
    );
}

#[test]
fn membership_is_healthy_when_all_enrolled_pods_are_served() {
    let verdict = |namespaces, enrolled, meshed, broken: &[&str]| {
        let membership = MembershipStatus {
            namespaces,
            enrolled,
            meshed,
            broken: broken.iter().map(|&name| name.to_owned()).collect(),
            ..MembershipStatus::default()
        };
        let status = next(
            None,
            &Outcome {
                membership: Some(membership),
                ..settled()
            },
            at(0),
        );
        let condition = condition(&status, ConditionType::MembershipHealthy)
            .unwrap()
            .clone();
        (condition.reason, condition.message)
    };
    assert_eq!(verdict(0, 0, 0, &[]).0, "NothingEnrolled");
    assert_eq!(verdict(1, 0, 0, &[]).0, "AllServed");
    assert_eq!(verdict(1, 3, 3, &[]).0, "AllServed");
    let lost = verdict(1, 3, 2, &["shop/cart-1"]);
    assert_eq!(
        lost,
        (
            "PodsNotServed".to_owned(),
            "2 of 3 enrolled pods are in the mesh: not shop/cart-1".to_owned()
        )
    );
}

#[test]
fn leave_blocked_is_there_only_while_it_holds() {
    let problem = Problem {
        reason: Reason::NamespacesEnrolled,
        message: "shop is enrolled; remove its label".into(),
    };
    let status = next(
        Some(&installed()),
        &Outcome {
            leave_blocked: Some(problem),
            ..settled()
        },
        at(60),
    );
    assert_eq!(
        condition(&status, ConditionType::LeaveBlocked)
            .unwrap()
            .status,
        "True"
    );
    assert_eq!(
        condition(&status, ConditionType::Ready).unwrap().status,
        "True"
    );
    let later = next(Some(&status), &settled(), at(90));
    assert_eq!(condition(&later, ConditionType::LeaveBlocked), None);
}

#[test]
fn a_leaving_member_is_not_ready() {
    let status = next(Some(&installed()), &working(Step::Leave), at(60));
    assert_eq!(
        condition(&status, ConditionType::Ready).unwrap().reason,
        "Leaving"
    );
}

#[test]
fn how_far_a_leave_is_stays_through_a_pass_that_failed_and_goes_when_it_is_held() {
    let leave = |leave: Option<LeaveStatus>| Outcome {
        leave,
        ..working(Step::Leave)
    };
    let begun = LeaveStatus {
        swept: true,
        ..LeaveStatus::default()
    };
    let status = next(Some(&installed()), &leave(Some(begun.clone())), at(60));
    assert_eq!(status.leave, Some(begun.clone()));
    let status = next(Some(&status), &leave(None), at(61));
    assert_eq!(status.leave, Some(begun));
    let held = leave(Some(LeaveStatus::default()));
    assert_eq!(next(Some(&status), &held, at(62)).leave, None);
}
