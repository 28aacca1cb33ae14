//! The two namespaces: the operator's, held to the strictest Pod Security level, and the data plane's, which needs the host.

use serde_json::{Value, json};

use crate::names;

/// Both namespaces.
pub fn objects() -> Vec<Value> {
    vec![
        namespace(names::OPERATOR_NAMESPACE, "restricted"),
        namespace(names::SYSTEM_NAMESPACE, "privileged"),
    ]
}

fn namespace(name: &str, level: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {
            "app.kubernetes.io/part-of": "applink",
            "pod-security.kubernetes.io/enforce": level,
            "pod-security.kubernetes.io/audit": level,
            "pod-security.kubernetes.io/warn": level,
            // Neither namespace may ever be part of the mesh it runs.
            "istio.io/dataplane-mode": "none",
        }},
    })
}
