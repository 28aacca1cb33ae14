//! Leaving: refused while somebody is enrolled, and clean afterwards.

use applink::api::v1alpha1::MeshMember;
use e2e::stage::{self, Stage};
use kube::api::{Api, DeleteParams};

use crate::fixture::{MEMBER, SOON, on_stage, operator, remove_namespace, shop, until_left};
use crate::running::{assert_nodes_clean, assert_nothing_left, data_plane, talks};

/// Somebody insists: the member is deleted while a namespace is enrolled, is told why it cannot leave, and is cared for.
async fn blocked(stage: &Stage, namespace: &str, members: &Api<MeshMember>) {
    let kubectl = |arguments: &[&str]| stage.cluster.kubectl(arguments).unwrap();
    let policy = "validatingadmissionpolicybinding";
    kubectl(&["delete", policy, "applink-member-leave"]);
    stage::eventually("nothing keeps the member", SOON, || async {
        let answer = members.delete(MEMBER, &DeleteParams::default()).await;
        answer.map(|_| ()).map_err(|error| error.to_string())
    })
    .await
    .unwrap();
    stage::eventually("it is told why it cannot leave", SOON, || async {
        let member = (stage.read_member(MEMBER).await).map_err(|error| error.to_string())?;
        let held = member.status.unwrap_or_default().conditions;
        let is_told = held.iter().any(|one| {
            one.type_ == "LeaveBlocked" && one.status == "True" && one.message.contains(namespace)
        });
        if is_told {
            Ok(())
        } else {
            Err(format!("{held:#?}"))
        }
    })
    .await
    .unwrap();
    let before = data_plane(stage);
    let service = |verb: &str| {
        let named = [
            "service",
            "-n",
            "applink-system",
            "-l",
            "app=istiod",
            "-o",
            "name",
        ];
        kubectl(&[&[verb], &named[..]].concat())
    };
    let wanted = service("get");
    assert!(!wanted.is_empty());
    service("delete");
    stage::eventually("what somebody deleted is made anew", SOON, || async {
        let found = service("get");
        (found == wanted).then_some(()).ok_or(found)
    })
    .await
    .unwrap();
    talks(stage, namespace, "web").await;
    assert_eq!(data_plane(stage), before, "nobody was disturbed");
}

#[test]
fn leaving_is_refused_while_enrolled_waits_for_whoever_insists_and_leaves_nothing_behind() {
    on_stage(|stage| async move {
        let namespace = "leaving";
        shop(stage, namespace).await;
        let members: Api<MeshMember> = Api::all(stage.client.clone());
        let refused = stage::eventually("deletion is refused", SOON, || async {
            let dry = DeleteParams {
                dry_run: true,
                ..DeleteParams::default()
            };
            match members.delete(MEMBER, &dry).await {
                Ok(_) => Err("allowed".to_owned()),
                Err(error) => Ok(error.to_string()),
            }
        })
        .await
        .unwrap();
        assert!(refused.contains(namespace), "{refused}");

        blocked(stage, namespace, &members).await;
        let unlabel = ["label", "namespace", namespace, "istio.io/dataplane-mode-"];
        stage.cluster.kubectl(&unlabel).unwrap();
        until_left(stage).await;
        assert_nodes_clean(stage);
        assert_nothing_left(stage);
        // Those who were enrolled talk on, plainly, and new pods start.
        let get = ["/usr/local/bin/shop", "get", "http://cart:8080/", "5"];
        let (success, text) = stage.exec(namespace, "web", &get);
        assert!(success, "{text}");
        stage
            .apply(&stage::shop(namespace, "late", "node-2", None))
            .unwrap();
        stage
            .until_pods_ready(namespace, "app=late", SOON)
            .await
            .unwrap();
        remove_namespace(stage, namespace).await;
        // Its manifests bring back what keeps members.
        operator(stage).await;
    });
}
