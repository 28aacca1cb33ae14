//! Missing rights: the verb and the resource are named, and giving them back is all it takes.

use e2e::stage::Stage;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::fixture::{INSTALL, MEMBER, on_stage};
use crate::input_rows::{
    Row, behind_a_blocker, forget, mended, pinned, told, untouched, without_member,
};

const ROLE: &str = "applink-operator";

/// Takes every rule about a resource out of the operator's `ClusterRole`; the rules before that.
async fn take(stage: &Stage, resource: &str) -> Vec<PolicyRule> {
    let roles: Api<ClusterRole> = Api::all(stage.client.clone());
    let mut role = roles.get(ROLE).await.unwrap();
    let before = role.rules.clone().unwrap();
    let is_about = |rule: &PolicyRule| (rule.resources.iter().flatten()).any(|one| one == resource);
    role.rules.as_mut().unwrap().retain(|rule| !is_about(rule));
    assert_ne!(
        role.rules.as_ref(),
        Some(&before),
        "no rule about {resource}"
    );
    // An update, by which the judge of the audit log knows that rights were taken.
    (roles.replace(ROLE, &PostParams::default(), &role).await).unwrap();
    before
}

async fn give_back(stage: &Stage, before: &[PolicyRule]) {
    let roles: Api<ClusterRole> = Api::all(stage.client.clone());
    let patch = Patch::Merge(json!({"rules": before}));
    (roles.patch(ROLE, &PatchParams::default(), &patch).await).unwrap();
}

/// Starts the operator again: a watch that runs is not asked for its rights until it ends.
async fn restart(stage: &Stage) {
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), "applink-operator");
    let ours = ListParams::default().labels("app.kubernetes.io/name=applink");
    (pods
        .delete_collection(&DeleteParams::default(), &ours)
        .await)
        .unwrap();
}

#[test]
fn a_watch_that_is_refused_is_named_before_anything_is_done() {
    on_stage(|stage| async move {
        without_member(stage).await;
        let since = Timestamp::now();
        let rules = take(stage, "networkpolicies").await;
        restart(stage).await;
        let row = Row {
            name: "blind",
            fault: None,
            spec: pinned(),
            told: ("Stalled", "MissingRights"),
            words: &[
                "MissingRights",
                "the operator may not list networkpolicies.networking.k8s.io",
                "apply the operator's manifests of this version again",
            ],
        };
        let uid = told(stage, &row).await;
        untouched(stage, since);
        forget(stage, row.name, &uid).await;
        give_back(stage, &rules).await;
        // Nothing is to be installed by a member that only asks whether it is healed.
        let healed = Row {
            name: "seeing",
            fault: None,
            spec: pinned(),
            told: ("Stalled", "PreflightFailed"),
            words: &["ForeignZtunnel"],
        };
        behind_a_blocker(stage, &[healed]).await;
    });
}

#[test]
fn a_write_that_is_refused_is_named_before_anything_is_done_and_goes_on_when_it_is_allowed() {
    on_stage(|stage| async move {
        without_member(stage).await;
        let since = Timestamp::now();
        let rules = take(stage, "clusterrolebindings").await;
        let row = Row {
            name: MEMBER,
            fault: None,
            spec: pinned(),
            told: ("Stalled", "MissingRights"),
            words: &[
                "the operator may not create clusterrolebindings.rbac.authorization.k8s.io",
                "apply the operator's manifests of this version again",
            ],
        };
        told(stage, &row).await;
        untouched(stage, since);
        give_back(stage, &rules).await;
        mended(stage, &row).await;
        for condition in ["Ready", "UpToDate"] {
            (stage
                .until_condition(MEMBER, condition, "True", INSTALL)
                .await)
                .unwrap();
        }
    });
}
