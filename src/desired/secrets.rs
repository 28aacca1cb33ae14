//! Secrets the operator writes: authorities, and copies of pull secrets.
//!
//! Authorities are *created*, never applied: a request that finds a Secret in its place must fail, so that no key is ever
//! written over another.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::manifest::{Error, Manifest};
use super::meta::{self, Component};
use crate::blueprint::Blueprint;
use crate::facts::{CREDENTIALS_KEY, CREDENTIALS_TYPE};
use crate::names;
use crate::trust::{Authority, Intermediate};

/// Annotation with the fingerprint of the certificate inside: seen without reading the Secret's data.
pub const FINGERPRINT_ANNOTATION: &str = "applink.dev/fingerprint";
/// Label with the network whose root a Secret holds.
pub const NETWORK_LABEL: &str = "applink.dev/network";

/// Name of the Secret that holds a network's root.
#[must_use]
pub fn root_name(network: &str) -> String {
    format!("{}{network}", names::ROOT_SECRET_PREFIX)
}

/// The network's root, in the operator's namespace. Belongs to no member: it stays when they leave.
///
/// # Errors
/// [`Error`] when it does not serialise.
pub fn root(network: &str, authority: &Authority) -> Result<Manifest, Error> {
    Manifest::of(&Secret {
        metadata: ObjectMeta {
            name: Some(root_name(network)),
            namespace: Some(names::OPERATOR_NAMESPACE.to_owned()),
            labels: Some(meta::texts([
                (names::MANAGED_BY_LABEL, names::MANAGED_BY),
                ("app.kubernetes.io/part-of", "applink"),
                (NETWORK_LABEL, network),
            ])),
            annotations: Some(meta::texts([(
                FINGERPRINT_ANNOTATION,
                authority.certificate.fingerprint.as_str(),
            )])),
            ..ObjectMeta::default()
        },
        ..opaque(authority.secret_data())
    })
}

/// The member's intermediate, where istiod mounts it.
///
/// # Errors
/// [`Error`] when it does not serialise.
pub fn cacerts(blueprint: &Blueprint, intermediate: &Intermediate) -> Result<Manifest, Error> {
    let metadata = meta::namespaced(blueprint, Component::Istiod, names::CACERTS_SECRET);
    Manifest::of(&Secret {
        metadata: meta::with_annotations(
            metadata,
            [(
                FINGERPRINT_ANNOTATION,
                intermediate.certificate.fingerprint.as_str(),
            )],
        ),
        ..opaque(intermediate.secret_data())
    })
}

/// Registry credentials where the data plane's pods need them.
#[must_use]
pub fn pull_secret(blueprint: &Blueprint, credentials: Vec<u8>) -> Secret {
    Secret {
        metadata: meta::namespaced(blueprint, Component::Foundation, names::PULL_SECRET),
        data: Some(BTreeMap::from([(
            CREDENTIALS_KEY.to_owned(),
            ByteString(credentials),
        )])),
        type_: Some(CREDENTIALS_TYPE.to_owned()),
        ..Secret::default()
    }
}

fn opaque(data: BTreeMap<String, Vec<u8>>) -> Secret {
    Secret {
        data: Some(
            data.into_iter()
                .map(|(key, value)| (key, ByteString(value)))
                .collect(),
        ),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_secret_reads_back_and_never_shows_its_key() {
        let now = "2026-11-21T09:00:00Z".parse().unwrap();
        let authority = Authority::mint("campus", now).unwrap();
        let manifest = root("campus", &authority).unwrap();
        assert_eq!(
            manifest.display_name(),
            "Secret applink-operator/applink-root-campus"
        );
        let secret: Secret = serde_json::from_value(manifest.body.clone()).unwrap();
        let data = secret
            .data
            .unwrap()
            .into_iter()
            .map(|(key, value)| (key, value.0))
            .collect();
        let read = Authority::read(&data, now).unwrap();
        assert_eq!(read.certificate, authority.certificate);
        assert_eq!(
            manifest.annotation(FINGERPRINT_ANNOTATION),
            Some(read.certificate.fingerprint.as_str())
        );
        assert_eq!(
            format!("{manifest:?}"),
            "Manifest(Secret applink-operator/applink-root-campus)"
        );
    }
}
