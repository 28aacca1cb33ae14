//! A mesh that runs on: what enrolled pods can do while something else is missing.

use e2e::stage::{self, Stage};
use serde_json::Value;

use crate::fixture::{SOON, shop};

/// The program of the shop that asks.
pub const GET: [&str; 2] = ["/usr/local/bin/shop", "get"];

/// The shop in an enrolled namespace, talking; see [`shop`].
pub async fn talking_shop(stage: &Stage, namespace: &str) {
    shop(stage, namespace).await;
    talks(stage, namespace, "web").await;
}

/// A pod of the shop asks `cart` on the second node, which asks `stock` on the first.
pub async fn talks(stage: &Stage, namespace: &str, pod: &str) {
    stage::eventually(&format!("{pod} talks to cart"), SOON, || async {
        let (success, text) =
            stage.exec(namespace, pod, &[GET[0], GET[1], "http://cart:8080/", "3"]);
        if success { Ok(()) } else { Err(text) }
    })
    .await
    .unwrap();
}

/// A new pod starts on each node, is captured, and talks.
pub async fn new_pods_start(stage: &Stage, namespace: &str, prefix: &str) {
    let names = ["node-1", "node-2"].map(|node| (format!("{prefix}-{node}"), node));
    for (name, node) in &names {
        stage
            .apply(&stage::shop(namespace, name, node, None))
            .unwrap();
    }
    for (name, _) in &names {
        stage
            .until_pods_ready(namespace, &format!("app={name}"), SOON)
            .await
            .unwrap();
        let pod = stage
            .cluster
            .kubectl(&["get", "pod", name, "-n", namespace, "-o", "json"])
            .unwrap();
        let pod: Value = serde_json::from_str(&pod).unwrap();
        assert_eq!(
            pod.pointer("/metadata/annotations/ambient.istio.io~1redirection"),
            Some(&Value::from("enabled")),
            "{name} is in the mesh"
        );
        talks(stage, namespace, name).await;
    }
}

/// Who they are and how often each container was started: equal as long as nobody is disturbed.
pub fn data_plane(stage: &Stage) -> String {
    let columns = "custom-columns=NAME:.metadata.name,UID:.metadata.uid,RESTARTS:.status.containerStatuses[*].restartCount";
    stage
        .cluster
        .kubectl(&["get", "pods", "-n", "applink-system", "-o", columns])
        .unwrap()
}

/// Nothing of the agent is left on the two nodes that are always there.
pub fn assert_nodes_clean(stage: &Stage) {
    for node in ["node-1", "node-2"] {
        let configuration = stage
            .cluster
            .run_on(
                node,
                &["sh", "-c", "cat /etc/cni/net.d/* 2>/dev/null || true"],
            )
            .unwrap();
        assert!(
            !configuration.contains("istio"),
            "{node} still has istio-cni configured:\n{configuration}"
        );
        let plugins = stage.cluster.run_on(node, &["ls", "/opt/cni/bin"]).unwrap();
        assert!(
            !plugins.contains("istio-cni"),
            "{node} still has the plugin:\n{plugins}"
        );
    }
}

/// Nothing of a member is left in the cluster, but definitions.
pub fn assert_nothing_left(stage: &Stage) {
    let kubectl = |arguments: &[&str]| stage.cluster.kubectl(arguments).unwrap();
    let kinds = |namespaced: bool| {
        kubectl(&[
            "api-resources",
            "--verbs=list,delete",
            &format!("--namespaced={namespaced}"),
            "-o",
            "name",
        ])
        .lines()
        .filter(|kind| !kind.starts_with("events"))
        .collect::<Vec<_>>()
        .join(",")
    };
    // Pods whose owners are gone may still be ending.
    let ended = [
        "wait",
        "--for=delete",
        "pods",
        "-A",
        "-l",
        "applink.dev/member",
        "--timeout=60s",
    ];
    kubectl(&ended);
    let (inside, outside) = (kinds(true), kinds(false));
    let named = ["-o", "name"];
    let labelled = |kinds: &str, more: &[&str]| {
        let mut arguments = vec!["get", kinds, "-l", "applink.dev/member"];
        arguments.extend(more);
        arguments.extend(named);
        kubectl(&arguments)
    };
    assert_eq!(labelled(&inside, &["-A"]), "");
    assert_eq!(labelled(&outside, &[]), "");
    let system = kubectl(&["get", &inside, "-n", "applink-system", "-o", "name"]);
    // What Kubernetes puts into every namespace, and the operator's own rights.
    let others = ["configmap/kube-root-ca.crt", "serviceaccount/default"];
    let own: Vec<&str> = system
        .lines()
        .filter(|name| !others.contains(name) && !name.ends_with("/applink-operator"))
        .collect();
    assert_eq!(own, [""; 0], "applink-system is empty");
    let maps = kubectl(&["get", "configmaps", "-A", "-o", "name"]);
    assert!(!maps.contains("istio"), "{maps}");
}
