//! Rollouts whose failure is to pause.

use super::*;

/// A member whose rollout to 1.6.0 has failed at its first gate, where that is to pause; and what was written meanwhile.
async fn halted() -> (Bench, Vec<Asked>) {
    let upgrade = json!({"version": "1.6", "strategy": {"onFailure": "Pause"}});
    let mut bench = Bench::running(upgrade, "1.5").await;
    let mut asked = Vec::new();
    // Nobody pulls the images: no kubelet is there.
    for millis in [0, 2, 4, 1000, HOUR, HOUR + 2000] {
        asked.extend(bench.pass(millis).await.0);
    }
    let (reason, message) = bench.condition("UpToDate").unwrap();
    assert_eq!(reason, "False/GateFailed", "{message}");
    assert!(message.starts_with("gate Prepull on node a"), "{message}");
    (bench, asked)
}

/// Events that tell of the gate.
fn told(asked: &[Asked]) -> usize {
    let is_event = |one: &&Asked| {
        one.method == Method::POST
            && one.path.contains("/events")
            && one.body["reason"] == "GateFailed"
    };
    asked.iter().filter(is_event).count()
}

#[tokio::test]
async fn a_gate_that_is_to_pause_is_told_once_and_holds_through_a_restart_until_somebody_decides() {
    let (mut bench, asked) = halted().await;
    assert_eq!(told(&asked), 1);
    bench.shows("applink_gate_failures_total{gate=\"Prepull\"} 1");
    bench.shows("applink_members_behind{reason=\"GateFailed\"} 1");
    let cause = bench.status("/rollout/halted");
    assert_eq!(bench.status("/rollout/message"), cause);
    assert_eq!(bench.status("/failedReleases"), Value::Null);
    assert_eq!(bench.status("/history"), Value::Null);
    bench.restart().await;
    let mut asked = Vec::new();
    for millis in [2 * HOUR, 2 * HOUR + 2000, 3 * HOUR] {
        asked.extend(bench.pass(millis).await.0);
    }
    assert_eq!((told(&asked), bench.status("/rollout/halted")), (0, cause));
    assert!(acts(&asked).is_empty(), "{:#?}", acts(&asked));

    // Tried again: it has its time anew, and fails in the same way.
    bench.annotate(json!({"applink.dev/retry": "n1"}));
    bench.pass(4 * HOUR).await;
    assert_eq!(bench.status("/handledRequests/retry"), "n1");
    assert_eq!(bench.status("/rollout/halted"), Value::Null);
    for millis in [2000, 4000, 300_000] {
        bench.pass(4 * HOUR + millis).await;
    }
    assert_eq!(bench.condition("UpToDate").unwrap().0, "False/Progressing");
    let (asked, _) = bench.pass(4 * HOUR + 601_000).await;
    assert_eq!(
        (told(&asked), bench.condition("UpToDate").unwrap().0),
        (1, "False/GateFailed".to_owned())
    );

    bench.annotate(json!({"applink.dev/retry": "n1", "applink.dev/abort": "n2"}));
    bench.until_ended(5 * HOUR).await;
    assert_eq!(bench.status("/history/0/result"), "Aborted");
    let reason = bench.status("/history/0/reason").to_string();
    assert!(
        reason.contains("applink abort (n2); it stood still at gate Prepull"),
        "{reason}"
    );
    assert_eq!(
        bench.condition("UpToDate").unwrap().0,
        "False/ReleaseFailed"
    );
}

#[tokio::test]
async fn what_stands_still_at_a_gate_goes_back_once_the_spec_says_so() {
    let (mut bench, _) = halted().await;
    bench.edit(json!({"upgrade": {"version": "1.6"}}));
    bench.until_ended(2 * HOUR).await;
    assert_eq!(bench.status("/history/0/result"), "RolledBack");
    let reason = bench.status("/history/0/reason").to_string();
    assert!(reason.contains("gate Prepull on node a"), "{reason}");

    let (mut bench, _) = halted().await;
    bench.edit(json!({"upgrade": {"version": "1.5", "strategy": {"onFailure": "Pause"}}}));
    bench.until_ended(2 * HOUR).await;
    assert_eq!(bench.status("/history/0/result"), "Aborted");
    assert_eq!(bench.condition("UpToDate").unwrap().0, "True/Current");
    assert_eq!(bench.status("/failedReleases"), Value::Null);
}
