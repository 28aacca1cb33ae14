//! What the operator costs: time, requests, CPU and memory, measured from outside: the requests in the API server's audit
//! log, the process in `/proc`.
//!
//! Two real nodes show an install and five minutes in which nothing happens; a thousand simulated ones show an upgrade in
//! waves.

use std::time::Duration;

use crate::audit;
use crate::cluster::{self, Options};
use crate::progress::Progress;
use crate::{built, images, simulated, stage};

mod figure;
mod fleet;
mod operator;
mod process;
mod real;
mod requests;

pub use figure::{Figure, Report};

/// As whom the operator is known to the API server.
const OPERATOR: &str = "system:serviceaccount:applink-operator:applink-operator";
const MEMBER: &str = "local";

/// What can keep the figures from being taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The mesh on it.
    #[error(transparent)]
    Stage(#[from] stage::Error),
    /// The simulated cluster.
    #[error(transparent)]
    Simulated(#[from] simulated::Error),
    /// A program of this workspace.
    #[error(transparent)]
    Program(#[from] built::Missing),
    /// The definitions of Istio and of the Gateway API.
    #[error(transparent)]
    Definitions(#[from] images::Error),
    /// A file.
    #[error(transparent)]
    Files(#[from] crate::files::Error),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] audit::Error),
    /// The operator's process.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// The operator could not be started, or did not end well.
    #[error("the operator on simulated nodes {what}")]
    Operator {
        /// What it did.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// The manifests could not be rendered.
    #[error("the operator's manifests cannot be rendered")]
    Manifests(#[source] serde_json::Error),
    /// The API server refused something.
    #[error("cannot {doing}: {source}")]
    Api {
        /// What was tried.
        doing: String,
        /// Why.
        source: Box<kube::Error>,
    },
}

/// Which part, and how many nodes.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Parts {
    /// One part alone.
    #[arg(long, value_enum)]
    pub only: Option<Part>,
    /// How many nodes are simulated.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(3..=5000))]
    pub nodes: u16,
    /// How many seconds the upgrade of simulated nodes is asked to watch each wave.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub soak: u64,
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Two real nodes.
    Real,
    /// Simulated nodes.
    Simulated,
}

/// Measures, each part on a cluster of its own, which is removed again whatever happens. That of real nodes is named after
/// `options`.
///
/// # Errors
/// When the mesh does not come up or the process or the log cannot be read.
pub async fn run(
    options: &Options,
    parts: Parts,
    progress: Progress,
) -> Result<Vec<Report>, Error> {
    let mut all = Vec::new();
    if parts.only != Some(Part::Simulated) {
        all.push(real::run(options, progress).await?);
    }
    if parts.only != Some(Part::Real) {
        all.push(fleet::run(parts.nodes, Duration::from_secs(parts.soak), progress).await?);
    }
    Ok(all)
}
