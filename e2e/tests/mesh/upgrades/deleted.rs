//! A change of what runs on nodes, whose member is deleted on the way.

use applink::names;
use e2e::stage::{self, Stage};
use serde_json::{Value, json};

use crate::fixture::{INSTALL, MEMBER, installed_with, left, on_stage, quick};
use crate::running::{assert_nodes_clean, assert_nothing_left};
use crate::upgrades::held::{self, get};

/// A member whose proxies and agents log as much as `level` says: another level is a rollout.
fn spec(level: &str) -> Value {
    json!({
        "upgrade": {"version": "1.6", "strategy": quick()},
        "dataPlane": {"ztunnel": {"logLevel": level}, "cni": {"logLevel": level}},
    })
}

#[test]
fn a_member_that_is_deleted_while_a_node_has_two_proxies_leaves_nothing() {
    on_stage(|stage| async move {
        installed_with(stage, spec("Info")).await;
        stage.apply(&Stage::member(MEMBER, &spec("Debug"))).unwrap();
        stage::eventually("a node has two proxies", INSTALL, || async {
            let nodes = get(stage, &["nodes", "-l", names::NODE_ZTUNNEL_LABEL]);
            let node = &nodes["items"][0]["metadata"];
            let label = node["labels"][names::NODE_ZTUNNEL_LABEL].as_str();
            let is_moving = label.is_some_and(|label| label.ends_with(names::MOVING_SUFFIX));
            let proxies = held::proxies(stage, node["name"].as_str().unwrap_or_default());
            let has_two = is_moving && proxies.len() == 2;
            has_two
                .then_some(())
                .ok_or_else(|| format!("{label:?}: {proxies:?}"))
        })
        .await
        .unwrap();
        left(stage).await;
        assert_nodes_clean(stage);
        assert_nothing_left(stage);
        let nodes = get(stage, &["nodes"]).to_string();
        for word in [names::NODE_ZTUNNEL_LABEL, names::MOVING_TAINT] {
            assert!(!nodes.contains(word), "{word} stays on a node");
        }
    });
}
