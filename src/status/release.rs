//! The next status of a `MeshRelease`.

use jiff::Timestamp;

use super::conditions::{Conditions, Verdict};
use crate::api::conditions::{ConditionType, Reason};
use crate::api::v1alpha1::MeshReleaseStatus;
use crate::catalogue::Malformed;

/// What a release reports: whether the catalogue took it, and why not.
pub fn next_release(
    old: Option<&MeshReleaseStatus>,
    generation: Option<i64>,
    refused: Option<&Malformed>,
    now: Timestamp,
) -> MeshReleaseStatus {
    let mut conditions = Conditions::from(
        old.map(|old| old.conditions.as_slice()).unwrap_or_default(),
        generation,
        now,
    );
    let verdict = match refused {
        None => Verdict::is_true(Reason::Valid, "the entry is in the catalogue"),
        Some(malformed) => Verdict::is_false(
            Reason::MalformedRelease,
            format!("{malformed}; the entry is skipped, the others still work"),
        ),
    };
    conditions.set(ConditionType::Accepted, verdict);
    MeshReleaseStatus {
        observed_generation: generation,
        conditions: conditions.into_vec(),
    }
}
