//! One object to be, at the edge between typed builders and server-side apply.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::ApiResource;
use serde::Serialize;
use serde_json::Value;

/// One object to be applied: exactly the fields we own.
#[derive(Clone, PartialEq)]
pub struct Manifest {
    /// Group, version, kind and plural.
    pub resource: ApiResource,
    /// Namespace; none for cluster-scoped objects.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// The object as JSON: `apiVersion`, `kind`, `metadata` and the fields we own.
    pub body: Value,
    /// Fields that are given only to the request that creates the object, as a JSON merge patch over `body`, sent by a
    /// plain create under another field manager: afterwards they belong to whoever writes them.
    /// Used for a webhook's `failurePolicy`, which istiod owns from then on.
    pub initial: Option<Value>,
}

/// Kind and name only: the body may be a Secret.
impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Manifest({})", self.display_name())
    }
}

/// A typed object that could not be turned into a manifest.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object has no name.
    #[error("a {kind} without a name cannot be applied")]
    Unnamed {
        /// Its kind.
        kind: &'static str,
    },
    /// Serialising failed.
    #[error("{kind} {name} does not serialise")]
    Serialise {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
    /// Hashing a template failed.
    #[error("the template of {component} does not serialise")]
    Hash {
        /// Whose template.
        component: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}

impl Manifest {
    /// The manifest of a typed object.
    ///
    /// # Errors
    /// [`Error`] when the object has no name or does not serialise; builders of this crate never meet either.
    pub fn of<K>(object: &K) -> Result<Self, Error>
    where
        K: k8s_openapi::Resource + k8s_openapi::Metadata<Ty = ObjectMeta> + Serialize,
    {
        let meta = object.metadata();
        let name = meta.name.clone().ok_or(Error::Unnamed { kind: K::KIND })?;
        let body = serde_json::to_value(object).map_err(|source| Error::Serialise {
            kind: K::KIND,
            name: name.clone(),
            source,
        })?;
        Ok(Self {
            resource: resource::<K>(),
            namespace: meta.namespace.clone(),
            name,
            body,
            initial: None,
        })
    }

    /// The same with fields for the creating request only.
    #[must_use]
    pub fn with_initial(self, initial: Value) -> Self {
        Self {
            initial: Some(initial),
            ..self
        }
    }

    /// Kind and name, with the namespace where there is one: `Deployment applink-system/istiod-1-6-0`.
    #[must_use]
    pub fn display_name(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} {namespace}/{}", self.resource.kind, self.name),
            None => format!("{} {}", self.resource.kind, self.name),
        }
    }

    /// Value of a label of the object itself.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.body.get("metadata")?.get("labels")?.get(key)?.as_str()
    }

    /// Value of an annotation of the object itself.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.body
            .get("metadata")?
            .get("annotations")?
            .get(key)?
            .as_str()
    }

    /// The body of the request that creates the object: `body` with `initial` merged in.
    #[must_use]
    pub fn body_to_create(&self) -> Value {
        let mut body = self.body.clone();
        if let Some(initial) = &self.initial {
            merge(&mut body, initial);
        }
        body
    }
}

fn resource<K: k8s_openapi::Resource>() -> ApiResource {
    ApiResource {
        group: K::GROUP.to_owned(),
        version: K::VERSION.to_owned(),
        api_version: K::API_VERSION.to_owned(),
        kind: K::KIND.to_owned(),
        plural: K::URL_PATH_SEGMENT.to_owned(),
    }
}

/// JSON merge patch (RFC 7396), with one addition: an array in the patch is merged element by element, so that a field
/// of a list's first entry can be named.
fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(target), Value::Array(patch)) => {
            for (target, patch) in target.iter_mut().zip(patch) {
                merge(target, patch);
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_typed_object_keeps_kind_name_and_namespace() {
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some("a".into()),
                namespace: Some("b".into()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        };
        let manifest = Manifest::of(&map).unwrap();
        assert_eq!(manifest.display_name(), "ConfigMap b/a");
        assert_eq!(manifest.resource.plural, "configmaps");
        assert_eq!(
            manifest.body,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}})
        );
    }

    #[test]
    fn an_object_without_a_name_is_refused() {
        assert!(matches!(
            Manifest::of(&ConfigMap::default()),
            Err(Error::Unnamed { kind: "ConfigMap" })
        ));
    }

    #[test]
    fn initial_fields_reach_only_the_creating_body() {
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some("a".into()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        };
        let mut manifest = Manifest::of(&map)
            .unwrap()
            .with_initial(json!({"webhooks": [{"failurePolicy": "Ignore"}]}));
        manifest.body["webhooks"] = json!([{"name": "w"}]);
        assert_eq!(
            manifest.body_to_create()["webhooks"],
            json!([{"name": "w", "failurePolicy": "Ignore"}])
        );
        assert_eq!(manifest.body["webhooks"], json!([{"name": "w"}]));
    }
}
