//! Facts in the form in which checks, platform detection and status want them. Pure.

mod components;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::v1alpha1::{CertificateStatus, MAX_MEMBERSHIP_NAMES, MembershipStatus, MeshMember};
use crate::blueprint::IpFamilies;
use crate::facts::{Facts, Membership};
use crate::names;
use crate::platform;
use crate::preflight::{
    Cilium, Cluster, Crd, Injector, Node, Quota, Right, Rival, Taint, Workload,
};
use crate::trust::Certificate;
pub use components::{Absences, components, next_look};

/// Nodes that platform detection looks at: a few are enough.
const SAMPLE: usize = 8;

/// What the checks before the first act look at.
pub fn cluster(facts: &Facts, membership: &Membership, rivals: Vec<Rival>) -> Cluster {
    let workloads = |kind: &str| {
        facts
            .others
            .iter()
            .filter(|other| other.kind == kind)
            .map(|other| Workload {
                namespace: other.namespace.clone(),
                name: other.name.clone(),
                is_ours: other.is_ours,
            })
            .collect()
    };
    Cluster {
        server_version: facts.server_version.clone(),
        uid: facts.cluster_uid.clone(),
        nodes: nodes(facts),
        daemon_sets: workloads("DaemonSet"),
        control_planes: workloads("Deployment"),
        injectors: facts
            .others
            .iter()
            .filter(|other| other.kind == "MutatingWebhookConfiguration")
            .map(|other| Injector {
                name: other.name.clone(),
                is_ours: other.is_ours,
            })
            .collect(),
        sidecar_namespaces: facts
            .namespaces
            .iter()
            .filter(|(_, namespace)| namespace.wants_sidecars())
            .map(|(name, _)| name.clone())
            .collect(),
        crds: facts
            .definitions
            .iter()
            .map(|(name, definition)| {
                let ours = definition
                    .labels
                    .get(names::MANAGED_BY_LABEL)
                    .is_some_and(|by| by == names::MANAGED_BY);
                let owner = definition
                    .labels
                    .get(names::MANAGED_BY_LABEL)
                    .or(definition.manager.as_ref())
                    .cloned()
                    .unwrap_or_else(|| "somebody else".to_owned());
                Crd {
                    name: name.clone(),
                    owner: (!ours).then_some(owner),
                    bundle_version: definition
                        .annotations
                        .get(names::GATEWAY_API_BUNDLE_ANNOTATION)
                        .cloned(),
                    channel: definition
                        .annotations
                        .get(names::GATEWAY_API_CHANNEL_ANNOTATION)
                        .cloned(),
                }
            })
            .collect(),
        system_labels: facts
            .namespaces
            .get(names::SYSTEM_NAMESPACE)
            .map(|namespace| namespace.labels.clone()),
        quotas: facts
            .quotas
            .iter()
            .map(|quota| Quota {
                name: quota.name.clone(),
                hard: quota.hard,
                used: quota.used,
            })
            .collect(),
        enrolled_namespaces: membership.namespaces.clone(),
        network_policies: facts
            .policies
            .iter()
            .filter(|policy| {
                policy
                    .metadata
                    .namespace
                    .as_ref()
                    .is_some_and(|namespace| membership.namespaces.contains(namespace))
            })
            .map(|policy| policy.as_ref().clone())
            .collect(),
        rivals,
        missing_rights: facts
            .denied
            .iter()
            .map(|denied| Right {
                verb: denied.verb.clone(),
                resource: denied.resource.clone(),
                namespace: denied.namespace.clone(),
            })
            .collect(),
        pull_secrets: facts.pull_secrets.clone(),
        cilium: facts.cilium.as_ref().map(cilium),
    }
}

/// Cilium as its `ConfigMap` sets it up: its chart writes every one of these keys.
fn cilium(data: &BTreeMap<String, String>) -> Cilium {
    let is = |key: &str, value: &str| data.get(key).is_some_and(|text| text == value);
    Cilium {
        exclusive: is("cni-exclusive", "true"),
        bpf_masquerade: is("enable-bpf-masquerade", "true"),
        socket_lb: (is("kube-proxy-replacement", "true")
            || is("kube-proxy-replacement", "strict")
            || is("bpf-lb-sock", "true"))
            && !is("bpf-lb-sock-hostns-only", "true"),
    }
}

/// Nodes as the checks look at them.
pub fn nodes(facts: &Facts) -> Vec<Node> {
    facts.nodes.values().map(|node| checked(node)).collect()
}

fn checked(node: &crate::facts::Node) -> Node {
    let label = |key: &str| node.labels.get(key).map(String::as_str);
    Node {
        name: node.name.clone(),
        os: node.os.clone(),
        arch: node.arch.clone(),
        labels: node.labels.clone(),
        ready: node.ready,
        unschedulable: node.unschedulable,
        taints: node
            .taints
            .iter()
            .map(|(key, value, effect)| Taint {
                key: key.clone(),
                value: value.clone(),
                effect: effect.clone(),
            })
            .collect(),
        kubelet_version: node.kubelet_version.clone(),
        is_virtual: label("type") == Some("virtual-kubelet")
            || label("eks.amazonaws.com/compute-type") == Some("fargate"),
    }
}

/// What platforms are told apart by.
pub fn evidence(facts: &Facts) -> platform::Evidence {
    platform::Evidence {
        git_version: facts.server_version.clone(),
        api_groups: facts.api_groups.clone(),
        nodes: facts
            .nodes
            .values()
            .take(SAMPLE)
            .map(|node| platform::NodeEvidence {
                name: node.name.clone(),
                provider_id: node.provider_id.clone(),
                os_image: node.os_image.clone(),
                labels: node.labels.clone(),
                annotations: node.annotations.clone(),
            })
            .collect(),
    }
}

/// Address families of pods.
pub fn families(facts: &Facts) -> IpFamilies {
    IpFamilies::of(
        facts
            .nodes
            .values()
            .flat_map(|node| node.pod_cidrs.iter().map(String::as_str)),
    )
}

/// Members that stand for the same cluster: this version knows the local one only, so all others.
pub fn rivals<'a>(
    member: &MeshMember,
    members: impl Iterator<Item = &'a MeshMember>,
) -> Vec<Rival> {
    members
        .filter(|other| other.metadata.uid != member.metadata.uid)
        .filter_map(|other| {
            Some(Rival {
                name: other.metadata.name.clone()?,
                created: other.metadata.creation_timestamp.as_ref()?.0,
            })
        })
        .collect()
}

/// Who is in the mesh, for status.
pub fn membership(found: &Membership) -> MembershipStatus {
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let first = |names: &[String]| {
        names
            .iter()
            .take(MAX_MEMBERSHIP_NAMES)
            .cloned()
            .collect::<Vec<_>>()
    };
    MembershipStatus {
        namespaces: count(found.namespaces.len()),
        enrolled: count(found.enrolled),
        meshed: count(found.meshed),
        enrolled_names: first(&found.namespaces),
        broken: first(&found.broken),
    }
}

/// Fingerprint of what may make an act possible that was refused: our objects, definitions, the namespace's labels,
/// quotas and rights.
pub fn fingerprint(facts: &Facts) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for (key, live) in &facts.objects {
        (key, live.digest, live.deleting).hash(&mut hasher);
    }
    for (name, definition) in &facts.definitions {
        (name, definition.generation, definition.established).hash(&mut hasher);
    }
    if let Some(namespace) = facts.namespaces.get(names::SYSTEM_NAMESPACE) {
        (&namespace.labels, namespace.deleting).hash(&mut hasher);
    }
    for quota in &facts.quotas {
        (&quota.name, quota.hard, quota.used).hash(&mut hasher);
    }
    for denied in &facts.denied {
        (&denied.verb, &denied.resource, &denied.namespace).hash(&mut hasher);
    }
    hasher.finish()
}

/// A certificate, for status.
pub fn certificate(what: &str, certificate: &Certificate) -> CertificateStatus {
    CertificateStatus {
        what: what.to_owned(),
        fingerprint: certificate.fingerprint.as_str().to_owned(),
        not_after: Some(Time(certificate.not_after)),
    }
}
