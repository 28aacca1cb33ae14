//! What the rounds showed.

use std::fmt;
use std::time::Duration;

use crate::sweep::deaths::{Deaths, Target};
use crate::sweep::weather::Counts;

/// What the rounds showed.
#[derive(Debug)]
pub struct Report {
    pub(super) deaths: Deaths,
    pub(super) rounds: usize,
    pub(super) took: Duration,
    pub(super) random: Counts,
    pub(super) differences: Vec<String>,
    /// Rounds were left out: not every write was to see its deaths.
    pub(super) is_part: bool,
}

impl Report {
    /// Every round ended where the one without deaths did, and every write but those of a status saw both deaths. A status
    /// is told once a second at most, so which ones are written depends on the time.
    pub fn is_good(&self) -> bool {
        self.differences.is_empty() && (self.is_part || self.missed().next().is_none())
    }

    fn missed(&self) -> impl Iterator<Item = &Target> {
        let open = self.deaths.open().map(|(target, _)| target);
        open.filter(|target| !target.is_status())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.deaths.table())?;
        if self.is_part {
            let missed = self.missed().count();
            writeln!(f, "a part only: {missed} writes have not seen both deaths")?;
        } else {
            for (target, died) in self.deaths.open() {
                let word = if target.is_status() {
                    "not met again"
                } else {
                    "MISSED"
                };
                writeln!(
                    f,
                    "{word}: {:?} {}, {} (the {}. time): {died:?}",
                    target.phase, target.step, target.write, target.turn
                )?;
            }
        }
        let Counts {
            deaths,
            api_servers,
            nodes,
        } = self.random;
        writeln!(
            f,
            "at random: {deaths} deaths, the API server {api_servers} times and a node {nodes} times started again"
        )?;
        let moments = self.deaths.moments();
        if !moments.is_empty() {
            writeln!(f, "the step told last then: {moments}")?;
        }
        for line in &self.differences {
            writeln!(f, "DIFFERS: {line}")?;
        }
        write!(
            f,
            "{} rounds, {} deaths, {:.0} s: {}",
            self.rounds,
            self.deaths.kills(),
            self.took.as_secs_f64(),
            if self.is_good() {
                "every round ended where the one without deaths did"
            } else {
                "not as it should be"
            }
        )
    }
}
