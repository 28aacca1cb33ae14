//! Definitions of Istio taken away under a running mesh.

use std::time::Instant;

use e2e::stage;
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams};

use crate::fixture::{INSTALL, on_stage, remove_namespace};
use crate::running::{data_plane, talking_shop, talks};
use crate::told::{until_event, until_healed};

#[test]
fn definitions_that_somebody_removes_are_back_within_seconds_and_an_event_says_so() {
    on_stage(|stage| async move {
        let namespace = "defined";
        talking_shop(stage, namespace).await;
        let (since, before) = (Timestamp::now(), data_plane(stage));
        let definitions: Api<CustomResourceDefinition> = Api::all(stage.client.clone());
        for name in [
            "authorizationpolicies.security.istio.io",
            "sidecars.networking.istio.io",
        ] {
            let old = definitions.get(name).await.unwrap().metadata.uid;
            definitions
                .delete(name, &DeleteParams::default())
                .await
                .unwrap();
            let clock = Instant::now();
            stage::eventually(&format!("{name} is served again"), INSTALL, || async {
                let found = definitions
                    .get_opt(name)
                    .await
                    .map_err(|error| error.to_string())?
                    .filter(|found| found.metadata.uid != old)
                    .ok_or("it is the old one, or none")?;
                let conditions = found.status.unwrap_or_default().conditions;
                let served = conditions
                    .iter()
                    .flatten()
                    .any(|held| held.type_ == "Established" && held.status == "True");
                served
                    .then_some(())
                    .ok_or_else(|| format!("{conditions:?}"))
            })
            .await
            .unwrap();
            let seconds = clock.elapsed().as_secs_f64();
            eprintln!("{name} is served again after {seconds:.1} s");
            // They are put back in the pass that misses them, too soon for a condition to tell.
            until_event(
                stage,
                since,
                "CustomResources",
                &[
                    name,
                    "put back",
                    "objects of that kind went with it: apply them again",
                ],
            )
            .await;
        }
        talks(stage, namespace, "web").await;
        assert_eq!(data_plane(stage), before, "nobody was disturbed");
        until_healed(stage).await;
        remove_namespace(stage, namespace).await;
    });
}
