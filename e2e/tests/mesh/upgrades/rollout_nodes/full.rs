//! A node without room for a second proxy.

use applink::api::quantity::thousandths;
use e2e::images::Image;
use e2e::stage::{self, Stage};
use serde_json::{Value, json};

use super::{NAMESPACE, PROXY, components, get, held_by, levels, spec, text, until_done};
use crate::fixture::{INSTALL, MEMBER, PATIENT, installed_with, on_stage, remove_namespace};
use crate::told::until_status;
use crate::upgrades::overlap::{NODES, assert_disturbed_once};
use crate::upgrades::watched::Watched;

/// A pod of a user's that leaves less on a node than a proxy asks for.
fn filler(stage: &Stage, node: &str) -> Value {
    let allocatable = text(&get(stage, &["node", node])["status"]["allocatable"]["cpu"]);
    let on_node = format!("spec.nodeName={node}");
    let pods = get(stage, &["pods", "-A", "--field-selector", &on_node]);
    let containers = (pods["items"].as_array().into_iter().flatten())
        .flat_map(|pod| pod["spec"]["containers"].as_array().into_iter().flatten());
    let requested = containers.map(|one| text(&one["resources"]["requests"]["cpu"]));
    let requested: u64 = requested
        .map(|cpu| if cpu.is_empty() { 0 } else { thousandths(&cpu) })
        .sum();
    let rest = thousandths(&allocatable) - requested;
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "filler", "namespace": NAMESPACE, "labels": {"app": "filler"}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "nodeSelector": {"kubernetes.io/hostname": node},
            "containers": [{
                "name": "shop", "image": Image::Shop.reference(), "args": ["serve"],
                "env": [{"name": "SHOP_NAME", "value": "filler"}],
                "resources": {"requests": {"cpu": format!("{rest}m")}},
            }],
        },
    })
}

#[test]
fn a_full_node_is_set_aside_and_follows_when_there_is_room_and_nobody_is_evicted() {
    on_stage(|stage| async move {
        remove_namespace(stage, NAMESPACE).await;
        let (now, next) = levels(stage).await;
        installed_with(stage, spec(now, "0s")).await;
        // On the other one no pod could start.
        let users = Watched::full(stage, "rollout-users", &NODES[..1]).await;
        let ambient = json!({"istio.io/dataplane-mode": "ambient"});
        stage.apply(&stage::namespace(NAMESPACE, &ambient)).unwrap();
        let full = "node-2";
        stage.apply(&filler(stage, full)).unwrap();
        (stage
            .until_pods_ready(NAMESPACE, "app=filler", PATIENT)
            .await)
            .unwrap();
        let filler =
            || get(stage, &["pods", "-n", NAMESPACE])["items"][0]["metadata"]["uid"].clone();
        let (user, settled) = (filler(), components(stage, PROXY, full));

        stage
            .apply(&Stage::member(MEMBER, &spec(next, "0s")))
            .unwrap();
        let held = until_status(
            stage,
            "the full node holds only the end",
            INSTALL,
            |status| held_by(status, &[full], "NodeFull", 1),
        )
        .await;
        assert_eq!(held.revertible, Some(true), "{held:?}");
        assert_eq!(
            settled,
            components(stage, PROXY, full),
            "what runs there stays"
        );
        assert_eq!(user, filler(), "nobody was evicted");
        let moved = components(stage, PROXY, "node-1");
        let two = get(stage, &["daemonsets", "-n", "applink-system", "-l", PROXY]);
        assert_eq!(
            two["items"].as_array().map(Vec::len),
            Some(2),
            "both revisions stay"
        );

        remove_namespace(stage, NAMESPACE).await;
        until_done(stage).await;
        assert_eq!(moved, components(stage, PROXY, "node-1"), "moved once");
        let followed = components(stage, PROXY, full);
        assert!(followed.len() == 1 && followed != settled, "{followed:?}");
        assert_disturbed_once(&users.end().await, 0);
    });
}
