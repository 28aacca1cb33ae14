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
    conditions.set(ConditionType::Accepted, &verdict);
    MeshReleaseStatus {
        observed_generation: generation,
        conditions: conditions.into_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_says_whether_it_is_in_the_catalogue() {
        let now = Timestamp::UNIX_EPOCH;
        let good = next_release(None, Some(1), None, now);
        assert_eq!(
            (good.conditions[0].status.as_str(), good.observed_generation),
            ("True", Some(1))
        );
        let refused = Malformed::DuplicateChannel("Rapid");
        let bad = next_release(Some(&good), Some(2), Some(&refused), now);
        assert_eq!(bad.conditions.len(), 1);
        assert_eq!(bad.conditions[0].reason, "MalformedRelease");
        assert!(
            bad.conditions[0]
                .message
                .starts_with("channels: Rapid is listed twice")
        );
    }
}
