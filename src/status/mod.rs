//! Facts and outcome to status and conditions. Pure: `now` is an argument, and nothing is written here.

mod bounds;
mod change;
mod conditions;
mod member;
mod network;
mod outcome;
mod release;
mod seen;
mod steering;
mod verdict;

pub use change::{Change, changes, faults, wave};
pub use member::next;
pub use network::{NetworkOutcome, count, next_network};
pub use outcome::{Component, Failure, Outcome, Problem, Progress, Rollout, Wait, Work};
pub use release::next_release;
pub use steering::{Beginning, Ending, Judgement, Settled, Steering};

#[cfg(test)]
mod tests;
