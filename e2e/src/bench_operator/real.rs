//! Two real nodes: one install, five minutes in which nothing happens, and the way from one release to the next.

use std::time::{Duration, Instant};

use applink::api::v1alpha1::MeshMember;
use jiff::Timestamp;
use kube::api::{Api, DeleteParams};
use serde_json::json;

use super::figure::{Figure, Report, count, megabytes};
use super::process::Process;
use super::requests::{by_kind, is_work, is_write, settle};
use super::{Error, MEMBER, OPERATOR};
use crate::audit;
use crate::cluster::{Cluster, Options};
use crate::progress::Progress;
use crate::rollouts::swift;
use crate::stage::{self, Stage};

/// Longest wait for anything; what takes longer is broken rather than slow.
const PATIENCE: Duration = Duration::from_mins(3);
/// How long the operator is watched doing nothing: longer than the tests do, so that watches end and are begun again in it.
const QUIET: Duration = Duration::from_mins(5);
/// The release that follows: the same programs under another name.
const NEXT: &str = "1.7.0";

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
    stage.apply(&pinned("1.6"))?;
    let clock = Instant::now();
    for condition in ["Ready", "UpToDate"] {
        stage
            .until_condition(MEMBER, condition, "True", PATIENCE)
            .await?;
    }
    let time = clock.elapsed();
    progress.say(format!("installed in {:.1} s", time.as_secs_f64()));

    let log = stage.cluster.audit_log();
    settle(&log, PATIENCE).await?;
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
    let upgrade = upgrade(&stage).await?;
    progress.say(format!(
        "{NEXT} runs everywhere after {:.1} s",
        upgrade.as_secs_f64()
    ));
    leave(&stage).await?;

    let figure = Figure::new;
    let rss = |name, bytes| Figure {
        aim: Some(15.0),
        ..figure(name, megabytes(bytes), 25.0, "MB", 1)
    };
    let writes = install.iter().filter(|entry| is_write(entry)).count();
    let seconds = |time: Duration| time.as_secs_f64();
    Ok(Report {
        title: "two nodes: install, five quiet minutes, and an upgrade (soak 0 s, drain 5 s)"
            .to_owned(),
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
                "requests of them but Lease and watch",
                count(quiet.len()),
                0.0,
                "",
                0,
            ),
            figure(
                "from one release to the next",
                seconds(upgrade),
                60.0,
                "s",
                1,
            ),
        ],
        notes: vec![
            ("requests of the install", by_kind(&install)),
            ("in the quiet minutes", quiet),
        ],
    })
}

/// A member that moves without watching a node for long, and gives connections five seconds to end.
fn pinned(version: &str) -> serde_json::Value {
    let upgrade = json!({"version": version, "strategy": swift()});
    Stage::member(MEMBER, &json!({"upgrade": upgrade}))
}

/// How long the whole of one takes, from when it is asked for until nothing of it is left to do.
async fn upgrade(stage: &Stage) -> Result<Duration, Error> {
    stage.apply(&stage.tagged_release(NEXT, &[])?)?;
    let clock = Instant::now();
    stage.apply(&pinned("1.7"))?;
    stage.until_runs(MEMBER, NEXT, PATIENCE).await?;
    Ok(clock.elapsed())
}

async fn leave(stage: &Stage) -> Result<(), Error> {
    let members: Api<MeshMember> = Api::all(stage.client.clone());
    members
        .delete(MEMBER, &DeleteParams::default())
        .await
        .map_err(|error| Error::Api {
            doing: format!("delete MeshMember {MEMBER}"),
            source: Box::new(error),
        })?;
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
