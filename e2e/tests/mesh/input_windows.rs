//! A maintenance window by the real clock: a move waits until it opens, and the next node waits when it closes on the way.
//! Then the release itself is withdrawn on the way.

use applink::api::v1alpha1::MeshMemberStatus;
use e2e::stage::{self, Stage};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::fixture::{INSTALL, MEMBER, PATIENT, left, on_stage};
use crate::input_fault::{delete, delete_all};
use crate::input_rows::without_member;
use crate::told::until_status;
use crate::upgrades::held::proxies;
use crate::upgrades::overlap::NODES;
use crate::upgrades::releases::until_runs;
use crate::upgrades::watched::Watched;
use crate::versions::release;

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
fn member(windows: &Value, closing: &str) -> Value {
    let spec = json!({"upgrade": {
        "mode": "FullyManaged", "releaseChannel": "Stable", "maintenanceWindows": windows,
        "onWindowClose": closing,
        "strategy": {
            "canary": {"type": "Count", "count": 1, "soak": "10s"},
            "batch": {"size": 1, "soak": "0s"},
            "drain": {"timeout": "5s"},
        },
    }});
    Stage::member(MEMBER, &spec)
}

/// The status of a member that waits for its window.
fn waiting(status: &MeshMemberStatus) -> Option<MeshMemberStatus> {
    let waits = (status.conditions.iter())
        .any(|one| one.type_ == "UpToDate" && one.reason == "WaitingForWindow");
    waits.then(|| status.clone())
}

/// How many nodes a rollout has moved.
fn updated(status: &MeshMemberStatus) -> Option<i32> {
    Some(status.rollout.as_ref()?.nodes.as_ref()?.updated)
}

#[test]
fn a_move_waits_for_its_window_so_does_the_next_node_and_what_is_withdrawn_on_the_way_is_taken_back()
 {
    on_stage(|stage| async move {
        without_member(stage).await;
        let mut releases = vec![release(stage, "1.5.8", &["Stable"])];
        let opens = minute(Timestamp::now() + SignedDuration::from_hours(6));
        let closed = member(&window(opens, SignedDuration::from_hours(1)), "FinishWave");
        stage.apply(&closed).unwrap();
        until_runs(stage, "1.5.8").await;
        let before = NODES.map(|node| proxies(stage, node));
        let users = Watched::full(stage, "windows", &NODES).await;

        // Outside nothing begins, and it says until when.
        releases.push(release(stage, "1.5.9", &["Stable"]));
        let told = until_status(stage, "it waits for the window", PATIENT, |status| {
            let upgrade = status.upgrade.clone().unwrap_or_default();
            let is_told = upgrade.waiting_for.is_some_and(|why| why.contains("1.5.9"));
            waiting(status).filter(|_| is_told)
        })
        .await;
        let next = told.upgrade.unwrap_or_default().next_window;
        assert_eq!(next.map(|at| at.0), Some(opens));
        assert_eq!(told.rollout, None);
        assert_eq!(NODES.map(|node| proxies(stage, node)), before);

        // Inside it begins.
        let begun = minute(Timestamp::now() - SignedDuration::from_mins(1));
        let open = member(&window(begun, SignedDuration::from_hours(4)), "FinishWave");
        stage.apply(&open).unwrap();
        let both = || async {
            let both = proxies(stage, "node-1");
            (both.len() == 2)
                .then_some(())
                .ok_or_else(|| format!("{both:?}"))
        };
        stage::eventually("the first node has two proxies", INSTALL, both)
            .await
            .unwrap();
        // It closes while that node is watched: the node is finished, the other one does not begin.
        let lasts = Timestamp::now().duration_since(begun) + SignedDuration::from_secs(3);
        let over = window(begun, lasts);
        let one_has_moved =
            |status: &_| waiting(status).filter(|status| updated(status) == Some(1));
        stage.apply(&member(&over, "FinishWave")).unwrap();
        let told = until_status(stage, "the next node waits", PATIENT, one_has_moved).await;
        let tomorrow = begun + SignedDuration::from_hours(24);
        let next = told.upgrade.unwrap_or_default().next_window;
        assert_eq!(next.map(|at| at.0), Some(tomorrow));
        let moved = proxies(stage, "node-1");
        assert_eq!(proxies(stage, "node-2"), before[1]);

        // What is begun keeps its target when that is removed from the catalogue, and may be finished outside the window.
        delete(stage, &releases[1]);
        stage.apply(&member(&over, "FinishRollout")).unwrap();
        until_runs(stage, "1.5.9").await;
        stage.apply(&releases[1]).unwrap();
        assert_eq!(proxies(stage, "node-1"), moved, "moved once");
        let last = proxies(stage, "node-2");
        assert!(last.len() == 1 && last != before[1], "{last:?}");

        // Beside two proxies a node cannot stop: it is finished, and the other one does not begin.
        stage.apply(&open).unwrap();
        releases.push(release(stage, "1.5.10", &["Stable"]));
        stage::eventually("the first node has two proxies", INSTALL, both)
            .await
            .unwrap();
        stage.apply(&member(&over, "PauseNow")).unwrap();
        until_status(stage, "it stops", PATIENT, one_has_moved).await;
        let stopped = proxies(stage, "node-1");
        assert!(stopped.len() == 1 && stopped != moved, "{stopped:?}");
        // Withdrawn there, it is taken back whatever the window says: what ran before runs again.
        let mut withdrawn = Stage::release("1.5.10", &["Stable"]);
        withdrawn["spec"]["withdrawn"] = json!({"reason": "it loses policies"});
        stage.apply(&withdrawn).unwrap();
        until_status(stage, "it is taken back", INSTALL, |status| {
            let newest = status.history.first()?;
            let why = newest.reason.as_deref().unwrap_or_default();
            let is_back = newest.to == "1.5.10" && newest.result == "Aborted";
            (is_back && why.contains("it loses policies")).then_some(())
        })
        .await;
        until_runs(stage, "1.5.9").await;
        assert_eq!(proxies(stage, "node-2"), last, "it never began");

        users.end().await;
        left(stage).await;
        delete_all(stage, &releases);
    });
}
