//! ValidatingAdmissionPolicies that keep a running mesh from being pulled out from under its users.
//!
//! The first reads only the member that is being deleted. The others ask whether any MeshMember exists: members are their
//! parameters, and with none found the deletion is allowed, so removing everything in order needs no override.

use serde_json::{Value, json};

use super::labels;
use crate::names;

/// The policies and their bindings.
pub fn objects() -> Vec<Value> {
    let crds: Vec<String> = crate::api::crds()
        .into_iter()
        .filter_map(|crd| crd.metadata.name)
        .collect();
    let roles = crate::rights::component_names();
    // `kubectl delete -k` would take all of them along: the operator's own with the network's root key, and the probe's, which
    // would then be on its way out when the manifests are applied again.
    let namespaces = [
        names::SYSTEM_NAMESPACE,
        names::OPERATOR_NAMESPACE,
        names::PROBE_NAMESPACE,
    ]
    .map(str::to_owned);
    vec![
        leave(),
        binding("applink-member-leave", false),
        keep(
            "applink-keep-namespaces",
            // Namespaces cannot be deleted as a collection, so names do: while the API server has not found the parameters
            // (for half a minute after its start) it refuses whatever a rule matches, and that must not be everybody's.
            &json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["namespaces"], "resourceNames": namespaces}),
            &namespaces,
            "namespace",
        ),
        binding("applink-keep-namespaces", true),
        keep(
            "applink-keep-kinds",
            &json!({"apiGroups": ["apiextensions.k8s.io"], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["customresourcedefinitions"]}),
            &crds,
            "kind",
        ),
        binding("applink-keep-kinds", true),
        // Without these roles the components of a running mesh lose their rights one watch at a time.
        keep(
            "applink-keep-roles",
            &json!({"apiGroups": ["rbac.authorization.k8s.io"], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["clusterroles"]}),
            &roles,
            "cluster role",
        ),
        binding("applink-keep-roles", true),
        networks(),
        binding("applink-keep-networks", true),
    ]
}

/// Refuses to delete a network that a MeshMember belongs to: its trust domain and its mode, strict perhaps, are what the
/// mesh runs by.
fn networks() -> Value {
    let of_member = format!(
        "has(params.spec.applicationNetwork) ? params.spec.applicationNetwork : '{}'",
        names::DEFAULT_NETWORK
    );
    refusal(
        "applink-keep-networks",
        &json!({"apiGroups": [names::GROUP], "apiVersions": ["*"], "operations": ["DELETE"], "resources": ["applicationnetworks"]}),
        None,
        &format!("params == null || ({of_member}) != oldObject.metadata.name"),
        "network",
    )
}

/// Refuses to delete a member that has enrolled namespaces, by the names in its own status.
fn leave() -> Value {
    let enrolled = "has(oldObject.status) && has(oldObject.status.membership) && has(oldObject.status.membership.namespaces) ? \
                    oldObject.status.membership.namespaces : 0";
    let names = "has(oldObject.status) && has(oldObject.status.membership) && has(oldObject.status.membership.enrolledNames) ? \
                 oldObject.status.membership.enrolledNames : []";
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "applink-member-leave", "labels": labels()},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": constraints(&json!({"apiGroups": [names::GROUP], "apiVersions": ["*"], "operations": ["DELETE"], "resources": ["meshmembers"]})),
            "variables": [
                {"name": "enrolled", "expression": enrolled},
                {"name": "names", "expression": names},
                {"name": "unenrol", "expression": "has(oldObject.spec) && has(oldObject.spec.leavePolicy) && oldObject.spec.leavePolicy == 'UnenrolNamespaces'"},
            ],
            "validations": [{
                "expression": "variables.enrolled == 0 || variables.unenrol",
                "messageExpression": "'MeshMember ' + oldObject.metadata.name + ' still has ' + string(variables.enrolled) + ' enrolled namespace(s): ' + \
                    variables.names.join(', ') + (variables.enrolled > size(variables.names) ? ', ...' : '') + \
                    '. Remove the label istio.io/dataplane-mode from them, or set spec.leavePolicy to UnenrolNamespaces, then delete again.'",
                "reason": "Forbidden",
            }],
        },
    })
}

/// Refuses to delete the named objects while any MeshMember exists.
fn keep(name: &str, rule: &Value, objects: &[String], word: &str) -> Value {
    let list = objects
        .iter()
        .map(|object| format!("'{object}'"))
        .collect::<Vec<_>>()
        .join(", ");
    // Not resourceNames alone: a rule with names does not see the deletion of a whole collection.
    let is_ours =
        json!({"name": "is-ours", "expression": format!("oldObject.metadata.name in [{list}]")});
    refusal(name, rule, Some(is_ours), "params == null", word)
}

/// Refuses a deletion unless this holds, of each MeshMember or, where there is none, of nothing.
fn refusal(
    name: &str,
    rule: &Value,
    condition: Option<Value>,
    is_allowed: &str,
    word: &str,
) -> Value {
    let mut policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name, "labels": labels()},
        "spec": {
            "failurePolicy": "Fail",
            "paramKind": {"apiVersion": format!("{}/v1alpha1", names::GROUP), "kind": "MeshMember"},
            "matchConstraints": constraints(rule),
            "validations": [{
                "expression": is_allowed,
                "messageExpression": format!(
                    "'The {word} ' + oldObject.metadata.name + ' is in use by MeshMember ' + params.metadata.name + \
                     '. Delete that first and wait until it is gone: kubectl delete meshmember ' + params.metadata.name"
                ),
                "reason": "Forbidden",
            }],
        },
    });
    if let Some(condition) = condition {
        policy["spec"]["matchConditions"] = json!([condition]);
    }
    policy
}

/// What a policy is asked about. Nothing is left to the API server's defaults: the field has one owner as a whole, and what
/// lacks them is another value than what is there, so that `kubectl apply` would be in conflict with `applink install`.
fn constraints(rule: &Value) -> Value {
    let mut rule = rule.clone();
    rule["scope"] = json!("*");
    json!({
        "matchPolicy": "Equivalent",
        "namespaceSelector": {},
        "objectSelector": {},
        "resourceRules": [rule],
    })
}

fn binding(policy: &str, with_params: bool) -> Value {
    let mut spec = json!({"policyName": policy, "validationActions": ["Deny"]});
    if with_params {
        spec["paramRef"] = json!({"selector": {}, "parameterNotFoundAction": "Allow"});
    }
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": policy, "labels": labels()},
        "spec": spec,
    })
}
