//! Other templates of what runs, or of what arrives.

use super::*;
use crate::decide;

#[tokio::test]
async fn how_long_proxies_drain_is_part_of_what_arrives_and_another_time_arrives_anew() {
    let mut bench = Bench::running(json!({"version": "1.6"}), "1.5").await;
    bench.settled().await;
    bench.pass(1000).await;
    let (id, revision) = (
        bench.status("/rollout/id"),
        bench.status("/rollout/revision"),
    );
    let strategy = json!({"drain": {"timeout": "5s"}});
    bench.edit(json!({"upgrade": {"version": "1.6", "strategy": strategy}}));
    for millis in [3000, 5000, 7000] {
        bench.pass(millis).await;
    }
    assert_eq!(bench.rollout(), to("1.6.0", "Spec"), "where it goes stays");
    assert_ne!(bench.status("/rollout/revision"), revision);
    assert_ne!(bench.status("/rollout/id"), id);
    assert_eq!(bench.status("/version/current"), "1.5.4");
}

#[tokio::test]
async fn what_a_new_operator_makes_otherwise_waits_for_a_window_and_is_applied_nowhere_before() {
    let windows = json!([{"start": "22:00", "duration": "2h"}]);
    let upgrade = json!({"version": "1.5", "maintenanceWindows": windows});
    let mut bench = Bench::new(json!({"upgrade": upgrade})).await;
    bench.seen().await;
    // What the operator before made of the same spec.
    let mut other = bench.spec();
    other["dataPlane"] = json!({"ztunnel": {"logLevel": "Debug"}});
    let hash = bench
        .populate("1.5.4", &other, &ApplicationNetworkSpec::default())
        .await;
    let spec = serde_json::from_value(bench.spec()).unwrap();
    let mut member = bench.fake.get(MEMBER).unwrap();
    member["status"] = json!({"version": {"current": "1.5.4", "target": "1.5.4", "reachedBy": "1.5",
        "hash": hash, "settings": decide::settings(&spec).unwrap()}});
    bench.fake.put(MEMBER, member);
    let mut asked = Vec::new();
    for millis in [0, 2, 4, HOUR, 2 * HOUR] {
        asked.extend(bench.pass(millis).await.0);
    }
    assert_eq!(bench.rollout(), None);
    let (reason, message) = bench.condition("UpToDate").unwrap();
    assert_eq!(reason, "False/WaitingForWindow");
    assert!(
        message.contains("the new operator's per-node template"),
        "{message}"
    );
    let sets: Vec<&Asked> = acts(&asked)
        .into_iter()
        .filter(|one| one.path.starts_with(SETS))
        .collect();
    assert!(sets.is_empty(), "{sets:#?}");
    bench.pass(12 * HOUR).await;
    assert_eq!(bench.rollout(), to("1.5.4", "Operator"));
}
