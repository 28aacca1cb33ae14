//! The namespaces: the operator's and its probe's, held to the strictest Pod Security level, and the data plane's, which
//! needs the host.

use serde_json::{Value, json};

use crate::names;

/// All of them. Neither of the first two may ever be part of the mesh it runs; the probe's is, and is empty while no node
/// moves.
pub fn objects() -> Vec<Value> {
    let (out, within) = (names::DATAPLANE_MODE_NONE, names::DATAPLANE_MODE_AMBIENT);
    vec![
        namespace(names::OPERATOR_NAMESPACE, "restricted", out),
        namespace(names::SYSTEM_NAMESPACE, "privileged", out),
        namespace(names::PROBE_NAMESPACE, "restricted", within),
    ]
}

fn namespace(name: &str, level: &str, mode: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {
            "app.kubernetes.io/part-of": "applink",
            "pod-security.kubernetes.io/enforce": level,
            "pod-security.kubernetes.io/audit": level,
            "pod-security.kubernetes.io/warn": level,
            names::DATAPLANE_MODE_LABEL: mode,
        }},
    })
}
