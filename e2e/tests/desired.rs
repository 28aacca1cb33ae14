//! What a real API server says of the objects of every golden case: applied, strictly validated, and applied again.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on stops"
)]

#[path = "../../tests/desired/case.rs"]
mod case;

use std::path::{Path, PathBuf};
use std::process::Command;

use applink::desired::{Manifest, crds};
use e2e::control_plane::ControlPlane;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams, ValidationDirective};
use kube::{Client, ResourceExt};
use serde_json::json;

const MANAGER: &str = "applink.dev/meshmember";

fn api(client: &Client, manifest: &Manifest) -> Api<DynamicObject> {
    match &manifest.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &manifest.resource),
        None => Api::all_with(client.clone(), &manifest.resource),
    }
}

async fn apply(client: &Client, manifest: &Manifest) -> Result<DynamicObject, kube::Error> {
    let mut params = PatchParams::apply(MANAGER).force();
    params.field_validation = Some(ValidationDirective::Strict);
    api(client, manifest)
        .patch(&manifest.name, &params, &Patch::Apply(&manifest.body))
        .await
}

/// As an operator does with an object that is not there and has initial fields.
async fn create(client: &Client, manifest: &Manifest) -> Result<DynamicObject, kube::Error> {
    let object: DynamicObject = serde_json::from_value(manifest.body_to_create()).unwrap();
    let params = PostParams {
        field_manager: Some("applink.dev/initial".to_owned()),
        ..PostParams::default()
    };
    api(client, manifest).create(&params, &object).await
}

/// The definitions of Istio and of the Gateway API, from the modules that carry them.
fn definitions() -> Vec<crds::Bundled> {
    let istio = module("istio.io/api").join("kubernetes");
    let gateway = module("sigs.k8s.io/gateway-api").join("config/crd/standard");
    [istio, gateway]
        .iter()
        .flat_map(|folder| crds::bundled(folder).unwrap())
        .map(Result::unwrap)
        .collect()
}

/// Folder of a dependency of the Istio wrapper in the module cache.
fn module(name: &str) -> PathBuf {
    let output = Command::new("go")
        .args(["mod", "download", "-json", name])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("go/istio"))
        .output()
        .unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    PathBuf::from(said["Dir"].as_str().unwrap())
}

#[tokio::test]
async fn every_object_of_every_case_is_accepted_and_a_second_apply_changes_nothing() {
    let plane = ControlPlane::start().await.unwrap();
    let client = plane.client().await.unwrap();
    let bundled = definitions();
    assert!(bundled.len() >= 20, "{}", bundled.len());
    for definition in &bundled {
        apply(&client, &definition.manifest)
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", definition.manifest.name));
    }
    for (name, folder) in case::folders() {
        for manifest in case::Case::read(&folder).objects() {
            let api = api(&client, &manifest);
            if manifest.resource.kind == "NetworkAttachmentDefinition" {
                continue; // Multus has its definition; the object is metadata only.
            }
            if manifest.initial.is_some() && api.get_opt(&manifest.name).await.unwrap().is_none() {
                create(&client, &manifest)
                    .await
                    .unwrap_or_else(|error| panic!("{name}: {}: {error}", manifest.display_name()));
            }
            let first = apply(&client, &manifest)
                .await
                .unwrap_or_else(|error| panic!("{name}: {}: {error}", manifest.display_name()));
            let second = apply(&client, &manifest).await.unwrap();
            assert_eq!(
                first.resource_version(),
                second.resource_version(),
                "{name}: {}",
                manifest.display_name()
            );
        }
    }
}

#[tokio::test]
async fn what_istiod_writes_into_its_webhook_stays_when_we_apply_again() {
    let plane = ControlPlane::start().await.unwrap();
    let client = plane.client().await.unwrap();
    let objects = case::Case::read(&case::folders()["base"]).objects();
    let webhook = objects
        .iter()
        .find(|object| object.name == "istiod-default-validator")
        .unwrap();
    create(&client, webhook).await.unwrap();
    let applied = apply(&client, webhook).await.unwrap();
    assert_eq!(applied.data["webhooks"][0]["failurePolicy"], "Ignore");

    // istiod updates the whole object under its own name.
    let mut theirs = applied;
    theirs.data["webhooks"][0]["failurePolicy"] = json!("Fail");
    theirs.data["webhooks"][0]["clientConfig"]["caBundle"] = json!("Y2VydGlmaWNhdGU=");
    let params = PostParams {
        field_manager: Some("pilot-discovery".to_owned()),
        ..PostParams::default()
    };
    api(&client, webhook)
        .replace(&webhook.name, &params, &theirs)
        .await
        .unwrap();

    let again = apply(&client, webhook).await.unwrap();
    assert_eq!(again.data["webhooks"][0]["failurePolicy"], "Fail");
    assert_eq!(
        again.data["webhooks"][0]["clientConfig"]["caBundle"],
        "Y2VydGlmaWNhdGU="
    );
}

#[tokio::test]
async fn definitions_in_the_cluster_are_judged_by_what_they_say() {
    let plane = ControlPlane::start().await.unwrap();
    let client = plane.client().await.unwrap();
    let bundled = definitions();
    let gateways = bundled
        .iter()
        .find(|one| one.manifest.name == "gateways.gateway.networking.k8s.io")
        .unwrap();
    let params = PatchParams::apply("somebody");
    let mut foreign = gateways.manifest.body.clone();
    foreign["metadata"]["labels"] = json!({});
    api(&client, &gateways.manifest)
        .patch(&gateways.manifest.name, &params, &Patch::Apply(&foreign))
        .await
        .unwrap();
    let read = async || {
        let object = api(&client, &gateways.manifest)
            .get(&gateways.manifest.name)
            .await
            .unwrap();
        crds::Existing::of(&serde_json::from_value(serde_json::to_value(object).unwrap()).unwrap())
    };
    let owner = crds::Owner::Named("somebody".to_owned());
    assert_eq!(
        crds::judge(gateways, Some(&read().await), None),
        crds::Verdict::Foreign { owner }
    );

    apply(&client, &gateways.manifest).await.unwrap();
    assert_eq!(
        crds::judge(gateways, Some(&read().await), None),
        crds::Verdict::Current
    );
}
