//! When to try again after a failure: 1, 2, 4 ... 300 s, an object each. Pure arithmetic and a small table.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

/// The longest delay.
const LONGEST: SignedDuration = SignedDuration::from_secs(300);

/// Failures of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    failures: u32,
    not_before: Timestamp,
    generation: Option<i64>,
}

/// Failures by object.
#[derive(Clone, Debug, Default)]
pub struct Backoff(BTreeMap<String, Entry>);

impl Backoff {
    /// When the object may be tried, if that is later than now. A changed spec may be tried at once.
    pub fn waits_until(
        &self,
        object: &str,
        generation: Option<i64>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        self.0
            .get(object)
            .filter(|entry| entry.generation == generation && entry.not_before > now)
            .map(|entry| entry.not_before)
    }

    /// Counts a failure and says when to try again.
    pub fn failed(&mut self, object: &str, generation: Option<i64>, now: Timestamp) -> Timestamp {
        let before = self
            .0
            .get(object)
            .filter(|entry| entry.generation == generation)
            .map_or(0, |entry| entry.failures);
        let not_before = now.checked_add(delay(before)).unwrap_or(now);
        self.0.insert(
            object.to_owned(),
            Entry {
                failures: before.saturating_add(1),
                not_before,
                generation,
            },
        );
        not_before
    }

    /// Forgets an object's failures.
    pub fn succeeded(&mut self, object: &str) {
        self.0.remove(object);
    }

    /// Forgets objects that are gone.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|object, _| keep(object));
    }
}

fn delay(failures_before: u32) -> SignedDuration {
    SignedDuration::from_secs(1_i64 << failures_before.min(16)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn delays_double_up_to_five_minutes() {
        let mut backoff = Backoff::default();
        let mut now = 0;
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let until = backoff.failed("m", Some(1), at(now));
            assert_eq!(until, at(now + expected));
            now += expected;
        }
    }

    #[test]
    fn a_changed_spec_or_a_success_ends_the_wait() {
        let mut backoff = Backoff::default();
        backoff.failed("m", Some(1), at(0));
        assert_eq!(backoff.waits_until("m", Some(1), at(0)), Some(at(1)));
        assert_eq!(backoff.waits_until("m", Some(2), at(0)), None);
        assert_eq!(backoff.waits_until("m", Some(1), at(1)), None);
        assert_eq!(backoff.failed("m", Some(2), at(5)), at(6), "counts anew");
        backoff.succeeded("m");
        assert_eq!(backoff.waits_until("m", Some(2), at(5)), None);
    }
}
