//! How a status goes through a rollout that was decided: begun, held up, reached, taken back, given up.

mod halts;

use std::collections::BTreeMap;

use super::*;
use crate::api::conditions::Reason;
use crate::api::v1alpha1::{FailedRelease, HistoryEntry};
use crate::status::{Beginning, Ending, Judgement, Problem, Rollout, Settled, Steering};

const RUNNING: Version = Version::new(1, 5, 4);
const FOLLOWS: &str = "Rapid";

/// 1.5.4 runs, reached by a pin.
fn running() -> MeshMemberStatus {
    let outcome = at_rest(Steering {
        follows: Some("1.5".into()),
        settled: Some(made("old")),
        ..Steering::default()
    });
    next(None, &outcome, at(0))
}

/// A template of that hash.
fn made(hash: &str) -> Settled {
    Settled {
        hash: hash.into(),
        settings: "set".into(),
        images: "images".into(),
    }
}

fn at_rest(steering: Steering) -> Outcome {
    Outcome {
        progress: Progress::Settled {
            version: RUNNING,
            istio: Version::new(1, 30, 4),
        },
        steering,
        ..settled()
    }
}

fn follows() -> Steering {
    Steering {
        follows: Some(FOLLOWS.into()),
        ..Steering::default()
    }
}

fn begins() -> Outcome {
    let beginning = Beginning {
        from: RUNNING,
        to: ARRIVING,
        revision: "1-6-0-3fa9c1".into(),
        hash: "new".into(),
        settings: "settings".into(),
        follows: FOLLOWS.into(),
        by: "Channel",
        why: "channel Rapid has moved".into(),
        fixes: true,
    };
    Outcome {
        steering: Steering {
            begins: Some(beginning),
            ..follows()
        },
        ..working(Step::Preflight)
    }
}

fn moving() -> Outcome {
    Outcome {
        steering: follows(),
        ..working(Step::Nodes)
    }
}

fn begun() -> MeshMemberStatus {
    next(Some(&running()), &begins(), at(100))
}

/// It ended at this version.
fn ends(version: Version, ended: Ending, steering: Steering) -> MeshMemberStatus {
    let before = next(Some(&begun()), &moving(), at(150));
    let outcome = Outcome {
        progress: Progress::Settled {
            version,
            istio: Version::new(1, 31, 0),
        },
        rollout: Rollout {
            ended: Some(ended),
            ..Rollout::default()
        },
        steering,
        ..settled()
    };
    next(Some(&before), &outcome, at(200))
}

fn said(status: &MeshMemberStatus, kind: ConditionType) -> (String, String) {
    let one = condition(status, kind).unwrap();
    (
        format!("{}/{}", one.status, one.reason),
        one.message.clone(),
    )
}

fn failed() -> FailedRelease {
    FailedRelease {
        version: "1.6.0".into(),
        hash: "new".into(),
        reason: "node a: it restarted".into(),
        ..FailedRelease::default()
    }
}

#[test]
fn what_begins_is_written_down_with_everything_that_it_is_judged_by_later() {
    let status = begun();
    let version = status.version.as_ref().unwrap();
    assert_eq!(
        (version.current.as_deref(), version.target.as_deref()),
        (Some("1.5.4"), Some("1.6.0"))
    );
    let rollout = status.rollout.as_ref().unwrap();
    assert_eq!(
        [
            &rollout.from,
            &rollout.to,
            &rollout.revision,
            &rollout.hash,
            &rollout.follows,
            &rollout.initiated_by
        ]
        .map(Option::as_deref),
        [
            Some("1.5.4"),
            Some("1.6.0"),
            Some("1-6-0-3fa9c1"),
            Some("new"),
            Some("Rapid"),
            Some("Channel")
        ]
    );
    assert_eq!(
        (rollout.fixes, rollout.revertible),
        (Some(true), Some(true))
    );
    assert_eq!(rollout.started_at.as_ref().unwrap().0, at(100));
    assert_eq!(
        said(&status, ConditionType::UpToDate).0,
        "False/Progressing"
    );
    // The next pass keeps all of it.
    let later = next(Some(&status), &moving(), at(150)).rollout.unwrap();
    assert_eq!(
        (later.id, later.follows, later.fixes, later.initiated_by),
        (
            rollout.id.clone(),
            rollout.follows.clone(),
            rollout.fixes,
            rollout.initiated_by.clone()
        )
    );
    assert_eq!(later.step, "Nodes");
}

#[test]
fn what_is_reached_runs_and_was_reached_by_what_began_it() {
    let steering = Steering {
        settled: Some(made("new")),
        ..follows()
    };
    let status = ends(ARRIVING, Ending::Succeeded, steering);
    let version = status.version.as_ref().unwrap();
    assert_eq!(
        [
            &version.current,
            &version.target,
            &version.previous,
            &version.reached_by,
            &version.hash,
            &version.images
        ]
        .map(Option::as_deref),
        [
            Some("1.6.0"),
            Some("1.6.0"),
            Some("1.5.4"),
            Some("Rapid"),
            Some("new"),
            Some("images")
        ]
    );
    assert_eq!(status.rollout, None);
    let HistoryEntry {
        from,
        to,
        started,
        ended,
        initiated_by,
        result,
        reason,
    } = &status.history[0];
    assert_eq!(
        (from.as_deref(), to.as_str(), result.as_str(), reason),
        (Some("1.5.4"), "1.6.0", "Succeeded", &None)
    );
    assert_eq!(
        (started.as_ref().unwrap().0, ended.as_ref().unwrap().0),
        (at(100), at(200))
    );
    assert_eq!(initiated_by.as_deref(), Some("Channel"));
    // Another hop may follow: nobody who waits for UpToDate is woken between them.
    assert_eq!(
        said(&status, ConditionType::UpToDate).0,
        "False/Progressing"
    );
}

#[test]
fn what_failed_is_marked_for_what_was_followed_and_what_ran_before_runs_again() {
    let before = next(Some(&begun()), &moving(), at(150));
    let mut outcome = moving();
    outcome.rollout.failed = Some(failed());
    let marked = next(Some(&before), &outcome, at(160));
    let [mark] = &marked.failed_releases[..] else {
        panic!("{:?}", marked.failed_releases)
    };
    assert_eq!(
        (mark.version.as_str(), mark.follows.as_deref()),
        ("1.6.0", Some(FOLLOWS))
    );
    let reason = "node a: it restarted".to_owned();
    let back = ends(RUNNING, Ending::RolledBack { reason }, follows());
    let version = back.version.as_ref().unwrap();
    assert_eq!(
        [
            &version.current,
            &version.target,
            &version.previous,
            &version.reached_by,
            &version.hash
        ]
        .map(Option::as_deref),
        [Some("1.5.4"), Some("1.5.4"), None, Some("1.5"), Some("old")]
    );
    let entry = &back.history[0];
    assert_eq!(
        (
            entry.from.as_deref(),
            entry.to.as_str(),
            entry.result.as_str(),
            entry.reason.as_deref()
        ),
        (
            Some("1.5.4"),
            "1.6.0",
            "RolledBack",
            Some("node a: it restarted")
        )
    );
    let (reason, message) = said(&back, ConditionType::UpToDate);
    assert_eq!(reason, "False/ReleaseFailed");
    assert_eq!(
        message,
        "1.6.0 failed and was taken back, 1.5.4 runs again: node a: it restarted"
    );
    assert_eq!(said(&back, ConditionType::Ready).0, "True/Serving");
}

#[test]
fn a_mark_goes_with_a_retry_and_with_another_channel_or_pin_for_good() {
    let mut marked = running();
    marked.failed_releases = vec![FailedRelease {
        follows: Some(FOLLOWS.into()),
        ..failed()
    }];
    let after = |steering| {
        next(Some(&marked), &at_rest(steering), at(300))
            .failed_releases
            .len()
    };
    assert_eq!(after(follows()), 1);
    assert_eq!(after(Steering::default()), 1);
    let other = Steering {
        follows: Some("Stable".into()),
        ..Steering::default()
    };
    assert_eq!(after(other), 0);
    let retried = Steering {
        retries: true,
        ..follows()
    };
    assert_eq!(after(retried), 0);
}

#[test]
fn what_is_given_up_goes_back_is_marked_and_its_request_is_handled() {
    let mut outcome = moving();
    outcome.steering.returns = Some("somebody asked".into());
    outcome.steering.given_up = Some(failed());
    outcome.steering.requests = BTreeMap::from([("abort".into(), "7".into())]);
    let status = next(Some(&begun()), &outcome, at(150));
    assert_eq!(
        status.rollout.as_ref().unwrap().returns.as_deref(),
        Some("somebody asked")
    );
    assert_eq!(status.failed_releases.len(), 1);
    assert_eq!(status.handled_requests["abort"], "7");
    let later = next(Some(&status), &moving(), at(160)).rollout.unwrap();
    assert_eq!(later.returns.as_deref(), Some("somebody asked"));
}

#[test]
fn a_rollout_that_is_held_up_says_by_what_and_a_member_that_rests_what_was_decided() {
    let mut outcome = moving();
    outcome.steering.held_up = Some(Problem {
        reason: Reason::Paused,
        message: "paused by spec.upgrade.paused".into(),
    });
    let held = next(Some(&begun()), &outcome, at(150));
    let (reason, message) = said(&held, ConditionType::UpToDate);
    assert_eq!(reason, "False/Paused");
    assert!(
        message.starts_with("paused by spec.upgrade.paused; what has begun"),
        "{message}"
    );
    let waits = Steering {
        verdict: Some(Judgement {
            is_true: false,
            reason: Reason::WaitingForWindow,
            message: "the move to 1.6.0 waits".into(),
        }),
        waiting_for: Some("the move to 1.6.0 waits".into()),
        next_window: Some(at(5000)),
        ..follows()
    };
    let status = next(Some(&running()), &at_rest(waits), at(150));
    assert_eq!(
        said(&status, ConditionType::UpToDate),
        (
            "False/WaitingForWindow".to_owned(),
            "the move to 1.6.0 waits".to_owned()
        )
    );
    let upgrade = status.upgrade.unwrap();
    assert_eq!(
        upgrade.waiting_for.as_deref(),
        Some("the move to 1.6.0 waits")
    );
    assert_eq!(upgrade.next_window.unwrap().0, at(5000));
    assert_eq!(status.rollout, None);
}

#[test]
fn a_refused_spec_is_told_and_what_runs_stays() {
    let steering = Steering {
        refusal: Some(Problem {
            reason: Reason::TooFarBack,
            message: "1.4.7 is more than one minor back".into(),
        }),
        verdict: Some(Judgement {
            is_true: false,
            reason: Reason::NotAccepted,
            message: "1.4.7 is more than one minor back".into(),
        }),
        ..Steering::default()
    };
    let status = next(Some(&running()), &at_rest(steering), at(150));
    for (kind, expected) in [
        (ConditionType::Accepted, "False/TooFarBack"),
        (ConditionType::Stalled, "True/TooFarBack"),
        (ConditionType::UpToDate, "False/NotAccepted"),
        (ConditionType::Ready, "True/Serving"),
    ] {
        assert_eq!(said(&status, kind).0, expected);
    }
    assert_eq!(status.version.unwrap().reached_by.as_deref(), Some("1.5"));
}

#[test]
fn a_wish_that_moves_nothing_is_what_was_reached_by_from_then_on() {
    let reached = |is_reached| {
        let steering = Steering {
            is_reached,
            ..follows()
        };
        let status = next(Some(&running()), &at_rest(steering), at(150));
        status.version.unwrap().reached_by.unwrap()
    };
    assert_eq!(
        (reached(false), reached(true)),
        ("1.5".into(), FOLLOWS.into())
    );
}

#[test]
fn checks_of_a_member_that_runs_are_no_rollout() {
    let mut outcome = working(Step::Preflight);
    outcome.findings = vec![blocked()];
    let status = next(Some(&running()), &outcome, at(150));
    assert_eq!(status.rollout, None);
    assert_eq!(status.version.unwrap().target.as_deref(), Some("1.5.4"));
}

#[test]
fn each_wave_is_told_once() {
    use crate::api::v1alpha1::RolloutStatus;
    use crate::status::wave;
    let rollout = |id: &str, wave| RolloutStatus {
        id: id.into(),
        to: Some("1.6.0".into()),
        wave,
        ..RolloutStatus::default()
    };
    let told = |old: Option<&RolloutStatus>, new: &RolloutStatus| {
        wave(old, Some(new)).map(|change| change.message)
    };
    let first = rollout("1", Some(1));
    assert_eq!(
        told(None, &first).as_deref(),
        Some("wave 1 of the rollout to 1.6.0")
    );
    assert_eq!(told(Some(&first), &first), None);
    assert_eq!(told(Some(&first), &rollout("1", None)), None);
    assert!(told(Some(&first), &rollout("1", Some(2))).is_some());
    assert!(told(Some(&first), &rollout("2", Some(1))).is_some());
    assert_eq!(wave(Some(&first), None), None);
}
