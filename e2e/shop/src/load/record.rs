//! What the load saw, kept within bounds, told as JSON.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Most events of one kind that are kept with their words; all are counted.
const MOST: usize = 400;
/// What takes longer than this is worth a word: far from the limit, and far from what a quiet machine needs.
const SLOW: Duration = Duration::from_millis(500);

/// Counters since the start. Times are milliseconds of the Unix clock.
#[derive(Debug, Default)]
pub struct Record {
    begun: AtomicU64,
    answered: AtomicU64,
    /// New connections that were answered in time, but late.
    slow: Events,
    failed: Events,
    opened: AtomicU64,
    beats: AtomicU64,
    /// The longest that a kept connection waited for an answer that came, in milliseconds.
    slowest: AtomicU64,
    /// Answers that were not what had been sent.
    wrong: AtomicU64,
    cut: Events,
}

#[derive(Debug, Default)]
struct Events {
    count: AtomicU64,
    kept: Mutex<Vec<(u64, String)>>,
}

impl Events {
    fn add(&self, text: &str) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MOST {
            kept.push((now(), text.to_owned()));
        }
    }

    fn json(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (at, why) in kept.iter() {
            let comma = if text.is_empty() { "" } else { "," };
            let why: String = why.chars().filter(|&letter| is_plain(letter)).collect();
            // Writing to a String cannot fail.
            let _ = write!(text, r#"{comma}{{"at":{at},"why":"{why}"}}"#);
        }
        text
    }
}

/// Letters that stand for themselves in JSON.
fn is_plain(letter: char) -> bool {
    !letter.is_control() && letter != '"' && letter != '\\'
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, millis)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Record {
    /// A new connection is tried.
    pub fn begun(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// It was answered in time, after `took`; `how` that went.
    pub fn answered(&self, took: Duration, how: impl FnOnce() -> String) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if took >= SLOW {
            self.slow.add(&how());
        }
    }

    /// It was not.
    pub fn failed(&self, why: &str) {
        self.failed.add(why);
    }

    /// A kept connection works.
    pub fn opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// A kept connection had its answer after `took`.
    pub fn beat(&self, took: Duration) {
        self.beats.fetch_add(1, Ordering::Relaxed);
        self.slowest.fetch_max(millis(took), Ordering::Relaxed);
    }

    /// An answer was not what had been sent.
    pub fn wrong(&self) {
        self.wrong.fetch_add(1, Ordering::Relaxed);
    }

    /// A kept connection ended.
    pub fn cut(&self, why: &str) {
        self.cut.add(why);
    }

    /// Everything so far.
    pub fn json(&self) -> String {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        format!(
            r#"{{"now":{},"new":{{"tried":{},"answered":{},"failed":{},"failures":[{}],"slow":[{}]}},"kept":{{"opened":{},"frames":{},"slowest":{},"wrong":{},"cut":{},"cuts":[{}]}}}}"#,
            now(),
            count(&self.begun),
            count(&self.answered),
            count(&self.failed.count),
            self.failed.json(),
            self.slow.json(),
            count(&self.opened),
            count(&self.beats),
            count(&self.slowest),
            count(&self.wrong),
            count(&self.cut.count),
            self.cut.json(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted_and_what_is_kept_is_bounded() {
        let record = Record::default();
        for _ in 0..MOST + 5 {
            record.failed("said \"no\"\\\n");
        }
        record.cut("gone");
        record.answered(SLOW / 2, || "soon".to_owned());
        record.answered(SLOW, || "late".to_owned());
        let text = record.json();
        assert!(text.contains(r#""failed":405"#), "{text}");
        assert_eq!(text.matches(r#""why":"said no""#).count(), MOST);
        assert!(text.contains(r#""answered":2"#), "{text}");
        assert!(text.contains(r#""why":"late"}]}"#), "{text}");
        assert!(!text.contains("soon"), "{text}");
        assert!(text.contains(r#""cut":1,"cuts":[{"at":"#), "{text}");
    }
}
