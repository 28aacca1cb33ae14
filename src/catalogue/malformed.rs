//! Why an entry is not taken into the catalogue.

use jiff::civil::Date;

use super::KubernetesRange;
use super::version::{Minor, NotAVersion};

/// Why an entry is not taken into the catalogue.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Malformed {
    /// The object's name is no version.
    #[error("metadata.name: {0}; name the MeshRelease after its version")]
    Name(NotAVersion),
    /// A field is no version.
    #[error("{field}: {source}")]
    Version {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        source: NotAVersion,
    },
    /// This version cannot build the objects of that Istio line.
    #[error(
        "istioVersion: this version of applink installs Istio 1.29, 1.30 and 1.31, not {istio}; update the operator first"
    )]
    UnsupportedIstio {
        /// The line.
        istio: Minor,
    },
    /// No Kubernetes version can be in the range.
    #[error("kubernetes: the range {0} is empty; min must not be above max")]
    EmptyKubernetesRange(KubernetesRange),
    /// A field is no day.
    #[error("{field}: {text:?} is not a day such as 2026-08-31")]
    Day {
        /// The field.
        field: &'static str,
        /// The text.
        text: String,
    },
    /// It would end before it starts.
    #[error("endOfLife: {end} is before the release on {released}")]
    EndsBeforeRelease {
        /// The day of the release.
        released: Date,
        /// The last day.
        end: Date,
    },
    /// There are too many of them.
    #[error(
        "{} MeshReleases before this one, in the order of their names, are read, and no more; delete some that nobody needs",
        super::MAX_OBJECTS
    )]
    TooMany,
    /// A channel is listed twice.
    #[error("channels: {0} is listed twice")]
    DuplicateChannel(&'static str),
    /// A channel would list it before it is released.
    #[error(
        "channels: {channel} lists it before the release on {released}; since must not be before released"
    )]
    ChannelBeforeRelease {
        /// The channel.
        channel: &'static str,
        /// The day of the release.
        released: Date,
    },
    /// A fix is listed twice.
    #[error("fixes: {id:?} is listed twice")]
    DuplicateFix {
        /// The fix.
        id: String,
    },
    /// A component that does not exist.
    #[error(
        "{field}: unknown component {name:?}; known are pilot, install-cni, ztunnel, proxyv2 and applink"
    )]
    UnknownComponent {
        /// The field.
        field: &'static str,
        /// The name.
        name: String,
    },
    /// An image without tag and digest.
    #[error("images.{0}: an image needs a tag, a digest, or both")]
    ImageWithoutVersion(&'static str),
    /// A score outside 0 to 10.
    #[error("fixes: the score of {id:?} is not between 0 and 10")]
    Score {
        /// The fix.
        id: String,
    },
}

impl Malformed {
    pub(super) fn unknown_component(field: &'static str, name: &str) -> Self {
        Self::UnknownComponent {
            field,
            name: name.chars().take(32).collect(),
        }
    }
}
