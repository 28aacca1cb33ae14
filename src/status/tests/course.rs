//! How a status goes from pass to pass: versions, rollouts, history, times.

use jiff::Timestamp;

use super::*;
use crate::api::conditions::Reason;
use crate::api::v1alpha1::{MAX_HISTORY, UpgradeMode};
use crate::api::v1alpha1::{MemberCounts, RootCertificate};
use crate::catalogue::Malformed;
use crate::status::{Change, Failure, NetworkOutcome, changes, faults, next_network, next_release};

#[test]
fn a_finished_install_serves_is_up_to_date_and_is_history() {
    let status = installed();
    assert_eq!(
        summary(&status),
        [
            "Accepted=True/Valid",
            "MembershipHealthy=True/AllServed",
            "Ready=True/Serving",
            "UpToDate=True/Current"
        ]
    );
    assert_eq!(status.rollout, None);
    let version = status.version.unwrap();
    assert_eq!(
        (
            version.current.as_deref(),
            version.target.as_deref(),
            version.previous
        ),
        (Some("1.6.0"), Some("1.6.0"), None)
    );
    assert_eq!(status.istio_version.as_deref(), Some("1.31.0"));
    assert_eq!(status.history.len(), 1);
    let entry = &status.history[0];
    assert_eq!(
        (
            entry.from.as_deref(),
            entry.to.as_str(),
            entry.result.as_str()
        ),
        (None, "1.6.0", "Succeeded")
    );
    assert_eq!(entry.started.as_ref().unwrap().0, at(0));
    assert_eq!(entry.ended.as_ref().unwrap().0, at(30));
}

#[test]
fn a_pass_that_finds_nothing_new_changes_nothing() {
    let status = installed();
    assert_eq!(next(Some(&status), &settled(), at(500)), status);
    let first = next(None, &working(Step::Nodes), at(0));
    assert_eq!(next(Some(&first), &working(Step::Nodes), at(9)), first);
}

#[test]
fn the_transition_time_moves_only_with_the_status_and_has_whole_seconds() {
    let exact = Timestamp::from_millisecond(1_800_000_000_750).unwrap();
    let first = next(None, &working(Step::ControlPlane), exact);
    let since = condition(&first, ConditionType::Reconciling)
        .unwrap()
        .last_transition_time
        .0;
    assert_eq!(since, at(0));
    let second = next(Some(&first), &working(Step::Nodes), at(10));
    let after = condition(&second, ConditionType::Reconciling).unwrap();
    assert_eq!(
        (after.reason.as_str(), after.last_transition_time.0),
        ("Nodes", at(0))
    );
    let third = next(Some(&second), &settled(), at(20));
    assert_eq!(
        condition(&third, ConditionType::Ready)
            .unwrap()
            .last_transition_time
            .0,
        at(20)
    );
    assert_eq!(
        condition(&third, ConditionType::Accepted)
            .unwrap()
            .last_transition_time
            .0,
        at(0)
    );
}

#[test]
fn a_move_is_remembered_and_history_is_bounded() {
    let mut status = installed();
    for number in 1..30 {
        let version = Version::new(1, 6, number);
        let outcome = Outcome {
            progress: Progress::Settled {
                version,
                istio: Version::new(1, 31, 0),
            },
            ..settled()
        };
        status = next(Some(&status), &outcome, at(i64::from(number) * 100));
    }
    assert_eq!(status.history.len(), MAX_HISTORY);
    assert_eq!(
        (
            status.history[0].from.as_deref(),
            status.history[0].to.as_str()
        ),
        (Some("1.6.28"), "1.6.29")
    );
    assert_eq!(status.version.unwrap().previous.as_deref(), Some("1.6.28"));
}

#[test]
fn another_revision_is_another_rollout() {
    let first = next(None, &working(Step::Nodes), at(0));
    let mut outcome = working(Step::Nodes);
    if let Progress::Working(work) = &mut outcome.progress {
        work.revision = Some("1-6-0-aaaaaa".into());
    }
    let second = next(Some(&first), &outcome, at(50));
    let (before, after) = (first.rollout.unwrap(), second.rollout.unwrap());
    assert_ne!(before.id, after.id);
    assert_eq!(after.started_at.unwrap().0, at(50));
}

#[test]
fn what_a_pass_did_not_look_at_stays_as_it_was() {
    let failure = Failure {
        reason: Reason::Retrying,
        message: "listing nodes: the API server is away".into(),
        is_terminal: false,
    };
    let blind = Outcome {
        failure: Some(failure),
        ..Outcome::default()
    };
    let before = installed();
    let status = next(Some(&before), &blind, at(60));
    assert_eq!(
        summary(&status),
        [
            "Accepted=True/Valid",
            "MembershipHealthy=True/AllServed",
            "Ready=True/Serving",
            "Reconciling=True/Retrying",
            "UpToDate=True/Current"
        ]
    );
    assert_eq!(
        (status.version, status.components, status.upgrade),
        (before.version, before.components, before.upgrade)
    );
}

#[test]
fn changes_are_what_events_tell() {
    let before = next(None, &working(Step::Nodes), at(0));
    let after = next(Some(&before), &settled(), at(30));
    let told: Vec<String> = changes(&before.conditions, &after.conditions)
        .into_iter()
        .map(|change| {
            format!(
                "{} {} {}",
                change.condition, change.reason, change.is_warning
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "Ready Serving false",
            "UpToDate Current false",
            "MembershipHealthy AllServed false"
        ]
    );
    assert_eq!(changes(&after.conditions, &after.conditions), []);
    let stalled = next(
        Some(&after),
        &Outcome {
            findings: vec![blocked()],
            ..settled()
        },
        at(60),
    );
    let told = changes(&after.conditions, &stalled.conditions);
    assert_eq!(told.len(), 1);
    assert!(told[0].is_warning);
}

#[test]
fn what_asks_for_more_under_the_same_reason_is_told_and_a_count_is_not() {
    let warning = |code, message: &str| Finding {
        code,
        severity: Severity::Warn,
        object: "Node a".into(),
        message: message.into(),
        remedy: "look at it".into(),
    };
    let away = warning(Code::NodesNotReady, "it is not Ready");
    let more = warning(Code::NodesNotReady, "2 nodes are not Ready");
    let cordoned = warning(Code::NodesCordoned, "it is cordoned");
    let other = Finding {
        code: Code::PodSecurity,
        ..blocked()
    };
    for (before, after, told) in [
        (vec![away.clone()], vec![more.clone()], vec![]),
        (
            vec![away.clone()],
            vec![more, cordoned.clone()],
            vec!["Accepted"],
        ),
        (vec![away.clone(), cordoned], vec![away], vec![]),
        (vec![blocked()], vec![blocked()], vec![]),
        (vec![blocked()], vec![other.clone()], vec!["Stalled"]),
        (vec![blocked()], vec![blocked(), other], vec!["Stalled"]),
    ] {
        let status = |old: Option<&MeshMemberStatus>, findings| {
            let outcome = Outcome {
                findings,
                ..working(Step::Preflight)
            };
            next(old, &outcome, at(0))
        };
        let before = status(None, before);
        let after = status(Some(&before), after);
        let changes = changes(&before.conditions, &after.conditions);
        let names: Vec<&str> = changes.iter().map(|one| one.condition.as_str()).collect();
        assert_eq!(names, told, "{:?}", after.conditions);
    }
}

#[test]
fn what_a_release_is_refused_for_is_told_until_it_is_taken_and_a_good_one_tells_nothing() {
    let refusals = [
        (None, vec![]),
        (
            Some(Malformed::DuplicateChannel("Rapid")),
            vec!["MalformedRelease true"],
        ),
        (Some(Malformed::DuplicateChannel("Rapid")), vec![]),
        (
            Some(Malformed::ImageWithoutVersion("pilot")),
            vec!["MalformedRelease true"],
        ),
        (None, vec!["Valid false"]),
        (None, vec![]),
    ];
    let mut status = None;
    for (refused, told) in refusals {
        let next = next_release(status.as_ref(), Some(1), refused.as_ref(), at(0));
        let old = status.map_or_else(Vec::new, |old| old.conditions);
        assert_eq!(words(&faults(&old, &next.conditions)), told, "{refused:?}");
        status = Some(next);
    }
}

#[test]
fn a_network_tells_that_its_root_is_lost_and_back_and_not_how_many_members_serve() {
    let outcome = |ready, failure| NetworkOutcome {
        generation: Some(1),
        members: MemberCounts {
            total: 1,
            ready,
            up_to_date: ready,
        },
        root: Some(RootCertificate {
            fingerprint: "ab".into(),
            not_after: None,
        }),
        failure,
    };
    let lost = Failure {
        reason: Reason::RootMissing,
        message: "restore it".into(),
        is_terminal: true,
    };
    let mut status = None;
    for (outcome, told) in [
        (outcome(0, None), vec![]),
        (outcome(1, None), vec![]),
        (
            outcome(1, Some(lost)),
            vec!["RootMissing true", "RootMissing true"],
        ),
        (outcome(1, None), vec!["Serving false"]),
    ] {
        let next = next_network(status.as_ref(), &outcome, at(0));
        let old = status.map_or_else(Vec::new, |old| old.conditions);
        assert_eq!(words(&faults(&old, &next.conditions)), told, "{outcome:?}");
        status = Some(next);
    }
}

/// Reason of each, and whether it is bad news.
fn words(changes: &[Change]) -> Vec<String> {
    changes
        .iter()
        .map(|change| format!("{} {}", change.reason, change.is_warning))
        .collect()
}

#[test]
fn a_channel_is_shown_as_what_is_followed() {
    let upgrade = Upgrade {
        mode: Some(UpgradeMode::FullyManaged),
        ..Upgrade::default()
    };
    let status = next(None, &resolved(upgrade, None), at(0));
    let shown = status.upgrade.unwrap();
    assert_eq!(
        (
            shown.mode.as_deref(),
            shown.channel.as_deref(),
            shown.version,
            shown.follows.as_deref()
        ),
        (Some("FullyManaged"), Some("Stable"), None, Some("Stable"))
    );
}

#[test]
fn the_generation_is_on_the_status_and_on_each_condition() {
    let status = next(None, &working(Step::Nodes), at(0));
    assert_eq!(status.observed_generation, Some(3));
    assert!(
        status
            .conditions
            .iter()
            .all(|condition| condition.observed_generation == Some(3))
    );
}
