//! What the broken releases and the rounds showed.

use std::fmt;
use std::time::Duration;

use super::releases::Tried;
use crate::sweep::deaths::{Deaths, Target};
use crate::sweep::weather::Counts;

/// What was shown.
#[derive(Debug)]
pub struct Report {
    /// Broken releases without users.
    pub(super) releases: Vec<Tried>,
    /// Deaths of the operator, if there were to be any.
    pub(super) rounds: Option<Shown>,
    pub(super) took: Duration,
}

impl Report {
    /// Every broken release was caught where it must be, and the rounds are good.
    pub fn is_good(&self) -> bool {
        self.releases.iter().all(|one| one.differences.is_empty())
            && self.rounds.as_ref().is_none_or(Shown::is_good)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.releases.is_empty() {
            writeln!(f, "{}", Tried::heads())?;
            for one in &self.releases {
                writeln!(f, "{one}")?;
            }
            for line in self.releases.iter().flat_map(Tried::lines) {
                writeln!(f, "DIFFERS: {line}")?;
            }
            writeln!(f)?;
        }
        if let Some(rounds) = &self.rounds {
            writeln!(f, "{rounds}")?;
        }
        let caught = (self.releases.iter())
            .filter(|one| one.differences.is_empty())
            .count();
        let (rounds, deaths) =
            (self.rounds.as_ref()).map_or((0, 0), |shown| (shown.rounds, shown.deaths.kills()));
        write!(
            f,
            "{caught} of {} broken releases as they should be, {rounds} rounds, {deaths} deaths, {:.0} s: {}",
            self.releases.len(),
            self.took.as_secs_f64(),
            if self.is_good() {
                "everything ended as it should"
            } else {
                "not as it should be"
            }
        )
    }
}

/// What the rounds showed.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) deaths: Deaths,
    pub(super) rounds: usize,
    pub(super) random: Counts,
    pub(super) differences: Vec<String>,
    /// Rounds were left out: not every write was to see its deaths.
    pub(super) is_part: bool,
}

impl Shown {
    /// Every round ended where the one without deaths did, and every write but those of a status saw both deaths. A status
    /// is told once a second at most, so which ones are written depends on the time.
    fn is_good(&self) -> bool {
        self.differences.is_empty() && (self.is_part || self.missed().next().is_none())
    }

    fn missed(&self) -> impl Iterator<Item = &Target> {
        let open = self.deaths.open().map(|(target, _)| target);
        open.filter(|target| !target.is_status())
    }
}

impl fmt::Display for Shown {
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
        Ok(())
    }
}
