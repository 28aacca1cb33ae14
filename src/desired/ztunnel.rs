//! The node proxy: one DaemonSet per revision, one account for all.
//!
//! Contract: environment, ports, volumes and identity are upstream's, whichever program answers to them. istiod signs for
//! other identities only on behalf of `applink-system/ztunnel`, so the account carries no revision.

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EmptyDirVolumeSource, EnvVar, PodSpec, PodTemplateSpec,
    SELinuxOptions, SecurityContext, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::affinity::{self, Placement};
use super::foundation::NODE_CRITICAL;
use super::manifest::{Error, Manifest};
use super::meta::{self, Component, RELEASE_ANNOTATION};
use super::{cni, istiod, pod, rbac};
use crate::api::v1alpha1::ZtunnelImplementation;
use crate::blueprint::revision::TemplateHash;
use crate::blueprint::{Blueprint, Revision};
use crate::names;
use crate::platform::Platform;

/// Seconds the pod may live beyond the drain: what is left is cut, the process ends by itself.
const GRACE_BEYOND_DRAIN: u64 = 5;
/// Group id the proxy runs as. Source: ztunnel's chart.
const GROUP: i64 = 1337;

/// Name of the DaemonSet of a revision.
#[must_use]
pub fn daemon_set_name(revision: &Revision) -> String {
    names::proxies(revision.as_str())
}

/// Objects of this step, in order: the account before the pods that name it.
pub(super) fn objects(
    blueprint: &Blueprint,
    placement: &Placement,
) -> Result<Vec<Manifest>, Error> {
    let mut objects = Vec::new();
    if blueprint.platform == Platform::OpenShift {
        let name = format!("{}-{}", rbac::OPENSHIFT_PRIVILEGED, names::ZTUNNEL);
        objects.push(rbac::bind(
            blueprint,
            Component::Ztunnel,
            &name,
            rbac::OPENSHIFT_PRIVILEGED,
            names::ZTUNNEL,
        )?);
    }
    objects.push(daemon_set(blueprint, placement)?);
    Ok(objects)
}

/// Hash of everything that runs on a node, proxy and agent, before any name or address that contains the revision is
/// filled in.
pub(super) fn node_hash(blueprint: &Blueprint) -> Result<TemplateHash, Error> {
    let proxy = template(blueprint, "");
    let agent = cni::template(blueprint);
    TemplateHash::of(&[&proxy, &agent]).map_err(|source| Error::Hash {
        component: "the node",
        source,
    })
}

fn daemon_set(blueprint: &Blueprint, placement: &Placement) -> Result<Manifest, Error> {
    let hash = node_hash(blueprint)?;
    let revision = Revision::new(blueprint.release.version, &hash);
    let mut template = template(blueprint, &istiod::address(blueprint));
    if let Some(spec) = &mut template.spec {
        spec.affinity = Some(affinity::of_proxy(blueprint, placement));
    }
    let meta = template.metadata.get_or_insert_default();
    meta.labels
        .get_or_insert_default()
        .insert(names::REVISION_LABEL.to_owned(), revision.to_string());
    meta.annotations
        .get_or_insert_default()
        .insert(names::TEMPLATE_HASH_ANNOTATION.to_owned(), hash.to_string());
    let selector = meta::texts([
        ("app", names::ZTUNNEL),
        (names::REVISION_LABEL, revision.as_str()),
    ]);
    let version = blueprint.release.version.to_string();
    let metadata = meta::with_annotations(
        meta::with_labels(
            meta::namespaced(blueprint, Component::Ztunnel, daemon_set_name(&revision)),
            [
                ("app", names::ZTUNNEL),
                (names::REVISION_LABEL, revision.as_str()),
            ],
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
                match_labels: Some(selector),
                ..LabelSelector::default()
            },
            template,
            update_strategy: Some(DaemonSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..DaemonSetUpdateStrategy::default()
            }),
            ..DaemonSetSpec::default()
        }),
        status: None,
    })
}

/// The pod template without revision, hash and affinity. `istiod` is the address of the control plane, which contains the
/// release: empty where the template is hashed.
fn template(blueprint: &Blueprint, istiod: &str) -> PodTemplateSpec {
    let drain = blueprint.ztunnel.drain_timeout.as_secs();
    let grace = drain.saturating_add(GRACE_BEYOND_DRAIN);
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(meta::texts([
                ("app", names::ZTUNNEL),
                ("app.kubernetes.io/name", names::ZTUNNEL),
                (names::MANAGED_BY_LABEL, names::MANAGED_BY),
                (names::MEMBER_LABEL, &blueprint.owner.name),
                ("sidecar.istio.io/inject", "false"),
                (names::DATAPLANE_MODE_LABEL, names::DATAPLANE_MODE_NONE),
            ])),
            annotations: Some(meta::texts([
                ("prometheus.io/port", "15020"),
                ("prometheus.io/scrape", "true"),
                ("sidecar.istio.io/inject", "false"),
            ])),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![container(blueprint, istiod, drain)],
            image_pull_secrets: pod::pull_secrets(blueprint),
            node_selector: Some(meta::texts([("kubernetes.io/os", "linux")])),
            priority_class_name: Some(NODE_CRITICAL.to_owned()),
            service_account_name: Some(names::ZTUNNEL.to_owned()),
            termination_grace_period_seconds: Some(i64::try_from(grace).unwrap_or(i64::MAX)),
            tolerations: Some(blueprint.tolerations.clone()),
            volumes: Some(volumes()),
            ..PodSpec::default()
        }),
    }
}

fn container(blueprint: &Blueprint, istiod: &str, drain: u64) -> Container {
    let arguments: &[&str] = match blueprint.ztunnel.implementation {
        ZtunnelImplementation::Applink => &["ztunnel"],
        ZtunnelImplementation::Istio => &["proxy", "ztunnel"],
    };
    let readiness = pod::readiness_probe("/healthz/ready", names::ZTUNNEL_READY_PORT);
    Container {
        args: Some(
            arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
        ),
        env: Some(environment(blueprint, istiod, drain)),
        ports: Some(vec![ContainerPort {
            container_port: i32::from(names::ZTUNNEL_METRICS_PORT),
            name: Some("ztunnel-stats".to_owned()),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        startup_probe: Some(pod::startup_probe(&readiness)),
        readiness_probe: Some(readiness),
        resources: Some(blueprint.ztunnel.resources.clone()),
        security_context: Some(SecurityContext {
            // The API server forces it with SYS_ADMIN; said here so that the applied object equals the stored one.
            allow_privilege_escalation: Some(true),
            capabilities: Some(pod::only(&["NET_ADMIN", "NET_RAW", "SYS_ADMIN"])),
            privileged: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_group: Some(GROUP),
            run_as_non_root: Some(false),
            run_as_user: Some(0),
            se_linux_options: se_linux(blueprint.platform),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![
            pod::mount("istiod-ca-cert", "/var/run/secrets/istio"),
            pod::mount("istio-token", "/var/run/secrets/tokens"),
            pod::mount("cni-ztunnel-sock-dir", "/var/run/ztunnel"),
            pod::mount("tmp", "/tmp"),
        ]),
        // Name of the container: dashboards and `istioctl` select it.
        ..pod::container("istio-proxy", &blueprint.images.ztunnel)
    }
}

/// Keys and meaning are upstream's; ours reads the same.
fn environment(blueprint: &Blueprint, istiod: &str, drain: u64) -> Vec<EnvVar> {
    let mut all = vec![
        pod::env("CA_ADDRESS", istiod),
        pod::env("XDS_ADDRESS", istiod),
        pod::env("CLUSTER_DOMAIN", &blueprint.cluster_domain),
        pod::env("NETWORK", &blueprint.network),
        pod::env("RUST_LOG", blueprint.ztunnel.log_level.as_str()),
        pod::env("RUST_BACKTRACE", "1"),
        pod::env("ISTIO_META_CLUSTER_ID", blueprint.cluster_id()),
        pod::env("ISTIO_META_ENABLE_HBONE", "true"),
        pod::env("INPOD_ENABLED", "true"),
        // On in every cluster: a family that was overlooked would travel in plain text, and what is detected must not
        // decide the revision.
        pod::env("IPV6_ENABLED", "true"),
        // Not left to be derived from the pod's grace: of one up to 10 s it would take all but one.
        pod::env("CONNECTION_TERMINATION_DEADLINE", format!("{drain}s")),
        // The self listener's identity; without it the default would be used, whatever the network says.
        pod::env("TRUST_DOMAIN", &blueprint.trust_domain),
        pod::env_field("POD_NAME", "metadata.name"),
        pod::env_field("POD_NAMESPACE", "metadata.namespace"),
        pod::env_field("NODE_NAME", "spec.nodeName"),
        pod::env_field("INSTANCE_IP", "status.podIP"),
        pod::env_field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        pod::env_resource("ZTUNNEL_CPU_LIMIT", "limits.cpu"),
    ];
    // From 1.31 on an explicit limit or request sets the number of workers; unset limits would say "all cores".
    if blueprint.release.istio.minor >= 31 {
        let has = |amounts: &Option<std::collections::BTreeMap<String, _>>| {
            amounts.as_ref().is_some_and(|a| a.contains_key("cpu"))
        };
        if has(&blueprint.ztunnel.resources.limits) {
            all.push(pod::env_resource(
                "ZTUNNEL_RESOURCE_CPU_LIMIT",
                "limits.cpu",
            ));
        }
        if has(&blueprint.ztunnel.resources.requests) {
            all.push(pod::env_resource(
                "ZTUNNEL_RESOURCE_CPU_REQUEST",
                "requests.cpu",
            ));
        }
    }
    all
}

fn volumes() -> Vec<Volume> {
    vec![
        pod::istio_token(),
        pod::root_certificate("istiod-ca-cert", None),
        // The agent listens here; it may not have started yet.
        pod::host_path(
            "cni-ztunnel-sock-dir",
            "/var/run/ztunnel",
            Some("DirectoryOrCreate"),
        ),
        Volume {
            name: "tmp".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        },
    ]
}

/// SELinux keeps ordinary containers off host sockets; OpenShift enforces it.
pub(super) fn se_linux(platform: Platform) -> Option<SELinuxOptions> {
    (platform == Platform::OpenShift).then(|| SELinuxOptions {
        type_: Some("spc_t".to_owned()),
        ..SELinuxOptions::default()
    })
}
