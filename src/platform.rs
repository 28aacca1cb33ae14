//! Which Kubernetes distribution this is, and what follows from it. Core layer: pure.

use std::collections::BTreeMap;
use std::fmt;

pub use crate::api::v1alpha1::Platform;

impl Platform {
    /// Every platform.
    pub const ALL: [Self; 9] = [
        Self::Vanilla,
        Self::K3s,
        Self::K3d,
        Self::MicroK8s,
        Self::Minikube,
        Self::OpenShift,
        Self::GKE,
        Self::EKS,
        Self::AKS,
    ];

    /// The name users write and read.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vanilla => "Vanilla",
            Self::K3s => "K3s",
            Self::K3d => "K3d",
            Self::MicroK8s => "MicroK8s",
            Self::Minikube => "Minikube",
            Self::OpenShift => "OpenShift",
            Self::GKE => "GKE",
            Self::EKS => "EKS",
            Self::AKS => "AKS",
        }
    }

    /// Host paths of the CNI of this platform.
    ///
    /// Source: Istio's platform profiles, 1.29 to 1.31.
    #[must_use]
    pub fn cni_paths(self) -> CniPaths {
        let vanilla = CniPaths {
            bin: "/opt/cni/bin",
            conf: "/etc/cni/net.d",
            netns: "/var/run/netns",
        };
        match self {
            Self::Vanilla | Self::EKS | Self::AKS => vanilla,
            Self::GKE => CniPaths {
                bin: "/home/kubernetes/bin",
                ..vanilla
            },
            Self::K3s => CniPaths {
                bin: "/var/lib/rancher/k3s/data/cni",
                conf: "/var/lib/rancher/k3s/agent/etc/cni/net.d",
                ..vanilla
            },
            Self::K3d => CniPaths {
                bin: "/bin",
                conf: "/var/lib/rancher/k3s/agent/etc/cni/net.d",
                ..vanilla
            },
            Self::MicroK8s => CniPaths {
                bin: "/var/snap/microk8s/current/opt/cni/bin",
                conf: "/var/snap/microk8s/current/args/cni-network",
                ..vanilla
            },
            Self::Minikube => CniPaths {
                netns: "/var/run/docker/netns",
                ..vanilla
            },
            Self::OpenShift => CniPaths {
                bin: "/var/lib/cni/bin",
                conf: "/etc/cni/multus/net.d",
                ..vanilla
            },
        }
    }

    /// Does the CNI accept a plugin chained into its configuration? Multus does not: it is told by an own file.
    #[must_use]
    pub fn chains_cni(self) -> bool {
        self != Self::OpenShift
    }

    /// Does the platform refuse pods of priority `system-node-critical` outside `kube-system` without a quota?
    #[must_use]
    pub fn needs_critical_quota(self) -> bool {
        self == Self::GKE
    }

    /// `PLATFORM` of istiod, which knows one value only.
    #[must_use]
    pub fn istiod_name(self) -> Option<&'static str> {
        (self == Self::OpenShift).then_some("openshift")
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Host paths the CNI agent works in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CniPaths {
    /// Plugin programs.
    pub bin: &'static str,
    /// Plugin configuration.
    pub conf: &'static str,
    /// Named network namespaces.
    pub netns: &'static str,
}

/// What is looked at to tell platforms apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The API server's `gitVersion`, e.g. `v1.34.4+k3s1`.
    pub git_version: String,
    /// API groups that are served.
    pub api_groups: Vec<String>,
    /// Some nodes; a few are enough.
    pub nodes: Vec<NodeEvidence>,
}

/// What a node tells about its platform.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeEvidence {
    /// Name of the node.
    pub name: String,
    /// `spec.providerID`.
    pub provider_id: String,
    /// `status.nodeInfo.osImage`.
    pub os_image: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A platform and the reason to believe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detection {
    /// The platform.
    pub platform: Platform,
    /// One sentence that names what was seen; without capital and full stop.
    pub evidence: String,
}

/// The platform: as overridden, else as the evidence says, else vanilla.
///
/// The strongest evidence comes first: an API group, then the server's version, then what nodes carry.
#[must_use]
pub fn detect(evidence: &Evidence, override_with: Option<Platform>) -> Detection {
    let found = by_api_group(evidence)
        .or_else(|| by_provider_of_nodes(evidence))
        .or_else(|| by_server_version(evidence))
        .or_else(|| by_nodes(evidence))
        .unwrap_or_else(|| Detection {
            platform: Platform::Vanilla,
            evidence: format!(
                "server version {:?}, nothing of a known distribution on nodes",
                evidence.git_version
            ),
        });
    match override_with {
        Some(platform) => Detection {
            platform,
            evidence: format!(
                "set by spec.dataPlane.platform; detected would be {} ({})",
                found.platform, found.evidence
            ),
        },
        None => found,
    }
}

fn by_api_group(evidence: &Evidence) -> Option<Detection> {
    let group = evidence.api_groups.iter().find(|group| {
        matches!(
            group.as_str(),
            "config.openshift.io" | "operator.openshift.io" | "security.openshift.io"
        )
    })?;
    Some(Detection {
        platform: Platform::OpenShift,
        evidence: format!("API group {group} is served"),
    })
}

/// k3d's nodes are k3s nodes by version, so what their provider id says is asked first.
fn by_provider_of_nodes(evidence: &Evidence) -> Option<Detection> {
    evidence.nodes.iter().find_map(|node| {
        let k3d = node.name.starts_with("k3d-") && evidence.git_version.contains("+k3s");
        k3d.then(|| Detection {
            platform: Platform::K3d,
            evidence: format!(
                "node {} is named as k3d names nodes and the server is {}",
                node.name, evidence.git_version
            ),
        })
    })
}

fn by_server_version(evidence: &Evidence) -> Option<Detection> {
    let platform = [
        ("+k3s", Platform::K3s),
        ("-gke.", Platform::GKE),
        ("-eks-", Platform::EKS),
    ]
    .into_iter()
    .find(|(mark, _)| evidence.git_version.contains(mark))?
    .1;
    Some(Detection {
        platform,
        evidence: format!("server version {}", evidence.git_version),
    })
}

fn by_nodes(evidence: &Evidence) -> Option<Detection> {
    /// Labels and annotations a distribution puts on its nodes.
    const MARKS: [(&str, Platform); 6] = [
        ("microk8s.io/cluster", Platform::MicroK8s),
        ("minikube.k8s.io/version", Platform::Minikube),
        ("kubernetes.azure.com/cluster", Platform::AKS),
        ("cloud.google.com/gke-nodepool", Platform::GKE),
        ("eks.amazonaws.com/nodegroup", Platform::EKS),
        ("k3s.io/hostname", Platform::K3s),
    ];
    evidence.nodes.iter().find_map(|node| {
        if let Some((key, platform)) = MARKS
            .iter()
            .find(|(key, _)| node.labels.contains_key(*key) || node.annotations.contains_key(*key))
        {
            return Some(Detection {
                platform: *platform,
                evidence: format!("node {} carries {key}", node.name),
            });
        }
        node.provider_id.starts_with("k3s://").then(|| Detection {
            platform: Platform::K3s,
            evidence: format!("node {} has provider id {}", node.name, node.provider_id),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(git_version: &str) -> Evidence {
        Evidence {
            git_version: git_version.into(),
            ..Evidence::default()
        }
    }

    fn node(name: &str) -> NodeEvidence {
        NodeEvidence {
            name: name.into(),
            ..NodeEvidence::default()
        }
    }

    fn labelled(label: &str) -> Evidence {
        let labels = BTreeMap::from([(label.to_owned(), "true".to_owned())]);
        Evidence {
            nodes: vec![
                node("plain"),
                NodeEvidence {
                    labels,
                    ..node("n1")
                },
            ],
            ..server("v1.34.4")
        }
    }

    fn annotated(annotation: &str) -> Evidence {
        let annotations = BTreeMap::from([(annotation.to_owned(), "n1".to_owned())]);
        Evidence {
            nodes: vec![NodeEvidence {
                annotations,
                ..node("n1")
            }],
            ..server("v1.34.4")
        }
    }

    #[test]
    fn platforms_are_told_apart() {
        let openshift = Evidence {
            api_groups: vec!["apps".into(), "config.openshift.io".into()],
            ..server("v1.33.5")
        };
        let k3d = Evidence {
            nodes: vec![node("k3d-demo-server-0")],
            ..server("v1.34.4+k3s1")
        };
        let k3s_provider = Evidence {
            nodes: vec![NodeEvidence {
                provider_id: "k3s://n1".into(),
                ..node("n1")
            }],
            ..server("v1.34.4")
        };
        for (evidence, platform, because) in [
            (server("v1.34.4"), Platform::Vanilla, "v1.34.4"),
            (server("v1.34.4+k3s1"), Platform::K3s, "v1.34.4+k3s1"),
            (k3s_provider, Platform::K3s, "k3s://n1"),
            (
                annotated("k3s.io/hostname"),
                Platform::K3s,
                "k3s.io/hostname",
            ),
            (k3d, Platform::K3d, "k3d-demo-server-0"),
            (openshift, Platform::OpenShift, "config.openshift.io"),
            (
                server("v1.34.1-gke.1000"),
                Platform::GKE,
                "v1.34.1-gke.1000",
            ),
            (
                server("v1.34.1-eks-113cf36"),
                Platform::EKS,
                "v1.34.1-eks-113cf36",
            ),
            (
                labelled("kubernetes.azure.com/cluster"),
                Platform::AKS,
                "kubernetes.azure.com/cluster",
            ),
            (
                labelled("microk8s.io/cluster"),
                Platform::MicroK8s,
                "microk8s.io/cluster",
            ),
            (
                labelled("minikube.k8s.io/version"),
                Platform::Minikube,
                "minikube.k8s.io/version",
            ),
            (
                Evidence {
                    nodes: vec![node("kind-control-plane")],
                    ..server("v1.34.0")
                },
                Platform::Vanilla,
                "v1.34.0",
            ),
            (server("v1.34.4+rke2r1"), Platform::Vanilla, "+rke2r1"),
            (Evidence::default(), Platform::Vanilla, "nothing"),
        ] {
            let detection = detect(&evidence, None);
            assert_eq!(detection.platform, platform, "{evidence:?}");
            assert!(
                detection.evidence.contains(because),
                "{}",
                detection.evidence
            );
        }
    }

    #[test]
    fn an_override_wins_and_says_what_it_overrides() {
        let detection = detect(&server("v1.34.4+k3s1"), Some(Platform::Vanilla));
        assert_eq!(detection.platform, Platform::Vanilla);
        assert!(detection.evidence.contains("K3s"), "{}", detection.evidence);
    }

    #[test]
    fn every_platform_is_written_as_users_write_it() {
        for platform in Platform::ALL {
            let written = serde_json::to_value(platform).unwrap();
            assert_eq!(written, platform.as_str());
        }
    }
}
