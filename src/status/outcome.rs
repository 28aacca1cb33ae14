//! What the operator knows after one pass over a member: the input of [`super::next`].
//!
//! `None` means "not looked at in this pass": what status says about it stays.

use jiff::Timestamp;

use super::steering::{Ending, Steering};
use crate::api::conditions::{Reason, Step};
use crate::api::v1alpha1::{
    AvailableUpgrade, CertificateStatus, ComponentStatus, FailedRelease, LeaveStatus,
    MembershipStatus, PlatformStatus, RolloutNodes, Upgrade,
};
use crate::catalogue::{Resolution, Unresolved, Version};
use crate::facts::Connections;
use crate::preflight::Finding;

/// What one pass found, did and waits for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// `metadata.generation` of the spec the pass acted on.
    pub generation: Option<i64>,
    /// The uid of namespace `kube-system`.
    pub cluster_uid: Option<String>,
    /// The API server's version.
    pub kubernetes_version: Option<String>,
    /// The platform in effect, and why.
    pub platform: Option<PlatformStatus>,
    /// `spec.upgrade` as the pass read it.
    pub upgrade: Option<Upgrade>,
    /// What it resolves to.
    pub resolution: Option<Result<Resolution, Unresolved>>,
    /// Where the member could go.
    pub available_upgrades: Option<Vec<AvailableUpgrade>>,
    /// What else is wrong with the spec: the reason and the message of condition Accepted.
    pub invalid: Option<Problem>,
    /// What the checks before the first act found, what blocks first.
    pub findings: Vec<Finding>,
    /// How far the work is.
    pub progress: Progress,
    /// What is known of a rollout beyond its progress.
    pub rollout: Rollout,
    /// What was decided about the version.
    pub steering: Steering,
    /// Every component, and whether it serves.
    pub components: Option<Vec<Component>>,
    /// The certificates the mesh lives on.
    pub certificates: Option<Vec<CertificateStatus>>,
    /// Who is in the mesh.
    pub membership: Option<MembershipStatus>,
    /// How far a leave is; the default while it may not begin.
    pub leave: Option<LeaveStatus>,
    /// What failed in this pass.
    pub failure: Option<Failure>,
    /// Set while a deleted member cannot leave: the reason and the message of condition `LeaveBlocked`.
    pub leave_blocked: Option<Problem>,
}

/// What is known of a rollout beyond its progress.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rollout {
    /// The wave of nodes, from 1.
    pub wave: Option<i32>,
    /// Whether it can still be taken back.
    pub revertible: Option<bool>,
    /// The release failed just now, and is to be taken back.
    pub failed: Option<FailedRelease>,
    /// A gate failed just now, and the rollout is to stand still there.
    pub halted: Option<String>,
    /// Hash of the per-node template that arrives, and that of the settings it was made from.
    pub template: Option<(String, String)>,
    /// Connections of the node whose failures have grown most, as far as they were looked at: before it moved, and since.
    pub compared: Option<(Connections, Connections)>,
    /// Until when nodes are watched that do all they should.
    pub watched_until: Option<Timestamp>,
    /// It ended with this pass.
    pub ended: Option<Ending>,
}

/// How far the work is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Progress {
    /// The pass could not tell.
    #[default]
    Unknown,
    /// Work goes on.
    Working(Work),
    /// Everything runs as asked.
    Settled {
        /// The version that runs.
        version: Version,
        /// The Istio version it carries.
        istio: Version,
    },
}

/// Work that goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// The step.
    pub step: Step,
    /// What is waited for; `None` while acting.
    pub wait: Option<Wait>,
    /// The version it goes to; `None` when leaving, or before a release is chosen.
    pub to: Option<Version>,
    /// The revision that arrives: `1-6-0-3fa9c1`.
    pub revision: Option<String>,
    /// How far the nodes are.
    pub nodes: Option<RolloutNodes>,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The reason of condition Reconciling; usually the step's own.
    pub reason: Reason,
    /// The object: `DaemonSet applink-system/ztunnel-1-6-0-3fa9c1`.
    pub object: String,
    /// What it lacks, with the numbers seen: `1 of 2 pods are ready`.
    pub message: String,
}

/// One component, and whether it does its work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Component {
    /// What status shows.
    pub status: ComponentStatus,
    /// It serves: a pod that is being replaced, or on a node that is gone, does not count against it.
    pub serves: bool,
}

/// A reason and a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The reason.
    pub reason: Reason,
    /// The message, with the object and the remedy.
    pub message: String,
}

/// What failed in a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason of condition Stalled when terminal; otherwise it is tried again.
    pub reason: Reason,
    /// The message, with the object and the remedy.
    pub message: String,
    /// Only a change by somebody can help.
    pub is_terminal: bool,
}
