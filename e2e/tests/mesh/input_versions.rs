//! Versions and channels that lead to nothing: what is asked for is named, with what could be asked for instead.

use e2e::command;
use e2e::stage::Stage;
use serde_json::{Value, json};

use crate::fixture::{on_stage, operator};
use crate::input_fault::{Fault, delete};
use crate::input_rows::{Row, alone, behind_a_blocker, release, without_member};

fn pin(version: &str) -> Value {
    json!({"upgrade": {"version": version}})
}

#[test]
fn a_version_that_cannot_be_taken_here_is_refused_with_those_that_can() {
    on_stage(|stage| async move {
        let rows = [
            Row {
                name: "unknown-line",
                fault: None,
                spec: pin("9.9"),
                told: ("Accepted", "UnknownVersion"),
                words: &[
                    "spec.upgrade.version 9.9",
                    "known versions: 1.6, 1.5",
                    "apply a MeshRelease",
                ],
            },
            // The same is what it stands still for.
            Row {
                name: "unknown-patch",
                fault: None,
                spec: pin("1.6.77"),
                told: ("Stalled", "UnknownVersion"),
                words: &[
                    "spec.upgrade.version 1.6.77",
                    "1.6.0",
                    "apply a MeshRelease",
                ],
            },
            Row {
                name: "younger-kubernetes",
                fault: Some(Fault::There(release(
                    "1.6.5",
                    &json!({"kubernetes": {"min": "1.90", "max": "1.99"}}),
                ))),
                spec: pin("1.6.5"),
                told: ("Accepted", "KubernetesOutOfRange"),
                words: &[
                    "1.6.5 supports Kubernetes 1.90 to 1.99",
                    "this cluster runs 1.34",
                    "versions for this cluster: 1.6, 1.5",
                ],
            },
            Row {
                name: "withdrawn",
                fault: Some(Fault::There(release(
                    "1.6.6",
                    &json!({"withdrawn": {"reason": "it loses policies"}}),
                ))),
                spec: pin("1.6.6"),
                told: ("Stalled", "ReleaseWithdrawn"),
                words: &[
                    "1.6.6 was withdrawn: it loses policies",
                    "pin another version",
                ],
            },
            Row {
                name: "unreadable",
                fault: Some(Fault::There(release(
                    "1.6.7",
                    &json!({"istioVersion": "2.77.0"}),
                ))),
                spec: pin("1.6.7"),
                told: ("Accepted", "MalformedRelease"),
                words: &["MeshRelease 1.6.7 was refused", "2.77", "pin one of them"],
            },
        ];
        alone(stage, &rows).await;
    });
}

#[test]
fn a_channel_without_a_release_names_the_versions_that_are_there() {
    on_stage(|stage| async move {
        // Its kinds are there with the operator.
        operator(stage).await;
        // The catalogue in the program lists these for Extended; entries of the same name replace them.
        let emptied = ["1.4.6", "1.4.7", "1.5.4"].map(|version| Stage::release(version, &[]));
        let list = json!({"apiVersion": "v1", "kind": "List", "items": emptied});
        stage.apply(&list).unwrap();
        let row = Row {
            name: "empty-channel",
            fault: None,
            spec: json!({"upgrade": {"mode": "FullyManaged", "releaseChannel": "Extended"}}),
            told: ("Accepted", "NoReleaseInChannel"),
            words: &[
                "channel Extended has no release for Kubernetes 1.34",
                "versions for this cluster: 1.6, 1.5",
            ],
        };
        behind_a_blocker(stage, &[row]).await;
        for release in &emptied {
            delete(stage, release);
        }
    });
}

#[test]
fn what_is_no_version_or_channel_does_not_get_past_the_api_server() {
    on_stage(|stage| async move {
        without_member(stage).await;
        for (upgrade, words) in [
            (json!({"version": "latest"}), "spec.upgrade.version"),
            (
                json!({"mode": "FullyManaged", "releaseChannel": "Nightly"}),
                "supported values: \"Rapid\", \"Stable\", \"Extended\"",
            ),
            (
                json!({"releaseChannel": "Rapid"}),
                "needs upgrade.mode FullyManaged",
            ),
        ] {
            let member = Stage::member("nonsense", &json!({"upgrade": upgrade}));
            let error = stage.apply(&member).unwrap_err();
            let text = command::chain(&error);
            assert!(text.contains(words), "{upgrade}: {text}");
        }
    });
}
