//! How far a leave is: the clocks of its stages and what they gave up on. Kept in status, so that an operator that is
//! started again and again does not start them anew.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::v1alpha1::{LeaveStage, LeaveStatus};

macro_rules! stages {
    ($($(#[$doc:meta])* $stage:ident,)+) => {
        /// A stage of the leave, in order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Stage { $($(#[$doc])* $stage,)+ }

        impl Stage {
            /// Every stage, in order.
            pub const ALL: &'static [Self] = &[$(Self::$stage),+];

            /// The stage's name in status.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$stage => stringify!($stage),)+ }
            }
        }
    };
}

stages! {
    /// Labels that enrol are taken off namespaces.
    Unenrol,
    /// Captured pods are let go.
    Redirection,
    /// Proxies end.
    Proxies,
    /// Network agents end.
    Agents,
    /// Nodes are looked at.
    Check,
    /// The check itself ends.
    CheckGone,
    /// Everything else of ours.
    Rest,
    /// What istiod made.
    Sweep,
}

/// What is known about the leave itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// When each stage was first waited in.
    pub since: BTreeMap<Stage, Timestamp>,
    /// What istiod made was swept.
    pub swept: bool,
    /// What a stage gave up on.
    pub left: Vec<String>,
}

impl Progress {
    /// As it was written down. Stages of another version of applink are passed over.
    #[must_use]
    pub fn read(status: &LeaveStatus) -> Self {
        let known = |name: &str| {
            Stage::ALL
                .iter()
                .copied()
                .find(|stage| stage.as_str() == name)
        };
        Self {
            since: status
                .stages
                .iter()
                .filter_map(|stage| Some((known(&stage.name)?, stage.since.0)))
                .collect(),
            swept: status.swept,
            left: status.left.clone(),
        }
    }

    /// For status.
    #[must_use]
    pub fn write(&self) -> LeaveStatus {
        LeaveStatus {
            stages: self
                .since
                .iter()
                .map(|(stage, since)| LeaveStage {
                    name: stage.as_str().to_owned(),
                    since: Time(*since),
                })
                .collect(),
            swept: self.swept,
            left: self.left.clone(),
        }
    }
}
