//! The first part of `make chaos`: every broken release is tried where nobody uses the mesh; the operator dies before and after every write of an
//! install, an upgrade, a rollback and a leave; then at random moments, and the API server and nodes are started again
//! meanwhile.
//!
//! Of the deaths, a first round without deaths lists the writes and what stands after each phase. Then as many rounds as are needed, each
//! with a part of the deaths, then rounds with random ones; each must end where the first one did.

mod releases;
mod report;
mod round;

use std::time::Instant;

use crate::cluster::{self, Cluster, Options};
use crate::command;
use crate::images::broken::Broken;
use crate::progress::Progress;
use crate::stage::{self, Stage};
use crate::sweep::weather::Counts;
use crate::sweep::{self, Deaths, Phase, Sweep, Weather};
use releases::Tried;
pub use report::Report;
use report::Shown;
use round::{Round, once};

/// Rounds beyond the planned ones for writes that a round with deaths did not come to.
const MORE: usize = 3;

/// What can keep the rounds from being made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The mesh on it.
    #[error(transparent)]
    Stage(#[from] stage::Error),
    /// A round.
    #[error(transparent)]
    Sweep(#[from] sweep::Error),
}

/// How much of it all, and which part.
#[derive(Clone, Debug, clap::Args)]
pub struct Amount {
    /// Broken releases that are tried first, without users; all unless given.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "RELEASE", default_values_t = Broken::WITHOUT_USERS, hide_default_value = true)]
    pub broken: Vec<Broken>,
    /// Try no broken release without users.
    #[arg(long, conflicts_with = "broken")]
    pub no_broken: bool,
    /// Phases whose writes see deaths; all unless given. Each round has an install and a leave.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PHASE", default_values_t = Phase::ALL, hide_default_value = true)]
    pub phases: Vec<Phase>,
    /// Deaths in one round.
    #[arg(long, default_value_t = 40)]
    pub deaths: usize,
    /// Deaths at random moments, in all, in rounds that come last.
    #[arg(long, default_value_t = 500)]
    pub random: usize,
    /// Rounds with deaths at chosen writes at most; as many as are needed unless given.
    #[arg(long)]
    pub runs: Option<usize>,
    /// Leave out so many of the first rounds with deaths at chosen writes: somebody has seen them.
    #[arg(long, default_value_t = 0)]
    pub skip: usize,
    /// Where the random moments come from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Leave the cluster as it is when not everything ended as it should.
    #[arg(long)]
    pub keep: bool,
}

impl Amount {
    /// Releases that are tried without users.
    fn releases(&self) -> &[Broken] {
        if self.no_broken { &[] } else { &self.broken }
    }

    /// The operator is to die at all.
    fn has_rounds(&self) -> bool {
        self.random > 0 || self.runs != Some(0)
    }

    /// Rounds are left out: not every write sees its deaths.
    fn is_part(&self) -> bool {
        self.skip > 0 || self.runs.is_some()
    }
}

/// Runs on a cluster of its own, named after `options`, which is removed again unless it is to be kept.
///
/// # Errors
/// When the cluster does not come up or does not answer, or the round without deaths does not come to its end.
pub async fn run(options: &Options, amount: Amount, progress: Progress) -> Result<Report, Error> {
    let mut options = options.clone();
    // Never the cluster that somebody works with.
    options.name.push_str("-chaos");
    options.nodes = 2;
    Cluster::down(&options, progress)?;
    let report = all(&options, &amount, progress).await;
    if amount.keep && !report.as_ref().is_ok_and(Report::is_good) {
        progress.say(format!("cluster {} is kept", options.name));
    } else {
        Cluster::down(&options, progress)?;
    }
    report
}

/// The rounds and what they have shown so far.
struct Rounds<'a> {
    stage: &'a Stage,
    options: &'a Options,
    phases: &'a [Phase],
    sweep: Sweep<'a>,
    first: Round,
    count: usize,
    differences: Vec<String>,
    /// A round did not come to its end: nobody knows where the next one would begin.
    is_stuck: bool,
    progress: Progress,
}

impl Rounds<'_> {
    /// One more; `random` where things go wrong at random.
    async fn more(&mut self, random: Option<Weather>) -> Counts {
        let before = self.sweep.deaths().kills();
        let number = if random.is_some() { self.count } else { 0 };
        self.sweep.expose(random);
        let (stage, options, phases) = (self.stage, self.options, self.phases);
        let first = Some(&self.first);
        let ended = once(stage, options, &self.sweep, phases, number, first).await;
        let counts = self.sweep.expose(None).unwrap_or_default();
        self.count += 1;
        let lines = ended.map_or_else(
            |error| {
                self.is_stuck = true;
                vec![format!("no end: {}", command::chain(&error))]
            },
            |round| round.differences(&self.first),
        );
        self.progress.say(format!(
            "round {}: died {} times, {} differences",
            self.count,
            self.sweep.deaths().kills() - before,
            lines.len()
        ));
        for line in &lines {
            self.progress.say(line);
        }
        let round = self.count;
        let lines = lines
            .into_iter()
            .map(|line| format!("round {round}: {line}"));
        self.differences.extend(lines);
        counts
    }
}

async fn all(options: &Options, amount: &Amount, progress: Progress) -> Result<Report, Error> {
    let started = Instant::now();
    let stage = Stage::up(options, progress).await?;
    stage.install_operator()?;
    let releases = match amount.releases() {
        [] => Vec::new(),
        which => releases::all(&stage, options, which, progress).await?,
    };
    let is_stuck = releases.iter().any(Tried::is_stuck);
    let rounds = if amount.has_rounds() && !is_stuck {
        Some(sweep(&stage, options, amount, progress).await?)
    } else {
        None
    };
    Ok(Report {
        releases,
        rounds,
        took: started.elapsed(),
    })
}

async fn sweep(
    stage: &Stage,
    options: &Options,
    amount: &Amount,
    progress: Progress,
) -> Result<Shown, Error> {
    round::prepare(stage, options, progress)?;
    let phases = &amount.phases;
    let sweep = Sweep::start(stage, Deaths::listed(phases)).await?;
    let first = once(stage, options, &sweep, phases, 0, None).await?;
    let listed = sweep.deaths().len();
    let parts = (2 * listed).div_ceil(amount.deaths.max(1));
    progress.say(format!(
        "{listed} writes without deaths; {parts} rounds with deaths at them come, then {} deaths at random",
        amount.random
    ));
    let mut rounds = Rounds {
        stage,
        options,
        phases,
        sweep,
        differences: first.broken.clone(),
        first,
        count: 0,
        is_stuck: false,
        progress,
    };
    let most = amount.runs.unwrap_or(usize::MAX);
    for run in amount.skip..parts + MORE {
        let is_over =
            run >= parts && (amount.skip > 0 || rounds.sweep.deaths().open().next().is_none());
        if is_over || rounds.is_stuck || rounds.count >= most {
            break;
        }
        let (part, of) = if run < parts { (run, parts) } else { (0, 1) };
        rounds.sweep.aim(|deaths| deaths.next_run(part, of));
        rounds.more(None).await;
    }
    let mut random = Counts::default();
    while random.deaths < amount.random && !rounds.is_stuck {
        rounds.sweep.aim(Deaths::next_unharmed);
        let seed = amount
            .seed
            .wrapping_add(u64::try_from(rounds.count).unwrap_or_default());
        let weather = Weather::new(options, seed, amount.random - random.deaths);
        let counts = rounds.more(Some(weather)).await;
        random.deaths += counts.deaths;
        random.api_servers += counts.api_servers;
        random.nodes += counts.nodes;
    }
    Ok(Shown {
        deaths: rounds.sweep.deaths(),
        rounds: rounds.count,
        random,
        differences: rounds.differences,
        is_part: amount.is_part(),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        amount: Amount,
    }

    fn amount(line: &str) -> Amount {
        let words = ["chaos"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(words).unwrap().amount
    }

    #[test]
    fn all_of_it_is_asked_for_unless_a_part_is_named() {
        let all = amount("");
        assert_eq!(all.releases(), Broken::WITHOUT_USERS);
        assert!(all.has_rounds() && !all.is_part());
        let releases = amount("--runs 0 --random 0");
        assert!(releases.releases().len() == Broken::WITHOUT_USERS.len() && !releases.has_rounds());
        let one = amount("--broken mute-proxy,missing-image");
        assert_eq!(one.releases(), [Broken::MuteProxy, Broken::MissingImage]);
        let writes = amount("--no-broken --runs 2 --random 0");
        assert!(writes.releases().is_empty() && writes.has_rounds() && writes.is_part());
        let phases = amount("--phases install,leave");
        assert_eq!(phases.phases, [Phase::Install, Phase::Leave]);
    }
}
