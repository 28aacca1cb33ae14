//! Waiting for what happens in another process.

use std::time::{Duration, Instant};

/// Tries until it works; panics with the last reason at the deadline.
pub fn eventually(what: &str, limit: Duration, mut attempt: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(()) => return,
            Err(reason) if Instant::now() >= deadline => {
                panic!("not in {limit:?}: {what}; last: {reason}")
            }
            // What is waited for is in another process, which cannot wake this one.
            Err(_) => std::thread::park_timeout(Duration::from_millis(5)),
        }
    }
}
