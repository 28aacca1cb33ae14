//! What is kept of objects that are not ours to write, and of our own kinds.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ResourceQuota, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Resource;
use kube::core::DeserializeGuard;
use serde::de::DeserializeOwned;

use crate::facts::{Definition, Other, Pod, PodMeta, Quota};
use crate::names;
use crate::operator::mirror::{self, Fact};
use crate::operator::project::{self, Place};
use crate::trust::{Authority, Certificate, Defect, Intermediate};

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

/// What a Secret holds: a root, or an intermediate and its root.
#[derive(Clone, Debug, PartialEq)]
pub enum Keys {
    /// The network's root.
    Root(Result<Certificate, Defect>),
    /// The member's intermediate, the root beside it, and that root's PEM text.
    Pair(Result<(Certificate, Certificate, Vec<u8>), Defect>),
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

/// Nothing but that it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present;

facts!(
    Definition, Pod, PodMeta, Keys, Policy, QuotaFact, OtherFact, Present
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

/// The certificate of a network's root; its key is not kept.
pub fn root(secret: Secret) -> Option<(String, Keys)> {
    let name = secret.metadata.name.clone()?;
    if !name.starts_with(names::ROOT_SECRET_PREFIX) {
        return None;
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
