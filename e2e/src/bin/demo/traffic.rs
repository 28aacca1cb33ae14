//! Traffic that notices everything, and what it noticed.

use std::sync::Arc;

use e2e::churn::{Arrival, Churn};
use e2e::load::{self, Amount, Figures, Load};
use jiff::SignedDuration;
use kube::Client;
use serde_json::Value;

use crate::ground::Ground;
use crate::objects::{DRAIN, TRAFFIC};
use crate::observed::{Observed, is_drained};
use crate::screen::Screen;
use crate::{Error, claim};

/// One failed connection in so many may be this machine's: it does everything at once. `make test` allows none.
const MOST_FAILED: u64 = 200;

/// Pods that ask and answer on every node.
pub struct Traffic {
    client: Client,
    load: Arc<Load>,
    nodes: Vec<String>,
    kept: usize,
}

/// What was noticed while something happened.
#[derive(Debug)]
pub struct Noticed {
    figures: Figures,
    arrivals: Vec<Arrival>,
    observed: Observed,
    kept: usize,
    nobody_restarted: bool,
}

impl Traffic {
    /// Begins, and returns when it flows.
    pub async fn start(ground: &Ground, client: &Client, screen: Screen) -> Result<Self, Error> {
        screen.title(
            "Traffic that notices everything, through the mesh, from each node to the others",
        );
        let nodes = workers(ground)?;
        let names: Vec<&str> = nodes.iter().map(String::as_str).collect();
        let amount = Amount::FULL;
        ground.apply(&load::objects(TRAFFIC, &names, amount).to_string())?;
        let load = Load::begun(client, TRAFFIC, &names, amount).await?;
        let kept = amount.kept / nodes.len().max(1) * nodes.len();
        screen.note(&format!(
            "{kept} connections are kept open, 10 messages a second on each; {} new ones a second are tried once, for 2 s",
            amount.fresh
        ));
        screen.note(
            "pods come and go on every node; each is asked through the mesh as soon as it runs",
        );
        Ok(Self {
            client: client.clone(),
            load: Arc::new(load),
            nodes,
            kept,
        })
    }

    /// What the traffic notices while `happens` does.
    pub async fn notices<T>(
        &self,
        happens: impl Future<Output = Result<T, Error>>,
    ) -> Result<(T, Noticed), Error> {
        let names: Vec<&str> = self.nodes.iter().map(String::as_str).collect();
        let observed = Observed::start(&self.client);
        let pods = self.load.pods().await?;
        let churn = Churn::start(&self.client, &self.load, TRAFFIC, &names);
        let before = self.load.told().await?;
        let happened = happens.await?;
        let figures = self.load.since(&before).await?;
        let arrivals = churn.end().await.map_err(|seen| Error::Claim {
            claim: "that a new pod can be reached through the mesh",
            seen,
        })?;
        let nobody_restarted = pods == self.load.pods().await?;
        let noticed = Noticed {
            figures,
            arrivals,
            observed,
            kept: self.kept,
            nobody_restarted,
        };
        Ok((happened, noticed))
    }
}

impl Noticed {
    /// The nodes on which something moved.
    pub fn touched(&self) -> Vec<String> {
        self.observed.touched()
    }

    /// Prints what was noticed, and holds it against what the mesh promises.
    pub fn show(&self, screen: Screen) -> Result<(), Error> {
        let seen = &self.figures;
        screen.title("What the traffic noticed of it");
        screen.figure(
            "new connections",
            &format!("{} of {} failed", seen.failed, seen.tried),
        );
        screen.figure("kept connections", &self.kept());
        screen.figure("new pods", &newcomers(&self.arrivals));
        let first: Vec<_> = seen.failures.iter().take(5).collect();
        let failures = format!("{seen}: {first:?}");
        claim(
            "that new connections are answered all the while",
            seen.failed * MOST_FAILED <= seen.tried,
            &failures,
        )?;
        claim("that no message is damaged", seen.wrong == 0, &failures)?;
        let early =
            (seen.cuts.iter()).find(|cut| !is_drained(self.observed.since_told(cut.at), DRAIN));
        claim(
            "that a kept connection is cut only by a proxy whose drain is over",
            early.is_none(),
            &format!("{early:?} of {} cut", seen.cut),
        )?;
        claim(
            "that no pod of the traffic restarts",
            self.nobody_restarted,
            "another pod, or one that was started again",
        )
    }

    fn kept(&self) -> String {
        let ages: Vec<SignedDuration> = (self.figures.cuts.iter())
            .filter_map(|cut| self.observed.since_told(cut.at))
            .collect();
        match (ages.iter().min(), ages.iter().max()) {
            (Some(first), Some(last)) => format!(
                "{} at any time; {} were cut (and made again), {:.1} to {:.1} s after the proxy that carried them was told to go: \
                 its drain of {} s was over",
                self.kept,
                self.figures.cut,
                first.as_secs_f64(),
                last.as_secs_f64(),
                DRAIN.as_secs(),
            ),
            _ => format!("{} at any time; none was cut", self.kept),
        }
    }
}

/// How soon pods that came could be reached.
fn newcomers(arrivals: &[Arrival]) -> String {
    let slowest = arrivals
        .iter()
        .max_by(|one, other| one.reached.total_cmp(&other.reached));
    slowest.map_or_else(
        || "none came".to_owned(),
        |slowest| {
            format!(
                "{} came; the slowest answered through the mesh {:.1} s after it was asked for",
                arrivals.len(),
                slowest.reached
            )
        },
    )
}

/// The nodes on which pods of users may run.
fn workers(ground: &Ground) -> Result<Vec<String>, Error> {
    let list: Value =
        serde_json::from_str(&ground.ask(&["get", "nodes", "-o", "json"])?).unwrap_or_default();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let is_open = |node: &&Value| {
        let taints = node["spec"]["taints"].as_array();
        !taints.is_some_and(|all| all.iter().any(|one| one["effect"] == "NoSchedule"))
    };
    let name = |node: &Value| node["metadata"]["name"].as_str().map(str::to_owned);
    Ok(items.iter().filter(is_open).filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_pod_is_told() {
        let arrival = |reached| Arrival {
            pod: "one".to_owned(),
            ran: 1.0,
            reached,
            at: jiff::Timestamp::UNIX_EPOCH,
            refused: Vec::new(),
        };
        let said = newcomers(&[arrival(2.0), arrival(4.25), arrival(3.0)]);
        assert!(
            said.starts_with("3 came") && said.contains("4.2 s"),
            "{said}"
        );
        assert_eq!(newcomers(&[]), "none came");
    }
}
