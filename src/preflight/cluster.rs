//! What the checks look at, as plain data. Filled by the shell; every list is bounded by what the cluster holds.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::NetworkPolicy;

/// Facts about one cluster before the first act.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    /// `gitVersion` of the API server: `v1.33.4`.
    pub server_version: String,
    /// The uid of namespace `kube-system`.
    pub uid: String,
    /// Every node.
    pub nodes: Vec<Node>,
    /// `DaemonSets` named `istio-cni-node` or `ztunnel`, ours and others'.
    pub daemon_sets: Vec<Workload>,
    /// Deployments with label `app=istiod`, ours and others'.
    pub control_planes: Vec<Workload>,
    /// Mutating webhooks that inject sidecars, ours and others'.
    pub injectors: Vec<Injector>,
    /// Namespaces that ask for sidecars.
    pub sidecar_namespaces: Vec<String>,
    /// CRDs of the Gateway API and of Istio.
    pub crds: Vec<Crd>,
    /// Labels of namespace `applink-system`; `None` when it is not there.
    pub system_labels: Option<BTreeMap<String, String>>,
    /// Resource quotas in `applink-system` that count pods.
    pub quotas: Vec<Quota>,
    /// Namespaces that are enrolled.
    pub enrolled_namespaces: Vec<String>,
    /// Network policies in enrolled namespaces.
    pub network_policies: Vec<NetworkPolicy>,
    /// Other members that stand for this cluster.
    pub rivals: Vec<Rival>,
    /// What the operator may not do although it must.
    pub missing_rights: Vec<Right>,
    /// Pull secrets in the operator's namespace, and what is wrong with each that cannot be used.
    pub pull_secrets: BTreeMap<String, Option<String>>,
    /// The configuration of Cilium, when that is the cluster's network.
    pub cilium: Option<Cilium>,
}

/// One node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// `linux`, `windows`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub arch: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Condition Ready is True.
    pub ready: bool,
    /// Cordoned.
    pub unschedulable: bool,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// The kubelet's version: `v1.33.4`.
    pub kubelet_version: String,
    /// Virtual kubelet or Fargate: nothing per-node can run there.
    pub is_virtual: bool,
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    /// The key.
    pub key: String,
    /// The value, empty when there is none.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// A workload that may belong to us or to somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// It carries our member label.
    pub is_ours: bool,
}

/// A webhook that injects sidecars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injector {
    /// The configuration's name.
    pub name: String,
    /// It carries our member label, or was made by a control plane of ours.
    pub is_ours: bool,
}

/// A custom resource definition we need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crd {
    /// Its name: `gateways.gateway.networking.k8s.io`.
    pub name: String,
    /// The field manager or tool that owns it; `None` when it is ours.
    pub owner: Option<String>,
    /// The bundle version in its annotations: `v1.4.1`.
    pub bundle_version: Option<String>,
    /// The channel in its annotations: `standard`, `experimental`.
    pub channel: Option<String>,
}

/// A quota on pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The quota's name.
    pub name: String,
    /// How many pods it allows.
    pub hard: i64,
    /// How many it counts now.
    pub used: i64,
}

/// Another member that stands for the same cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
}

/// Something the operator must be allowed to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The verb: `create`.
    pub verb: String,
    /// The resource with its group: `daemonsets.apps`.
    pub resource: String,
    /// The namespace; empty for the whole cluster.
    pub namespace: String,
}

/// How Cilium is set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cilium {
    /// `cni.exclusive`: it removes other plugins' configuration.
    pub exclusive: bool,
    /// `bpf.masquerade`: it breaks the probes' source address.
    pub bpf_masquerade: bool,
    /// It translates service addresses inside pods: `socketLB` without `hostNamespaceOnly`.
    pub socket_lb: bool,
}
