//! From objects as the API server sends them to facts.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node as K8sNode, Pod as K8sPod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, PartialObjectMeta};
use serde_json::Value;

use crate::facts::{
    GatewayPod, Live, Mode, NamespaceFact, Node, ObjectKey, Pod, PodMeta, Trouble, fingerprint,
};
use crate::names;

/// Annotations of nodes by which platforms are told apart, and what we wrote ourselves.
const NODE_ANNOTATIONS: [&str; 3] = [
    "k3s.io/hostname",
    "k3s.io/node-args",
    names::BASELINE_ANNOTATION,
];
/// The annotation a sidecar injector writes.
const SIDECAR_STATUS: &str = "sidecar.istio.io/status";

/// Namespace and name.
pub type Place = (String, String);

pub fn place(meta: &ObjectMeta) -> Place {
    (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

/// An object of ours, whole, without managed fields and without what says its kind.
pub fn live(kind: &str, object: &DynamicObject) -> Option<(ObjectKey, Live)> {
    let key = ObjectKey {
        kind: kind.to_owned(),
        namespace: object.metadata.namespace.clone(),
        name: object.metadata.name.clone()?,
    };
    let meta = &object.metadata;
    let mut live = Live {
        uid: meta.uid.clone().unwrap_or_default(),
        resource_version: meta.resource_version.clone().unwrap_or_default(),
        generation: meta.generation.unwrap_or_default(),
        deleting: meta.deletion_timestamp.is_some(),
        body: Value::Null,
        digest: 0,
    };
    let mut body = serde_json::to_value(object).ok()?;
    let map = body.as_object_mut()?;
    // An answer says what it is, an item of a list does not.
    map.remove("apiVersion");
    map.remove("kind");
    let status = map.remove("status");
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in ["managedFields", "resourceVersion", "generation"] {
            metadata.remove(key);
        }
    }
    live.digest = fingerprint(&body);
    if let (Some(status), Some(map)) = (status, body.as_object_mut()) {
        map.insert("status".to_owned(), status);
    }
    live.body = body;
    Some((key, live))
}

pub fn node(object: K8sNode) -> Option<(String, Node)> {
    let meta = object.metadata;
    let name = meta.name?;
    let spec = object.spec.unwrap_or_default();
    let status = object.status.unwrap_or_default();
    let info = status.node_info.unwrap_or_default();
    let ready = status
        .conditions
        .unwrap_or_default()
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations.retain(|key, _| NODE_ANNOTATIONS.contains(&key.as_str()));
    let pod_cidrs = spec
        .pod_cidrs
        .unwrap_or_else(|| spec.pod_cidr.into_iter().collect());
    let taints = spec
        .taints
        .unwrap_or_default()
        .into_iter()
        .map(|taint| (taint.key, taint.value.unwrap_or_default(), taint.effect))
        .collect();
    let marked = (meta.managed_fields.iter().flatten())
        .filter(|entry| entry.manager.as_deref() == Some(names::FIELD_MANAGER))
        .filter_map(|entry| Some(entry.time.as_ref()?.0))
        .max();
    let node = Node {
        marked,
        uid: meta.uid.unwrap_or_default(),
        resource_version: meta.resource_version.unwrap_or_default(),
        labels: meta.labels.unwrap_or_default(),
        annotations,
        taints,
        ready,
        unschedulable: spec.unschedulable.unwrap_or_default(),
        deleting: meta.deletion_timestamp.is_some(),
        kubelet_version: info.kubelet_version,
        os: info.operating_system,
        arch: info.architecture,
        os_image: info.os_image,
        provider_id: spec.provider_id.unwrap_or_default(),
        pod_cidrs,
        name: name.clone(),
    };
    Some((name, node))
}

/// A pod of the data plane.
pub fn pod(object: K8sPod) -> Option<(String, Pod)> {
    let meta = object.metadata;
    let name = meta.name?;
    let spec = object.spec.unwrap_or_default();
    let status = object.status.unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let ready = conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let ready_since = conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
        .and_then(|condition| condition.last_transition_time.as_ref())
        .map(|time| time.0);
    let containers: Vec<_> = status
        .init_container_statuses
        .iter()
        .flatten()
        .chain(status.container_statuses.iter().flatten())
        .collect();
    let all_waiting = containers.iter().filter_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting
            .reason
            .clone()
            .filter(|reason| reason != "ContainerCreating" && reason != "PodInitializing")?;
        Some(Trouble {
            reason,
            message: waiting.message.clone().unwrap_or_default(),
            image: Some(container.image.clone()),
        })
    });
    // One that cannot have its image says more than one that has ended.
    let waiting = all_waiting.min_by_key(|trouble| !trouble.is_image());
    let unscheduled = || {
        let condition = conditions
            .iter()
            .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
        Some(Trouble {
            reason: condition.reason.clone().unwrap_or_default(),
            message: condition.message.clone().unwrap_or_default(),
            image: None,
        })
    };
    // The DaemonSet controller binds a pod to its node by affinity before the scheduler has.
    let bound = || {
        let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
        let required = (affinity.required_during_scheduling_ignored_during_execution).as_ref()?;
        let fields = required
            .node_selector_terms
            .first()?
            .match_fields
            .as_ref()?;
        let name = fields.iter().find(|field| field.key == "metadata.name")?;
        name.values.as_ref()?.first().cloned()
    };
    let node = spec.node_name.clone().or_else(bound).unwrap_or_default();
    let pod = Pod {
        uid: meta.uid.unwrap_or_default(),
        node,
        template_hash: meta
            .annotations
            .as_ref()
            .and_then(|all| all.get(names::TEMPLATE_HASH_ANNOTATION))
            .cloned(),
        labels: meta.labels.unwrap_or_default(),
        ready,
        ready_since,
        deleting: meta.deletion_timestamp.is_some(),
        finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        created: meta.creation_timestamp.map(|time| time.0),
        trouble: waiting.or_else(unscheduled),
        address: status.pod_ip.filter(|address| !address.is_empty()),
        pulled: {
            let all = spec.containers.len() + spec.init_containers.as_ref().map_or(0, Vec::len);
            let pulled = containers
                .iter()
                .filter(|container| !container.image_id.is_empty());
            all > 0 && pulled.count() == all
        },
        restarts: containers
            .iter()
            .map(|container| container.restart_count)
            .fold(0, i32::saturating_add),
        name: name.clone(),
    };
    Some((name, pod))
}

pub fn namespace<K>(object: PartialObjectMeta<K>) -> Option<(String, NamespaceFact)> {
    let meta = object.metadata;
    let mut labels = meta.labels.unwrap_or_default();
    labels.retain(|key, _| key.contains("istio") || key.starts_with("pod-security.kubernetes.io/"));
    let fact = NamespaceFact {
        labels,
        deleting: meta.deletion_timestamp.is_some(),
        uid: meta.uid.unwrap_or_default(),
        resource_version: meta.resource_version.unwrap_or_default(),
    };
    Some((meta.name?, fact))
}

/// A pod that may be in the mesh.
pub fn workload<K>(object: PartialObjectMeta<K>) -> (Place, PodMeta) {
    let meta = object.metadata;
    let none = BTreeMap::new();
    let labels = meta.labels.as_ref().unwrap_or(&none);
    let annotations = meta.annotations.as_ref().unwrap_or(&none);
    let mode = if annotations.contains_key(SIDECAR_STATUS) {
        Mode::Out
    } else {
        match labels.get(names::DATAPLANE_MODE_LABEL).map(String::as_str) {
            Some(names::DATAPLANE_MODE_AMBIENT) => Mode::Ambient,
            Some(names::DATAPLANE_MODE_NONE) => Mode::Out,
            _ => Mode::Inherit,
        }
    };
    let gateway = || {
        labels.get(names::MANAGED_GATEWAY_LABEL)?;
        Some(Box::new(GatewayPod {
            gateway: labels.get(names::GATEWAY_NAME_LABEL)?.clone(),
            release: annotations.get(names::ISTIO_REVISION_LABEL)?.clone(),
        }))
    };
    let fact = PodMeta {
        gateway: gateway(),
        uid: meta.uid.clone().unwrap_or_default(),
        mode,
        redirected: annotations.contains_key(names::REDIRECTION_ANNOTATION),
        deleting: meta.deletion_timestamp.is_some(),
        created: meta.creation_timestamp.as_ref().map(|time| time.0),
        revision: meta
            .labels
            .as_ref()
            .and_then(|labels| labels.get(names::ISTIO_REVISION_LABEL))
            .map(|revision| revision.as_str().into()),
        controller: controller(&meta),
    };
    (place(&meta), fact)
}

/// Fingerprint of the uid of what controls an object.
pub fn controller(meta: &ObjectMeta) -> Option<u64> {
    let owners = meta.owner_references.iter().flatten();
    let mut controllers = owners.filter(|owner| owner.controller == Some(true));
    Some(fingerprint(&Value::String(controllers.next()?.uid.clone())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(body: Value) -> Pod {
        pod(serde_json::from_value(body).unwrap()).unwrap().1
    }

    #[test]
    fn a_node_tells_when_this_program_has_marked_it_last() {
        let entry = |manager: &str, time: &str| json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "time": time, "fieldsType": "FieldsV1", "fieldsV1": {}});
        let seen = |entries: Value| {
            let object = json!({"metadata": {"name": "a", "managedFields": entries}});
            let node = node(serde_json::from_value(object).unwrap()).unwrap().1;
            node.marked.map(|time| time.to_string())
        };
        let others = entry("kubelet", "2026-11-21T12:00:00Z");
        let own = entry(names::FIELD_MANAGER, "2026-11-21T11:00:00Z");
        assert_eq!(
            seen(json!([others, own])).as_deref(),
            Some("2026-11-21T11:00:00Z")
        );
        assert_eq!(seen(json!([others])), None);
        assert_eq!(seen(json!([])), None);
    }

    #[test]
    fn a_pod_that_is_not_scheduled_yet_belongs_to_the_node_that_it_is_bound_to() {
        let seen =
            |spec: serde_json::Value| of(json!({"metadata": {"name": "p"}, "spec": spec})).node;
        let field = json!({"key": "metadata.name", "operator": "In", "values": ["node-1"]});
        let terms = json!([{"matchFields": [field]}]);
        let required = json!({"nodeSelectorTerms": terms});
        let affinity =
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}});
        assert_eq!(
            seen(json!({"containers": [], "affinity": affinity})),
            "node-1"
        );
        assert_eq!(seen(json!({"containers": []})), "");
    }

    #[test]
    fn an_image_that_cannot_be_had_is_told_before_a_container_that_has_ended() {
        let waits = |name: &str, id: &str, reason: &str| {
            json!({
                "name": name, "image": format!("{name}:1"), "imageID": id, "ready": false, "restartCount": 1,
                "state": {"waiting": {"reason": reason}},
            })
        };
        let containers = json!([{"name": "agent"}, {"name": "proxy"}]);
        let seen = of(json!({
            "metadata": {"name": "p"},
            "spec": {"containers": containers},
            "status": {"containerStatuses": [
                waits("agent", "sha256:1", "CrashLoopBackOff"),
                waits("proxy", "", "ImagePullBackOff"),
            ]},
        }));
        assert_eq!(seen.trouble.unwrap().image.as_deref(), Some("proxy:1"));
        assert!(!seen.pulled, "one is missing");
        let seen = of(json!({
            "metadata": {"name": "p"},
            "spec": {"containers": containers},
            "status": {"containerStatuses": [
                waits("agent", "sha256:1", "CrashLoopBackOff"),
                waits("proxy", "sha256:2", "CrashLoopBackOff"),
            ]},
        }));
        assert!(seen.pulled, "however they end");
    }
}
