//! What a check found: a code, how bad it is, on which object, and what to do.

use std::fmt;

/// One thing a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is; part of the API.
    pub code: Code,
    /// Whether it stops the install.
    pub severity: Severity,
    /// The object: `DaemonSet istio-system/ztunnel`.
    pub object: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}: {}; {}",
            self.code, self.object, self.message, self.remedy
        )
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is done until it is mended.
    Block,
    /// Worth knowing; the install goes on.
    Warn,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident,)+) => {
        /// What a check can find; the names are part of the API and never change their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])* $code,)+ }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$code),+];

            /// The code's text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$code => stringify!($code),)+ }
            }
        }
    };
}

codes! {
    /// The operator lacks a right it needs.
    MissingRights,
    /// Another, older member manages this cluster.
    ClusterAlreadyMember,
    /// The API server's version cannot be read or is outside the release's range.
    KubernetesUnsupported,
    /// No node can carry the mesh.
    NoLinuxNode,
    /// `spec.dataPlane.nodeSelector` chooses no node that could carry the mesh.
    NoNodeSelected,
    /// `spec.dataPlane.nodeSelector` leaves out nodes with enrolled pods, or nodes that cannot be asked about: the mesh stays there until nobody is.
    NodesInUse,
    /// Some nodes are not Linux.
    NodesNotLinux,
    /// Some nodes are virtual.
    NodesVirtual,
    /// The images have no build for some nodes' architecture.
    ArchitectureUnsupported,
    /// Some nodes are not Ready.
    NodesNotReady,
    /// Some nodes are cordoned.
    NodesCordoned,
    /// Some nodes have a taint that the spec does not tolerate.
    TaintNotTolerated,
    /// Some kubelets are too far behind the API server.
    KubeletTooOld,
    /// Somebody else's network agent runs.
    ForeignCniAgent,
    /// Somebody else's node proxy runs.
    ForeignZtunnel,
    /// A sidecar mesh runs.
    SidecarMesh,
    /// Namespaces ask for sidecars, and nobody answers.
    SidecarLabels,
    /// Cilium removes other plugins.
    CiliumExclusive,
    /// Cilium rewrites the probes' source.
    CiliumMasquerade,
    /// Cilium translates the addresses of services before the mesh sees them.
    CiliumSocketLb,
    /// A pull secret that the spec names is missing or cannot be used.
    PullSecretMissing,
    /// `applink-system` refuses privileged pods.
    PodSecurity,
    /// `applink-system` is itself enrolled.
    SystemNamespaceEnrolled,
    /// A quota leaves no room for the data plane.
    QuotaTooSmall,
    /// The Gateway API's CRDs belong to somebody else.
    GatewayApiForeign,
    /// The Gateway API's CRDs are of the experimental channel.
    GatewayApiExperimental,
    /// The Gateway API's CRDs are older than the release needs.
    GatewayApiTooOld,
    /// Istio's CRDs belong to somebody else.
    IstioCrdsForeign,
    /// A network policy keeps tunnels out of enrolled pods.
    NetworkPolicyBlocksTunnel,
    /// A network policy keeps the kubelet's probes out of enrolled pods.
    NetworkPolicyBlocksProbes,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
