//! What every container is given, and what each version knows.

use applink_ztunnel::config::Config;
use applink_ztunnel::config::source::Sources;

use crate::{BASE, case, object, objects, variable};

#[test]
fn a_failing_container_leaves_its_reason_in_the_pod() {
    for object in objects(BASE) {
        if let Some(containers) = object.body["spec"]["template"]["spec"]["containers"].as_array() {
            for container in containers {
                assert_eq!(
                    container["terminationMessagePolicy"],
                    "FallbackToLogsOnError"
                );
                assert!(container.get("readinessProbe").is_some());
            }
        }
    }
}

#[test]
fn a_registry_and_its_secrets_reach_every_pod() {
    for object in objects("registry") {
        let pods = &object.body["spec"]["template"]["spec"];
        if pods.is_object() {
            assert_eq!(
                pods["imagePullSecrets"],
                serde_json::json!([{"name": "applink-pull"}])
            );
            let image = pods["containers"][0]["image"].as_str().unwrap();
            assert!(image.starts_with("mirror.example.com/mesh/"), "{image}");
        }
    }
    let config =
        object("registry", "ConfigMap", "istio-sidecar-injector-")["data"]["config"].to_string();
    assert!(config.contains("mirror.example.com/mesh/proxyv2") && config.contains("mirror-a"));
}

#[test]
fn what_a_version_does_not_know_is_not_said_to_it() {
    let ztunnel = |case| object(case, "DaemonSet", "ztunnel-");
    let requests = "ZTUNNEL_RESOURCE_CPU_REQUEST";
    assert!(variable(&ztunnel(BASE), requests).is_some());
    assert!(variable(&ztunnel("istio-1.30"), requests).is_none());
    assert!(variable(&ztunnel(BASE), "ZTUNNEL_RESOURCE_CPU_LIMIT").is_none());
    assert!(variable(&ztunnel("tuned"), "ZTUNNEL_RESOURCE_CPU_LIMIT").is_some());

    let istiod = |case| object(case, "Deployment", "istiod-");
    let untaint = "PILOT_ENABLE_NODE_UNTAINT_CONTROLLERS";
    let taint = "PILOT_NODE_UNTAINT_CONTROLLERS_TAINT_NAME";
    assert!(variable(&istiod(BASE), untaint).is_none());
    assert!(variable(&istiod("tuned"), untaint).is_some());
    assert!(variable(&istiod("tuned"), taint).is_some());
    assert!(variable(&istiod("startup-taint-1.29"), untaint).is_some());
    assert!(variable(&istiod("startup-taint-1.29"), taint).is_none());
}

#[test]
fn our_proxy_takes_every_variable_it_is_given() {
    for case in case::folders().into_keys() {
        let ztunnel = object(&case, "DaemonSet", "ztunnel-");
        let variables = &ztunnel["spec"]["template"]["spec"]["containers"][0]["env"];
        let environment = variables
            .as_array()
            .unwrap()
            .iter()
            .map(|variable| {
                let source = &variable["valueFrom"];
                let value = match source["fieldRef"]["fieldPath"].as_str() {
                    Some("status.podIP") => "10.244.0.7",
                    Some(_) => "a-name",
                    None if source["resourceFieldRef"].is_object() => "1",
                    None => variable["value"].as_str().unwrap(),
                };
                (
                    variable["name"].as_str().unwrap().to_owned(),
                    value.to_owned(),
                )
            })
            .collect();
        let sources = Sources {
            environment,
            mesh: None,
            cores: 2,
            exists: &|_| true,
        };
        let config =
            Config::from_sources(&sources).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(config.place.cluster_id, "edge-1", "{case}");
        let istiod = config.xds.unwrap().address;
        assert!(
            istiod.starts_with("https://istiod-1-")
                && istiod.ends_with(".applink-system.svc:15012"),
            "{case}: {istiod}"
        );
    }
}
