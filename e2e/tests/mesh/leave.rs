//! Leaving: refused while somebody is enrolled, and clean afterwards.

use e2e::stage;
use kube::api::{Api, DeleteParams};
use serde_json::json;

use crate::fixture::{MEMBER, SOON, left, on_stage, remove_namespace, shop};
use crate::running::{assert_nodes_clean, assert_nothing_left};

#[test]
fn leaving_is_refused_while_enrolled_and_leaves_nothing_behind() {
    on_stage(|stage| async move {
        let namespace = "leaving";
        shop(stage, namespace).await;
        let members: Api<applink::api::v1alpha1::MeshMember> = Api::all(stage.client.clone());
        let refused = stage::eventually("deletion is refused", SOON, || async {
            let dry = DeleteParams {
                dry_run: true,
                ..DeleteParams::default()
            };
            match members.delete(MEMBER, &dry).await {
                Ok(_) => Err("allowed".to_owned()),
                Err(error) => Ok(error.to_string()),
            }
        })
        .await
        .unwrap();
        assert!(refused.contains(namespace), "{refused}");

        stage
            .apply(&stage::namespace(
                namespace,
                &json!({"istio.io/dataplane-mode": null}),
            ))
            .unwrap();
        stage
            .cluster
            .kubectl(&["label", "namespace", namespace, "istio.io/dataplane-mode-"])
            .unwrap();
        stage::eventually("deletion is allowed", SOON, || async {
            let dry = DeleteParams {
                dry_run: true,
                ..DeleteParams::default()
            };
            members
                .delete(MEMBER, &dry)
                .await
                .map(|_| ())
                .map_err(|error| error.to_string())
        })
        .await
        .unwrap();
        left(stage).await;
        assert_nodes_clean(stage);
        assert_nothing_left(stage);
        // Those who were enrolled talk on, plainly, and new pods start.
        let get = ["/usr/local/bin/shop", "get", "http://cart:8080/", "5"];
        let (success, text) = stage.exec(namespace, "web", &get);
        assert!(success, "{text}");
        stage
            .apply(&stage::shop(namespace, "late", "node-2", None))
            .unwrap();
        stage
            .until_pods_ready(namespace, "app=late", SOON)
            .await
            .unwrap();
        remove_namespace(stage, namespace).await;
    });
}
