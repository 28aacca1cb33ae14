//! What `status` and `support-bundle` read from the cluster, as plain data.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::{Deserialize, Serialize};

use super::Failure;
use crate::api::v1alpha1::{ApplicationNetwork, MeshMember};
use crate::names;

/// Everything `status` shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// All members, by name.
    pub members: Vec<MeshMember>,
    /// All networks, by name.
    pub networks: Vec<ApplicationNetwork>,
    /// All nodes of the cluster, by name, with the pods of the data plane on them.
    pub nodes: Vec<NodeView>,
}

/// One node and what the mesh runs on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Whether its kubelet says that it is ready.
    pub ready: bool,
    /// Whether a user has cordoned it.
    pub cordoned: bool,
    /// Operating system, from its labels.
    pub os: String,
    /// The CNI agent's pods on it.
    pub agents: Vec<PodView>,
    /// The node proxy's pods on it; two while it moves.
    pub proxies: Vec<PodView>,
}

/// One pod of the data plane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// The revision it carries, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Whether it is ready.
    pub ready: bool,
    /// Why not, in the words of its containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// How often its containers have restarted.
    pub restarts: i32,
}

/// Reads members, networks, nodes and the data plane's pods: four lists, no more.
///
/// # Errors
/// The API server refuses or cannot be reached; the message names what was read.
pub async fn read(client: &Client) -> Result<Snapshot, Failure> {
    let members: Vec<MeshMember> =
        list(Api::all(client.clone()), "list meshmembers.applink.dev").await?;
    let networks: Vec<ApplicationNetwork> = list(
        Api::all(client.clone()),
        "list applicationnetworks.applink.dev",
    )
    .await?;
    let nodes: Vec<Node> = list(Api::all(client.clone()), "list nodes").await?;
    let what = format!("list pods in namespace {}", names::SYSTEM_NAMESPACE);
    let pods: Vec<Pod> = list(
        Api::namespaced(client.clone(), names::SYSTEM_NAMESPACE),
        &what,
    )
    .await?;
    Ok(Snapshot {
        members,
        networks,
        nodes: node_views(&nodes, &pods),
    })
}

async fn list<K>(api: Api<K>, what: &str) -> Result<Vec<K>, Failure>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let mut items = api
        .list(&ListParams::default())
        .await
        .map_err(|error| Failure::of_kube(what, &error))?
        .items;
    items.sort_by_key(ResourceExt::name_any);
    Ok(items)
}

/// Nodes with their pods, by name.
pub fn node_views(nodes: &[Node], pods: &[Pod]) -> Vec<NodeView> {
    let mut views: BTreeMap<String, NodeView> = nodes
        .iter()
        .map(|node| (node.name_any(), node_view(node)))
        .collect();
    for pod in pods {
        let Some(view) = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.as_deref())
            .and_then(|name| views.get_mut(name))
        else {
            continue;
        };
        let labels = pod.labels();
        if labels.get("app").is_some_and(|app| app == names::ZTUNNEL) {
            view.proxies.push(pod_view(pod));
        } else if labels
            .get("k8s-app")
            .is_some_and(|app| app == names::CNI_DAEMON_SET)
        {
            view.agents.push(pod_view(pod));
        }
    }
    let mut views: Vec<NodeView> = views.into_values().collect();
    for view in &mut views {
        view.proxies.sort_by(|a, b| a.name.cmp(&b.name));
        view.agents.sort_by(|a, b| a.name.cmp(&b.name));
    }
    views
}

fn node_view(node: &Node) -> NodeView {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    NodeView {
        name: node.name_any(),
        ready: conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        cordoned: node
            .spec
            .as_ref()
            .and_then(|spec| spec.unschedulable)
            .unwrap_or(false),
        os: node
            .labels()
            .get("kubernetes.io/os")
            .cloned()
            .unwrap_or_default(),
        agents: Vec::new(),
        proxies: Vec::new(),
    }
}

fn pod_view(pod: &Pod) -> PodView {
    let status = pod.status.as_ref();
    let conditions = status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let containers = status
        .and_then(|status| status.container_statuses.as_deref())
        .unwrap_or_default();
    let ready = conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let problem = containers
        .iter()
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref())
        .map(|waiting| match (&waiting.reason, &waiting.message) {
            (Some(reason), Some(message)) => format!("{reason}: {message}"),
            (Some(reason), None) => reason.clone(),
            (None, message) => message.clone().unwrap_or_default(),
        })
        .next();
    PodView {
        name: pod.name_any(),
        revision: pod.labels().get(names::REVISION_LABEL).cloned(),
        ready,
        problem: problem.filter(|_| !ready),
        restarts: containers
            .iter()
            .map(|container| container.restart_count)
            .sum(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str, labels: &serde_json::Value, status: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "spec": {"nodeName": node, "containers": []}, "status": status})).unwrap()
    }

    #[test]
    fn pods_are_found_on_their_nodes_and_say_why_they_are_not_ready() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "b", "labels": {"kubernetes.io/os": "linux"}}, "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .unwrap();
        let waiting = json!({"containerStatuses": [{"name": "istio-proxy", "image": "", "imageID": "", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}]});
        let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        let pods = [
            pod(
                "ztunnel-x",
                "b",
                &json!({"app": "ztunnel", "applink.dev/revision": "1-6-0-3fa9c1"}),
                &waiting,
            ),
            pod(
                "istio-cni-node-y",
                "b",
                &json!({"k8s-app": "istio-cni-node"}),
                &ready,
            ),
            pod("istiod-z", "b", &json!({"app": "istiod"}), &ready),
            pod(
                "ztunnel-gone",
                "deleted",
                &json!({"app": "ztunnel"}),
                &ready,
            ),
        ];
        let views = node_views(&[node], &pods);
        assert_eq!(
            views,
            [NodeView {
                name: "b".to_owned(),
                ready: true,
                cordoned: true,
                os: "linux".to_owned(),
                agents: vec![PodView {
                    name: "istio-cni-node-y".to_owned(),
                    ready: true,
                    ..PodView::default()
                }],
                proxies: vec![PodView {
                    name: "ztunnel-x".to_owned(),
                    revision: Some("1-6-0-3fa9c1".to_owned()),
                    ready: false,
                    problem: Some("ImagePullBackOff: not found".to_owned()),
                    restarts: 3,
                }],
            }]
        );
    }
}
