//! The mesh-wide configuration istiod reads, and the mesh-wide policy.

use kube::core::ApiResource;
use serde_json::{Value, json};

use super::manifest::{Error, Manifest};
use super::meta::{self, Component};
use crate::api::v1alpha1::Mtls;
use crate::blueprint::{Blueprint, IpFamilies};
use crate::names;

/// Name of the mesh-wide policy.
const POLICY: &str = "default";

/// `mesh` of istiod's ConfigMap.
pub(super) fn config(blueprint: &Blueprint) -> Value {
    let mut metadata = json!({"ISTIO_META_ENABLE_HBONE": "true"});
    if blueprint.families == IpFamilies::Dual {
        metadata["ISTIO_DUAL_STACK"] = json!("true");
    }
    json!({
        "trustDomain": blueprint.trust_domain,
        // Mesh-wide policies are looked up here and nowhere else.
        "rootNamespace": names::SYSTEM_NAMESPACE,
        "defaultProviders": {"metrics": ["prometheus"]},
        "defaultConfig": {
            "discoveryAddress": super::istiod::address(blueprint),
            "proxyMetadata": metadata,
        },
        // A service labelled so is served to every cluster of the network.
        "serviceScopeConfigs": [{
            "servicesSelector": {
                "matchExpressions": [{"key": "istio.io/global", "operator": "In", "values": ["true"]}],
            },
            "scope": "GLOBAL",
        }],
    })
}

/// The mesh-wide policy: a `PeerAuthentication` in the root namespace when the network is strict, else nothing.
pub(super) fn policy(blueprint: &Blueprint) -> Result<Vec<Manifest>, Error> {
    if blueprint.mtls == Mtls::Permissive {
        return Ok(Vec::new());
    }
    let metadata = meta::namespaced(blueprint, Component::Mesh, POLICY);
    let metadata = serde_json::to_value(metadata).map_err(|source| Error::Serialise {
        kind: "PeerAuthentication",
        name: POLICY.to_owned(),
        source,
    })?;
    Ok(vec![Manifest {
        resource: peer_authentication(),
        namespace: Some(names::SYSTEM_NAMESPACE.to_owned()),
        name: POLICY.to_owned(),
        body: json!({
            "apiVersion": "security.istio.io/v1",
            "kind": "PeerAuthentication",
            "metadata": metadata,
            "spec": {"mtls": {"mode": "STRICT"}},
        }),
        initial: None,
    }])
}

/// The kind of the mesh-wide policy, for whoever lists or deletes it.
#[must_use]
pub fn peer_authentication() -> ApiResource {
    ApiResource {
        group: "security.istio.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "security.istio.io/v1".to_owned(),
        kind: "PeerAuthentication".to_owned(),
        plural: "peerauthentications".to_owned(),
    }
}
