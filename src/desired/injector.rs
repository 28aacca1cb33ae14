//! The ConfigMap from which istiod renders waypoints, and the defaults of their class.
//!
//! istiod calls it the injector's, because sidecar injection reads the same object; here it holds one template, class
//! `istio-waypoint`, and injection stays off (no webhook asks for it). A template is YAML with Go template actions. Ours
//! is JSON (a subset of YAML) made from typed objects; what only istiod knows about a Gateway stands in it as a marker
//! that is replaced by an action at the end.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, ContainerPort, DownwardAPIVolumeFile, DownwardAPIVolumeSource,
    EmptyDirVolumeSource, EnvVar, LocalObjectReference, ObjectFieldSelector, PodSpec, Volume,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::manifest::{Error, Manifest};
use super::meta::{self, Component};
use super::{istiod, pod};
use crate::blueprint::Blueprint;
use crate::names;
use crate::platform::Platform;

/// Name of the ConfigMap with the defaults of class `istio-waypoint`: one for all releases, as istiod takes the oldest.
pub const CLASS_DEFAULTS: &str = "applink-waypoint-defaults";
/// User and group of Envoy in upstream's image.
const PROXY_USER: i64 = 1337;

/// Annotations of a Gateway that are about itself and not about its pods.
const OWN_ANNOTATIONS: &str = r#"(omit .InfrastructureAnnotations "kubectl.kubernetes.io/last-applied-configuration" "gateway.istio.io/name-override" "gateway.istio.io/service-account" "gateway.istio.io/controller-version" "applink.dev/pinned")"#;
/// Labels of a Gateway but the one that chooses its release: nothing is replaced when a waypoint is pinned or given back to
/// the release that it has. The release is told by the pods' annotation.
const OWN_LABELS: &str = r#"(omit .InfrastructureLabels "istio.io/rev")"#;
/// Labels that tie an object to its Gateway.
const GATEWAY_LABELS: &str = r#"(strdict "gateway.networking.k8s.io/gateway-name" .Name "gateway.networking.k8s.io/gateway-class-name" .GatewayClass)"#;

/// Markers and the actions they stand for.
fn actions() -> [(&'static str, String); 7] {
    let pod_annotations = r#"(strdict "istio.io/rev" .Revision "prometheus.io/path" "/stats/prometheus" "prometheus.io/port" "15020" "prometheus.io/scrape" "true")"#;
    let kept_out =
        r#"(strdict "sidecar.istio.io/inject" "false" "istio.io/dataplane-mode" "none")"#;
    let managed = r#"(strdict "gateway.istio.io/managed" .ControllerLabel)"#;
    [
        ("\"@annotations@\"", format!("{{{{ toJsonMap {OWN_ANNOTATIONS} }}}}")),
        ("\"@pod-annotations@\"", format!("{{{{ toJsonMap {OWN_ANNOTATIONS} {pod_annotations} }}}}")),
        ("\"@labels@\"", format!("{{{{ toJsonMap {OWN_LABELS} {GATEWAY_LABELS} {managed} }}}}")),
        ("\"@pod-labels@\"", format!("{{{{ toJsonMap {kept_out} {OWN_LABELS} {GATEWAY_LABELS} {managed} }}}}")),
        ("\"@proxy-config@\"", r#"{{ printf "%q" (protoToJSON .ProxyConfig) }}"#.to_owned()),
        (
            "\"@ports@\"",
            r#"{{ range $i, $p := .Ports }}{{ if $i }}, {{ end }}{"name": "{{ $p.Name }}", "port": {{ $p.Port }}, "protocol": "TCP", "appProtocol": "{{ $p.AppProtocol }}"}{{ end }}"#
                .to_owned(),
        ),
        ("\"@network@\"", r#"{{ printf "%q" (valueOrDefault (index .InfrastructureLabels "topology.istio.io/network") .Values.global.network) }}"#.to_owned()),
    ]
}

/// The injector's ConfigMap of this release.
pub(super) fn config_map(blueprint: &Blueprint) -> Result<Manifest, Error> {
    let config = json!({
        "policy": "disabled",
        "templates": {"waypoint": waypoint(blueprint)?},
    });
    let values = json!({
        "global": {
            "istioNamespace": names::SYSTEM_NAMESPACE,
            "network": blueprint.network,
            "multiCluster": {"clusterName": blueprint.cluster_id()},
        },
        "revision": blueprint.release.slug(),
    });
    Manifest::of(&ConfigMap {
        metadata: istiod::metadata(
            blueprint,
            format!("istio-sidecar-injector-{}", blueprint.release.slug()),
        ),
        data: Some(BTreeMap::from([
            ("config".to_owned(), format!("{config:#}")),
            ("values".to_owned(), format!("{values:#}")),
        ])),
        ..ConfigMap::default()
    })
}

/// Replicas and the disruption budget of every waypoint; a Gateway's own parameters win over it.
pub(super) fn class_defaults(blueprint: &Blueprint) -> Result<Manifest, Error> {
    let replicas = blueprint.waypoint.replicas;
    let mut data = BTreeMap::from([(
        "deployment".to_owned(),
        format!("{:#}", json!({"spec": {"replicas": replicas}})),
    )]);
    if replicas > 1 {
        // Without an overlay istiod makes no budget.
        data.insert(
            "podDisruptionBudget".to_owned(),
            format!("{:#}", json!({"spec": {"minAvailable": 1}})),
        );
    }
    let metadata = meta::with_labels(
        meta::namespaced(blueprint, Component::Istiod, CLASS_DEFAULTS),
        [("gateway.istio.io/defaults-for-class", "istio-waypoint")],
    );
    Manifest::of(&ConfigMap {
        metadata,
        data: Some(data),
        ..ConfigMap::default()
    })
}

/// The template of class `istio-waypoint`: account, Deployment, Service, budget.
fn waypoint(blueprint: &Blueprint) -> Result<String, Error> {
    let documents = [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("{{ .ServiceAccount }}")}),
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata("{{ .DeploymentName }}"),
            "spec": {
                "selector": {"matchLabels": {"{{ .GatewayNameLabel }}": "{{ .Name }}"}},
                "template": {
                    "metadata": {"annotations": "@pod-annotations@", "labels": "@pod-labels@"},
                    "spec": typed(&pod_spec(blueprint))?,
                },
            },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata("{{ .DeploymentName }}"),
            "spec": {
                "ipFamilyPolicy": "PreferDualStack",
                "ports": ["@ports@"],
                "selector": {"{{ .GatewayNameLabel }}": "{{ .Name }}"},
                "trafficDistribution": "PreferClose",
                "type": "{{ .ServiceType }}",
            },
        }),
        json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata("{{ .DeploymentName }}"),
            "spec": {"selector": {"matchLabels": {"{{ .GatewayNameLabel }}": "{{ .Name }}"}}},
        }),
    ];
    let mut text = documents
        .map(|document| format!("{document:#}"))
        .join("\n---\n");
    for (marker, action) in actions() {
        text = text.replace(marker, &action);
    }
    Ok(text)
}

/// Metadata of what a Gateway owns.
fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "namespace": "{{ .Namespace }}",
        "annotations": "@annotations@",
        "labels": "@labels@",
        "ownerReferences": [{
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "name": "{{ .Name }}",
            "uid": "{{ .UID }}",
        }],
    })
}

fn typed(object: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(object).map_err(|source| Error::Serialise {
        kind: "PodSpec",
        name: "waypoint".to_owned(),
        source,
    })
}

fn pod_spec(blueprint: &Blueprint) -> PodSpec {
    PodSpec {
        containers: vec![container(blueprint)],
        // Gateways are in namespaces of the user's, where we write nothing: Secrets of these names must be there.
        image_pull_secrets: user_pull_secrets(blueprint),
        node_selector: Some(meta::texts([("kubernetes.io/os", "linux")])),
        service_account_name: Some("{{ .ServiceAccount }}".to_owned()),
        volumes: Some(volumes()),
        ..PodSpec::default()
    }
}

fn user_pull_secrets(blueprint: &Blueprint) -> Option<Vec<LocalObjectReference>> {
    let all: Vec<_> = blueprint
        .pull_secrets
        .iter()
        .map(|name| LocalObjectReference { name: name.clone() })
        .collect();
    (!all.is_empty()).then_some(all)
}

fn container(blueprint: &Blueprint) -> Container {
    let port = |name: &str, container_port: i32| ContainerPort {
        name: Some(name.to_owned()),
        container_port,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let arguments = [
        "proxy",
        "waypoint",
        "--domain",
        &format!("$(POD_NAMESPACE).svc.{}", blueprint.cluster_domain),
        "--serviceCluster",
        "{{ .ServiceAccount }}.$(POD_NAMESPACE)",
        "--proxyLogLevel",
        "warning",
        "--proxyComponentLogLevel",
        "misc:error",
        "--log_output_level",
        "default:info",
    ];
    let mut startup = pod::http_probe("/healthz/ready", names::ZTUNNEL_READY_PORT);
    startup.initial_delay_seconds = Some(1);
    startup.period_seconds = Some(1);
    startup.failure_threshold = Some(30);
    let mut readiness = pod::http_probe("/healthz/ready", names::ZTUNNEL_READY_PORT);
    readiness.period_seconds = Some(15);
    readiness.failure_threshold = Some(4);
    let mut security = pod::unprivileged();
    if blueprint.platform != Platform::OpenShift {
        // OpenShift gives each namespace its own range of user ids.
        security.run_as_user = Some(PROXY_USER);
        security.run_as_group = Some(PROXY_USER);
    }
    Container {
        args: Some(arguments.map(str::to_owned).to_vec()),
        env: Some(environment(blueprint)),
        ports: Some(vec![
            port("metrics", 15020),
            port("status-port", 15021),
            port("http-envoy-prom", 15090),
        ]),
        readiness_probe: Some(readiness),
        resources: Some(blueprint.waypoint.resources.clone()),
        security_context: Some(security),
        startup_probe: Some(startup),
        volume_mounts: Some(vec![
            pod::mount("workload-socket", "/var/run/secrets/workload-spiffe-uds"),
            pod::mount("istiod-ca-cert", "/var/run/secrets/istio"),
            pod::mount("istio-data", "/var/lib/istio/data"),
            pod::mount("istio-envoy", "/etc/istio/proxy"),
            pod::mount("istio-token", "/var/run/secrets/tokens"),
            pod::mount("istio-podinfo", "/etc/istio/pod"),
        ]),
        ..pod::container("istio-proxy", &blueprint.images.waypoint)
    }
}

/// Keys and meaning: pilot-agent's.
fn environment(blueprint: &Blueprint) -> Vec<EnvVar> {
    vec![
        pod::env_field("POD_NAME", "metadata.name"),
        pod::env_field("POD_NAMESPACE", "metadata.namespace"),
        pod::env_field("INSTANCE_IP", "status.podIP"),
        pod::env_field("HOST_IP", "status.hostIP"),
        pod::env_field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        pod::env_field("ISTIO_META_SERVICE_ACCOUNT", "spec.serviceAccountName"),
        pod::env_field("ISTIO_META_NODE_NAME", "spec.nodeName"),
        pod::env("PILOT_CERT_PROVIDER", "istiod"),
        pod::env("CA_ADDR", istiod::address(blueprint)),
        pod::env("PROXY_CONFIG", "@proxy-config@"),
        pod::env("TRUST_DOMAIN", &blueprint.trust_domain),
        pod::env("ISTIO_META_CLUSTER_ID", blueprint.cluster_id()),
        pod::env("ISTIO_META_NETWORK", "@network@"),
        pod::env("ISTIO_META_MESH_ID", &blueprint.trust_domain),
        pod::env("ISTIO_META_INTERCEPTION_MODE", "REDIRECT"),
        pod::env("ISTIO_META_WORKLOAD_NAME", "{{ .DeploymentName }}"),
        pod::env(
            "ISTIO_META_OWNER",
            "kubernetes://apis/apps/v1/namespaces/{{ .Namespace }}/deployments/{{ .DeploymentName }}",
        ),
        pod::env("ISTIO_META_ENABLE_HBONE", "true"),
        pod::env_resource("ISTIO_CPU_LIMIT", "limits.cpu"),
        pod::env_resource("GOMEMLIMIT", "limits.memory"),
        pod::env_resource("GOMAXPROCS", "limits.cpu"),
    ]
}

fn volumes() -> Vec<Volume> {
    let empty = |name: &str, medium: Option<&str>| Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: medium.map(str::to_owned),
            ..EmptyDirVolumeSource::default()
        }),
        ..Volume::default()
    };
    let item = |field: &str| DownwardAPIVolumeFile {
        field_ref: Some(ObjectFieldSelector {
            field_path: format!("metadata.{field}"),
            ..ObjectFieldSelector::default()
        }),
        path: field.to_owned(),
        ..DownwardAPIVolumeFile::default()
    };
    vec![
        empty("workload-socket", None),
        empty("istio-envoy", Some("Memory")),
        empty("istio-data", None),
        pod::istio_token(),
        pod::root_certificate("istiod-ca-cert", None),
        Volume {
            name: "istio-podinfo".to_owned(),
            downward_api: Some(DownwardAPIVolumeSource {
                items: Some(vec![item("labels"), item("annotations")]),
                ..DownwardAPIVolumeSource::default()
            }),
            ..Volume::default()
        },
    ]
}
