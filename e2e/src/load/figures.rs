//! What the load tells, and what that makes of a stretch of time.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

/// What happened when.
#[derive(Clone, Debug, Deserialize)]
struct Event {
    /// Milliseconds of the Unix clock.
    at: i64,
    why: String,
}

/// What one who asks tells: everything since it started.
#[derive(Clone, Debug, Deserialize)]
pub struct Told {
    pub(super) now: i64,
    pub(super) new: New,
    pub(super) kept: Kept,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct New {
    pub(super) tried: u64,
    pub(super) answered: u64,
    pub(super) failed: u64,
    failures: Vec<Event>,
    slow: Vec<Event>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Kept {
    pub(super) opened: u64,
    frames: u64,
    slowest: u64,
    wrong: u64,
    pub(super) cut: u64,
    cuts: Vec<Event>,
}

impl Told {
    /// Reads what `shop load` tells.
    ///
    /// # Errors
    /// When it is something else.
    pub fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))
    }
}

/// Something that traffic noticed.
#[derive(Clone, Debug)]
pub struct Noticed {
    /// Where whoever noticed runs.
    pub node: String,
    /// When.
    pub at: Timestamp,
    /// What was seen.
    pub why: String,
}

/// What all of them saw of a stretch of time.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// How long it was.
    pub seconds: f64,
    /// New connections, each tried once and within two seconds.
    pub tried: u64,
    /// Those that failed, by count and, as far as they are kept, by what was seen.
    pub failed: u64,
    /// See `failed`.
    pub failures: Vec<Noticed>,
    /// New connections that were answered in time, but took over half a second.
    pub slow: Vec<Noticed>,
    /// Frames answered on kept connections.
    pub frames: u64,
    /// Answers that were not what had been sent.
    pub wrong: u64,
    /// The longest that a frame waited for its answer since the load began, in milliseconds.
    pub slowest: u64,
    /// Kept connections that ended, by count and by what was seen.
    pub cut: u64,
    /// See `cut`.
    pub cuts: Vec<Noticed>,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} s of traffic: {} of {} new connections failed, {} were slow; kept: {} frames answered, {} wrong, the slowest in {} ms, \
             {} connections cut",
            self.seconds,
            self.failed,
            self.tried,
            self.slow.len(),
            self.frames,
            self.wrong,
            self.slowest,
            self.cut
        )
    }
}

/// What `after` tells beyond `before`, by the node of who tells it.
pub fn figures(before: &BTreeMap<String, Told>, after: &BTreeMap<String, Told>) -> Figures {
    let mut sum = Figures::default();
    for (node, after) in after {
        let Some(before) = before.get(node) else {
            continue;
        };
        let newer = |events: &[Event], seen: usize| -> Vec<Noticed> {
            let events = events.iter().skip(seen);
            let noticed = |event: &Event| Noticed {
                node: node.clone(),
                at: Timestamp::from_millisecond(event.at).unwrap_or_default(),
                why: event.why.clone(),
            };
            events.map(noticed).collect()
        };
        let seconds = Duration::from_millis((after.now - before.now).unsigned_abs());
        sum.seconds = sum.seconds.max(seconds.as_secs_f64());
        sum.tried += after.new.tried - before.new.tried;
        sum.failed += after.new.failed - before.new.failed;
        (sum.failures).extend(newer(&after.new.failures, before.new.failures.len()));
        (sum.slow).extend(newer(&after.new.slow, before.new.slow.len()));
        sum.frames += after.kept.frames - before.kept.frames;
        sum.wrong += after.kept.wrong - before.kept.wrong;
        sum.slowest = sum.slowest.max(after.kept.slowest);
        sum.cut += after.kept.cut - before.kept.cut;
        (sum.cuts).extend(newer(&after.kept.cuts, before.kept.cuts.len()));
    }
    sum
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(tried: u64, failures: &[i64], cuts: &[i64]) -> Told {
        let events = |at: &[i64]| -> Vec<Value> {
            (at.iter().map(|at| json!({"at": at, "why": "gone"}))).collect()
        };
        let text = json!({
            "now": tried * 100,
            "new": {"tried": tried, "answered": tried - failures.len() as u64, "failed": failures.len(),
                "failures": events(failures), "slow": events(failures)},
            "kept": {"opened": 2, "frames": tried, "slowest": 7, "wrong": 0, "cut": cuts.len(), "cuts": events(cuts)},
        });
        Told::read(&text.to_string()).unwrap()
    }

    #[test]
    fn figures_are_of_the_stretch_between_two_readings() {
        let before = BTreeMap::from([
            ("a".to_owned(), told(10, &[5], &[])),
            ("b".to_owned(), told(20, &[], &[])),
        ]);
        let after = BTreeMap::from([
            ("a".to_owned(), told(30, &[5, 2_000], &[])),
            ("b".to_owned(), told(50, &[], &[4_000])),
        ]);
        let seen = figures(&before, &after);
        assert_eq!((seen.tried, seen.failed, seen.cut), (50, 1, 1));
        assert_eq!(seen.failures[0].at.as_millisecond(), 2_000);
        assert_eq!(seen.slow.len(), 1);
        assert_eq!((seen.cuts[0].node.as_str(), seen.frames), ("b", 50));
        assert!((seen.seconds - 3.0).abs() < 0.01, "{seen}");
    }
}
