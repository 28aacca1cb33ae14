//! Certificates for the identities of this node.
//!
//! Layer 5. [`Issuer`] signs, [`Certificates`] keeps, renews and shares; when to renew and how long to wait after a
//! failure are pure functions in [`schedule`].

mod certificates;
mod csr;
mod istiod;
mod once;
mod prefetch;
mod queue;
pub mod schedule;

use std::sync::Arc;
use std::time::SystemTime;

use futures::future::BoxFuture;
use thiserror::Error;

use crate::control;
use crate::identity::Identity;
use crate::tls::{self, WorkloadCertificate};
pub use certificates::Certificates;
pub use csr::{Request, request};
pub use istiod::{Istiod, Settings};
pub use once::{Caller, issue_once};
pub use prefetch::{node_identities, prefetch_node};

/// Why there is no certificate.
#[derive(Debug, Clone, Error)]
pub enum Error {
    /// istiod cannot be reached or called.
    #[error("the certificate authority cannot be called")]
    Control(#[source] Arc<control::Error>),
    /// istiod said no.
    #[error("istiod refused to sign for {identity}: {message} ({code})")]
    Refused {
        /// Who it was for.
        identity: Identity,
        /// gRPC code.
        code: tonic::Code,
        /// istiod's words.
        message: String,
    },
    /// istiod did not answer in time.
    #[error("istiod did not sign for {0} in time")]
    Timeout(Identity),
    /// The answer cannot be used.
    #[error("the signed certificate cannot be used")]
    Certificate(#[from] tls::Error),
    /// The request cannot be made.
    #[error("the signing request for {identity} cannot be made")]
    Request {
        /// Who it was for.
        identity: Identity,
        /// The reason.
        #[source]
        source: Arc<rcgen::Error>,
    },
    /// The last certificate has ended and no new one could be had.
    #[error("the certificate of {0} has expired and could not be renewed")]
    Expired(Identity),
    /// Nobody needs this identity any more.
    #[error("the certificate of {0} was forgotten")]
    Forgotten(Identity),
}

impl From<control::Error> for Error {
    fn from(source: control::Error) -> Self {
        Self::Control(Arc::new(source))
    }
}

/// Signs certificates.
pub trait Issuer: Send + Sync + 'static {
    /// A fresh certificate.
    fn issue(&self, identity: Identity) -> BoxFuture<'static, Result<WorkloadCertificate, Error>>;
}

/// How urgent a certificate is. Greater goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// A renewal; the old certificate still serves.
    Background,
    /// Somebody will need it.
    Warmup,
    /// A connection waits for it.
    RealTime,
}

/// What is known about one identity's certificate.
#[derive(Debug, Clone)]
pub enum State {
    /// No answer yet.
    Initializing,
    /// Usable.
    Available(Arc<WorkloadCertificate>),
    /// None, and why; it is tried again.
    Unavailable(Error),
}

impl State {
    /// The certificate, if it may be used now.
    pub fn usable(&self, now: SystemTime) -> Option<&Arc<WorkloadCertificate>> {
        match self {
            Self::Available(certificate) if certificate.is_valid(now) => Some(certificate),
            Self::Available(_) | Self::Initializing | Self::Unavailable(_) => None,
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Initializing => f.write_str("Initializing"),
            Self::Available(_) => f.write_str("Available"),
            Self::Unavailable(reason) => write!(f, "Unavailable: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests;
