//! The operator killed before and after some thirty API writes of two upgrades and a rollback, spread over all their steps.
//! What stands at the end of the second and of the third is held against what stood before the first: the way there is judged by watches.

use std::time::Instant;

use e2e::images::broken::Broken;
use e2e::load::Load;
use e2e::progress::Progress;
use e2e::releases::give_broken;
use e2e::stage::Stage;
use e2e::sweep::{Course, Deaths, Phase, Standing, Sweep, inventory};
use serde_json::Value;

use crate::fixture::{MEMBER, cluster, left, on_stage, operator, remove_namespace};
use crate::input_fault::delete_all;
use crate::upgrades::overlap::{NODES, assert_flowed};
use crate::upgrades::watched::bearable;

const NAMESPACE: &str = "deaths-rollout";
/// How many writes must have seen both deaths.
const WRITES: usize = 30;

/// What stands; where something is expected, it is that.
async fn stands(stage: &Stage, expected: Option<&Standing>) -> Standing {
    let found = Standing::last(stage, &[NAMESPACE], expected).await.unwrap();
    let lines = expected.map(|expected| found.differences(expected));
    assert_eq!(lines.unwrap_or_default(), Vec::<String>::new());
    found
}

async fn prepared(stage: &Stage) -> Vec<Value> {
    give_broken(&mut cluster(), Progress::new()).unwrap();
    remove_namespace(stage, NAMESPACE).await;
    operator(stage).await;
    let all = ["delete", "meshreleases", "--all"];
    stage.cluster.kubectl(&all).unwrap();
    stage.apply(&Stage::release("1.6.0", &["Rapid"])).unwrap();
    left(stage).await;
    let mut releases = vec![Stage::release("1.6.0", &["Rapid"])];
    releases.push(stage.tagged_release("1.7.0", &[]).unwrap());
    let broken = stage.broken_release("1.7.1", &[], Broken::MuteProxy);
    releases.push(broken.unwrap());
    for release in &releases {
        stage.apply(release).unwrap();
    }
    releases
}

#[test]
fn an_operator_that_dies_in_every_step_of_a_rollout_ends_it_as_one_does_that_lives() {
    on_stage(|stage| async move {
        let releases = prepared(stage).await;
        let sweep = Sweep::start(stage, Deaths::none()).await.unwrap();
        let course = Course::new(stage, MEMBER, NAMESPACE).swift();
        course.install(&sweep).await.unwrap();
        course.enrol().await.unwrap();
        let amount = bearable();
        let load = Load::start(stage, NAMESPACE, &NODES, amount).await.unwrap();
        let old = stands(stage, None).await;
        let pods = load.pods().await.unwrap();
        let begun = load.told().await.unwrap();

        // There, back again, and to one that fails: after the last two there stands what stood before the first.
        let clock = Instant::now();
        let said = |what: &str, kills: usize| {
            eprintln!(
                "{:.0} s: {what}, {kills} deaths",
                clock.elapsed().as_secs_f64()
            );
        };
        for (to, expected) in [("1.7.0", None), ("1.6.0", Some(&old))] {
            sweep.aim(Deaths::next_shares);
            course.upgrade(&sweep, to).await.unwrap();
            stands(stage, expected).await;
            said(to, sweep.deaths().kills());
        }
        sweep.aim(Deaths::next_shares);
        let reason = course.rollback(&sweep, "1.7.1", "1.6.0").await.unwrap();
        said(&format!("1.7.1 and back: {reason}"), sweep.deaths().kills());
        stands(stage, Some(&old)).await;

        let figures = load.since(&begun).await.unwrap();
        let deaths = sweep.deaths();
        eprintln!(
            "{}\n{} writes saw both deaths; {figures}",
            deaths.table(),
            deaths.complete()
        );
        assert_eq!(course.broken(), Vec::<String>::new());
        let missed = deaths.steps_missed(&[Phase::Upgrade, Phase::Rollback]);
        let told_only = |(_, step): &(Phase, &str)| *step == "Status";
        assert!(missed.iter().all(told_only), "{missed:?}: {deaths:#?}");
        assert!(deaths.complete() >= WRITES, "{deaths:#?}");
        assert_flowed(&figures, amount);
        assert_eq!(figures.failed, 0, "{figures}: {:#?}", figures.failures);
        assert_eq!(figures.wrong, 0, "{figures}");
        assert_eq!(pods, load.pods().await.unwrap(), "nobody was put out");

        // Whoever was enrolled by the first agents talks on, plainly, when the last ones have let go.
        sweep.aim(Deaths::next_unharmed);
        course.leave(&sweep).await.unwrap();
        inventory::assert_nodes_clean(&stage.cluster).unwrap();
        course.ask().await.unwrap();
        sweep.end().unwrap();
        remove_namespace(stage, NAMESPACE).await;
        delete_all(stage, &releases);
    });
}
