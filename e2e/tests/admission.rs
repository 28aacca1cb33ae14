//! The admission policies of `manifests/` on a real API server: what may be deleted while a mesh runs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed test is the report"
)]

use std::time::{Duration, Instant};

use applink::cli::manifests::{Choice, objects};
use e2e::control_plane::ControlPlane;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Client, discovery};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(30);

/// Applies one object as somebody; a kind that was made a moment ago is waited for.
async fn apply_as(client: &Client, object: &Value, who: &PatchParams) {
    let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
    let gvk = GroupVersionKind::try_from(object.types.as_ref().unwrap()).unwrap();
    let deadline = Instant::now() + DEADLINE;
    loop {
        let outcome = match discovery::pinned_kind(client, &gvk).await {
            Ok((resource, _)) => {
                let api: Api<DynamicObject> = match &object.metadata.namespace {
                    Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                    None => Api::all_with(client.clone(), &resource),
                };
                let name = object.metadata.name.as_deref().unwrap();
                api.patch(name, who, &Patch::Apply(&object)).await.map(drop)
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => return,
            Err(error) => assert!(
                Instant::now() < deadline,
                "{:?}: {error}",
                object.metadata.name
            ),
        }
        tokio::task::yield_now().await;
    }
}

async fn apply(client: &Client, object: &Value) {
    apply_as(client, object, &PatchParams::apply("test").force()).await;
}

async fn api(client: &Client, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
    let (resource, _) =
        discovery::pinned_kind(client, &GroupVersionKind::gvk(group, version, kind))
            .await
            .unwrap();
    Api::all_with(client.clone(), &resource)
}

/// What the API server says to a deletion that is not carried out; `None` when it would be.
async fn refusal(api: &Api<DynamicObject>, name: &str) -> Option<String> {
    match api.delete(name, &DeleteParams::default().dry_run()).await {
        Ok(_) => None,
        Err(kube::Error::Api(status)) => Some(status.message.clone()),
        Err(error) => panic!("{error}"),
    }
}

/// Policies take effect a moment after they are stored: asks until the answer is as expected.
async fn eventually(
    api: &Api<DynamicObject>,
    name: &str,
    expected: impl Fn(&Option<String>) -> bool,
) -> Option<String> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let answer = refusal(api, name).await;
        if expected(&answer) || Instant::now() >= deadline {
            assert!(expected(&answer), "{name}: {answer:?}");
            return answer;
        }
        tokio::task::yield_now().await;
    }
}

async fn set_membership(members: &Api<DynamicObject>, name: &str, membership: &Value) {
    let status = json!({"status": {"membership": membership}});
    members
        .patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_running_mesh_cannot_be_pulled_out_from_under_its_users() {
    let plane = ControlPlane::start().await.unwrap();
    let client = plane.client().await.unwrap();
    let manifests = objects(&Choice::default()).unwrap();
    for object in &manifests {
        apply(&client, object).await;
    }
    // Who installs it in one way may update it in another: nothing is in conflict.
    for object in &manifests {
        apply_as(&client, object, &PatchParams::apply("another")).await;
    }
    let member = json!({"apiVersion": "applink.dev/v1alpha1", "kind": "MeshMember", "metadata": {"name": "east"}, "spec": {}});
    apply(&client, &member).await;
    for name in ["default", "other"] {
        let network = json!({"apiVersion": "applink.dev/v1alpha1", "kind": "ApplicationNetwork", "metadata": {"name": name}, "spec": {}});
        apply(&client, &network).await;
    }
    let bystander =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bystander"}});
    apply(&client, &bystander).await;
    let members = api(&client, "applink.dev", "v1alpha1", "MeshMember").await;
    let namespaces = api(&client, "", "v1", "Namespace").await;
    let kinds = api(
        &client,
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
    )
    .await;
    let roles = api(&client, "rbac.authorization.k8s.io", "v1", "ClusterRole").await;
    let networks = api(&client, "applink.dev", "v1alpha1", "ApplicationNetwork").await;

    // While a member exists, what it stands on stays; what is not ours is nobody's business here.
    for (api, name) in [
        (&namespaces, "applink-system"),
        (&namespaces, "applink-operator"),
        (&namespaces, "applink-probe"),
        (&kinds, "meshmembers.applink.dev"),
        (&kinds, "meshreleases.applink.dev"),
        (&roles, "applink-istiod"),
        // The one that it belongs to, though it does not say so.
        (&networks, "default"),
    ] {
        let message = eventually(api, name, Option::is_some).await.unwrap();
        assert!(
            message.contains(name) && message.contains("MeshMember east"),
            "{message}"
        );
    }
    assert_eq!(refusal(&namespaces, "bystander").await, None);
    assert_eq!(refusal(&roles, "view").await, None);
    assert_eq!(refusal(&networks, "other").await, None);

    // A member without enrolled namespaces may go; with some it may not, and they are named.
    assert_eq!(refusal(&members, "east").await, None);
    set_membership(
        &members,
        "east",
        &json!({"namespaces": 22, "enrolled": 30, "meshed": 30, "enrolledNames": ["demo", "shop"]}),
    )
    .await;
    let message = eventually(&members, "east", Option::is_some).await.unwrap();
    assert!(
        message.contains("22 enrolled namespace(s): demo, shop, ..."),
        "{message}"
    );
    set_membership(&members, "east", &json!({"namespaces": 2})).await;
    let message = refusal(&members, "east").await.unwrap();
    assert!(
        message.contains("2 enrolled namespace(s): demo, shop. Remove the label"),
        "{message}"
    );

    // Unless leaving is to un-enrol them.
    let policy = json!({"spec": {"leavePolicy": "UnenrolNamespaces"}});
    members
        .patch("east", &PatchParams::default(), &Patch::Merge(&policy))
        .await
        .unwrap();
    assert_eq!(refusal(&members, "east").await, None);

    // With the last member gone everything may go.
    members
        .delete("east", &DeleteParams::default())
        .await
        .unwrap();
    for (api, name) in [
        (&namespaces, "applink-system"),
        (&kinds, "meshmembers.applink.dev"),
        (&roles, "applink-istiod"),
        (&networks, "default"),
    ] {
        eventually(api, name, Option::is_none).await;
    }
    plane.stop();
}
