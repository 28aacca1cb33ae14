//! `make chaos`: the operator dies before and after every write of an install and of a leave.
//!
//! A first run without deaths lists the writes and what stands after each phase. Then as many runs as are needed, each
//! with a part of the deaths, and each must end where the first one did.

use std::fmt;
use std::time::{Duration, Instant};

use applink::names;

use crate::cluster::{self, Cluster, Options};
use crate::progress::Progress;
use crate::stage::{self, Stage};
use crate::sweep::deaths::{Deaths, Target};
use crate::sweep::inventory::{self, Inventory};
use crate::sweep::{self, Course, Sweep};

const MEMBER: &str = "local";
const NAMESPACE: &str = "chaos";
/// Runs beyond the planned ones for writes that a run with deaths did not come to.
const MORE: usize = 3;

/// What can keep the runs from being made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The mesh on it.
    #[error(transparent)]
    Stage(#[from] stage::Error),
    /// A run.
    #[error(transparent)]
    Sweep(#[from] sweep::Error),
}

/// What the runs showed.
#[derive(Debug)]
pub struct Report {
    deaths: Deaths,
    runs: usize,
    took: Duration,
    differences: Vec<String>,
}

impl Report {
    /// Every run ended where the one without deaths did, and every write but those of a status saw both deaths. A status
    /// is told once a second at most, so which ones are written depends on the time.
    pub fn is_good(&self) -> bool {
        self.differences.is_empty() && self.missed().next().is_none()
    }

    fn missed(&self) -> impl Iterator<Item = &Target> {
        let open = self.deaths.open().map(|(target, _)| target);
        open.filter(|target| !target.is_status())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.deaths.table())?;
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
        for line in &self.differences {
            writeln!(f, "DIFFERS: {line}")?;
        }
        write!(
            f,
            "{} runs, {} deaths, {:.0} s: {}",
            self.runs,
            self.deaths.kills(),
            self.took.as_secs_f64(),
            if self.is_good() {
                "every run ended where the one without deaths did"
            } else {
                "not as it should be"
            }
        )
    }
}

/// Runs on a cluster of its own, named after `options`, which is removed again whatever happens.
///
/// # Errors
/// When the cluster does not come up, or a run does not come to its end.
pub async fn run(options: &Options, deaths: usize, progress: Progress) -> Result<Report, Error> {
    let mut options = options.clone();
    // Never the cluster that somebody works with.
    options.name.push_str("-chaos");
    options.nodes = 2;
    Cluster::down(&options, progress)?;
    let report = sweep(&options, deaths.max(1), progress).await;
    Cluster::down(&options, progress)?;
    report
}

async fn sweep(options: &Options, most: usize, progress: Progress) -> Result<Report, Error> {
    let started = Instant::now();
    let stage = Stage::up(options, progress).await?;
    stage.install_operator()?;
    let sweep = Sweep::start(&stage, Deaths::listed()).await?;
    let first = once(&stage, &sweep).await?;
    let count = sweep.deaths().len();
    let parts = (2 * count).div_ceil(most);
    progress.say(format!(
        "{count} writes without deaths; {parts} runs with deaths come"
    ));
    let mut differences = first.broken.clone();
    let mut runs = 0;
    for run in 0..parts + MORE {
        if run >= parts && sweep.deaths().open().next().is_none() {
            break;
        }
        let (part, of) = if run < parts { (run, parts) } else { (0, 1) };
        sweep.aim(|deaths| deaths.next_run(part, of));
        let before = sweep.deaths().kills();
        let ended = once(&stage, &sweep).await?;
        runs += 1;
        let lines = ended.differences(&first);
        progress.say(format!(
            "run {runs}: died {} times, {} differences",
            sweep.deaths().kills() - before,
            lines.len()
        ));
        for line in &lines {
            progress.say(line);
        }
        differences.extend(lines.into_iter().map(|line| format!("run {runs}: {line}")));
    }
    Ok(Report {
        deaths: sweep.deaths(),
        runs,
        took: started.elapsed(),
        differences,
    })
}

/// What stood after each phase of a run.
struct Ended {
    installed: Inventory,
    left: Inventory,
    broken: Vec<String>,
}

impl Ended {
    fn differences(&self, expected: &Self) -> Vec<String> {
        let installed = inventory::differences(&expected.installed, &self.installed);
        let left = inventory::differences(&expected.left, &self.left);
        (installed
            .into_iter()
            .map(|line| format!("installed: {line}")))
        .chain(left.into_iter().map(|line| format!("left: {line}")))
        .chain(self.broken.clone())
        .collect()
    }
}

/// One install and one leave, from a cluster that has never seen a mesh.
async fn once(stage: &Stage, sweep: &Sweep<'_>) -> Result<Ended, Error> {
    forget(stage)?;
    let course = Course::new(stage, MEMBER, NAMESPACE);
    course.install(sweep).await?;
    course.harden(sweep).await?;
    let installed = inventory::installed(stage)?;
    course.enrol().await?;
    course.leave(sweep).await?;
    inventory::assert_nodes_clean(stage)?;
    course.ask().await?;
    let left = inventory::everything(stage, &[NAMESPACE])?;
    stage.cluster.kubectl(&["delete", "namespace", NAMESPACE])?;
    Ok(Ended {
        installed,
        left,
        broken: course.broken(),
    })
}

/// Takes away what stays when a member leaves: definitions, the network and its root.
fn forget(stage: &Stage) -> Result<(), Error> {
    let defined = stage
        .cluster
        .kubectl(&["get", "customresourcedefinitions", "-o", "name"])?;
    let istio: Vec<&str> = defined
        .lines()
        .filter(|name| name.ends_with(".istio.io") || name.ends_with(".gateway.networking.k8s.io"))
        .collect();
    if !istio.is_empty() {
        stage.cluster.kubectl(&[&["delete"], &istio[..]].concat())?;
    }
    let root = format!("{}{}", names::ROOT_SECRET_PREFIX, names::DEFAULT_NETWORK);
    let network = ["delete", "--ignore-not-found", "applicationnetwork"];
    let secret = [
        "delete",
        "--ignore-not-found",
        "-n",
        names::OPERATOR_NAMESPACE,
        "secret",
    ];
    stage
        .cluster
        .kubectl(&[&network[..], &[names::DEFAULT_NETWORK]].concat())?;
    stage.cluster.kubectl(&[&secret[..], &[&root]].concat())?;
    Ok(())
}
