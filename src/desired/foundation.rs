//! What must be there before anything else: labels of the namespace, what the platform asks for, the proxies' account.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Namespace, ResourceQuota, ResourceQuotaSpec, ScopeSelector, ScopedResourceSelectorRequirement,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::manifest::{Error, Manifest};
use super::meta::{self, Component};
use super::rbac;
use crate::blueprint::Blueprint;
use crate::names;
use crate::platform::Platform;

/// Pods of priority `system-node-critical` in the namespace: agent, proxy and an arriving proxy on each of 5 000 nodes
/// (the most Kubernetes supports), with room.
const CRITICAL_PODS: &str = "20000";
/// The priority class of node components.
pub(super) const NODE_CRITICAL: &str = "system-node-critical";

/// Objects of this step, in order.
pub(super) fn objects(blueprint: &Blueprint) -> Result<Vec<Manifest>, Error> {
    let mut objects = vec![Manifest::of(&namespace(blueprint))?];
    if blueprint.platform.needs_critical_quota() {
        objects.push(Manifest::of(&quota(blueprint))?);
    }
    // Before istiod: it is asked to sign for this account before any proxy is there.
    objects.push(rbac::account(
        blueprint,
        Component::Ztunnel,
        names::ZTUNNEL,
    )?);
    Ok(objects)
}

/// The namespace with our labels: node components need host paths and capabilities, and istiod reads the network's name
/// here.
fn namespace(blueprint: &Blueprint) -> Namespace {
    let mut metadata = meta::with_labels(
        meta::cluster(blueprint, Component::Foundation, names::SYSTEM_NAMESPACE),
        [
            ("pod-security.kubernetes.io/enforce", "privileged"),
            ("pod-security.kubernetes.io/audit", "privileged"),
            ("pod-security.kubernetes.io/warn", "privileged"),
            (names::NETWORK_LABEL, &blueprint.network),
        ],
    );
    if blueprint.platform == Platform::OpenShift {
        // Else OpenShift computes the Pod Security level from the accounts' constraints and overwrites it.
        metadata = meta::with_labels(
            metadata,
            [("security.openshift.io/scc.podSecurityLabelSync", "false")],
        );
    }
    Namespace {
        metadata,
        ..Namespace::default()
    }
}

fn quota(blueprint: &Blueprint) -> ResourceQuota {
    let requirement = ScopedResourceSelectorRequirement {
        operator: "In".to_owned(),
        scope_name: "PriorityClass".to_owned(),
        values: Some(vec![NODE_CRITICAL.to_owned()]),
    };
    ResourceQuota {
        metadata: meta::namespaced(blueprint, Component::Foundation, "applink-node-critical"),
        spec: Some(ResourceQuotaSpec {
            hard: Some(BTreeMap::from([(
                "pods".to_owned(),
                Quantity(CRITICAL_PODS.to_owned()),
            )])),
            scope_selector: Some(ScopeSelector {
                match_expressions: Some(vec![requirement]),
            }),
            ..ResourceQuotaSpec::default()
        }),
        ..ResourceQuota::default()
    }
}
