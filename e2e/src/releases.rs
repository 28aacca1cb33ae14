//! Releases of ours for the local cluster, good ones and broken ones. There is one upstream version only, so all of them
//! carry the same programs under test labels: each has images of its own by name.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::images::Image;
use crate::images::broken::Broken;
use crate::programs::ISTIO;
use crate::progress::Progress;
use crate::stage::{self, Error, Stage};

/// What a MeshRelease says of itself here, for whoever looks at it.
pub const NOTE: &str = "e2e.applink.dev/note";

/// The annotations of a release whose version is a test label: which upstream version it is in truth.
pub fn labelled(version: &str) -> Value {
    json!({NOTE: format!("Istio {ISTIO} under the test label {version}")})
}

/// Gives the nodes every image of broken releases.
///
/// # Errors
/// When one cannot be made, or a node does not take it.
pub fn give_broken(cluster: &mut Cluster, progress: Progress) -> Result<(), Error> {
    let proxy = stage::proxy_program()?;
    for (image, binary) in [
        (Image::Broken, None),
        (Image::BrokenProxy, Some(proxy.as_path())),
        (Image::BrokenPilot, None),
    ] {
        let archive = image.build(binary, progress)?;
        cluster.load(&archive)?;
    }
    Ok(())
}

impl Stage {
    /// A release with images of its own, which the nodes get: the local ones under the version as their tag.
    ///
    /// # Errors
    /// When a node does not take the names.
    pub fn tagged_release(&self, version: &str, channels: &[&str]) -> Result<Value, Error> {
        let mut release = Self::release(version, channels);
        release["metadata"]["annotations"] = labelled(version);
        for component in ["pilot", "install-cni", "applink"] {
            let image = &mut release["spec"]["images"][component];
            let name = |tag: &str| {
                let repository = image["repository"].as_str().unwrap_or_default();
                format!("{repository}:{tag}")
            };
            let (from, to) = (
                name(image["tag"].as_str().unwrap_or_default()),
                name(version),
            );
            for node in &self.cluster.state().nodes {
                let tag = [
                    "ctr", "-n", "k8s.io", "images", "tag", "--force", &from, &to,
                ];
                self.cluster.run_on(&node.name(), &tag)?;
            }
            image["tag"] = json!(version);
        }
        Ok(release)
    }

    /// The same, broken; [`give_broken`] comes first.
    ///
    /// # Errors
    /// When a node does not take the names.
    pub fn broken_release(
        &self,
        version: &str,
        channels: &[&str],
        broken: Broken,
    ) -> Result<Value, Error> {
        let mut release = self.tagged_release(version, channels)?;
        let (component, reference) = broken.image();
        let (repository, tag) = reference.rsplit_once(':').unwrap_or((&reference, "dev"));
        release["spec"]["images"][component] = json!({"repository": repository, "tag": tag});
        Ok(release)
    }
}
