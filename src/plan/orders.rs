//! How a rollout goes, and whether it does.

use jiff::Timestamp;

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
    /// Beside that, nodes that have begun stop where they may stay.
    pub stops: bool,
    /// The gate at which the target stands still: nothing new begins until somebody decides.
    pub halted: Option<String>,
    /// When somebody asked to try again what had failed: gates count from then on.
    pub retried: Option<Timestamp>,
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
        let paused = is_marked || upgrade.and_then(|upgrade| upgrade.paused).unwrap_or(false);
        let rollout = status.and_then(|status| status.rollout.as_ref());
        // What another template failed at says nothing of this one.
        let of_target =
            rollout.filter(|rollout| rollout.revision.as_deref() == Some(target.revision.as_str()));
        Self {
            strategy: Strategy::of(upgrade),
            failed: status
                .into_iter()
                .flat_map(|status| &status.failed_releases)
                .find(|failed| is_of(failed, target))
                .map(|failed| failed.reason.clone()),
            held: false,
            paused,
            stops: paused,
            halted: of_target.and_then(|rollout| rollout.halted.clone()),
            retried: of_target.and_then(|rollout| Some(rollout.retried_at.as_ref()?.0)),
        }
    }

    /// The same past the point of no return, where nothing stops.
    pub(super) fn to_the_end(&self) -> Self {
        Self {
            failed: None,
            held: false,
            paused: false,
            stops: false,
            halted: None,
            ..self.clone()
        }
    }

    /// Nothing new begins on the way to the target.
    pub(super) const fn rests(&self) -> bool {
        self.paused || self.halted.is_some()
    }

    pub(super) fn reverts(&self) -> bool {
        self.held || self.failed.is_some()
    }
}

/// The failure of this target: a changed template is another one.
fn is_of(failed: &FailedRelease, target: &Target) -> bool {
    failed.version == target.version.to_string() && failed.hash == target.proxy_hash
}
