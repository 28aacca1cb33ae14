//! Rights: the components' roles, with fixed names, and the operator's own, as few as it can work with.
//!
//! The operator may *bind* the component roles by name and nothing else: it cannot write a role (no `escalate`), and it reads
//! no Secret outside its own namespace and `cacerts`.

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value, json};

use super::{labels, operator::NAME};
use crate::names;

/// Verbs that no rule of the operator may contain, anywhere.
pub const FORBIDDEN_EVERYWHERE: [&str; 3] = ["*", "escalate", "impersonate"];

/// What a watch needs: everything is read by watching, single objects only where a rule says `get`.
const READ: [&str; 2] = ["list", "watch"];
/// What server-side apply of an own object and its removal need.
const OWN: [&str; 5] = ["list", "watch", "create", "patch", "delete"];

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

/// Names of the component roles: what the operator may bind.
pub fn component_names() -> Vec<String> {
    crate::desired::rbac::cluster_roles()
        .into_iter()
        .filter_map(|role| role.metadata.name)
        .collect()
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |list: &[&str]| {
        list.iter()
            .map(|item| (*item).to_owned())
            .collect::<Vec<_>>()
    };
    PolicyRule {
        api_groups: Some(owned(groups)),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        resource_names: None,
        non_resource_urls: None,
    }
}

fn named(groups: &[&str], resources: &[&str], names: &[&str], verbs: &[&str]) -> PolicyRule {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    PolicyRule {
        resource_names: Some(names),
        ..rule(groups, resources, verbs)
    }
}

/// What the operator may do in every namespace and on objects that belong to none.
pub fn operator_cluster_rules() -> Vec<PolicyRule> {
    let components = component_names();
    let components: Vec<&str> = components.iter().map(String::as_str).collect();
    vec![
        // Our own kinds. A network named `default` is made on demand; members are never created, only finalized.
        rule(
            &[names::GROUP],
            &["meshmembers"],
            &["list", "watch", "patch"],
        ),
        rule(&[names::GROUP], &["meshreleases"], &READ),
        rule(
            &[names::GROUP],
            &["applicationnetworks"],
            &["list", "watch", "create"],
        ),
        rule(
            &[names::GROUP],
            &[
                "meshmembers/status",
                "applicationnetworks/status",
                "meshreleases/status",
            ],
            &["patch"],
        ),
        // Nodes: which need a proxy, the label and taint that move one, and what room one has.
        rule(&[""], &["nodes"], &["get", "list", "watch", "patch"]),
        // Namespaces: enrolment, the network label of the data plane's own, un-enrolment on leave.
        rule(&[""], &["namespaces"], &["list", "watch", "patch"]),
        // Pods: which are enrolled. Never changed outside the data plane's namespace.
        rule(&[""], &["pods"], &READ),
        // Preflight: a mesh of somebody else, policies that would block the tunnel.
        rule(&["apps"], &["daemonsets", "deployments"], &READ),
        rule(&["networking.k8s.io"], &["networkpolicies"], &READ),
        rule(
            &["admissionregistration.k8s.io"],
            &["mutatingwebhookconfigurations"],
            &READ,
        ),
        // What istiod makes at run time and leaves behind: removed when the member leaves.
        named(
            &["gateway.networking.k8s.io"],
            &["gatewayclasses"],
            &names::GATEWAY_CLASSES,
            &["get", "delete"],
        ),
        named(
            &[""],
            &["configmaps"],
            &[names::ROOT_CONFIG_MAP, names::REVOKED_CONFIG_MAP],
            &["delete"],
        ),
        // Kinds of Istio and of the Gateway API. Deleting them is for the user.
        rule(
            &["apiextensions.k8s.io"],
            &["customresourcedefinitions"],
            &["list", "watch", "create", "patch"],
        ),
        rule(
            &["admissionregistration.k8s.io"],
            &["validatingwebhookconfigurations"],
            &OWN,
        ),
        // Bindings of the shipped roles, and only of those.
        rule(
            &["rbac.authorization.k8s.io"],
            &["clusterrolebindings"],
            &OWN,
        ),
        named(
            &["rbac.authorization.k8s.io"],
            &["clusterroles"],
            &components,
            &["bind"],
        ),
        rule(&["events.k8s.io"], &["events"], &["create", "patch"]),
    ]
}

/// What the operator may do in the data plane's namespace.
fn system_rules() -> Vec<PolicyRule> {
    vec![
        rule(&["apps"], &["daemonsets", "deployments"], &OWN),
        rule(
            &[""],
            &[
                "configmaps",
                "serviceaccounts",
                "services",
                "resourcequotas",
            ],
            &OWN,
        ),
        rule(&[""], &["pods"], &["list", "watch", "delete"]),
        rule(&[""], &["pods/portforward"], &["get", "create"]),
        // istiod is asked for a certificate as the node proxy asks: with a token of its account.
        named(
            &[""],
            &["serviceaccounts/token"],
            &[names::ZTUNNEL],
            &["create"],
        ),
        // A create request carries no name when it is authorised, so it cannot be granted by name. Nothing is read but
        // `cacerts` and the copy of the pull secrets.
        rule(&[""], &["secrets"], &["create"]),
        named(
            &[""],
            &["secrets"],
            &[names::CACERTS_SECRET, names::PULL_SECRET],
            &["get", "list", "watch", "patch", "delete"],
        ),
        // istiod's replicas are left to an autoscaler of the user's.
        rule(&["autoscaling"], &["horizontalpodautoscalers"], &READ),
        rule(&["policy"], &["poddisruptionbudgets"], &OWN),
        rule(&["rbac.authorization.k8s.io"], &["rolebindings"], &OWN),
        rule(&["security.istio.io"], &["peerauthentications"], &OWN),
        rule(&["coordination.k8s.io"], &["leases"], &["list", "delete"]),
    ]
}

/// What the operator may do in namespace `default`: on OpenShift the CNI plugin is named there for Multus.
fn openshift_rules() -> Vec<PolicyRule> {
    const GROUP: &[&str] = &["k8s.cni.cncf.io"];
    const KIND: &[&str] = &["network-attachment-definitions"];
    vec![
        rule(GROUP, KIND, &["create"]),
        named(
            GROUP,
            KIND,
            &["istio-cni"],
            &["list", "watch", "patch", "delete"],
        ),
    ]
}

/// What the operator may do in namespace `kube-system`: see how Cilium is set up.
fn network_rules() -> Vec<PolicyRule> {
    vec![named(&[""], &["configmaps"], &["cilium-config"], &READ)]
}

/// What the operator may do in its own namespace.
fn home_rules() -> Vec<PolicyRule> {
    vec![
        rule(
            &["coordination.k8s.io"],
            &["leases"],
            &["get", "create", "update"],
        ),
        rule(
            &[""],
            &["secrets"],
            &["get", "list", "watch", "create", "patch"],
        ),
    ]
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
            "rules": operator_cluster_rules(),
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": NAME, "labels": labels()},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME},
            "subjects": subject,
        }),
    ];
    for (namespace, rules) in [
        (names::SYSTEM_NAMESPACE, system_rules()),
        (names::OPERATOR_NAMESPACE, home_rules()),
        ("default", openshift_rules()),
        ("kube-system", network_rules()),
    ] {
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
