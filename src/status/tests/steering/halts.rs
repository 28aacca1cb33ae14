//! Rollouts that stand still at a gate.

use super::*;
use crate::status::changes;

#[test]
fn a_gate_that_is_to_pause_is_told_once_and_stays_until_somebody_decides() {
    let cause = "gate Proxy on node a, pod p: not ready for 300 s";
    let fails = |cause: &str| {
        let mut outcome = moving();
        outcome.rollout.halted = Some(cause.into());
        outcome
    };
    let before = next(Some(&begun()), &moving(), at(140));
    let halted = next(Some(&before), &fails(cause), at(150));
    let text = |status: &MeshMemberStatus| {
        let rollout = status.rollout.as_ref().unwrap();
        (rollout.halted.clone(), rollout.message.clone())
    };
    assert_eq!(text(&halted), (Some(cause.into()), Some(cause.into())));
    assert_eq!(halted.failed_releases, []);
    let (reason, message) = said(&halted, ConditionType::UpToDate);
    assert_eq!(reason, "False/GateFailed");
    assert!(message.starts_with(cause), "{message}");
    assert!(
        message.contains("applink retry goes on, applink abort takes it back"),
        "{message}"
    );
    assert_eq!(said(&halted, ConditionType::Ready).0, "True/Serving");
    let told = changes(&before.conditions, &halted.conditions);
    let [event] = &told[..] else {
        panic!("{told:?}")
    };
    assert!(
        event.reason == "GateFailed" && event.is_warning,
        "{event:?}"
    );

    // It fails again, otherwise; it gets well; another operator reads it: all of that changes nothing.
    let again = next(
        Some(&halted),
        &fails("gate Soak on node b: it restarted"),
        at(160),
    );
    let quiet = next(Some(&again), &moving(), at(170));
    for later in [&again, &quiet] {
        assert_eq!(text(later), text(&halted));
        assert_eq!(changes(&halted.conditions, &later.conditions), []);
    }

    let decided = |steering: Steering| {
        let outcome = Outcome {
            steering,
            ..moving()
        };
        let status = next(Some(&quiet), &outcome, at(180));
        assert_eq!(
            said(&status, ConditionType::UpToDate).0,
            "False/Progressing"
        );
        let rollout = status.rollout.unwrap();
        (
            rollout.halted,
            rollout.retried_at.map(|time| time.0),
            status.failed_releases.len(),
        )
    };
    let retries = Steering {
        retries: true,
        ..follows()
    };
    assert_eq!(decided(retries), (None, Some(at(180)), 0));
    let aborts = Steering {
        returns: Some("somebody asked".into()),
        given_up: Some(failed()),
        ..follows()
    };
    assert_eq!(decided(aborts), (None, None, 1));
    let rolls_back = Steering {
        given_up: Some(failed()),
        ..follows()
    };
    assert_eq!(decided(rolls_back), (None, None, 1));
    let turns = Steering {
        returns: Some("the spec asks for 1.5 now".into()),
        ..follows()
    };
    assert_eq!(decided(turns), (None, None, 0));
    // What another template failed at says nothing of this one.
    let mut other = moving();
    if let Progress::Working(work) = &mut other.progress {
        work.revision = Some("1-6-0-ffffff".into());
    }
    let anew = next(Some(&quiet), &other, at(180)).rollout.unwrap();
    assert_eq!((anew.halted, anew.retried_at), (None, None));
}
