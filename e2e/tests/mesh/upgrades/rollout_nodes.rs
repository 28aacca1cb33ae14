//! What happens to nodes while a rollout is under way: one comes, one loses its agent, one is full, two lose their power,
//! one cannot ask the API server, for a while nobody can, controllers are late, and the operator that leads is held.

mod added;
mod away;
mod cut;
mod full;
mod late;
mod leader;
mod lost;

use applink::api::v1alpha1::{MeshMemberStatus, RolloutStatus};
use applink::names;
use e2e::stage::{self, Stage};
use serde_json::{Value, json};

use crate::fixture::{INSTALL, MEMBER, PATIENT};
use crate::told::until_status;
use crate::upgrades::held::{get, pods};

const NAMESPACE: &str = "rollout-nodes";
const AGENT: &str = "k8s-app=istio-cni-node";
const PROXY: &str = "app=ztunnel";

/// A member whose proxies log as much as `level` says: another level is a rollout.
fn spec(level: &str, soak: &str) -> Value {
    json!({
        "upgrade": {"version": "1.6", "strategy": {
            "canary": {"type": "Count", "count": 1, "soak": soak},
            "batch": {"size": 1, "soak": "0s"},
            "drain": {"timeout": "5s"},
        }},
        "dataPlane": {"ztunnel": {"logLevel": level}},
    })
}

/// The level at which the proxies of a running member log, and another one.
async fn levels(stage: &Stage) -> (&'static str, &'static str) {
    let member = stage.read_member(MEMBER).await;
    let level = member.ok().and_then(|member| {
        let spec = serde_json::to_value(member.spec).unwrap();
        let level = &spec["dataPlane"]["ztunnel"]["logLevel"];
        level.as_str().map(|level| level == "Debug")
    });
    match level {
        Some(true) => ("Debug", "Info"),
        _ => ("Info", "Debug"),
    }
}

async fn until_done(stage: &Stage) {
    for condition in ["UpToDate", "Ready"] {
        (stage
            .until_condition(MEMBER, condition, "True", INSTALL)
            .await)
            .unwrap();
    }
    until_status(stage, "nothing is under way", PATIENT, |status| {
        status.rollout.is_none().then_some(())
    })
    .await;
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// One pod of the data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Component {
    name: String,
    uid: String,
    image: String,
    ready: bool,
}

/// The pods of a component on a node, but for those that end.
fn components(stage: &Stage, label: &str, node: &str) -> Vec<Component> {
    pods(stage, node, label)
        .iter()
        .map(|pod| Component {
            name: text(&pod["metadata"]["name"]),
            uid: text(&pod["metadata"]["uid"]),
            image: text(&pod["spec"]["containers"][0]["image"]),
            ready: pod["status"]["containerStatuses"][0]["ready"] == true,
        })
        .collect()
}

fn named(list: &Value) -> Vec<String> {
    let names = list["items"].as_array().into_iter().flatten();
    names.map(|node| text(&node["metadata"]["name"])).collect()
}

fn nodes(stage: &Stage) -> Vec<String> {
    named(&get(stage, &["nodes"]))
}

/// Nodes with a label of a rollout.
fn labelled(stage: &Stage) -> Vec<String> {
    named(&get(stage, &["nodes", "-l", names::NODE_ZTUNNEL_LABEL]))
}

/// Nodes with our taint.
fn tainted(stage: &Stage) -> Vec<String> {
    let list = get(stage, &["nodes"]);
    let is_tainted = |node: &&Value| {
        let taints = node["spec"]["taints"].as_array();
        taints.is_some_and(|all| all.iter().any(|one| one["key"] == "applink.dev/moving"))
    };
    let names = list["items"].as_array().into_iter().flatten();
    (names.filter(is_tainted))
        .map(|node| text(&node["metadata"]["name"]))
        .collect()
}

/// Waits until a node has one agent, which is ready and of that image; its uid.
async fn until_agent(stage: &Stage, node: &str, image: &str) -> String {
    stage::eventually(&format!("the agent {image} on {node}"), INSTALL, || async {
        match &components(stage, AGENT, node)[..] {
            [one] if one.ready && one.image == image => Ok(one.uid.clone()),
            all => Err(format!("{all:?}")),
        }
    })
    .await
    .unwrap()
}

/// The rollout when nothing but these nodes holds its end: each is named as set aside for that reason.
fn held_by(
    status: &MeshMemberStatus,
    names: &[&str],
    reason: &str,
    updated: i32,
) -> Option<RolloutStatus> {
    let rollout = status.rollout.as_ref()?;
    let nodes = rollout.nodes.as_ref()?;
    let told = (status.conditions.iter())
        .find(|one| one.type_ == "Reconciling" && one.status == "True")?;
    let are_named = names.iter().all(|name| {
        let mut failed = nodes.failed.iter();
        failed.any(|one| one.name == *name && one.reason == reason) && told.message.contains(name)
    });
    let waits = are_named && told.reason == "WaitingForNodes";
    let count = i32::try_from(names.len()).unwrap();
    (waits && (nodes.updated, nodes.set_aside) == (updated, count)).then(|| rollout.clone())
}
