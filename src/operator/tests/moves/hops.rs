//! Rollouts that follow one another on the way to a later minor.

use super::*;

const NODE: &str = "/api/v1/nodes/a";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/applink-system/deployments";
const PODS: &str = "/api/v1/namespaces/applink-system/pods";
const ROOT: &str = "/api/v1/namespaces/applink-system/configmaps/istio-ca-root-cert";

/// Does what Kubernetes and istiod do with what the operator has applied, but for nodes: controllers see it, and every
/// istiod that is to run does and signs.
fn run_what_is_there(bench: &Bench) {
    let seen = |path: &str| -> Option<Value> {
        let mut object = bench.fake.get(path)?;
        let generation = object["metadata"]["generation"].clone();
        if object["status"]["observedGeneration"] == generation {
            return None;
        }
        let replicas = object["spec"]["replicas"].clone();
        object["status"] = json!({"observedGeneration": generation, "updatedReplicas": replicas,
            "availableReplicas": replicas, "readyReplicas": replicas});
        Some(object)
    };
    for folder in [SETS, DEPLOYMENTS] {
        for name in bench.fake.names(folder) {
            let path = format!("{folder}/{name}");
            if let Some(object) = seen(&path) {
                bench.fake.put(&path, object);
            }
        }
    }
    let deployments = bench.fake.names(DEPLOYMENTS);
    for pod in bench.fake.names(PODS) {
        if !deployments
            .iter()
            .any(|name| pod.starts_with(name.as_str()))
        {
            bench.fake.delete(&format!("{PODS}/{pod}"));
        }
    }
    for name in deployments {
        let path = format!("{PODS}/{name}-6d4b75cb6d-hx2bz");
        if bench.fake.get(&path).is_none() {
            let ready = json!({"type": "Ready", "status": "True"});
            let pod = json!({"metadata": {"labels": {"app": "istiod"}}, "status": {"conditions": [ready]}});
            bench.fake.put(&path, pod);
        }
    }
    if bench.fake.get(ROOT).is_none() {
        bench.fake.put(ROOT, json!({}));
    }
}

impl Bench {
    /// Passes, one shortly after the other, until status says so.
    async fn until(&mut self, millis: &mut i64, pointer: &str, expected: &str) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while self.status(pointer) != expected {
            assert!(
                std::time::Instant::now() < deadline,
                "{pointer} does not become {expected}: {:#}",
                self.status("")
            );
            run_what_is_there(self);
            *millis += 50;
            self.pass(*millis).await;
            // What watches tell has its turn also when a pass had nothing to wait for.
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the operator knows, or knows no more, the node.
    async fn knows_node(&self, is_there: bool) {
        while self.operator.world.facts().nodes.contains_key("a") != is_there {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn the_end_of_a_hop_begins_the_next_and_one_that_fails_ends_where_the_one_before_did() {
    let mut bench = Bench::running(json!({"version": "1.7"}), "1.5").await;
    bench.operator.signals = Arc::new(Silence { signs: true });
    // What istiod answers carries the time of its answer.
    bench.start = Timestamp::now();
    bench.put_release("1.7.0", &json!({}));
    bench.settled().await;
    assert_eq!(bench.rollout(), to("1.6.0", "Spec"));
    // Nothing runs on nodes here: the only one goes, as with an autoscaler, and the hop has none to move.
    let node = bench.fake.get(NODE).unwrap();
    bench.fake.delete(NODE);
    bench.knows_node(false).await;
    let mut millis = 1000;
    bench.until(&mut millis, "/version/current", "1.6.0").await;
    assert_eq!(bench.status("/history/0/to"), "1.6.0");
    assert_eq!(bench.status("/history/0/result"), "Succeeded");
    assert_eq!(bench.fake.get(ISTIOD), None, "the release before has gone");

    // It is back. Nobody says anything, and the next hop begins.
    bench.fake.put(NODE, node);
    bench.knows_node(true).await;
    bench.until(&mut millis, "/rollout/to", "1.7.0").await;
    assert_eq!(bench.status("/rollout/from"), "1.6.0");
    assert_eq!(bench.rollout(), to("1.7.0", "Spec"));

    // No kubelet is there that would pull its images: it fails.
    bench.until(&mut millis, "/rollout/step", "Prepull").await;
    millis += HOUR;
    bench.until(&mut millis, "/history/0/to", "1.7.0").await;
    assert_eq!(bench.status("/history/0/result"), "RolledBack");
    assert_eq!(bench.status("/history/1/to"), "1.6.0");
    assert_eq!(bench.status("/version/current"), "1.6.0");
    let (reason, message) = bench.condition("UpToDate").unwrap();
    assert_eq!(reason, "False/ReleaseFailed");
    assert!(message.contains("gate Prepull on node a"), "{message}");
    let sets = bench.fake.names(SETS);
    assert!(sets.iter().all(|name| !name.contains("1-7-0")), "{sets:?}");
    assert!(sets.iter().any(|name| name.contains("1-6-0")), "{sets:?}");
}
