//! Bad input: a condition, an Event and a message with the remedy, and nothing changed.

use applink::api::v1alpha1::MeshRelease;
use e2e::stage::{self, Stage};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::Api;
use serde_json::json;

use crate::fixture::{MEMBER, SOON, installed, on_stage, remove_namespace};
use crate::input_fault::delete;
use crate::input_rows::{Row, event, forget, pinned, told, untouched};
use crate::running::data_plane;

#[test]
fn a_second_member_for_the_same_cluster_waits_and_its_deletion_disturbs_nobody() {
    on_stage(|stage| async move {
        installed(stage).await;
        // The first one's, and no reason to keep the second.
        let enrolled = json!({"istio.io/dataplane-mode": "ambient"});
        let namespace = "taken";
        (stage.apply(&stage::namespace(namespace, &enrolled))).unwrap();
        let (since, before) = (Timestamp::now(), data_plane(stage));
        let row = Row {
            name: "second",
            fault: None,
            spec: pinned(),
            told: ("Accepted", "ClusterAlreadyMember"),
            words: &[
                "ClusterAlreadyMember",
                "MeshMember local already stands for this cluster",
                "delete MeshMember second; deleting it touches nothing in the cluster",
            ],
        };
        let uid = told(stage, &row).await;
        forget(stage, row.name, &uid).await;
        for condition in ["Ready", "UpToDate"] {
            stage
                .until_condition(MEMBER, condition, "True", SOON)
                .await
                .unwrap();
        }
        assert_eq!(data_plane(stage), before, "nobody was disturbed");
        untouched(stage, since);
        remove_namespace(stage, namespace).await;
    });
}

/// Waits until a release is told that it is refused, or taken. Its uid.
async fn release_told(stage: &Stage, name: &str, reason: &str, words: &[&str]) -> String {
    let releases: Api<MeshRelease> = Api::all(stage.client.clone());
    stage::eventually(&format!("MeshRelease {name}: {reason}"), SOON, || async {
        let release = releases
            .get(name)
            .await
            .map_err(|error| error.to_string())?;
        let conditions = release.status.clone().unwrap_or_default().conditions;
        let is_told = conditions.iter().any(|held| {
            held.type_ == "Accepted"
                && held.reason == reason
                && held.observed_generation == release.metadata.generation
                && words.iter().all(|word| held.message.contains(word))
        });
        if is_told {
            Ok(release.uid().unwrap_or_default())
        } else {
            Err(format!("{conditions:?}"))
        }
    })
    .await
    .unwrap()
}

#[test]
fn a_release_that_cannot_be_read_is_named_and_the_others_still_work() {
    on_stage(|stage| async move {
        installed(stage).await;
        let (since, before) = (Timestamp::now(), data_plane(stage));
        let mut broken = Stage::release("1.6.9", &[]);
        broken["spec"]["kubernetes"] = json!({"min": "1.36", "max": "1.32"});
        stage.apply(&broken).unwrap();
        let words = [
            "kubernetes: the range 1.36 to 1.32 is empty",
            "min must not be above max",
            "the entry is skipped, the others still work",
        ];
        let uid = release_told(stage, "1.6.9", "MalformedRelease", &words).await;
        event(stage, "1.6.9", &uid, "MalformedRelease", &words).await;

        // One that comes after it is taken, and what the member is pinned to means what it meant.
        let good = Stage::release("1.5.9", &[]);
        stage.apply(&good).unwrap();
        release_told(stage, "1.5.9", "Valid", &["in the catalogue"]).await;
        let member = stage
            .until_condition(MEMBER, "Accepted", "True", SOON)
            .await
            .unwrap();
        let status = member.status.unwrap();
        let version = status.version.unwrap();
        assert_eq!(
            (version.current.as_deref(), version.target.as_deref()),
            (Some("1.6.0"), Some("1.6.0"))
        );
        let known = stage.applink(&["releases"]).unwrap();
        for word in ["1.5.9", "1.6.0", "min must not be above max"] {
            assert!(known.contains(word), "{word} is missing:\n{known}");
        }
        assert_eq!(data_plane(stage), before, "nobody was disturbed");
        untouched(stage, since);
        delete(stage, &broken);
        delete(stage, &good);
    });
}
