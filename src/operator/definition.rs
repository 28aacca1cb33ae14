//! Custom resource definitions as this operator reads them: everything but their schemas, which are megabytes.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use crate::facts::Definition;

/// A definition without schemas.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Lean {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Spec {
    #[serde(default)]
    group: String,
    #[serde(default)]
    versions: Vec<Served>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Served {
    name: String,
    #[serde(default)]
    served: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    // A definition that was made a moment ago has null here.
    conditions: Option<Vec<Condition>>,
    stored_versions: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl kube::Resource for Lean {
    type DynamicType = ();
    type Scope = kube::core::ClusterResourceScope;
    fn kind((): &()) -> Cow<'_, str> {
        "CustomResourceDefinition".into()
    }
    fn group((): &()) -> Cow<'_, str> {
        "apiextensions.k8s.io".into()
    }
    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        "customresourcedefinitions".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The definition, when it is one of Istio's or the Gateway API's.
pub fn project(lean: Lean) -> Option<(String, Definition)> {
    let name = lean.metadata.name?;
    let group = &lean.spec.group;
    if !group.ends_with(".istio.io") && group != "gateway.networking.k8s.io" {
        return None;
    }
    let manager = lean
        .metadata
        .managed_fields
        .unwrap_or_default()
        .into_iter()
        .find(|entry| entry.subresource.is_none())
        .and_then(|entry| entry.manager);
    let definition = Definition {
        deleting: lean.metadata.deletion_timestamp.is_some(),
        established: lean
            .status
            .conditions
            .iter()
            .flatten()
            .any(|condition| condition.kind == "Established" && condition.status == "True"),
        labels: lean.metadata.labels.unwrap_or_default(),
        annotations: lean.metadata.annotations.unwrap_or_default(),
        manager,
        served: lean
            .spec
            .versions
            .into_iter()
            .filter(|version| version.served)
            .map(|version| version.name)
            .collect(),
        stored: lean.status.stored_versions.unwrap_or_default(),
        generation: lean.metadata.generation.unwrap_or_default(),
    };
    Some((name, definition))
}
