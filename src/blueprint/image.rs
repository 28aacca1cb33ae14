//! Image references and the registry rewrite of air-gapped clusters.

use std::fmt;

/// One image: `repository:tag@digest`, tag and digest optional, one of them present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Registry host and path, e.g. `registry.istio.io/release/pilot`.
    pub repository: String,
    /// Tag, e.g. `1.31.0-distroless`.
    pub tag: Option<String>,
    /// Digest, e.g. `sha256:...`. Wins over the tag where both are there.
    pub digest: Option<String>,
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Images of the data plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// istiod.
    pub istiod: Image,
    /// The CNI agent.
    pub cni: Image,
    /// The node proxy of the chosen implementation: ours, or upstream's.
    pub ztunnel: Image,
    /// What stands behind class `istio-waypoint`.
    pub waypoint: Image,
}

/// A registry prefix that replaces the host (and, when it has one, prefixes the path) of every image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry(String);

impl Registry {
    /// A prefix such as `mirror.example.com` or `mirror.example.com/istio`; slashes at the end are dropped.
    /// `None` when nothing is left.
    #[must_use]
    pub fn new(prefix: &str) -> Option<Self> {
        let prefix = prefix.trim().trim_end_matches('/');
        (!prefix.is_empty()).then(|| Self(prefix.to_owned()))
    }

    /// The image as this registry has it: the host is replaced, the path and everything behind it stay.
    ///
    /// `registry.istio.io/release/pilot` under `mirror.example.com/m` becomes `mirror.example.com/m/release/pilot`.
    #[must_use]
    pub fn rewrite(&self, image: &Image) -> Image {
        Image {
            repository: format!("{}/{}", self.0, path(&image.repository)),
            ..image.clone()
        }
    }
}

/// The part of a repository behind its registry host. A first segment is a host when it has a dot, a port, or is
/// `localhost` (the rule of the container tools).
fn path(repository: &str) -> &str {
    match repository.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => path,
        _ => repository,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(repository: &str) -> Image {
        Image {
            repository: repository.into(),
            tag: Some("1.0".into()),
            digest: None,
        }
    }

    #[test]
    fn a_reference_carries_tag_and_digest() {
        let mut image = image("example.com/a/b");
        assert_eq!(image.to_string(), "example.com/a/b:1.0");
        image.digest = Some("sha256:00".into());
        assert_eq!(image.to_string(), "example.com/a/b:1.0@sha256:00");
        image.tag = None;
        assert_eq!(image.to_string(), "example.com/a/b@sha256:00");
    }

    #[test]
    fn a_registry_replaces_the_host_and_nothing_else() {
        for (registry, repository, expected) in [
            (
                "mirror.example.com",
                "registry.istio.io/release/pilot",
                "mirror.example.com/release/pilot",
            ),
            (
                "mirror.example.com/m/",
                "registry.istio.io/release/pilot",
                "mirror.example.com/m/release/pilot",
            ),
            (
                "10.0.0.1:5000",
                "localhost/applink",
                "10.0.0.1:5000/applink",
            ),
            (
                "mirror.example.com",
                "istio/pilot",
                "mirror.example.com/istio/pilot",
            ),
            ("mirror.example.com", "pilot", "mirror.example.com/pilot"),
        ] {
            let rewritten = Registry::new(registry).unwrap().rewrite(&image(repository));
            assert_eq!(rewritten.to_string(), format!("{expected}:1.0"));
        }
    }

    #[test]
    fn an_empty_registry_is_none() {
        assert_eq!(Registry::new(" / "), None);
        assert_eq!(Registry::new(""), None);
    }
}
