//! Everything the desired objects of one member are computed from, resolved and validated. Core layer.
//!
//! A [`Blueprint`] holds no optional answer that a builder would have to guess: defaults are filled in, names fit where
//! they will be written, images are complete references. It is made by [`resolve::blueprint`] and by nothing else
//! outside tests.

pub mod family;
pub mod resolve;
pub mod revision;
pub mod strategy;
pub mod tuning;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;

pub use family::IpFamilies;
pub use revision::Revision;
pub use strategy::{Canary, Permille, Size, Strategy};
pub use tuning::{Agent, ControlPlane, NodeProxy, Replicas, WaypointDefaults};

use crate::api::v1alpha1::Mtls;
use crate::catalogue::Version;
use crate::platform::Platform;

/// Whom the objects belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Name of the `MeshMember`; also the cluster id in the mesh. At most 63 characters, so that it fits a label value.
    pub name: String,
    /// UID of the `MeshMember`: tells two members of one name, one after the other, apart.
    pub uid: String,
}

/// The release the objects are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// Our version, e.g. `1.6.0`.
    pub version: Version,
    /// The Istio version inside, e.g. `1.31.0`: manifests follow it.
    pub istio: Version,
}

impl Release {
    /// The release as part of a Kubernetes name: `1-6-0`. Also istiod's revision.
    #[must_use]
    pub fn slug(self) -> String {
        self.version.dashed()
    }
}

/// Complete image references, after the registry rewrite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// istiod.
    pub istiod: String,
    /// The CNI agent.
    pub cni: String,
    /// The node proxy of the chosen implementation: ours, or upstream's.
    pub ztunnel: String,
    /// What stands behind class `istio-waypoint`.
    pub waypoint: String,
}

/// Inputs of every builder in [`crate::desired`].
#[derive(Clone, Debug, PartialEq)]
pub struct Blueprint {
    /// The member.
    pub owner: Owner,
    /// Istio network name of this cluster.
    pub network: String,
    /// SPIFFE trust domain.
    pub trust_domain: String,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// Mesh-wide treatment of plain text.
    pub mtls: Mtls,
    /// Release and Istio version.
    pub release: Release,
    /// Complete image references, after the registry rewrite.
    pub images: Images,
    /// Names of the pull secrets in `applink-operator`, sorted.
    pub pull_secrets: Vec<String>,
    /// Kubernetes distribution.
    pub platform: Platform,
    /// Address families of pods.
    pub families: IpFamilies,
    /// Extra node labels a node must carry to be in the mesh.
    pub node_selector: BTreeMap<String, String>,
    /// Tolerations of the node components: every taint, unless the spec lists some.
    pub tolerations: Vec<Toleration>,
    /// The node proxy.
    pub ztunnel: NodeProxy,
    /// The CNI agent.
    pub cni: Agent,
    /// istiod.
    pub control_plane: ControlPlane,
    /// Defaults of every waypoint.
    pub waypoint: WaypointDefaults,
}

impl Blueprint {
    /// Cluster id in the mesh: the member's name.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.owner.name
    }
}
