//! At which writes the operator dies. Pure: writes in, verdicts out.

mod shares;

use std::collections::{BTreeMap, BTreeSet};

use super::step::{self, Done, Phase, STEPS};
use crate::write_proxy::{Moment, Write};

/// Nodes of a sweep's cluster.
const NODES: usize = 2;
/// Statuses that must be remembered: each is one write, whatever else it tells.
const REMEMBERED: [&str; 3] = ["Begin", "Failure", "Done"];

/// One write, told apart from the others of its run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// In which run, where runs are not alike; else 0.
    pub run: usize,
    /// When.
    pub phase: Phase,
    /// In which step.
    pub step: &'static str,
    /// Method and path without what was drawn by lot, and the step that a status tells of; empty where one write stands for
    /// its step.
    pub write: String,
    /// The how many-th of these in its run, from 1.
    pub turn: u32,
}

impl Target {
    /// It only tells what is going on.
    pub fn is_status(&self) -> bool {
        self.write.contains("/status") && !REMEMBERED.contains(&self.step)
    }

    /// No write of its own: what comes between two others.
    fn is_between(&self) -> bool {
        self.phase == Phase::Upgrade && self.step == "Verify"
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
#[derive(Clone, Debug, PartialEq, Eq)]
enum Aim {
    /// None: what is written in these phases is only listed.
    None(BTreeSet<Phase>),
    /// The first write in each step.
    Steps,
    /// Every write that was listed and belongs to this part of so many.
    Part { part: usize, of: usize },
    /// Some writes of each step of a rollout, others in each run.
    Shares { run: usize },
}

/// No write is of this part.
const UNHARMED: Aim = Aim::Part { part: 1, of: 1 };

/// Where the operator has died, and where it still has to.
#[derive(Clone, Debug)]
pub struct Deaths {
    aim: Aim,
    targets: BTreeMap<Target, Died>,
    /// What the server did in this run.
    done: BTreeMap<(Phase, String), u32>,
    before: BTreeMap<Phase, Done>,
    /// Writes that were met in this run, and how many of each step were met and chosen.
    met: BTreeSet<Target>,
    counts: BTreeMap<(Phase, &'static str), (u32, u32)>,
    /// The step that was told last, and deaths at random moments by it.
    told: Option<String>,
    moments: BTreeMap<(Phase, String), usize>,
    kills: usize,
}

impl Deaths {
    /// Kills nothing and lists every write that the server does in these phases.
    pub fn listed(phases: &[Phase]) -> Self {
        Self::new(Aim::None(phases.iter().copied().collect()))
    }

    /// Kills nothing and lists nothing.
    pub fn none() -> Self {
        Self::new(UNHARMED)
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
            before: BTreeMap::new(),
            met: BTreeSet::new(),
            counts: BTreeMap::new(),
            told: None,
            moments: BTreeMap::new(),
            kills: 0,
        }
    }

    /// The next run: kills at a part of the listed writes, spread over the whole run.
    pub fn next_run(&mut self, part: usize, of: usize) {
        self.forget(Aim::Part { part, of });
    }

    /// The next run: kills at some writes in each step of a rollout, at others than the run before.
    pub fn next_shares(&mut self) {
        let run = match self.aim {
            Aim::Shares { run } => run + 1,
            _ => 0,
        };
        self.forget(Aim::Shares { run });
    }

    /// The next run: kills at no write.
    pub fn next_unharmed(&mut self) {
        self.forget(UNHARMED);
    }

    fn forget(&mut self, aim: Aim) {
        self.aim = aim;
        self.done.clear();
        self.before.clear();
        self.met.clear();
        self.counts.clear();
    }

    /// Whether the operator dies now. A write that has seen the first death sees the other when it is tried again.
    pub fn is_due(&mut self, phase: Phase, moment: Moment, write: &Write) -> bool {
        let before = self.before.entry(phase).or_default();
        let of = step::step(phase, write, before);
        let begins = phase == Phase::Upgrade && of == "Finish" && !before.has(of);
        let ends = phase == Phase::Upgrade && before.is_last_arrival(write, NODES);
        let line = line(of, write);
        let done = self.done.entry((phase, line.clone())).or_default();
        let turn = *done + 1;
        let is_done = moment == Moment::After && write.done == Some(true);
        if is_done {
            *done = turn;
            before.add(of, write);
            if write.path.ends_with("/status") {
                self.told = step::told(write);
            }
        }
        let target = Target {
            run: match self.aim {
                Aim::Shares { run } => run,
                _ => 0,
            },
            phase,
            step: of,
            write: if self.aim == Aim::Steps {
                String::new()
            } else {
                line
            },
            turn: if self.aim == Aim::Steps || REMEMBERED.contains(&of) {
                1
            } else {
                turn
            },
        };
        let Some(died) = self.aimed_at(&target, is_done, begins || ends) else {
            return false;
        };
        let due = match moment {
            Moment::Before => !std::mem::replace(&mut died.before, true),
            Moment::After => died.before && is_done && !std::mem::replace(&mut died.after, true),
        };
        if due {
            self.kills += 1;
            self.between(&target, moment, begins, ends);
        }
        due
    }

    /// The target, if the aim is at it.
    fn aimed_at(&mut self, target: &Target, is_done: bool, always: bool) -> Option<&mut Died> {
        match &self.aim {
            Aim::None(phases) => {
                if is_done && phases.contains(&target.phase) {
                    self.targets.entry(target.clone()).or_default();
                }
                return None;
            }
            Aim::Steps => {
                self.targets.entry(target.clone()).or_default();
            }
            &Aim::Part { part, of } => {
                let mut listed = self.targets.keys().filter(|known| !known.is_between());
                let at = listed.position(|known| known == target)?;
                if at % of != part {
                    return None;
                }
            }
            &Aim::Shares { run } => {
                if self.met.insert(target.clone()) {
                    let counts = self.counts.entry((target.phase, target.step)).or_default();
                    let (at, chosen) = *counts;
                    let is_chosen =
                        always || shares::is_chosen(target.phase, target.step, run, at, chosen);
                    *counts = (at + 1, chosen + u32::from(is_chosen));
                    if is_chosen {
                        self.targets.entry(target.clone()).or_default();
                    }
                }
            }
        }
        self.targets.get_mut(target)
    }

    /// Verify writes nothing: it has not begun when the last node has arrived, and is over before the first write of Finish.
    fn between(&mut self, target: &Target, moment: Moment, begins: bool, ends: bool) {
        let verify = Target {
            step: "Verify",
            write: String::new(),
            turn: 1,
            ..target.clone()
        };
        match moment {
            Moment::After if ends => self.targets.entry(verify).or_default().before = true,
            Moment::Before if begins => self.targets.entry(verify).or_default().after = true,
            _ => {}
        }
    }

    /// The operator dies now, whatever it does.
    pub fn at_random(&mut self, phase: Phase) {
        let told = self.told.clone().unwrap_or_else(|| "-".to_owned());
        *self.moments.entry((phase, told)).or_default() += 1;
        self.kills += 1;
    }

    /// Deaths at random moments, by the step that was told last; empty when there were none.
    pub fn moments(&self) -> String {
        let one = |((phase, step), count): (&(Phase, String), &usize)| {
            format!("{phase:?} {step} {count}")
        };
        let all: Vec<String> = self.moments.iter().map(one).collect();
        all.join(", ")
    }

    /// How many writes have seen both deaths.
    pub fn complete(&self) -> usize {
        (self.targets.iter())
            .filter(|(target, died)| !target.is_between() && died.is_complete())
            .count()
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

    /// Steps of these phases in which no write has seen both deaths.
    pub fn steps_missed(&self, phases: &[Phase]) -> Vec<(Phase, &'static str)> {
        STEPS
            .into_iter()
            .filter(|(phase, _)| phases.contains(phase))
            .filter(|(phase, step)| {
                !self.targets.iter().any(|(target, died)| {
                    target.phase == *phase && target.step == *step && died.is_complete()
                })
            })
            .collect()
    }

    /// One line a step of each phase that there was: writes, and deaths before and after them.
    pub fn table(&self) -> String {
        let mut lines = vec![format!(
            "{:<9}{:<14}{:>7}{:>14}{:>13}",
            "phase", "step", "writes", "died before", "died after"
        )];
        let mut sums = [0; 3];
        let is_met = |phase| self.targets.keys().any(|target| target.phase == phase);
        for (phase, step) in STEPS.into_iter().filter(|(phase, _)| is_met(*phase)) {
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

/// A write as it is in any run: a pod's name ends as its controller drew it.
fn line(of: &str, write: &Write) -> String {
    if REMEMBERED.contains(&of) {
        return "PATCH /status".to_owned();
    }
    let path = match write.path.rsplit_once('-') {
        Some((path, _)) if path.contains("/pods/") => path,
        _ => &write.path,
    };
    match step::told(write) {
        Some(told) => format!("{} {path} ({told})", write.method),
        None => format!("{} {path}", write.method),
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
                .steps_missed(&[Phase::Install])
                .contains(&(Phase::Install, "ControlPlane"))
        );
        assert!(
            deaths
                .steps_missed(&[Phase::Leave])
                .contains(&(Phase::Leave, "Rest"))
        );
    }

    #[test]
    fn every_listed_write_sees_both_deaths_over_the_runs() {
        let names = ["a", "b", "a", "c", "a"];
        let mut deaths = Deaths::listed(&[Phase::Install]);
        for name in names {
            assert_eq!(tried(&mut deaths, name), "done");
        }
        assert!(!deaths.is_due(Phase::Leave, Moment::After, &write("a", Some(true))));
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
