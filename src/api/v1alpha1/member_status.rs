//! What a `MeshMember` reports. Bounded whatever the cluster's size: the limits stand beside the fields.
//!
//! Names that grow with versions (steps, results, components) are plain strings here, so that an operator can always
//! read what a newer one wrote.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::ReleaseImage;

/// Most entries of `membership.enrolledNames` and `membership.broken`.
pub const MAX_MEMBERSHIP_NAMES: usize = 20;
/// Most entries of `rollout.nodes.current` and `.failed`.
pub const MAX_ROLLOUT_NODES: usize = 8;
/// Most entries of `failedReleases`.
pub const MAX_FAILED_RELEASES: usize = 10;
/// Most entries of `history`.
pub const MAX_HISTORY: usize = 10;
/// Most entries of `components`.
pub const MAX_COMPONENTS: usize = 16;
/// Most entries of `certificates`.
pub const MAX_CERTIFICATES: usize = 8;
/// Most entries of `availableUpgrades`.
pub const MAX_AVAILABLE_UPGRADES: usize = 10;
/// Most entries of `releases`.
pub const MAX_RELEASES: usize = 3;
/// Most entries of `withdrawals`.
pub const MAX_WITHDRAWALS: usize = 20;
/// Most entries of `handledRequests`.
pub const MAX_REQUESTS: usize = 8;
/// Most entries of `leave.stages` and `leave.left`.
pub const MAX_LEAVE: usize = 16;
/// Longest message anywhere in status, in characters.
pub const MAX_MESSAGE: usize = 1024;
/// Longest name anywhere in status, in characters.
pub const MAX_NAME: usize = 253;

/// What a member reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshMemberStatus {
    /// The generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Ready, UpToDate and MembershipHealthy; Reconciling, Stalled and LeaveBlocked while they hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// The identity of the cluster: the uid of its namespace `kube-system`.
    #[serde(
        rename = "clusterUID",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub cluster_uid: Option<String>,
    /// What runs, and what it moves to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionStatus>,
    /// The Istio version of what runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub istio_version: Option<String>,
    /// The Kubernetes version of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// The platform in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<PlatformStatus>,
    /// The upgrade settings in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeStatus>,
    /// The components of the mesh in this cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub components: Vec<ComponentStatus>,
    /// The work in progress: an install, an upgrade, a rollback or a leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// How far a leave is; absent unless the member is being deleted and may go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave: Option<LeaveStatus>,
    /// Who is in the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership: Option<MembershipStatus>,
    /// Versions this member could move to, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub available_upgrades: Vec<AvailableUpgrade>,
    /// Releases that failed here and are not tried again by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub failed_releases: Vec<FailedRelease>,
    /// Certificates the mesh lives on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub certificates: Vec<CertificateStatus>,
    /// The last moves, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub history: Vec<HistoryEntry>,
    /// Requests of the command line that were handled: the last nonce of each action.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub handled_requests: BTreeMap<String, String>,
    /// What the releases that run, arrive or ran before are made of: they stay what they are whatever becomes of their
    /// entries in the catalogue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub releases: Vec<KnownRelease>,
    /// Withdrawals that were seen in MeshReleases: deleting the MeshRelease takes none of them back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub withdrawals: Vec<Withdrawal>,
}

/// What a release is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KnownRelease {
    /// Its version.
    pub version: String,
    /// The Istio version it carries.
    pub istio_version: String,
    /// Its images, by component.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub images: BTreeMap<String, ReleaseImage>,
}

/// A withdrawal that was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Withdrawal {
    /// The version.
    pub version: String,
    /// Why it was withdrawn.
    pub reason: String,
}

/// How far a leave is. Written down so that an operator that is started again does not start its clocks anew.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaveStatus {
    /// The stages that were begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub stages: Vec<LeaveStage>,
    /// What istiod made at run time was removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub swept: bool,
    /// What was not waited for any longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub left: Vec<String>,
}

/// A stage of a leave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaveStage {
    /// Unenrol, Redirection, Proxies, Agents, Check, CheckGone, Rest or Sweep.
    pub name: String,
    /// When it was first waited in; after 3 minutes the leave goes on.
    pub since: Time,
}

/// What runs, and what it moves to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionStatus {
    /// What runs; absent until the first install has finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub current: Option<String>,
    /// Where it goes; equal to current when nothing moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub target: Option<String>,
    /// What ran before: the one rollback target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub previous: Option<String>,
    /// The channel or pin that brought current about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub reached_by: Option<String>,
    /// Hash of the per-node template of what runs: an equal one moves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub hash: Option<String>,
    /// Hash of the per-node settings of the spec that the template was made from: tells a change of the spec from one
    /// that a new operator brings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub settings: Option<String>,
    /// Hash of the release's per-node images that the template was made from: tells a changed MeshRelease from a new
    /// operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub images: Option<String>,
}

/// The platform in effect, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlatformStatus {
    /// The platform's name as in `spec.dataPlane.platform`.
    pub name: String,
    /// What it was concluded from.
    pub evidence: String,
}

/// The upgrade settings in effect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeStatus {
    /// SelfManaged or FullyManaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The channel followed, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The pin in effect, if any: a minor or an exact version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The channel or the pin: what `kubectl get` shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<String>,
    /// How many percentage points more of a node's connections may fail than before it moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failure_increase: Option<String>,
    /// Why a move has not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// When the next maintenance window opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_window: Option<Time>,
}

/// One component of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// The component: `istiod`, `istio-cni`, `ztunnel`.
    pub name: String,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How many pods there should be.
    pub desired: i32,
    /// How many carry the current template.
    pub updated: i32,
    /// How many serve.
    pub ready: i32,
    /// What is wrong, or what is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The work in progress.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Its identity: changes with every rollout.
    pub id: String,
    /// The revision that arrives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The version that runs; absent at the first install.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The version it goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Spec, Channel or Operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiated_by: Option<String>,
    /// The channel or pin it was started for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<String>,
    /// Why it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whether it fixes a listed vulnerability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixes: Option<bool>,
    /// Hash of the per-node template that arrives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Hash of the per-node settings of the spec that the template was made from: while they stay, an operator that would
    /// render another template goes on with this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<String>,
    /// Why it goes back instead of on: the moved nodes return to what ran before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns: Option<String>,
    /// Why it stands still, neither on nor back: the gate that failed, where `upgrade.strategy.onFailure` is Pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<String>,
    /// When somebody last asked to try again what had failed: gates count from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried_at: Option<Time>,
    /// The step it is in.
    pub step: String,
    /// The wave of nodes it is in, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<i32>,
    /// How far the nodes are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<RolloutNodes>,
    /// Whether it can still be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revertible: Option<bool>,
    /// When it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// What is being done or waited for, on which object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How far the nodes are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutNodes {
    /// Nodes that can carry the mesh.
    pub total: i32,
    /// Nodes that carry the arriving revision.
    pub updated: i32,
    /// Nodes that are set aside.
    pub set_aside: i32,
    /// Nodes that are not supported: not Linux, virtual, or of an architecture without an image.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unsupported: i32,
    /// Some of the nodes in flight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub current: Vec<String>,
    /// Some of the nodes that failed or are set aside, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub failed: Vec<NodeFailure>,
}

/// A node that failed or is set aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeFailure {
    /// The node's name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// Who is in the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MembershipStatus {
    /// How many namespaces are enrolled.
    pub namespaces: i32,
    /// How many pods should be in the mesh.
    pub enrolled: i32,
    /// How many pods are.
    pub meshed: i32,
    /// Some of the enrolled namespaces, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub enrolled_names: Vec<String>,
    /// Some of the pods that should be in the mesh and are not: `namespace/name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub broken: Vec<String>,
}

/// A version the member could move to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AvailableUpgrade {
    /// The version.
    pub version: String,
    /// The Istio version it carries.
    pub istio_version: String,
    /// The channels that offer it now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub channels: Vec<String>,
    /// How many listed vulnerabilities it fixes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fixes: i32,
}

/// A release that failed here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedRelease {
    /// The version.
    pub version: String,
    /// The hash of the template that failed.
    pub hash: String,
    /// Why.
    pub reason: String,
    /// The channel or pin it was tried for: another one makes it count no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
}

/// A certificate the mesh lives on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// Which: `root`, `intermediate`.
    pub what: String,
    /// SHA-256 of its DER form, in lower case hexadecimal.
    pub fingerprint: String,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
}

/// One finished move.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// The version it started from; absent for the first install.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The version it went to.
    pub to: String,
    /// When it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// Spec, Channel or Operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiated_by: Option<String>,
    /// Succeeded, RolledBack or Aborted.
    pub result: String,
    /// Why it ended so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde asks for"
)]
fn is_zero(number: &i32) -> bool {
    *number == 0
}
