//! What models are made from.

use std::collections::BTreeMap;

use serde_json::json;

use crate::api::v1alpha1::LogLevel;
use crate::blueprint::Blueprint;
use crate::desired::crds;

/// A blueprint as small as it gets.
pub fn blueprint(log_level: LogLevel, agent_level: LogLevel) -> Blueprint {
    use crate::blueprint::{Agent, ControlPlane, Images, NodeProxy, Owner, Release};
    let image = |name: &str| format!("{name}:1");
    Blueprint {
        owner: Owner {
            name: "east".to_owned(),
            uid: "u".to_owned(),
        },
        network: "east".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        mtls: crate::api::v1alpha1::Mtls::Permissive,
        release: Release {
            version: crate::catalogue::Version::new(1, 6, 0),
            istio: crate::catalogue::Version::new(1, 31, 0),
        },
        images: Images {
            istiod: image("pilot"),
            cni: image("install-cni"),
            ztunnel: image("applink"),
            waypoint: image("proxyv2"),
        },
        pull_secrets: Vec::new(),
        platform: crate::platform::Platform::Vanilla,
        families: crate::blueprint::IpFamilies::V4,
        node_selector: BTreeMap::new(),
        tolerations: vec![k8s_openapi::api::core::v1::Toleration {
            operator: Some("Exists".to_owned()),
            ..Default::default()
        }],
        ztunnel: NodeProxy {
            log_level,
            ..NodeProxy::default()
        },
        cni: Agent {
            log_level: agent_level,
            ..Agent::default()
        },
        control_plane: ControlPlane::default(),
        waypoint: crate::blueprint::WaypointDefaults::default(),
    }
}

/// A definition of the folder.
pub(super) fn definition(name: &str) -> crds::Bundled {
    let document = json!({
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {"group": "networking.istio.io", "versions": [{"name": "v1"}]},
    });
    crds::definition("f", document, None).unwrap().unwrap()
}
