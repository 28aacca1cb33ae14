//! When to ask for a certificate: pure arithmetic.

use std::time::{Duration, SystemTime};

/// The first wait after a failure is at least this, and up to as much again.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait after failures, before the spread.
const LONGEST_WAIT: Duration = Duration::from_secs(150);
/// Shortest time between two requests for one identity that both succeed.
const SHORTEST_RENEWAL: Duration = Duration::from_secs(1);

/// How long to keep a certificate before renewing it: until half of its life, and when that has passed already, half
/// of what is left.
pub fn until_renewal(not_before: SystemTime, not_after: SystemTime, now: SystemTime) -> Duration {
    let life = not_after.duration_since(not_before).unwrap_or_default();
    let half = not_before
        .checked_add(life / 2)
        .and_then(|at| at.duration_since(now).ok());
    let left = || not_after.duration_since(now).unwrap_or_default() / 2;
    half.unwrap_or_else(left).max(SHORTEST_RENEWAL)
}

/// How long to wait after the given number of failures in a row (at least 1). The first wait is between 0.5 and 1 s, each further one
/// doubles up to 150 s, and each is spread by 20 % either way. `sample` is drawn evenly.
pub fn until_retry(failures: u32, sample: u64) -> Duration {
    let first = FIRST_WAIT.mul_f64(1.0 + share(sample >> 32));
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled
        .min(LONGEST_WAIT)
        .mul_f64(0.8 + 0.4 * share(sample & u64::from(u32::MAX)))
}

/// The lower 32 bits as a share of 1.
fn share(bits: u64) -> f64 {
    f64::from(u32::try_from(bits).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_certificate_is_renewed_at_half_of_its_life() {
        for (not_before, not_after, now, wait) in [
            (1000, 1000 + 86_400, 1000, 43_200),
            (1000, 1000 + 86_400, 1100, 43_100),
            // istiod dates certificates two minutes back.
            (880, 1000 + 86_400, 1000, 43_140),
            // Past half: half of what is left.
            (1000, 1100, 1060, 20),
            // Ended, or upside down: at once, but not in a tight loop.
            (1000, 1100, 1200, 1),
            (1100, 1000, 1000, 100),
        ] {
            let wait = Duration::from_secs(wait);
            assert_eq!(until_renewal(at(not_before), at(not_after), at(now)), wait);
        }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let middle = |failures| until_retry(failures, 1 << 31);
        for (failures, seconds) in [
            (1, 0.5),
            (2, 1.0),
            (3, 2.0),
            (8, 64.0),
            (9, 128.0),
            (10, 150.0),
            (99, 150.0),
        ] {
            let wait = middle(failures).as_secs_f64();
            assert!((wait - seconds).abs() < 0.01, "{failures}: {wait}");
        }
    }

    proptest! {
        #[test]
        fn a_wait_stays_within_its_bounds(failures: u32, sample: u64) {
            let wait = until_retry(failures, sample);
            prop_assert!(wait >= Duration::from_millis(400) && wait <= Duration::from_mins(3));
        }
    }
}
