//! What a command prints for programs.

use serde::Serialize;

use super::Failure;

/// JSON over several lines; `what` is printed, in a few words: `the plan`.
///
/// # Errors
/// The value does not serialise, which is a defect.
pub fn json(what: &str, value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| broken(what, error.to_string()))
}

/// The same as YAML.
///
/// # Errors
/// The value does not serialise, which is a defect.
pub fn yaml(what: &str, value: &impl Serialize) -> Result<String, Failure> {
    serde_saphyr::to_string(value).map_err(|error| broken(what, error.to_string()))
}

fn broken(what: &str, reason: String) -> Failure {
    Failure::new(
        format!("cannot print {what}"),
        reason,
        "this is a defect of applink; please report it",
    )
}
