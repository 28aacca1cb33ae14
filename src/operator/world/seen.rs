//! What is kept of objects that are not ours to write, and of our own kinds.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Resource;
use kube::core::DeserializeGuard;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::facts::{CREDENTIALS_KEY, Credentials, Definition, Other, Pod, PodMeta, Quota};
use crate::names;
use crate::operator::mirror::{self, Fact};
use crate::operator::project::{self, Place};
use crate::trust::{Authority, Certificate, Defect, Intermediate};

/// Keys of Cilium's `ConfigMap` that are kept.
const CILIUM_KEYS: [&str; 5] = [
    "cni-exclusive",
    "enable-bpf-masquerade",
    "kube-proxy-replacement",
    "bpf-lb-sock",
    "bpf-lb-sock-hostns-only",
];

/// What is kept of an object of our own kinds.
#[derive(Clone, Debug)]
pub struct Own<K>(pub Result<K, String>, pub u64);

impl<K: Send + Sync + 'static> PartialEq for Own<K> {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}

impl<K: Send + Sync + 'static> Fact for Own<K> {
    fn version(&self) -> u64 {
        self.1
    }
}

macro_rules! facts {
    ($($kind:ty),+) => { $(impl Fact for $kind {})+ };
}

/// What a Secret holds: a root, an intermediate and its root, or registry credentials.
#[derive(Clone, Debug, PartialEq)]
pub enum Keys {
    /// The network's root.
    Root(Result<Certificate, Defect>),
    /// The member's intermediate, the root beside it, and that root's PEM text.
    Pair(Result<(Certificate, Certificate, Vec<u8>), Defect>),
    /// Registry credentials.
    Pull(Result<Credentials, String>),
}

/// Rules of a network policy; the rest is not kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy(pub Arc<NetworkPolicy>);

/// How many pods a quota allows and counts.
#[derive(Clone, Debug, PartialEq)]
pub struct QuotaFact(pub Quota);

/// Something that looks like a mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct OtherFact(pub Other);

/// The copy of the pull secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    /// Its uid.
    pub uid: String,
    /// It carries our label.
    pub is_ours: bool,
    /// Fingerprint of what it holds.
    pub digest: u64,
    version: u64,
}

impl Fact for Copy {
    fn is_same(&self, other: &Self) -> bool {
        (&self.uid, self.is_ours, self.digest) == (&other.uid, other.is_ours, other.digest)
    }
    fn version(&self) -> u64 {
        self.version
    }
}

/// The least replicas an autoscaler keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Least(pub i32);

/// Settings by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings(pub BTreeMap<String, String>);

/// A template that pods of a node component were made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(pub Arc<Value>);

/// Nothing but that it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present;

facts!(
    Definition, Pod, PodMeta, Keys, Policy, QuotaFact, OtherFact, Present, Least, Settings,
    Template
);

/// An object of our own kinds, or why it cannot be read.
pub fn own<K: DeserializeOwned + Resource>(guard: DeserializeGuard<K>) -> Option<(String, Own<K>)> {
    match guard.0 {
        Ok(object) => {
            let meta = object.meta();
            let version = mirror::version(meta.resource_version.as_deref().unwrap_or_default());
            Some((meta.name.clone()?, Own(Ok(object), version)))
        }
        Err(invalid) => {
            let version = mirror::version(
                invalid
                    .metadata
                    .resource_version
                    .as_deref()
                    .unwrap_or_default(),
            );
            Some((invalid.metadata.name?, Own(Err(invalid.error), version)))
        }
    }
}

/// The certificate of a network's root, whose key is not kept, or the credentials of a pull secret.
pub fn at_home(secret: Secret) -> Option<(String, Keys)> {
    let name = secret.metadata.name.clone()?;
    if !name.starts_with(names::ROOT_SECRET_PREFIX) {
        let kind = secret.type_.clone()?;
        let credentials = Credentials::read(&kind, &bytes(secret))?;
        return Some((name, Keys::Pull(credentials)));
    }
    let read = Authority::read(&bytes(secret), Timestamp::now());
    Some((name, Keys::Root(read.map(|root| root.certificate))))
}

/// The certificates of a member's intermediate; its key is not kept.
pub fn pair(secret: Secret) -> Option<(String, Keys)> {
    let name = secret.metadata.name.clone()?;
    let mut data = bytes(secret);
    let read = Intermediate::read(&data, Timestamp::now());
    let root = data.remove("root-cert.pem").unwrap_or_default();
    Some((
        name,
        Keys::Pair(read.map(|own| (own.certificate, own.root, root))),
    ))
}

/// The copy of the pull secrets, as a fingerprint.
pub fn copy(secret: Secret) -> Option<(String, Copy)> {
    let name = secret.metadata.name.clone()?;
    let copy = Copy {
        uid: secret.metadata.uid.clone().unwrap_or_default(),
        is_ours: secret
            .metadata
            .labels
            .as_ref()
            .is_some_and(|labels| labels.contains_key(names::MEMBER_LABEL)),
        version: mirror::version(
            secret
                .metadata
                .resource_version
                .as_deref()
                .unwrap_or_default(),
        ),
        digest: digest(bytes(secret).get(CREDENTIALS_KEY).map(Vec::as_slice)),
    };
    Some((name, copy))
}

/// Fingerprint of credentials, within this process.
pub fn digest(text: Option<&[u8]>) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The Deployment that an autoscaler targets, and how many replicas it keeps at least.
pub fn autoscaler(autoscaler: HorizontalPodAutoscaler) -> Option<(String, Least)> {
    let spec = autoscaler.spec?;
    let target = spec.scale_target_ref;
    (target.kind == "Deployment").then(|| (target.name, Least(spec.min_replicas.unwrap_or(1))))
}

/// The template that the controller of a node component recorded, without the affinity.
pub fn template(revision: ControllerRevision) -> Option<(String, Template)> {
    let meta = revision.metadata;
    let labels = meta.labels?;
    let is = |key: &str, value: &str| labels.get(key).is_some_and(|text| text == value);
    if !is("app", names::ZTUNNEL) && !is("k8s-app", names::CNI_DAEMON_SET) {
        return None;
    }
    let mut body = revision.data?.0;
    let mut template = body.pointer_mut("/spec/template")?.take();
    if let Some(spec) = template.pointer_mut("/spec").and_then(Value::as_object_mut) {
        spec.remove("affinity");
    }
    Some((meta.name?, Template(Arc::new(template))))
}

/// The settings that the mesh depends on.
pub fn cilium(map: ConfigMap) -> Option<(String, Settings)> {
    let mut data = map.data.unwrap_or_default();
    data.retain(|key, _| CILIUM_KEYS.contains(&key.as_str()));
    Some((map.metadata.name?, Settings(data)))
}

/// The rules of a network policy.
pub fn policy(mut policy: NetworkPolicy) -> Option<(Place, Policy)> {
    policy.metadata.managed_fields = None;
    policy.metadata.annotations = None;
    Some((project::place(&policy.metadata), Policy(Arc::new(policy))))
}

fn bytes(secret: Secret) -> BTreeMap<String, Vec<u8>> {
    secret
        .data
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| (key, value.0))
        .collect()
}

/// How many pods a quota leaves; none when it does not count pods.
pub fn quota(quota: ResourceQuota) -> Option<(String, QuotaFact)> {
    let name = quota.metadata.name?;
    let status = quota.status.unwrap_or_default();
    let number = |map: Option<BTreeMap<String, Quantity>>| {
        map.and_then(|map| map.get("pods").and_then(|quantity| quantity.0.parse().ok()))
    };
    let hard: i64 = number(status.hard)?;
    let used = number(status.used).unwrap_or(0);
    Some((name.clone(), QuotaFact(Quota { name, hard, used })))
}
