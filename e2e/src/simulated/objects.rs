//! The objects of a simulated cluster: nodes, and enrolled workloads on each of them.

use applink::names;
use serde_json::{Value, json};

use super::MANAGED;
use crate::programs::KUBERNETES;
use crate::stage;

/// The namespace of the workloads.
pub const SHOP: &str = "shop";
/// Zones that the nodes are spread over.
const ZONES: u16 = 3;

/// The name of a node, counted from 0.
pub fn node_name(number: u16) -> String {
    format!("simulated-{number:04}")
}

/// A node as its kubelet registers it; it is Ready once kwok says so.
pub fn node(number: u16) -> Value {
    let name = node_name(number);
    let room = json!({"cpu": "8", "memory": "32Gi", "pods": "110", "ephemeral-storage": "100Gi"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {MANAGED.0: MANAGED.1},
            "labels": {
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/os": "linux",
                "kubernetes.io/hostname": name,
                "node.kubernetes.io/instance-type": "simulated",
                "topology.kubernetes.io/region": "simulated",
                "topology.kubernetes.io/zone": format!("zone-{}", number % ZONES),
            },
        },
        "spec": {
            "podCIDR": pods(number),
            "podCIDRs": [pods(number)],
            "providerID": format!("kwok://{name}"),
        },
        "status": {
            "capacity": room,
            "allocatable": room,
            "addresses": [
                {"type": "InternalIP", "address": format!("172.20.{}.{}", number / 250, number % 250 + 1)},
                {"type": "Hostname", "address": name},
            ],
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": "", "machineID": "", "systemUUID": "",
                "containerRuntimeVersion": "simulated://1",
                "kernelVersion": "6.12.0",
                "kubeProxyVersion": "",
                "kubeletVersion": format!("v{KUBERNETES}"),
                "operatingSystem": "linux",
                "osImage": "simulated",
            },
        },
    })
}

/// A node's range of pod addresses.
fn pods(number: u16) -> String {
    format!("10.{}.{}.0/24", 64 + number / 256, number % 256)
}

/// The enrolled namespace, and pods in it: `each` of them on every node. They carry what the network agent writes on pods
/// that it has captured: no agent runs here.
pub fn workloads(each: u8) -> Vec<Value> {
    let space = stage::namespace(
        SHOP,
        &json!({names::DATAPLANE_MODE_LABEL: names::DATAPLANE_MODE_AMBIENT}),
    );
    let sets = (0..each).map(|number| {
        let name = format!("shop-{number}");
        let labels = json!({"app": name});
        json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": name, "namespace": SHOP},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {
                        "labels": labels,
                        "annotations": {names::REDIRECTION_ANNOTATION: names::REDIRECTION_ENABLED},
                    },
                    "spec": {"containers": [{"name": "shop", "image": "registry.example/shop:1"}]},
                },
            },
        })
    });
    std::iter::once(space).chain(sets).collect()
}

/// What istiod writes into the namespace of the data plane: no istiod runs here.
pub fn root_certificate() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": names::ROOT_CONFIG_MAP, "namespace": names::SYSTEM_NAMESPACE},
        "data": {"root-cert.pem": "simulated"},
    })
}

/// A release whose images exist nowhere: nobody pulls them.
pub fn release(version: &str) -> Value {
    let mut release = stage::Stage::release(version, &[]);
    for component in ["pilot", "install-cni", "applink"] {
        release["spec"]["images"][component] = json!({
            "repository": format!("registry.example/{component}"),
            "tag": version,
        });
    }
    release
}
