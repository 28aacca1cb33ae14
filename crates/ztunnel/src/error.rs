//! Shared error vocabulary: three independent facts about a failure that metrics, logs and retries ask for.
//!
//! Layer 1. Module errors stay in their modules; they answer these questions through [`Classified`].

/// What went wrong, as far as callers must tell cases apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Bytes or names that break a format.
    Malformed,
    /// A peer or policy said no.
    Refused,
    /// No route, no endpoint, connection refused or reset.
    Unreachable,
    /// A deadline passed.
    TimedOut,
    /// A certificate or identity is missing or wrong.
    Identity,
    /// This proxy is shutting down.
    Draining,
    /// A limit of this proxy was reached.
    Exhausted,
    /// A fault of this proxy.
    Internal,
}

/// Which side of the proxy the failure belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client that connected to us.
    Downstream,
    /// The destination we connect to.
    Upstream,
    /// istiod or istio-cni.
    ControlPlane,
    /// This process.
    Own,
}

/// An error that can say what it means to its callers.
pub trait Classified: std::error::Error {
    /// What went wrong.
    fn class(&self) -> Cause;

    /// Where it belongs.
    fn side(&self) -> Side;

    /// Whether the same attempt may succeed later without any change.
    fn is_retryable(&self) -> bool {
        matches!(
            self.class(),
            Cause::Unreachable | Cause::TimedOut | Cause::Exhausted
        )
    }
}
