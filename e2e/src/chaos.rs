//! `make chaos`: the operator dies before and after every write of an install, an upgrade, a rollback and a leave; then at
//! random moments, and the API server and nodes are started again meanwhile.
//!
//! A first round without deaths lists the writes and what stands after each phase. Then as many rounds as are needed, each
//! with a part of the deaths, then rounds with random ones; each must end where the first one did.

mod report;
mod round;

use std::time::Instant;

use crate::cluster::{self, Cluster, Options};
use crate::progress::Progress;
use crate::stage::{self, Stage};
use crate::sweep::weather::Counts;
use crate::sweep::{self, Deaths, Sweep, Weather};
pub use report::Report;
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
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Amount {
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
}

/// Runs on a cluster of its own, named after `options`, which is removed again whatever happens.
///
/// # Errors
/// When the cluster does not come up, or a round does not come to its end.
pub async fn run(options: &Options, amount: Amount, progress: Progress) -> Result<Report, Error> {
    let mut options = options.clone();
    // Never the cluster that somebody works with.
    options.name.push_str("-chaos");
    options.nodes = 2;
    Cluster::down(&options, progress)?;
    let report = sweep(&options, amount, progress).await;
    Cluster::down(&options, progress)?;
    report
}

/// The rounds and what they have shown so far.
struct Rounds<'a> {
    stage: &'a Stage,
    options: &'a Options,
    sweep: Sweep<'a>,
    first: Round,
    count: usize,
    differences: Vec<String>,
    progress: Progress,
}

impl Rounds<'_> {
    /// One more; `random` where things go wrong at random.
    async fn more(&mut self, random: Option<Weather>) -> Result<Counts, Error> {
        let before = self.sweep.deaths().kills();
        let number = if random.is_some() { self.count } else { 0 };
        self.sweep.expose(random);
        let (stage, options) = (self.stage, self.options);
        let ended = once(stage, options, &self.sweep, number, Some(&self.first)).await;
        let counts = self.sweep.expose(None).unwrap_or_default();
        self.count += 1;
        let lines = ended?.differences(&self.first);
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
        Ok(counts)
    }
}

async fn sweep(options: &Options, amount: Amount, progress: Progress) -> Result<Report, Error> {
    let started = Instant::now();
    let stage = Stage::up(options, progress).await?;
    stage.install_operator()?;
    round::prepare(&stage, options, progress)?;
    let sweep = Sweep::start(&stage, Deaths::listed()).await?;
    let first = once(&stage, options, &sweep, 0, None).await?;
    let listed = sweep.deaths().len();
    let parts = (2 * listed).div_ceil(amount.deaths.max(1));
    progress.say(format!(
        "{listed} writes without deaths; {parts} rounds with deaths at them come, then {} deaths at random",
        amount.random
    ));
    let mut rounds = Rounds {
        stage: &stage,
        options,
        sweep,
        differences: first.broken.clone(),
        first,
        count: 0,
        progress,
    };
    let most = amount.runs.unwrap_or(usize::MAX);
    for run in amount.skip..parts + MORE {
        let is_over =
            run >= parts && (amount.skip > 0 || rounds.sweep.deaths().open().next().is_none());
        if is_over || rounds.count >= most {
            break;
        }
        let (part, of) = if run < parts { (run, parts) } else { (0, 1) };
        rounds.sweep.aim(|deaths| deaths.next_run(part, of));
        rounds.more(None).await?;
    }
    let mut random = Counts::default();
    while random.deaths < amount.random {
        rounds.sweep.aim(Deaths::next_unharmed);
        let seed = amount
            .seed
            .wrapping_add(u64::try_from(rounds.count).unwrap_or_default());
        let weather = Weather::new(options, seed, amount.random - random.deaths);
        let counts = rounds.more(Some(weather)).await?;
        random.deaths += counts.deaths;
        random.api_servers += counts.api_servers;
        random.nodes += counts.nodes;
    }
    Ok(Report {
        deaths: rounds.sweep.deaths(),
        rounds: rounds.count,
        took: started.elapsed(),
        random,
        differences: rounds.differences,
        is_part: amount.skip > 0 || amount.runs.is_some(),
    })
}
