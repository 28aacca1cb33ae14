//! istiod, and what it and we share.

use serde_json::Value;

use crate::{BASE, object, objects, variable};

#[test]
fn every_address_of_istiod_is_that_of_the_release_in_our_namespace() {
    let ztunnel = object(BASE, "DaemonSet", "ztunnel-");
    for name in ["CA_ADDRESS", "XDS_ADDRESS"] {
        assert_eq!(
            variable(&ztunnel, name).unwrap(),
            "istiod-1-6-0.applink-system.svc:15012"
        );
    }
    for object in objects(BASE) {
        assert!(
            !object.body.to_string().contains("istio-system"),
            "{}",
            object.display_name()
        );
    }
}

#[test]
fn istiod_trusts_our_ztunnel_and_waits_for_its_authority() {
    let istiod = object(BASE, "Deployment", "istiod-");
    assert_eq!(
        variable(&istiod, "CA_TRUSTED_NODE_ACCOUNTS").unwrap(),
        "applink-system/ztunnel"
    );
    let volumes = istiod["spec"]["template"]["spec"]["volumes"]
        .as_array()
        .unwrap();
    let cacerts = volumes
        .iter()
        .find(|volume| volume["name"] == "cacerts")
        .unwrap();
    assert_eq!(
        cacerts["secret"],
        serde_json::json!({"secretName": "cacerts", "optional": false})
    );
}

#[test]
fn what_istiod_owns_in_its_webhooks_is_given_only_to_the_creating_request() {
    for object in objects(BASE)
        .iter()
        .filter(|object| object.resource.kind == "ValidatingWebhookConfiguration")
    {
        let webhook = &object.body["webhooks"][0];
        assert!(
            webhook.get("failurePolicy").is_none()
                && webhook["clientConfig"].get("caBundle").is_none()
        );
        assert_eq!(
            object.body_to_create()["webhooks"][0]["failurePolicy"],
            "Ignore"
        );
        assert_eq!(object.body["metadata"]["labels"]["istio.io/rev"], "1-6-0");
    }
    assert!(
        objects(BASE)
            .iter()
            .all(|object| object.resource.kind != "MutatingWebhookConfiguration")
    );
}

#[test]
fn an_autoscaler_of_somebody_else_keeps_the_replicas() {
    assert_eq!(object(BASE, "Deployment", "istiod-")["spec"]["replicas"], 2);
    assert!(
        object("autoscaled", "Deployment", "istiod-")["spec"]
            .get("replicas")
            .is_none()
    );
    let budgets = |case| {
        objects(case)
            .into_iter()
            .filter(|object| object.resource.kind == "PodDisruptionBudget")
            .count()
    };
    assert_eq!(
        (budgets(BASE), budgets("autoscaled"), budgets("one-replica")),
        (1, 1, 0)
    );
}

#[test]
fn a_strict_network_has_one_policy_in_the_root_namespace() {
    let policy = object("strict", "PeerAuthentication", "default");
    assert_eq!(policy["metadata"]["namespace"], "applink-system");
    assert_eq!(
        policy["spec"],
        serde_json::json!({"mtls": {"mode": "STRICT"}})
    );
    assert!(
        objects(BASE)
            .iter()
            .all(|object| object.resource.kind != "PeerAuthentication")
    );
}

#[test]
fn the_waypoint_template_has_an_action_for_every_marker() {
    let config = object(BASE, "ConfigMap", "istio-sidecar-injector-")["data"]["config"]
        .as_str()
        .unwrap()
        .to_owned();
    let config: Value = serde_json::from_str(&config).unwrap();
    let template = config["templates"]["waypoint"].as_str().unwrap();
    assert!(!template.contains("\"@"), "{template}");
    assert_eq!(
        template.matches("{{").count(),
        template.matches("}}").count()
    );
    assert_eq!(template.matches("\n---\n").count(), 3);
}
