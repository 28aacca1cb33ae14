//! The operator that leads is held until another one leads, and goes on with what it was about to do.

use std::time::Duration;

use applink::names::OPERATOR_NAMESPACE as HOME;
use e2e::stage::{self, Stage};
use serde_json::Value;

use super::{PROXY, components, get, levels, spec, text, until_done};
use crate::fixture::{INSTALL, MEMBER, installed_with, on_stage};
use crate::upgrades::held;
use crate::upgrades::overlap::{NODES, assert_disturbed_once};
use crate::upgrades::watched::Watched;

/// How long a Lease lives, and a while for whoever waits for its end.
const TAKEN: Duration = Duration::from_secs(40);

/// Two operators, of which one leads; one again when this is dropped.
struct Two(&'static Stage);

fn scale(stage: &Stage, replicas: u8) -> Result<String, e2e::cluster::Error> {
    let replicas = format!("--replicas={replicas}");
    let scale = ["scale", "deployment", "applink-operator", "-n", HOME];
    stage.cluster.kubectl(&[&scale[..], &[&replicas]].concat())
}

fn running(stage: &Stage) -> Vec<Value> {
    let list = get(stage, &["pods", "-n", HOME]);
    let pods = list["items"].as_array().into_iter().flatten();
    pods.filter(|pod| pod["status"]["phase"] == "Running")
        .cloned()
        .collect()
}

impl Two {
    async fn new(stage: &'static Stage) -> Self {
        let two = Self(stage);
        scale(stage, 2).unwrap();
        stage::eventually("two operators run", INSTALL, || async {
            let count = running(stage).len();
            (count == 2)
                .then_some(())
                .ok_or_else(|| format!("{count} run"))
        })
        .await
        .unwrap();
        two
    }
}

impl Drop for Two {
    fn drop(&mut self) {
        if let Err(error) = scale(self.0, 1) {
            eprintln!("two operators stay: {error}");
        }
    }
}

/// Waits until the canary has so many proxies.
async fn until_proxies(stage: &Stage, count: usize) {
    let what = format!("the canary has {count} proxies");
    stage::eventually(&what, INSTALL, || async {
        let found = components(stage, PROXY, NODES[0]);
        (found.len() == count)
            .then_some(())
            .ok_or_else(|| format!("{found:?}"))
    })
    .await
    .unwrap();
}

/// Who holds the Lease: the name of a pod.
fn holder(stage: &Stage) -> String {
    let lease = get(stage, &["lease", "applink-operator", "-n", HOME]);
    text(&lease["spec"]["holderIdentity"])
}

/// A pod's process, held until this is dropped.
struct Held {
    stage: &'static Stage,
    node: String,
    container: String,
}

impl Held {
    fn new(stage: &'static Stage, pod: &Value) -> Self {
        let held = Self {
            stage,
            node: text(&pod["spec"]["nodeName"]),
            container: text(&pod["status"]["containerStatuses"][0]["containerID"]),
        };
        held.signal("SIGSTOP").unwrap();
        held
    }

    fn signal(&self, signal: &str) -> Result<(), e2e::cluster::Error> {
        held::signal(self.stage, &self.node, &self.container, signal)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = self.signal("SIGCONT") {
            eprintln!("an operator stays held: {error}");
        }
    }
}

#[test]
#[ignore = "a Lease that runs out: make chaos-away"]
fn a_leader_that_is_held_until_another_one_leads_changes_nothing_when_it_goes_on() {
    on_stage(|stage| async move {
        let (now, next) = levels(stage).await;
        installed_with(stage, spec(now, "0s")).await;
        let users = Watched::some(stage, "leader-users").await;
        let two = Two::new(stage).await;
        stage
            .apply(&Stage::member(MEMBER, &spec(next, "0s")))
            .unwrap();
        until_proxies(stage, 2).await;

        let leader = holder(stage);
        let pods = running(stage);
        let pod = (pods.iter())
            .find(|pod| text(&pod["metadata"]["name"]) == leader)
            .unwrap_or_else(|| panic!("{leader} leads: {pods:#?}"));
        let held = Held::new(stage, pod);
        stage::eventually("the other one leads", TAKEN, || async {
            let found = holder(stage);
            (!found.is_empty() && found != leader)
                .then_some(())
                .ok_or(found)
        })
        .await
        .unwrap();
        // It goes on.
        until_proxies(stage, 1).await;
        drop(held);
        // It ends by its own clock, not by what the API server says of its renewal, and is started again.
        stage::eventually("the one that was held has ended", INSTALL, || async {
            let logs = ["logs", &leader, "-n", HOME, "--previous"];
            let said = stage.cluster.kubectl(&logs);
            let said = said.map_err(|error| e2e::command::chain(&error))?;
            let told = said.contains("could not be renewed for 15 s");
            told.then_some(()).ok_or(said)
        })
        .await
        .unwrap();
        until_done(stage).await;
        drop(two);
        assert_disturbed_once(&users.end().await, 0);
    });
}
