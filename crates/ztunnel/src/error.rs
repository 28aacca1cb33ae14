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

/// An error and its sources in one line, for texts that leave the process as one string.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        // Some libraries print their source themselves.
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the token")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_chain_names_every_cause_once() {
        let error = Outer(io::Error::other("no such file"));
        assert_eq!(chain(&error), "cannot read the token: no such file");
        let repeated = io::Error::other(Outer(io::Error::other("x")));
        assert_eq!(chain(&repeated), "cannot read the token: x");
    }
}
