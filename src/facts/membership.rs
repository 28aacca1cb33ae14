//! Who should be in the mesh, and who is.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Facts, GatewayPod};
use crate::names;

/// How old a pod is before it counts: the network agent needs a moment to capture it.
pub const GRACE: SignedDuration = SignedDuration::from_secs(20);

/// A namespace, by its metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceFact {
    /// Labels that matter to a mesh; the others are not kept.
    pub labels: BTreeMap<String, String>,
    /// It is being deleted.
    pub deleting: bool,
    /// Its uid.
    pub uid: String,
    /// The version a write may be made conditional on.
    pub resource_version: String,
}

impl NamespaceFact {
    /// It asks for the mesh.
    pub fn is_enrolled(&self) -> bool {
        self.labels
            .get(names::DATAPLANE_MODE_LABEL)
            .map(String::as_str)
            == Some(names::DATAPLANE_MODE_AMBIENT)
    }

    /// It asks for sidecars.
    pub fn wants_sidecars(&self) -> bool {
        self.labels
            .get(names::SIDECAR_INJECTION_LABEL)
            .map(String::as_str)
            == Some("enabled")
    }
}

/// What a pod itself says about the mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: its namespace decides.
    #[default]
    Inherit,
    /// In.
    Ambient,
    /// Out, or it has a sidecar.
    Out,
}

/// A running pod with an own network namespace, by its metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodMeta {
    /// Its uid.
    pub uid: String,
    /// What it says itself.
    pub mode: Mode,
    /// The agent has captured it, wholly or in part.
    pub redirected: bool,
    /// It is being deleted.
    pub deleting: bool,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// The control plane's revision that its label names.
    pub revision: Option<Box<str>>,
    /// Istiod has made it for a Gateway.
    pub gateway: Option<Box<GatewayPod>>,
    /// Fingerprint of the uid of what controls it, with which its replicas have it in common.
    pub controller: Option<u64>,
}

/// How many pods each controller has, by the fingerprint of its uid.
pub type Replicas = BTreeMap<u64, usize>;

/// Enrolled pods of the whole cluster by their controller.
pub fn replicas(facts: &Facts) -> Replicas {
    let mut replicas = Replicas::new();
    for ((namespace, _), pod) in &facts.workloads {
        let of = facts.namespaces.get(namespace).map(Arc::as_ref);
        if let Some(controller) = pod.controller.filter(|_| pod.is_enrolled(namespace, of)) {
            *replicas.entry(controller).or_default() += 1;
        }
    }
    replicas
}

/// Namespaces whose pods are never captured, and the probe's, whose pods are nobody's workload.
const EXCLUDED: [&str; 4] = [
    "kube-system",
    names::SYSTEM_NAMESPACE,
    names::OPERATOR_NAMESPACE,
    names::PROBE_NAMESPACE,
];

impl PodMeta {
    /// It should be in the mesh.
    pub fn is_enrolled(&self, name: &str, namespace: Option<&NamespaceFact>) -> bool {
        !EXCLUDED.contains(&name)
            && match self.mode {
                Mode::Out => false,
                Mode::Ambient => true,
                Mode::Inherit => namespace.is_some_and(NamespaceFact::is_enrolled),
            }
    }

    /// It is old enough to count, and stays.
    pub fn is_settled(&self, now: Timestamp) -> bool {
        !self.deleting
            && self
                .created
                .is_none_or(|created| now.duration_since(created) >= GRACE)
    }
}

/// Who should be in the mesh, and who is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Enrolled namespaces, sorted.
    pub namespaces: Vec<String>,
    /// Enrolled pods that count.
    pub enrolled: usize,
    /// Of these, captured ones.
    pub meshed: usize,
    /// Of these, not captured ones, `namespace/name`, sorted.
    pub broken: Vec<String>,
    /// Namespaces with pods that are enrolled by their own label although the namespace is not, sorted.
    pub by_pod: Vec<String>,
    /// Pods that the agent still holds, `namespace/name`, sorted.
    pub redirected: Vec<String>,
    /// When the next young pod begins to count.
    pub next: Option<Timestamp>,
}

/// Reads the membership out of the facts.
pub fn membership(facts: &Facts, now: Timestamp) -> Membership {
    let mut found = Membership {
        namespaces: facts
            .namespaces
            .iter()
            .filter(|(name, namespace)| {
                namespace.is_enrolled() && !namespace.deleting && !EXCLUDED.contains(&name.as_str())
            })
            .map(|(name, _)| name.clone())
            .collect(),
        ..Membership::default()
    };
    for ((namespace, name), pod) in &facts.workloads {
        let of = facts.namespaces.get(namespace).map(Arc::as_ref);
        if pod.redirected && !pod.deleting {
            found.redirected.push(format!("{namespace}/{name}"));
        }
        if !pod.is_enrolled(namespace, of) {
            continue;
        }
        let inherits = of.is_some_and(NamespaceFact::is_enrolled);
        if !inherits && found.by_pod.last() != Some(namespace) {
            found.by_pod.push(namespace.clone());
        }
        if pod.redirected && !pod.deleting {
            found.enrolled += 1;
            found.meshed += 1;
        } else if pod.is_settled(now) {
            found.enrolled += 1;
            found.broken.push(format!("{namespace}/{name}"));
        } else if let Some(counts) = pod
            .created
            .filter(|_| !pod.deleting)
            .and_then(|created| created.checked_add(GRACE).ok())
        {
            found.next = Some(found.next.map_or(counts, |next| next.min(counts)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(mode: Option<&str>) -> Arc<NamespaceFact> {
        let labels = mode
            .map(|mode| (names::DATAPLANE_MODE_LABEL.to_owned(), mode.to_owned()))
            .into_iter()
            .collect();
        Arc::new(NamespaceFact {
            labels,
            ..NamespaceFact::default()
        })
    }

    fn pod(mode: Mode, redirected: bool, age: i64) -> Arc<PodMeta> {
        Arc::new(PodMeta {
            uid: "u".to_owned(),
            mode,
            redirected,
            deleting: false,
            created: Timestamp::from_second(1000 - age).ok(),
            ..PodMeta::default()
        })
    }

    #[test]
    fn only_settled_enrolled_pods_count_and_the_others_are_named() {
        let mut facts = Facts::default();
        facts
            .namespaces
            .insert("shop".to_owned(), namespace(Some("ambient")));
        facts.namespaces.insert("plain".to_owned(), namespace(None));
        for ours in ["kube-system", names::PROBE_NAMESPACE] {
            facts
                .namespaces
                .insert(ours.to_owned(), namespace(Some("ambient")));
        }
        for (space, name, pod) in [
            ("shop", "in", pod(Mode::Inherit, true, 100)),
            ("shop", "lost", pod(Mode::Inherit, false, 100)),
            ("shop", "young", pod(Mode::Inherit, false, 1)),
            ("shop", "out", pod(Mode::Out, false, 100)),
            ("plain", "own", pod(Mode::Ambient, true, 100)),
            ("plain", "left", pod(Mode::Inherit, false, 100)),
            ("kube-system", "dns", pod(Mode::Inherit, false, 100)),
            (
                names::PROBE_NAMESPACE,
                "node-a",
                pod(Mode::Inherit, false, 100),
            ),
        ] {
            facts
                .workloads
                .insert((space.to_owned(), name.to_owned()), pod);
        }
        let found = membership(&facts, Timestamp::from_second(1000).unwrap());
        assert_eq!(
            found,
            Membership {
                namespaces: vec!["shop".to_owned()],
                enrolled: 3,
                meshed: 2,
                broken: vec!["shop/lost".to_owned()],
                by_pod: vec!["plain".to_owned()],
                redirected: vec!["plain/own".to_owned(), "shop/in".to_owned()],
                next: Timestamp::from_second(1019).ok(),
            }
        );
    }
}
