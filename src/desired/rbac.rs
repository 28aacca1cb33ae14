//! Rights of the components: ClusterRoles with fixed names, and bindings to them.
//!
//! The ClusterRoles ship in `manifests/`; the operator only binds them (`bind` with `resourceNames`, never `escalate`).
//! So what a role grants cannot depend on a member or a release: each is the union of what Istio 1.29 to 1.31 use. The
//! names are ours and not upstream's, so that installing the operator never rewrites the roles of an Istio already there.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, RoleBinding, RoleRef, Subject,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::manifest::{Error, Manifest};
use super::meta::{self, COMPONENT_LABEL, Component};
use super::pod;
use crate::blueprint::Blueprint;
use crate::names;

/// Rights of istiod in the whole cluster.
pub const ISTIOD: &str = "applink-istiod";
/// Rights of istiod to run waypoints and gateways in the whole cluster.
pub const ISTIOD_GATEWAYS: &str = "applink-istiod-gateways";
/// Rights of istiod in `applink-system` only: bound there by a RoleBinding.
pub const ISTIOD_SYSTEM: &str = "applink-istiod-system";
/// Rights of istiod to take the start-up taint off nodes; bound only where that is asked for.
pub const ISTIOD_UNTAINT: &str = "applink-istiod-untaint";
/// Rights of another cluster's istiod to read this one.
pub const READER: &str = "applink-istio-reader";
/// Rights of the CNI agent.
pub const CNI: &str = "applink-istio-cni";
/// Use of OpenShift's security context constraint `privileged`; bound on OpenShift only.
pub const OPENSHIFT_PRIVILEGED: &str = "applink-openshift-privileged";

/// Every name in [`cluster_roles`]: what the operator may bind.
pub const NAMES: [&str; 7] = [
    ISTIOD,
    ISTIOD_GATEWAYS,
    ISTIOD_SYSTEM,
    ISTIOD_UNTAINT,
    READER,
    CNI,
    OPENSHIFT_PRIVILEGED,
];

const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 7] = [
    "get", "list", "watch", "create", "update", "patch", "delete",
];
const ISTIO_GROUPS: [&str; 4] = [
    "extensions.istio.io",
    "networking.istio.io",
    "security.istio.io",
    "telemetry.istio.io",
];

/// The ClusterRoles of all components, as `manifests/` ships them: sorted by name, without any member's label.
#[must_use]
pub fn cluster_roles() -> Vec<ClusterRole> {
    let mut roles = vec![
        role(CNI, Component::Cni, cni()),
        role(READER, Component::Istiod, reader()),
        role(ISTIOD, Component::Istiod, istiod()),
        role(ISTIOD_GATEWAYS, Component::Istiod, istiod_gateways()),
        role(ISTIOD_SYSTEM, Component::Istiod, istiod_system()),
        role(
            ISTIOD_UNTAINT,
            Component::Istiod,
            vec![rule("", &["nodes"], &["patch"])],
        ),
        role(
            OPENSHIFT_PRIVILEGED,
            Component::Foundation,
            openshift_privileged(),
        ),
    ];
    roles.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    roles
}

/// Source: `istiod-clusterrole` of Istio's chart. Left out: status of every configuration kind (only its analysis, which
/// is off, writes them), injection webhooks beyond reading (there is no sidecar injection; the watcher of the default
/// revision reads them), ingress status (no ingress controller is configured), certificate signing requests and trust
/// bundles (istiod itself signs).
fn istiod() -> Vec<PolicyRule> {
    vec![
        rule(
            "admissionregistration.k8s.io",
            &["mutatingwebhookconfigurations"],
            &READ,
        ),
        rule(
            "admissionregistration.k8s.io",
            &["validatingwebhookconfigurations"],
            &["get", "list", "watch", "update"],
        ),
        groups(&ISTIO_GROUPS, &["*"], &READ),
        rule(
            "networking.istio.io",
            &[
                "workloadentries",
                "workloadentries/status",
                "serviceentries/status",
            ],
            &WRITE,
        ),
        rule(
            "security.istio.io",
            &["authorizationpolicies/status"],
            &WRITE,
        ),
        rule("", &["services/status"], &WRITE),
        rule(
            "apiextensions.k8s.io",
            &["customresourcedefinitions"],
            &READ,
        ),
        rule(
            "",
            &["endpoints", "namespaces", "nodes", "pods", "services"],
            &READ,
        ),
        rule("discovery.k8s.io", &["endpointslices"], &READ),
        rule("networking.k8s.io", &["ingresses", "ingressclasses"], &READ),
        rule(
            "networking.k8s.io",
            &["ingresses/status"],
            &["get", "update", "patch"],
        ),
        rule(
            "",
            &["configmaps"],
            &["get", "list", "watch", "create", "update"],
        ),
        rule("authentication.k8s.io", &["tokenreviews"], &["create"]),
        rule(
            "authorization.k8s.io",
            &["subjectaccessreviews"],
            &["create"],
        ),
        groups(
            &["gateway.networking.k8s.io", "gateway.networking.x-k8s.io"],
            &["*"],
            &READ,
        ),
        rule(
            "gateway.networking.k8s.io",
            &[
                "backendtlspolicies/status",
                "gatewayclasses/status",
                "gateways/status",
                "grpcroutes/status",
                "httproutes/status",
                "listenersets/status",
                "referencegrants/status",
                "tcproutes/status",
                "tlsroutes/status",
                "udproutes/status",
            ],
            &["update", "patch"],
        ),
        rule(
            "gateway.networking.x-k8s.io",
            &["xbackendtrafficpolicies/status", "xlistenersets/status"],
            &["update", "patch"],
        ),
        rule(
            "gateway.networking.k8s.io",
            &["gatewayclasses"],
            &["create", "update", "patch", "delete"],
        ),
        rule("inference.networking.k8s.io", &["inferencepools"], &READ),
        rule(
            "inference.networking.k8s.io",
            &["inferencepools/status"],
            &["update", "patch"],
        ),
        // Without it the watch for remote clusters' secrets never syncs and istiod stays unready.
        rule("", &["secrets"], &READ),
        rule(
            "multicluster.x-k8s.io",
            &["serviceexports"],
            &["get", "list", "watch", "create", "delete"],
        ),
        rule("multicluster.x-k8s.io", &["serviceimports"], &READ),
    ]
}

/// Source: `istiod-gateway-controller` of Istio's chart.
fn istiod_gateways() -> Vec<PolicyRule> {
    vec![
        rule("apps", &["deployments"], &WRITE),
        rule("autoscaling", &["horizontalpodautoscalers"], &WRITE),
        rule("policy", &["poddisruptionbudgets"], &WRITE),
        rule("", &["serviceaccounts", "services"], &WRITE),
    ]
}

/// Source: the namespaced Role of Istio's chart. Creating gateways is istiod's dry run that shows its webhook refuses.
fn istiod_system() -> Vec<PolicyRule> {
    vec![
        rule("networking.istio.io", &["gateways"], &["create"]),
        rule(
            "",
            &["secrets"],
            &["get", "list", "watch", "create", "update", "delete"],
        ),
        rule("", &["configmaps"], &["delete"]),
        rule(
            "coordination.k8s.io",
            &["leases"],
            &["get", "create", "update", "patch"],
        ),
    ]
}

/// Source: `istio-reader-clusterrole` of Istio's chart.
fn reader() -> Vec<PolicyRule> {
    vec![
        groups(&ISTIO_GROUPS, &["*"], &READ),
        rule(
            "",
            &[
                "configmaps",
                "endpoints",
                "namespaces",
                "nodes",
                "pods",
                "secrets",
                "services",
            ],
            &READ,
        ),
        rule("gateway.networking.k8s.io", &["gateways"], &READ),
        rule(
            "apiextensions.k8s.io",
            &["customresourcedefinitions"],
            &READ,
        ),
        rule("discovery.k8s.io", &["endpointslices"], &READ),
        rule(
            "multicluster.x-k8s.io",
            &["serviceexports"],
            &["get", "list", "watch", "create", "delete"],
        ),
        rule("multicluster.x-k8s.io", &["serviceimports"], &READ),
        rule("apps", &["replicasets"], &READ),
        rule("authentication.k8s.io", &["tokenreviews"], &["create"]),
        rule(
            "authorization.k8s.io",
            &["subjectaccessreviews"],
            &["create"],
        ),
    ]
}

/// Source: `istio-cni` and `istio-cni-ambient` of Istio's chart. The agent asks for its DaemonSet to tell an upgrade from
/// an uninstall. Nothing of the repair role: repair heals a race of sidecars.
fn cni() -> Vec<PolicyRule> {
    vec![
        rule("", &["namespaces", "nodes", "pods"], &READ),
        rule("", &["pods/status"], &["update", "patch"]),
        PolicyRule {
            resource_names: Some(vec![names::CNI_DAEMON_SET.to_owned()]),
            ..rule("apps", &["daemonsets"], &["get"])
        },
    ]
}

fn openshift_privileged() -> Vec<PolicyRule> {
    vec![PolicyRule {
        resource_names: Some(vec!["privileged".to_owned()]),
        ..rule(
            "security.openshift.io",
            &["securitycontextconstraints"],
            &["use"],
        )
    }]
}

fn role(name: &str, component: Component, rules: Vec<PolicyRule>) -> ClusterRole {
    let labels = meta::texts([
        (names::MANAGED_BY_LABEL, names::MANAGED_BY),
        ("app.kubernetes.io/part-of", "applink"),
        (COMPONENT_LABEL, component.as_str()),
    ]);
    ClusterRole {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        rules: Some(rules),
        ..ClusterRole::default()
    }
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    groups(&[group], resources, verbs)
}

fn groups(groups: &[&str], resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |texts: &[&str]| {
        texts
            .iter()
            .map(|&text| text.to_owned())
            .collect::<Vec<_>>()
    };
    PolicyRule {
        api_groups: Some(owned(groups)),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}

/// A ServiceAccount in `applink-system`.
pub(super) fn account(
    blueprint: &Blueprint,
    component: Component,
    name: &str,
) -> Result<Manifest, Error> {
    Manifest::of(&ServiceAccount {
        metadata: meta::namespaced(blueprint, component, name),
        image_pull_secrets: pod::pull_secrets(blueprint),
        ..ServiceAccount::default()
    })
}

/// Binds a ClusterRole to a ServiceAccount of `applink-system`, in the whole cluster. Called like the role, with the
/// account's name behind it where one role has several accounts.
pub(super) fn bind(
    blueprint: &Blueprint,
    component: Component,
    name: &str,
    role: &str,
    account: &str,
) -> Result<Manifest, Error> {
    Manifest::of(&ClusterRoleBinding {
        metadata: meta::cluster(blueprint, component, name),
        role_ref: cluster_role(role),
        subjects: Some(vec![subject(account)]),
    })
}

/// Binds a ClusterRole to a ServiceAccount, in `applink-system` only.
pub(super) fn bind_in_system(
    blueprint: &Blueprint,
    component: Component,
    role: &str,
    account: &str,
) -> Result<Manifest, Error> {
    Manifest::of(&RoleBinding {
        metadata: meta::namespaced(blueprint, component, role),
        role_ref: cluster_role(role),
        subjects: Some(vec![subject(account)]),
    })
}

fn cluster_role(name: &str) -> RoleRef {
    RoleRef {
        api_group: "rbac.authorization.k8s.io".to_owned(),
        kind: "ClusterRole".to_owned(),
        name: name.to_owned(),
    }
}

fn subject(account: &str) -> Subject {
    Subject {
        kind: "ServiceAccount".to_owned(),
        name: account.to_owned(),
        namespace: Some(names::SYSTEM_NAMESPACE.to_owned()),
        ..Subject::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_a_listed_name() {
        let mut listed = NAMES.to_vec();
        listed.sort_unstable();
        let found: Vec<_> = cluster_roles()
            .into_iter()
            .filter_map(|role| role.metadata.name)
            .collect();
        assert_eq!(found, listed);
    }

    #[test]
    fn no_role_grants_every_verb_or_escalation() {
        for role in cluster_roles() {
            for rule in role.rules.into_iter().flatten() {
                for verb in &rule.verbs {
                    assert!(
                        !["*", "escalate", "bind", "impersonate"].contains(&verb.as_str()),
                        "{:?}",
                        role.metadata.name
                    );
                }
            }
        }
    }
}
