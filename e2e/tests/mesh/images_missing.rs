//! An image that no node can pull, and a member that is deleted while it is being installed.

use e2e::images::Image;
use e2e::stage::Stage;
use jiff::Timestamp;
use kube::api::{Api, DeleteParams};
use serde_json::json;

use crate::fixture::{MEMBER, installed, left, on_stage, operator, until_left};
use crate::running::assert_nothing_left;
use crate::told::{until_event, until_healed, until_metric, until_stalled};

/// Nobody listens there: a pull is refused at once.
const NOWHERE: &str = "localhost:1/nowhere/pilot";

/// The release that can be run here, but for the image of its control plane.
fn apply_broken(stage: &Stage) {
    let mut release = Stage::release("1.6.0", &["Rapid"]);
    release["spec"]["images"]["pilot"]["repository"] = json!(NOWHERE);
    stage.apply(&release).unwrap();
    let spec = json!({"upgrade": {"version": "1.6"}});
    stage.apply(&Stage::member(MEMBER, &spec)).unwrap();
}

fn sets(stage: &Stage) -> String {
    let arguments = ["get", "daemonsets", "-n", "applink-system", "-o", "name"];
    stage.cluster.kubectl(&arguments).unwrap()
}

#[test]
fn an_image_that_cannot_be_pulled_is_named_with_its_node_and_a_corrected_release_heals() {
    on_stage(|stage| async move {
        operator(stage).await;
        left(stage).await;
        let since = Timestamp::now();
        let words = [NOWHERE, "on node node-", "spec.images"];
        apply_broken(stage);
        until_stalled(stage, "ImageUnavailable", &words).await;
        until_event(stage, since, "ImageUnavailable", &words).await;
        assert_eq!(sets(stage), "", "nothing follows that needs it");
        for line in [
            r#"applink_member_waiting{reason="ImageUnavailable"} 1"#,
            r#"applink_member_step{step="ControlPlane"} 1"#,
            "applink_members_ready 0",
        ] {
            until_metric(stage, line).await;
        }

        let members: Api<applink::api::v1alpha1::MeshMember> = Api::all(stage.client.clone());
        let parameters = DeleteParams::default();
        members.delete(MEMBER, &parameters).await.unwrap();
        until_left(stage).await;
        assert_nothing_left(stage);
        let (code, told) = crate::cli::applink(stage, &["status"]);
        assert_eq!(code, Some(3), "{told}");

        apply_broken(stage);
        until_stalled(stage, "ImageUnavailable", &words).await;
        // The same member, and the release as it should be.
        installed(stage).await;
        until_healed(stage).await;
        until_metric(stage, "applink_members_ready 1").await;
        let pods = stage
            .cluster
            .kubectl(&["get", "pods", "-n", "applink-system", "-o", "yaml"])
            .unwrap();
        assert!(!pods.contains(NOWHERE), "the pod that waited is gone");
        assert!(pods.contains(&Image::Pilot.reference()));
    });
}
