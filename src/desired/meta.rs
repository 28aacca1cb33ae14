//! The only maker of `ObjectMeta`: names, labels and the member an object belongs to.
//!
//! No object carries an owner reference to its `MeshMember`. Leaving is ordered (proxies before the agent, the agent
//! before its rights, istiod last), and the garbage collector knows no order: after `kubectl delete --cascade=foreground`
//! it deletes every dependent at once, while the member still waits for its finalizer, and goes on deleting what the
//! operator re-applies while a leave is blocked. Objects are found by the label [`names::MEMBER_LABEL`] and told apart
//! from those of an earlier member of the same name by the annotation [`MEMBER_UID_ANNOTATION`].

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::blueprint::{Blueprint, Owner};
use crate::names;

/// UID of the `MeshMember` an object belongs to (annotation): tells members of one name, one after the other, apart.
pub const MEMBER_UID_ANNOTATION: &str = "applink.dev/member-uid";

/// Part of the data plane an object belongs to (label), e.g. `ztunnel`.
pub const COMPONENT_LABEL: &str = "applink.dev/component";

/// Release a workload was built for (annotation).
pub const RELEASE_ANNOTATION: &str = "applink.dev/release";

/// A sorted map of texts: labels, annotations, selectors.
pub(super) type Texts = BTreeMap<String, String>;

/// A sorted map from pairs.
pub(super) fn texts<const N: usize>(pairs: [(&str, &str); N]) -> Texts {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Part of the data plane an object belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// What the others stand on.
    Foundation,
    /// The control plane.
    Istiod,
    /// The CNI agent.
    Cni,
    /// The node proxy.
    Ztunnel,
    /// What pulls images.
    Prepull,
    /// The operator's own probe.
    Probe,
    /// Mesh-wide policy.
    Mesh,
}

impl Component {
    /// Value of [`COMPONENT_LABEL`].
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Foundation => "foundation",
            Self::Istiod => "istiod",
            Self::Cni => "istio-cni",
            Self::Ztunnel => "ztunnel",
            Self::Prepull => "prepull",
            Self::Probe => "probe",
            Self::Mesh => "mesh",
        }
    }
}

/// Metadata of a namespaced object in `applink-system`.
pub(super) fn namespaced(
    blueprint: &Blueprint,
    component: Component,
    name: impl Into<String>,
) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(names::SYSTEM_NAMESPACE.to_owned()),
        ..cluster(blueprint, component, name)
    }
}

/// Metadata of a cluster-scoped object.
pub(super) fn cluster(
    blueprint: &Blueprint,
    component: Component,
    name: impl Into<String>,
) -> ObjectMeta {
    owned(&blueprint.owner, component, name)
}

/// Metadata of an object that depends on nothing of a blueprint but whose it is.
pub(super) fn owned(owner: &Owner, component: Component, name: impl Into<String>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        labels: Some(labels(owner, component)),
        annotations: Some(texts([(MEMBER_UID_ANNOTATION, &owner.uid)])),
        ..ObjectMeta::default()
    }
}

/// Labels every object carries. Nothing here changes within the life of a member, so shared objects of two releases are equal.
fn labels(owner: &Owner, component: Component) -> Texts {
    texts([
        (names::MANAGED_BY_LABEL, names::MANAGED_BY),
        ("app.kubernetes.io/part-of", "applink"),
        ("app.kubernetes.io/name", component.as_str()),
        (COMPONENT_LABEL, component.as_str()),
        (names::MEMBER_LABEL, &owner.name),
    ])
}

/// Adds labels to metadata.
pub(super) fn with_labels<const N: usize>(
    mut meta: ObjectMeta,
    pairs: [(&str, &str); N],
) -> ObjectMeta {
    meta.labels.get_or_insert_default().extend(texts(pairs));
    meta
}

/// Adds annotations to metadata.
pub(super) fn with_annotations<const N: usize>(
    mut meta: ObjectMeta,
    pairs: [(&str, &str); N],
) -> ObjectMeta {
    meta.annotations
        .get_or_insert_default()
        .extend(texts(pairs));
    meta
}
