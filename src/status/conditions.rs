//! Upsert of conditions as KEP-1623 says.

use jiff::{Timestamp, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::bounds;
use crate::api::conditions::{ConditionType, Reason};

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    True,
    False,
    Unknown,
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What a condition says now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub status: Status,
    pub reason: Reason,
    pub message: String,
}

impl Verdict {
    pub fn is_true(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            status: Status::True,
            reason,
            message: message.into(),
        }
    }

    pub fn is_false(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            status: Status::False,
            reason,
            message: message.into(),
        }
    }

    pub fn unknown(message: impl Into<String>) -> Self {
        Self {
            status: Status::Unknown,
            reason: Reason::NotObserved,
            message: message.into(),
        }
    }
}

/// The conditions of one object while they are being computed.
pub(super) struct Conditions {
    list: Vec<Condition>,
    generation: Option<i64>,
    now: Timestamp,
}

impl Conditions {
    /// Starts from what is there; conditions of types we do not know stay as they are, within limits.
    pub fn from(old: &[Condition], generation: Option<i64>, now: Timestamp) -> Self {
        const MOST: usize = 16;
        let now = whole_seconds(now);
        Self {
            list: old.iter().take(MOST).cloned().collect(),
            generation,
            now,
        }
    }

    /// Sets a condition; `lastTransitionTime` moves only when its status does.
    pub fn set(&mut self, kind: ConditionType, verdict: &Verdict) {
        let status = verdict.status.as_str();
        let found = self
            .list
            .iter_mut()
            .find(|condition| condition.type_ == kind.as_str());
        let since = found
            .as_ref()
            .filter(|old| old.status == status)
            .map(|old| old.last_transition_time.clone());
        let condition = Condition {
            type_: kind.as_str().to_owned(),
            status: status.to_owned(),
            reason: verdict.reason.as_str().to_owned(),
            message: bounds::message(&verdict.message),
            observed_generation: self.generation,
            last_transition_time: since.unwrap_or(Time(self.now)),
        };
        match found {
            Some(old) => *old = condition,
            None => self.list.push(condition),
        }
    }

    /// Sets a condition that is there only while it is True.
    pub fn set_or_remove(&mut self, kind: ConditionType, verdict: Option<Verdict>) {
        match verdict {
            Some(verdict) => self.set(kind, &verdict),
            None => self
                .list
                .retain(|condition| condition.type_ != kind.as_str()),
        }
    }

    /// Sets a condition, or keeps what it says when nobody looked; at first that is Unknown.
    pub fn set_or_keep(&mut self, kind: ConditionType, verdict: Option<Verdict>, unseen: &str) {
        let is_there = self
            .list
            .iter()
            .any(|condition| condition.type_ == kind.as_str());
        match verdict {
            Some(verdict) => self.set(kind, &verdict),
            None if is_there => {}
            None => self.set(kind, &Verdict::unknown(unseen)),
        }
    }

    pub fn into_vec(self) -> Vec<Condition> {
        self.list
    }
}

/// The moment without its fraction: conditions are written in whole seconds.
pub(super) fn whole_seconds(now: Timestamp) -> Timestamp {
    now.round(
        jiff::TimestampRound::new()
            .smallest(Unit::Second)
            .mode(jiff::RoundMode::Trunc),
    )
    .unwrap_or(now)
}
