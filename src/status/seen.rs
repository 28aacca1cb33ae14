//! What was seen, cut to the limits of status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::bounds;
use super::conditions::whole_seconds;
use crate::api::v1alpha1::{
    AvailableUpgrade, CertificateStatus, ComponentStatus, LeaveStage, LeaveStatus, MAX_LEAVE,
    MAX_MEMBERSHIP_NAMES, MAX_ROLLOUT_NODES, MembershipStatus, NodeFailure, PlatformStatus,
    RolloutNodes,
};

pub(super) fn platform(seen: &PlatformStatus) -> PlatformStatus {
    PlatformStatus {
        name: bounds::name(&seen.name),
        evidence: bounds::message(&seen.evidence),
    }
}

pub(super) fn component(seen: &ComponentStatus) -> ComponentStatus {
    ComponentStatus {
        name: bounds::name(&seen.name),
        version: bounds::optional(seen.version.as_ref()),
        message: seen.message.as_deref().map(bounds::message),
        ..*seen
    }
}

pub(super) fn certificate(seen: &CertificateStatus) -> CertificateStatus {
    CertificateStatus {
        what: bounds::name(&seen.what),
        fingerprint: bounds::name(&seen.fingerprint),
        not_after: seen.not_after.clone(),
    }
}

pub(super) fn available(seen: &AvailableUpgrade) -> AvailableUpgrade {
    AvailableUpgrade {
        version: bounds::name(&seen.version),
        istio_version: bounds::name(&seen.istio_version),
        channels: bounds::list(&seen.channels, 3, |channel| bounds::name(channel)),
        fixes: seen.fixes,
    }
}

pub(super) fn membership(seen: &MembershipStatus) -> MembershipStatus {
    MembershipStatus {
        enrolled_names: bounds::list(&seen.enrolled_names, MAX_MEMBERSHIP_NAMES, |name| {
            bounds::name(name)
        }),
        broken: bounds::list(&seen.broken, MAX_MEMBERSHIP_NAMES, |name| {
            bounds::name(name)
        }),
        ..*seen
    }
}

pub(super) fn nodes(seen: &RolloutNodes) -> RolloutNodes {
    RolloutNodes {
        current: bounds::list(&seen.current, MAX_ROLLOUT_NODES, |name| bounds::name(name)),
        failed: bounds::list(&seen.failed, MAX_ROLLOUT_NODES, |failure| NodeFailure {
            name: bounds::name(&failure.name),
            reason: bounds::name(&failure.reason),
        }),
        ..*seen
    }
}

/// Clocks to the second, as all times in status.
pub(super) fn leave(seen: &LeaveStatus) -> LeaveStatus {
    LeaveStatus {
        stages: bounds::list(&seen.stages, MAX_LEAVE, |stage| LeaveStage {
            name: bounds::name(&stage.name),
            since: Time(whole_seconds(stage.since.0)),
        }),
        swept: seen.swept,
        left: bounds::list(&seen.left, MAX_LEAVE, |text| bounds::message(text)),
    }
}
