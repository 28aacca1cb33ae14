//! Builders of every object of the data plane. Core layer: a [`Blueprint`] in, typed Kubernetes objects out.
//!
//! One file per component; [`meta`] is the only maker of `ObjectMeta`. Every function returns the objects of one install
//! step in the order in which they are to be applied: what others name comes first.
//!
//! Source of names, fields and defaults: Istio's charts of 1.29, 1.30 and 1.31 and the code that reads them. No text of
//! theirs is used.

pub mod affinity;
pub mod cni;
pub mod crds;
pub mod foundation;
pub mod injector;
pub mod istiod;
pub mod manifest;
pub mod mesh;
pub mod meta;
mod pod;
mod prepull;
pub mod probe;
pub mod rbac;
pub mod secrets;
pub mod validator;
pub mod ztunnel;

pub use affinity::Placement;
pub use manifest::{Error, Manifest};

use crate::blueprint::{Blueprint, Revision};

/// What must be there before anything else: labels of the namespace, what the platform asks for, the proxies' account.
///
/// # Errors
/// [`Error`] when an object does not serialise.
pub fn foundation(blueprint: &Blueprint) -> Result<Vec<Manifest>, Error> {
    foundation::objects(blueprint)
}

/// istiod of the blueprint's release with its accounts, rights, configuration and webhooks.
///
/// # Errors
/// [`Error`] when an object does not serialise.
pub fn control_plane(blueprint: &Blueprint) -> Result<Vec<Manifest>, Error> {
    istiod::objects(blueprint)
}

/// The CNI agent: account, rights, DaemonSet.
///
/// # Errors
/// [`Error`] when an object does not serialise.
pub fn agent(blueprint: &Blueprint) -> Result<Vec<Manifest>, Error> {
    cni::objects(blueprint)
}

/// The node proxy of the blueprint's revision: rights, one DaemonSet placed as told.
///
/// # Errors
/// [`Error`] when an object does not serialise.
pub fn proxy(blueprint: &Blueprint, placement: &Placement) -> Result<Vec<Manifest>, Error> {
    ztunnel::objects(blueprint, placement)
}

/// What pulls the images of the blueprint's revision on every node.
///
/// # Errors
/// [`Error`] when it does not serialise.
pub fn prepull(blueprint: &Blueprint) -> Result<Manifest, Error> {
    prepull::daemon_set(blueprint, &revision(blueprint)?)
}

/// The mesh-wide policy: one `PeerAuthentication` when the network is strict, else nothing.
///
/// # Errors
/// [`Error`] when an object does not serialise.
pub fn mesh_policy(blueprint: &Blueprint) -> Result<Vec<Manifest>, Error> {
    mesh::policy(blueprint)
}

/// The revision of a blueprint: its release and a short hash of the per-node template, proxy and agent together.
///
/// The hash is taken before any name or address that contains the revision is filled in, and without affinity: where a
/// proxy may run is no part of what it is.
///
/// # Errors
/// [`Error::Hash`] when a template does not serialise.
pub fn revision(blueprint: &Blueprint) -> Result<Revision, Error> {
    let hash = ztunnel::node_hash(blueprint)?;
    Ok(Revision::new(blueprint.release.version, &hash))
}
