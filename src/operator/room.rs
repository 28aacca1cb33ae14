//! Whether a node has room for one more pod, by requests and by pod slots.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::project;
use crate::api::quantity::thousandths;
use crate::facts::{Evidence, Replicas};

/// Compares what is free with what is needed, as the scheduler counts it.
pub fn judge(node: &Node, pods: &[Pod], millicores: u64, bytes: u64) -> Evidence {
    let allocatable = |name: &str| {
        node.status
            .as_ref()
            .and_then(|status| status.allocatable.as_ref())
            .and_then(|all| all.get(name))
            .map_or(u64::MAX, |quantity| thousandths(&quantity.0))
    };
    let used = |name: &str| {
        pods.iter()
            .map(|pod| requests(pod, name))
            .fold(0, u64::saturating_add)
    };
    let slots = allocatable("pods") / 1000;
    let taken = u64::try_from(pods.len()).unwrap_or(u64::MAX);
    let cpu = (allocatable("cpu"), used("cpu"));
    let memory = (allocatable("memory") / 1000, used("memory") / 1000);
    let lacks = if taken.saturating_add(1) > slots {
        Some(format!("{taken} of {slots} pods run there"))
    } else if cpu.1.saturating_add(millicores) > cpu.0 {
        Some(format!(
            "{} of {} millicores are requested, the proxy needs {millicores}",
            cpu.1, cpu.0
        ))
    } else if memory.1.saturating_add(bytes) > memory.0 {
        Some(format!(
            "{} of {} bytes of memory are requested, the proxy needs {bytes}",
            memory.1, memory.0
        ))
    } else {
        None
    };
    Evidence {
        good: lacks.is_none(),
        text: lacks.unwrap_or_else(|| "it has room for one more proxy".to_owned()),
        replicas: replicas(pods),
        ..Evidence::default()
    }
}

/// Running pods with an own network namespace by their controller: of others no connection goes through a proxy.
fn replicas(pods: &[Pod]) -> Replicas {
    let mut replicas = Replicas::new();
    let runs = |pod: &&Pod| {
        let phase = pod.status.as_ref().and_then(|one| one.phase.as_deref());
        let on_host = pod.spec.as_ref().and_then(|one| one.host_network);
        phase == Some("Running") && on_host != Some(true)
    };
    let controllers = pods.iter().filter(runs);
    for controller in controllers.filter_map(|pod| project::controller(&pod.metadata)) {
        *replicas.entry(controller).or_default() += 1;
    }
    replicas
}

/// What a pod asks for: the sum of its containers or its largest init container, and its overhead.
fn requests(pod: &Pod, name: &str) -> u64 {
    let Some(spec) = &pod.spec else { return 0 };
    let amount = |all: Option<&BTreeMap<String, Quantity>>| {
        all.and_then(|all| all.get(name))
            .map_or(0, |quantity| thousandths(&quantity.0))
    };
    let of = |container: &Container| {
        amount(
            container
                .resources
                .as_ref()
                .and_then(|resources| resources.requests.as_ref()),
        )
    };
    let running: u64 = spec.containers.iter().map(of).sum();
    let starting = spec.init_containers.iter().flatten().map(of).max();
    running
        .max(starting.unwrap_or_default())
        .saturating_add(amount(spec.overhead.as_ref()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(pods: &str) -> Node {
        serde_json::from_value(json!({
            "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": pods}},
        }))
        .unwrap()
    }

    fn pod(cpu: &str, memory: &str) -> Pod {
        serde_json::from_value(json!({"spec": {"containers": [
            {"name": "a", "resources": {"requests": {"cpu": cpu, "memory": memory}}},
        ]}}))
        .unwrap()
    }

    #[test]
    fn a_node_is_full_by_slots_processors_or_memory() {
        let told = |pods: &str, running: &[Pod]| {
            let seen = judge(&node(pods), running, 50, 64 << 20);
            (seen.good, seen.text)
        };
        assert!(told("10", &[pod("900m", "900Mi")]).0);
        let (good, text) = told("1", &[pod("1m", "1Mi")]);
        assert!(!good && text.contains("1 of 1 pods"), "{text}");
        let (good, text) = told("10", &[pod("500m", "1Mi"), pod("451m", "1Mi")]);
        assert!(!good && text.contains("951 of 1000 millicores"), "{text}");
        let (good, text) = told("10", &[pod("1m", "961Mi")]);
        assert!(!good && text.contains("bytes of memory"), "{text}");
    }

    #[test]
    fn running_pods_are_counted_by_their_controller() {
        let pod = |phase: &str, on_host: bool, kind: &str, uid: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"ownerReferences": [
                    {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "other"},
                    {"apiVersion": "v1", "kind": kind, "name": "n", "uid": uid, "controller": true},
                ]},
                "spec": {"hostNetwork": on_host, "containers": []},
                "status": {"phase": phase},
            }))
            .unwrap()
        };
        let pods = [
            pod("Running", false, "ReplicaSet", "a"),
            pod("Running", false, "ReplicaSet", "a"),
            pod("Running", false, "StatefulSet", "b"),
            pod("Pending", false, "ReplicaSet", "a"),
            pod("Running", true, "DaemonSet", "c"),
            Pod::default(),
        ];
        let seen = judge(&Node::default(), &pods, 50, 1).replicas;
        let mut counts: Vec<usize> = seen.values().copied().collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 2]);
        // The same that the watch tells by.
        let meta = &pods[0].metadata;
        assert_eq!(seen.get(&project::controller(meta).unwrap()), Some(&2));
    }

    #[test]
    fn a_node_that_says_nothing_has_room() {
        assert!(judge(&Node::default(), &[], 50, 1).good);
    }
}
