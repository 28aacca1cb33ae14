//! Where a broken release is caught: at which gate, after how long, and what became of nodes until it was gone.

use std::fmt;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use crate::images::broken::Broken;
use crate::stage::{Error, Stage, eventually};
use crate::trace::{Seen, Trace, Way};

/// How long a watch may take to tell that nodes are as they were, on a busy machine.
const TOLD: Duration = Duration::from_secs(30);

/// What must be seen of a broken release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What the operator's reason names: one of these.
    pub named: &'static [&'static str],
    /// How many nodes are touched.
    pub nodes: usize,
}

impl Expected {
    /// Where only the operator's own probe uses the mesh.
    pub fn without_users(broken: Broken) -> Self {
        let (named, nodes): (&[_], _) = match broken {
            Broken::MissingImage => (&["gate Prepull"], 0),
            Broken::CrashingPilot | Broken::UnsigningPilot => (&["gate ControlPlane"], 0),
            Broken::CrashingAgent => (&["gate Agent"], 1),
            Broken::MuteProxy => (&["gate Proxy"], 1),
            // Its pod has no certificate, or its connections fail: whichever is seen first for long enough.
            Broken::RefusingProxy => (&["gate Probe", "applink-probe"], 1),
            // Nobody sees it where there are no users: those of the probe go through.
            Broken::FlakyProxy => (&["gate Failures"], 1),
            // It depends on how fast it grows what it can still do before it is killed.
            Broken::GrowingProxy => (&["gate Proxy", "gate Pods", "gate Probe", "gate Soak"], 1),
        };
        Self { named, nodes }
    }

    /// Where users do, too.
    pub fn with_users(broken: Broken) -> Self {
        let alone = Self::without_users(broken);
        match broken {
            Broken::RefusingProxy => Self {
                named: &["has no certificate"],
                ..alone
            },
            _ => alone,
        }
    }
}

/// A release that was tried, and taken back.
#[derive(Clone, Debug)]
pub struct Caught {
    /// Why, in the operator's words.
    pub reason: String,
    /// From when it was asked for until it was marked as failed, to the second.
    pub failed: Duration,
    /// Until what ran before ran everywhere again.
    pub back: Duration,
    /// What became of nodes and of the data plane's pods.
    pub seen: Seen,
}

impl Caught {
    /// Does what makes a member try that version, and waits until it is taken back and no node carries a mark any more.
    ///
    /// # Errors
    /// [`Error::Deadline`] when that does not happen in time.
    pub async fn wait(
        stage: &Stage,
        member: &str,
        version: &str,
        change: &Value,
        within: Duration,
    ) -> Result<Self, Error> {
        let trace = Trace::start(&stage.client).await?;
        let (clock, begun) = (Instant::now(), Timestamp::now());
        stage.apply(change)?;
        let failed = stage.until_taken_back(member, version, within).await?;
        let back = clock.elapsed();
        eventually("no node carries a mark", TOLD, || async {
            let ways = trace.seen().ways;
            if ways.values().all(Way::is_clean) {
                Ok(())
            } else {
                Err(format!("{ways:?}"))
            }
        })
        .await?;
        // It is written in whole seconds.
        let after = failed.at.map(|at| at.0.duration_since(begun));
        let after = after.and_then(|after| Duration::try_from(after).ok());
        Ok(Self {
            reason: failed.reason,
            failed: after.unwrap_or_default(),
            back,
            seen: trace.seen(),
        })
    }

    /// The gate that the reason names; empty when it names none.
    pub fn gate(&self) -> &str {
        let rest = self.reason.strip_prefix("gate ").unwrap_or_default();
        rest.split([' ', ',', ':']).next().unwrap_or_default()
    }

    /// How many nodes something was done to.
    pub fn touched(&self) -> usize {
        let ways = self.seen.ways.values();
        ways.filter(|way| way.is_touched()).count()
    }

    /// What was not as it must be, one line each.
    pub fn differences(&self, expected: Expected) -> Vec<String> {
        let mut lines = Vec::new();
        let Expected { named, nodes } = expected;
        if !named.iter().any(|name| self.reason.contains(name)) {
            lines.push(format!("{named:?} was to be named: {}", self.reason));
        }
        if self.touched() != nodes {
            let ways = &self.seen.ways;
            lines.push(format!("{nodes} nodes were to be touched: {ways:?}"));
        } else if let Some((node, _)) = self.seen.ways.iter().find(|(_, way)| way.is_touched()) {
            let place = format!("on node {node}, pod ");
            if !self.reason.contains(&place) {
                lines.push(format!("{place:?} was to be named: {}", self.reason));
            }
        }
        lines.extend(self.seen.disturbed());
        lines.extend(self.seen.broken.iter().cloned());
        lines
    }
}

impl fmt::Display for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (failed, back) = (self.failed.as_secs(), self.back.as_secs_f64());
        write!(
            f,
            "failed after {failed} s, taken back after {back:.1} s, {} nodes touched: {}",
            self.touched(),
            self.reason
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caught(reason: &str, touched: &[&str]) -> Caught {
        let mut seen = Seen::default();
        for node in ["node-1", "node-2"] {
            let mut way = Way::default();
            way.labels.push(String::new());
            way.tainted = usize::from(touched.contains(&node));
            seen.ways.insert(node.to_owned(), way);
        }
        Caught {
            reason: reason.to_owned(),
            failed: Duration::from_secs(20),
            back: Duration::from_secs(30),
            seen,
        }
    }

    #[test]
    fn a_release_is_caught_at_the_gate_and_on_the_nodes_that_are_expected_and_at_no_other() {
        let canary = Expected::without_users(Broken::MuteProxy);
        let none = Expected::without_users(Broken::MissingImage);
        let proxy = "gate Proxy on node node-1, pod ztunnel-1: not ready";
        let prepull = "gate Prepull: no node could pull it";
        let rows = [
            (canary, proxy, &["node-1"][..], 0),
            (canary, proxy, &["node-1", "node-2"], 1),
            (canary, proxy, &[], 1),
            (
                canary,
                "gate Agent on node node-1, pod a: why",
                &["node-1"],
                1,
            ),
            (canary, "gate Proxy on node node-1: why", &["node-1"], 1),
            (
                canary,
                "gate Proxy on node node-2, pod p: why",
                &["node-1"],
                1,
            ),
            (none, prepull, &[], 0),
            (none, prepull, &["node-2"], 1),
            (none, proxy, &["node-1"], 2),
        ];
        for (expected, reason, touched, count) in rows {
            let lines = caught(reason, touched).differences(expected);
            assert_eq!(lines.len(), count, "{reason} {touched:?}: {lines:?}");
        }
    }

    #[test]
    fn the_gate_is_read_from_the_reason() {
        for (reason, gate) in [
            ("gate Proxy on node node-1, pod p: why", "Proxy"),
            ("gate ControlPlane, pod istiod-1: why", "ControlPlane"),
            ("gate Prepull: why", "Prepull"),
            ("something else", ""),
        ] {
            assert_eq!(caught(reason, &[]).gate(), gate);
        }
    }

    #[test]
    fn no_release_that_is_caught_before_the_nodes_may_touch_one() {
        for broken in Broken::WITHOUT_USERS {
            for expected in [
                Expected::without_users(broken),
                Expected::with_users(broken),
            ] {
                let early = ["gate Prepull", "gate ControlPlane"];
                let is_early = expected.named.iter().all(|name| early.contains(name));
                assert_eq!(expected.nodes, usize::from(!is_early), "{broken:?}");
            }
        }
    }
}
