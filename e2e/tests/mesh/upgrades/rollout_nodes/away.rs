//! For a while nobody can ask the API server.

use std::time::Duration;

use e2e::stage::Stage;

use super::{PROXY, components, get, levels, nodes, spec, tainted, until_done};
use crate::fixture::{INSTALL, MEMBER, PATIENT, cluster, installed_with, on_stage};
use crate::told::until_status;

/// Longer than an operator keeps its Lease without an API server.
const AWAY: Duration = Duration::from_secs(20);

/// A node that somebody has cordoned, for the time of a test, also of a failed one.
struct Cordon {
    stage: &'static Stage,
    node: &'static str,
}

impl Cordon {
    fn of(stage: &'static Stage, node: &'static str) -> Self {
        stage.cluster.kubectl(&["cordon", node]).unwrap();
        Self { stage, node }
    }

    fn holds(&self) -> bool {
        get(self.stage, &["node", self.node])["spec"]["unschedulable"] == true
    }
}

impl Drop for Cordon {
    fn drop(&mut self) {
        // A failure here is not what the test is about.
        let _ = self.stage.cluster.kubectl(&["uncordon", self.node]);
    }
}

#[test]
#[ignore = "minutes of waiting for an API server: make chaos-away"]
fn a_rollout_goes_on_after_the_api_server_was_away_while_the_canary_was_watched() {
    on_stage(|stage| async move {
        // No traffic: for a minute after such a loss the cluster's controllers act on what they remember, and may call a
        // node and its pods not ready, which takes them out of every Service.
        let (now, next) = levels(stage).await;
        // It counts from when the proxy is ready, and is told once the other one has drained.
        let soak = "30s";
        installed_with(stage, spec(now, soak)).await;
        let change = Stage::member(MEMBER, &spec(next, soak));
        stage.apply(&change).unwrap();
        let cordon = Cordon::of(stage, "node-2");
        let canary = until_status(stage, "the canary is watched", INSTALL, |status| {
            let rollout = status.rollout.as_ref()?;
            let message = rollout.message.as_ref()?;
            let node = rollout.nodes.as_ref()?.current.first()?;
            message
                .contains("it is watched until")
                .then(|| node.clone())
        })
        .await;
        let watched = components(stage, PROXY, &canary);
        assert_eq!(canary, "node-1");
        let unmoved = components(stage, PROXY, "node-2");
        stage.applink(&["pause", MEMBER]).unwrap();
        until_status(stage, "it is paused", PATIENT, |status| {
            let told = status.conditions.iter();
            let mut told = told.filter(|one| one.type_ == "UpToDate" && one.reason == "Paused");
            told.next().map(|_| ())
        })
        .await;
        assert_eq!(unmoved, components(stage, PROXY, "node-2"), "paused");
        stage.applink(&["resume", MEMBER]).unwrap();
        let mut cluster = cluster();
        cluster.halt_api_server().unwrap();
        // How long it is away is what matters: nothing can be asked meanwhile.
        tokio::time::sleep(AWAY).await;
        cluster.start_api_server().await.unwrap();
        until_done(stage).await;
        assert_ne!(
            unmoved,
            components(stage, PROXY, "node-2"),
            "it moved after"
        );
        assert!(cordon.holds(), "a cordon is its owner's");
        assert_eq!(watched, components(stage, PROXY, &canary), "moved once");
        for node in nodes(stage) {
            let proxies = components(stage, PROXY, &node);
            assert!(
                proxies.len() == 1 && proxies[0].ready,
                "{node}: {proxies:?}"
            );
        }
        assert_eq!(tainted(stage), [""; 0]);
    });
}
