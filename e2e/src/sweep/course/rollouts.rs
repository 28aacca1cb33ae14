//! An upgrade and a rollback under deaths. Whether they were in order is seen by watches of nodes and pods, and read from
//! what stands afterwards.

use std::time::Duration;

use applink::api::v1alpha1::HistoryEntry;
use serde_json::json;

use super::{Course, PATIENCE, SOON};
use crate::command;
use crate::served::unserved;
use crate::stage::{self, eventually};
use crate::sweep::step::Phase;
use crate::sweep::{Error, Sweep};
use crate::trace::{Seen, Trace, Way};

/// Nodes that may be on their way, or lack something, at once: that of the strategies of a sweep.
const BATCH: usize = 1;
/// How long a gate of what fails may take. Images and control plane are good, and pass theirs on a busy machine, too.
const GATES: &str = "30s";
/// How long it may take until what was disturbed by somebody else serves again.
const SERVED: Duration = Duration::from_mins(3);

impl Course<'_> {
    /// Pins the member to another version, which is there, and waits until that runs everywhere.
    ///
    /// # Errors
    /// When that does not happen.
    pub async fn upgrade(&self, sweep: &Sweep<'_>, to: &str) -> Result<(), Error> {
        let before = self.history().await?;
        let trace = Trace::start(&self.stage.client).await?;
        self.stage.apply(&self.pinned(to, &self.strategy))?;
        let goal = self.stage.until_runs(self.member, to, PATIENCE);
        sweep.drive(Phase::Upgrade, Some(&trace), goal).await?;
        let what = format!("upgrade to {to}");
        let seen = self.settled(&what, &trace).await?;
        for (node, way) in &seen.ways {
            if !trace.is_excused(node) {
                let lines = upgraded(node, way, &seen);
                lines.for_each(|line| self.is_broken(format!("{what}: {line}")));
            }
        }
        self.look_at_history(&what, &before, (to, "Succeeded"))
            .await
    }

    /// Pins the member to a version that is there and fails, waits until it is taken back, and pins it to `back` again, which
    /// ran before; why the version failed.
    ///
    /// # Errors
    /// When that does not happen.
    pub async fn rollback(&self, sweep: &Sweep<'_>, to: &str, back: &str) -> Result<String, Error> {
        let before = self.history().await?;
        let trace = Trace::start(&self.stage.client).await?;
        let mut strategy = self.strategy.clone();
        strategy["gates"] = json!({"timeout": GATES});
        self.stage.apply(&self.pinned(to, &strategy))?;
        let goal = self.stage.until_taken_back(self.member, to, PATIENCE);
        let reason = sweep
            .drive(Phase::Rollback, Some(&trace), goal)
            .await?
            .reason;
        let what = format!("rollback from {to}");
        // Another pin makes it count no more.
        let status = self.stage.read_member(self.member).await?.status;
        let failed = status.unwrap_or_default().failed_releases;
        let count = failed.iter().filter(|one| one.version == to).count();
        if count != 1 {
            self.is_broken(format!("{what}: recorded {count} times: {failed:?}"));
        }
        self.stage.apply(&self.pinned(back, &self.strategy))?;
        let goal = self.stage.until_runs(self.member, back, PATIENCE);
        sweep.drive(Phase::Rollback, Some(&trace), goal).await?;
        let seen = self.settled(&what, &trace).await?;
        for (node, way) in &seen.ways {
            let arrives = |label: &String| !label.is_empty() && !label.ends_with(".moving");
            if way.labels.iter().any(arrives) && !trace.is_excused(node) {
                let way = format!("{what}: {node} arrived at what failed: {way:?}");
                self.is_broken(way);
            }
        }
        let expected = (to, "RolledBack");
        self.look_at_history(&what, &before, expected).await?;
        Ok(reason)
    }

    /// Waits until nodes carry no mark any more and every enrolled pod is served; what was seen. What must not be is kept.
    async fn settled(&self, what: &str, trace: &Trace) -> Result<Seen, Error> {
        eventually("nodes are clean and pods are served", SERVED, || async {
            let seen = trace.seen();
            if !seen.ways.values().all(Way::is_clean) {
                return Err(format!("{:?}", seen.ways));
            }
            match unserved(self.stage).await? {
                lines if lines.is_empty() => Ok(()),
                lines => Err(lines.join("; ")),
            }
        })
        .await?;
        let seen = trace.seen();
        for line in &seen.broken {
            self.is_broken(format!("{what}: {line}"));
        }
        for (count, which) in [
            (seen.most_moving, "on their way"),
            (seen.most_lacking, "without a component"),
        ] {
            if count > BATCH {
                self.is_broken(format!("{what}: {count} nodes were {which} at once"));
            }
        }
        Ok(seen)
    }

    async fn history(&self) -> Result<Vec<HistoryEntry>, stage::Error> {
        let member = self.stage.read_member(self.member).await?;
        Ok(member.status.unwrap_or_default().history)
    }

    /// A rollout is one entry, however often the operator was started in it.
    async fn look_at_history(
        &self,
        what: &str,
        before: &[HistoryEntry],
        (to, result): (&str, &str),
    ) -> Result<(), Error> {
        let goal = eventually("the history is told", SOON, || async {
            let found = self.history().await;
            let found = found.map_err(|error| command::chain(&error))?;
            let new: Vec<_> = (found.iter().filter(|one| !before.contains(one)))
                .map(|one| (one.to.as_str(), one.result.as_str()))
                .collect();
            if new == [(to, result)] {
                Ok(())
            } else {
                Err(format!(
                    "{new:?} instead of one {result} to {to}: {found:?}"
                ))
            }
        });
        if let Err(error) = goal.await {
            self.is_broken(format!("{what}: {}", command::chain(&error)));
        }
        Ok(())
    }
}

/// What was not in order on a node that moved: the whole way once, and each of its components replaced once.
fn upgraded(node: &str, way: &Way, seen: &Seen) -> impl Iterator<Item = String> {
    let is_once = match &way.labels[..] {
        [first, moving, moved, last] => {
            first.is_empty() && last.is_empty() && *moving == format!("{moved}.moving")
        }
        _ => false,
    };
    let lost = [false, true].map(|proxies| seen.ended(node, proxies));
    let labels = (!is_once).then(|| format!("{node} went another way: {:?}", way.labels));
    let ended =
        (lost != [1, 1]).then(|| format!("{node} lost {} agents and {} proxies", lost[0], lost[1]));
    labels.into_iter().chain(ended)
}
