//! Maintenance windows and exclusions: when automatic work may start, until when it may go on, and when it may start next.
//!
//! Pure. Time zones come from a database that the caller brings, `now` is an argument. A window opens at the first moment
//! at which the clock of its zone shows its start (or jumps over it), on each of its days, and stays open for its duration
//! in elapsed time: four hours are four hours, also in the night in which the clock is changed.

mod calendar;
mod exclusion;
mod fault;
mod recurrence;

pub use calendar::{Calendar, Closure, Gate, Permit, Work};
pub use exclusion::Exclusion;
pub use fault::Fault;
pub use recurrence::{Span, Window};

#[cfg(test)]
mod tests;
