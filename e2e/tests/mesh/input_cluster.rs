//! Clusters that a mesh cannot be installed in: each is told with its remedy, and nothing is written.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fixture::{MEMBER, installed, on_stage};
use crate::input_fault::{Fault, SOMEBODY, daemon_set};
use crate::input_rows::{Row, behind_a_blocker, mended, pinned, told, untouched};

/// A member whose selector no node matches.
fn no_node_selected(name: &'static str) -> Row {
    let mut spec: Value = pinned();
    spec["dataPlane"] = json!({"nodeSelector": {"disk": "tape"}});
    Row {
        name,
        fault: None,
        spec,
        told: ("Stalled", "PreflightFailed"),
        words: &[
            "NoNodeSelected",
            "no node has disk=tape, of 2",
            "label the nodes that should carry the mesh",
        ],
    }
}

#[test]
fn a_cluster_that_cannot_carry_the_mesh_is_left_as_it_is() {
    on_stage(|stage| async move {
        let labels = json!({"app": "istiod"});
        let istiod = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "istiod", "namespace": SOMEBODY, "labels": labels},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "none", "image": "none"}]},
                },
            },
        });
        let injector = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "somebodys-injector", "labels": {"app": "sidecar-injector"}},
            "webhooks": [],
        });
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota",
            "metadata": {"name": "small", "namespace": "applink-system"},
            "spec": {"hard": {"pods": "1"}},
        });
        let rows = [
            Row {
                name: "foreign-proxy",
                fault: None,
                spec: pinned(),
                told: ("Stalled", "PreflightFailed"),
                words: &[
                    "ForeignZtunnel",
                    "DaemonSet somebody/ztunnel",
                    "uninstall that mesh first",
                ],
            },
            Row::blocks(
                "foreign-agent",
                Fault::There(daemon_set("istio-cni-node")),
                &[
                    "ForeignCniAgent",
                    "DaemonSet somebody/istio-cni-node",
                    "uninstall that mesh first",
                ],
            ),
            Row::blocks(
                "sidecar-istiod",
                Fault::There(istiod),
                &[
                    "SidecarMesh",
                    "Deployment somebody/istiod",
                    "remove it first",
                ],
            ),
            Row::blocks(
                "sidecar-injector",
                Fault::There(injector),
                &[
                    "SidecarMesh",
                    "MutatingWebhookConfiguration somebodys-injector",
                    "remove it first",
                ],
            ),
            Row::blocks(
                "pod-security",
                Fault::Kubectl(
                    "label --overwrite namespace applink-system pod-security.kubernetes.io/enforce=restricted",
                    "label --overwrite namespace applink-system pod-security.kubernetes.io/enforce=privileged",
                ),
                &[
                    "PodSecurity",
                    "level restricted refuses",
                    "kubectl label --overwrite namespace applink-system",
                ],
            ),
            Row::blocks(
                "enrolled-system",
                Fault::Kubectl(
                    "label --overwrite namespace applink-system istio.io/dataplane-mode=ambient",
                    "label --overwrite namespace applink-system istio.io/dataplane-mode=none",
                ),
                &[
                    "SystemNamespaceEnrolled",
                    "Namespace applink-system",
                    "kubectl label namespace applink-system istio.io/dataplane-mode-",
                ],
            ),
            Row::blocks(
                "small-quota",
                Fault::There(quota),
                &[
                    "QuotaTooSmall",
                    "ResourceQuota applink-system/small",
                    "raise the quota or delete it",
                ],
            ),
            Row::blocks(
                "no-linux",
                Fault::System("windows"),
                &[
                    "NoLinuxNode",
                    "none of 2 can carry the mesh",
                    "add a Linux node",
                ],
            ),
            no_node_selected("no-node-selected"),
        ];
        behind_a_blocker(stage, &rows).await;
    });
}

#[test]
fn a_selector_that_no_node_matches_takes_a_running_mesh_from_nobody() {
    on_stage(|stage| async move {
        installed(stage).await;
        let since = Timestamp::now();
        let row = no_node_selected(MEMBER);
        told(stage, &row).await;
        let held = stage
            .read_member(MEMBER)
            .await
            .unwrap()
            .status
            .unwrap()
            .conditions;
        let ready = held.iter().find(|one| one.type_ == "Ready").unwrap();
        assert_eq!(ready.status, "True", "{held:#?}");
        untouched(stage, since);
        installed(stage).await;
        mended(stage, &row).await;
    });
}
