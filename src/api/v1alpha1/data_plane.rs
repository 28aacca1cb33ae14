//! The part of a member's spec that shapes what runs: control plane, per-node components, gateways, images.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretRef, Toleration};
use crate::api::quantity::Quantity;

/// Requests and limits of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What the scheduler sets aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<ResourceAmounts>,
    /// What the container may use at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceAmounts>,
}

/// Amounts of processor and memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceAmounts {
    /// Processor, in cores: `1`, `"500m"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    /// Memory, in bytes: `"64Mi"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
}

/// Who runs istiod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = (
        "!has(self.type) || self.type != 'External'",
        "controlPlane.type External is not available yet in this version of applink; use Managed"
    )
)]
pub struct ControlPlane {
    /// Managed: the operator runs istiod in this cluster (the effective default). External: istiod runs elsewhere.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ControlPlaneType>,
    /// How many istiod pods run; the effective default is 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub replicas: Option<i32>,
    /// Resources of each istiod pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// Who runs istiod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described on the field; docs on variants would change the schema"
)]
pub enum ControlPlaneType {
    #[default]
    Managed,
    External,
}

/// What runs on every node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataPlane {
    /// The node proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ztunnel: Option<Ztunnel>,
    /// The network agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cni: Option<Cni>,
    /// The Kubernetes distribution: Vanilla (also kind), K3s, K3d, MicroK8s, Minikube, OpenShift, GKE, EKS or AKS;
    /// absent means detected, with the evidence in status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Labels a node must have to be part of the mesh; absent means every Linux node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::selector::label_map")]
    pub node_selector: BTreeMap<String, String>,
    /// Tolerations of the per-node pods; absent means all taints are tolerated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub tolerations: Option<Vec<Toleration>>,
}

/// The node proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ztunnel {
    /// Applink: our own proxy (the effective default). Istio: upstream's image under the same contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub implementation: Option<ZtunnelImplementation>,
    /// Resources of the proxy's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Error, Warn, Info (the effective default), Debug or Trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<LogLevel>,
}

/// The network agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cni {
    /// True: new nodes are expected to carry the taint `cni.istio.io/not-ready`, which is removed once the agent is
    /// ready, so that no pod starts before it. The effective default is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_taint: Option<bool>,
    /// Resources of the agent's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Error, Warn, Info (the effective default), Debug or Trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<LogLevel>,
}

/// Whose node proxy runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described on the field; docs on variants would change the schema"
)]
pub enum ZtunnelImplementation {
    #[default]
    Applink,
    Istio,
}

/// How much a component logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described on the field; docs on variants would change the schema"
)]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The level in lower case, as both node components read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// A Kubernetes distribution that needs its own paths or objects.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[expect(
    missing_docs,
    reason = "described on the field; docs on variants would change the schema"
)]
pub enum Platform {
    #[default]
    Vanilla,
    K3s,
    K3d,
    MicroK8s,
    Minikube,
    OpenShift,
    GKE,
    EKS,
    AKS,
}

/// The gateway through which other members reach this one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EastWestGateway {
    /// Internal or External: which kind of load balancer the gateway's Service asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// How many gateway pods run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20))]
    pub replicas: Option<i32>,
    /// Annotations of the gateway's Service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::selector::annotation_map")]
    pub annotations: BTreeMap<String, String>,
}

/// Which kind of load balancer is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described on the field; docs on variants would change the schema"
)]
pub enum Visibility {
    #[default]
    Internal,
    External,
}

/// Defaults of every waypoint of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Waypoints {
    /// How many pods a waypoint has; the effective default is 2, with a disruption budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub replicas: Option<i32>,
    /// Resources of each waypoint pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// Where images come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Images {
    /// Registry and path in front of every image's last name, such as `registry.example.com/mesh`; absent means
    /// the repositories of the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 255),
        regex(
            pattern = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)*$"
        )
    )]
    pub registry: Option<String>,
    /// Secrets in `applink-operator` with registry credentials; copied to where pods need them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub pull_secrets: Vec<SecretRef>,
}
