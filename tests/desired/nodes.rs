//! What runs on nodes: where, how it is replaced, and from which paths of the host.

use crate::{BASE, object, revision, variable};

#[test]
fn the_proxy_is_placed_where_its_revision_may_run() {
    let requirement = |case: &str| {
        let affinity =
            object(case, "DaemonSet", "ztunnel-")["spec"]["template"]["spec"]["affinity"].take();
        let terms = &affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
        let all = terms[0]["matchExpressions"].as_array().unwrap().clone();
        all.into_iter()
            .find(|requirement| requirement["key"] == "applink.dev/ztunnel")
    };
    assert_eq!(requirement(BASE), None);
    let own = revision("arriving");
    assert_eq!(
        requirement("arriving").unwrap(),
        serde_json::json!({"key": "applink.dev/ztunnel", "operator": "In", "values": [format!("{own}.moving"), own]})
    );
    assert_eq!(
        requirement("beside").unwrap(),
        serde_json::json!({"key": "applink.dev/ztunnel", "operator": "NotIn", "values": ["1-6-1-0a1b2c"]})
    );
}

#[test]
fn placement_changes_nothing_but_affinity() {
    let without_affinity = |case: &str| {
        let mut daemon_set = object(case, "DaemonSet", "ztunnel-");
        daemon_set["spec"]["template"]["spec"]["affinity"].take();
        daemon_set
    };
    assert_eq!(without_affinity("arriving"), without_affinity(BASE));
    assert_eq!(without_affinity("beside"), without_affinity(BASE));
}

#[test]
fn daemon_sets_wait_for_the_operator_and_select_by_what_never_changes() {
    let ztunnel = object(BASE, "DaemonSet", "ztunnel-");
    let cni = object(BASE, "DaemonSet", "istio-cni-node");
    for daemon_set in [&ztunnel, &cni] {
        assert_eq!(
            daemon_set["spec"]["updateStrategy"],
            serde_json::json!({"type": "OnDelete"})
        );
    }
    let revision = revision(BASE);
    assert_eq!(
        ztunnel["spec"]["selector"]["matchLabels"],
        serde_json::json!({"app": "ztunnel", "applink.dev/revision": revision})
    );
    assert_eq!(
        cni["spec"]["selector"]["matchLabels"],
        serde_json::json!({"k8s-app": "istio-cni-node"})
    );
    assert_eq!(cni["metadata"]["name"], "istio-cni-node");
}

#[test]
fn connections_have_the_whole_drain_and_the_proxy_five_seconds_beyond_it() {
    // From a grace of 10 s upstream's rule would make a drain of 9 s out of one of 5.
    for (case, grace, drain) in [(BASE, 65, "60s"), ("tuned", 10, "5s")] {
        let ztunnel = object(case, "DaemonSet", "ztunnel-");
        let spec = &ztunnel["spec"]["template"]["spec"];
        assert_eq!(spec["terminationGracePeriodSeconds"], grace, "{case}");
        let told = variable(&ztunnel, "CONNECTION_TERMINATION_DEADLINE");
        assert_eq!(told.unwrap(), drain, "{case}");
    }
}

#[test]
fn the_proxy_asks_for_little() {
    let ztunnel = object(BASE, "DaemonSet", "ztunnel-");
    let resources = &ztunnel["spec"]["template"]["spec"]["containers"][0]["resources"];
    assert_eq!(
        *resources,
        serde_json::json!({"requests": {"cpu": "50m", "memory": "64Mi"}})
    );
}

#[test]
fn node_components_leave_out_nodes_that_cannot_run_them() {
    for name in ["ztunnel-", "istio-cni-node"] {
        let spec = object(BASE, "DaemonSet", name)["spec"]["template"]["spec"].take();
        assert_eq!(
            spec["nodeSelector"],
            serde_json::json!({"kubernetes.io/os": "linux"})
        );
        let affinity = spec["affinity"].to_string();
        assert!(
            affinity.contains("virtual-kubelet") && affinity.contains("fargate"),
            "{affinity}"
        );
    }
}

#[test]
fn the_agent_knows_the_host_paths_of_its_platform() {
    for (case, bin, conf, netns) in [
        (BASE, "/opt/cni/bin", "/etc/cni/net.d", "/var/run/netns"),
        (
            "gke",
            "/home/kubernetes/bin",
            "/etc/cni/net.d",
            "/var/run/netns",
        ),
        ("eks", "/opt/cni/bin", "/etc/cni/net.d", "/var/run/netns"),
        ("aks", "/opt/cni/bin", "/etc/cni/net.d", "/var/run/netns"),
        (
            "k3s",
            "/var/lib/rancher/k3s/data/cni",
            "/var/lib/rancher/k3s/agent/etc/cni/net.d",
            "/var/run/netns",
        ),
        (
            "k3d",
            "/bin",
            "/var/lib/rancher/k3s/agent/etc/cni/net.d",
            "/var/run/netns",
        ),
        (
            "microk8s",
            "/var/snap/microk8s/current/opt/cni/bin",
            "/var/snap/microk8s/current/args/cni-network",
            "/var/run/netns",
        ),
        (
            "minikube",
            "/opt/cni/bin",
            "/etc/cni/net.d",
            "/var/run/docker/netns",
        ),
        (
            "openshift",
            "/var/lib/cni/bin",
            "/etc/cni/multus/net.d",
            "/var/run/netns",
        ),
    ] {
        let cni = object(case, "DaemonSet", "istio-cni-node");
        let volumes = cni["spec"]["template"]["spec"]["volumes"]
            .as_array()
            .unwrap();
        let path = |name: &str| {
            volumes
                .iter()
                .find(|volume| volume["name"] == name)
                .unwrap()["hostPath"]["path"]
                .clone()
        };
        assert_eq!(
            (
                path("cni-bin-dir"),
                path("cni-net-dir"),
                path("cni-netns-dir")
            ),
            (bin.into(), conf.into(), netns.into()),
            "{case}"
        );
    }
}
