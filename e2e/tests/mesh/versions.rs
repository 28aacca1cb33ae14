//! Which version a member gets. Only one Istio can be run here, so releases put it under several versions of ours.

use std::collections::BTreeSet;

use applink::api::v1alpha1::MeshMember;
use e2e::stage::{self, Stage};
use serde_json::{Value, json};

use crate::fixture::{INSTALL, MEMBER, PATIENT, left, on_stage};
use crate::input_fault::delete_all;
use crate::input_rows::{Row, behind_a_blocker, without_member};

pub fn release(stage: &Stage, version: &str, channels: &[&str]) -> Value {
    let release = Stage::release(version, channels);
    stage.apply(&release).unwrap();
    release
}

async fn install(stage: &Stage, spec: &Value) -> MeshMember {
    stage.apply(&Stage::member(MEMBER, spec)).unwrap();
    (stage
        .until_condition(MEMBER, "Ready", "True", INSTALL)
        .await)
        .unwrap();
    (stage
        .until_condition(MEMBER, "UpToDate", "True", INSTALL)
        .await)
        .unwrap()
}

/// The uid of every pod of the data plane.
fn pods(stage: &Stage) -> BTreeSet<String> {
    let path = "jsonpath={range .items[*]}{.metadata.uid}{\"\\n\"}{end}";
    let text = stage
        .cluster
        .kubectl(&["get", "pods", "-n", "applink-system", "-o", path]);
    text.unwrap().lines().map(str::to_owned).collect()
}

fn current(member: &MeshMember) -> Option<String> {
    member.status.clone()?.version?.current
}

/// Holds back whatever the catalogue brings, not what somebody asks for.
fn frozen() -> Value {
    json!([{"name": "freeze", "from": "2020-01-01T00:00:00Z", "to": "2099-01-01T00:00:00Z"}])
}

/// Waits until a move to that version is due and says what it waits for.
async fn until_due(stage: &Stage, version: &str, words: &str) -> MeshMember {
    stage::eventually(&format!("{version} is due"), PATIENT, || async {
        let member = (stage.read_member(MEMBER).await).map_err(|error| error.to_string())?;
        let status = member.status.clone().unwrap_or_default();
        let listed = (status.available_upgrades.iter()).any(|one| one.version == version);
        let told = (status.conditions.iter()).any(|one| {
            one.type_ == "UpToDate" && one.reason == "Excluded" && one.message.contains(words)
        });
        if listed && told {
            Ok(member)
        } else {
            Err(format!(
                "{:?} {:#?}",
                status.available_upgrades, status.conditions
            ))
        }
    })
    .await
    .unwrap()
}

#[test]
fn without_a_version_the_line_before_the_newest_is_installed_and_kept() {
    on_stage(|stage| async move {
        without_member(stage).await;
        let spec = json!({"upgrade": {"exclusions": frozen()}});
        let mut releases = vec![release(stage, "1.5.8", &[]), release(stage, "1.5.9", &[])];
        let member = install(stage, &spec).await;
        assert_eq!(current(&member).as_deref(), Some("1.5.9"));
        let status = member.status.unwrap();
        assert_eq!(status.istio_version.as_deref(), Some("1.31.0"));
        assert_eq!(status.version.unwrap().reached_by.as_deref(), Some("1.5"));
        let upgrade = status.upgrade.unwrap();
        assert_eq!(upgrade.mode.as_deref(), Some("SelfManaged"));
        assert_eq!(upgrade.version.as_deref(), Some("1.5"));
        let before = pods(stage);

        // A younger line would make another one the default, and a younger patch is what the line means now.
        releases.push(release(stage, "1.7.0", &["Rapid"]));
        releases.push(release(stage, "1.5.10", &[]));
        let words = "the move to 1.5.10 (a newer patch) waits for the end of exclusion freeze";
        until_due(stage, "1.5.10", words).await;
        stage.apply(&Stage::member(MEMBER, &spec)).unwrap();
        let again = until_due(stage, "1.7.0", words).await;
        assert_eq!(current(&again).as_deref(), Some("1.5.9"));
        assert_eq!(before, pods(stage));

        left(stage).await;
        delete_all(stage, &releases);
    });
}

#[test]
fn a_channel_resolves_and_what_it_means_later_waits_for_its_time() {
    on_stage(|stage| async move {
        let mut releases = vec![
            release(stage, "1.5.8", &["Extended"]),
            release(stage, "1.5.9", &["Stable"]),
        ];
        let follows = |channel: &str| json!({"upgrade": {"mode": "FullyManaged", "releaseChannel": channel, "exclusions": frozen()}});
        let row = |name: &'static str, channel: &str, words: &'static [&'static str]| Row {
            name,
            fault: None,
            spec: follows(channel),
            told: ("Accepted", "Valid"),
            words,
        };
        let rows = [
            row(
                "rapid",
                "Rapid",
                &["channel Rapid means 1.6.0 (Istio 1.31.0)"],
            ),
            row(
                "stable",
                "Stable",
                &["channel Stable means 1.5.9 (Istio 1.31.0)"],
            ),
            row(
                "extended",
                "Extended",
                &["channel Extended means 1.5.8 (Istio 1.31.0)"],
            ),
        ];
        behind_a_blocker(stage, &rows).await;

        let member = install(stage, &follows("Stable")).await;
        assert_eq!(current(&member).as_deref(), Some("1.5.9"));
        let shown = member.status.unwrap().upgrade.unwrap();
        assert_eq!(shown.follows.as_deref(), Some("Stable"));
        let before = pods(stage);

        releases.push(release(stage, "1.5.10", &["Stable"]));
        let words = "the move to 1.5.10 (channel Stable has moved) waits for the end of exclusion";
        let told = until_due(stage, "1.5.10", words).await;
        assert_eq!(current(&told).as_deref(), Some("1.5.9"));
        assert_eq!(before, pods(stage));

        left(stage).await;
        delete_all(stage, &releases);
    });
}
