//! Controllers of the cluster that are late.

use applink::api::v1alpha1::MeshMemberStatus;
use e2e::stage::{self, Stage};
use serde_json::json;

use super::{PROXY, components, labelled, levels, spec, until_done};
use crate::fixture::{INSTALL, MEMBER, PATIENT, cluster, installed_with, on_stage};
use crate::told::until_status;
use crate::upgrades::overlap::NODES;
use crate::upgrades::watched::Watched;

#[test]
#[ignore = "minutes of waiting for a controller that is held: make chaos-away"]
fn labels_stay_until_the_controller_has_observed_that_the_proxy_needs_none() {
    on_stage(|stage| async move {
        let (now, next) = levels(stage).await;
        let spec = |level: &str| {
            let mut spec = spec(level, "0s");
            // Node-2 is alone with its new proxy for a while, and watched.
            spec["upgrade"]["strategy"]["batch"]["soak"] = json!("15s");
            spec
        };
        installed_with(stage, spec(now)).await;
        let users = Watched::some(stage, "late-users").await;
        let before = components(stage, PROXY, NODES[1]);
        stage.apply(&Stage::member(MEMBER, &spec(next))).unwrap();
        let moved = stage::eventually("node-2 has its new proxy only", INSTALL, || async {
            let found = components(stage, PROXY, NODES[1]);
            let is_new = found.len() == 1 && found[0].uid != before[0].uid;
            let all = || NODES.map(|node| components(stage, PROXY, node));
            is_new.then(all).ok_or_else(|| format!("{found:?}"))
        });
        let moved = moved.await.unwrap();

        // As on a machine that has no time for it. Goes on before it would take nodes for lost.
        let late = cluster().hold_controller_manager().unwrap();
        let unobserved = |status: &MeshMemberStatus| {
            let message = status.rollout.as_ref()?.message.as_ref()?;
            let is_told = message.contains("its controller has not observed");
            is_told.then_some(())
        };
        until_status(stage, "the end waits for a controller", PATIENT, unobserved).await;
        assert_eq!(labelled(stage), NODES);
        drop(late);
        until_done(stage).await;
        assert_eq!(labelled(stage), [""; 0]);
        let still = NODES.map(|node| components(stage, PROXY, node));
        assert_eq!(moved, still, "moved once");
        users.end().await;
    });
}
