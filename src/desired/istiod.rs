//! istiod of one release, with its accounts, rights, configuration and webhooks.
//!
//! How a named revision serves as the default, without a mutating webhook (read in Istio 1.31; paths inside istio/istio):
//!
//! - *xDS of ztunnel*: the ambient index takes every object without the label `istio.io/rev`, and with it only its own
//!   revision's (`pkg/config/model.go`, `LabelsInRevision`); workloads, services and namespaces are not filtered at all.
//!   Discovery selectors are not set. So both revisions serve the whole mesh.
//! - *Unlabelled Gateways*: the gateway deployment controller asks `pkg/revisions/tag_watcher.go`, `IsMine`: no label on
//!   the Gateway or its namespace belongs to the revision named by the label `istio.io/rev` of the
//!   `ValidatingWebhookConfiguration` `istiod-default-validator`, as long as no `istio-revision-tag-default` webhook
//!   exists. Hence [`validator`](super::validator) carries that label, and moving it moves waypoints that are not pinned.
//! - *Leader election*: gateway status and gateway deployment elect per revision (Leases with the revision in their
//!   name); the namespace controller (`istio-ca-root-cert`), ingress status and address allocation elect across revisions
//!   (ConfigMap locks) and the default revision would take over only by `istio-revision-tag-default`, which we do not
//!   create. So the first istiod leads until it goes, then the other takes over. Both have one CA, so nothing differs.
//! - *Class defaults*: the controller lists ConfigMaps labelled `gateway.istio.io/defaults-for-class` without regard to
//!   revision and takes the oldest, so they are one shared object here.
//! - *Webhooks*: istiod fills `caBundle` and `failurePolicy` of every validating webhook labelled with its revision.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, PodSpec, PodTemplateSpec,
    SecretVolumeSource, Service, ServicePort, ServiceSpec, Toleration, TopologySpreadConstraint,
    Volume,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::manifest::{Error, Manifest};
use super::meta::{self, Component, RELEASE_ANNOTATION, Texts};
use super::{injector, mesh, pod, rbac, validator};
use crate::blueprint::revision::TemplateHash;
use crate::blueprint::{Blueprint, IpFamilies, Replicas};
use crate::names;

/// ServiceAccount of istiod of every release.
pub const ACCOUNT: &str = names::ISTIOD;
/// ServiceAccount other clusters read this one with.
pub const READER_ACCOUNT: &str = "istio-reader-service-account";

/// Name of istiod's Deployment, Service and budget: `istiod-1-6-0`.
#[must_use]
pub fn name(blueprint: &Blueprint) -> String {
    format!("{}-{}", names::ISTIOD, blueprint.release.slug())
}

/// Where istiod serves xDS and signs: `istiod-1-6-0.applink-system.svc:15012`.
#[must_use]
pub fn address(blueprint: &Blueprint) -> String {
    format!(
        "{}.{}.svc:{}",
        name(blueprint),
        names::SYSTEM_NAMESPACE,
        names::ISTIOD_XDS_PORT
    )
}

/// Objects of this step, in order: what pods mount and may do before the pods, webhooks after the Service they call.
pub(super) fn objects(blueprint: &Blueprint) -> Result<Vec<Manifest>, Error> {
    let component = Component::Istiod;
    let mut objects = vec![
        rbac::account(blueprint, component, ACCOUNT)?,
        rbac::account(blueprint, component, READER_ACCOUNT)?,
        rbac::bind_in_system(blueprint, component, rbac::ISTIOD_SYSTEM, ACCOUNT)?,
        rbac::bind(blueprint, component, rbac::ISTIOD, rbac::ISTIOD, ACCOUNT)?,
        rbac::bind(
            blueprint,
            component,
            rbac::ISTIOD_GATEWAYS,
            rbac::ISTIOD_GATEWAYS,
            ACCOUNT,
        )?,
        rbac::bind(
            blueprint,
            component,
            rbac::READER,
            rbac::READER,
            READER_ACCOUNT,
        )?,
    ];
    if blueprint.cni.startup_taint {
        objects.push(rbac::bind(
            blueprint,
            component,
            rbac::ISTIOD_UNTAINT,
            rbac::ISTIOD_UNTAINT,
            ACCOUNT,
        )?);
    }
    objects.extend([
        Manifest::of(&mesh_config(blueprint))?,
        injector::config_map(blueprint)?,
        injector::class_defaults(blueprint)?,
        Manifest::of(&service(blueprint))?,
    ]);
    if blueprint.control_plane.replicas.least() > 1 {
        objects.push(Manifest::of(&budget(blueprint))?);
    }
    objects.push(deployment(blueprint)?);
    objects.extend(validator::objects(blueprint)?);
    Ok(objects)
}

/// Metadata of an object of this release.
pub(super) fn metadata(blueprint: &Blueprint, name: impl Into<String>) -> ObjectMeta {
    revisioned(
        blueprint,
        meta::namespaced(blueprint, Component::Istiod, name),
    )
}

/// Labels that tie an object to this release's istiod.
pub(super) fn revisioned(blueprint: &Blueprint, metadata: ObjectMeta) -> ObjectMeta {
    meta::with_labels(
        metadata,
        [
            ("app", names::ISTIOD),
            (names::ISTIO_REVISION_LABEL, &blueprint.release.slug()),
        ],
    )
}

fn selector(blueprint: &Blueprint) -> Texts {
    meta::texts([
        ("app", names::ISTIOD),
        (names::ISTIO_REVISION_LABEL, &blueprint.release.slug()),
    ])
}

fn mesh_config(blueprint: &Blueprint) -> ConfigMap {
    ConfigMap {
        metadata: metadata(blueprint, format!("istio-{}", blueprint.release.slug())),
        data: Some(BTreeMap::from([
            ("mesh".to_owned(), format!("{:#}", mesh::config(blueprint))),
            ("meshNetworks".to_owned(), "networks: {}".to_owned()),
        ])),
        ..ConfigMap::default()
    }
}

fn service(blueprint: &Blueprint) -> Service {
    let port = |name: &str, port: i32, target: Option<i32>| ServicePort {
        name: Some(name.to_owned()),
        port,
        protocol: Some("TCP".to_owned()),
        target_port: target.map(IntOrString::Int),
        ..ServicePort::default()
    };
    Service {
        metadata: metadata(blueprint, name(blueprint)),
        spec: Some(ServiceSpec {
            ip_family_policy: (blueprint.families == IpFamilies::Dual)
                .then(|| "PreferDualStack".to_owned()),
            ports: Some(vec![
                port("grpc-xds", 15010, None),
                port("https-dns", names::ISTIOD_XDS_PORT.into(), None),
                port("https-webhook", 443, Some(15017)),
                port("http-monitoring", 15014, None),
            ]),
            selector: Some(selector(blueprint)),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn budget(blueprint: &Blueprint) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(blueprint, name(blueprint)),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(selector(blueprint)),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}

fn deployment(blueprint: &Blueprint) -> Result<Manifest, Error> {
    let mut template = template(blueprint);
    let hash = TemplateHash::of(&[&template]).map_err(|source| Error::Hash {
        component: names::ISTIOD,
        source,
    })?;
    let annotations = template
        .metadata
        .get_or_insert_default()
        .annotations
        .get_or_insert_default();
    annotations.insert(names::TEMPLATE_HASH_ANNOTATION.to_owned(), hash.to_string());
    let version = blueprint.release.version.to_string();
    let rolling_update = RollingUpdateDeployment {
        max_surge: Some(IntOrString::String("100%".to_owned())),
        max_unavailable: Some(IntOrString::String("25%".to_owned())),
    };
    Manifest::of(&Deployment {
        metadata: meta::with_annotations(
            metadata(blueprint, name(blueprint)),
            [
                (names::TEMPLATE_HASH_ANNOTATION, hash.as_str()),
                (RELEASE_ANNOTATION, &version),
            ],
        ),
        spec: Some(DeploymentSpec {
            // Not ours where an autoscaler of the user's decides.
            replicas: match blueprint.control_plane.replicas {
                Replicas::Fixed(count) => Some(count),
                Replicas::Autoscaled { .. } => None,
            },
            selector: LabelSelector {
                match_labels: Some(selector(blueprint)),
                ..LabelSelector::default()
            },
            strategy: Some(DeploymentStrategy {
                rolling_update: Some(rolling_update),
                type_: Some("RollingUpdate".to_owned()),
            }),
            template,
            ..DeploymentSpec::default()
        }),
        status: None,
    })
}

fn template(blueprint: &Blueprint) -> PodTemplateSpec {
    let mut labels = meta::texts([
        ("app.kubernetes.io/name", names::ISTIOD),
        ("istio", names::ISTIOD),
        (names::MANAGED_BY_LABEL, names::MANAGED_BY),
        (names::MEMBER_LABEL, &blueprint.owner.name),
        ("sidecar.istio.io/inject", "false"),
        (names::DATAPLANE_MODE_LABEL, names::DATAPLANE_MODE_NONE),
    ]);
    labels.extend(selector(blueprint));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(meta::texts([
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
            service_account_name: Some(ACCOUNT.to_owned()),
            // istiod must come up on nodes that wait for the agent: the agent's pods need it.
            tolerations: Some(vec![Toleration {
                key: Some(names::STARTUP_TAINT.to_owned()),
                operator: Some("Exists".to_owned()),
                ..Toleration::default()
            }]),
            topology_spread_constraints: (blueprint.control_plane.replicas.least() > 1).then(
                || {
                    vec![TopologySpreadConstraint {
                        label_selector: Some(LabelSelector {
                            match_labels: Some(selector(blueprint)),
                            ..LabelSelector::default()
                        }),
                        max_skew: 1,
                        topology_key: "kubernetes.io/hostname".to_owned(),
                        when_unsatisfiable: "ScheduleAnyway".to_owned(),
                        ..TopologySpreadConstraint::default()
                    }]
                },
            ),
            volumes: Some(volumes()),
            ..PodSpec::default()
        }),
    }
}

fn container(blueprint: &Blueprint) -> Container {
    let mut arguments = vec![
        "discovery".to_owned(),
        "--monitoringAddr=:15014".to_owned(),
        "--log_output_level=default:info".to_owned(),
        "--domain".to_owned(),
        blueprint.cluster_domain.clone(),
        // ztunnel's streams are recycled so that they spread over replicas again.
        "--keepaliveMaxServerConnectionAge".to_owned(),
        "30m".to_owned(),
    ];
    if blueprint.cni.startup_taint {
        arguments.push(format!("--cniNamespace={}", names::SYSTEM_NAMESPACE));
    }
    let port = |name: &str, container_port: i32| ContainerPort {
        name: Some(name.to_owned()),
        container_port,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let mut readiness = pod::http_probe("/ready", 8080);
    readiness.period_seconds = Some(3);
    readiness.timeout_seconds = Some(5);
    Container {
        args: Some(arguments),
        env: Some(environment(blueprint)),
        ports: Some(vec![
            port("http-debug", 8080),
            port("grpc-xds", 15010),
            port("tls-xds", names::ISTIOD_XDS_PORT.into()),
            port("https-webhooks", 15017),
            port("http-monitoring", 15014),
        ]),
        startup_probe: Some(pod::startup_probe(&readiness)),
        readiness_probe: Some(readiness),
        resources: Some(blueprint.control_plane.resources.clone()),
        security_context: Some(pod::unprivileged()),
        volume_mounts: Some(vec![
            pod::mount_read_only("istio-token", "/var/run/secrets/tokens"),
            pod::mount("local-certs", "/var/run/secrets/istio-dns"),
            pod::mount_read_only("cacerts", "/etc/cacerts"),
        ]),
        ..pod::container("discovery", &blueprint.images.istiod)
    }
}

fn environment(blueprint: &Blueprint) -> Vec<EnvVar> {
    let trusted = format!("{}/{}", names::SYSTEM_NAMESPACE, names::ZTUNNEL);
    let mut all = vec![
        pod::env("REVISION", blueprint.release.slug()),
        pod::env("PILOT_CERT_PROVIDER", "istiod"),
        pod::env_field("POD_NAME", "metadata.name"),
        pod::env_field("POD_NAMESPACE", "metadata.namespace"),
        pod::env_field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        // Who may ask for certificates of the pods on its node.
        pod::env("CA_TRUSTED_NODE_ACCOUNTS", trusted),
        pod::env("CLUSTER_ID", blueprint.cluster_id()),
        pod::env("PILOT_ENABLE_AMBIENT", "true"),
        // From the first start on, so that joining another cluster later restarts nothing.
        pod::env("AMBIENT_ENABLE_MULTI_NETWORK", "true"),
        pod::env("PILOT_ENABLE_ANALYSIS", "false"),
        // There is no injection webhook whose certificate would have to be kept.
        pod::env("INJECTION_WEBHOOK_CONFIG_NAME", ""),
        pod::env_resource("GOMAXPROCS", "limits.cpu"),
    ];
    if blueprint.families == IpFamilies::Dual {
        all.push(pod::env("ISTIO_DUAL_STACK", "true"));
    }
    if let Some(platform) = blueprint.platform.istiod_name() {
        all.push(pod::env("PLATFORM", platform));
    }
    if blueprint.cni.startup_taint {
        all.push(pod::env("PILOT_ENABLE_NODE_UNTAINT_CONTROLLERS", "true"));
        if blueprint.release.istio.minor >= 30 {
            all.push(pod::env(
                "PILOT_NODE_UNTAINT_CONTROLLERS_TAINT_NAME",
                names::STARTUP_TAINT,
            ));
        }
    }
    all
}

fn volumes() -> Vec<Volume> {
    vec![
        pod::istio_token(),
        Volume {
            name: "local-certs".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource {
                medium: Some("Memory".to_owned()),
                ..EmptyDirVolumeSource::default()
            }),
            ..Volume::default()
        },
        // Not optional, unlike upstream's: an istiod that starts without it signs with a root of its own and ignores a
        // later Secret until restarted. So it waits.
        Volume {
            name: "cacerts".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(names::CACERTS_SECRET.to_owned()),
                optional: Some(false),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        },
    ]
}
