//! The two releases a plan is between.

use std::sync::Arc;

use super::act::Plan;
use super::target::Target;

/// What nodes are to get to, and what they come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Targets {
    /// What nodes are to get to: the target of the rollout that status records, and while there is none what runs. It
    /// stays this one while what failed is taken back, so that the plan knows what to take away, and it stays this one
    /// while the plan is not revertible: what is finishing is finished before anything else begins.
    pub target: Arc<Target>,
    /// The release that runs (`status.version.current`), rendered with the spec as it is now, while its version differs
    /// from the target's: its control plane is kept beside the target's until no node runs its revision, and is what is
    /// gone back to. `None` while both have one version, and before the first install has finished: then there is one
    /// control plane.
    ///
    /// Only its control plane and what is shared are applied from it. What runs on nodes stays as the cluster has it: the
    /// spec may have changed since.
    pub settled: Option<Arc<Target>>,
}

impl Targets {
    /// One release: what runs is what is to run, or another template of it.
    pub fn one(target: Arc<Target>) -> Self {
        Self {
            target,
            settled: None,
        }
    }

    /// The release that runs once there is nothing left to do for a plan that is done.
    pub fn left(&self, plan: &Plan) -> &Arc<Target> {
        self.settled
            .as_ref()
            .filter(|_| plan.is_held)
            .unwrap_or(&self.target)
    }
}
