//! What is in the cluster, to be compared between a run with deaths and one without.

use std::collections::BTreeMap;

use applink::names;
use serde_json::Value;

use super::Error;
use crate::cluster::Cluster;
use crate::stage::Stage;

/// Kinds that an installation consists of, and that istiod writes while it runs, besides definitions.
const KINDS: &str = "namespaces,deployments,daemonsets,serviceaccounts,services,configmaps,secrets,\
leases,roles,rolebindings,clusterroles,clusterrolebindings,networkpolicies,resourcequotas,\
poddisruptionbudgets,horizontalpodautoscalers,mutatingwebhookconfigurations,\
validatingwebhookconfigurations,applicationnetworks";
/// Kinds that are there only once their definition is.
const OPTIONAL: [&str; 2] = [
    "gatewayclasses.gateway.networking.k8s.io",
    "peerauthentications.security.istio.io",
];
/// What differs between two installations that are the same: identity, time, keys, addresses, and what others fill in.
const VARIES: [&str; 14] = [
    "/metadata/uid",
    "/metadata/resourceVersion",
    "/metadata/creationTimestamp",
    "/metadata/managedFields",
    "/metadata/generation",
    "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration",
    "/metadata/annotations/applink.dev~1member-uid",
    // Holds the member's uid; the agent itself is compared in full.
    "/metadata/annotations/applink.dev~1agent",
    // The digest of what was sent, the member's uid in it.
    "/metadata/annotations/applink.dev~1applied",
    // How often a template was changed on the way to what it is.
    "/metadata/annotations/deprecated.daemonset.template.generation",
    // It arrived by waves, which a first install does not.
    "/metadata/annotations/applink.dev~1canary",
    "/status",
    "/spec/clusterIP",
    "/spec/clusterIPs",
];

/// Objects by kind, namespace and name, without what varies.
pub type Inventory = BTreeMap<String, Value>;

/// What of applink's is installed, with what it says; the operator itself aside, which runs elsewhere in a sweep.
///
/// # Errors
/// When the cluster cannot be asked.
pub fn installed(stage: &Stage) -> Result<Inventory, Error> {
    let label = format!("{}={}", names::MANAGED_BY_LABEL, names::MANAGED_BY);
    let mut all = read(stage, &["-l", &label])?;
    all.remove("Deployment/applink-operator/applink-operator");
    for object in all.values_mut() {
        forget(object);
    }
    Ok(all)
}

/// Everything of the mesh's kinds outside of these namespaces, by name only: what stands after a leave.
///
/// # Errors
/// When the cluster cannot be asked.
pub fn everything(stage: &Stage, except: &[&str]) -> Result<Inventory, Error> {
    let mut all = read(stage, &[])?;
    all.retain(|key, _| {
        let mut parts = key.splitn(3, '/');
        let (kind, namespace, name) = (parts.next(), parts.next(), parts.next());
        let of = if kind == Some("Namespace") {
            name
        } else {
            namespace
        };
        !of.is_some_and(|of| except.contains(&of))
    });
    for object in all.values_mut() {
        *object = Value::Null;
    }
    Ok(all)
}

fn read(stage: &Stage, more: &[&str]) -> Result<Inventory, Error> {
    let served = stage
        .cluster
        .kubectl(&["get", "customresourcedefinitions", "-o", "name"])?;
    let mut kinds = KINDS.to_owned();
    for kind in OPTIONAL {
        if served.contains(kind) {
            kinds.push(',');
            kinds.push_str(kind);
        }
    }
    let mut arguments = vec!["get", &kinds, "-A", "-o", "json"];
    arguments.extend(more);
    let text = stage.cluster.kubectl(&arguments)?;
    let list: Value = serde_json::from_str(&text)
        .map_err(|error| Error::Differs(format!("kubectl printed no JSON: {error}")))?;
    Ok(list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|object| {
            let text = |pointer: &str| {
                let value = object.pointer(pointer).and_then(Value::as_str);
                value.unwrap_or_default()
            };
            let key = format!(
                "{}/{}/{}",
                text("/kind"),
                text("/metadata/namespace"),
                text("/metadata/name")
            );
            (key, object.clone())
        })
        .collect())
}

fn forget(object: &mut Value) {
    for pointer in VARIES {
        if let Some((parent, field)) = pointer.rsplit_once('/')
            && let Some(parent) = object.pointer_mut(parent).and_then(Value::as_object_mut)
        {
            parent.remove(&field.replace("~1", "/"));
        }
    }
    // Of keys only their places are compared.
    if object["kind"] == "Secret" {
        let data = object["data"].as_object_mut();
        data.into_iter()
            .flat_map(serde_json::Map::values_mut)
            .for_each(|value| *value = Value::Null);
    }
    // istiod fills in its certificate, and closes its webhook once it answers.
    for webhook in object["webhooks"].as_array_mut().into_iter().flatten() {
        webhook["failurePolicy"].take();
        webhook["clientConfig"]["caBundle"].take();
    }
}

/// What differs, one line each; empty when nothing does.
pub fn differences(expected: &Inventory, found: &Inventory) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, before) in expected {
        match found.get(key) {
            None => lines.push(format!("{key} is missing")),
            Some(after) => {
                if let Some(at) = first_difference(before, after) {
                    lines.push(format!("{key} differs at {at}"));
                }
            }
        }
    }
    let more = found.keys().filter(|key| !expected.contains_key(*key));
    lines.extend(more.map(|key| format!("{key} is too much")));
    lines
}

/// The path of the first value that differs, with both.
fn first_difference(expected: &Value, found: &Value) -> Option<String> {
    if expected == found {
        return None;
    }
    let deeper = match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let keys = expected.keys().chain(found.keys());
            keys.map(|key| {
                let of = |map: &serde_json::Map<String, Value>| {
                    map.get(key).cloned().unwrap_or(Value::Null)
                };
                (key.clone(), of(expected), of(found))
            })
            .find(|(_, expected, found)| expected != found)
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            let pairs = expected.iter().zip(found).enumerate();
            pairs
                .map(|(at, (expected, found))| (at.to_string(), expected.clone(), found.clone()))
                .find(|(_, expected, found)| expected != found)
        }
        _ => None,
    };
    Some(match deeper {
        Some((key, expected, found)) => {
            let rest = first_difference(&expected, &found).unwrap_or_default();
            format!("/{}{rest}", key.replace('/', "~1"))
        }
        None => format!(": {expected} was expected, {found} is there"),
    })
}

/// Fails unless the nodes have nothing left of the network agent.
///
/// # Errors
/// [`Error::Differs`] names the node and what it still has.
pub fn assert_nodes_clean(cluster: &Cluster) -> Result<(), Error> {
    for node in &cluster.state().nodes {
        let node = node.name();
        let look = "cat /etc/cni/net.d/* 2>/dev/null; ls /opt/cni/bin";
        let found = cluster.run_on(&node, &["sh", "-c", look])?;
        if found.contains("istio") {
            return Err(Error::Differs(format!("{node} is not clean:\n{found}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_name_the_object_and_the_place() {
        let of = |value: Value, name: &str| Inventory::from([(name.to_owned(), value)]);
        let first = of(json!({"spec": {"ports": [{"port": 1}]}}), "Service/a/b");
        let second = of(json!({"spec": {"ports": [{"port": 2}]}}), "Service/a/b");
        assert_eq!(differences(&first, &first), Vec::<String>::new());
        assert_eq!(
            differences(&first, &second),
            ["Service/a/b differs at /spec/ports/0/port: 1 was expected, 2 is there"]
        );
        let other = of(json!({}), "Service/a/c");
        assert_eq!(
            differences(&first, &other),
            ["Service/a/b is missing", "Service/a/c is too much"]
        );
    }

    #[test]
    fn what_varies_between_equal_installations_is_forgotten() {
        let mut object = json!({
            "metadata": {"uid": "1", "name": "a", "resourceVersion": "7"},
            "spec": {"clusterIP": "10.0.0.1", "ports": []},
            "webhooks": [{"name": "w", "failurePolicy": "Fail", "clientConfig": {"caBundle": "x"}}],
        });
        forget(&mut object);
        assert_eq!(
            object,
            json!({
                "metadata": {"name": "a"},
                "spec": {"ports": []},
                "webhooks": [{"name": "w", "failurePolicy": null, "clientConfig": {"caBundle": null}}],
            })
        );
    }
}
