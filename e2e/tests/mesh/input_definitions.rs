//! Definitions of somebody else, or newer than ours: respected, and told.

use e2e::stage::Stage;
use serde_json::{Value, json};

use crate::fixture::{INSTALL, MEMBER, left, on_stage};
use crate::input_fault::delete;
use crate::input_rows::{Row, event, pinned, told, without_member};

/// A definition that a tool keeps.
fn definition(owner: &str, group: &str, kind: &str, plural: &str, annotations: &Value) -> Value {
    let version = |name: &str, storage: bool| {
        json!({
            "name": name, "served": true, "storage": storage,
            "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{group}"),
            "labels": {"app.kubernetes.io/managed-by": owner},
            "annotations": annotations,
        },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
            "versions": [version("v1", true), version("v1beta1", false)],
        },
    })
}

/// What nobody but its owner may change of a definition.
fn identity(stage: &Stage, definition: &Value) -> String {
    let name = definition["metadata"]["name"].as_str().unwrap();
    let path = "jsonpath={.metadata.uid} {.metadata.generation} {.metadata.labels} {.metadata.annotations}";
    stage
        .cluster
        .kubectl(&["get", "crd", name, "-o", path])
        .unwrap()
}

#[test]
fn definitions_of_somebody_else_are_used_and_left_alone() {
    on_stage(|stage| async move {
        without_member(stage).await;
        let bundle = json!({
            "api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api/pull/1",
            "gateway.networking.k8s.io/bundle-version": "v1.6.0",
            "gateway.networking.k8s.io/channel": "experimental",
        });
        let mut newer = bundle.clone();
        newer["gateway.networking.k8s.io/bundle-version"] = json!("v9.0.0");
        newer["gateway.networking.k8s.io/channel"] = json!("standard");
        let foreign = [
            definition(
                "Helm",
                "gateway.networking.k8s.io",
                "Gateway",
                "gateways",
                &bundle,
            ),
            definition(
                "Helm",
                "networking.istio.io",
                "Sidecar",
                "sidecars",
                &json!({}),
            ),
            // Ours, of a release that is still to come: it is never taken back.
            definition(
                "applink",
                "gateway.networking.k8s.io",
                "GRPCRoute",
                "grpcroutes",
                &newer,
            ),
        ];
        for one in &foreign {
            // Ours stay when a member leaves, and then belong to nobody in particular.
            delete(stage, one);
            stage.apply(one).unwrap();
        }
        let before = foreign.each_ref().map(|one| identity(stage, one));
        let row = Row {
            name: MEMBER,
            fault: None,
            spec: pinned(),
            told: ("Accepted", "ValidWithWarnings"),
            words: &[
                "GatewayApiForeign: CustomResourceDefinition gateways.gateway.networking.k8s.io: they belong to Helm",
                "GatewayApiExperimental",
                "install the standard channel when nothing needs the experimental one",
                "IstioCrdsForeign: CustomResourceDefinition sidecars.networking.istio.io: they belong to Helm",
            ],
        };
        let uid = told(stage, &row).await;
        for condition in ["Ready", "UpToDate"] {
            (stage
                .until_condition(MEMBER, condition, "True", INSTALL)
                .await)
                .unwrap();
        }
        event(stage, MEMBER, &uid, "Serving", &["every component serves"]).await;
        assert_eq!(before, foreign.each_ref().map(|one| identity(stage, one)));
        left(stage).await;
        assert_eq!(before, foreign.each_ref().map(|one| identity(stage, one)));
        for one in &foreign {
            delete(stage, one);
        }
    });
}
