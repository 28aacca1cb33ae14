//! What happens to nodes while a rollout is under way: one comes, one loses its agent, one is full, two lose their power,
//! one cannot ask the API server, and for a while nobody can.

mod cut;
mod lost;

use std::time::Duration;

use applink::api::quantity::thousandths;
use applink::api::v1alpha1::{MeshMemberStatus, RolloutStatus};
use applink::names;
use e2e::images::Image;
use e2e::images::broken::Broken;
use e2e::progress::Progress;
use e2e::stage::{self, Stage};
use serde_json::{Value, json};

use crate::added::Added;
use crate::fixture::{
    INSTALL, MEMBER, PATIENT, cluster, installed_with, on_stage, remove_namespace,
};
use crate::told::until_status;
use crate::upgrades::held::{get, pods};
use crate::upgrades::overlap::NODES;
use crate::upgrades::watched::Watched;

const NAMESPACE: &str = "rollout-nodes";
const AGENT: &str = "k8s-app=istio-cni-node";
const PROXY: &str = "app=ztunnel";
/// Longer than an operator keeps its Lease without an API server.
const AWAY: Duration = Duration::from_secs(20);

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

/// A node that somebody has cordoned, for the time of a test, also of a failed one.
struct Cordon {
    stage: &'static Stage,
    node: &'static str,
}

impl Cordon {
    fn of(stage: &'static Stage, node: &'static str) -> Self {
        stage.cluster.kubectl(&["cordon", node]).unwrap();
        Self { stage, node }
    }

    fn holds(&self) -> bool {
        get(self.stage, &["node", self.node])["spec"]["unschedulable"] == true
    }
}

impl Drop for Cordon {
    fn drop(&mut self) {
        // A failure here is not what the test is about.
        let _ = self.stage.cluster.kubectl(&["uncordon", self.node]);
    }
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

#[test]
fn a_node_that_comes_and_an_agent_that_goes_while_the_canary_fails_get_the_settled_agent() {
    on_stage(|stage| async move {
        let mut cluster = cluster();
        let archive = Image::Broken.build(None, Progress::new()).unwrap();
        cluster.load(&archive).unwrap();
        let good = Stage::release("1.6.0", &["Rapid"]);
        let (level, _) = levels(stage).await;
        installed_with(stage, spec(level, "0s")).await;

        let users = Watched::start(stage, NAMESPACE).await;

        let (component, broken) = Broken::CrashingAgent.image();
        let (repository, tag) = broken.rsplit_once(':').unwrap();
        let mut release = good.clone();
        release["spec"]["images"][component] = json!({"repository": repository, "tag": tag});
        stage.apply(&release).unwrap();
        let canary = stage::eventually("the canary waits for its agent", INSTALL, || async {
            let canary = tainted(stage).pop().ok_or("no node has the taint")?;
            match &components(stage, AGENT, &canary)[..] {
                [one] if one.image == broken => Ok(canary),
                all => Err(format!("{canary}: {all:?}")),
            }
        })
        .await
        .unwrap();

        let unmoved = nodes(stage)
            .into_iter()
            .find(|node| *node != canary)
            .unwrap();
        let before = components(stage, AGENT, &unmoved).remove(0);
        let delete = [
            "delete",
            "pod",
            "-n",
            "applink-system",
            &before.name,
            "--wait=false",
        ];
        users.excuse(&unmoved);
        stage.cluster.kubectl(&delete).unwrap();
        let added = Added::new(stage, cluster, 1).await;
        let again = until_agent(stage, &unmoved, &before.image).await;
        assert_ne!(again, before.uid);
        until_agent(stage, &added.names[0], &before.image).await;
        let waiting = components(stage, AGENT, &canary);
        assert!(
            tainted(stage) == [canary.clone()] && waiting.iter().all(|one| one.image == broken),
            "{canary} was to wait all the while: {waiting:?}"
        );

        stage.applink(&["abort", MEMBER]).unwrap();
        for node in nodes(stage) {
            until_agent(stage, &node, &before.image).await;
        }
        stage.apply(&good).unwrap();
        until_done(stage).await;
        assert_eq!(tainted(stage), [""; 0]);
        for node in nodes(stage) {
            assert_eq!(components(stage, PROXY, &node).len(), 1, "{node}");
        }
        users.end().await;
        drop(added);
    });
}

/// A pod of a user's that leaves less on a node than a proxy asks for.
fn filler(stage: &Stage, node: &str) -> Value {
    let allocatable = text(&get(stage, &["node", node])["status"]["allocatable"]["cpu"]);
    let on_node = format!("spec.nodeName={node}");
    let pods = get(stage, &["pods", "-A", "--field-selector", &on_node]);
    let containers = (pods["items"].as_array().into_iter().flatten())
        .flat_map(|pod| pod["spec"]["containers"].as_array().into_iter().flatten());
    let requested = containers.map(|one| text(&one["resources"]["requests"]["cpu"]));
    let requested: u64 = requested
        .map(|cpu| if cpu.is_empty() { 0 } else { thousandths(&cpu) })
        .sum();
    let rest = thousandths(&allocatable) - requested;
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "filler", "namespace": NAMESPACE, "labels": {"app": "filler"}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "nodeSelector": {"kubernetes.io/hostname": node},
            "containers": [{
                "name": "shop", "image": Image::Shop.reference(), "args": ["serve"],
                "env": [{"name": "SHOP_NAME", "value": "filler"}],
                "resources": {"requests": {"cpu": format!("{rest}m")}},
            }],
        },
    })
}

#[test]
fn a_full_node_is_set_aside_and_follows_when_there_is_room_and_nobody_is_evicted() {
    on_stage(|stage| async move {
        remove_namespace(stage, NAMESPACE).await;
        let (now, next) = levels(stage).await;
        installed_with(stage, spec(now, "0s")).await;
        let users = Watched::start(stage, "rollout-users").await;
        let ambient = json!({"istio.io/dataplane-mode": "ambient"});
        stage.apply(&stage::namespace(NAMESPACE, &ambient)).unwrap();
        let full = "node-2";
        stage.apply(&filler(stage, full)).unwrap();
        (stage
            .until_pods_ready(NAMESPACE, "app=filler", PATIENT)
            .await)
            .unwrap();
        let filler =
            || get(stage, &["pods", "-n", NAMESPACE])["items"][0]["metadata"]["uid"].clone();
        let (user, settled) = (filler(), components(stage, PROXY, full));

        stage
            .apply(&Stage::member(MEMBER, &spec(next, "0s")))
            .unwrap();
        let held = until_status(
            stage,
            "the full node holds only the end",
            INSTALL,
            |status| held_by(status, &[full], "NodeFull", 1),
        )
        .await;
        assert_eq!(held.revertible, Some(true), "{held:?}");
        assert_eq!(
            settled,
            components(stage, PROXY, full),
            "what runs there stays"
        );
        assert_eq!(user, filler(), "nobody was evicted");
        let moved = components(stage, PROXY, "node-1");
        let two = get(stage, &["daemonsets", "-n", "applink-system", "-l", PROXY]);
        assert_eq!(
            two["items"].as_array().map(Vec::len),
            Some(2),
            "both revisions stay"
        );

        remove_namespace(stage, NAMESPACE).await;
        until_done(stage).await;
        assert_eq!(moved, components(stage, PROXY, "node-1"), "moved once");
        let followed = components(stage, PROXY, full);
        assert!(followed.len() == 1 && followed != settled, "{followed:?}");
        users.end().await;
    });
}

#[test]
fn a_rollout_goes_on_after_the_api_server_was_away_while_the_canary_was_watched() {
    on_stage(|stage| async move {
        // No traffic: for a minute after such a loss the cluster's controllers act on what they remember, and may call a
        // node and its pods not ready, which takes them out of every Service.
        let (now, next) = levels(stage).await;
        // It counts from when the proxy is ready, and is told once the other one has drained.
        let soak = "30s";
        installed_with(stage, spec(now, soak)).await;
        let change = Stage::member(MEMBER, &spec(next, soak));
        stage.apply(&change).unwrap();
        let cordon = Cordon::of(stage, "node-2");
        let canary = until_status(stage, "the canary is watched", INSTALL, |status| {
            let rollout = status.rollout.as_ref()?;
            let message = rollout.message.as_ref()?;
            let node = rollout.nodes.as_ref()?.current.first()?;
            message
                .contains("it is watched until")
                .then(|| node.clone())
        })
        .await;
        let watched = components(stage, PROXY, &canary);
        assert_eq!(canary, "node-1");
        let unmoved = components(stage, PROXY, "node-2");
        stage.applink(&["pause", MEMBER]).unwrap();
        until_status(stage, "it is paused", PATIENT, |status| {
            let told = status.conditions.iter();
            let mut told = told.filter(|one| one.type_ == "UpToDate" && one.reason == "Paused");
            told.next().map(|_| ())
        })
        .await;
        assert_eq!(unmoved, components(stage, PROXY, "node-2"), "paused");
        stage.applink(&["resume", MEMBER]).unwrap();
        let mut cluster = cluster();
        cluster.halt_api_server().unwrap();
        // How long it is away is what matters: nothing can be asked meanwhile.
        tokio::time::sleep(AWAY).await;
        cluster.start_api_server().await.unwrap();
        until_done(stage).await;
        assert_ne!(
            unmoved,
            components(stage, PROXY, "node-2"),
            "it moved after"
        );
        assert!(cordon.holds(), "a cordon is its owner's");
        assert_eq!(watched, components(stage, PROXY, &canary), "moved once");
        for node in nodes(stage) {
            let proxies = components(stage, PROXY, &node);
            assert!(
                proxies.len() == 1 && proxies[0].ready,
                "{node}: {proxies:?}"
            );
        }
        assert_eq!(tainted(stage), [""; 0]);
    });
}

#[test]
fn labels_stay_until_the_controller_has_observed_that_the_proxy_needs_none() {
    on_stage(|stage| async move {
        let (now, next) = levels(stage).await;
        let spec = |level: &str| {
            let mut spec = spec(level, "0s");
            // Node-2 is alone with its new proxy for a while, and watched.
            spec["upgrade"]["strategy"]["batch"]["soak"] = json!("15s");
            spec
        };
        installed_with(stage, spec(now)).await;
        let users = Watched::start(stage, "late-users").await;
        let before = components(stage, PROXY, NODES[1]);
        stage.apply(&Stage::member(MEMBER, &spec(next))).unwrap();
        let moved = stage::eventually("node-2 has its new proxy only", INSTALL, || async {
            let found = components(stage, PROXY, NODES[1]);
            let is_new = found.len() == 1 && found[0].uid != before[0].uid;
            let all = || NODES.map(|node| components(stage, PROXY, node));
            is_new.then(all).ok_or_else(|| format!("{found:?}"))
        });
        let moved = moved.await.unwrap();

        // As on a machine that has no time for it. Goes on before it would take nodes for lost.
        let late = cluster().hold_controller_manager().unwrap();
        let unobserved = |status: &MeshMemberStatus| {
            let message = status.rollout.as_ref()?.message.as_ref()?;
            let is_told = message.contains("its controller has not observed");
            is_told.then_some(())
        };
        until_status(stage, "the end waits for a controller", PATIENT, unobserved).await;
        assert_eq!(labelled(stage), NODES);
        drop(late);
        until_done(stage).await;
        assert_eq!(labelled(stage), [""; 0]);
        let still = NODES.map(|node| components(stage, PROXY, node));
        assert_eq!(moved, still, "moved once");
        users.end().await;
    });
}
