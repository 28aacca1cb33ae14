//! What is worth an Event: conditions that changed, and nothing else.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::conditions::ConditionType;

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

/// Conditions whose status or reason differs between two statuses, in the order of the new one.
///
/// A condition that went away (Reconciling, Stalled) tells nothing: what it became is told by the others.
pub fn changes(old: &[Condition], new: &[Condition]) -> Vec<Change> {
    new.iter()
        .filter(|condition| {
            let before = old.iter().find(|old| old.type_ == condition.type_);
            before.is_none_or(|before| {
                before.status != condition.status || before.reason != condition.reason
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

/// `Stalled` and `LeaveBlocked` are bad while True, `Reconciling` never is, and progress is no bad news.
fn is_bad(condition: &Condition) -> bool {
    match condition.type_.parse() {
        Ok(ConditionType::Stalled | ConditionType::LeaveBlocked) => condition.status == "True",
        Ok(ConditionType::Reconciling) => false,
        _ => {
            condition.status == "False"
                && !matches!(
                    condition.reason.as_str(),
                    "Progressing" | "Installing" | "Leaving"
                )
        }
    }
}
