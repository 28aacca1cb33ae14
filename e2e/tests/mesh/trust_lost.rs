//! An authority deleted or replaced under a running mesh.

use std::collections::BTreeMap;

use applink::api::v1alpha1::ApplicationNetwork;
use applink::trust::{Authority, Intermediate};
use e2e::stage::{self, Stage};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::fixture::{MEMBER, SOON, on_stage, remove_namespace};
use crate::input_rows::event;
use crate::running::{data_plane, talking_shop, talks};
use crate::told::{until_event, until_healed, until_stalled};

type Data = BTreeMap<String, ByteString>;

/// An authority's Secret.
struct Held {
    api: Api<Secret>,
    secret: Secret,
    /// Namespace and name.
    place: String,
}

impl Held {
    async fn of(stage: &Stage, namespace: &str, name: &str) -> Self {
        let api: Api<Secret> = Api::namespaced(stage.client.clone(), namespace);
        let mut secret = api.get(name).await.unwrap();
        secret.metadata.resource_version = None;
        secret.metadata.uid = None;
        secret.metadata.managed_fields = None;
        Self {
            api,
            secret,
            place: format!("{namespace}/{name}"),
        }
    }

    fn name(&self) -> &str {
        self.secret.metadata.name.as_deref().unwrap()
    }

    async fn now(&self) -> Option<Data> {
        let found = self.api.get_opt(self.name()).await.unwrap();
        found.map(|found| found.data.unwrap())
    }

    async fn delete(&self) {
        let parameters = DeleteParams::default();
        self.api.delete(self.name(), &parameters).await.unwrap();
    }

    async fn write(&self, data: &Data) {
        let patch = Patch::Merge(json!({"data": data}));
        let parameters = PatchParams::default();
        self.api
            .patch(self.name(), &parameters, &patch)
            .await
            .unwrap();
    }

    /// As from a backup.
    async fn restore(&self) {
        if self.now().await.is_some() {
            self.write(self.secret.data.as_ref().unwrap()).await;
        } else {
            let parameters = PostParams::default();
            self.api.create(&parameters, &self.secret).await.unwrap();
        }
    }
}

fn bytes(data: BTreeMap<String, Vec<u8>>) -> Data {
    data.into_iter()
        .map(|(key, value)| (key, ByteString(value)))
        .collect()
}

/// The fingerprint that status records of an authority.
async fn recorded(stage: &Stage, what: &str) -> String {
    let status = stage.read_member(MEMBER).await.unwrap().status.unwrap();
    let mut certificates = status.certificates.into_iter();
    certificates
        .find(|certificate| certificate.what == what)
        .unwrap()
        .fingerprint
}

/// The uid of the network, whose root it is.
async fn network(stage: &Stage) -> String {
    let networks: Api<ApplicationNetwork> = Api::all(stage.client.clone());
    networks.get("default").await.unwrap().uid().unwrap()
}

#[test]
fn an_authority_that_is_deleted_or_replaced_is_never_made_anew_and_heals_when_it_is_restored() {
    on_stage(|stage| async move {
        let namespace = "trusting";
        talking_shop(stage, namespace).await;
        until_healed(stage).await;
        let before = data_plane(stage);
        let now = Timestamp::now();
        let root = Authority::mint("default", now).unwrap();
        let pair = Intermediate::mint(MEMBER, &root, now).unwrap();
        for (what, place, foreign) in [
            (
                "intermediate",
                ("applink-system", "cacerts"),
                bytes(pair.secret_data()),
            ),
            (
                "root",
                ("applink-operator", "applink-root-default"),
                bytes(root.secret_data()),
            ),
        ] {
            let held = Held::of(stage, place.0, place.1).await;
            let fingerprint = recorded(stage, what).await;
            let words = [what, &held.place, &fingerprint, "restore"];

            let since = Timestamp::now();
            held.delete().await;
            until_stalled(stage, "RootMissing", &words).await;
            until_event(stage, since, "RootMissing", &words).await;
            if what == "root" {
                let network = network(stage).await;
                event(stage, "default", &network, "RootMissing", &words).await;
            }
            talks(stage, namespace, "web").await;
            assert_eq!(held.now().await, None, "it is not made anew");
            held.restore().await;
            until_healed(stage).await;

            let since = Timestamp::now();
            held.write(&foreign).await;
            until_stalled(stage, "RootMissing", &words).await;
            until_event(stage, since, "RootMissing", &words).await;
            talks(stage, namespace, "web").await;
            assert_eq!(held.now().await, Some(foreign), "it is not written over");
            held.restore().await;
            until_healed(stage).await;
            assert_eq!(recorded(stage, what).await, fingerprint);
        }
        stage::eventually("the control plane serves", SOON, || async {
            let found = data_plane(stage);
            (found == before).then_some(()).ok_or(found)
        })
        .await
        .unwrap();
        remove_namespace(stage, namespace).await;
    });
}
