//! Pods of the operator's own probe: one on a node that moves, and two elsewhere.
//!
//! Plain pods, each bound to a node through the scheduler, so that one that has no room there is told and not forced in.
//! They need nothing of the host, no rights and no token, and run in a namespace that is enrolled.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, Pod, PodSpec, ResourceRequirements, SeccompProfile, SecurityContext, Toleration,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::manifest::{Error, Manifest};
use super::meta::{self, Component};
use super::{affinity, pod};
use crate::blueprint::Owner;
use crate::names;

/// The longest name of a pod. Source: kubernetes `validation.DNS1123SubdomainMaxLength`.
const LONGEST: usize = 253;

/// What a pod of the probe is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is on a node that moves.
    Node,
    /// It is elsewhere: asked from there, and asks. There are two, told apart by number.
    Peer(usize),
}

impl Role {
    /// The name of the pod with this role on a node.
    #[must_use]
    pub fn pod(self, node: &str) -> String {
        let mut name = match self {
            Self::Node => format!("node-{node}"),
            Self::Peer(number) => format!("peer-{number}-{node}"),
        };
        name.truncate(LONGEST);
        name.truncate(name.trim_end_matches(['-', '.']).len());
        name
    }
}

/// A pod on a node, from an image that holds our program.
///
/// # Errors
/// [`Error`] when it does not serialise.
pub fn pod(owner: &Owner, image: &str, role: Role, node: &str) -> Result<Manifest, Error> {
    let metadata = ObjectMeta {
        namespace: Some(names::PROBE_NAMESPACE.to_owned()),
        ..meta::owned(owner, Component::Probe, role.pod(node))
    };
    Manifest::of(&Pod {
        metadata: meta::with_labels(
            metadata,
            [("app", names::PROBE), ("sidecar.istio.io/inject", "false")],
        ),
        spec: Some(PodSpec {
            affinity: Some(affinity::on_node(node)),
            automount_service_account_token: Some(false),
            containers: vec![container(image)],
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(1),
            // It goes where proxies go, and while the node carries our taint.
            tolerations: Some(vec![Toleration {
                operator: Some("Exists".to_owned()),
                ..Toleration::default()
            }]),
            ..PodSpec::default()
        }),
        status: None,
    })
}

fn container(image: &str) -> Container {
    let amounts = |cpu: Option<&str>, memory: &str| -> BTreeMap<String, Quantity> {
        (cpu.map(|cpu| ("cpu", cpu)).into_iter())
            .chain([("memory", memory)])
            .map(|(key, value)| (key.to_owned(), Quantity(value.to_owned())))
            .collect()
    };
    Container {
        args: Some(vec!["probe".to_owned()]),
        resources: Some(ResourceRequirements {
            // Throttled, it would count the node's slowness as failures.
            limits: Some(amounts(None, "64Mi")),
            requests: Some(amounts(Some("1m"), "8Mi")),
            ..ResourceRequirements::default()
        }),
        // As the image's own user: OpenShift gives one of its own, and takes no other.
        security_context: Some(SecurityContext {
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..pod::unprivileged()
        }),
        ..pod::container("probe", &image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_roles_and_nodes_apart_and_fit() {
        assert_eq!(Role::Node.pod("a.example"), "node-a.example");
        assert_eq!(Role::Peer(1).pod("a"), "peer-1-a");
        let long = format!("{}.{}", "a".repeat(247), "b".repeat(5));
        let name = Role::Node.pod(&long);
        assert!(name.len() <= LONGEST && name.ends_with('a'), "{name}");
    }

    #[test]
    fn it_passes_the_strictest_pod_security_level() {
        let owner = Owner {
            name: "east".to_owned(),
            uid: "u".to_owned(),
        };
        let manifest = pod(&owner, "applink:1", Role::Node, "a").unwrap();
        let at = |pointer: &str| manifest.body.pointer(pointer).cloned();
        let of = |field: &str| at(&format!("/spec/containers/0/securityContext/{field}"));
        assert_eq!(of("runAsNonRoot"), Some(true.into()));
        assert_eq!(of("allowPrivilegeEscalation"), Some(false.into()));
        assert_eq!(of("capabilities/drop/0"), Some("ALL".into()));
        assert_eq!(of("capabilities/add"), None);
        assert_eq!(of("seccompProfile/type"), Some("RuntimeDefault".into()));
        for host in ["volumes", "hostNetwork", "hostPID", "hostIPC"] {
            assert_eq!(at(&format!("/spec/{host}")), None, "{host}");
        }
        assert_eq!(manifest.namespace.as_deref(), Some(names::PROBE_NAMESPACE));
    }
}
