//! Why a spec resolves to nothing, and what somebody should know about what it resolves to.

use super::KubernetesRange;
use super::version::{Minor, NotAVersion, Pin, Version};
use crate::api::conditions::Reason;

/// Something to know about the release that was resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It was withdrawn and runs or is pinned exactly.
    Withdrawn {
        /// Why.
        reason: String,
    },
    /// Later patches of its line fix vulnerabilities.
    Vulnerable {
        /// Their identifiers.
        fixes: Vec<String>,
        /// The newest patch.
        fixed_in: Version,
    },
    /// The last day of its life has passed.
    EndOfLife {
        /// That day, as text.
        day: String,
    },
    /// It runs on a Kubernetes version it does not support.
    KubernetesOutOfRange {
        /// What it supports.
        range: KubernetesRange,
        /// What the cluster has.
        kubernetes: Minor,
    },
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Withdrawn { reason } => write!(f, "it was withdrawn: {reason}"),
            Self::Vulnerable { fixes, fixed_in } => {
                write!(
                    f,
                    "it is affected by {}, fixed in {fixed_in}",
                    some_of(fixes)
                )
            }
            Self::EndOfLife { day } => write!(f, "its support ended on {day}"),
            Self::KubernetesOutOfRange { range, kubernetes } => {
                write!(
                    f,
                    "it supports Kubernetes {range}, and this cluster runs {kubernetes}"
                )
            }
        }
    }
}

/// Why a spec resolves to nothing. Every message ends with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// `upgrade.version` cannot be read.
    #[error("spec.upgrade.version: {0}")]
    InvalidPin(NotAVersion),
    /// No catalogue entry has the version or line.
    #[error("spec.upgrade.version {pin} is in no catalogue{}; known versions: {}; pin one of them or apply a MeshRelease", refused.as_ref().map(|why| format!(" (MeshRelease {pin} was refused: {why})")).unwrap_or_default(), some_of(known))]
    UnknownVersion {
        /// What was pinned.
        pin: Pin,
        /// What could be pinned.
        known: Vec<String>,
        /// Why an object of that name was not taken.
        refused: Option<String>,
    },
    /// The version or line does not support this cluster.
    #[error(
        "{pin} supports Kubernetes {range}, and this cluster runs {kubernetes}; {}",
        remedy_for(fitting)
    )]
    KubernetesOutOfRange {
        /// What was pinned.
        pin: Pin,
        /// What it supports.
        range: KubernetesRange,
        /// What the cluster has.
        kubernetes: Minor,
        /// Lines that would fit.
        fitting: Vec<String>,
    },
    /// Everything that was asked for was withdrawn.
    #[error("{pin} was withdrawn: {reason}; pin another version")]
    Withdrawn {
        /// What was pinned.
        pin: Pin,
        /// Why.
        reason: String,
    },
    /// The version's day has not come.
    #[error("{pin} is not released yet; pin another version")]
    NotReleased {
        /// What was pinned.
        pin: Pin,
    },
    /// The channel has nothing for this cluster.
    #[error(
        "channel {channel} has no release for Kubernetes {kubernetes}; {}",
        remedy_for(fitting)
    )]
    NoReleaseInChannel {
        /// The channel.
        channel: &'static str,
        /// What the cluster has.
        kubernetes: Minor,
        /// Lines that would fit.
        fitting: Vec<String>,
    },
    /// Nothing in the catalogue supports this cluster.
    #[error(
        "no release supports Kubernetes {kubernetes}; update the operator, apply a MeshRelease, or change the cluster's version"
    )]
    NothingFits {
        /// What the cluster has.
        kubernetes: Minor,
    },
    /// What runs is in no catalogue any more.
    #[error(
        "the running version {running} is in no catalogue any more; the mesh runs on unchanged; apply its MeshRelease again"
    )]
    RunningReleaseMissing {
        /// What runs.
        running: Version,
    },
}

impl Unresolved {
    /// The reason of condition Accepted.
    pub fn reason(&self) -> Reason {
        match self {
            Self::InvalidPin(_) => Reason::InvalidSpec,
            Self::UnknownVersion {
                refused: Some(_), ..
            } => Reason::MalformedRelease,
            Self::UnknownVersion { .. }
            | Self::NotReleased { .. }
            | Self::RunningReleaseMissing { .. } => Reason::UnknownVersion,
            Self::KubernetesOutOfRange { .. } | Self::NothingFits { .. } => {
                Reason::KubernetesOutOfRange
            }
            Self::Withdrawn { .. } => Reason::ReleaseWithdrawn,
            Self::NoReleaseInChannel { .. } => Reason::NoReleaseInChannel,
        }
    }
}

/// At most five names, and how many more there are.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    match names.len() {
        0 => "none".to_owned(),
        count if count <= SHOWN => names.join(", "),
        count => format!("{} and {} more", names[..SHOWN].join(", "), count - SHOWN),
    }
}

fn remedy_for(fitting: &[String]) -> String {
    if fitting.is_empty() {
        "no release supports this cluster: update the operator, apply a MeshRelease, or change the cluster's version".to_owned()
    } else {
        format!("versions for this cluster: {}", some_of(fitting))
    }
}
