//! A maintenance window by the real clock: a move waits until it opens, and the next node waits when it closes on the way.
//! Then the release itself is withdrawn on the way.

use applink::api::v1alpha1::MeshMemberStatus;
use e2e::stage::{self, Stage};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::held::components;
use super::overlap::NODES;
use super::releases::until_runs;
use super::versions::release;
use super::watched::Watched;
use crate::fixture::{INSTALL, MEMBER, PATIENT, left, on_stage};
use crate::input_fault::delete;
use crate::input_rows::without_member;

const PROXY: &str = "app=ztunnel";

/// A window that opens every day, in UTC, at the minute in which `opens` is.
fn window(opens: Timestamp, lasts: SignedDuration) -> Value {
    let start = opens.strftime("%H:%M").to_string();
    json!([{"start": start, "duration": format!("{}s", lasts.as_secs())}])
}

fn minute(of: Timestamp) -> Timestamp {
    let second = of.as_second();
    Timestamp::from_second(second - second.rem_euclid(60)).unwrap()
}

/// A member that follows its channel inside that window, and watches its first node for a while.
fn member(windows: &Value) -> Value {
    let spec = json!({"upgrade": {
        "mode": "FullyManaged", "releaseChannel": "Stable", "maintenanceWindows": windows,
        "onWindowClose": "FinishWave",
        "strategy": {
            "canary": {"type": "Count", "count": 1, "soak": "10s"},
            "batch": {"size": 1, "soak": "0s"},
            "drain": {"timeout": "5s"},
        },
    }});
    Stage::member(MEMBER, &spec)
}

/// Waits until the member waits for its window, and that is as wanted.
async fn until_waiting(
    stage: &Stage,
    what: &str,
    wanted: impl Fn(&MeshMemberStatus) -> bool,
) -> MeshMemberStatus {
    let wanted = &wanted;
    stage::eventually(what, PATIENT, || async move {
        let member = stage.read_member(MEMBER).await;
        let status = member.map_err(|error| error.to_string())?.status;
        let status = status.unwrap_or_default();
        let waits = (status.conditions.iter())
            .any(|one| one.type_ == "UpToDate" && one.reason == "WaitingForWindow");
        if waits && wanted(&status) {
            Ok(status)
        } else {
            Err(format!(
                "{:?} {:?} {:#?}",
                status.upgrade, status.rollout, status.conditions
            ))
        }
    })
    .await
    .unwrap()
}

/// How many nodes a rollout has moved.
fn updated(status: &MeshMemberStatus) -> Option<i32> {
    Some(status.rollout.as_ref()?.nodes.as_ref()?.updated)
}

#[test]
fn a_move_waits_for_its_window_and_the_next_node_does_when_it_closes_on_the_way() {
    on_stage(|stage| async move {
        without_member(stage).await;
        let mut releases = vec![release(stage, "1.5.8", &["Stable"])];
        let opens = minute(Timestamp::now() + SignedDuration::from_hours(6));
        let closed = member(&window(opens, SignedDuration::from_hours(1)));
        stage.apply(&closed).unwrap();
        until_runs(stage, "1.5.8").await;
        let before = NODES.map(|node| components(stage, node, PROXY));
        let users = Watched::start(stage, "windows").await;

        // Outside nothing begins, and it says until when.
        releases.push(release(stage, "1.5.9", &["Stable"]));
        let told = until_waiting(stage, "it waits for the window", |status| {
            let upgrade = status.upgrade.clone().unwrap_or_default();
            upgrade.waiting_for.is_some_and(|why| why.contains("1.5.9"))
        })
        .await;
        let next = told.upgrade.unwrap_or_default().next_window;
        assert_eq!(next.map(|at| at.0), Some(opens));
        assert_eq!(told.rollout, None);

        // Inside it begins.
        let begun = minute(Timestamp::now() - SignedDuration::from_mins(1));
        let open = window(begun, SignedDuration::from_hours(4));
        stage.apply(&member(&open)).unwrap();
        let both = || async {
            let both = components(stage, "node-1", PROXY);
            (both.len() == 2)
                .then_some(())
                .ok_or_else(|| format!("{both:?}"))
        };
        stage::eventually("the first node has two proxies", INSTALL, both)
            .await
            .unwrap();
        // It closes while that node is watched: the node is finished, the other one does not begin.
        let lasts = Timestamp::now().duration_since(begun) + SignedDuration::from_secs(3);
        stage.apply(&member(&window(begun, lasts))).unwrap();
        let told = until_waiting(stage, "the next node waits", |status| {
            updated(status) == Some(1)
        })
        .await;
        let tomorrow = begun + SignedDuration::from_hours(24);
        let next = told.upgrade.unwrap_or_default().next_window;
        assert_eq!(next.map(|at| at.0), Some(tomorrow));
        let moved = components(stage, "node-1", PROXY);
        assert_eq!(components(stage, "node-2", PROXY), before[1]);

        stage.apply(&member(&open)).unwrap();
        until_runs(stage, "1.5.9").await;
        assert_eq!(components(stage, "node-1", PROXY), moved, "moved once");
        let last = components(stage, "node-2", PROXY);
        assert!(last.len() == 1 && last != before[1], "{last:?}");

        // The next one is withdrawn when a node has it: what ran before runs again, and the newer one is forgotten.
        releases.push(release(stage, "1.5.10", &["Stable"]));
        stage::eventually("the first node has two proxies", INSTALL, both)
            .await
            .unwrap();
        let mut withdrawn = Stage::release("1.5.10", &["Stable"]);
        withdrawn["spec"]["withdrawn"] = json!({"reason": "it loses policies"});
        stage.apply(&withdrawn).unwrap();
        stage::eventually("it is taken back", INSTALL, || async {
            let member = stage.read_member(MEMBER).await;
            let status = member.map_err(|error| error.to_string())?.status;
            let status = status.unwrap_or_default();
            let newest = status.history.first();
            let is_back = newest.is_some_and(|one| {
                let is_told =
                    (one.reason.as_deref()).is_some_and(|why| why.contains("it loses policies"));
                one.to == "1.5.10" && one.result == "Aborted" && is_told
            });
            is_back.then_some(()).ok_or_else(|| format!("{status:#?}"))
        })
        .await
        .unwrap();
        until_runs(stage, "1.5.9").await;
        assert_eq!(components(stage, "node-2", PROXY), last, "it never began");

        users.end().await;
        left(stage).await;
        for release in &releases {
            delete(stage, release);
        }
    });
}
