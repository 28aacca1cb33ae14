//! What is worth an Event: conditions that changed, and nothing else.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::verdict::{BETWEEN, WARNINGS};
use crate::api::conditions::{ConditionType, Reason};
use crate::api::v1alpha1::RolloutStatus;

/// One change of a condition, as an Event tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The condition.
    pub condition: String,
    /// The Event's reason: the condition's.
    pub reason: String,
    /// The Event's message.
    pub message: String,
    /// It is bad news.
    pub is_warning: bool,
}

/// Conditions whose status or reason differs between two statuses, in the order of the new one; and those with the same
/// reason that ask for something else now: `Stalled` in other words, `Accepted` with a warning it did not have, or refused
/// for something else.
///
/// A condition that went away (Reconciling, Stalled) tells nothing: what it became is told by the others.
pub fn changes(old: &[Condition], new: &[Condition]) -> Vec<Change> {
    new.iter()
        .filter(|condition| {
            let before = old.iter().find(|old| old.type_ == condition.type_);
            before.is_none_or(|before| {
                before.status != condition.status
                    || before.reason != condition.reason
                    || asks_for_more(before, condition)
            })
        })
        .filter(|condition| condition.status != "Unknown")
        .map(|condition| Change {
            condition: condition.type_.clone(),
            reason: condition.reason.clone(),
            message: format!(
                "{} is {}: {}",
                condition.type_, condition.status, condition.message
            ),
            is_warning: is_bad(condition),
        })
        .collect()
}

/// What is worth an Event about an object that members share, a network or a release: that it is at fault, that it is so in
/// other words, and that it is no more. Not that it is fine from the start, which every entry of a catalogue would tell,
/// nor how many members serve, which they tell themselves.
pub fn faults(old: &[Condition], new: &[Condition]) -> Vec<Change> {
    let mut told = changes(old, new);
    told.retain(|change| {
        let of_that_type = |held: &&Condition| held.type_ == change.condition;
        let was_at_fault = old.iter().find(of_that_type).is_some_and(is_fault);
        was_at_fault || new.iter().find(of_that_type).is_some_and(is_fault)
    });
    told
}

fn is_fault(condition: &Condition) -> bool {
    is_bad(condition) && condition.reason != Reason::ComponentUnavailable.as_str()
}

/// A wave of nodes that has begun, as an Event tells it: one a wave.
pub fn wave(old: Option<&RolloutStatus>, new: Option<&RolloutStatus>) -> Option<Change> {
    let new = new?;
    let wave = new.wave?;
    let before = old.filter(|old| old.id == new.id).and_then(|old| old.wave);
    if before.is_some_and(|before| before >= wave) {
        return None;
    }
    let nodes = new.nodes.as_ref();
    let progress = nodes.map_or_else(String::new, |nodes| {
        format!(
            ", {} of {} nodes are there: {}",
            nodes.updated,
            nodes.total,
            nodes.current.join(", ")
        )
    });
    let to = new.to.as_deref().unwrap_or("the target");
    Some(Change {
        condition: String::new(),
        reason: "Wave".to_owned(),
        message: format!("wave {wave} of the rollout to {to}{progress}"),
        is_warning: false,
    })
}

/// Somebody has to hear of it although status and reason are the same. How many nodes a warning counts is no news.
fn asks_for_more(before: &Condition, now: &Condition) -> bool {
    match now.type_.parse() {
        Ok(ConditionType::Stalled) => before.message != now.message,
        // A release has no `Stalled` that would say what it is refused for now.
        Ok(ConditionType::Accepted) if now.status == "False" => before.message != now.message,
        Ok(ConditionType::Accepted) => {
            let known: Vec<&str> = codes(&before.message).collect();
            codes(&now.message).any(|code| !known.contains(&code))
        }
        _ => false,
    }
}

/// The codes of the warnings in a message of condition Accepted.
fn codes(message: &str) -> impl Iterator<Item = &str> {
    message
        .split_once(WARNINGS)
        .into_iter()
        .flat_map(|(_, warnings)| warnings.split(BETWEEN))
        .filter_map(|warning| warning.split_once(':').map(|(code, _)| code))
}

/// `Stalled` and `LeaveBlocked` are bad while True, `Reconciling` never is, and progress is no bad news.
fn is_bad(condition: &Condition) -> bool {
    match condition.type_.parse() {
        Ok(ConditionType::Stalled | ConditionType::LeaveBlocked) => condition.status == "True",
        Ok(ConditionType::Reconciling) => false,
        _ => {
            condition.status == "False"
                && !matches!(
                    condition.reason.as_str(),
                    "Progressing"
                        | "Installing"
                        | "Leaving"
                        | "Paused"
                        | "WaitingForWindow"
                        | "Excluded"
                        | "WaitingForStage"
                )
        }
    }
}
