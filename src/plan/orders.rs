//! How a rollout goes, and whether it does.

use super::target::Target;
use crate::api::v1alpha1::{FailedRelease, MeshMember};
use crate::blueprint::Strategy;
use crate::names;

/// How a rollout goes, and whether it does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Orders {
    /// How nodes are moved.
    pub strategy: Strategy,
    /// Why the target is not to be gone to after all: it failed here, or lost its point.
    pub failed: Option<String>,
    /// The target's per-node template is not to be gone to yet: what runs on nodes stays as it is.
    pub held: bool,
    /// Nothing new begins.
    pub paused: bool,
}

impl Orders {
    /// What a member says, and what its status remembers of this target.
    pub fn of(member: &MeshMember, target: &Target) -> Self {
        let upgrade = member.spec.upgrade.as_ref();
        let status = member.status.as_ref();
        let is_marked = member
            .metadata
            .annotations
            .as_ref()
            .is_some_and(|all| all.contains_key(names::PAUSED_ANNOTATION));
        Self {
            strategy: Strategy::of(upgrade),
            failed: status
                .into_iter()
                .flat_map(|status| &status.failed_releases)
                .find(|failed| is_of(failed, target))
                .map(|failed| failed.reason.clone()),
            held: false,
            paused: is_marked || upgrade.and_then(|upgrade| upgrade.paused).unwrap_or(false),
        }
    }

    pub(super) fn reverts(&self) -> bool {
        self.held || self.failed.is_some()
    }
}

/// The failure of this target: a changed template is another one.
fn is_of(failed: &FailedRelease, target: &Target) -> bool {
    failed.version == target.version.to_string() && failed.hash == target.proxy_hash
}
