//! The operator killed before and after one API write in each step of install and of leave, from outside.

use e2e::stage;
use e2e::sweep::inventory;
use e2e::sweep::{Course, Deaths, Phase, Sweep};

use crate::fixture::{MEMBER, SOON, installed, left, on_stage, remove_namespace};

const NAMESPACE: &str = "deaths";
/// Stay when a member leaves; taken away, so that the step that applies them has something to write.
const DEFINITIONS: [&str; 2] = [
    "wasmplugins.extensions.istio.io",
    "telemetries.telemetry.istio.io",
];

#[test]
fn an_operator_that_dies_in_every_step_ends_where_one_does_that_lives() {
    on_stage(|stage| async move {
        installed(stage).await;
        let undisturbed = inventory::installed(stage).unwrap();
        left(stage).await;
        let bare = inventory::everything(stage, &[NAMESPACE]).unwrap();
        for name in DEFINITIONS {
            stage.cluster.kubectl(&["delete", "crd", name]).unwrap();
        }

        let sweep = Sweep::start(stage, Deaths::of_each_step()).await.unwrap();
        let course = Course::new(stage, MEMBER, NAMESPACE);
        course.install(&sweep).await.unwrap();
        let found = inventory::installed(stage).unwrap();
        let none = Vec::<String>::new();
        assert_eq!(inventory::differences(&undisturbed, &found), none);

        course.enrol().await.unwrap();
        course.leave(&sweep).await.unwrap();
        inventory::assert_nodes_clean(&stage.cluster).unwrap();
        let found = inventory::everything(stage, &[NAMESPACE]).unwrap();
        assert_eq!(inventory::differences(&bare, &found), none);
        // Those who were enrolled talk on, plainly, and new pods start.
        course.ask().await.unwrap();
        stage
            .apply(&stage::shop(NAMESPACE, "late", "node-2", None))
            .unwrap();
        stage
            .until_pods_ready(NAMESPACE, "app=late", SOON)
            .await
            .unwrap();

        let deaths = sweep.deaths();
        eprintln!("{}", deaths.table());
        assert_eq!(deaths.steps_missed(&[Phase::Install, Phase::Leave]), []);
        assert_eq!(course.broken(), none);
        sweep.end().unwrap();
        remove_namespace(stage, NAMESPACE).await;
    });
}
