//! The custom resource definitions, generated from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::v1alpha1::{ApplicationNetwork, MeshMember, MeshRelease};

/// The definitions of all our kinds, in the order in which they are applied.
pub fn crds() -> Vec<CustomResourceDefinition> {
    [
        ApplicationNetwork::crd(),
        MeshMember::crd(),
        MeshRelease::crd(),
    ]
    .into_iter()
    .map(polish)
    .collect()
}

/// One definition as a YAML document that `kubectl` reads back the same.
///
/// # Errors
/// When the definition cannot be written as YAML: a defect of the types, caught by the tests.
pub fn yaml(definition: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(definition)
}

/// Makes the generated schema say what we mean: a written null is an absent field.
///
/// An optional Rust field becomes `nullable`, and then the API server keeps a null and `has()` is true for it, which
/// would open a hole in every rule. Without it the server drops the null before it judges.
fn polish(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        if let Some(schema) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        {
            drop_null(schema);
        }
    }
    definition
}

fn drop_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    for property in schema
        .properties
        .iter_mut()
        .flat_map(|properties| properties.values_mut())
    {
        drop_null(property);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => drop_null(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(drop_null),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        drop_null(values);
    }
}
