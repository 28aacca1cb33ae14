//! Which workloads have replicas on which nodes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::ListParams;
use kube::core::PartialObjectMetaExt;
use kube::{Api, Client};

use crate::cli::Failure;
use crate::facts::{NamespaceFact, Replicas};
use crate::operator::project;

/// Pods a page has at most.
const PAGE: u32 = 500;

/// Enrolled pods of each node by their controller, read a page at a time.
///
/// # Errors
/// Namespaces or pods cannot be listed.
pub(super) async fn read(client: &Client) -> Result<BTreeMap<String, Replicas>, Failure> {
    let namespaces = Api::<Namespace>::all(client.clone())
        .list_metadata(&ListParams::default())
        .await
        .map_err(|error| Failure::of_kube("list namespaces", &error))?;
    let namespaces: BTreeMap<String, NamespaceFact> = namespaces
        .items
        .into_iter()
        .filter_map(project::namespace)
        .collect();
    let mut replicas = BTreeMap::new();
    let mut params = ListParams::default()
        .fields("status.phase=Running,spec.hostNetwork=false")
        .limit(PAGE);
    loop {
        let page = Api::<Pod>::all(client.clone())
            .list(&params)
            .await
            .map_err(|error| Failure::of_kube("list pods", &error))?;
        for pod in page.items {
            note(&mut replicas, &namespaces, pod);
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(replicas),
        }
    }
}

fn note(
    replicas: &mut BTreeMap<String, Replicas>,
    namespaces: &BTreeMap<String, NamespaceFact>,
    pod: Pod,
) {
    let Some(node) = pod.spec.and_then(|spec| spec.node_name) else {
        return;
    };
    let ((namespace, _), fact) = project::workload(pod.metadata.into_response_partial::<Pod>());
    if let Some(controller) = fact
        .controller
        .filter(|_| fact.is_enrolled(&namespace, namespaces.get(&namespace)))
    {
        let on_node = replicas.entry(node).or_default();
        *on_node.entry(controller).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn enrolled_pods_are_counted_by_node_and_controller() {
        let mode = [("istio.io/dataplane-mode".to_owned(), "ambient".to_owned())];
        let enrolled = NamespaceFact {
            labels: mode.into(),
            ..NamespaceFact::default()
        };
        let namespaces = BTreeMap::from([
            ("shop".to_owned(), enrolled),
            ("plain".to_owned(), NamespaceFact::default()),
        ]);
        let pod = |namespace: &str, node: Option<&str>, uid: &str| -> Pod {
            let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "n", "uid": uid, "controller": true});
            serde_json::from_value(json!({
                "metadata": {"namespace": namespace, "name": "n", "ownerReferences": [owner]},
                "spec": {"nodeName": node, "containers": []},
            }))
            .unwrap()
        };
        let mut replicas = BTreeMap::new();
        for pod in [
            pod("shop", Some("a"), "one"),
            pod("shop", Some("a"), "one"),
            pod("shop", Some("b"), "one"),
            pod("shop", Some("b"), "two"),
            pod("plain", Some("a"), "three"),
            pod("shop", None, "one"),
        ] {
            note(&mut replicas, &namespaces, pod);
        }
        let mut counts: BTreeMap<&str, Vec<usize>> = replicas
            .iter()
            .map(|(node, on_node)| (node.as_str(), on_node.values().copied().collect()))
            .collect();
        for counts in counts.values_mut() {
            counts.sort_unstable();
        }
        assert_eq!(counts, BTreeMap::from([("a", vec![2]), ("b", vec![1, 1])]));
    }
}
