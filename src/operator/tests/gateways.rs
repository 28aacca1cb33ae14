//! Gateways: watched while somebody serves them, pinned and given back by server-side apply.

use futures::FutureExt as _;

use super::*;
use crate::facts::Facts;
use crate::operator::pin;

const DEFINITION: &str =
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gateways.gateway.networking.k8s.io";
const GATEWAYS: &str = "/apis/gateway.networking.k8s.io/v1/gateways";
const SHOP: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/gateways/waypoint";

fn waypoint() -> Value {
    json!({"kind": "Gateway", "spec": {"gatewayClassName": "istio-waypoint", "listeners": []}})
}

async fn until(bench: &Bench, what: &str, wanted: impl Fn(&Facts) -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !wanted(&bench.operator.world.facts()) {
        assert!(std::time::Instant::now() < deadline, "{what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn gateways_are_listed_once_when_their_definition_comes_and_not_at_all_without_it() {
    let mut bench = Bench::new(json!({})).await;
    bench.pass(0).await;
    assert_eq!(bench.fake.lists(GATEWAYS), 0);
    assert!(!bench.operator.world.facts().gateways_unseen);

    let definition = |version: &str| {
        json!({
            "spec": {"group": "gateway.networking.k8s.io", "versions": [{"name": version, "served": true}]},
            "status": {"conditions": [{"type": "Established", "status": "True"}]},
        })
    };
    let place = ("shop".to_owned(), "waypoint".to_owned());
    bench.fake.put(SHOP, waypoint());
    // Somebody else's, and too old for istiod.
    bench.fake.put(DEFINITION, definition("v1beta1"));
    until(&bench, "the definition is seen", |facts| {
        !facts.definitions.is_empty()
    })
    .await;
    bench.pass(1).await;
    assert_eq!(bench.fake.lists(GATEWAYS), 0);

    bench.fake.put(DEFINITION, definition("v1"));
    until(&bench, "they are known to be there", |facts| {
        facts.gateways_unseen
    })
    .await;
    bench.pass(2).await;
    until(&bench, "they are seen", |facts| {
        !facts.gateways_unseen && facts.gateways.contains_key(&place)
    })
    .await;
    for millis in 3..6 {
        bench.pass(millis).await;
    }
    assert_eq!(bench.fake.lists(GATEWAYS), 1);

    // The watch tells nothing new of what was written: the answer to the write has to wake the loop.
    let world = &bench.operator.world;
    while world.wake.notified().now_or_never().is_some() {}
    let mut pinned = bench.fake.get(SHOP).unwrap();
    pinned["metadata"]["annotations"] = json!({"applink.dev/pinned": "1-6-0"});
    world.put_gateway(serde_json::from_value(pinned).unwrap());
    assert!(world.wake.notified().now_or_never().is_some());
    assert!(world.facts().gateways[&place].pinned.is_some());

    bench.fake.delete(DEFINITION);
    until(&bench, "the definition is gone", |facts| {
        facts.definitions.is_empty()
    })
    .await;
    bench.pass(6).await;
    let facts = bench.operator.world.facts();
    assert!(facts.gateways.is_empty() && !facts.gateways_unseen);
    assert_eq!(bench.fake.lists(GATEWAYS), 1);
}

fn seen<'a>(uid: &'a str, resource_version: &'a str) -> pin::Seen<'a> {
    pin::Seen {
        namespace: "shop",
        name: "waypoint",
        uid,
        resource_version,
    }
}

#[tokio::test]
async fn a_pin_is_applied_to_the_gateway_that_was_seen_whoever_owns_its_empty_labels() {
    let fake = Fake::default();
    fake.put(SHOP, waypoint());
    let client = fake.client();
    let pinned = pin::gateway(&client, seen("u", "7"), Some("1-6-0")).await;
    assert!(pinned.unwrap().is_some());
    let asked = fake.asked();
    assert_eq!(asked.len(), 1);
    assert!(
        asked[0]
            .query
            .contains("fieldManager=applink.dev/waypoint-pin")
    );
    assert!(asked[0].query.contains("force=true"), "{}", asked[0].query);
    assert_eq!(
        asked[0].body,
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {
                "name": "waypoint", "namespace": "shop", "uid": "u", "resourceVersion": "7",
                "labels": {"istio.io/rev": "1-6-0"},
                "annotations": {"applink.dev/pinned": "1-6-0"},
            },
        })
    );
    fake.refuse(Some(|_| Some((409, "the object has been modified"))));
    let late = pin::gateway(&client, seen("u", "7"), Some("1-6-0")).await;
    assert!(late.unwrap().is_none(), "the next pass sees what it is");
}

#[tokio::test]
async fn giving_back_applies_nothing_and_takes_a_copied_annotation_off_without_its_label() {
    let fake = Fake::default();
    let mut copy = waypoint();
    copy["metadata"] = json!({
        "labels": {"istio.io/rev": "1-6-0"},
        "annotations": {"applink.dev/pinned": "1-6-0"},
    });
    // Nothing of it is ours: applying nothing changes nothing.
    fake.put(SHOP, copy);
    let given = pin::gateway(&fake.client(), seen("u", "7"), None).await;
    assert!(given.unwrap().is_some());
    let asked = fake.asked();
    assert_eq!(asked.len(), 2);
    assert!(!asked[0].query.contains("force"), "{}", asked[0].query);
    let meta = &asked[0].body["metadata"];
    assert_eq!(
        (&meta["uid"], &meta["resourceVersion"]),
        (&json!("u"), &json!("7"))
    );
    assert_eq!(
        (&meta["labels"], &meta["annotations"]),
        (&Value::Null, &Value::Null)
    );
    let left = fake.get(SHOP).unwrap();
    assert_eq!(left["metadata"]["labels"]["istio.io/rev"], "1-6-0");
    assert_eq!(left["metadata"]["annotations"], json!({}));
}
