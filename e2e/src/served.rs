//! Who is served: enrolled pods as the API server knows them, against what the proxies of their nodes say.

use std::collections::{BTreeMap, BTreeSet};

use applink::names;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde_json::Value;

use crate::forward;
use crate::stage::Stage;

/// Uids of the pods that a proxy of ours says it serves.
///
/// # Errors
/// When it does not answer, or not with a list.
pub async fn served(stage: &Stage, proxy: &str) -> Result<BTreeSet<String>, String> {
    let (_, text) = forward::get(
        &stage.client,
        names::SYSTEM_NAMESPACE,
        proxy,
        names::ZTUNNEL_ADMIN_PORT,
        "/pods",
    )
    .await?;
    let said: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    let list = said.as_array().or_else(|| said["pods"].as_array());
    let uid = |one: &Value| {
        let uid = one.as_str().or_else(|| one["uid"].as_str());
        uid.map(str::to_owned)
    };
    Ok(list.into_iter().flatten().filter_map(uid).collect())
}

/// Enrolled pods that the one proxy of their node does not serve, and proxies that are not alone on their node.
///
/// # Errors
/// When somebody does not answer.
pub async fn unserved(stage: &Stage) -> Result<Vec<String>, String> {
    let all: Api<Pod> = Api::all(stage.client.clone());
    let list = all.list(&ListParams::default()).await;
    let list = list.map_err(|error| error.to_string())?;
    let (mut proxies, mut enrolled) = (BTreeMap::new(), BTreeMap::new());
    for pod in list.items {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        let (Some(node), Some("Running")) = (node, phase) else {
            continue;
        };
        let is_captured = (pod.annotations().get(names::REDIRECTION_ANNOTATION))
            .is_some_and(|value| value == "enabled");
        if pod.labels().get("app").map(String::as_str) == Some(names::ZTUNNEL) {
            let of: &mut Vec<String> = proxies.entry(node).or_default();
            of.push(pod.name_any());
        } else if is_captured && pod.metadata.deletion_timestamp.is_none() {
            let of: &mut Vec<Pod> = enrolled.entry(node).or_default();
            of.push(pod);
        }
    }
    let mut lines = Vec::new();
    for (node, pods) in enrolled {
        let [proxy] = proxies.get(&node).map_or(&[][..], Vec::as_slice) else {
            lines.push(format!("not one proxy on {node}: {:?}", proxies.get(&node)));
            continue;
        };
        let served = served(stage, proxy).await?;
        let without = |pod: &Pod| pod.uid().is_none_or(|uid| !served.contains(&uid));
        let names = pods.iter().filter(|pod| without(pod)).map(Pod::name_any);
        lines.extend(names.map(|name| format!("{proxy} on {node} does not serve pod {name}")));
    }
    Ok(lines)
}
