//! What the operator costs: time, requests, CPU and memory of one install, and of five minutes in which nothing happens.
//!
//! Everything is measured from outside: the requests in the API server's audit log, the process in `/proc`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use applink::api::v1alpha1::MeshMember;
use jiff::Timestamp;
use kube::api::{Api, DeleteParams};
use serde_json::json;

use crate::audit::{self, Entry};
use crate::cluster::{self, Cluster, Options};
use crate::progress::Progress;
use crate::stage::{self, Stage};

mod process;

use process::Process;

const OPERATOR: &str = "system:serviceaccount:applink-operator:applink-operator";
const MEMBER: &str = "local";
/// Longest wait for anything; what takes longer is broken rather than slow.
const PATIENCE: Duration = Duration::from_mins(3);
/// Silence after which an install is over.
const SETTLED: Duration = Duration::from_secs(10);
/// How long the operator is watched doing nothing: longer than the tests do, so that watches end and are begun again in it.
const QUIET: Duration = Duration::from_mins(5);

/// What can keep the figures from being taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The mesh on it.
    #[error(transparent)]
    Stage(#[from] stage::Error),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] audit::Error),
    /// The operator's process.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// The member stayed.
    #[error("MeshMember {MEMBER} cannot be deleted: {0}")]
    Delete(#[source] Box<kube::Error>),
}

/// One figure and what it may be.
#[derive(Clone, Debug, PartialEq)]
struct Figure {
    name: &'static str,
    measured: f64,
    limit: f64,
    unit: &'static str,
    decimals: usize,
    aim: Option<f64>,
}

impl Figure {
    fn keeps(&self) -> bool {
        self.measured <= self.limit
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            measured,
            limit,
            unit,
            decimals,
            aim,
        } = self;
        write!(
            f,
            "{name:<36}{measured:>9.decimals$} {unit:<3}  limit {limit:>6} {unit:<3}"
        )?;
        if let Some(aim) = aim {
            write!(f, "  aim {aim}")?;
        }
        if !self.keeps() {
            f.write_str("  BROKEN")?;
        }
        Ok(())
    }
}

/// What was measured.
#[derive(Debug)]
pub struct Report {
    figures: Vec<Figure>,
    install: BTreeMap<String, u32>,
    quiet: Vec<String>,
}

impl Report {
    /// Whether every figure keeps its limit.
    pub fn keeps_limits(&self) -> bool {
        self.figures.iter().all(Figure::keeps)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for figure in &self.figures {
            writeln!(f, "{figure}")?;
        }
        writeln!(f, "\nrequests of the install")?;
        for (what, count) in &self.install {
            writeln!(f, "{count:>6}  {what}")?;
        }
        for what in &self.quiet {
            writeln!(f, "in the quiet minutes: {what}")?;
        }
        Ok(())
    }
}

/// Measures on a cluster of its own, named after `options`, which is removed again whatever happens.
///
/// # Errors
/// When the mesh does not come up or the process or the log cannot be read.
pub async fn run(options: &Options, progress: Progress) -> Result<Report, Error> {
    let mut options = options.clone();
    // Never the cluster that somebody works with.
    options.name.push_str("-bench");
    options.nodes = 2;
    Cluster::down(&options, progress)?;
    let report = measure(&options, progress).await;
    Cluster::down(&options, progress)?;
    report
}

async fn measure(options: &Options, progress: Progress) -> Result<Report, Error> {
    let stage = Stage::up(options, progress).await?;
    stage.install_operator()?;
    let operator = "app.kubernetes.io/component=operator";
    stage
        .until_pods_ready("applink-operator", operator, PATIENCE)
        .await?;
    let inits: Vec<i32> = stage
        .cluster
        .state()
        .running()
        .iter()
        .map(|(_, init)| *init)
        .collect();
    let process = Process::find("applink", "operator", &inits)?;
    progress.say(format!("the operator runs as process {}", process.pid()));

    stage.apply(&Stage::release("1.6.0", &["Rapid"]))?;
    stage.apply(&Stage::member(
        MEMBER,
        &json!({"upgrade": {"version": "1.6"}}),
    ))?;
    let clock = Instant::now();
    for condition in ["Ready", "UpToDate"] {
        stage
            .until_condition(MEMBER, condition, "True", PATIENCE)
            .await?;
    }
    let time = clock.elapsed();
    progress.say(format!("installed in {:.1} s", time.as_secs_f64()));

    let log = stage.cluster.audit_log();
    settle(&log).await?;
    let install = audit::entries(&log, OPERATOR)?;
    let since = Timestamp::now();
    let (cpu, memory) = (process.cpu()?, process.memory()?);
    progress.say("the install is over; watching five quiet minutes");
    tokio::time::sleep(QUIET).await;
    let (quiet_cpu, quiet_memory) = (process.cpu()?, process.memory()?);
    let quiet: Vec<String> = audit::entries(&log, OPERATOR)?
        .iter()
        .filter(|entry| entry.at > since && is_work(entry))
        .map(ToString::to_string)
        .collect();
    leave(&stage).await?;

    let figure = |name, measured, limit, unit, decimals| Figure {
        name,
        measured,
        limit,
        unit,
        decimals,
        aim: None,
    };
    let rss = |name, bytes| Figure {
        aim: Some(15.0),
        ..figure(name, megabytes(bytes), 25.0, "MB", 1)
    };
    let writes = install.iter().filter(|entry| is_write(entry)).count();
    let seconds = |time: Duration| time.as_secs_f64();
    Ok(Report {
        figures: vec![
            figure("time to Ready and UpToDate", seconds(time), 10.0, "s", 1),
            figure(
                "requests of the install",
                count(install.len()),
                250.0,
                "",
                0,
            ),
            figure("writes among them", count(writes), 150.0, "", 0),
            figure("CPU of start and install", seconds(cpu), 0.5, "s", 2),
            rss("RSS after the install", memory.rss),
            rss("PSS after the install", memory.pss),
            rss("RSS after five quiet minutes", quiet_memory.rss),
            rss("PSS after five quiet minutes", quiet_memory.pss),
            figure(
                "CPU of five quiet minutes",
                seconds(quiet_cpu.saturating_sub(cpu)),
                0.5,
                "s",
                2,
            ),
            figure(
                "requests of it but Lease and watch",
                count(quiet.len()),
                0.0,
                "",
                0,
            ),
        ],
        install: by_kind(&install),
        quiet,
    })
}

/// Waits until the operator has said what an install still has to say: Events and a last status.
async fn settle(log: &std::path::Path) -> Result<(), Error> {
    let deadline = Timestamp::now() + PATIENCE;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let last = audit::entries(log, OPERATOR)?
            .iter()
            .rev()
            .find(|entry| is_work(entry))
            .map(|entry| entry.at);
        let now = Timestamp::now();
        if last.is_none_or(|at| at + SETTLED < now) {
            return Ok(());
        }
        if now > deadline {
            return Err(stage::Error::Deadline {
                what: "the operator falling silent after the install".to_owned(),
                within: PATIENCE,
                last: format!("a request at {last:?}"),
            }
            .into());
        }
    }
}

async fn leave(stage: &Stage) -> Result<(), Error> {
    let members: Api<MeshMember> = Api::all(stage.client.clone());
    members
        .delete(MEMBER, &DeleteParams::default())
        .await
        .map_err(|error| Error::Delete(Box::new(error)))?;
    stage::eventually("the member has left", PATIENCE, || async {
        match members.get_opt(MEMBER).await {
            Ok(None) => Ok(()),
            Ok(Some(member)) => Err(format!(
                "{:?}",
                member.status.map(|status| status.conditions)
            )),
            Err(error) => Err(error.to_string()),
        }
    })
    .await?;
    Ok(())
}

/// Watches end by the clock of the server and are begun again; the Lease is renewed for ever.
fn is_work(entry: &Entry) -> bool {
    entry.resource != "leases" && entry.verb != "watch"
}

fn is_write(entry: &Entry) -> bool {
    !["get", "list", "watch"].contains(&entry.verb.as_str())
}

fn by_kind(entries: &[Entry]) -> BTreeMap<String, u32> {
    let mut all = BTreeMap::new();
    for entry in entries {
        let refused = if entry.code < 400 {
            String::new()
        } else {
            format!(" -> {}", entry.code)
        };
        *all.entry(format!("{} {}{refused}", entry.verb, entry.resource))
            .or_default() += 1;
    }
    all
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn megabytes(kibibytes: u32) -> f64 {
    f64::from(kibibytes) * 1024.0 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(verb: &str, resource: &str, code: u16) -> Entry {
        Entry {
            at: Timestamp::UNIX_EPOCH,
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            group: String::new(),
            namespace: String::new(),
            name: String::new(),
            code,
            agent: String::new(),
        }
    }

    #[test]
    fn the_lease_and_watches_are_no_work() {
        assert!(is_work(&entry("patch", "pods", 200)));
        assert!(!is_work(&entry("update", "leases", 200)));
        assert!(!is_work(&entry("watch", "pods", 200)));
    }

    #[test]
    fn requests_are_counted_by_kind_and_refusals_apart() {
        let seen = by_kind(&[
            entry("patch", "services", 201),
            entry("patch", "services", 200),
            entry("get", "secrets", 404),
        ]);
        let lines: Vec<_> = seen.into_iter().collect();
        assert_eq!(
            lines,
            [
                ("get secrets -> 404".to_owned(), 1),
                ("patch services".to_owned(), 2)
            ]
        );
    }

    #[test]
    fn a_broken_limit_shows_in_its_line_and_in_the_verdict() {
        let figure = |measured| Figure {
            name: "CPU",
            measured,
            limit: 0.5,
            unit: "s",
            decimals: 2,
            aim: None,
        };
        let report = |measured| Report {
            figures: vec![figure(measured)],
            install: BTreeMap::new(),
            quiet: Vec::new(),
        };
        assert!(report(0.5).keeps_limits() && !report(0.51).keeps_limits());
        assert!(report(0.51).to_string().contains("BROKEN"));
        assert!(!report(0.5).to_string().contains("BROKEN"));
    }
}
