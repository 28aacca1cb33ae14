//! What can go wrong with a cluster.

use std::path::PathBuf;

use super::{MOST_NODES, READY};
use crate::{
    certificates, command, control_plane, files, images, node, prerequisites, process, programs,
    slot,
};

/// Something could not be done with a cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that the host must have is missing.
    #[error(transparent)]
    Prerequisites(#[from] prerequisites::Error),
    /// A program could not be built.
    #[error(transparent)]
    Programs(#[from] programs::Error),
    /// An image could not be made.
    #[error(transparent)]
    Images(#[from] images::Error),
    /// No address range.
    #[error(transparent)]
    Slot(#[from] slot::Error),
    /// A certificate could not be made.
    #[error(transparent)]
    Certificates(#[from] certificates::Error),
    /// A program of the host failed.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// A process did not start or end.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// A node failed.
    #[error("node-{number} failed")]
    Node {
        /// The node's number.
        number: u8,
        /// The reason.
        source: node::Error,
    },
    /// The API server failed.
    #[error(transparent)]
    ControlPlane(#[from] control_plane::Error),
    /// There is no such cluster.
    #[error("there is no cluster {name} in {}; start it with: e2e up --name {name}", folder.display())]
    NoCluster {
        /// Its name.
        name: String,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// There is no such node.
    #[error("cluster {cluster} has no node {node}; it has {known}")]
    NoNode {
        /// The cluster.
        cluster: String,
        /// What was asked for.
        node: String,
        /// What there is.
        known: String,
    },
    /// The node is not in the state the request needs.
    #[error("{node} is {state}")]
    NodeState {
        /// The node.
        node: String,
        /// Its state.
        state: &'static str,
    },
    /// A cluster has all the nodes it can have.
    #[error("a cluster has from 1 to {MOST_NODES} nodes")]
    NodeCount,
    /// Names become file names and labels.
    #[error("{0:?} is no name for a cluster: use up to 40 of a-z, 0-9 and -")]
    Name(String),
    /// The cluster did not become ready.
    #[error("{what} not ready within {} s; see what runs with: e2e kubectl get pods -A -o wide, and the logs with: e2e logs", READY.as_secs())]
    NotReady {
        /// What is not.
        what: String,
    },
}
