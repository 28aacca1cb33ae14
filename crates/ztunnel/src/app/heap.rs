//! How the allocator treats memory that the data path gives back.
//!
//! Under load, pieces of up to a megabyte come and go thousands of times a second. glibc returns such memory to the kernel at
//! once, which clears the same pages for the next piece: measured, a tenth to a quarter of a busy proxy's CPU. So free memory
//! is kept, up to a bound, and returned when the proxy has become quiet.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

/// Free bytes that each of the allocator's arenas keeps; there is about one arena for each busy thread.
#[cfg(target_env = "gnu")]
const KEPT: libc::c_int = 16 * 1024 * 1024;
/// Pieces from so many bytes on are mapped and unmapped one by one. Nothing on the data path is as large.
#[cfg(target_env = "gnu")]
const MAPPED: libc::c_int = 8 * 1024 * 1024;
/// How often we look whether the proxy is quiet.
const LOOK: Duration = Duration::from_secs(30);
/// A proxy that uses less than this part of one core is quiet.
const QUIET: u32 = 100;

/// From now on free memory is kept.
#[cfg(target_env = "gnu")]
#[expect(
    unsafe_code,
    reason = "mallopt(3) has no safe form; it takes two numbers and is called before other threads run"
)]
pub(super) fn keep() {
    // SAFETY: changes how the allocator chooses, not what it promises.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
    }
}

#[cfg(not(target_env = "gnu"))]
pub(super) fn keep() {}

/// Returns free memory to the kernel each time the proxy becomes quiet. Never resolves.
pub(super) async fn give_back() {
    let mut activity = Activity::default();
    loop {
        tokio::time::sleep(LOOK).await;
        if activity.has_become_quiet(cpu()) {
            trim();
        }
    }
}

#[cfg(target_env = "gnu")]
#[expect(
    unsafe_code,
    reason = "malloc_trim(3) has no safe form; it takes a number and touches nothing but free memory"
)]
fn trim() {
    // SAFETY: may be called at any time from any thread (malloc_trim(3): MT-Safe).
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn trim() {}

/// CPU time of this process so far; none where the kernel does not tell.
fn cpu() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else {
        return Duration::ZERO;
    };
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| {
            let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
            Duration::from_secs(seconds)
                + Duration::from_micros(u64::try_from(time.tv_usec()).unwrap_or(0))
        })
        .sum()
}

/// What the last look saw.
#[derive(Debug, Default)]
struct Activity {
    /// CPU time until then.
    used: Duration,
    was_busy: bool,
}

impl Activity {
    /// Takes a look: whether the proxy was busy until the last one and is no more.
    fn has_become_quiet(&mut self, used: Duration) -> bool {
        let is_busy = used.saturating_sub(self.used) * QUIET > LOOK;
        self.used = used;
        std::mem::replace(&mut self.was_busy, is_busy) && !is_busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_once_after_each_busy_time() {
        let mut activity = Activity::default();
        let seen: Vec<bool> = [0, 10_000, 20_000, 20_010, 20_020, 25_000, 25_001]
            .into_iter()
            .map(|milliseconds| activity.has_become_quiet(Duration::from_millis(milliseconds)))
            .collect();
        assert_eq!(seen, [false, false, false, true, false, false, true]);
    }

    #[test]
    fn the_time_of_this_process_is_known_and_grows() {
        let before = cpu();
        let mut sum = 0_u64;
        while cpu() == before {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        assert!(cpu() > before);
    }
}
