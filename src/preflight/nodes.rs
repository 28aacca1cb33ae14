//! Checks of nodes: which can carry the mesh, and what is unusual about the others.

use std::collections::BTreeMap;

use super::cluster::{Cluster, Node, Taint};
use super::finding::{Code, Finding, Severity};
use super::some_of;
use crate::api::v1alpha1::{MeshMember, TaintEffect, Toleration, TolerationOperator};
use crate::catalogue::Minor;
use crate::names;

/// Architectures the images are built for.
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

/// How many minors a kubelet may be behind the API server.
/// Source: the version skew policy of Kubernetes, since 1.28.
const KUBELET_SKEW: u16 = 3;

/// Whether a node can carry the mesh at all.
pub fn is_supported(node: &Node) -> bool {
    node.os == "linux" && !node.is_virtual && ARCHITECTURES.contains(&node.arch.as_str())
}

pub(super) fn check(cluster: &Cluster, member: &MeshMember) -> Vec<Finding> {
    let nodes = &cluster.nodes;
    let mut findings = Vec::new();
    if !nodes.iter().any(is_supported) {
        findings.push(Finding {
            code: Code::NoLinuxNode,
            severity: Severity::Block,
            object: "the cluster's nodes".to_owned(),
            message: format!(
                "none of {} can carry the mesh: it needs Linux on amd64 or arm64, not virtual",
                nodes.len()
            ),
            remedy: "add a Linux node".to_owned(),
        });
    }
    findings.extend(selector(nodes, member));
    let is_linux = |node: &&Node| node.os == "linux";
    let supported = || nodes.iter().filter(|node| is_supported(node));
    findings.extend(warn(
        Code::NodesNotLinux,
        nodes.iter().filter(|node| !is_linux(node)),
        "not Linux, and stay outside the mesh",
        "nothing to do, unless enrolled pods should run there",
    ));
    findings.extend(warn(
        Code::NodesVirtual,
        nodes.iter().filter(is_linux).filter(|node| node.is_virtual),
        "virtual, and stay outside the mesh",
        "nothing to do, unless enrolled pods should run there",
    ));
    findings.extend(warn(
        Code::ArchitectureUnsupported,
        nodes
            .iter()
            .filter(is_linux)
            .filter(|node| !node.is_virtual && !is_supported(node)),
        "of an architecture without an image, and stay outside the mesh",
        "use amd64 or arm64 nodes for enrolled pods",
    ));
    findings.extend(warn(
        Code::NodesNotReady,
        supported().filter(|node| !node.ready),
        "not Ready; they are served when they return",
        "look at kubectl describe node",
    ));
    findings.extend(warn(
        Code::NodesCordoned,
        supported().filter(|node| node.unschedulable),
        "cordoned; they are served like any other",
        "nothing to do",
    ));
    findings.extend(taints(supported(), member));
    findings.extend(kubelets(cluster, supported()));
    findings
}

/// `spec.dataPlane.nodeSelector` chooses none of the nodes that could carry the mesh.
pub fn is_none_selected(nodes: &[Node], member: &MeshMember) -> bool {
    let none = BTreeMap::new();
    let wanted = (member.spec.data_plane.as_ref()).map_or(&none, |plane| &plane.node_selector);
    let is_chosen = |node: &Node| {
        wanted
            .iter()
            .all(|(key, value)| node.labels.get(key) == Some(value))
    };
    let mut supported = nodes.iter().filter(|node| is_supported(node)).peekable();
    supported.peek().is_some() && !supported.any(is_chosen)
}

/// A selector that chooses nothing is a slip: the mesh would be nowhere, and a running one would vanish.
fn selector(nodes: &[Node], member: &MeshMember) -> Option<Finding> {
    if !is_none_selected(nodes, member) {
        return None;
    }
    let wanted = &member.spec.data_plane.as_ref()?.node_selector;
    let supported = nodes.iter().filter(|node| is_supported(node)).count();
    let labels: Vec<String> = wanted
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    Some(Finding {
        code: Code::NoNodeSelected,
        severity: Severity::Block,
        object: "spec.dataPlane.nodeSelector".to_owned(),
        message: format!(
            "no node has {}, of {supported} that could carry the mesh",
            some_of(&labels)
        ),
        remedy: "label the nodes that should carry the mesh, or change or remove the field"
            .to_owned(),
    })
}

/// Of so many nodes that a changed selector leaves out some have enrolled pods, each with what was seen there, or cannot be
/// asked about, each with why: it counts once nobody is there. None where neither is so.
pub fn in_use(
    nodes: usize,
    seen: &BTreeMap<String, String>,
    silent: &BTreeMap<String, String>,
) -> Option<Finding> {
    let others = match (seen.len() + silent.len()).saturating_sub(1) {
        0 => String::new(),
        1 => "; the same holds for 1 more node".to_owned(),
        more => format!("; the same holds for {more} more nodes"),
    };
    let (why, remedy) = if let Some((name, text)) = seen.first_key_value() {
        (
            format!("on {name}, {text}{others}"),
            "move these pods to nodes that stay or take them out of the mesh, and the selector counts within a minute; or label the nodes, or change the field back",
        )
    } else {
        let (name, error) = silent.first_key_value()?;
        (
            format!("which pods are on {name} cannot be asked: {error}{others}"),
            "see whether the operator may list pods; it asks again by itself",
        )
    };
    Some(Finding {
        code: Code::NodesInUse,
        severity: Severity::Warn,
        object: "spec.dataPlane.nodeSelector".to_owned(),
        message: format!(
            "it leaves out {nodes} of the nodes that carry the mesh, which stays where it is: {why}"
        ),
        remedy: remedy.to_owned(),
    })
}

fn taints<'a>(nodes: impl Iterator<Item = &'a Node>, member: &MeshMember) -> Option<Finding> {
    // Without tolerations in the spec every taint is tolerated.
    let tolerations = member.spec.data_plane.as_ref()?.tolerations.as_ref()?;
    let refuses = |taint: &Taint| {
        taint.effect != "PreferNoSchedule"
            && !is_built_in(taint)
            && taint.key != names::MOVING_TAINT
            && !(taint.key == names::STARTUP_TAINT && member.spec.effective_startup_taint())
            && !tolerations.iter().any(|one| tolerates(one, taint))
    };
    warn(
        Code::TaintNotTolerated,
        nodes.filter(|node| node.taints.iter().any(refuses)),
        "tainted with what spec.dataPlane.tolerations does not tolerate, and stay outside the mesh",
        "add the tolerations, or remove the field to tolerate everything",
    )
}

/// Taints that every `DaemonSet` tolerates by itself.
/// Source: kubernetes `pkg/controller/daemon/util`, `AddOrUpdateDaemonPodTolerations`.
fn is_built_in(taint: &Taint) -> bool {
    const TOLERATED: [&str; 7] = [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
        "node.kubernetes.io/disk-pressure",
        "node.kubernetes.io/memory-pressure",
        "node.kubernetes.io/pid-pressure",
        "node.kubernetes.io/unschedulable",
        "node.kubernetes.io/network-unavailable",
    ];
    TOLERATED.contains(&taint.key.as_str())
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.is_none_or(|effect| {
        taint.effect
            == match effect {
                TaintEffect::NoSchedule => "NoSchedule",
                TaintEffect::PreferNoSchedule => "PreferNoSchedule",
                TaintEffect::NoExecute => "NoExecute",
            }
    });
    let key = toleration.key.as_ref().is_none_or(|key| *key == taint.key);
    let value = match toleration.operator.unwrap_or(TolerationOperator::Equal) {
        TolerationOperator::Exists => true,
        TolerationOperator::Equal => {
            toleration.key.is_some()
                && toleration.value.as_deref().unwrap_or_default() == taint.value
        }
    };
    effect && key && value
}

fn kubelets<'a>(cluster: &Cluster, nodes: impl Iterator<Item = &'a Node>) -> Option<Finding> {
    let server = Minor::of_kubernetes(&cluster.server_version)?;
    let oldest = Minor::new(server.major, server.minor.saturating_sub(KUBELET_SKEW));
    warn(
        Code::KubeletTooOld,
        nodes.filter(|node| {
            Minor::of_kubernetes(&node.kubelet_version).is_none_or(|kubelet| kubelet < oldest)
        }),
        "behind the API server by more than three minors, or their kubelet's version cannot be read",
        "update these nodes",
    )
}

/// A warning about some nodes, or nothing when there are none.
fn warn<'a>(
    code: Code,
    nodes: impl Iterator<Item = &'a Node>,
    what: &str,
    remedy: &str,
) -> Option<Finding> {
    let mut names: Vec<String> = nodes.map(|node| node.name.clone()).collect();
    names.sort_unstable();
    (!names.is_empty()).then(|| Finding {
        code,
        severity: Severity::Warn,
        object: format!("Node {}", some_of(&names)),
        message: if names.len() == 1 {
            format!("it is {what}")
        } else {
            format!("{} nodes are {what}", names.len())
        },
        remedy: remedy.to_owned(),
    })
}
