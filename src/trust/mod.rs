//! Root and intermediate certificate authorities: minting, reading, and the decision what to do with what is found.
//!
//! One root per network, in the operator's namespace; one intermediate per member, chained to it, in `cacerts`. Both are
//! ECDSA P-256 and live ten years, until rotation is there. No name constraints: the verifier of ztunnel (webpki) refuses
//! constraints on URIs, which SPIFFE identities are.
//!
//! Core layer, with one exception that the layer rules allow: [`authority`] draws keys and serial numbers. The time is an
//! argument everywhere.

pub mod authority;
pub mod decision;
pub mod key;
pub mod reading;

pub use authority::{Authority, Intermediate};
pub use decision::{Decision, Found, Problem, Recorded, Subject, decide};
pub use key::PrivateKey;
pub use reading::{Certificate, Defect, Fingerprint};

/// Why an authority could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Making a key or signing failed.
    #[error("the {what} certificate authority could not be made")]
    Mint {
        /// Root or intermediate.
        what: Subject,
        /// Why.
        source: rcgen::Error,
    },
    /// The root that is to sign cannot be used.
    #[error("the root certificate authority cannot sign: {0}")]
    Root(Defect),
}

#[cfg(test)]
mod properties;
