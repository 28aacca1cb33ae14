//! The power of two nodes is cut while one of them moves: that one comes back, the other one never does.

use applink::names;
use e2e::stage::{self, Stage};
use serde_json::{Value, json};

use super::{
    NAMESPACE, PROXY, components, get, held_by, levels, nodes, spec, tainted, text, until_done,
};
use crate::added::Added;
use crate::fixture::{INSTALL, MEMBER, cluster, installed_with, on_stage};
use crate::told::until_status;
use crate::upgrades::overlap::NODES;
use crate::upgrades::watched::Watched;

/// A rollout that goes on while two nodes do not answer.
fn patient(level: &str) -> Value {
    let mut spec = spec(level, "0s");
    spec["upgrade"]["strategy"]["maxUnreachable"] = json!(2);
    spec
}

/// Waits until a node is on its way.
async fn until_moving(stage: &Stage, node: &str) {
    stage::eventually(&format!("{node} moves"), INSTALL, || async {
        let found = get(stage, &["node", node]);
        let label = text(&found["metadata"]["labels"][names::NODE_ZTUNNEL_LABEL]);
        let is_moving = label.ends_with(names::MOVING_SUFFIX);
        is_moving.then_some(()).ok_or(label)
    })
    .await
    .unwrap();
}

#[test]
#[ignore = "minutes of waiting for nodes that are away: make chaos-away"]
fn nodes_without_power_are_set_aside_and_hold_the_end_until_they_are_back_or_gone() {
    on_stage(|stage| async move {
        let mut added = Added::new(stage, cluster(), 2).await;
        let lost = added.names.clone();
        added.cordon();
        let (now, next) = levels(stage).await;
        installed_with(stage, patient(now)).await;
        let users = Watched::some(stage, NAMESPACE).await;
        for node in &lost {
            users.excuse(node);
        }
        let change = Stage::member(MEMBER, &patient(next));
        stage.apply(&change).unwrap();
        // By name they come last, one after the other.
        until_moving(stage, &lost[0]).await;
        added.halt();
        let both = [&lost[0][..], &lost[1]];
        let held = until_status(stage, "both are set aside", INSTALL, |status| {
            held_by(status, &both, "NodeNotReady", 2)
        })
        .await;
        assert_eq!(held.revertible, Some(true), "{held:?}");
        let moved = NODES.map(|node| components(stage, PROXY, node));

        added.cluster.remove_node(&lost[1]).unwrap();
        added.cluster.start_node(&lost[0]).await.unwrap();
        until_done(stage).await;
        assert_eq!(nodes(stage), [NODES[0], NODES[1], &lost[0]]);
        assert_eq!(tainted(stage), [""; 0]);
        let still = NODES.map(|node| components(stage, PROXY, node));
        assert_eq!(moved, still, "moved once");
        let back = components(stage, PROXY, &lost[0]);
        assert!(back.len() == 1 && back[0].ready, "{back:?}");
        users.end().await;
        drop(added);
    });
}
