//! Where a release's images are.

use super::version::Version;
use crate::names::{APPLINK_REPOSITORY, ISTIO_REGISTRY};

/// An image of a release, named as registries do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// istiod.
    Pilot,
    /// The network agent and its plugin.
    InstallCni,
    /// Upstream's node proxy.
    Ztunnel,
    /// Envoy, behind waypoints and gateways.
    Proxyv2,
    /// Our own image: node proxy and gateway.
    Applink,
}

impl Component {
    /// Every component.
    pub const ALL: [Self; 5] = [
        Self::Pilot,
        Self::InstallCni,
        Self::Ztunnel,
        Self::Proxyv2,
        Self::Applink,
    ];

    /// The name in a `MeshRelease`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pilot => "pilot",
            Self::InstallCni => "install-cni",
            Self::Ztunnel => "ztunnel",
            Self::Proxyv2 => "proxyv2",
            Self::Applink => "applink",
        }
    }

    /// Whether it runs on every node.
    pub const fn is_per_node(self) -> bool {
        matches!(self, Self::InstallCni | Self::Ztunnel | Self::Applink)
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|component| component.as_str() == name)
    }

    /// Where the image is when nobody says otherwise.
    pub(super) fn default_image(self, version: Version, istio: Version) -> Image {
        let (repository, tag) = match self {
            Self::Applink => (APPLINK_REPOSITORY.to_owned(), version.to_string()),
            istio_component => (
                format!("{ISTIO_REGISTRY}/{}", istio_component.as_str()),
                istio.to_string(),
            ),
        };
        Image {
            repository,
            tag: Some(tag),
            digest: None,
        }
    }
}

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Registry and path.
    pub repository: String,
    /// The tag.
    pub tag: Option<String>,
    /// `sha256:` and 64 hexadecimal digits; it decides when both are given.
    pub digest: Option<String>,
}

impl Image {
    /// The reference a pod names; `registry` replaces everything in front of the image's last name.
    pub fn reference(&self, registry: Option<&str>) -> String {
        let name = self
            .repository
            .rsplit('/')
            .next()
            .unwrap_or(&self.repository);
        let mut reference = registry.map_or_else(
            || self.repository.clone(),
            |registry| format!("{}/{name}", registry.trim_end_matches('/')),
        );
        if let Some(tag) = &self.tag {
            reference.push(':');
            reference.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            reference.push('@');
            reference.push_str(digest);
        }
        reference
    }
}
