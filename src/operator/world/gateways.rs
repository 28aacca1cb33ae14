//! Gateways, whose definition may come late, go, or belong to somebody else: watched while it is served.
//!
//! The class stands in the spec, so the whole object is sent; nothing else of it is kept.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use super::watch::{M, PAGE};
use crate::facts::{Definition, Denied, GatewayFact};
use crate::names;
use crate::operator::mirror::{Fact, Mirror, Place, follow, version};
use crate::operator::project;

/// The version of the API that istiod reads, too.
const VERSION: &str = "v1";
/// The definition of Gateways.
const DEFINITION: &str = "gateways.gateway.networking.k8s.io";

/// A Gateway without anything but its class.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Lean {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    gateway_class_name: String,
}

impl kube::Resource for Lean {
    type DynamicType = ();
    type Scope = kube::core::NamespaceResourceScope;
    fn kind((): &()) -> Cow<'_, str> {
        "Gateway".into()
    }
    fn group((): &()) -> Cow<'_, str> {
        names::GATEWAY_GROUP.into()
    }
    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        "gateways".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Fact for GatewayFact {
    fn is_same(&self, other: &Self) -> bool {
        let of = |gateway: &Self| Self {
            resource_version: String::new(),
            ..gateway.clone()
        };
        of(self) == of(other)
    }
    fn version(&self) -> u64 {
        version(&self.resource_version)
    }
}

/// What is kept of a Gateway.
pub fn gateway(lean: Lean) -> (project::Place, GatewayFact) {
    let meta = lean.metadata;
    let text = |map: &Option<BTreeMap<String, String>>, key: &str| map.as_ref()?.get(key).cloned();
    let fact = GatewayFact {
        uid: meta.uid.clone().unwrap_or_default(),
        resource_version: meta.resource_version.clone().unwrap_or_default(),
        class: lean.spec.gateway_class_name,
        revision: text(&meta.labels, names::ISTIO_REVISION_LABEL),
        pinned: text(&meta.annotations, names::PIN_ANNOTATION),
        pinned_at: (meta.managed_fields.iter().flatten())
            .filter(|entry| entry.manager.as_deref() == Some(names::PIN_MANAGER))
            .filter_map(|entry| Some(entry.time.as_ref()?.0))
            .max(),
        deleting: meta.deletion_timestamp.is_some(),
    };
    (project::place(&meta), fact)
}

/// The definition is served in a version that can be read.
pub fn are_served(definitions: &BTreeMap<String, Arc<Definition>>) -> bool {
    definitions.get(DEFINITION).is_some_and(|one| {
        one.established && !one.deleting && one.served.iter().any(|served| served == VERSION)
    })
}

/// The watch of Gateways, as long as they are served.
#[derive(Debug, Default)]
pub struct Gateways(Mutex<Option<Watched>>);

#[derive(Debug)]
struct Watched {
    mirror: M<project::Place, GatewayFact>,
    task: AbortHandle,
}

impl Gateways {
    fn watched(&self) -> MutexGuard<'_, Option<Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to watch when they are served, and ends it when they are not any more; else nothing changes.
    pub fn follow(
        &self,
        are_served: bool,
        client: &Client,
        tasks: &mut JoinSet<()>,
        wake: &Arc<Notify>,
    ) {
        let mut watched = self.watched();
        match watched.take() {
            Some(going) if are_served => *watched = Some(going),
            Some(over) => over.task.abort(),
            None if are_served => {
                let mirror = Mirror::new();
                let place = Place {
                    resource: format!("gateways.{}", names::GATEWAY_GROUP),
                    namespace: String::new(),
                };
                let task = tasks.spawn(follow(
                    Api::<Lean>::all(client.clone()),
                    Config::default().page_size(PAGE),
                    place,
                    Arc::clone(&mirror),
                    Arc::clone(wake),
                    |lean| Some(gateway(lean)),
                ));
                *watched = Some(Watched { mirror, task });
            }
            None => {}
        }
    }

    /// Every Gateway; `None` while nobody knows which there are.
    pub fn all(&self) -> Option<BTreeMap<project::Place, Arc<GatewayFact>>> {
        let watched = self.watched();
        let mirror = &watched.as_ref()?.mirror;
        (mirror.is_synced() && mirror.denied().is_none()).then(|| mirror.all())
    }

    /// Takes the answer to a write as a fact; whether it changed anything.
    pub fn put(&self, lean: Lean) -> bool {
        let (place, fact) = gateway(lean);
        let watched = self.watched();
        watched
            .as_ref()
            .is_some_and(|watched| watched.mirror.put(place, fact))
    }

    /// Why nothing is seen.
    pub fn denied(&self) -> Option<Denied> {
        self.watched().as_ref()?.mirror.denied()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pin_is_as_old_as_the_last_write_of_its_own_manager() {
        let entry = |manager: &str, time: &str| json!({"manager": manager, "operation": "Apply", "time": time});
        let of = |entries: serde_json::Value| {
            let lean = json!({
                "metadata": {"name": "a", "namespace": "shop", "managedFields": entries},
                "spec": {"gatewayClassName": "istio-waypoint"},
            });
            gateway(serde_json::from_value(lean).unwrap()).1.pinned_at
        };
        let (first, last) = ("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z");
        assert_eq!(of(json!([entry("kubectl", last)])), None);
        let both = json!([entry(names::PIN_MANAGER, first), entry("kubectl", last)]);
        assert_eq!(of(both), Some(first.parse().unwrap()));
    }
}
