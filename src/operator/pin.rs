//! The label of ours on a waypoint: written and given back by server-side apply, so that what somebody else has written
//! stays his.
//!
//! A pin is applied by force, and takes nothing from anybody: it is fenced by the version at which nobody had the label.
//! Without force the API server refuses it on a Gateway that was applied with `labels: {}`, whose owner owns the empty map.

use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::apply::limited;
use super::error::{Error, is_conflict, is_gone};
use super::world::Gateway;
use crate::names;

/// A Gateway as it was seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    pub resource_version: &'a str,
}

/// Names a release on a Gateway, or takes off what is ours, if it is still as it was seen. Returns what it is then; `None`
/// when it has changed, which the next pass sees as well.
pub async fn gateway(
    client: &Client,
    seen: Seen<'_>,
    release: Option<&str>,
) -> Result<Option<Gateway>, Error> {
    let api: Api<Gateway> = Api::namespaced(client.clone(), seen.namespace);
    let object = format!("Gateway {}/{}", seen.namespace, seen.name);
    let what = if release.is_some() {
        "pin"
    } else {
        "give back"
    };
    let mut params = PatchParams::apply(names::PIN_MANAGER);
    params.force = release.is_some();
    let body = applied(seen, release);
    let patch = Patch::Apply(&body);
    let request = api.patch(seen.name, &params, &patch);
    let answer = match limited(what, &object, request).await {
        Err(Error::Request { source, .. }) if is_gone(&source) || is_conflict(&source) => {
            return Ok(None);
        }
        other => other?,
    };
    if release.is_some() || !is_marked(&answer) {
        return Ok(Some(answer));
    }
    // Our annotation has got another owner, as on a copy of a Gateway that was pinned: the label is not ours then.
    let params = PatchParams {
        field_manager: Some(names::PIN_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let body = json!({"metadata": {"uid": seen.uid, "annotations": {names::PIN_ANNOTATION: null}}});
    let patch = Patch::Merge(&body);
    let request = api.patch(seen.name, &params, &patch);
    match limited(what, &object, request).await {
        Err(Error::Request { source, .. }) if is_gone(&source) || is_conflict(&source) => Ok(None),
        other => other.map(Some),
    }
}

fn is_marked(gateway: &Gateway) -> bool {
    let annotations = &kube::Resource::meta(gateway).annotations;
    annotations
        .as_ref()
        .is_some_and(|all| all.contains_key(names::PIN_ANNOTATION))
}

/// Everything that is ours of a Gateway. With its uid and version it can neither make one nor change another.
fn applied(seen: Seen<'_>, release: Option<&str>) -> Value {
    let mut body = json!({
        "apiVersion": format!("{}/v1", names::GATEWAY_GROUP),
        "kind": "Gateway",
        "metadata": {
            "name": seen.name,
            "namespace": seen.namespace,
            "uid": seen.uid,
            "resourceVersion": seen.resource_version,
        },
    });
    if let Some(release) = release {
        body["metadata"]["labels"] = json!({names::ISTIO_REVISION_LABEL: release});
        body["metadata"]["annotations"] = json!({names::PIN_ANNOTATION: release});
    }
    body
}
