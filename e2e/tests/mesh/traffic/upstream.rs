//! The mesh with upstream's node proxy in the place of ours: the same contract, the same operator.
//!
//! Ignored unless asked for, because upstream's proxy is not built here: `UPSTREAM_ZTUNNEL=path cargo test -p e2e --test mesh
//! upstream -- --ignored`.

use e2e::stage::{self, Stage};
use serde_json::{Value, json};

use super::{only_cart_is_let_in, until_answer, until_both_proxies_saw};
use crate::fixture::{INSTALL, MEMBER, installed_with, on_stage, remove_namespace, shop};

/// The images that the node proxies on all nodes run.
fn proxy_images(stage: &Stage) -> Vec<String> {
    let list = stage
        .cluster
        .kubectl(&[
            "get",
            "pods",
            "-n",
            "applink-system",
            "-l",
            "app=ztunnel",
            "-o",
            "json",
        ])
        .unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    let pods = list["items"].as_array().unwrap().iter();
    pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .map(|pod| {
            pod["spec"]["containers"][0]["image"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect()
}

async fn until_all_run(stage: &Stage, wanted: &str) {
    stage::eventually(&format!("all nodes run {wanted}"), INSTALL, || async {
        let images = proxy_images(stage);
        if images.len() == 2 && images.iter().all(|image| image.contains(wanted)) {
            Ok(())
        } else {
            Err(format!("{images:?}"))
        }
    })
    .await
    .unwrap();
    for condition in ["UpToDate", "Ready"] {
        stage
            .until_condition(MEMBER, condition, "True", INSTALL)
            .await
            .unwrap();
    }
}

/// Twenty requests from `web` to `cart` on the other node, all answered.
fn assert_answered(stage: &Stage, namespace: &str) {
    let get = ["/usr/local/bin/shop", "get", "http://cart:8080/", "20"];
    let (success, text) = stage.exec(namespace, "web", &get);
    assert!(success, "{text}");
    assert_eq!(text.matches("200 ").count(), 20, "{text}");
}

#[test]
#[ignore = "needs UPSTREAM_ZTUNNEL=path"]
fn upstream_s_proxy_serves_in_the_place_of_ours_and_gives_it_back() {
    assert!(
        std::env::var_os("UPSTREAM_ZTUNNEL").is_some(),
        "UPSTREAM_ZTUNNEL must name upstream's ztunnel"
    );
    on_stage(|stage| async move {
        let namespace = "upstream";
        shop(stage, namespace).await;
        until_all_run(stage, "applink/applink").await;
        assert_answered(stage, namespace);

        let theirs = json!({"dataPlane": {"ztunnel": {"implementation": "Istio"}}});
        installed_with(stage, theirs).await;
        until_all_run(stage, "upstream-ztunnel").await;
        assert_answered(stage, namespace);
        until_both_proxies_saw(stage, "cluster.local", namespace).await;
        only_cart_is_let_in(stage, namespace).await;

        installed_with(stage, json!({})).await;
        until_all_run(stage, "applink/applink").await;
        until_answer(
            stage,
            namespace,
            "web",
            "http://stock:8080/",
            |success, _| !success,
        )
        .await;
        assert_answered(stage, namespace);
        remove_namespace(stage, namespace).await;
    });
}
