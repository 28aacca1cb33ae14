//! Why what a spec asks for is not done.

use crate::api::conditions::Reason;
use crate::catalogue::{Minor, Unresolved, Version};
use crate::window::Fault;

/// Why what a spec asks for is not done; what runs goes on running. Every message ends with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A window or an exclusion cannot be used.
    #[error(transparent)]
    Calendar(#[from] Fault),
    /// The spec means no release.
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
    /// More than one line back.
    #[error(
        "{means} is more than one minor back from {from}, which {}; a member goes back one minor at most: pin {nearest} or a later one",
        if *is_running { "runs" } else { "has run here and left its definitions" }
    )]
    TooFarBack {
        /// What was asked for.
        means: Version,
        /// Where it is counted from.
        from: Version,
        /// Whether that is what runs, or the newest that has run here.
        is_running: bool,
        /// The oldest line it may go to.
        nearest: Minor,
    },
    /// A line between what runs and what was asked for cannot be taken.
    #[error(
        "the way from {from} to {means} leads through {missing}, and {why}; pin a version that can be reached, or apply a MeshRelease for {missing}"
    )]
    NoWay {
        /// What runs.
        from: Version,
        /// What was asked for.
        means: Version,
        /// The line that is missing.
        missing: Minor,
        /// What is wrong with it.
        why: String,
    },
}

impl Refusal {
    /// The reason of condition Accepted.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Calendar(fault) => fault.reason(),
            Self::Unresolved(unresolved) => unresolved.reason(),
            Self::TooFarBack { .. } => Reason::TooFarBack,
            Self::NoWay { .. } => Reason::NoUpgradePath,
        }
    }
}
