//! Checks of network policies in enrolled namespaces: do tunnels and the kubelet's probes still reach the pods?
//!
//! A policy isolates the pods it selects; the policies of the namespace that select the same pods, or all, add up.
//! Policies that overlap in other ways are taken one by one: a warning too many is better than a silent loss.

use std::net::{IpAddr, Ipv4Addr};

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::cluster::Cluster;
use super::finding::{Code, Finding, Severity};
use super::some_of;
use crate::names::{HBONE_PORT, PROBE_SOURCE_V4};

pub(super) fn check(cluster: &Cluster) -> Vec<Finding> {
    let mut tunnel = Vec::new();
    let mut probes = Vec::new();
    for policy in &cluster.network_policies {
        let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
        let Some(spec) = policy.spec.as_ref() else {
            continue;
        };
        if !cluster
            .enrolled_namespaces
            .iter()
            .any(|enrolled| enrolled == namespace)
        {
            continue;
        }
        let object = format!(
            "NetworkPolicy {namespace}/{}",
            policy.metadata.name.as_deref().unwrap_or_default()
        );
        let together = || beside(cluster, namespace, spec);
        let inward = isolates(spec, "Ingress");
        if (inward && !together().any(lets_tunnels_in))
            || (isolates(spec, "Egress") && !together().any(lets_tunnels_out))
        {
            tunnel.push(object.clone());
        }
        if inward && !together().any(lets_probes_in) {
            probes.push(object);
        }
    }
    let finding = |code, objects: Vec<String>, message: String, remedy: String| {
        (!objects.is_empty()).then(|| Finding {
            code,
            severity: Severity::Warn,
            object: some_of(&objects),
            message,
            remedy,
        })
    };
    [
        finding(
            Code::NetworkPolicyBlocksTunnel,
            tunnel,
            format!("it keeps TCP port {HBONE_PORT} from enrolled pods, and all traffic between them uses it"),
            format!("allow TCP port {HBONE_PORT} in and out for the same peers"),
        ),
        finding(
            Code::NetworkPolicyBlocksProbes,
            probes,
            format!("it may keep the kubelet's probes out: they come from {PROBE_SOURCE_V4}"),
            format!("allow ingress from {PROBE_SOURCE_V4}/32 if pods have probes"),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The policies of a namespace that surely select every pod that `spec` selects, itself included.
fn beside<'a>(
    cluster: &'a Cluster,
    namespace: &'a str,
    spec: &'a NetworkPolicySpec,
) -> impl Iterator<Item = &'a NetworkPolicySpec> {
    cluster
        .network_policies
        .iter()
        .filter(move |policy: &&NetworkPolicy| {
            policy.metadata.namespace.as_deref() == Some(namespace)
        })
        .filter_map(|policy| policy.spec.as_ref())
        .filter(move |other| selects_all(other) || other.pod_selector == spec.pod_selector)
}

fn selects_all(spec: &NetworkPolicySpec) -> bool {
    spec.pod_selector
        .as_ref()
        .is_none_or(|selector: &LabelSelector| {
            *selector == LabelSelector::default()
                || (selector
                    .match_labels
                    .as_ref()
                    .is_none_or(std::collections::BTreeMap::is_empty)
                    && selector
                        .match_expressions
                        .as_ref()
                        .is_none_or(Vec::is_empty))
        })
}

/// Without policyTypes a policy is about ingress, and about egress when it has egress rules.
fn isolates(spec: &NetworkPolicySpec, direction: &str) -> bool {
    match spec.policy_types.as_deref() {
        None | Some([]) => {
            direction == "Ingress" || spec.egress.as_ref().is_some_and(|rules| !rules.is_empty())
        }
        Some(types) => types.iter().any(|one| one == direction),
    }
}

fn lets_tunnels_in(spec: &NetworkPolicySpec) -> bool {
    isolates(spec, "Ingress")
        && spec
            .ingress
            .iter()
            .flatten()
            .any(|rule| covers_tunnel(rule.ports.as_deref()))
}

fn lets_tunnels_out(spec: &NetworkPolicySpec) -> bool {
    isolates(spec, "Egress")
        && spec
            .egress
            .iter()
            .flatten()
            .any(|rule| covers_tunnel(rule.ports.as_deref()))
}

/// No ports means every port.
fn covers_tunnel(ports: Option<&[NetworkPolicyPort]>) -> bool {
    let tunnel = i32::from(HBONE_PORT);
    ports.is_none_or(|ports| {
        ports.is_empty()
            || ports.iter().any(|port| {
                let tcp = port
                    .protocol
                    .as_deref()
                    .is_none_or(|protocol| protocol == "TCP");
                let number = match &port.port {
                    None => true,
                    Some(IntOrString::Int(first)) => {
                        (*first..=port.end_port.unwrap_or(*first)).contains(&tunnel)
                    }
                    Some(IntOrString::String(_)) => false,
                };
                tcp && number
            })
    })
}

fn lets_probes_in(spec: &NetworkPolicySpec) -> bool {
    let source: Option<IpAddr> = PROBE_SOURCE_V4.parse().ok();
    let covers = |rule: &NetworkPolicyIngressRule| {
        rule.from.as_ref().is_none_or(|peers| {
            peers.is_empty()
                || peers
                    .iter()
                    .filter_map(|peer| peer.ip_block.as_ref())
                    .any(|block| {
                        let within =
                            |cidr: &str| source.is_some_and(|source| contains(cidr, source));
                        within(&block.cidr)
                            && !block.except.iter().flatten().any(|except| within(except))
                    })
        })
    };
    isolates(spec, "Ingress") && spec.ingress.iter().flatten().any(covers)
}

/// Whether an IPv4 range in CIDR notation contains an address.
fn contains(cidr: &str, address: IpAddr) -> bool {
    let Some((network, length)) = cidr.split_once('/') else {
        return false;
    };
    let (Ok(network), Ok(length), IpAddr::V4(address)) =
        (network.parse::<Ipv4Addr>(), length.parse::<u32>(), address)
    else {
        return false;
    };
    let mask = 32u32
        .checked_sub(length)
        .map(|zeros| u32::MAX.checked_shl(zeros).unwrap_or(0));
    mask.is_some_and(|mask| u32::from(network) & mask == u32::from(address) & mask)
}
