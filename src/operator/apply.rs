//! Writes: server-side apply of own fields, deletions, patches fenced by resource version.
//!
//! Force is used only on objects that carry our label. Elsewhere a conflict means that somebody else owns a field we
//! would write: that is reported, never overwritten.

use std::fmt::Debug;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions,
    PropagationPolicy,
};
use kube::core::Request;
use kube::{Client, Resource as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::definition::Lean;
use super::error::{Error, is_conflict, is_gone};
use super::project;
use super::world::resource_of;
use crate::desired::crds::Document;
use crate::facts::{Accepted, Live, ObjectKey};
use crate::names;
use crate::plan::Object;

/// The longest a single request may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Field manager of what is given only to the request that creates an object.
const INITIAL_MANAGER: &str = "applink.dev/initial";

/// An API for objects like this one.
pub fn api(client: &Client, resource: &ApiResource, namespace: Option<&str>) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    }
}

/// Waits for a request, but not for ever.
pub async fn limited<T>(
    what: &'static str,
    object: impl ToString,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    match timeout(LIMIT, request).await {
        Ok(answer) => answer.map_err(Error::of(what, &object)),
        Err(_) => Err(Error::Timeout {
            what,
            object: object.to_string(),
            seconds: LIMIT.as_secs(),
        }),
    }
}

/// Applies an object. Returns what the API server made of it.
pub async fn object(
    client: &Client,
    object: &Object,
    is_ours: bool,
) -> Result<(Live, Accepted), Error> {
    let manifest = &object.manifest;
    let api = api(client, &manifest.resource, manifest.namespace.as_deref());
    let mut is_ours = is_ours;
    if manifest.initial.is_some() && !is_ours {
        is_ours = create(&api, object).await?;
    }
    let mut params = PatchParams::apply(names::FIELD_MANAGER);
    params.force = is_ours;
    let answer = timeout(
        LIMIT,
        api.patch(&manifest.name, &params, &Patch::Apply(&manifest.body)),
    )
    .await
    .map_err(|_| Error::Timeout {
        what: "apply",
        object: object.key.to_string(),
        seconds: LIMIT.as_secs(),
    })?;
    let answer = match answer {
        Ok(answer) => answer,
        Err(kube::Error::Api(status)) if status.code == 409 && !params.force => {
            return Err(Error::Foreign {
                object: object.key.to_string(),
                reason: status.message.clone(),
            });
        }
        Err(error) => return Err(Error::of("apply", &object.key)(error)),
    };
    let (_, live) = project::live(&object.key.kind, &answer)
        .unwrap_or_else(|| (object.key.clone(), Live::default()));
    let accepted = Accepted {
        sent: object.sent,
        digest: live.digest,
    };
    Ok((live, accepted))
}

/// Keeps the replicas of a Deployment when we stop saying how many there are: a field that nobody owns falls back to its
/// default, which is one. Whoever changes it later, an autoscaler, owns it then.
pub async fn hand_over(client: &Client, object: &Object, replicas: i64) -> Result<(), Error> {
    let manifest = &object.manifest;
    let api = api(client, &manifest.resource, manifest.namespace.as_deref());
    let body = json!({
        "apiVersion": manifest.resource.api_version,
        "kind": manifest.resource.kind,
        "metadata": {"name": manifest.name},
        "spec": {"replicas": replicas},
    });
    let params = PatchParams::apply(INITIAL_MANAGER);
    let patch = Patch::Apply(&body);
    let request = api.patch(&manifest.name, &params, &patch);
    match limited("hand over the replicas of", &object.key, request).await {
        // It has another number already: somebody else owns it.
        Err(Error::Request { source, .. }) if is_conflict(&source) || is_gone(&source) => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Creates an object with the fields that only its creation gets. Whether it is ours is returned: it was made now.
async fn create(api: &Api<DynamicObject>, object: &Object) -> Result<bool, Error> {
    let body: DynamicObject =
        serde_json::from_value(object.manifest.body_to_create()).map_err(|source| {
            crate::desired::Error::Serialise {
                kind: "object",
                name: object.key.to_string(),
                source,
            }
        })?;
    let params = PostParams {
        field_manager: Some(INITIAL_MANAGER.to_owned()),
        ..PostParams::default()
    };
    match timeout(LIMIT, api.create(&params, &body)).await {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(error)) if is_conflict(&error) => Ok(false),
        Ok(Err(error)) => Err(Error::of("create", &object.key)(error)),
        Err(_) => Err(Error::Timeout {
            what: "create",
            object: object.key.to_string(),
            seconds: LIMIT.as_secs(),
        }),
    }
}

/// Applies a definition. Returns its generation.
pub async fn definition(client: &Client, document: &Document) -> Result<Option<i64>, Error> {
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    let object = format!("CustomResourceDefinition {}", document.name);
    // What is sent was written when the image was built: nobody parses it here.
    let mut request = Request::new(Lean::url_path(&(), None))
        .patch(&document.name, &params, &Patch::Apply(()))
        .map_err(|source| Error::of("apply", &object)(kube::Error::BuildRequest(source)))?;
    *request.body_mut() = document.body.clone().into_bytes();
    let answer = limited("apply", object, client.request::<Lean>(request)).await?;
    Ok(answer.meta().generation)
}

/// Writes the time onto a definition. Not being there is success.
pub async fn touch(client: &Client, name: &str) -> Result<(), Error> {
    let object = format!("CustomResourceDefinition {name}");
    let api: Api<Lean> = Api::all(client.clone());
    let now = Timestamp::now().to_string();
    let body = json!({"metadata": {"annotations": {names::TOUCHED_ANNOTATION: now}}});
    let patch = Patch::Merge(&body);
    match limited(
        "patch",
        object,
        api.patch_metadata(name, &merging(), &patch),
    )
    .await
    {
        Err(Error::Request { source, .. }) if is_gone(&source) => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Deletes an object if it is still this one. Not being there is success.
pub async fn delete(client: &Client, key: &ObjectKey, uid: &str) -> Result<(), Error> {
    let resource = resource_of(&key.kind).ok_or_else(|| Error::UnknownKind {
        object: key.to_string(),
    })?;
    delete_of(client, &resource, key, Some(uid)).await
}

/// The same for any kind; without a uid whatever has the name goes.
pub async fn delete_of(
    client: &Client,
    resource: &ApiResource,
    key: &ObjectKey,
    uid: Option<&str>,
) -> Result<(), Error> {
    let api = api(client, resource, key.namespace.as_deref());
    deleted(&api, key, uid).await?;
    Ok(())
}

/// Deletes a pod of the data plane; what it is until it has ended, where it is still there.
pub async fn delete_pod(client: &Client, name: &str, uid: &str) -> Result<Option<Pod>, Error> {
    let key = ObjectKey::in_system("Pod", name);
    let api = Api::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
    deleted(&api, &key, Some(uid)).await
}

async fn deleted<K>(api: &Api<K>, key: &ObjectKey, uid: Option<&str>) -> Result<Option<K>, Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: uid.map(|uid| Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match limited("delete", key, api.delete(&key.name, &params)).await {
        // Another object has taken the name: the one that was meant is gone.
        Err(Error::Request { source, .. }) if is_gone(&source) || is_conflict(&source) => Ok(None),
        other => Ok(other?.left()),
    }
}

/// How something is merged into an object: under our name.
pub fn merging() -> PatchParams {
    PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// Merges into an object; what it is then, where that is known. A conflict means that it changed since it was seen: nothing
/// is done.
pub async fn merge(client: &Client, key: &ObjectKey, body: &Value) -> Result<Option<Live>, Error> {
    let resource = match key.kind.as_str() {
        "Node" => super::world::resource(("", "v1", "Node", "nodes")),
        kind => resource_of(kind).ok_or_else(|| Error::UnknownKind {
            object: key.to_string(),
        })?,
    };
    let api = api(client, &resource, key.namespace.as_deref());
    match limited(
        "patch",
        key,
        api.patch(&key.name, &merging(), &Patch::Merge(body)),
    )
    .await
    {
        Ok(answer) => Ok(project::live(&key.kind, &answer).map(|(_, live)| live)),
        Err(Error::Request { source, .. }) if is_gone(&source) || is_conflict(&source) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A label of an object, set or removed, if it is as it was seen.
pub fn label_patch(key: &str, value: Option<&str>, resource_version: &str) -> Value {
    json!({"metadata": {"resourceVersion": resource_version, "labels": {key: value}}})
}

/// Gives up every field we own of an object that stays.
pub async fn release(client: &Client, key: &ObjectKey) -> Result<(), Error> {
    let resource = resource_of(&key.kind).ok_or_else(|| Error::UnknownKind {
        object: key.to_string(),
    })?;
    let api = api(client, &resource, key.namespace.as_deref());
    let body = json!({"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": key.name}});
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    match limited(
        "release",
        key,
        api.patch(&key.name, &params, &Patch::Apply(&body)),
    )
    .await
    {
        Err(Error::Request { source, .. }) if is_gone(&source) => Ok(()),
        other => other.map(|_| ()),
    }
}

#[cfg(test)]
pub(super) mod tests;
