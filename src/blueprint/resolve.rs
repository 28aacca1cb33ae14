//! From what users wrote and what was found out to a [`Blueprint`].

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ResourceRequirements, Toleration as K8sToleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

use super::tuning::{Agent, ControlPlane, NodeProxy, Replicas, WaypointDefaults};
use super::{Blueprint, Images, IpFamilies, Owner, Release, Strategy};
use crate::api::v1alpha1::{
    ApplicationNetworkSpec, MeshMember, ResourceAmounts, Resources, ZtunnelImplementation,
};
use crate::catalogue::{self, Component};
use crate::names;
use crate::platform::Platform;

/// The longest name that fits a label value.
const LONGEST_LABEL: usize = 63;

/// What was found out about the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Kubernetes distribution, as detected or overridden.
    pub platform: Platform,
    /// Address families of pods.
    pub families: IpFamilies,
    /// DNS domain of the cluster; none means `cluster.local`.
    pub cluster_domain: Option<String>,
    /// The least replicas an autoscaler keeps that targets istiod's Deployment and is not ours; none when there is none.
    pub autoscaler_least: Option<i32>,
}

/// Why there is no blueprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The member has no UID: it was never stored.
    #[error("MeshMember {0} has no uid: only a member read from the API server has a blueprint")]
    NotStored(String),
    /// A name does not fit a label value.
    #[error(
        "{what} {value:?} does not fit a label value: at most 63 letters, digits, hyphens, underscores and dots, with a letter or digit at both ends"
    )]
    NotALabel {
        /// Whose name.
        what: &'static str,
        /// The name.
        value: String,
    },
    /// A trust domain that could not be part of an identity.
    #[error(
        "trust domain {0:?} is not one: lower case letters, digits, dots and hyphens are expected"
    )]
    TrustDomain(String),
}

/// The blueprint of a member at a release.
///
/// # Errors
/// [`Error`] names what does not fit; the CRDs refuse most of it already.
pub fn blueprint(
    member: &MeshMember,
    network: &ApplicationNetworkSpec,
    release: &catalogue::Release,
    surroundings: &Surroundings,
) -> Result<Blueprint, Error> {
    let name = member.name_any();
    let uid = member.uid().ok_or_else(|| Error::NotStored(name.clone()))?;
    let spec = &member.spec;
    let data_plane = spec.data_plane.clone().unwrap_or_default();
    let proxy = data_plane.ztunnel.unwrap_or_default();
    let agent = data_plane.cni.unwrap_or_default();
    let control_plane = spec.control_plane.clone().unwrap_or_default();
    let waypoints = spec.waypoints.clone().unwrap_or_default();
    let defaults = (
        NodeProxy::default(),
        Agent::default(),
        ControlPlane::default(),
        WaypointDefaults::default(),
    );
    let mut pull_secrets: Vec<_> = spec
        .images
        .iter()
        .flat_map(|images| &images.pull_secrets)
        .map(|secret| secret.name.clone())
        .collect();
    pull_secrets.sort();
    pull_secrets.dedup();
    Ok(Blueprint {
        owner: Owner {
            name: label("MeshMember", &name)?,
            uid,
        },
        network: label("network", member.effective_istio_network())?,
        trust_domain: trust_domain(network.effective_trust_domain())?,
        cluster_domain: surroundings
            .cluster_domain
            .clone()
            .unwrap_or_else(|| "cluster.local".to_owned()),
        mtls: network.effective_mtls(),
        release: Release {
            version: release.version,
            istio: release.istio,
        },
        images: images(
            release,
            spec.effective_implementation(),
            spec.images
                .as_ref()
                .and_then(|images| images.registry.as_deref()),
        ),
        pull_secrets,
        platform: surroundings.platform,
        families: surroundings.families,
        node_selector: data_plane.node_selector,
        tolerations: data_plane.tolerations.map_or_else(every_taint, |listed| {
            let exists = |key: &str| K8sToleration {
                key: Some(key.to_owned()),
                operator: Some("Exists".to_owned()),
                ..K8sToleration::default()
            };
            // Node components stay while the operator replaces one of them, and take the startup taint away by running.
            let startup = spec.effective_startup_taint();
            listed
                .iter()
                .map(K8sToleration::from)
                .chain([exists(names::MOVING_TAINT)])
                .chain(startup.then(|| exists(names::STARTUP_TAINT)))
                .collect()
        }),
        ztunnel: NodeProxy {
            implementation: spec.effective_implementation(),
            resources: requirements(proxy.resources.as_ref(), defaults.0.resources),
            log_level: spec.effective_ztunnel_log_level(),
            drain_timeout: Strategy::of(spec.upgrade.as_ref()).drain,
        },
        cni: Agent {
            startup_taint: spec.effective_startup_taint(),
            resources: requirements(agent.resources.as_ref(), defaults.1.resources),
            log_level: spec.effective_cni_log_level(),
        },
        control_plane: ControlPlane {
            replicas: surroundings.autoscaler_least.map_or_else(
                || Replicas::Fixed(spec.effective_control_plane_replicas()),
                |least| Replicas::Autoscaled { least },
            ),
            resources: requirements(control_plane.resources.as_ref(), defaults.2.resources),
        },
        waypoint: WaypointDefaults {
            replicas: spec.effective_waypoint_replicas(),
            resources: requirements(waypoints.resources.as_ref(), defaults.3.resources),
        },
    })
}

fn images(
    release: &catalogue::Release,
    implementation: ZtunnelImplementation,
    registry: Option<&str>,
) -> Images {
    let proxy = match implementation {
        ZtunnelImplementation::Applink => Component::Applink,
        ZtunnelImplementation::Istio => Component::Ztunnel,
    };
    let image = |component| release.image(component, registry);
    Images {
        istiod: image(Component::Pilot),
        cni: image(Component::InstallCni),
        ztunnel: image(proxy),
        waypoint: image(Component::Proxyv2),
    }
}

/// Requests and limits of the spec; what it does not say comes from the defaults. A limit without a request is the
/// request as well, as Kubernetes takes it: the default request could be above the limit, which no API server accepts.
fn requirements(spec: Option<&Resources>, defaults: ResourceRequirements) -> ResourceRequirements {
    let Some(spec) = spec else { return defaults };
    let limits = amounts(spec.limits.as_ref());
    let mut requests = defaults.requests.unwrap_or_default();
    for (name, limit) in &limits {
        requests.insert(name.clone(), limit.clone());
    }
    requests.extend(amounts(spec.requests.as_ref()));
    let mut all = defaults.limits.unwrap_or_default();
    all.extend(limits);
    ResourceRequirements {
        requests: (!requests.is_empty()).then_some(requests),
        limits: (!all.is_empty()).then_some(all),
        ..ResourceRequirements::default()
    }
}

fn amounts(spec: Option<&ResourceAmounts>) -> BTreeMap<String, Quantity> {
    let Some(spec) = spec else {
        return BTreeMap::new();
    };
    [("cpu", &spec.cpu), ("memory", &spec.memory)]
        .into_iter()
        .filter_map(|(name, amount)| {
            amount
                .as_ref()
                .map(|amount| (name.to_owned(), Quantity::from(amount)))
        })
        .collect()
}

/// Tolerations of node components when the spec lists none: a mesh that leaves nodes out by their taints has holes.
#[must_use]
pub fn every_taint() -> Vec<K8sToleration> {
    let exists = |key: Option<&str>, effect: Option<&str>| K8sToleration {
        key: key.map(str::to_owned),
        operator: Some("Exists".to_owned()),
        effect: effect.map(str::to_owned),
        ..K8sToleration::default()
    };
    vec![
        exists(None, Some("NoSchedule")),
        exists(Some("CriticalAddonsOnly"), None),
        exists(None, Some("NoExecute")),
    ]
}

fn label(what: &'static str, value: &str) -> Result<String, Error> {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    let fits = bytes.len() <= LONGEST_LABEL
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    if fits {
        Ok(value.to_owned())
    } else {
        Err(Error::NotALabel {
            what,
            value: value.to_owned(),
        })
    }
}

fn trust_domain(value: &str) -> Result<String, Error> {
    let fits = !value.is_empty()
        && value.len() <= 253
        && value.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte)
        });
    if fits {
        Ok(value.to_owned())
    } else {
        Err(Error::TrustDomain(value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use crate::api::v1alpha1::{KubernetesRange, MeshMemberSpec, MeshRelease, MeshReleaseSpec};
    use serde_json::{Value, json};

    use super::*;

    fn member(spec: Value) -> MeshMember {
        let mut member = MeshMember::new(
            "edge-1",
            serde_json::from_value::<MeshMemberSpec>(spec).unwrap(),
        );
        member.metadata.uid = Some("uid-1".to_owned());
        member
    }

    fn release() -> catalogue::Release {
        let spec = MeshReleaseSpec {
            istio_version: "1.31.0".into(),
            kubernetes: KubernetesRange {
                min: "1.31".into(),
                max: "1.36".into(),
            },
            ..MeshReleaseSpec::default()
        };
        catalogue::Release::read(&MeshRelease::new("1.6.0", spec)).unwrap()
    }

    fn resolved(spec: Value) -> Blueprint {
        blueprint(
            &member(spec),
            &ApplicationNetworkSpec::default(),
            &release(),
            &Surroundings::default(),
        )
        .unwrap()
    }

    fn amounts_of(requirements: &ResourceRequirements) -> (Value, Value) {
        (json!(requirements.requests), json!(requirements.limits))
    }

    #[test]
    fn an_empty_spec_has_every_default() {
        let blueprint = resolved(json!({}));
        assert_eq!(blueprint.cluster_id(), "edge-1");
        assert_eq!(blueprint.network, "edge-1");
        assert_eq!(blueprint.trust_domain, "cluster.local");
        assert_eq!(blueprint.control_plane, ControlPlane::default());
        assert_eq!(blueprint.ztunnel, NodeProxy::default());
        assert_eq!(blueprint.waypoint, WaypointDefaults::default());
        assert_eq!(blueprint.tolerations, every_taint());
        assert!(
            blueprint.images.ztunnel.contains("applink"),
            "{}",
            blueprint.images.ztunnel
        );
    }

    #[test]
    fn what_resources_leave_out_comes_from_the_defaults() {
        for (given, requests, limits) in [
            (
                json!({}),
                json!({"cpu": "50m", "memory": "64Mi"}),
                json!(null),
            ),
            (
                json!({"requests": {"cpu": "1"}}),
                json!({"cpu": "1", "memory": "64Mi"}),
                json!(null),
            ),
            // A limit below the default request must not be refused.
            (
                json!({"limits": {"memory": "32Mi"}}),
                json!({"cpu": "50m", "memory": "32Mi"}),
                json!({"memory": "32Mi"}),
            ),
            (
                json!({"requests": {"memory": "16Mi"}, "limits": {"memory": "32Mi"}}),
                json!({"cpu": "50m", "memory": "16Mi"}),
                json!({"memory": "32Mi"}),
            ),
        ] {
            let blueprint = resolved(json!({"dataPlane": {"ztunnel": {"resources": given}}}));
            assert_eq!(
                amounts_of(&blueprint.ztunnel.resources),
                (requests, limits),
                "{given}"
            );
        }
    }

    #[test]
    fn pull_secrets_are_sorted_and_there_once() {
        let images = json!({"pullSecrets": [{"name": "b"}, {"name": "a"}, {"name": "b"}]});
        assert_eq!(resolved(json!({"images": images})).pull_secrets, ["a", "b"]);
    }

    #[test]
    fn listed_tolerations_replace_the_built_in_ones() {
        let tolerations = json!([{"key": "dedicated", "operator": "Exists"}]);
        let blueprint = resolved(json!({"dataPlane": {"tolerations": tolerations}}));
        let moving = json!({"key": "applink.dev/moving", "operator": "Exists"});
        assert_eq!(
            json!(blueprint.tolerations),
            json!([tolerations[0], moving]),
            "and the taint of a node that is being moved"
        );
        let waits = json!({"tolerations": tolerations, "cni": {"startupTaint": true}});
        let startup = json!({"key": "cni.istio.io/not-ready", "operator": "Exists"});
        assert_eq!(
            json!(resolved(json!({"dataPlane": waits})).tolerations),
            json!([tolerations[0], moving, startup]),
            "and the one that a node carries until they run"
        );
    }

    #[test]
    fn the_implementation_decides_the_image() {
        let blueprint = resolved(json!({"dataPlane": {"ztunnel": {"implementation": "Istio"}}}));
        assert!(
            blueprint.images.ztunnel.ends_with("/ztunnel:1.31.0"),
            "{}",
            blueprint.images.ztunnel
        );
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let network = ApplicationNetworkSpec::default();
        let fails = |member: &MeshMember, network: &ApplicationNetworkSpec| {
            blueprint(member, network, &release(), &Surroundings::default())
                .unwrap_err()
                .to_string()
        };
        let mut unstored = member(json!({}));
        unstored.metadata.uid = None;
        assert!(fails(&unstored, &network).contains("uid"));
        let mut long = member(json!({}));
        long.metadata.name = Some("a".repeat(64));
        assert!(fails(&long, &network).contains("MeshMember"));
        assert!(fails(&member(json!({"network": "-x"})), &network).contains("\"-x\""));
        let shouting = ApplicationNetworkSpec {
            trust_domain: Some("CAMPUS".into()),
            ..network
        };
        assert!(fails(&member(json!({})), &shouting).contains("CAMPUS"));
    }
}
