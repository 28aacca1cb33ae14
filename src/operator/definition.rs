//! Custom resource definitions as this operator reads them: everything but their schemas, which are megabytes.

use std::borrow::Cow;

use jiff::Timestamp;
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
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    last_transition_time: Option<Timestamp>,
}

impl Condition {
    fn is_true(&self, kind: &str) -> bool {
        self.kind == kind && self.status == "True"
    }
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
    let conditions = lean.status.conditions.unwrap_or_default();
    let established = conditions.iter().any(|one| one.is_true("Established"));
    let accepted = (conditions.iter())
        .find(|one| one.is_true("NamesAccepted"))
        .and_then(|one| one.last_transition_time);
    let definition = Definition {
        deleting: lean.metadata.deletion_timestamp.is_some(),
        established,
        accepted: accepted.filter(|_| !established),
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn definition(conditions: &Value) -> Definition {
        let lean = json!({
            "metadata": {"name": "sidecars.networking.istio.io"},
            "spec": {"group": "networking.istio.io"},
            "status": {"conditions": conditions},
        });
        project(serde_json::from_value(lean).unwrap()).unwrap().1
    }

    #[test]
    fn since_when_a_definition_waits_to_be_served_is_read() {
        let time = "2026-11-30T12:24:52Z";
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "lastTransitionTime": time});
        let accepted = condition("NamesAccepted", "True");
        let waits = definition(&json!([accepted, condition("Established", "False")]));
        assert!(!waits.established);
        assert_eq!(waits.accepted, Some(time.parse().unwrap()));
        let serves = definition(&json!([accepted, condition("Established", "True")]));
        assert_eq!((serves.established, serves.accepted), (true, None));
        for new in [json!(null), json!([condition("NamesAccepted", "False")])] {
            let new = definition(&new);
            assert_eq!((new.established, new.accepted), (false, None));
        }
    }
}
