//! What is unusual about nodes and namespaces: a warning with what follows from it, and no more.

use serde_json::{Value, json};

use crate::fixture::on_stage;
use crate::input_fault::{Fault, SOMEBODY};
use crate::input_rows::{Row, behind_a_blocker, pinned};

/// A node that has registered and is never heard of again.
fn node(name: &str, system: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/os": system}},
        "status": {"nodeInfo": {
            "operatingSystem": system, "architecture": "amd64", "kubeletVersion": "v1.34.4",
            "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "",
            "machineID": "", "osImage": "", "systemUUID": "",
        }},
    })
}

fn wall(name: &str, spec: Value) -> Fault {
    Fault::There(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": SOMEBODY}, "spec": spec,
    }))
}

#[test]
fn nodes_that_are_away_or_of_another_kind_are_told_with_what_follows() {
    on_stage(|stage| async move {
        let mut intolerant = pinned();
        intolerant["dataPlane"] = json!({"tolerations": [{"key": "other", "operator": "Exists"}]});
        let rows = [
            Row::warns(
                "not-linux",
                Fault::Node(node("glass", "windows")),
                &["NodesNotLinux", "Node glass", "stay outside the mesh"],
            ),
            Row::warns(
                "not-ready",
                Fault::Node(node("away", "linux")),
                &[
                    "NodesNotReady",
                    "Node away",
                    "they are served when they return",
                    "kubectl describe node",
                ],
            ),
            Row::warns(
                "cordoned",
                Fault::Kubectl("cordon node-2", "uncordon node-2"),
                &[
                    "NodesCordoned",
                    "Node node-2",
                    "they are served like any other",
                ],
            ),
            Row::warns(
                "tainted",
                Fault::Kubectl(
                    "taint node node-2 gpu=yes:NoSchedule",
                    "taint node node-2 gpu=yes:NoSchedule-",
                ),
                &["TaintNotTolerated", "Node node-2", "add the tolerations"],
            )
            .with(intolerant),
            Row::warns(
                "virtual",
                Fault::Kubectl(
                    "label node node-2 type=virtual-kubelet",
                    "label node node-2 type-",
                ),
                &["NodesVirtual", "Node node-2", "stay outside the mesh"],
            ),
        ];
        behind_a_blocker(stage, &rows).await;
    });
}

#[test]
fn namespaces_whose_policies_or_labels_are_in_the_way_are_named() {
    on_stage(|stage| async move {
        let only_8080 = json!({"podSelector": {}, "ingress": [{"ports": [{"port": 8080}]}]});
        let only_pods = json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]});
        // Policies count in namespaces that are enrolled, and in no others.
        let enrolled = |policy: Fault| {
            let enrol = Fault::Kubectl(
                "label namespace somebody istio.io/dataplane-mode=ambient",
                "label namespace somebody istio.io/dataplane-mode-",
            );
            Fault::Both(Box::new(policy), Box::new(enrol))
        };
        let rows = [
            Row::warns(
                "no-tunnel",
                enrolled(wall("only-8080", only_8080)),
                &[
                    "NetworkPolicyBlocksTunnel",
                    "NetworkPolicy somebody/only-8080",
                    "allow TCP port 15008 in and out",
                ],
            ),
            Row::warns(
                "no-probes",
                enrolled(wall("only-pods", only_pods)),
                &[
                    "NetworkPolicyBlocksProbes",
                    "NetworkPolicy somebody/only-pods",
                    "allow ingress from 169.254.7.127/32",
                ],
            ),
            Row::warns(
                "asks-for-sidecars",
                Fault::Kubectl(
                    "label namespace somebody istio-injection=enabled",
                    "label namespace somebody istio-injection-",
                ),
                &[
                    "SidecarLabels",
                    "Namespace somebody",
                    "enrol with istio.io/dataplane-mode=ambient instead",
                ],
            ),
        ];
        behind_a_blocker(stage, &rows).await;
    });
}
