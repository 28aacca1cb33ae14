//! Messages on the wire, derived by hand: field numbers are facts of the protocols, so no generator is needed.
//!
//! Layer 2. Every message encodes and decodes, so that tests can play the other side.

pub mod authorization;
pub mod ca;
pub mod discovery;
pub mod workload;
pub mod zds;

/// Type URL of [`workload::Address`] resources.
pub const ADDRESS_TYPE: &str = "type.googleapis.com/istio.workload.Address";
/// Type URL of [`authorization::Authorization`] resources.
pub const AUTHORIZATION_TYPE: &str = "type.googleapis.com/istio.security.Authorization";
