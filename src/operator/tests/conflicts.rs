//! Writes to what has changed since it was seen, and to what belongs to somebody else.

use futures::FutureExt as _;

use super::*;
use crate::plan::Act;

/// A heartbeat of the kubelet changes nothing that a plan looks at, so the watch alone would wake nobody for hours.
#[tokio::test]
async fn a_write_that_came_too_late_is_decided_anew_soon() {
    let mark = |label: Option<Option<String>>, taint| Act::MarkNode {
        name: "a".to_owned(),
        label,
        baseline: None,
        taint,
        resource_version: "7".to_owned(),
    };
    for act in [
        mark(Some(Some("1-6-0-abcdef.moving".to_owned())), None),
        mark(None, Some(true)),
        Act::Unenrol {
            namespace: "shop".to_owned(),
            resource_version: "7".to_owned(),
        },
    ] {
        let mut bench = Bench::new(json!({})).await;
        bench.fake.refuse(Some(|request| {
            (request.method == Method::PATCH).then_some((409, "the object has been modified"))
        }));
        let wake = Arc::clone(&bench.operator.world.wake);
        while wake.notified().now_or_never().is_some() {}
        bench.operator.act_of_leave(&act).await.unwrap();
        let woken = tokio::time::timeout(std::time::Duration::from_secs(5), wake.notified()).await;
        assert!(woken.is_ok(), "{act:?}");
    }
}

fn helm_owns_it(asked: &Asked) -> Option<(u16, &'static str)> {
    (asked.method == Method::PATCH && asked.path.contains("/serviceaccounts/"))
        .then_some((409, "conflict with \"helm\": .metadata.labels"))
}

#[tokio::test]
async fn what_belongs_to_somebody_else_is_told_never_forced_and_left_until_something_changes() {
    let mut bench = Bench::new(json!({})).await;
    bench.fake.refuse(Some(helm_owns_it));
    let (asked, _) = bench.pass(0).await;
    assert_eq!(statuses(&asked), 1);
    let (reason, message) = bench.condition("Stalled").unwrap();
    assert_eq!(reason, "True/Conflict");
    assert!(
        message.contains("helm") && message.contains("ServiceAccount"),
        "{message}"
    );
    assert_eq!(bench.condition("Reconciling"), None);
    let accounts: Vec<&Asked> = asked
        .iter()
        .filter(|one| one.path.contains("/serviceaccounts/"))
        .collect();
    assert!(
        accounts.len() == 1 && !accounts[0].query.contains("force=true"),
        "{accounts:#?}"
    );

    // The pass itself has changed facts; after one more nothing has, and nothing is asked.
    bench.pass(100).await;
    for millis in [200, 5000, 30_000] {
        let (asked, due) = bench.pass(millis).await;
        assert!(asked.is_empty(), "after {millis} ms: {asked:#?}");
        assert!(due.is_some_and(|due| due <= 61_000), "{due:?}");
    }
    // Somebody changes the spec: it is tried at once.
    bench.edit(json!({"controlPlane": {"replicas": 1}}));
    let (asked, _) = bench.pass(31_000).await;
    assert!(
        asked
            .iter()
            .any(|one| one.path.contains("/serviceaccounts/"))
    );
    // Nobody can tell when a field that is not ours becomes free: so it is looked at each minute.
    bench.pass(31_100).await;
    let (asked, _) = bench.pass(92_000).await;
    assert!(
        asked
            .iter()
            .any(|one| one.path.contains("/serviceaccounts/"))
    );
}

/// The policy that keeps a member with enrolled namespaces reads them in its own status.
#[tokio::test]
async fn a_member_that_another_one_stands_before_has_no_namespaces_so_that_it_can_be_deleted() {
    let second = "/apis/applink.dev/v1alpha1/meshmembers/west";
    for spec in [json!({}), json!({"upgrade": {"version": "9.9"}})] {
        let mut bench = Bench::new(json!({})).await;
        let labels = json!({"istio.io/dataplane-mode": "ambient"});
        let shop = json!({"metadata": {"labels": labels}});
        bench.fake.put("/api/v1/namespaces/shop", shop);
        let later = json!({"creationTimestamp": "2026-11-21T09:30:00Z"});
        let member = json!({"apiVersion": "applink.dev/v1alpha1", "kind": "MeshMember", "metadata": later, "spec": spec});
        bench.fake.put(second, member);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while bench.operator.world.members.all().len() < 2
            || !bench.operator.world.facts().namespaces.contains_key("shop")
        {
            assert!(std::time::Instant::now() < deadline, "it is not seen");
            tokio::task::yield_now().await;
        }
        bench.pass(0).await;
        let namespaces = |path: &str| {
            let member = bench.fake.get(path).unwrap();
            member.pointer("/status/membership/namespaces").cloned()
        };
        assert_eq!(namespaces(MEMBER), Some(json!(1)));
        assert_eq!(namespaces(second), Some(json!(0)));
        let west = bench.fake.get(second).unwrap();
        let conditions = west["status"]["conditions"].as_array().unwrap();
        let stalled = conditions.iter().find(|one| one["type"] == "Stalled");
        assert_eq!(stalled.unwrap()["reason"], "ClusterAlreadyMember");
    }
}
