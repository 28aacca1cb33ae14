//! Gateways as far as it matters which istiod makes what stands behind them.

use jiff::Timestamp;

use crate::names;

/// A Gateway, by its metadata and its class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayFact {
    /// Its uid.
    pub uid: String,
    /// The version a write may be made conditional on.
    pub resource_version: String,
    /// Its class.
    pub class: String,
    /// The release of the control plane that its label names. An empty one is kept: it is somebody's.
    pub revision: Option<String>,
    /// The release that we have pinned it to, as our annotation says.
    pub pinned: Option<String>,
    /// When our label and annotation were written last, by the API server's clock.
    pub pinned_at: Option<Timestamp>,
    /// It is being deleted.
    pub deleting: bool,
}

impl GatewayFact {
    /// istiod makes a waypoint of it.
    pub fn is_waypoint(&self) -> bool {
        names::WAYPOINT_CLASSES.contains(&self.class.as_str())
    }

    /// The label is ours: nobody has changed it since.
    pub fn is_pinned(&self) -> bool {
        self.pinned.is_some() && self.pinned == self.revision
    }
}

/// What istiod says of a pod that it has made for a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayPod {
    /// The Gateway, in the pod's namespace.
    pub gateway: String,
    /// The release whose istiod made it: `1-6-0`.
    pub release: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_ours_only_while_it_says_what_we_wrote() {
        let of = |revision: Option<&str>, pinned: Option<&str>| GatewayFact {
            revision: revision.map(str::to_owned),
            pinned: pinned.map(str::to_owned),
            ..GatewayFact::default()
        };
        for (revision, pinned, ours) in [
            (None, None, false),
            (Some("1-6-0"), None, false),
            (Some("1-6-0"), Some("1-6-0"), true),
            (Some("1-7-0"), Some("1-6-0"), false),
            (None, Some("1-6-0"), false),
        ] {
            assert_eq!(
                of(revision, pinned).is_pinned(),
                ours,
                "{revision:?} {pinned:?}"
            );
        }
    }
}
