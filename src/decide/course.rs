//! What becomes of a rollout that has started, when the spec, the catalogue or the time change under it.
//!
//! The target was written down before the first act and stays: a newer patch, an entry that leaves the catalogue, a spec
//! that cannot be accepted and a new operator change nothing. A withdrawal, or a spec that now means something else, ends
//! the rollout at its next safe point.

use std::fmt;

use jiff::Timestamp;

use super::decision::{Decision, Hold, Initiator, Rest};
use super::situation::{Situation, Template, follows};
use super::{Stage, next};
use crate::catalogue::{Version, resolve};
use crate::window::{Permit, Work};

/// A rollout that has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight<'a> {
    /// What ran when it started.
    pub from: Version,
    /// The release of this hop.
    pub to: Version,
    /// The channel or pin it was started for, as [`follows`] writes it.
    pub follows: &'a str,
    /// Who started it.
    pub by: Initiator,
    /// It fixes a listed vulnerability.
    pub fixes: bool,
    /// It can be taken back: Finish has not begun.
    pub is_revertible: bool,
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Course {
    /// It goes on.
    GoOn,
    /// What is in flight is finished, nothing new is begun.
    FinishWave {
        /// When it may go on; `None` when no clock tells.
        until: Option<Timestamp>,
        /// What it waits for.
        hold: Hold,
    },
    /// It stops at the next safe point.
    Stop {
        /// When it may go on; `None` when no clock tells.
        until: Option<Timestamp>,
        /// What it waits for.
        hold: Hold,
    },
    /// The moved nodes go back at the next safe point; then the member decides anew.
    TurnBack(Because),
    /// It is past the point of no return: it is finished; then the member decides anew.
    FinishFirst(Because),
}

/// Why a rollout ends before its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// The release was withdrawn.
    Withdrawn {
        /// It.
        version: Version,
        /// Why.
        reason: String,
    },
    /// The spec means something else now.
    SpecMeans {
        /// The channel or pin.
        follows: String,
        /// What it means.
        means: Version,
    },
}

/// What becomes of a rollout that has started.
pub fn course(situation: &Situation<'_>, flight: &InFlight<'_>) -> Course {
    // Past the point of no return nothing stops.
    if let Some(hold) = situation.paused().filter(|_| flight.is_revertible) {
        return Course::Stop { until: None, hold };
    }
    if let Some(because) = because(situation, flight) {
        return if flight.is_revertible {
            Course::TurnBack(because)
        } else {
            Course::FinishFirst(because)
        };
    }
    // Between Finish and the end two revisions are half there: no place to wait.
    if flight.by == Initiator::Spec || !flight.is_revertible {
        return Course::GoOn;
    }
    // A calendar that cannot be read holds nothing back that has started.
    let Ok(calendar) = situation.calendar else {
        return Course::GoOn;
    };
    let work = Work {
        is_minor: situation.changes_minor(flight.from, flight.to),
        fixes: flight.fixes,
    };
    match calendar.permit(work, situation.now) {
        Permit::GoOn => Course::GoOn,
        Permit::FinishWave { until, by } => Course::FinishWave {
            until,
            hold: by.into(),
        },
        Permit::Stop { until, by } => Course::Stop {
            until,
            hold: by.into(),
        },
    }
}

fn because(situation: &Situation<'_>, flight: &InFlight<'_>) -> Option<Because> {
    let entry = situation.catalogue.get(flight.to);
    // Another template of what runs leads away from nothing.
    let is_move = flight.from != flight.to;
    if let Some(reason) = entry
        .filter(|_| is_move)
        .and_then(|release| release.withdrawn.clone())
    {
        return Some(Because::Withdrawn {
            version: flight.to,
            reason,
        });
    }
    let resolution = resolve(
        situation.upgrade,
        Some(flight.from),
        situation.catalogue,
        situation.kubernetes,
        situation.now,
    )
    .ok()?;
    let follows = follows(&resolution);
    if follows == flight.follows {
        return None;
    }
    // Where would the changed spec lead from where the rollout began?
    let anew = Situation {
        running: Some(flight.from),
        reached_by: Some(""),
        template: Template::Same,
        stage: Stage::Open,
        ..*situation
    };
    let means = resolution.release.version;
    let same = match next(&anew).ok()? {
        Decision::Move(next) => next.to.version == flight.to,
        Decision::Wait(wait) => wait.next.to.version == flight.to,
        Decision::Stay { rest, .. } => match rest {
            Rest::Refused(_) => true,
            Rest::Current { running }
            | Rest::Affected { running, .. }
            | Rest::Ahead { running, .. } => running == flight.to,
            Rest::Failed { .. } => false,
        },
    };
    (!same).then_some(Because::SpecMeans { follows, means })
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Withdrawn { version, reason } => write!(f, "{version} was withdrawn: {reason}"),
            Self::SpecMeans { follows, means } => {
                write!(f, "the spec asks for {follows} now, which means {means}")
            }
        }
    }
}
