//! Broken releases that nobody uses: only the gates and the operator's own probe can see what is wrong with them.

use std::fmt;
use std::time::Duration;

use applink::api::v1alpha1::MeshMember;
use serde_json::Value;

use super::Error;
use super::round::{MEMBER, NAMESPACE};
use crate::caught::{Caught, Expected};
use crate::cluster::{Cluster, Options};
use crate::command;
use crate::images::broken::Broken;
use crate::progress::Progress;
use crate::releases::give_broken;
use crate::rollouts::{swift, watchful};
use crate::served::unserved;
use crate::stage::{self, Stage, eventually};
use crate::sweep::{self, Course};

/// The release that runs.
const GOOD: &str = "1.6.0";
/// How long a gate may take: images and control planes that are good pass theirs on a busy machine, too.
const GATES: &str = "40s";
/// How long an install, a way there and back, or a leave may take.
const PATIENCE: Duration = Duration::from_mins(5);
/// How long it may take until pods of the probe, or of users, are gone.
const GONE: Duration = Duration::from_mins(2);

/// A broken release that a member tried.
#[derive(Debug)]
pub struct Tried {
    broken: Broken,
    /// Nothing when it was not taken back in time.
    caught: Option<Caught>,
    pub(super) differences: Vec<String>,
    /// What works did not come back afterwards.
    is_stuck: bool,
}

impl Tried {
    /// Nothing can be tried after it.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// The heads of a table whose lines are those of [`fmt::Display`].
    pub(super) fn heads() -> String {
        format!(
            "{:<16}{:<14}{:>10}{:>10}{:>15}  verdict",
            "release", "gate", "failed s", "back s", "nodes touched"
        )
    }

    /// What differs, with the release in front.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        let lines = self.differences.iter();
        lines.map(|line| format!("{:?}: {line}", self.broken))
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let release = format!("{:?}", self.broken);
        let [gate, failed, back, touched] = match &self.caught {
            Some(caught) => [
                caught.gate().to_owned(),
                caught.failed.as_secs().to_string(),
                format!("{:.1}", caught.back.as_secs_f64()),
                caught.touched().to_string(),
            ],
            None => ["none", "-", "-", "-"].map(str::to_owned),
        };
        let verdict = if self.differences.is_empty() {
            "taken back, serves"
        } else {
            "DIFFERS"
        };
        write!(
            f,
            "{release:<16}{gate:<14}{failed:>10}{back:>10}{touched:>15}  {verdict}"
        )
    }
}

/// Installs a release that works, lets the member try each broken one, and leaves.
///
/// # Errors
/// When there is no mesh to begin with, or the cluster does not answer.
pub(super) async fn all(
    stage: &Stage,
    options: &Options,
    which: &[Broken],
    progress: Progress,
) -> Result<Vec<Tried>, Error> {
    give_broken(&mut Cluster::open(options, progress)?, progress)?;
    stage.apply(&Stage::release(GOOD, &["Rapid"]))?;
    stage.apply(&pinned(GOOD))?;
    stage.until_runs(MEMBER, GOOD, PATIENCE).await?;
    let mut all = Vec::new();
    for (number, &broken) in which.iter().enumerate() {
        let tried = one(stage, &format!("1.7.{number}"), broken).await?;
        progress.say(&tried);
        if let Some(caught) = &tried.caught {
            progress.say(&caught.reason);
        }
        tried.lines().for_each(|line| progress.say(line));
        let is_stuck = tried.is_stuck;
        all.push(tried);
        if is_stuck {
            let left_out = &which[all.len()..];
            progress.say(format!("not tried: {left_out:?}"));
            return Ok(all);
        }
    }
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    stage
        .cluster
        .kubectl(&["delete", "meshmember", MEMBER, &timeout])?;
    stage
        .cluster
        .kubectl(&["delete", "meshreleases", "--all"])?;
    Ok(all)
}

fn pinned(version: &str) -> Value {
    let mut strategy = swift();
    strategy["gates"] = serde_json::json!({"timeout": GATES});
    Stage::member(MEMBER, &watchful(version, strategy))
}

async fn one(stage: &Stage, version: &str, broken: Broken) -> Result<Tried, Error> {
    let mut differences = Vec::new();
    alone(stage).await?;
    let release = stage.broken_release(version, &[], broken)?;
    stage.apply(&release)?;
    let change = pinned(version);
    let caught = Caught::wait(stage, MEMBER, version, &change, PATIENCE).await;
    let caught = kept(caught, &mut differences)?;
    if let Some(caught) = &caught {
        differences.extend(caught.differences(Expected::without_users(broken)));
        let member = stage.read_member(MEMBER).await?;
        if !is_ready(&member) {
            let conditions = member.status.unwrap_or_default().conditions;
            differences.push(format!("not Ready after it: {conditions:?}"));
        }
    }
    // Whatever became of it, the next one begins with what works.
    stage.apply(&pinned(GOOD))?;
    let again = stage.until_runs(MEMBER, GOOD, PATIENCE).await;
    if kept(again, &mut differences)?.is_none() {
        return Ok(Tried {
            broken,
            caught,
            differences,
            is_stuck: true,
        });
    }
    let gone = stage.until_probe_gone(GONE).await;
    kept(gone, &mut differences)?;
    let left = stage.left_of(version)?;
    if !left.is_empty() {
        differences.push(format!("it has left {left:?}"));
    }
    let served = serves(stage).await;
    let lines = kept(served, &mut differences)?;
    differences.extend(lines.unwrap_or_default());
    let namespace = ["delete", "namespace", NAMESPACE, "--ignore-not-found"];
    stage.cluster.kubectl(&namespace)?;
    stage.cluster.kubectl(&["delete", "meshrelease", version])?;
    Ok(Tried {
        broken,
        caught,
        differences,
        is_stuck: false,
    })
}

/// What was found; in vain, it is a difference.
fn kept<T>(
    found: Result<T, impl Into<sweep::Error>>,
    differences: &mut Vec<String>,
) -> Result<Option<T>, Error> {
    match found.map_err(Into::into) {
        Ok(found) => Ok(Some(found)),
        Err(
            error @ (sweep::Error::Stage(stage::Error::Deadline { .. }) | sweep::Error::Differs(_)),
        ) => {
            differences.push(command::chain(&error));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Waits until no namespace of a user is enrolled.
async fn alone(stage: &Stage) -> Result<(), stage::Error> {
    eventually("nobody is enrolled", GONE, || async {
        let member = stage.read_member(MEMBER).await;
        let status = member.map_err(|error| error.to_string())?.status;
        match status.and_then(|status| status.membership) {
            Some(told) if (told.namespaces, told.enrolled) == (0, 0) => Ok(()),
            told => Err(format!("{told:?}")),
        }
    })
    .await
}

fn is_ready(member: &MeshMember) -> bool {
    let mut conditions = member.status.iter().flat_map(|status| &status.conditions);
    conditions.any(|one| one.type_ == "Ready" && one.status == "True")
}

/// Whoever enrols now gets an answer from the other node, and is served by the one proxy of its own; else what is wrong.
async fn serves(stage: &Stage) -> Result<Vec<String>, sweep::Error> {
    Course::new(stage, MEMBER, NAMESPACE).enrol().await?;
    unserved(stage).await.map_err(sweep::Error::Differs)
}

#[cfg(test)]
mod tests {
    use crate::trace::Seen;

    use super::*;

    #[test]
    fn a_line_of_the_table_tells_the_gate_the_time_the_nodes_and_the_verdict() {
        let caught = Caught {
            reason: "gate Prepull: no node could pull it".to_owned(),
            failed: Duration::from_secs(41),
            back: Duration::from_millis(44_210),
            seen: Seen::default(),
        };
        let mut tried = Tried {
            broken: Broken::MissingImage,
            caught: Some(caught),
            differences: Vec::new(),
            is_stuck: false,
        };
        let words = |tried: &Tried| {
            let line = tried.to_string();
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let good = "MissingImage Prepull 41 44.2 0 taken back, serves";
        assert_eq!(words(&tried).join(" "), good);
        tried.caught = None;
        tried.differences.push("not taken back".to_owned());
        assert_eq!(words(&tried).join(" "), "MissingImage none - - - DIFFERS");
        assert!(tried.lines().eq(["MissingImage: not taken back"]));
    }
}
