//! Pods of the operator's own probe, and an API server that does not take them.

use super::*;
use crate::blueprint::Owner;
use crate::desired::probe::{Role, pod};
use crate::facts::Facts;
use crate::plan::Object;

const POD: &str = "/api/v1/namespaces/applink-probe/pods/node-a";

fn own() -> Object {
    let owner = Owner {
        name: "east".to_owned(),
        uid: "u".to_owned(),
    };
    Object::of(pod(&owner, "applink:1", Role::Node, "a").unwrap())
}

#[tokio::test]
async fn a_pod_that_is_not_taken_is_remembered_for_a_while_and_ends_no_pass() {
    let mut bench = Bench::new(json!({})).await;
    bench.fake.put(
        "/api/v1/namespaces/applink-probe/pods/foreign",
        json!({"spec": {"containers": []}}),
    );
    bench.fake.refuse(Some(|asked| {
        (asked.path == POD).then_some((500, "failed calling webhook"))
    }));
    bench.operator.place(&own()).await.unwrap();
    let mut facts = Facts::default();
    let refused = Timestamp::now();
    bench.operator.recall_refused(&mut facts, refused);
    assert!(facts.refused_probes["node-a"].contains("failed calling webhook"));
    let later = refused + SignedDuration::from_mins(2);
    bench.operator.recall_refused(&mut facts, later);
    assert!(facts.refused_probes.is_empty());
    // What may be another time is not taken for a no.
    bench
        .fake
        .refuse(Some(|asked| (asked.path == POD).then_some((429, "later"))));
    assert!(bench.operator.place(&own()).await.is_err());
    assert!(bench.fake.get(POD).is_none());
    bench.fake.refuse(None);
    bench.operator.place(&own()).await.unwrap();
    let pod = bench.fake.get(POD).unwrap();
    assert_eq!(pod["metadata"]["labels"]["applink.dev/member"], "east");
    // The one of somebody else, which was there before, is none of the probe.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let seen = || bench.operator.world.probes.all().into_keys();
    while !seen().eq(["node-a"]) {
        assert!(
            std::time::Instant::now() < deadline,
            "{:?}",
            seen().collect::<Vec<_>>()
        );
        tokio::task::yield_now().await;
    }
}
