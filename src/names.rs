//! Every name that more than one module, or anybody outside, depends on. The lowest layer: imports nothing.
//!
//! Names that Istio fixed are marked so; the others are ours. All of them are contracts: changing one is a migration.

/// API group of every object of ours.
pub const GROUP: &str = "applink.dev";

/// Namespace of the operator and of the network's root key. Pod Security: restricted.
pub const OPERATOR_NAMESPACE: &str = "applink-operator";

/// Namespace of the data plane and of `cacerts`. Pod Security: privileged.
pub const SYSTEM_NAMESPACE: &str = "applink-system";

/// Namespace of the operator's own probe: enrolled, and empty while no node moves. Pod Security: restricted.
pub const PROBE_NAMESPACE: &str = "applink-probe";

/// The network that a member joins when its spec names none; made on demand.
pub const DEFAULT_NETWORK: &str = "default";

/// Trust domain of a network that names none.
pub const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";

/// Finalizer on a `MeshMember`: removed when the member has left its cluster.
pub const MEMBER_FINALIZER: &str = "applink.dev/member";

/// Server-side apply manager of every object the operator owns.
pub const FIELD_MANAGER: &str = "applink.dev/meshmember";

/// Server-side apply manager of status.
pub const STATUS_MANAGER: &str = "applink.dev/meshmember-status";

/// Server-side apply manager of annotations written by the command line; `GitOps` keeps owning the spec.
pub const CLI_MANAGER: &str = "applink-cli";

/// Label on every object the operator owns; the value is the member's name.
pub const MEMBER_LABEL: &str = "applink.dev/member";

/// Label with the revision of per-node objects, for example `1-6-0-3fa9c1`.
pub const REVISION_LABEL: &str = "applink.dev/revision";

/// Annotation with the hash of the template an object was made from.
pub const TEMPLATE_HASH_ANNOTATION: &str = "applink.dev/template-hash";

/// Annotation on a definition of ours that was written to for no other reason than that the API server looks at it again:
/// when.
pub const TOUCHED_ANNOTATION: &str = "applink.dev/touched";

/// Node label: absent = settled proxy only, `<rev>.moving` = both, `<rev>` = arriving only.
pub const NODE_ZTUNNEL_LABEL: &str = "applink.dev/ztunnel";

/// How the value of [`NODE_ZTUNNEL_LABEL`] ends on a node that carries two proxies.
pub const MOVING_SUFFIX: &str = ".moving";

/// Value of [`NODE_ZTUNNEL_LABEL`] on a node that carries the settled proxy and this revision's.
pub fn moving(revision: &str) -> String {
    format!("{revision}{MOVING_SUFFIX}")
}

/// The revision in a value of [`NODE_ZTUNNEL_LABEL`].
pub fn revision_of(label: &str) -> &str {
    label.strip_suffix(MOVING_SUFFIX).unwrap_or(label)
}

/// Name of the `DaemonSet` with the proxies of a revision.
pub fn proxies(revision: &str) -> String {
    format!("{ZTUNNEL}-{revision}")
}

/// Node annotation: what the proxy that has just left the node had counted, as JSON. It comes and goes with the value of
/// [`NODE_ZTUNNEL_LABEL`] that leaves the arriving proxy alone.
pub const BASELINE_ANNOTATION: &str = "applink.dev/baseline";

/// Annotation of a revision's proxy `DaemonSet`: the network agent that belongs to it, as JSON.
pub const AGENT_ANNOTATION: &str = "applink.dev/agent";

/// Annotation of an arriving proxy `DaemonSet`, present once the first nodes have proved its revision.
pub const CANARY_ANNOTATION: &str = "applink.dev/canary";

/// Taint (`NoSchedule`) on a node while its network agent is being replaced.
pub const MOVING_TAINT: &str = "applink.dev/moving";

/// The label with which a namespace refuses pods. The name is Kubernetes'.
pub const POD_SECURITY_LABEL: &str = "pod-security.kubernetes.io/enforce";

/// Taint that istiod takes off a node once its network agent runs, where the spec asks for that. The name is Istio's.
pub const STARTUP_TAINT: &str = "cni.istio.io/not-ready";

/// Annotation on a member: present = paused.
pub const PAUSED_ANNOTATION: &str = "applink.dev/paused";

/// Annotation on a member: a nonce; asks once to abort the rollout.
pub const ABORT_ANNOTATION: &str = "applink.dev/abort";

/// Annotation on a member: a nonce; asks once to try a failed release again.
pub const RETRY_ANNOTATION: &str = "applink.dev/retry";

/// Annotation on a member: a nonce; approves once what waits for approval.
pub const APPROVE_ANNOTATION: &str = "applink.dev/approve";

/// Label that selects what our standard `app.kubernetes.io/managed-by` tooling manages.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";

/// Value of [`MANAGED_BY_LABEL`].
pub const MANAGED_BY: &str = "applink";

/// Secret in [`OPERATOR_NAMESPACE`] that holds the network's root key and certificate: `applink-root-<network>`.
pub const ROOT_SECRET_PREFIX: &str = "applink-root-";

/// Secret in [`SYSTEM_NAMESPACE`] with the member's intermediate. The name is Istio's.
pub const CACERTS_SECRET: &str = "cacerts";

/// Gateway classes that istiod makes. The names are Istio's.
pub const GATEWAY_CLASSES: [&str; 4] =
    ["istio", "istio-remote", "istio-waypoint", "istio-east-west"];

/// Gateway classes that istiod makes from the waypoint's template. The names are Istio's.
pub const WAYPOINT_CLASSES: [&str; 2] = ["istio-waypoint", "istio-east-west"];

/// API group of Gateways, and of their classes.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// Label of everything that istiod makes for a Gateway: who did. The key is Istio's.
pub const MANAGED_GATEWAY_LABEL: &str = "gateway.istio.io/managed";

/// Label of everything that istiod makes for a Gateway: its name. The key is Istio's.
pub const GATEWAY_NAME_LABEL: &str = "gateway.networking.k8s.io/gateway-name";

/// Annotation of a waypoint that names its release by our label while the default moves; the value is that release. What
/// carries it is given back, and nothing else.
pub const PIN_ANNOTATION: &str = "applink.dev/pinned";

/// Server-side apply manager of the label and annotation of a pinned waypoint.
pub const PIN_MANAGER: &str = "applink.dev/waypoint-pin";

/// `ConfigMap` with the root certificate in every namespace. The name is Istio's.
pub const ROOT_CONFIG_MAP: &str = "istio-ca-root-cert";

/// `ConfigMap` with revoked certificates, which istiod writes into every namespace when its CA is given. The name is Istio's.
pub const REVOKED_CONFIG_MAP: &str = "istio-ca-crl";

/// Label on a namespace or pod that enrols it. The key is Istio's.
pub const DATAPLANE_MODE_LABEL: &str = "istio.io/dataplane-mode";

/// Value of [`DATAPLANE_MODE_LABEL`] that enrols.
pub const DATAPLANE_MODE_AMBIENT: &str = "ambient";

/// Value of [`DATAPLANE_MODE_LABEL`] that keeps a pod out of an enrolled namespace.
pub const DATAPLANE_MODE_NONE: &str = "none";

/// Annotation the network agent writes on a pod it captures. The key is Istio's.
pub const REDIRECTION_ANNOTATION: &str = "ambient.istio.io/redirection";

/// Value of [`REDIRECTION_ANNOTATION`] once it has; before that it may be `pending`.
pub const REDIRECTION_ENABLED: &str = "enabled";

/// Revision label on namespaces, pods and Gateways. The key is Istio's.
pub const ISTIO_REVISION_LABEL: &str = "istio.io/rev";

/// Network label on namespaces and nodes. The key is Istio's.
pub const NETWORK_LABEL: &str = "topology.istio.io/network";

/// The label with which a namespace asks for sidecars. The key is Istio's.
pub const SIDECAR_INJECTION_LABEL: &str = "istio-injection";

/// Annotation of the Gateway API bundle on its CRDs: the version.
pub const GATEWAY_API_BUNDLE_ANNOTATION: &str = "gateway.networking.k8s.io/bundle-version";

/// Annotation of the Gateway API bundle on its CRDs: the channel, `standard` or `experimental`.
pub const GATEWAY_API_CHANNEL_ANNOTATION: &str = "gateway.networking.k8s.io/channel";

/// The network agent's `DaemonSet`. istiod's untaint controller and others look for this name.
pub const CNI_DAEMON_SET: &str = "istio-cni-node";

/// Value of label `app` on every proxy, and the proxy's `ServiceAccount`. The name is Istio's.
pub const ZTUNNEL: &str = "ztunnel";

/// Value of label `app` on what pulls images before a rollout.
pub const PREPULL: &str = "applink-prepull";

/// Value of label `app` on pods of the operator's own probe.
pub const PROBE: &str = "applink-probe";

/// Where a pod of the probe answers other pods, through the mesh.
pub const PROBE_PORT: u16 = 8080;

/// Where a pod of the probe is told whom to ask, on its loopback.
pub const PROBE_ASK_PORT: u16 = 8081;

/// Value of label `app` on the control plane.
pub const ISTIOD: &str = "istiod";

/// The Secret in the data plane's namespace with the credentials of every pull secret that the spec names.
pub const PULL_SECRET: &str = "applink-pull";

/// The webhook that validates Istio objects, shared by all revisions. The name is Istio's.
pub const DEFAULT_VALIDATOR: &str = "istiod-default-validator";

/// TCP port where a proxy takes tunnels (HBONE).
pub const HBONE_PORT: u16 = 15008;

/// Address from which the network agent's rules let the kubelet's probes through.
/// Source: istio `cni/pkg/config`, `HostProbeSNATIP`.
pub const PROBE_SOURCE_V4: &str = "169.254.7.127";

/// The same for IPv6. Source: istio `cni/pkg/config`, `HostProbeSNATIPV6`.
pub const PROBE_SOURCE_V6: &str = "fd16:9254:7127:1337:ffff:ffff:ffff:ffff";

/// Admin port of a proxy, on the pod's loopback.
pub const ZTUNNEL_ADMIN_PORT: u16 = 15000;

/// Readiness port of a proxy.
pub const ZTUNNEL_READY_PORT: u16 = 15021;

/// Metrics port of a proxy.
pub const ZTUNNEL_METRICS_PORT: u16 = 15020;

/// Port of istiod for xDS and certificate signing over TLS.
pub const ISTIOD_XDS_PORT: u16 = 15012;

/// Registry path of upstream's images, from Istio 1.30 on; it also serves earlier lines.
pub const ISTIO_REGISTRY: &str = "registry.istio.io/release";

/// Repository of our own image.
pub const APPLINK_REPOSITORY: &str = "registry.applink.dev/applink";
