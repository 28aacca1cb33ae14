//! The kinds of objects that are ours by label.

use kube::api::ApiResource;

/// Kinds in the data plane's namespace whose objects are ours by label.
pub const SYSTEM_KINDS: [(&str, &str, &str, &str); 8] = [
    ("", "v1", "ServiceAccount", "serviceaccounts"),
    ("", "v1", "ConfigMap", "configmaps"),
    ("", "v1", "Service", "services"),
    ("", "v1", "ResourceQuota", "resourcequotas"),
    ("apps", "v1", "Deployment", "deployments"),
    ("apps", "v1", "DaemonSet", "daemonsets"),
    (
        "policy",
        "v1",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "RoleBinding",
        "rolebindings",
    ),
];

/// Cluster-scoped kinds whose objects are ours by label.
pub const CLUSTER_KINDS: [(&str, &str, &str, &str); 2] = [
    (
        "rbac.authorization.k8s.io",
        "v1",
        "ClusterRoleBinding",
        "clusterrolebindings",
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
    ),
];

/// The kind of the mesh-wide policy: watched once its definition is served.
pub const POLICY_KIND: (&str, &str, &str, &str) = (
    "security.istio.io",
    "v1",
    "PeerAuthentication",
    "peerauthentications",
);

/// What Multus reads on OpenShift, in namespace `default`: watched only there.
pub const ATTACHMENT_KIND: (&str, &str, &str, &str) = (
    "k8s.cni.cncf.io",
    "v1",
    "NetworkAttachmentDefinition",
    "network-attachment-definitions",
);

/// The resource of a kind.
pub fn resource((group, version, kind, plural): (&str, &str, &str, &str)) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: if group.is_empty() {
            version.to_owned()
        } else {
            format!("{group}/{version}")
        },
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// Every kind that we own objects of, except definitions.
pub fn resource_of(kind: &str) -> Option<ApiResource> {
    SYSTEM_KINDS
        .into_iter()
        .chain(CLUSTER_KINDS)
        .chain([
            POLICY_KIND,
            ATTACHMENT_KIND,
            ("", "v1", "Namespace", "namespaces"),
            ("", "v1", "Secret", "secrets"),
            ("", "v1", "Pod", "pods"),
        ])
        .find(|one| one.2 == kind)
        .map(resource)
}
