//! Label, baseline and taint of a node on its way from one proxy to the next.

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::Client;
use kube::api::{Api, Patch};
use serde_json::{Value, json};

use super::apply::{limited, merging};
use super::error::{Error, is_conflict, is_gone};
use crate::names;

/// What a node is to carry; what is none stays as it is.
#[derive(Clone, Copy, Debug)]
pub struct Mark<'a> {
    /// The label; `Some(None)` removes it.
    pub label: Option<Option<&'a str>>,
    /// What goes with that label: the annotation of another one is never left beside it.
    pub baseline: Option<&'a str>,
    /// Whether to carry the taint.
    pub taint: Option<bool>,
}

/// Patches a node if it is still as it was seen. Another one is left alone: whether it was patched.
pub async fn node(
    client: &Client,
    name: &str,
    resource_version: &str,
    mark: Mark<'_>,
) -> Result<bool, Error> {
    let api: Api<Node> = Api::all(client.clone());
    let object = format!("Node {name}");
    let taints = if mark.taint.is_some() {
        // Taints are one list, and a patch replaces it: what others have put there is read whole.
        let Some(found) = limited("read", &object, api.get_opt(name)).await? else {
            return Ok(false);
        };
        if found.metadata.resource_version.as_deref() != Some(resource_version) {
            return Ok(false);
        }
        found.spec.and_then(|spec| spec.taints).unwrap_or_default()
    } else {
        Vec::new()
    };
    let body = patch(resource_version, mark, taints);
    match limited(
        "patch",
        &object,
        api.patch(name, &merging(), &Patch::Merge(&body)),
    )
    .await
    {
        Err(Error::Request { source, .. }) if is_gone(&source) || is_conflict(&source) => Ok(false),
        other => other.map(|_| true),
    }
}

fn patch(resource_version: &str, mark: Mark<'_>, mut taints: Vec<Taint>) -> Value {
    let mut body = json!({"metadata": {"resourceVersion": resource_version}});
    if let Some(label) = mark.label {
        body["metadata"]["labels"] = json!({names::NODE_ZTUNNEL_LABEL: label});
        body["metadata"]["annotations"] = json!({names::BASELINE_ANNOTATION: mark.baseline});
    }
    if let Some(wanted) = mark.taint {
        taints.retain(|taint| taint.key != names::MOVING_TAINT);
        if wanted {
            taints.push(Taint {
                key: names::MOVING_TAINT.to_owned(),
                effect: "NoSchedule".to_owned(),
                ..Taint::default()
            });
        }
        body["spec"] = json!({"taints": taints});
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn others() -> Vec<Taint> {
        serde_json::from_value(json!([{
            "key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z",
        }]))
        .unwrap()
    }

    #[test]
    fn the_taint_comes_and_goes_and_those_of_others_stay() {
        let set = patch(
            "7",
            Mark {
                label: None,
                baseline: None,
                taint: Some(true),
            },
            others(),
        );
        assert_eq!(set["spec"]["taints"].as_array().unwrap().len(), 2);
        assert_eq!(
            set["spec"]["taints"][0]["timeAdded"],
            "2026-01-01T00:00:00Z"
        );
        assert_eq!(set["metadata"], json!({"resourceVersion": "7"}));
        let taints = serde_json::from_value(set["spec"]["taints"].clone()).unwrap();
        let removed = patch(
            "8",
            Mark {
                label: Some(Some("1-6-0-abcdef.moving")),
                baseline: None,
                taint: Some(false),
            },
            taints,
        );
        assert_eq!(removed["spec"]["taints"], json!(others()));
        assert_eq!(
            removed["metadata"]["labels"],
            json!({"applink.dev/ztunnel": "1-6-0-abcdef.moving"})
        );
    }

    #[test]
    fn a_label_leaves_the_taints_out_and_takes_its_own_baseline_along() {
        let of = |label, baseline| {
            let mark = Mark {
                label: Some(label),
                baseline,
                taint: None,
            };
            patch("7", mark, Vec::new())
        };
        assert_eq!(
            of(None, None),
            json!({"metadata": {
                "resourceVersion": "7",
                "labels": {"applink.dev/ztunnel": null},
                "annotations": {"applink.dev/baseline": null},
            }})
        );
        assert_eq!(
            of(Some("1-6-0-abcdef"), Some("counted"))["metadata"]["annotations"],
            json!({"applink.dev/baseline": "counted"})
        );
    }
}
