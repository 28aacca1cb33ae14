//! Checks of what already runs: somebody else's agent, proxy, sidecar mesh, CRDs, network plugin.

use super::cluster::{Cluster, Crd};
use super::finding::{Code, Finding, Severity};
use super::some_of;
use crate::catalogue::{Release, Version};
use crate::names::{CNI_DAEMON_SET, ZTUNNEL};

/// The oldest Gateway API bundle istiod can read: `v1` kinds came with it.
const OLDEST_GATEWAY_API: Version = Version::new(1, 0, 0);

/// How the Gateway API's CRDs end.
const GATEWAY_API_SUFFIX: &str = ".gateway.networking.k8s.io";

/// How Istio's CRDs end.
const ISTIO_SUFFIX: &str = ".istio.io";

pub(super) fn check(cluster: &Cluster, release: Option<&Release>) -> Vec<Finding> {
    let mut findings = foreign(cluster);
    findings.extend(sidecars(cluster));
    findings.extend(cilium(cluster));
    findings.extend(gateway_api(cluster, release));
    findings.extend(istio_crds(cluster));
    findings
}

/// Two agents on a node write the same files, and two proxies listen on the same socket.
fn foreign(cluster: &Cluster) -> Vec<Finding> {
    cluster
        .daemon_sets
        .iter()
        .filter(|set| !set.is_ours)
        .filter_map(|set| {
            let (code, what) = match set.name.as_str() {
                CNI_DAEMON_SET => (
                    Code::ForeignCniAgent,
                    "a network agent of somebody else writes the same files on every node",
                ),
                ZTUNNEL => (
                    Code::ForeignZtunnel,
                    "a node proxy of somebody else uses the same socket on every node",
                ),
                _ => return None,
            };
            Some(Finding {
                code,
                severity: Severity::Block,
                object: format!("DaemonSet {}/{}", set.namespace, set.name),
                message: what.to_owned(),
                remedy: "uninstall that mesh first; nothing of it is touched".to_owned(),
            })
        })
        .collect()
}

fn sidecars(cluster: &Cluster) -> Vec<Finding> {
    let mut evidence: Vec<String> = cluster
        .control_planes
        .iter()
        .filter(|plane| !plane.is_ours)
        .map(|plane| format!("Deployment {}/{}", plane.namespace, plane.name))
        .collect();
    evidence.extend(
        cluster
            .injectors
            .iter()
            .filter(|injector| !injector.is_ours)
            .map(|injector| format!("MutatingWebhookConfiguration {}", injector.name)),
    );
    let namespaces: Vec<String> = cluster
        .sidecar_namespaces
        .iter()
        .map(|name| format!("Namespace {name}"))
        .collect();
    if !evidence.is_empty() {
        return vec![Finding {
            code: Code::SidecarMesh,
            severity: Severity::Block,
            object: some_of(&evidence),
            message: format!(
                "a sidecar mesh runs in this cluster; {} namespaces ask for sidecars",
                namespaces.len()
            ),
            remedy: "remove it first; two control planes would both claim the cluster's objects"
                .to_owned(),
        }];
    }
    if namespaces.is_empty() {
        return Vec::new();
    }
    vec![Finding {
        code: Code::SidecarLabels,
        severity: Severity::Warn,
        object: some_of(&namespaces),
        message: "it asks for sidecars by label istio-injection, and nobody will inject them"
            .to_owned(),
        remedy: "remove the label; enrol with istio.io/dataplane-mode=ambient instead".to_owned(),
    }]
}

fn cilium(cluster: &Cluster) -> Vec<Finding> {
    let mut findings = Vec::new();
    let object = || "ConfigMap kube-system/cilium-config".to_owned();
    let setup = cluster.cilium.unwrap_or_default();
    if setup.exclusive {
        findings.push(Finding {
            code: Code::CiliumExclusive,
            severity: Severity::Block,
            object: object(),
            message:
                "Cilium removes the configuration of other plugins, so no pod would be captured"
                    .to_owned(),
            remedy: "set cni.exclusive=false in Cilium".to_owned(),
        });
    }
    if setup.bpf_masquerade {
        findings.push(Finding {
            code: Code::CiliumMasquerade,
            severity: Severity::Warn,
            object: object(),
            message: "Cilium's BPF masquerading rewrites the source of the kubelet's probes to enrolled pods".to_owned(),
            remedy: "set bpf.masquerade=false in Cilium if probes of enrolled pods fail".to_owned(),
        });
    }
    if setup.socket_lb {
        findings.push(Finding {
            code: Code::CiliumSocketLb,
            severity: Severity::Warn,
            object: object(),
            message: "Cilium replaces the address of a service by that of a pod before the mesh sees it, so waypoints of services are passed by".to_owned(),
            remedy: "set socketLB.hostNamespaceOnly=true in Cilium".to_owned(),
        });
    }
    findings
}

fn gateway_api(cluster: &Cluster, release: Option<&Release>) -> Vec<Finding> {
    let crds: Vec<&Crd> = cluster
        .crds
        .iter()
        .filter(|crd| crd.name.ends_with(GATEWAY_API_SUFFIX))
        .collect();
    let mut findings = Vec::new();
    let foreign: Vec<&Crd> = crds
        .iter()
        .copied()
        .filter(|crd| crd.owner.is_some())
        .collect();
    if let Some(first) = foreign.first() {
        let owner = first.owner.as_deref().unwrap_or_default();
        findings.push(crd_finding(
            Code::GatewayApiForeign,
            Severity::Warn,
            &foreign,
            format!("they belong to {owner} and are left alone"),
            "nothing to do while they are recent enough",
        ));
    }
    let experimental: Vec<&Crd> = crds
        .iter()
        .copied()
        .filter(|crd| crd.channel.as_deref() == Some("experimental"))
        .collect();
    if !experimental.is_empty() {
        findings.push(crd_finding(
            Code::GatewayApiExperimental,
            Severity::Warn,
            &experimental,
            "they are of the experimental channel, which may change without notice, and are left alone".to_owned(),
            "install the standard channel when nothing needs the experimental one",
        ));
    }
    findings.extend(old_bundle(&foreign, release));
    findings
}

fn old_bundle(foreign: &[&Crd], release: Option<&Release>) -> Option<Finding> {
    let version = |crd: &&Crd| {
        crd.bundle_version
            .as_deref()?
            .trim_start_matches('v')
            .parse::<Version>()
            .ok()
    };
    let oldest = foreign.iter().filter_map(version).min()?;
    let needed = release
        .and_then(|release| release.gateway_api)
        .unwrap_or(OLDEST_GATEWAY_API);
    if oldest >= needed {
        return None;
    }
    let unusable = oldest < OLDEST_GATEWAY_API;
    Some(crd_finding(
        Code::GatewayApiTooOld,
        if unusable {
            Severity::Block
        } else {
            Severity::Warn
        },
        foreign,
        format!("their bundle is {oldest}, and {needed} is needed"),
        if unusable {
            "update them with the tool that owns them"
        } else {
            "update them with the tool that owns them before you use newer kinds"
        },
    ))
}

fn istio_crds(cluster: &Cluster) -> Option<Finding> {
    let foreign: Vec<&Crd> = cluster
        .crds
        .iter()
        .filter(|crd| crd.name.ends_with(ISTIO_SUFFIX) && crd.owner.is_some())
        .collect();
    let owner = foreign.first()?.owner.as_deref().unwrap_or_default();
    Some(crd_finding(
        Code::IstioCrdsForeign,
        Severity::Warn,
        &foreign,
        format!("they belong to {owner} and are left alone"),
        "hand them over by deleting that installation, or keep them current with it",
    ))
}

fn crd_finding(
    code: Code,
    severity: Severity,
    crds: &[&Crd],
    message: String,
    remedy: &str,
) -> Finding {
    let names: Vec<String> = crds.iter().map(|crd| crd.name.clone()).collect();
    Finding {
        code,
        severity,
        object: format!("CustomResourceDefinition {}", some_of(&names)),
        message,
        remedy: remedy.to_owned(),
    }
}
