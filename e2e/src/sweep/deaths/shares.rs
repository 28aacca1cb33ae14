//! Which writes of a rollout kill in a run that has not been recorded before: some of each step, others in the next run.

use crate::sweep::step::Phase;

/// How many writes of a step kill in one run, and how many are left out between two of them.
fn share(phase: Phase, step: &str) -> (u32, u32) {
    match (phase, step) {
        (_, "Begin" | "Failure" | "Done") | (Phase::Rollback, "Prepull" | "ControlPlane") => (1, 0),
        (Phase::Rollback, "Nodes" | "Back") => (2, 1),
        (_, "Prepull" | "Finish") => (1, 1),
        (_, "ControlPlane" | "Retire") => (2, 3),
        (_, "Nodes") => (4, 3),
        _ => (0, 0),
    }
}

/// Whether the `at`-th write of a step, from 0, kills in this run, which has `chosen` of that step already.
pub(super) fn is_chosen(phase: Phase, step: &str, run: usize, at: u32, chosen: u32) -> bool {
    let (most, between) = share(phase, step);
    let run = u32::try_from(run).unwrap_or_default();
    chosen < most && at % (between + 1) == run % (between + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runs_take_different_writes_of_a_step() {
        let of = |run: usize| {
            let mut chosen = Vec::new();
            for at in 0..16 {
                let count = u32::try_from(chosen.len()).unwrap();
                if is_chosen(Phase::Upgrade, "Nodes", run, at, count) {
                    chosen.push(at);
                }
            }
            chosen
        };
        assert_eq!(of(0), [0, 4, 8, 12]);
        assert_eq!(of(1), [1, 5, 9, 13]);
        assert!(is_chosen(Phase::Rollback, "Failure", 1, 0, 0));
        assert!(!is_chosen(Phase::Upgrade, "Status", 0, 0, 0));
    }
}
