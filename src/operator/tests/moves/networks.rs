//! Members whose network changes under them.

use super::*;

#[tokio::test]
async fn a_member_whose_network_is_deleted_is_told_and_stays_as_it_is() {
    const NETWORK: &str = "/apis/applink.dev/v1alpha1/applicationnetworks/guarded";
    let network = json!({"trustDomain": "shop.example"});
    let spec = json!({"applicationNetwork": "guarded", "upgrade": {"version": "1.5"}});
    let known = serde_json::from_value(network.clone()).unwrap();
    let mut bench = Bench::in_network("1.5.4", spec, "1.5", &known).await;
    let object = json!({"apiVersion": "applink.dev/v1alpha1", "kind": "ApplicationNetwork", "spec": network});
    bench.fake.put(NETWORK, object);
    while bench.operator.world.networks.all().is_empty() {
        tokio::task::yield_now().await;
    }
    bench.settled().await;
    assert_eq!(bench.rollout(), None);
    bench.fake.delete(NETWORK);
    while !bench.operator.world.networks.all().is_empty() {
        tokio::task::yield_now().await;
    }
    let (asked, _) = bench.pass(6).await;
    assert_eq!(bench.rollout(), None, "it goes nowhere");
    assert!(acts(&asked).is_empty(), "{asked:#?}");
    let told = bench.status("/conditions").to_string();
    assert!(
        told.contains("ApplicationNetwork guarded does not exist: create it"),
        "{told}"
    );
}
