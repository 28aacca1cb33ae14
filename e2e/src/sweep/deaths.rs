//! At which writes the operator dies. Pure: writes in, verdicts out.

use std::collections::BTreeMap;

use super::step::{self, Phase, STEPS};
use crate::write_proxy::{Moment, Write};

/// One write, told apart from the others of its run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// When.
    pub phase: Phase,
    /// In which step.
    pub step: &'static str,
    /// Method and path, and the step that a status tells of; empty where one write stands for its step.
    pub write: String,
    /// The how many-th of these in its run, from 1.
    pub turn: u32,
}

impl Target {
    /// It only tells what is going on.
    pub fn is_status(&self) -> bool {
        self.write.contains("/status")
    }
}

/// Which of the two deaths a target has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Died {
    /// Before the server saw the write.
    pub before: bool,
    /// After the server did it, before the operator heard so.
    pub after: bool,
}

impl Died {
    /// Both.
    pub fn is_complete(self) -> bool {
        self.before && self.after
    }
}

/// Which writes kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    /// None: what is written is only listed.
    None,
    /// The first write in each step.
    Steps,
    /// Every write that was listed and belongs to this part of so many.
    Part { part: usize, of: usize },
}

/// Where the operator has died, and where it still has to.
#[derive(Clone, Debug)]
pub struct Deaths {
    aim: Aim,
    targets: BTreeMap<Target, Died>,
    /// What the server did in this run.
    done: BTreeMap<(Phase, String), u32>,
    kills: usize,
}

impl Deaths {
    /// Kills nothing and lists every write that the server does.
    pub fn listed() -> Self {
        Self::new(Aim::None)
    }

    /// Kills before and after the first write of each step.
    pub fn of_each_step() -> Self {
        Self::new(Aim::Steps)
    }

    fn new(aim: Aim) -> Self {
        Self {
            aim,
            targets: BTreeMap::new(),
            done: BTreeMap::new(),
            kills: 0,
        }
    }

    /// The next run: kills at a part of the listed writes, spread over the whole run.
    pub fn next_run(&mut self, part: usize, of: usize) {
        self.aim = Aim::Part { part, of };
        self.done.clear();
    }

    /// Whether the operator dies now. A write that has seen the first death sees the other when it is tried again.
    pub fn is_due(&mut self, phase: Phase, moment: Moment, write: &Write) -> bool {
        let of = step::step(phase, write);
        let line = match step::told(write) {
            Some(told) => format!("{} {} ({told})", write.method, write.path),
            None => format!("{} {}", write.method, write.path),
        };
        let done = self.done.entry((phase, line.clone())).or_default();
        let turn = *done + 1;
        let is_done = moment == Moment::After && write.done == Some(true);
        if is_done {
            *done = turn;
        }
        let target = match self.aim {
            Aim::Steps => Target {
                phase,
                step: of,
                write: String::new(),
                turn: 1,
            },
            Aim::None | Aim::Part { .. } => Target {
                phase,
                step: of,
                write: line,
                turn,
            },
        };
        let allowed = match self.aim {
            Aim::None => {
                if is_done {
                    self.targets.entry(target).or_default();
                }
                return false;
            }
            Aim::Steps => {
                self.targets.entry(target.clone()).or_default();
                true
            }
            Aim::Part { part, of } => {
                let at = self.targets.keys().position(|known| *known == target);
                at.is_some_and(|at| at % of == part)
            }
        };
        let Some(died) = self.targets.get_mut(&target).filter(|_| allowed) else {
            return false;
        };
        let due = match moment {
            Moment::Before => !std::mem::replace(&mut died.before, true),
            Moment::After => died.before && is_done && !std::mem::replace(&mut died.after, true),
        };
        self.kills += usize::from(due);
        due
    }

    /// How often the operator died.
    pub fn kills(&self) -> usize {
        self.kills
    }

    /// How many writes are listed.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Nothing was written.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// What has not seen both deaths.
    pub fn open(&self) -> impl Iterator<Item = (&Target, Died)> {
        self.targets
            .iter()
            .map(|(target, died)| (target, *died))
            .filter(|(_, died)| !died.is_complete())
    }

    /// Steps in which no write has seen both deaths.
    pub fn steps_missed(&self) -> Vec<(Phase, &'static str)> {
        STEPS
            .into_iter()
            .filter(|(phase, step)| {
                !self.targets.iter().any(|(target, died)| {
                    target.phase == *phase && target.step == *step && died.is_complete()
                })
            })
            .collect()
    }

    /// One line a step: writes, and deaths before and after them.
    pub fn table(&self) -> String {
        let mut lines = vec![format!(
            "{:<9}{:<14}{:>7}{:>14}{:>13}",
            "phase", "step", "writes", "died before", "died after"
        )];
        let mut sums = [0; 3];
        for (phase, step) in STEPS {
            let of: Vec<Died> = (self.targets.iter())
                .filter(|(target, _)| target.phase == phase && target.step == step)
                .map(|(_, died)| *died)
                .collect();
            let count = |hit: fn(&Died) -> bool| of.iter().filter(|died| hit(died)).count();
            let counts = [
                of.len(),
                count(|died| died.before),
                count(|died| died.after),
            ];
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
            let phase = format!("{phase:?}");
            let [writes, before, after] = counts;
            lines.push(format!(
                "{phase:<9}{step:<14}{writes:>7}{before:>14}{after:>13}"
            ));
        }
        let [writes, before, after] = sums;
        lines.push(format!(
            "{:<9}{:<14}{writes:>7}{before:>14}{after:>13}",
            "", "together"
        ));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use hyper::Method;
    use hyper::body::Bytes;

    use super::*;

    fn write(name: &str, done: Option<bool>) -> Write {
        Write {
            number: 1,
            method: Method::PATCH,
            path: format!("/api/v1/namespaces/applink-system/services/{name}"),
            body: Bytes::new(),
            done,
        }
    }

    /// What becomes of one try of a write: killed before, killed after, or done.
    fn tried(deaths: &mut Deaths, name: &str) -> &'static str {
        if deaths.is_due(Phase::Install, Moment::Before, &write(name, None)) {
            "before"
        } else if deaths.is_due(Phase::Install, Moment::After, &write(name, Some(true))) {
            "after"
        } else {
            "done"
        }
    }

    #[test]
    fn a_step_kills_once_before_and_once_after_the_server_did_it() {
        let mut deaths = Deaths::of_each_step();
        assert_eq!(tried(&mut deaths, "a"), "before");
        assert!(
            !deaths.is_due(Phase::Install, Moment::After, &write("a", Some(false))),
            "the server refused: nothing was done"
        );
        assert_eq!(tried(&mut deaths, "a"), "after");
        assert_eq!(tried(&mut deaths, "b"), "done");
        assert_eq!(deaths.kills(), 2);
        assert!(
            !deaths
                .steps_missed()
                .contains(&(Phase::Install, "ControlPlane"))
        );
        assert!(deaths.steps_missed().contains(&(Phase::Leave, "Rest")));
    }

    #[test]
    fn every_listed_write_sees_both_deaths_over_the_runs() {
        let names = ["a", "b", "a", "c", "a"];
        let mut deaths = Deaths::listed();
        for name in names {
            assert_eq!(tried(&mut deaths, name), "done");
        }
        assert_eq!((deaths.len(), deaths.kills()), (5, 0));
        for part in 0..2 {
            deaths.next_run(part, 2);
            for name in names {
                // What died before it was done is tried again by the next operator, what was done is not.
                while tried(&mut deaths, name) == "before" {}
            }
        }
        assert_eq!(deaths.open().count(), 0, "{:?}", deaths.targets);
        assert_eq!(deaths.kills(), 10);
    }
}
