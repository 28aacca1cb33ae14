//! Bad input: a condition, a message with the remedy, and nothing changed.

use std::time::Duration;

use e2e::stage::Stage;
use kube::api::{Api, DeleteParams};
use serde_json::json;

use crate::fixture::{MEMBER, SOON, installed, on_stage};

const SHORT: Duration = Duration::from_secs(20);

#[test]
fn a_second_member_for_the_same_cluster_waits_and_its_deletion_disturbs_nobody() {
    on_stage(|stage| async move {
        installed(stage).await;
        stage
            .apply(&Stage::member(
                "second",
                &json!({"upgrade": {"version": "1.6"}}),
            ))
            .unwrap();
        let second = stage
            .until_condition("second", "Accepted", "False", SOON)
            .await
            .unwrap();
        let text = format!("{:?}", second.status.unwrap().conditions);
        assert!(text.contains(MEMBER), "the winner is named: {text}");
        let members: Api<applink::api::v1alpha1::MeshMember> = Api::all(stage.client.clone());
        members
            .delete("second", &DeleteParams::default())
            .await
            .unwrap();
        e2e::stage::eventually("the second member is gone", SOON, || async {
            match members.get_opt("second").await {
                Ok(None) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap();
        stage
            .until_condition(MEMBER, "Ready", "True", SHORT)
            .await
            .unwrap();
    });
}

#[test]
fn a_release_that_cannot_be_read_is_named_and_the_others_still_work() {
    on_stage(|stage| async move {
        installed(stage).await;
        let mut broken = Stage::release("1.6.9", &[]);
        broken["spec"]["kubernetes"] = json!({"min": "1.36", "max": "1.32"});
        // Either the API server refuses it, or the operator says that it does not take it.
        if stage.apply(&broken).is_ok() {
            let releases: Api<applink::api::v1alpha1::MeshRelease> = Api::all(stage.client.clone());
            e2e::stage::eventually("the release is refused in status", SOON, || async {
                let release = releases
                    .get("1.6.9")
                    .await
                    .map_err(|error| error.to_string())?;
                let conditions = release.status.unwrap_or_default().conditions;
                if conditions
                    .iter()
                    .any(|held| held.type_ == "Accepted" && held.status == "False")
                {
                    Ok(())
                } else {
                    Err(format!("{conditions:?}"))
                }
            })
            .await
            .unwrap();
            releases
                .delete("1.6.9", &DeleteParams::default())
                .await
                .unwrap();
        }
        stage
            .until_condition(MEMBER, "Ready", "True", SHORT)
            .await
            .unwrap();
    });
}
