//! How many connections a proxy has made, and how many of them failed.

use std::fmt;

/// More than a proxy makes in its life: larger counts are cut to it, so that sums and products stay within bounds.
const MOST: u64 = 1 << 40;

/// Connections of a proxy since it started, or of a stretch of time. What a policy denies, and what ends after it was set
/// up, has not failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// How many there were.
    tried: u64,
    /// How many of them could not be set up.
    failed: u64,
}

impl Connections {
    /// Of a proxy that has opened and failed so many. It may have refused some that it had not opened.
    #[must_use]
    pub fn new(opened: u64, failed: u64) -> Self {
        Self {
            tried: opened.max(failed).min(MOST),
            failed: failed.min(MOST),
        }
    }

    /// How many there were.
    pub fn tried(self) -> u64 {
        self.tried
    }

    /// How many of them failed.
    pub fn failed(self) -> u64 {
        self.failed
    }

    /// Those that were made after these.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self::new(
            self.tried.saturating_sub(before.tried),
            self.failed.saturating_sub(before.failed),
        )
    }

    /// The part that failed, from 0 to 1; 0 of none.
    #[allow(
        clippy::cast_precision_loss,
        reason = "counts are far below what the mantissa holds"
    )]
    pub fn ratio(self) -> f64 {
        self.failed as f64 / self.tried.max(1) as f64
    }
}

impl fmt::Display for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tried, failed } = self;
        write!(f, "{failed} of {tried} ({:.1}%)", self.ratio() * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_without_being_opened_was_tried_as_well() {
        assert_eq!(Connections::new(10, 30).tried(), 30);
        assert_eq!(Connections::new(10, 3).to_string(), "3 of 10 (30.0%)");
        assert_eq!(Connections::default().to_string(), "0 of 0 (0.0%)");
    }

    #[test]
    fn counts_of_nobodys_proxy_stay_within_bounds() {
        let all = Connections::new(u64::MAX, u64::MAX);
        assert_eq!((all.tried(), all.failed()), (MOST, MOST));
        let (more, less) = (Connections::new(7, 1), Connections::new(5, 1));
        assert_eq!(more.since(less), Connections::new(2, 0));
        assert_eq!(less.since(more), Connections::default());
    }
}
