//! Condition types and reasons: part of the API, listed in the documentation, never free text.
//!
//! Conditions follow KEP-1623: `metav1::Condition` unchanged, one entry a type, `observedGeneration` on each,
//! `lastTransitionTime` moves only when `status` does. True is good, except for `Reconciling`, `Stalled` and
//! `LeaveBlocked`, which are there only while they are True, as kstatus expects.

use std::fmt;

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The text in a condition.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownName;
            fn from_str(text: &str) -> Result<Self, UnknownName> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or(UnknownName)
            }
        }
    };
}

/// A condition type or reason that this version does not know; a newer operator may have written it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown condition type or reason")]
pub struct UnknownName;

names! {
    /// `type` of a condition.
    ConditionType {
        /// The spec is valid and everything it refers to was found.
        Accepted,
        /// The mesh serves. Stays True during rollouts and pauses, and after a rollback.
        Ready,
        /// What runs is what was asked for.
        UpToDate,
        /// Work goes on. Present only while True.
        Reconciling,
        /// Nothing moves until somebody acts; the message says who and how. Present only while True.
        Stalled,
        /// Every pod that is enrolled is served by the mesh.
        MembershipHealthy,
        /// The member is being deleted while namespaces are enrolled. Present only while True.
        LeaveBlocked,
    }
}

names! {
    /// `reason` of a condition.
    Reason {
        // Accepted
        /// Accepted/True: nothing is wrong with the spec.
        Valid,
        /// Accepted/True: nothing is wrong with the spec; the message says what is unusual about the cluster.
        ValidWithWarnings,
        /// Accepted/False: the pinned version is in no catalogue.
        UnknownVersion,
        /// Accepted/False: no release of the channel can be taken here.
        NoReleaseInChannel,
        /// Accepted/False: the release does not support this Kubernetes version.
        KubernetesOutOfRange,
        /// Accepted/False: the pinned release was withdrawn and is not what runs.
        ReleaseWithdrawn,
        /// Accepted/False: the pin or channel is more than one minor back from what runs or has run here.
        TooFarBack,
        /// Accepted/False: a minor between what runs and what was asked for cannot be taken here.
        NoUpgradePath,
        /// Accepted/False: another, older member already manages this cluster.
        ClusterAlreadyMember,
        /// Accepted/False: a Secret or object the spec names is missing or unusable.
        ReferenceNotResolved,
        /// Accepted/False: a field's combination cannot work; the message names it.
        InvalidSpec,
        /// Accepted/False: a release in the catalogue cannot be read.
        MalformedRelease,

        // Ready
        /// Ready/True: every component serves.
        Serving,
        /// Ready/False: the first install has not finished.
        Installing,
        /// Ready/False: a component does not serve.
        ComponentUnavailable,
        /// Ready/False: the member is leaving; `UpToDate`/False: a move that is due does not begin for that.
        Leaving,
        /// Any/Unknown: we could not look.
        NotObserved,

        // UpToDate
        /// `UpToDate`/True: the current version is the target.
        Current,
        /// `UpToDate`/False: on the way to the target.
        Progressing,
        /// `UpToDate`/False: the target failed here and was taken back.
        ReleaseFailed,
        /// `UpToDate`/False: a gate failed on the way to the target, and the rollout stands still until somebody decides.
        GateFailed,
        /// `UpToDate`/False: what runs was withdrawn or has a known vulnerability, and the exact pin keeps it.
        PinnedToAffectedRelease,
        /// `UpToDate`/False: paused by the spec or by `applink pause`.
        Paused,
        /// `UpToDate`/False: automatic work waits for a maintenance window.
        WaitingForWindow,
        /// `UpToDate`/False: automatic work waits for the end of an exclusion.
        Excluded,
        /// `UpToDate`/False: automatic work waits for an earlier stage of the network.
        WaitingForStage,
        /// `UpToDate`/False: what was asked for is not done, and Accepted says why; what runs goes on running.
        NotAccepted,

        // Reconciling and Stalled
        /// Checks before the first act.
        Preflight,
        /// Images are being pulled.
        Prepull,
        /// CRDs are being applied.
        CustomResources,
        /// istiod is starting.
        ControlPlane,
        /// Nodes are being served, or moved.
        Nodes,
        /// Nodes are set aside or not there, and hold the last steps.
        WaitingForNodes,
        /// Something of a user's names the old revision by a label, and holds its end.
        RevisionInUse,
        /// Gateways are moving.
        Gateways,
        /// Every node is read once more.
        Verify,
        /// The new revision becomes the default, the old one goes.
        Finish,
        /// A temporary error; tried again by itself.
        Retrying,

        /// Stalled, and `UpToDate`/False of a mesh that runs: a check before the first act refused, and nothing begins; the
        /// message has its code and remedy.
        PreflightFailed,
        /// Stalled: the root or `cacerts` is missing, or not the recorded one.
        RootMissing,
        /// Stalled: a right is missing; the message names verb and resource.
        MissingRights,
        /// Stalled: an object of ours is owned by somebody else.
        Conflict,
        /// Stalled: an image cannot be pulled.
        ImageUnavailable,
        /// Stalled: the API server refused an object for good.
        Refused,

        // MembershipHealthy
        /// `MembershipHealthy`/True: all enrolled pods are in the mesh.
        AllServed,
        /// `MembershipHealthy`/True: no namespace is enrolled.
        NothingEnrolled,
        /// `MembershipHealthy`/False: pods are enrolled and not served; status names some.
        PodsNotServed,

        // LeaveBlocked
        /// `LeaveBlocked`: namespaces are still enrolled.
        NamespacesEnrolled,
        /// `LeaveBlocked`: some of what must go has not gone yet.
        Leftovers,
    }
}

/// A step of an install, an upgrade or a leave, as status shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Checks before the first act.
    Preflight,
    /// Every node pulls the images.
    Prepull,
    /// Istio's and the Gateway API's definitions are applied.
    Crds,
    /// istiod starts.
    ControlPlane,
    /// Nodes get their agent and proxy, or move to the next.
    Nodes,
    /// The east-west gateway moves.
    EastWest,
    /// Waypoints move.
    Waypoints,
    /// Every node is read once more.
    Verify,
    /// The new revision becomes the default.
    Finish,
    /// The old revision goes.
    Retire,
    /// The member leaves its cluster.
    Leave,
}

impl Step {
    /// The step's name in status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preflight => "Preflight",
            Self::Prepull => "Prepull",
            Self::Crds => "CRDs",
            Self::ControlPlane => "ControlPlane",
            Self::Nodes => "Nodes",
            Self::EastWest => "EastWest",
            Self::Waypoints => "Waypoints",
            Self::Verify => "Verify",
            Self::Finish => "Finish",
            Self::Retire => "Retire",
            Self::Leave => "Leave",
        }
    }

    /// The reason of condition Reconciling while the step is worked on.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Preflight => Reason::Preflight,
            Self::Prepull => Reason::Prepull,
            Self::Crds => Reason::CustomResources,
            Self::ControlPlane => Reason::ControlPlane,
            Self::Nodes => Reason::Nodes,
            Self::EastWest | Self::Waypoints => Reason::Gateways,
            Self::Verify => Reason::Verify,
            Self::Finish | Self::Retire => Reason::Finish,
            Self::Leave => Reason::Leaving,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_and_is_pascal_case() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(*reason));
            assert!(
                reason
                    .as_str()
                    .starts_with(|c: char| c.is_ascii_uppercase())
            );
        }
        for kind in ConditionType::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
        }
        assert_eq!("Nonsense".parse::<Reason>(), Err(UnknownName));
    }
}
