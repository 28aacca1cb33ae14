//! What is being done, with times, on the terminal.

use std::time::{Duration, Instant};

/// Says each step on standard error with the time since the start.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    started: Instant,
    silent: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// Starts the clock.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            silent: false,
        }
    }

    /// Says nothing.
    pub fn silent() -> Self {
        Self {
            silent: true,
            ..Self::new()
        }
    }

    /// One line.
    pub fn say(&self, text: impl std::fmt::Display) {
        if !self.silent {
            eprintln!("{:>6.1} s  {text}", self.elapsed().as_secs_f64());
        }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}
