//! What was decided about a member's version: the part of [`super::Outcome`] that says where it goes.

use std::collections::BTreeMap;

use jiff::Timestamp;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::bounds;
use super::member::record_failure;
use super::outcome::Problem;
use crate::api::conditions::{Reason, Step};
use crate::api::v1alpha1::{
    FailedRelease, KnownRelease, MAX_RELEASES, MAX_REQUESTS, MAX_WITHDRAWALS, MeshMemberStatus,
    RolloutStatus, Withdrawal,
};
use crate::catalogue::Version;
use crate::decide::still_counts;

/// What was decided about a member's version. `None` and empty mean that nobody looked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steering {
    /// The channel or pin that the spec follows; `None` while the spec means nothing.
    pub follows: Option<String>,
    /// Why what the spec asks for is not done: the reason and the message of condition Accepted.
    pub refusal: Option<Problem>,
    /// What condition `UpToDate` says while nothing is on the way.
    pub verdict: Option<Judgement>,
    /// What holds up a rollout that has begun: the reason and the message of condition `UpToDate`.
    pub held_up: Option<Problem>,
    /// `upgrade.waitingFor`.
    pub waiting_for: Option<String>,
    /// `upgrade.nextWindow`.
    pub next_window: Option<Timestamp>,
    /// The rollout that begins: it is written down before its first act.
    pub begins: Option<Beginning>,
    /// Why the rollout that has begun goes back from now on.
    pub returns: Option<String>,
    /// What runs is what is followed: a later move of it is nobody's wish.
    pub is_reached: bool,
    /// The template that runs.
    pub settled: Option<Settled>,
    /// When what runs is cared for no more.
    pub end_of_life: Option<Timestamp>,
    /// Requests that are handled with this status: the nonce of each action.
    pub requests: BTreeMap<String, String>,
    /// Somebody asked to try again what failed.
    pub retries: bool,
    /// Somebody gave a release up: it counts as failed.
    pub given_up: Option<FailedRelease>,
    /// `releases`.
    pub releases: Option<Vec<KnownRelease>>,
    /// `withdrawals`.
    pub withdrawals: Option<Vec<Withdrawal>>,
}

/// The per-node template that runs, and what it was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Its hash.
    pub hash: String,
    /// Hash of the settings of the spec.
    pub settings: String,
    /// Hash of the images of the release.
    pub images: String,
}

/// What a condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// True or False.
    pub is_true: bool,
    /// Its reason.
    pub reason: Reason,
    /// Its message.
    pub message: String,
}

/// A rollout that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// What runs.
    pub from: Version,
    /// Where it goes.
    pub to: Version,
    /// The revision that arrives.
    pub revision: String,
    /// Hash of the per-node template that arrives.
    pub hash: String,
    /// Fingerprint of the settings that it is made from.
    pub settings: String,
    /// The channel or pin it is started for.
    pub follows: String,
    /// Who started it: Spec, Channel or Operator.
    pub by: &'static str,
    /// Why.
    pub why: String,
    /// It fixes a listed vulnerability.
    pub fixes: bool,
}

/// How a rollout ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The target runs.
    Succeeded,
    /// A gate failed, and what ran before runs again.
    RolledBack {
        /// The gate and what it saw.
        reason: String,
    },
    /// Somebody gave it up, or it lost its point, and what ran before runs again.
    Aborted {
        /// Why.
        reason: String,
    },
}

impl Ending {
    /// The word in history.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::RolledBack { .. } => "RolledBack",
            Self::Aborted { .. } => "Aborted",
        }
    }

    /// Why it ended so, when it is no success.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Succeeded => None,
            Self::RolledBack { reason } | Self::Aborted { reason } => Some(reason),
        }
    }
}

/// Writes down what was decided: what was asked for and handled, what counts no more, and the rollout that begins or
/// turns round.
pub(super) fn remember(status: &mut MeshMemberStatus, steering: &Steering, now: Timestamp) {
    if let Some(follows) = &steering.follows {
        status
            .failed_releases
            .retain(|failed| still_counts(failed, follows));
    }
    if steering.retries {
        status.failed_releases.clear();
    }
    if let Some(rollout) = &mut status.rollout {
        if steering.retries {
            rollout.retried_at = Some(Time(now));
        }
        // Somebody has decided: on, or back.
        if steering.retries || steering.given_up.is_some() || steering.returns.is_some() {
            rollout.halted = None;
        }
    }
    if let Some(given_up) = &steering.given_up {
        let follows = steering.follows.as_deref();
        record_failure(&mut status.failed_releases, given_up, follows, now);
    }
    for (action, nonce) in steering.requests.iter().take(MAX_REQUESTS) {
        status
            .handled_requests
            .insert(bounds::name(action), bounds::name(nonce));
    }
    if let Some(releases) = &steering.releases {
        status.releases = bounds::list(releases, MAX_RELEASES, KnownRelease::clone);
    }
    if let Some(withdrawals) = &steering.withdrawals {
        status.withdrawals = bounds::list(withdrawals, MAX_WITHDRAWALS, Withdrawal::clone);
    }
    if let Some(why) = &steering.returns
        && let Some(rollout) = &mut status.rollout
    {
        rollout.returns = Some(bounds::message(why));
    }
    if let Some(begins) = &steering.begins {
        begin(status, begins, now);
    }
}

fn begin(status: &mut MeshMemberStatus, begins: &Beginning, now: Timestamp) {
    let to = begins.to.to_string();
    status.version.get_or_insert_default().target = Some(to.clone());
    status.rollout = Some(RolloutStatus {
        id: now.as_second().to_string(),
        revision: Some(bounds::name(&begins.revision)),
        from: Some(begins.from.to_string()),
        to: Some(to),
        initiated_by: Some(begins.by.to_owned()),
        follows: Some(bounds::name(&begins.follows)),
        why: Some(bounds::message(&begins.why)),
        fixes: Some(begins.fixes),
        hash: Some(bounds::name(&begins.hash)),
        settings: Some(bounds::name(&begins.settings)),
        step: Step::Preflight.as_str().to_owned(),
        revertible: Some(true),
        started_at: Some(Time(now)),
        ..RolloutStatus::default()
    });
}
