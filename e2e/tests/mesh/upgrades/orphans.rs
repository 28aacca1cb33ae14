//! Things that happen while two proxies share a node, on the way to another revision and on the way back: afterwards the
//! one that stays serves every enrolled pod of the node, and each of them answers.

use std::collections::BTreeSet;

use e2e::load::{self, Amount, Load};
use e2e::rollouts::swift;
use e2e::stage::{self, Stage};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::held::{self, Hold};
use super::overlap::NODES;
use super::watched::Watched;
use crate::fixture::{INSTALL, MEMBER, SOON, installed_with, on_stage, remove_namespace};

const NAMESPACE: &str = "orphans";

/// What happens in the overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happens {
    /// Only that pods come and go, as in all the others.
    Nothing,
    /// The node's agent ends, and another one starts.
    AgentRestarts,
    /// The proxy that stays is killed.
    SurvivorDies,
    /// The proxy that goes is killed, and starts again as if nobody had told it to stand down.
    LeaverDies,
}

struct Scene<'a> {
    stage: &'static Stage,
    load: &'a Load,
    node: String,
    /// Where pods are asked from.
    other: &'static str,
    is_back: bool,
}

impl Scene<'_> {
    /// The proxy that stays, and the one that goes.
    fn sides(&self) -> (held::Component, held::Component) {
        let proxies = held::proxies(self.stage, &self.node);
        let [settled, arriving] = &proxies[..] else {
            panic!("not two proxies on {}: {proxies:#?}", self.node);
        };
        if self.is_back {
            (settled.clone(), arriving.clone())
        } else {
            (arriving.clone(), settled.clone())
        }
    }

    async fn happens(&self, what: Happens) {
        let (survivor, leaver) = self.sides();
        match what {
            Happens::Nothing => {}
            Happens::SurvivorDies => held::kill(self.stage, &self.node, &survivor).await,
            Happens::LeaverDies => held::kill(self.stage, &self.node, &leaver).await,
            Happens::AgentRestarts => self.restart_agent().await,
        }
    }

    async fn restart_agent(&self) {
        let agents = || held::components(self.stage, &self.node, "k8s-app=istio-cni-node");
        let before = agents();
        let name = &before[0].name;
        let delete = [
            "delete",
            "pod",
            "-n",
            "applink-system",
            name,
            "--wait=false",
        ];
        self.stage.cluster.kubectl(&delete).unwrap();
        stage::eventually("another agent runs", SOON, || async {
            let now = agents();
            match &now[..] {
                [one] if one.name != *name && one.ready => Ok(()),
                _ => Err(format!("{now:?}")),
            }
        })
        .await
        .unwrap();
    }

    /// A pod of the node.
    fn create(&self, name: &str) {
        let here = json!({"nodeSelector": {"kubernetes.io/hostname": self.node}});
        let pod = load::echo(NAMESPACE, name, &json!({"app": name}), &here);
        self.stage.apply(&pod).unwrap();
    }

    async fn until_reached(&self, name: &str) {
        let selector = format!("app={name}");
        (self
            .stage
            .until_pods_ready(NAMESPACE, &selector, INSTALL)
            .await)
            .unwrap();
        let pods = held::enrolled(self.stage, &self.node);
        let (_, address) = pods.values().find(|(pod, _)| pod == name).unwrap();
        let address = format!("{address}:{}", load::ECHO_PORT);
        stage::eventually(&format!("{name} answers"), SOON, || {
            self.load.ask(self.other, &address)
        })
        .await
        .unwrap();
    }

    fn delete(&self, name: &str) {
        let delete = ["delete", "pod", "-n", NAMESPACE, name];
        self.stage.cluster.kubectl(&delete).unwrap();
    }
}

/// On each node the proxy serves who is enrolled there, and nobody else; each of them answers.
async fn assert_no_orphans(stage: &Stage, load: &Load) {
    for (node, other) in NODES.into_iter().zip(NODES.into_iter().rev()) {
        stage::eventually(&format!("no orphans on {node}"), SOON, || async {
            let enrolled = held::enrolled(stage, node);
            let served = held::served(stage, node).await?;
            let expected: BTreeSet<String> = enrolled.keys().cloned().collect();
            if expected != served {
                return Err(format!("enrolled {enrolled:?}, served {served:?}"));
            }
            for (name, address) in enrolled
                .values()
                .filter(|(name, _)| !name.starts_with("asks"))
            {
                let address = format!("{address}:{}", load::ECHO_PORT);
                (load.ask(other, &address).await).map_err(|error| format!("{name}: {error}"))?;
            }
            Ok(())
        })
        .await
        .unwrap();
    }
}

fn spec(cpu: &str) -> Value {
    json!({
        "upgrade": {"version": "1.6", "strategy": swift()},
        "dataPlane": {"ztunnel": {"resources": {"requests": {"cpu": cpu, "memory": "48Mi"}}}},
    })
}

async fn up_to_date(stage: &Stage) {
    (stage
        .until_condition(MEMBER, "UpToDate", "True", INSTALL)
        .await)
        .unwrap();
}

/// The processor time that the proxies ask for by the spec: what tells one template from another here.
fn requested(stage: &Stage) -> String {
    let path = "jsonpath={.spec.dataPlane.ztunnel.resources.requests.cpu}";
    let get = [
        "get",
        "meshmember",
        MEMBER,
        "--ignore-not-found",
        "-o",
        path,
    ];
    match stage.cluster.kubectl(&get).unwrap_or_default().trim() {
        "" => "20m".to_owned(),
        cpu => cpu.to_owned(),
    }
}

/// Forward to another template, or almost there and back.
async fn overlap(
    stage: &'static Stage,
    load: &Load,
    users: &mut Watched,
    is_back: bool,
    what: Happens,
) {
    let from = requested(stage);
    let to = if from == "21m" { "22m" } else { "21m" };
    let hold = Hold::new(stage).await;
    stage.apply(&Stage::member(MEMBER, &spec(to))).unwrap();
    let mut node = held::until_held(stage).await;
    if is_back {
        stage.apply(&Stage::member(MEMBER, &spec(&from))).unwrap();
        node = held::until_held(stage).await;
    }
    let other = NODES.into_iter().find(|other| *other != node).unwrap();
    let scene = Scene {
        stage,
        load,
        node,
        other,
        is_back,
    };
    // One that comes before and goes after, one that comes and goes, one that stays; each is announced once only.
    scene.create("before");
    scene.until_reached("before").await;
    if what != Happens::Nothing {
        users.excuse(&scene.node);
    }
    let then = Timestamp::now();
    scene.happens(what).await;
    // Where a proxy dies, connections do as well, until it runs again.
    if matches!(what, Happens::SurvivorDies | Happens::LeaverDies) {
        users.broke_since(then);
    }
    scene.create("short");
    scene.create("stays");
    scene.until_reached("short").await;
    scene.until_reached("stays").await;
    scene.delete("before");
    scene.delete("short");
    drop(hold);
    up_to_date(stage).await;
    assert_no_orphans(stage, load).await;
    scene.delete("stays");
}

fn no_orphans(what: Happens) {
    on_stage(|stage| async move {
        installed_with(stage, spec(&requested(stage))).await;
        remove_namespace(stage, NAMESPACE).await;
        let load = Load::start(stage, NAMESPACE, &NODES, Amount::NONE)
            .await
            .unwrap();
        let mut users = Watched::some(stage, "orphans-users").await;
        for is_back in [false, true] {
            let clock = std::time::Instant::now();
            overlap(stage, &load, &mut users, is_back, what).await;
            let way = if is_back { "back" } else { "forward" };
            eprintln!(
                "{what:?} on the way {way}: {:.1} s",
                clock.elapsed().as_secs_f64()
            );
        }
        users.end().await;
        remove_namespace(stage, NAMESPACE).await;
    });
}

#[test]
fn pods_that_come_and_go_in_the_overlap_are_served_afterwards() {
    no_orphans(Happens::Nothing);
}

#[test]
fn an_agent_that_restarts_in_the_overlap_leaves_no_orphan() {
    no_orphans(Happens::AgentRestarts);
}

#[test]
fn a_survivor_that_dies_in_the_overlap_leaves_no_orphan() {
    no_orphans(Happens::SurvivorDies);
}

#[test]
fn a_leaver_that_dies_in_the_overlap_leaves_no_orphan() {
    no_orphans(Happens::LeaverDies);
}
