//! `MeshMember`: one cluster's membership in a network.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ControlPlane, DataPlane, EastWestGateway, Images, MeshMemberStatus, SecretKeyRef, Upgrade,
    Waypoints,
};

/// One cluster's membership: what runs there, in which version, and when it may change.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "applink.dev",
    version = "v1alpha1",
    kind = "MeshMember",
    plural = "meshmembers",
    singular = "meshmember",
    shortname = "mm",
    category = "applink",
    status = "MeshMemberStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "One cluster's membership in an application network.",
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.upgrade.mode"),
    printcolumn(name = "Follows", type_ = "string", json_path = ".status.upgrade.follows",
        description = "the channel, or the pinned version"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version.current"),
    printcolumn(name = "Target", type_ = "string", json_path = ".status.version.target"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.rollout.step"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = (
        "size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
        "a member's name is its cluster id in the mesh: at most 63 lower case letters, digits and hyphens"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = (
        "has(self.applicationNetwork) == has(oldSelf.applicationNetwork) && (!has(self.applicationNetwork) || self.applicationNetwork == oldSelf.applicationNetwork)",
        "applicationNetwork is immutable: delete the member and create it anew to join another network"
    ),
    validation = (
        "has(self.cluster) == has(oldSelf.cluster) && (!has(self.cluster) || self.cluster == oldSelf.cluster)",
        "cluster is immutable: create another member for another cluster"
    ),
    validation = (
        "!has(self.eastWestGateway)",
        "eastWestGateway is not available yet in this version of applink"
    )
)]
pub struct MeshMemberSpec {
    /// The network this cluster belongs to; the effective default is `default`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    )]
    pub application_network: Option<String>,
    /// Which cluster; the effective default is the one the operator runs in. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// The Istio network of the cluster's pods; the effective default is the member's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    )]
    pub network: Option<String>,
    /// Who chooses the version, and when it may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,
    /// RefuseWhileEnrolled (the effective default) or UnenrolNamespaces: what deleting the member does while
    /// namespaces are enrolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave_policy: Option<LeavePolicy>,
    /// Who runs istiod, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<ControlPlane>,
    /// What runs on every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_plane: Option<DataPlane>,
    /// The gateway through which other members reach this one; absent means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub east_west_gateway: Option<EastWestGateway>,
    /// Defaults of every waypoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waypoints: Option<Waypoints>,
    /// Where images come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Images>,
}

/// Which cluster a member stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = (
        "self.type == 'Kubeconfig' ? has(self.kubeconfig) : !has(self.kubeconfig)",
        "kubeconfig is required for type Kubeconfig, and only there"
    ),
    validation = (
        "self.type != 'Kubeconfig'",
        "cluster.type Kubeconfig is not available yet in this version of applink; use Local"
    )
)]
pub struct Cluster {
    /// Local: the cluster the operator runs in. Kubeconfig: another one.
    #[serde(rename = "type")]
    pub kind: ClusterType,
    /// How to reach it; only for type Kubeconfig.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<Kubeconfig>,
}

/// How the operator reaches a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described on the field; docs on variants would change the schema"
)]
pub enum ClusterType {
    #[default]
    Local,
    Kubeconfig,
}

/// A kubeconfig in a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Kubeconfig {
    /// The Secret in `applink-operator` that holds it.
    pub secret_ref: SecretKeyRef,
}

/// What deleting a member does while namespaces are enrolled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described on the field; docs on variants would change the schema"
)]
pub enum LeavePolicy {
    #[default]
    RefuseWhileEnrolled,
    UnenrolNamespaces,
}
