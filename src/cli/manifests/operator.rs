//! The operator itself: its account, its Deployment and the Service that Prometheus finds.

use serde_json::{Value, json};

use super::labels;
use crate::names;

/// Name of everything that is the operator's own: account, roles, Deployment, Service.
pub const NAME: &str = "applink-operator";
/// Port of `/metrics`, `/livez` and `/readyz`.
pub const ADMIN_PORT: u16 = 8080;

/// Account, Deployment and metrics Service, with this image.
pub fn objects(image: &str) -> Vec<Value> {
    let selector =
        json!({"app.kubernetes.io/name": "applink", "app.kubernetes.io/component": "operator"});
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": names::OPERATOR_NAMESPACE, "labels": labels()}}),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "applink-operator-metrics", "namespace": names::OPERATOR_NAMESPACE, "labels": labels()},
            "spec": {"selector": selector, "ports": [{"name": "http-metrics", "port": ADMIN_PORT, "targetPort": "http-metrics", "protocol": "TCP"}]},
        }),
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": NAME, "namespace": names::OPERATOR_NAMESPACE, "labels": labels()},
            "spec": {
                "replicas": 1,
                "revisionHistoryLimit": 2,
                "selector": {"matchLabels": selector},
                "template": {
                    "metadata": {
                        "labels": labels(),
                        "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": ADMIN_PORT.to_string()},
                    },
                    "spec": pod(image),
                },
            },
        }),
    ]
}

fn pod(image: &str) -> Value {
    json!({
        "serviceAccountName": NAME,
        "priorityClassName": "system-cluster-critical",
        // Time to give the Lease back, so that a successor starts at once.
        "terminationGracePeriodSeconds": 20,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        // The operator must run while nodes are not ready: it is what makes their network complete.
        "tolerations": [
            {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "CriticalAddonsOnly", "operator": "Exists"},
        ],
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{
            "name": "operator",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "args": ["operator"],
            "env": [
                {"name": "POD_NAME", "valueFrom": field("metadata.name")},
                {"name": "POD_NAMESPACE", "valueFrom": field("metadata.namespace")},
            ],
            "ports": [{"name": "http-metrics", "containerPort": ADMIN_PORT, "protocol": "TCP"}],
            "startupProbe": {"httpGet": {"path": "/livez", "port": "http-metrics"}, "periodSeconds": 1, "failureThreshold": 60},
            "livenessProbe": {"httpGet": {"path": "/livez", "port": "http-metrics"}, "periodSeconds": 20, "timeoutSeconds": 5, "failureThreshold": 3},
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http-metrics"}, "periodSeconds": 5, "timeoutSeconds": 5},
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
        }],
    })
}

/// A field of the pod, with nothing left to the API server's defaults: the reference has one owner as a whole, and what
/// lacks them would be in conflict with what is there.
fn field(path: &str) -> Value {
    json!({"fieldRef": {"apiVersion": "v1", "fieldPath": path}})
}
