//! The CNI agent: one DaemonSet that must be called `istio-cni-node`.
//!
//! Upstream reads the agent's settings from a ConfigMap. Here they stand in the pod template itself, so that a template
//! is the whole truth about an agent: during a rollout the settled template restarts an agent with the settled settings,
//! and the hash covers them. The agent cannot tell the difference: it reads its environment only.

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy};
use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, ContainerPort, EnvVar, PodSpec, PodTemplateSpec, SecurityContext,
    Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::core::ApiResource;
use serde_json::json;

use super::foundation::NODE_CRITICAL;
use super::manifest::{Error, Manifest};
use super::meta::{self, Component, RELEASE_ANNOTATION};
use super::{affinity, pod, rbac, ztunnel};
use crate::api::v1alpha1::LogLevel;
use crate::blueprint::Blueprint;
use crate::blueprint::revision::TemplateHash;
use crate::names;
use crate::platform::Platform;

/// The agent's ServiceAccount.
pub const ACCOUNT: &str = "istio-cni";
/// Value of label `k8s-app`, by which istiod's untaint controller finds the agent.
const APP: &str = names::CNI_DAEMON_SET;
/// Seconds for the clean-up at the end. Source: default of the chart since 1.29.
const GRACE: i64 = 30;
/// Namespaces whose pods are never captured.
const EXCLUDED: [&str; 3] = [
    "kube-system",
    names::SYSTEM_NAMESPACE,
    names::OPERATOR_NAMESPACE,
];

/// Objects of this step, in order: rights before the pods that need them.
pub(super) fn objects(blueprint: &Blueprint) -> Result<Vec<Manifest>, Error> {
    let mut objects = vec![
        rbac::account(blueprint, Component::Cni, ACCOUNT)?,
        rbac::bind(blueprint, Component::Cni, rbac::CNI, rbac::CNI, ACCOUNT)?,
    ];
    if blueprint.platform == Platform::OpenShift {
        let name = format!("{}-{ACCOUNT}", rbac::OPENSHIFT_PRIVILEGED);
        objects.push(rbac::bind(
            blueprint,
            Component::Cni,
            &name,
            rbac::OPENSHIFT_PRIVILEGED,
            ACCOUNT,
        )?);
        objects.push(network_attachment(blueprint)?);
    }
    objects.push(daemon_set(blueprint)?);
    Ok(objects)
}

fn daemon_set(blueprint: &Blueprint) -> Result<Manifest, Error> {
    let mut template = template(blueprint);
    let hash = TemplateHash::of(&[&template]).map_err(|source| Error::Hash {
        component: names::CNI_DAEMON_SET,
        source,
    })?;
    if let Some(spec) = &mut template.spec {
        spec.affinity = Some(affinity::of_agent(blueprint));
    }
    let annotations = template
        .metadata
        .get_or_insert_default()
        .annotations
        .get_or_insert_default();
    annotations.insert(names::TEMPLATE_HASH_ANNOTATION.to_owned(), hash.to_string());
    let version = blueprint.release.version.to_string();
    let metadata = meta::with_annotations(
        meta::with_labels(
            meta::namespaced(blueprint, Component::Cni, names::CNI_DAEMON_SET),
            [("k8s-app", APP)],
        ),
        [
            (names::TEMPLATE_HASH_ANNOTATION, hash.as_str()),
            (RELEASE_ANNOTATION, &version),
        ],
    );
    Manifest::of(&DaemonSet {
        metadata,
        spec: Some(DaemonSetSpec {
            selector: LabelSelector {
                match_labels: Some(meta::texts([("k8s-app", APP)])),
                ..LabelSelector::default()
            },
            template,
            // Node by node, and only by the operator: while an agent is away no pod of its node starts.
            update_strategy: Some(DaemonSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..DaemonSetUpdateStrategy::default()
            }),
            ..DaemonSetSpec::default()
        }),
        status: None,
    })
}

/// The pod template without hash and affinity.
pub(super) fn template(blueprint: &Blueprint) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(meta::texts([
                ("k8s-app", APP),
                ("app.kubernetes.io/name", "istio-cni"),
                (names::MANAGED_BY_LABEL, names::MANAGED_BY),
                (names::MEMBER_LABEL, &blueprint.owner.name),
                ("sidecar.istio.io/inject", "false"),
                (names::DATAPLANE_MODE_LABEL, names::DATAPLANE_MODE_NONE),
            ])),
            annotations: Some(meta::texts([
                ("prometheus.io/path", "/metrics"),
                ("prometheus.io/port", "15014"),
                ("prometheus.io/scrape", "true"),
                ("sidecar.istio.io/inject", "false"),
            ])),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![container(blueprint)],
            image_pull_secrets: pod::pull_secrets(blueprint),
            node_selector: Some(meta::texts([("kubernetes.io/os", "linux")])),
            priority_class_name: Some(NODE_CRITICAL.to_owned()),
            service_account_name: Some(ACCOUNT.to_owned()),
            termination_grace_period_seconds: Some(GRACE),
            tolerations: Some(blueprint.tolerations.clone()),
            volumes: Some(volumes(blueprint)),
            ..PodSpec::default()
        }),
    }
}

fn container(blueprint: &Blueprint) -> Container {
    let propagated = |name: &str, path: &str| VolumeMount {
        mount_propagation: Some("HostToContainer".to_owned()),
        ..pod::mount(name, path)
    };
    let readiness = pod::readiness_probe("/readyz", 8000);
    Container {
        command: Some(vec!["install-cni".to_owned()]),
        args: Some(vec![format!(
            "--log_output_level=default:{}",
            go_level(blueprint.cni.log_level)
        )]),
        env: Some(environment(blueprint)),
        ports: Some(vec![ContainerPort {
            container_port: 15014,
            name: Some("metrics".to_owned()),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        startup_probe: Some(pod::startup_probe(&readiness)),
        readiness_probe: Some(readiness),
        resources: Some(blueprint.cni.resources.clone()),
        security_context: Some(SecurityContext {
            // The field and not the annotation: every Kubernetes these releases support knows it (1.30 and later).
            app_armor_profile: Some(AppArmorProfile {
                type_: "Unconfined".to_owned(),
                ..AppArmorProfile::default()
            }),
            capabilities: Some(pod::only(&[
                "DAC_OVERRIDE",
                "NET_ADMIN",
                "NET_RAW",
                "SYS_ADMIN",
                "SYS_PTRACE",
            ])),
            privileged: Some(false),
            run_as_group: Some(0),
            run_as_non_root: Some(false),
            run_as_user: Some(0),
            se_linux_options: ztunnel::se_linux(blueprint.platform),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![
            pod::mount("cni-bin-dir", "/host/opt/cni/bin"),
            pod::mount_read_only("cni-host-procfs", "/host/proc"),
            pod::mount("cni-net-dir", "/host/etc/cni/net.d"),
            pod::mount("cni-socket-dir", "/var/run/istio-cni"),
            propagated("cni-netns-dir", "/host/var/run/netns"),
            pod::mount("cni-ztunnel-sock-dir", "/var/run/ztunnel"),
        ]),
        ..pod::container("install-cni", &blueprint.images.cni)
    }
}

/// Istio's Go programs have no level below debug.
fn go_level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Trace => LogLevel::Debug.as_str(),
        other => other.as_str(),
    }
}

/// Keys and meaning: the agent's flags. Defaults of the code are said where upstream's chart says them.
fn environment(blueprint: &Blueprint) -> Vec<EnvVar> {
    let mut all = vec![
        pod::env("CURRENT_AGENT_VERSION", blueprint.release.istio.to_string()),
        pod::env("AMBIENT_ENABLED", "true"),
        pod::env("AMBIENT_ENABLEMENT_SELECTOR", enablement_selector()),
        pod::env("AMBIENT_DNS_CAPTURE", "true"),
        pod::env("AMBIENT_IPV6", "true"),
        pod::env("AMBIENT_RECONCILE_POD_RULES_ON_STARTUP", "true"),
        pod::env("ENABLE_AMBIENT_DETECTION_RETRY", "false"),
        pod::env(
            "ISTIO_OWNED_CNI_CONFIG",
            owns_configuration(blueprint.platform).to_string(),
        ),
        pod::env(
            "CHAINED_CNI_PLUGIN",
            blueprint.platform.chains_cni().to_string(),
        ),
        pod::env("EXCLUDE_NAMESPACES", EXCLUDED.join(",")),
        // Repair heals a race of sidecar pods; there are none.
        pod::env("REPAIR_ENABLED", "false"),
        pod::env("NATIVE_NFTABLES", "false"),
        // Left to itself an agent takes nft where it is the first one on a node, and legacy ever after: its trial of the
        // legacy program leaves an empty table, which the next agent takes for rules in use. It could not take out of pods
        // what the one before it has put there, and whoever left the mesh after an upgrade would be left without a network.
        pod::env("FORCE_IPTABLES_BINARY", "nft"),
        pod::env("ALLOW_SWITCH_TO_HOST_NS", "true"),
        pod::env_field("NODE_NAME", "spec.nodeName"),
        pod::env_field("REPAIR_NODE_NAME", "spec.nodeName"),
        pod::env_field("POD_NAME", "metadata.name"),
        pod::env_field("POD_NAMESPACE", "metadata.namespace"),
        pod::env_resource("GOMEMLIMIT", "limits.memory"),
        pod::env_resource("GOMAXPROCS", "limits.cpu"),
    ];
    if !blueprint.platform.chains_cni() {
        all.push(pod::env("CNI_CONF_NAME", "istio-cni.conf"));
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Does the agent write a configuration file of its own, in front of the primary CNI's, instead of editing that one?
/// Then a node that starts before its agent keeps pods waiting rather than starting them in plain text, and an agent
/// that cannot ask the API server keeps its configuration. Only where the plugin is chained at all.
fn owns_configuration(platform: Platform) -> bool {
    platform.chains_cni()
}

/// Which pods are captured: those labelled so, and those of namespaces labelled so that do not say no.
fn enablement_selector() -> String {
    let key = names::DATAPLANE_MODE_LABEL;
    json!([
        {"podSelector": {"matchLabels": {key: names::DATAPLANE_MODE_AMBIENT}}},
        {
            "podSelector": {"matchExpressions": [{"key": key, "operator": "NotIn", "values": [names::DATAPLANE_MODE_NONE]}]},
            "namespaceSelector": {"matchLabels": {key: names::DATAPLANE_MODE_AMBIENT}},
        },
    ])
    .to_string()
}

fn volumes(blueprint: &Blueprint) -> Vec<Volume> {
    let paths = blueprint.platform.cni_paths();
    vec![
        pod::host_path("cni-bin-dir", paths.bin, None),
        pod::host_path("cni-host-procfs", "/proc", Some("Directory")),
        pod::host_path("cni-net-dir", paths.conf, None),
        pod::host_path("cni-socket-dir", "/var/run/istio-cni", None),
        // May not exist before the first pod with an own network namespace starts.
        pod::host_path("cni-netns-dir", paths.netns, Some("DirectoryOrCreate")),
        pod::host_path(
            "cni-ztunnel-sock-dir",
            "/var/run/ztunnel",
            Some("DirectoryOrCreate"),
        ),
    ]
}

/// Multus runs a plugin for every pod of a namespace when it finds this object in namespace `default`.
fn network_attachment(blueprint: &Blueprint) -> Result<Manifest, Error> {
    let mut metadata = meta::namespaced(blueprint, Component::Cni, "istio-cni");
    metadata.namespace = Some("default".to_owned());
    let metadata = serde_json::to_value(metadata).map_err(|source| Error::Serialise {
        kind: "NetworkAttachmentDefinition",
        name: "istio-cni".to_owned(),
        source,
    })?;
    Ok(Manifest {
        resource: ApiResource {
            group: "k8s.cni.cncf.io".to_owned(),
            version: "v1".to_owned(),
            api_version: "k8s.cni.cncf.io/v1".to_owned(),
            kind: "NetworkAttachmentDefinition".to_owned(),
            plural: "network-attachment-definitions".to_owned(),
        },
        namespace: Some("default".to_owned()),
        name: "istio-cni".to_owned(),
        body: json!({"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition", "metadata": metadata}),
        initial: None,
    })
}
