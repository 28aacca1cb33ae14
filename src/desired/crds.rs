//! Custom resource definitions of Istio and of the Gateway API: read from a folder, and which of them may be applied.
//!
//! The folder is filled when the image is built, from the modules that carry the definitions; none is kept in this
//! repository. It holds them as they were published ([`folder`]) or packed ([`packed`]), which costs the operator less.
//!
//! Definitions belong to the cluster and not to a member: they carry no member's label, and stay when it leaves.

pub mod folder;
pub mod library;
pub mod packed;
pub mod verdict;

use kube::core::ApiResource;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use folder::bundled;
pub use library::{Document, documents, entries};
pub use verdict::{Existing, Owner, Verdict, judge};

use super::manifest::Manifest;
use super::meta::COMPONENT_LABEL;
use crate::blueprint::revision::TemplateHash;
use crate::catalogue::Version;
use crate::names;

/// Annotation on definitions we applied: the version of the bundle they came from, for those that do not say it.
pub const BUNDLE_VERSION_ANNOTATION: &str = "applink.dev/crd-bundle-version";

/// Who publishes a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// Istio.
    Istio,
    /// The Gateway API.
    GatewayApi,
}

impl Family {
    /// The family of a definition's group; none for what is not ours to install.
    fn of_group(group: &str) -> Option<Self> {
        match group {
            "gateway.networking.k8s.io" => Some(Self::GatewayApi),
            _ if group.ends_with(".istio.io") => Some(Self::Istio),
            _ => None,
        }
    }
}

/// One definition of the folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundled {
    /// Who publishes it.
    pub family: Family,
    /// The version of its bundle, where it is known.
    pub version: Option<Version>,
    /// Every API version it has.
    pub versions: Vec<String>,
    /// What is applied.
    pub manifest: Manifest,
}

impl Bundled {
    /// Without its schemas, which are most of it.
    #[must_use]
    pub fn lean(mut self) -> Self {
        if let Some(body) = self.manifest.body.as_object_mut() {
            body.remove("spec");
        }
        self
    }
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or the folder cannot be read.
    #[error("{path} cannot be read: the image is incomplete, or --crds names the wrong folder")]
    Read {
        /// Its path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A packed file cannot be written.
    #[error("{path} cannot be written")]
    Write {
        /// Its path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file is larger than any bundle of definitions.
    #[error("{path} has {size} bytes, more than any bundle of definitions")]
    Size {
        /// Its path.
        path: String,
        /// Its size in bytes.
        size: u64,
    },
    /// A document is no YAML, or a packed file not what was packed.
    #[error("{path} holds a document that cannot be read: {reason}")]
    Parse {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
    /// A definition lacks what every definition has.
    #[error("{path} holds a definition without {field}")]
    Incomplete {
        /// Its path.
        path: String,
        /// What is missing.
        field: &'static str,
    },
}

/// The definition in a document; `None` for documents of another kind or family.
///
/// # Errors
/// [`Error::Incomplete`] when a definition lacks a name, a group or versions.
pub fn definition(
    path: &str,
    document: Value,
    istio: Option<Version>,
) -> Result<Option<Bundled>, Error> {
    if document["kind"] != "CustomResourceDefinition" {
        return Ok(None);
    }
    let incomplete = |field| Error::Incomplete {
        path: path.to_owned(),
        field,
    };
    let group = document["spec"]["group"]
        .as_str()
        .ok_or_else(|| incomplete("spec.group"))?;
    let Some(family) = Family::of_group(group) else {
        return Ok(None);
    };
    let name = document["metadata"]["name"]
        .as_str()
        .ok_or_else(|| incomplete("metadata.name"))?
        .to_owned();
    let versions: Vec<String> = document["spec"]["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|version| version["name"].as_str().map(str::to_owned))
        .collect();
    if versions.is_empty() {
        return Err(incomplete("spec.versions"));
    }
    let stated = document["metadata"]["annotations"][names::GATEWAY_API_BUNDLE_ANNOTATION].as_str();
    let version = match family {
        Family::Istio => istio,
        Family::GatewayApi => stated.and_then(version_of_bundle),
    };
    let manifest = manifest(name, family, version, document);
    Ok(Some(Bundled {
        family,
        version,
        versions,
        manifest,
    }))
}

/// A bundle's version as the Gateway API writes it: `v1.4.1`.
fn version_of_bundle(text: &str) -> Option<Version> {
    text.trim_start_matches('v').parse().ok()
}

/// What is applied: the specification as published, annotations of the Gateway API, our labels.
fn manifest(
    name: String,
    family: Family,
    version: Option<Version>,
    mut document: Value,
) -> Manifest {
    let spec = document["spec"].take();
    let mut annotations = json!({});
    for key in [
        names::GATEWAY_API_BUNDLE_ANNOTATION,
        names::GATEWAY_API_CHANNEL_ANNOTATION,
        "api-approved.kubernetes.io",
    ] {
        let value = document["metadata"]["annotations"][key].take();
        if value.is_string() {
            annotations[key] = value;
        }
    }
    if let (Family::Istio, Some(version)) = (family, version) {
        annotations[BUNDLE_VERSION_ANNOTATION] = json!(version.to_string());
    }
    // A value always serialises; were it not so, the definition would only be applied once more than needed.
    if let Ok(hash) = TemplateHash::of(&[&spec]) {
        annotations[names::TEMPLATE_HASH_ANNOTATION] = json!(hash.as_str());
    }
    let body = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": name,
            "annotations": annotations,
            "labels": {
                names::MANAGED_BY_LABEL: names::MANAGED_BY,
                "app.kubernetes.io/part-of": "applink",
                COMPONENT_LABEL: "crds",
            },
        },
        "spec": spec,
    });
    Manifest {
        resource: resource(),
        namespace: None,
        name,
        body,
        initial: None,
    }
}

/// The kind of definitions.
#[must_use]
pub fn resource() -> ApiResource {
    ApiResource {
        group: "apiextensions.k8s.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "apiextensions.k8s.io/v1".to_owned(),
        kind: "CustomResourceDefinition".to_owned(),
        plural: "customresourcedefinitions".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(bundle: &str) -> Value {
        json!({
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": "gateways.gateway.networking.k8s.io",
                "annotations": {"gateway.networking.k8s.io/bundle-version": bundle, "other": "x"},
                "labels": {"foreign": "label"},
            },
            "spec": {"group": "gateway.networking.k8s.io", "versions": [{"name": "v1"}, {"name": "v1beta1"}]},
            "status": {"conditions": []},
        })
    }

    #[test]
    fn a_definition_keeps_its_specification_and_gets_our_labels() {
        let bundled = definition("f", gateway("v1.4.1"), None).unwrap().unwrap();
        assert_eq!(bundled.family, Family::GatewayApi);
        assert_eq!(bundled.version, Some(Version::new(1, 4, 1)));
        assert_eq!(bundled.versions, ["v1", "v1beta1"]);
        let body = &bundled.manifest.body;
        assert_eq!(body["spec"], gateway("v1.4.1")["spec"]);
        assert_eq!(
            body["metadata"]["labels"][names::MANAGED_BY_LABEL],
            "applink"
        );
        assert!(
            body["metadata"]["labels"].get("foreign").is_none() && body.get("status").is_none()
        );
        assert!(body["metadata"]["annotations"].get("other").is_none());
    }

    #[test]
    fn an_istio_definition_says_of_which_version_it_is() {
        let document = json!({
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "sidecars.networking.istio.io"},
            "spec": {"group": "networking.istio.io", "versions": [{"name": "v1"}]},
        });
        let bundled = definition("f", document, Some(Version::new(1, 31, 1)))
            .unwrap()
            .unwrap();
        assert_eq!(
            bundled.manifest.annotation(BUNDLE_VERSION_ANNOTATION),
            Some("1.31.1")
        );
    }

    #[test]
    fn other_documents_are_passed_over() {
        let foreign = json!({"kind": "CustomResourceDefinition", "metadata": {"name": "a.b"}, "spec": {"group": "b", "versions": [{"name": "v1"}]}});
        for document in [
            json!({"kind": "ValidatingAdmissionPolicy"}),
            json!(null),
            json!([1]),
            foreign,
        ] {
            assert_eq!(definition("f", document, None).unwrap(), None);
        }
    }

    #[test]
    fn an_incomplete_definition_is_named() {
        for (path, field) in [
            ("/spec/group", "spec.group"),
            ("/metadata/name", "metadata.name"),
            ("/spec/versions", "spec.versions"),
        ] {
            let mut document = gateway("v1.4.1");
            *document.pointer_mut(path).unwrap() = Value::Null;
            let error = definition("f.yaml", document, None)
                .unwrap_err()
                .to_string();
            assert!(error.contains("f.yaml") && error.contains(field), "{error}");
        }
    }
}
