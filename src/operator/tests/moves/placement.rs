//! Node selectors that change under what runs.

use super::*;
use crate::desired::affinity::TERMS;
use crate::facts::{Answer, Evidence, Question};

const AGENT: &str = "/apis/apps/v1/namespaces/applink-system/daemonsets/istio-cni-node";

/// The requirements of a set's affinity with this key.
fn required(set: &Value, key: &str) -> Vec<Value> {
    let terms = set.pointer(TERMS);
    let all = terms.and_then(Value::as_array).cloned().unwrap_or_default();
    all.into_iter().filter(|one| one["key"] == key).collect()
}

#[tokio::test]
async fn a_selector_that_no_node_matches_is_told_and_what_runs_is_looked_at_and_repaired() {
    let mut bench = Bench::running(json!({"version": "1.5.4"}), "1.5.4").await;
    bench.settled().await;
    let upgrade = json!({"version": "1.5.4"});
    let plane = json!({"nodeSelector": {"disk": "tape"}});
    bench.edit(json!({"upgrade": upgrade, "dataPlane": plane}));
    bench.pass(1000).await;
    let (reason, message) = bench.condition("Stalled").unwrap();
    assert_eq!(reason, "True/PreflightFailed");
    assert!(message.contains("no node has disk=tape"), "{message}");
    let before = bench.fake.get(AGENT).unwrap();
    assert!(required(&before, "disk").is_empty(), "{before:#}");
    // Somebody takes istiod away, and another image for the agent.
    bench.fake.delete(ISTIOD);
    let mut agent = before.clone();
    agent["spec"]["template"]["spec"]["containers"][0]["image"] = json!("theirs");
    bench.fake.put(AGENT, agent);
    let key = crate::facts::ObjectKey::in_system("Deployment", "istiod-1-5-4");
    while bench.operator.world.facts().object(&key).is_some() {
        tokio::task::yield_now().await;
    }
    bench.pass(3000).await;
    assert!(bench.fake.get(ISTIOD).is_some(), "it is put back");
    let after = bench.fake.get(AGENT).unwrap();
    assert_eq!(after["spec"], before["spec"]);
    let (reason, message) = bench.condition("Ready").unwrap();
    assert_eq!(
        reason, "False/ComponentUnavailable",
        "it is looked at: {message}"
    );
    assert!(bench.condition("Stalled").is_some());
}

#[tokio::test]
async fn where_the_mesh_runs_stays_as_it_is_while_nodes_move() {
    // Nobody pulls images here.
    let upgrade = json!({"version": "1.6", "strategy": {"onFailure": "Pause"}});
    let mut bench = Bench::running(upgrade.clone(), "1.5").await;
    bench.settled().await;
    assert_eq!(bench.rollout(), to("1.6.0", "Spec"));
    let mut node = bench.fake.get("/api/v1/nodes/a").unwrap();
    node["metadata"]["labels"] = json!({"pool": "mesh"});
    bench.fake.put("/api/v1/nodes/a", node);
    let plane = json!({"nodeSelector": {"pool": "mesh"}});
    bench.edit(json!({"upgrade": upgrade, "dataPlane": plane}));
    for millis in [3000, 5000] {
        bench.pass(millis).await;
    }
    let sets = bench.fake.names(SETS);
    assert!(sets.iter().any(|name| name.contains("1-6-0")), "{sets:?}");
    for name in &sets {
        let set = bench.fake.get(&format!("{SETS}/{name}")).unwrap();
        assert!(required(&set, "pool").is_empty(), "{name}");
    }
    // The rollout is given up: the selector's turn has come.
    bench.annotate(json!({"applink.dev/abort": "n1"}));
    bench.until_ended(7000).await;
    for millis in [40_000, 42_000] {
        bench.pass(millis).await;
    }
    let agent = bench.fake.get(AGENT).unwrap();
    assert_eq!(required(&agent, "pool").len(), 1, "{agent:#}");
}

/// What is known of the pods of node `b` since so many milliseconds after the start.
fn look_at_b(bench: &Bench, good: bool, millis: i64) {
    let question = Question::vacant(&bench.operator.world.facts().nodes["b"]);
    let seen = Evidence {
        good,
        text: "2 enrolled pods are there: shop/cart and 1 more".to_owned(),
        ..Evidence::default()
    };
    let at = bench.start + jiff::SignedDuration::from_millis(millis);
    let answer = Answer::after(None, at, Ok(seen));
    let mut answers = bench.operator.asked.answers();
    answers.insert(question, answer);
}

#[tokio::test]
async fn a_selector_that_leaves_out_a_node_counts_once_no_enrolled_pod_is_there() {
    let upgrade = json!({"version": "1.5.4"});
    let mut bench = Bench::running(upgrade.clone(), "1.5.4").await;
    bench.settled().await;
    let mut node = bench.fake.get("/api/v1/nodes/a").unwrap();
    for (name, labels) in [("b", json!({})), ("a", json!({"pool": "mesh"}))] {
        node["metadata"] = json!({"labels": labels});
        bench
            .fake
            .put(&format!("/api/v1/nodes/{name}"), node.clone());
    }
    let proxy = "/api/v1/namespaces/applink-system/pods/ztunnel-b";
    let labels = json!({"app": "ztunnel"});
    let pod = json!({"metadata": {"labels": labels}, "spec": {"nodeName": "b", "containers": []}});
    bench.fake.put(proxy, pod);
    let is_seen = |bench: &Bench| {
        let facts = bench.operator.world.facts();
        facts.nodes.contains_key("b") && facts.pods.contains_key("ztunnel-b")
    };
    while !is_seen(&bench) {
        tokio::task::yield_now().await;
    }
    let plane = json!({"nodeSelector": {"pool": "mesh"}});
    bench.edit(json!({"upgrade": upgrade, "dataPlane": plane}));
    let is_followed = |bench: &Bench| {
        let agent = bench.fake.get(AGENT).unwrap();
        !required(&agent, "pool").is_empty()
    };
    // Nobody has said yet who is there.
    bench.pass(1000).await;
    assert!(!is_followed(&bench));
    let is_asked = |bench: &Bench| {
        let answers = bench.operator.asked.answers();
        let mut asked = answers.keys();
        asked.any(|one| matches!(one, Question::Vacant { node, .. } if node == "b"))
    };
    while !is_asked(&bench) {
        tokio::task::yield_now().await;
    }
    look_at_b(&bench, false, 1500);
    bench.pass(2000).await;
    assert!(!is_followed(&bench));
    let (reason, message) = bench.condition("Accepted").unwrap();
    assert_eq!(reason, "True/ValidWithWarnings");
    let expected = "NodesInUse: spec.dataPlane.nodeSelector: it leaves out 1 of the nodes that carry the mesh, which stays where it is: \
                    on b, 2 enrolled pods are there: shop/cart and 1 more; move these pods to nodes that stay or take them out of the mesh";
    assert!(message.contains(expected), "{message}");
    look_at_b(&bench, true, 30_000);
    bench.pass(31_000).await;
    assert!(is_followed(&bench));
    let (_, message) = bench.condition("Accepted").unwrap();
    assert!(!message.contains("NodesInUse"), "{message}");
}
