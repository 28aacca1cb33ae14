//! A change of what runs on nodes, at the same version, under a mesh that carries traffic.
//!
//! The new proxy starts beside the old one and takes over before that one goes: no node is ever without a proxy, never are
//! agents of two nodes away at once, and nobody notices.

use std::collections::BTreeSet;

use e2e::stage::{self, Stage};
use serde_json::{Value, json};

use crate::caller::{Answer, Caller};
use crate::fixture::{
    INSTALL, MEMBER, PATIENT, installed, left, on_stage, quick, remove_namespace,
};
use crate::running::{assert_nodes_clean, assert_nothing_left};
use crate::upgrades::template_watch::Watch;
use crate::upgrades::watched::Watched;

const NAMESPACE: &str = "template";
const NODES: [&str; 2] = ["node-1", "node-2"];

/// On each node a caller and whom it asks.
async fn pairs(stage: &Stage) {
    installed(stage).await;
    let ambient = json!({"istio.io/dataplane-mode": "ambient"});
    stage.apply(&stage::namespace(NAMESPACE, &ambient)).unwrap();
    for node in NODES {
        for role in ["asks", "answers"] {
            let pod = stage::shop(NAMESPACE, &format!("{role}-{node}"), node, None);
            stage.apply(&pod).unwrap();
        }
    }
    (stage.until_pods_ready(NAMESPACE, "app", INSTALL).await).unwrap();
}

/// Every caller reaches both, by connections of its own; who does not, and what it got.
fn all_talk(stage: &Stage) -> Result<(), String> {
    for from in NODES {
        for to in NODES {
            let url = format!("http://answers-{to}:8080/");
            let get = ["/usr/local/bin/shop", "get", &url, "10"];
            let (success, text) = stage.exec(NAMESPACE, &format!("asks-{from}"), &get);
            if !success {
                return Err(format!("{from} to {to}: {text}"));
            }
        }
    }
    Ok(())
}

fn get(stage: &Stage, what: &[&str]) -> Value {
    let mut words = vec!["get"];
    words.extend(what);
    words.extend(["-o", "json"]);
    serde_json::from_str(&stage.cluster.kubectl(&words).unwrap()).unwrap()
}

fn uids(stage: &Stage, label: &str) -> BTreeSet<String> {
    get(stage, &["pods", "-n", "applink-system", "-l", label])["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pod| pod["metadata"]["uid"].to_string())
        .collect()
}

/// The one proxy `DaemonSet`, once it runs by default and no node names a revision.
async fn settled(stage: &Stage) -> String {
    let look = || async {
        let proxies = ["daemonsets", "-n", "applink-system", "-l", "app=ztunnel"];
        let sets = get(stage, &proxies);
        let names: Vec<&str> = (sets["items"].as_array().into_iter().flatten())
            .filter_map(|set| set["metadata"]["name"].as_str())
            .collect();
        let affinity = sets["items"][0]["spec"]["template"]["spec"]["affinity"].to_string();
        let nodes = get(stage, &["nodes", "-l", "applink.dev/ztunnel"]);
        let labelled = nodes["items"].as_array().map_or(0, Vec::len);
        match names[..] {
            [name] if labelled == 0 && !affinity.contains("applink.dev/ztunnel") => {
                Ok(name.to_owned())
            }
            _ => Err(format!(
                "{names:?}, {labelled} nodes with a label: {affinity}"
            )),
        }
    };
    stage::eventually("one proxy revision that runs by default", PATIENT, look)
        .await
        .unwrap()
}

/// Applies a spec under traffic and holds what was seen against what must hold.
async fn change(stage: &'static Stage, data_plane: Value) {
    let before = settled(stage).await;
    let watch = Watch::start(stage, MEMBER, &NODES).await;
    let callers = NODES.map(|node| {
        let url = format!("http://answers-{node}:8080/");
        Caller::start(stage, NAMESPACE, &format!("asks-{node}"), node, &url)
    });
    for caller in &callers {
        caller.until_answered().await;
    }
    let spec = json!({"upgrade": {"version": "1.6", "strategy": quick()}, "dataPlane": data_plane});
    stage.apply(&Stage::member(MEMBER, &spec)).unwrap();
    (stage
        .until_condition(MEMBER, "UpToDate", "False", INSTALL)
        .await)
        .unwrap();
    (stage
        .until_condition(MEMBER, "UpToDate", "True", INSTALL)
        .await)
        .unwrap();
    let seen = watch.end().await;
    assert_ne!(before, settled(stage).await, "another revision");
    all_talk(stage).unwrap();

    // Node by node.
    let silent = seen.away.iter().any(|away| away.component == "ztunnel");
    assert!(!silent, "a node was without a proxy: {seen:#?}");
    for (number, one) in seen.away.iter().enumerate() {
        for other in &seen.away[number + 1..] {
            let apart =
                one.node == other.node || one.until <= other.from || other.until <= one.from;
            assert!(apart, "two nodes at once: {one:?} {other:?}");
        }
    }
    // The mesh serves all the while, and says that it is not yet what was asked for.
    assert_eq!(seen.ready, BTreeSet::from(["True".to_owned()]), "{seen:#?}");
    assert!(seen.reasons.contains("Progressing"), "{seen:#?}");
    // Whoever is on another node notices nothing.
    for caller in callers {
        let node = caller.node.clone();
        let answers = caller.end().await;
        let cut: Vec<_> = answers.iter().filter(|answer| !answer.good).collect();
        eprintln!(
            "{node}: {} answers, {} failed, longest gap {:.1} s, away: {}",
            answers.len(),
            cut.len(),
            answers.iter().map(Answer::seconds).fold(0.0, f64::max),
            seen.away
                .iter()
                .filter(|away| away.node == node)
                .map(|away| format!("{} {:.1} s", away.component, away.seconds()))
                .collect::<Vec<_>>()
                .join(", "),
        );
        for answer in cut {
            assert!(
                seen.away
                    .iter()
                    .any(|away| away.node == node && away.explains(answer)),
                "{node} was not being moved, but from {} to {} a request on it failed: {} {:#?}",
                answer.asked,
                answer.at,
                answer.text,
                seen.away
            );
        }
    }
}

#[test]
fn a_changed_template_moves_node_by_node_and_nobody_elsewhere_notices() {
    on_stage(|stage| async move {
        pairs(stage).await;
        // That a pod is Ready is known to the proxies of others a moment later.
        let talk = || async { all_talk(stage) };
        (stage::eventually("all talk", PATIENT, talk).await).unwrap();
        let users = Watched::start(stage, "template-users").await;
        let agents = uids(stage, "k8s-app=istio-cni-node");
        // The proxy alone: the agents stay.
        change(stage, json!({"ztunnel": {"logLevel": "Debug"}})).await;
        assert_eq!(agents, uids(stage, "k8s-app=istio-cni-node"));
        // Both.
        let requests = json!({"requests": {"cpu": "11m", "memory": "41Mi"}});
        change(
            stage,
            json!({"cni": {"logLevel": "Debug", "resources": requests}}),
        )
        .await;
        assert!(agents.is_disjoint(&uids(stage, "k8s-app=istio-cni-node")));
        let history = stage
            .read_member(MEMBER)
            .await
            .unwrap()
            .status
            .unwrap()
            .history;
        assert!(
            history.len() >= 3,
            "the install and both changes: {history:?}"
        );
        // Agents that were replaced capture new pods.
        let late = stage::shop(NAMESPACE, "late", "node-1", None);
        stage.apply(&late).unwrap();
        (stage.until_pods_ready(NAMESPACE, "app=late", INSTALL).await).unwrap();
        all_talk(stage).unwrap();
        users.end().await;
        remove_namespace(stage, NAMESPACE).await;
        deleted_on_the_way(stage).await;
    });
}

/// The member is deleted while a node has both proxies: it leaves all the same.
async fn deleted_on_the_way(stage: &Stage) {
    let spec = json!({"upgrade": {"version": "1.6", "strategy": quick()}});
    stage.apply(&Stage::member(MEMBER, &spec)).unwrap();
    stage::eventually("a node is on its way", INSTALL, || async {
        let nodes = get(stage, &["nodes", "-l", "applink.dev/ztunnel"]);
        let label = nodes["items"][0]["metadata"]["labels"]["applink.dev/ztunnel"].clone();
        let is_moving = label
            .as_str()
            .is_some_and(|label| label.ends_with(".moving"));
        is_moving.then_some(()).ok_or_else(|| label.to_string())
    })
    .await
    .unwrap();
    left(stage).await;
    assert_nodes_clean(stage);
    assert_nothing_left(stage);
    let nodes = get(stage, &["nodes"]).to_string();
    for word in ["applink.dev/ztunnel", "applink.dev/moving"] {
        assert!(!nodes.contains(word), "{word} stays on a node");
    }
}
