//! Nodes that go silent or go for good, while a member is installed and while it leaves.

use std::time::Duration;

use e2e::stage::{self, Stage};
use jiff::Timestamp;
use kube::api::{Api, DeleteParams};
use serde_json::json;

use crate::added::Added;
use crate::fixture::{INSTALL, MEMBER, cluster, installed, left, on_stage, operator, until_left};
use crate::running::{assert_nodes_clean, assert_nothing_left};
use crate::told::{until_event, until_healed};

/// A power cut is noticed after 20 s; see `--node-monitor-grace-period` of the local cluster.
const NOTICED: Duration = Duration::from_secs(40);

/// Waits until the proxies are ready on that many nodes of so many; what is said about the others.
async fn until_served(stage: &Stage, ready: i32, desired: i32) -> String {
    stage::eventually(&format!("{ready} of {desired} served"), INSTALL, || async {
        let member = stage.read_member(MEMBER).await;
        let components = member
            .map_err(|error| error.to_string())?
            .status
            .unwrap_or_default()
            .components;
        components
            .iter()
            .find(|found| found.name == "ztunnel")
            .filter(|found| (found.ready, found.desired) == (ready, desired))
            .map(|found| found.message.clone().unwrap_or_default())
            .ok_or_else(|| format!("{components:?}"))
    })
    .await
    .unwrap()
}

/// Waits until the member's work in progress, as status shows it, is as wanted.
async fn until_doing(stage: &Stage, what: &str, wanted: impl Fn(&str) -> bool) {
    let wanted = &wanted;
    stage::eventually(what, NOTICED, || async move {
        let member = stage.read_member(MEMBER).await;
        let status = member.map_err(|error| error.to_string())?.status;
        let rollout = format!("{:?}", status.and_then(|status| status.rollout));
        wanted(&rollout).then_some(()).ok_or(rollout)
    })
    .await
    .unwrap();
}

#[test]
fn a_leave_goes_on_without_nodes_that_are_silent_or_gone_and_says_where_nobody_has_looked() {
    on_stage(|stage| async move {
        installed(stage).await;
        let mut extra = Added::new(stage, cluster(), 2).await;
        let (silent, gone) = (extra.names[0].clone(), extra.names[1].clone());
        until_served(stage, 4, 4).await;
        let since = Timestamp::now();
        extra.halt();
        let members: Api<applink::api::v1alpha1::MeshMember> = Api::all(stage.client.clone());
        let parameters = DeleteParams::default();
        members.delete(MEMBER, &parameters).await.unwrap();
        until_doing(stage, "a wait for the two nodes", |rollout| {
            let named = |node: &str| rollout.contains(&format!(" on {node}: "));
            rollout.contains("Pod applink-system/ztunnel-") && (named(&silent) || named(&gone))
        })
        .await;
        extra.cluster.remove_node(&gone).unwrap();
        until_left(stage).await;
        let words = [silent.as_str(), "applink verify-node-clean"];
        until_event(stage, since, "Leftovers", &words).await;
        assert_nodes_clean(stage);
        drop(extra);
        assert_nothing_left(stage);
    });
}

#[test]
fn an_install_names_nodes_that_are_silent_or_gone_and_goes_on_for_the_others() {
    on_stage(|stage| async move {
        operator(stage).await;
        left(stage).await;
        let mut extra = Added::new(stage, cluster(), 2).await;
        let (silent, gone) = (extra.names[0].clone(), extra.names[1].clone());
        // Where the scheduler puts istiod is not what is tested.
        extra.cordon();
        let since = Timestamp::now();
        extra.halt();
        stage.apply(&Stage::release("1.6.0", &["Rapid"])).unwrap();
        let spec = json!({"upgrade": {"version": "1.6"}});
        stage.apply(&Stage::member(MEMBER, &spec)).unwrap();
        until_doing(stage, "both nodes are named", |rollout| {
            [&silent, &gone]
                .iter()
                .all(|node| rollout.contains(&node[..]))
        })
        .await;
        extra.cluster.remove_node(&gone).unwrap();
        for condition in ["Ready", "UpToDate"] {
            stage
                .until_condition(MEMBER, condition, "True", INSTALL)
                .await
                .unwrap();
        }
        let text = until_served(stage, 2, 3).await;
        assert!(text.contains(&format!("{silent} (NodeNotReady)")), "{text}");
        let words = [&silent[..], "not Ready", "served when they return"];
        until_event(stage, since, "ValidWithWarnings", &words).await;

        extra.cluster.start_node(&silent).await.unwrap();
        until_served(stage, 3, 3).await;
        until_healed(stage).await;
        drop(extra);
        until_served(stage, 2, 2).await;
    });
}
