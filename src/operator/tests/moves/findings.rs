//! Moves that are due, in clusters whose checks before the first act find something that blocks.

use super::*;

const FOREIGN: &str = "/apis/apps/v1/namespaces/istio-system/daemonsets/ztunnel";

/// Whether the operator has seen the proxy of somebody else.
fn sees_foreign(bench: &Bench) -> bool {
    let facts = bench.operator.world.facts();
    facts.others.iter().any(|other| !other.is_ours)
}

/// What the metrics say of members that are behind.
fn behind(bench: &Bench) -> Vec<String> {
    let text = bench.operator.metrics.text();
    let lines = text.lines();
    lines
        .filter(|line| line.starts_with("applink_members_behind{"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn a_move_waits_for_what_the_checks_find_says_so_counts_as_behind_and_begins_once_it_is_gone()
{
    let mut bench = Bench::running(json!({"version": "1.5"}), "1.5").await;
    bench.fake.put(FOREIGN, json!({}));
    while !sees_foreign(&bench) {
        tokio::task::yield_now().await;
    }
    bench.settled().await;
    assert_eq!(bench.condition("UpToDate").unwrap().0, "True/Current");
    assert_eq!(behind(&bench), Vec::<String>::new(), "nothing is due");

    bench.edit(json!({"upgrade": {"version": "1.6"}}));
    let mut asked = Vec::new();
    for millis in [1000, 3000, 5000] {
        asked.extend(bench.pass(millis).await.0);
    }
    assert_eq!(bench.rollout(), None);
    assert_eq!(bench.status("/version/target"), "1.5.4");
    assert!(!brings(&asked, "1-6-0"), "{:#?}", acts(&asked));
    let (reason, found) = bench.condition("Stalled").unwrap();
    assert_eq!(reason, "True/PreflightFailed");
    assert!(
        found.starts_with("ForeignZtunnel: DaemonSet istio-system/ztunnel"),
        "{found}"
    );
    let (reason, message) = bench.condition("UpToDate").unwrap();
    assert_eq!(reason, "False/PreflightFailed");
    assert_eq!(
        message,
        format!("the move to 1.6.0 (the spec asks for 1.6) waits for this to be mended: {found}")
    );
    assert_eq!(bench.status("/upgrade/waitingFor"), json!(message));
    assert_eq!(
        behind(&bench),
        [r#"applink_members_behind{reason="PreflightFailed"} 1"#]
    );

    bench.fake.delete(FOREIGN);
    while sees_foreign(&bench) {
        tokio::task::yield_now().await;
    }
    bench.pass(7000).await;
    assert_eq!(bench.rollout(), to("1.6.0", "Spec"));
    assert_eq!(bench.condition("Stalled"), None);
    assert_eq!(bench.condition("UpToDate").unwrap().0, "False/Progressing");
    assert_eq!(behind(&bench), Vec::<String>::new());
}

fn istiod_is_refused(asked: &Asked) -> Option<(u16, &'static str)> {
    (asked.method == Method::PATCH && asked.path == ISTIOD).then_some((500, "etcd is away"))
}

#[tokio::test]
async fn what_is_known_of_a_member_stays_in_metrics_while_it_waits_to_be_tried_again() {
    let mut bench = Bench::running(json!({"version": "1.6"}), "1.5").await;
    bench.fake.put(FOREIGN, json!({}));
    while !sees_foreign(&bench) {
        tokio::task::yield_now().await;
    }
    bench.settled().await;
    bench.fake.refuse(Some(istiod_is_refused));
    bench.fake.delete(ISTIOD);
    let key = crate::facts::ObjectKey::in_system("Deployment", "istiod-1-5-4");
    while bench.operator.world.facts().object(&key).is_some() {
        tokio::task::yield_now().await;
    }
    let (_, due) = bench.pass(3000).await;
    let failed = bench.operator.metrics.text();
    bench.shows("applink_reconcile_failures_total{reason=\"Retrying\"} 1");
    bench.shows("applink_members_behind{reason=\"PreflightFailed\"} 1");
    bench.shows("applink_nodes{what=\"total\"} 1");
    let (asked, again) = bench.pass(3500).await;
    assert!(asked.is_empty() && again == due, "it waits: {asked:#?}");
    let lines = |text: &str| -> std::collections::BTreeSet<String> {
        text.lines().map(str::to_owned).collect()
    };
    let (failed, waits) = (lines(&failed), lines(&bench.operator.metrics.text()));
    let missing: Vec<&String> = failed.difference(&waits).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[tokio::test]
async fn a_member_whose_network_is_gone_is_not_on_its_way_and_counts_as_behind() {
    let mut bench = Bench::running(json!({"version": "1.5.4"}), "1.5.4").await;
    bench.settled().await;
    bench.edit(json!({"applicationNetwork": "gone", "upgrade": {"version": "1.6"}}));
    for millis in [1000, 3000] {
        bench.pass(millis).await;
    }
    let (reason, message) = bench.condition("UpToDate").unwrap();
    assert_eq!(reason, "False/NotAccepted", "{message}");
    assert!(message.contains("ApplicationNetwork gone"), "{message}");
    assert_eq!(
        behind(&bench),
        [r#"applink_members_behind{reason="NotAccepted"} 1"#]
    );
}

#[tokio::test]
async fn a_member_that_may_not_leave_yet_begins_no_move_and_does_not_say_that_it_does() {
    let mut bench = Bench::running(json!({"version": "1.5"}), "1.5").await;
    bench.settled().await;
    let labels = json!({"istio.io/dataplane-mode": "ambient"});
    let shop = json!({"metadata": {"labels": labels}});
    bench.fake.put("/api/v1/namespaces/shop", shop);
    while !bench.operator.world.facts().namespaces.contains_key("shop") {
        tokio::task::yield_now().await;
    }
    let mut member = bench.fake.get(MEMBER).unwrap();
    member["metadata"]["deletionTimestamp"] = json!("2026-11-21T10:00:00Z");
    member["spec"] = json!({"upgrade": {"version": "1.6"}});
    bench.fake.put(MEMBER, member);
    for millis in [1000, 3000] {
        bench.pass(millis).await;
    }
    assert!(bench.condition("LeaveBlocked").is_some());
    assert_eq!(bench.rollout(), None);
    let told = bench.condition("UpToDate").unwrap();
    let expected = "the move to 1.6.0 (the spec asks for 1.6) does not begin: the member leaves";
    assert_eq!(told, ("False/Leaving".to_owned(), expected.to_owned()));
}
