//! Roles and bindings: the components', with fixed names, and the operator's own with [`rights`].

use serde_json::{Value, json};

use super::{labels, operator::NAME};
use crate::names;
use crate::rights;

/// Verbs that no rule of the operator may contain, anywhere.
pub const FORBIDDEN_EVERYWHERE: [&str; 3] = ["*", "escalate", "impersonate"];

/// The ClusterRoles of istiod, the CNI agent and the node proxy.
pub fn components() -> Vec<Value> {
    crate::desired::rbac::cluster_roles()
        .into_iter()
        .map(|mut role| {
            role.metadata
                .labels
                .get_or_insert_default()
                .insert("app.kubernetes.io/part-of".to_owned(), "applink".to_owned());
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": role.metadata,
                "rules": role.rules,
            })
        })
        .collect()
}

/// The operator's roles and their bindings.
pub fn operator() -> Vec<Value> {
    let subject =
        json!([{"kind": "ServiceAccount", "name": NAME, "namespace": names::OPERATOR_NAMESPACE}]);
    let mut objects = vec![
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": NAME, "labels": labels()},
            "rules": rights::everywhere(),
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": NAME, "labels": labels()},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME},
            "subjects": subject,
        }),
    ];
    for (namespace, rules) in rights::by_namespace() {
        objects.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": NAME, "namespace": namespace, "labels": labels()},
            "rules": rules,
        }));
        objects.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": NAME, "namespace": namespace, "labels": labels()},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME},
            "subjects": subject,
        }));
    }
    objects
}
