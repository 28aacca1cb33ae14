//! When to try again after a failure, an object each: after 1, 2, 4 ... 300 s what may heal by itself, and what only a
//! change can help when something has changed. Pure arithmetic and a small table.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

/// The longest delay.
const LONGEST: SignedDuration = SignedDuration::from_secs(300);
/// When to look again for a change that no watch tells of: a right that was granted, a field that became free.
const LOOK: SignedDuration = SignedDuration::from_secs(60);

/// Failures of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    failures: u32,
    not_before: Timestamp,
    generation: Option<i64>,
    /// What the facts were when only a change could help.
    facts: Option<u64>,
}

/// Failures by object.
#[derive(Clone, Debug, Default)]
pub struct Backoff(BTreeMap<String, Entry>);

impl Backoff {
    /// When the object may be tried, if that is later than now. A changed spec may be tried at once; so may changed facts
    /// after a failure that only a change could help.
    pub fn waits_until(
        &self,
        object: &str,
        generation: Option<i64>,
        facts: impl FnOnce() -> u64,
        now: Timestamp,
    ) -> Option<Timestamp> {
        self.0
            .get(object)
            .filter(|entry| entry.generation == generation && entry.not_before > now)
            .filter(|entry| entry.facts.is_none_or(|seen| seen == facts()))
            .map(|entry| entry.not_before)
    }

    /// Counts a failure and says when to try again.
    pub fn failed(&mut self, object: &str, generation: Option<i64>, now: Timestamp) -> Timestamp {
        let before = self
            .0
            .get(object)
            .filter(|entry| entry.generation == generation && entry.facts.is_none())
            .map_or(0, |entry| entry.failures);
        let entry = Entry {
            failures: before.saturating_add(1),
            not_before: now.checked_add(delay(before)).unwrap_or(now),
            generation,
            facts: None,
        };
        self.0.insert(object.to_owned(), entry);
        entry.not_before
    }

    /// Remembers a failure that only a change can help, and with which facts it was met. Says when to look again.
    pub fn stopped(
        &mut self,
        object: &str,
        generation: Option<i64>,
        facts: u64,
        now: Timestamp,
    ) -> Timestamp {
        let entry = Entry {
            failures: 0,
            not_before: now.checked_add(LOOK).unwrap_or(now),
            generation,
            facts: Some(facts),
        };
        self.0.insert(object.to_owned(), entry);
        entry.not_before
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

    fn waits(backoff: &Backoff, generation: i64, second: i64) -> Option<Timestamp> {
        backoff.waits_until("m", Some(generation), || 0, at(second))
    }

    #[test]
    fn what_only_a_change_can_help_waits_for_one_and_is_looked_at_each_minute() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.stopped("m", Some(1), 7, at(0)), at(60));
        let waits = |generation, facts, second| {
            backoff.waits_until("m", Some(generation), || facts, at(second))
        };
        assert_eq!(waits(1, 7, 59), Some(at(60)));
        assert_eq!(waits(1, 8, 1), None, "other facts");
        assert_eq!(waits(2, 7, 1), None, "another spec");
        assert_eq!(waits(1, 7, 60), None, "a minute later");
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
        assert_eq!(waits(&backoff, 1, 0), Some(at(1)));
        assert_eq!(waits(&backoff, 2, 0), None);
        assert_eq!(waits(&backoff, 1, 1), None);
        assert_eq!(backoff.failed("m", Some(2), at(5)), at(6), "counts anew");
        backoff.succeeded("m");
        assert_eq!(waits(&backoff, 2, 5), None);
    }
}
