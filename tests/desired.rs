//! The objects of the data plane, whole: `tests/golden/<case>/in.yaml` leads to `out.yaml`.
//!
//! `out.yaml` of the case `base` holds every object; that of any other case holds those that differ from `base`, and
//! names the others. `UPDATE_GOLDEN=1` rewrites.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on stops"
)]

#[path = "desired/case.rs"]
mod case;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use applink::desired::{self, Manifest};
use applink_ztunnel::config::Config;
use applink_ztunnel::config::source::Sources;
use case::Case;
use serde_json::Value;

/// The case the others are compared with.
const BASE: &str = "base";

fn objects(case: &str) -> Vec<Manifest> {
    Case::read(&case::folders()[case]).objects()
}

fn object(case: &str, kind: &str, name: &str) -> Value {
    let found = objects(case)
        .into_iter()
        .find(|object| object.resource.kind == kind && object.name.starts_with(name));
    found
        .unwrap_or_else(|| panic!("{case} has no {kind} {name}"))
        .body
}

fn revision(case: &str) -> String {
    desired::revision(&Case::read(&case::folders()[case]).blueprint())
        .unwrap()
        .to_string()
}

/// Value of an environment variable of a workload's only container.
fn variable<'a>(workload: &'a Value, name: &str) -> Option<&'a Value> {
    let all = workload["spec"]["template"]["spec"]["containers"][0]["env"].as_array()?;
    all.iter()
        .find(|variable| variable["name"] == name)
        .map(|variable| &variable["value"])
}

fn written(objects: &[Manifest], base: &[Manifest]) -> String {
    let mut text = String::from("# Generated: UPDATE_GOLDEN=1 cargo test --test desired\n");
    for object in objects {
        if base.contains(object) {
            let _ = writeln!(text, "# as in {BASE}: {}", object.display_name());
        }
    }
    for object in objects.iter().filter(|object| !base.contains(object)) {
        let _ = writeln!(text, "---\n# {}", object.display_name());
        if let Some(initial) = &object.initial {
            let _ = writeln!(text, "# only when created: {initial}");
        }
        text.push_str(&serde_saphyr::to_string(&object.body).unwrap());
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    text
}

#[test]
fn every_case_leads_to_the_objects_it_always_led_to() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let base = objects(BASE);
    let mut wrong = Vec::new();
    for (name, folder) in case::folders() {
        let compared: &[Manifest] = if name == BASE { &[] } else { &base };
        let found = written(&Case::read(&folder).objects(), compared);
        let path = folder.join("out.yaml");
        if update {
            std::fs::write(&path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if found != expected {
            let line = found
                .lines()
                .zip(expected.lines())
                .position(|(a, b)| a != b)
                .unwrap_or(0);
            wrong.push(format!("{name}/out.yaml, line {}", line + 1));
        }
    }
    assert!(
        wrong.is_empty(),
        "differs: {wrong:?}; if it is meant, run with UPDATE_GOLDEN=1 and read the difference"
    );
}

#[test]
fn an_object_is_there_once_and_says_whose_it_is() {
    for name in case::folders().into_keys() {
        let mut seen = BTreeSet::new();
        for object in objects(&name) {
            assert!(
                seen.insert(object.display_name()),
                "{name}: {} twice",
                object.display_name()
            );
            let meta = &object.body["metadata"];
            assert_eq!(
                meta["labels"]["app.kubernetes.io/managed-by"],
                "applink",
                "{}",
                object.display_name()
            );
            assert_eq!(
                meta["labels"]["applink.dev/member"],
                "edge-1",
                "{}",
                object.display_name()
            );
            assert_eq!(
                meta["annotations"]["applink.dev/member-uid"],
                "6f1d6f0e-2a55-4f5e-9a8e-4f0c1b7c9d11"
            );
            assert!(
                meta.get("ownerReferences").is_none(),
                "{}",
                object.display_name()
            );
            assert!(object.body.get("status").is_none() && meta.get("resourceVersion").is_none());
        }
    }
}

#[test]
fn workloads_carry_their_template_hash_on_themselves_and_on_their_pods() {
    for name in case::folders().into_keys() {
        let workloads = objects(&name)
            .into_iter()
            .filter(|object| ["DaemonSet", "Deployment"].contains(&object.resource.kind.as_str()));
        for workload in workloads {
            let hash = workload.annotation("applink.dev/template-hash").unwrap();
            assert_eq!(hash.len(), 16);
            assert_eq!(
                workload.body["spec"]["template"]["metadata"]["annotations"]["applink.dev/template-hash"],
                hash
            );
        }
    }
}

#[test]
fn label_values_and_names_fit_where_they_are_written() {
    for name in case::folders().into_keys() {
        for object in objects(&name) {
            assert!(object.name.len() <= 63, "{}", object.display_name());
            for (key, value) in object.body["metadata"]["labels"].as_object().unwrap() {
                assert!(value.as_str().unwrap().len() <= 63, "{key}");
            }
        }
    }
}

#[test]
fn a_revision_is_the_release_and_a_hash_of_what_runs_on_nodes() {
    let base = revision(BASE);
    assert!(base.starts_with("1-6-0-") && base.len() == 12, "{base}");
    // What does not run on nodes, or is where and not what.
    for same in [
        "strict",
        "one-replica",
        "node-selector",
        "arriving",
        "beside",
        "waypoints",
        "dual-stack",
        "ipv6",
    ] {
        assert_eq!(revision(same), base, "{same}");
    }
    let mut seen = BTreeMap::from([(base, BASE)]);
    for different in [
        "istio-1.29",
        "istio-1.30",
        "tuned",
        "upstream-ztunnel",
        "registry",
        "k3s",
        "openshift",
    ] {
        let before = seen.insert(revision(different), different);
        assert_eq!(before, None, "{different}");
    }
}

#[test]
fn the_proxy_is_placed_where_its_revision_may_run() {
    let requirement = |case: &str| {
        let affinity =
            object(case, "DaemonSet", "ztunnel-")["spec"]["template"]["spec"]["affinity"].take();
        let terms = &affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
        let all = terms[0]["matchExpressions"].as_array().unwrap().clone();
        all.into_iter()
            .find(|requirement| requirement["key"] == "applink.dev/ztunnel")
    };
    assert_eq!(requirement(BASE), None);
    let own = revision("arriving");
    assert_eq!(
        requirement("arriving").unwrap(),
        serde_json::json!({"key": "applink.dev/ztunnel", "operator": "In", "values": [own]})
    );
    assert_eq!(
        requirement("beside").unwrap(),
        serde_json::json!({"key": "applink.dev/ztunnel", "operator": "NotIn", "values": ["1-6-1-0a1b2c"]})
    );
}

#[test]
fn placement_changes_nothing_but_affinity() {
    let without_affinity = |case: &str| {
        let mut daemon_set = object(case, "DaemonSet", "ztunnel-");
        daemon_set["spec"]["template"]["spec"]["affinity"].take();
        daemon_set
    };
    assert_eq!(without_affinity("arriving"), without_affinity(BASE));
    assert_eq!(without_affinity("beside"), without_affinity(BASE));
}

#[test]
fn daemon_sets_wait_for_the_operator_and_select_by_what_never_changes() {
    let ztunnel = object(BASE, "DaemonSet", "ztunnel-");
    let cni = object(BASE, "DaemonSet", "istio-cni-node");
    for daemon_set in [&ztunnel, &cni] {
        assert_eq!(
            daemon_set["spec"]["updateStrategy"],
            serde_json::json!({"type": "OnDelete"})
        );
    }
    let revision = revision(BASE);
    assert_eq!(
        ztunnel["spec"]["selector"]["matchLabels"],
        serde_json::json!({"app": "ztunnel", "applink.dev/revision": revision})
    );
    assert_eq!(
        cni["spec"]["selector"]["matchLabels"],
        serde_json::json!({"k8s-app": "istio-cni-node"})
    );
    assert_eq!(cni["metadata"]["name"], "istio-cni-node");
}

#[test]
fn the_proxy_has_five_seconds_beyond_its_drain() {
    let ztunnel = object(BASE, "DaemonSet", "ztunnel-");
    assert_eq!(
        ztunnel["spec"]["template"]["spec"]["terminationGracePeriodSeconds"],
        65
    );
    assert_eq!(
        variable(&ztunnel, "TERMINATION_GRACE_PERIOD_SECONDS").unwrap(),
        "65"
    );
}

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
fn the_proxy_asks_for_little() {
    let ztunnel = object(BASE, "DaemonSet", "ztunnel-");
    let resources = &ztunnel["spec"]["template"]["spec"]["containers"][0]["resources"];
    assert_eq!(
        *resources,
        serde_json::json!({"requests": {"cpu": "50m", "memory": "64Mi"}})
    );
}

#[test]
fn node_components_leave_out_nodes_that_cannot_run_them() {
    for name in ["ztunnel-", "istio-cni-node"] {
        let spec = object(BASE, "DaemonSet", name)["spec"]["template"]["spec"].take();
        assert_eq!(
            spec["nodeSelector"],
            serde_json::json!({"kubernetes.io/os": "linux"})
        );
        let affinity = spec["affinity"].to_string();
        assert!(
            affinity.contains("virtual-kubelet") && affinity.contains("fargate"),
            "{affinity}"
        );
    }
}

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
fn the_agent_knows_the_host_paths_of_its_platform() {
    for (case, bin, conf, netns) in [
        (BASE, "/opt/cni/bin", "/etc/cni/net.d", "/var/run/netns"),
        (
            "gke",
            "/home/kubernetes/bin",
            "/etc/cni/net.d",
            "/var/run/netns",
        ),
        ("eks", "/opt/cni/bin", "/etc/cni/net.d", "/var/run/netns"),
        ("aks", "/opt/cni/bin", "/etc/cni/net.d", "/var/run/netns"),
        (
            "k3s",
            "/var/lib/rancher/k3s/data/cni",
            "/var/lib/rancher/k3s/agent/etc/cni/net.d",
            "/var/run/netns",
        ),
        (
            "k3d",
            "/bin",
            "/var/lib/rancher/k3s/agent/etc/cni/net.d",
            "/var/run/netns",
        ),
        (
            "microk8s",
            "/var/snap/microk8s/current/opt/cni/bin",
            "/var/snap/microk8s/current/args/cni-network",
            "/var/run/netns",
        ),
        (
            "minikube",
            "/opt/cni/bin",
            "/etc/cni/net.d",
            "/var/run/docker/netns",
        ),
        (
            "openshift",
            "/var/lib/cni/bin",
            "/etc/cni/multus/net.d",
            "/var/run/netns",
        ),
    ] {
        let cni = object(case, "DaemonSet", "istio-cni-node");
        let volumes = cni["spec"]["template"]["spec"]["volumes"]
            .as_array()
            .unwrap();
        let path = |name: &str| {
            volumes
                .iter()
                .find(|volume| volume["name"] == name)
                .unwrap()["hostPath"]["path"]
                .clone()
        };
        assert_eq!(
            (
                path("cni-bin-dir"),
                path("cni-net-dir"),
                path("cni-netns-dir")
            ),
            (bin.into(), conf.into(), netns.into()),
            "{case}"
        );
    }
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

#[test]
fn a_registry_and_its_secrets_reach_every_pod() {
    for object in objects("registry") {
        let pods = &object.body["spec"]["template"]["spec"];
        if pods.is_object() {
            assert_eq!(
                pods["imagePullSecrets"],
                serde_json::json!([{"name": "mirror-a"}, {"name": "mirror-b"}])
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
