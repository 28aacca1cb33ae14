//! Programs that are broken, under a release that runs: caught on the first node, and taken back.

use std::sync::Arc;
use std::time::Duration;

use e2e::caught::{Caught, Expected};
use e2e::churn::{Arrival, Churn};
use e2e::images::broken::Broken;
use e2e::load::{Amount, Load};
use e2e::progress::Progress;
use e2e::releases::give_broken;
use e2e::rollouts::{strict, watchful};
use e2e::stage::Stage;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{NODES, assert_in_time, assert_none_late, assert_unnoticed, came, longest};
use crate::fixture::{
    INSTALL, MEMBER, SOON, cluster, installed_with, left, on_stage, operator, remove_namespace,
};
use crate::told::{events, until_event, until_status};
use crate::upgrades::conditions::Conditions;

const NAMESPACE: &str = "broken";
/// How long it may take until what is broken is gone again.
const BACK: Duration = Duration::from_mins(3);

/// The one that is looked at where a gate that fails halts the rollout: somebody takes it back.
const HALTED: Broken = Broken::MuteProxy;
/// What is broken, and whether users may notice before it is caught.
const ROWS: [(Broken, bool); 5] = [
    (Broken::CrashingAgent, false),
    (Broken::MuteProxy, false),
    // One in ten connections to users fails: the operator's own go through. Before those that refuse: what these make fail
    // would be in the baseline of the proxy that stays.
    (Broken::FlakyProxy, true),
    (Broken::RefusingProxy, true),
    (Broken::GrowingProxy, true),
];

fn spec() -> Value {
    watchful("1.6", strict())
}

/// A mesh of a release that works, new, with every broken image at hand.
pub async fn fresh(stage: &Stage) {
    give_broken(&mut cluster(), Progress::new()).unwrap();
    remove_namespace(stage, NAMESPACE).await;
    operator(stage).await;
    // What failed at a member is not tried there again; whoever leaves needs programs that work.
    stage.apply(&Stage::release("1.6.0", &["Rapid"])).unwrap();
    left(stage).await;
    installed_with(stage, spec()).await;
}

/// The release that runs, with what is broken in it.
fn broken_release(broken: Broken) -> Value {
    let (component, reference) = broken.image();
    let (repository, tag) = reference.rsplit_once(':').unwrap();
    let mut release = Stage::release("1.6.0", &["Rapid"]);
    release["spec"]["images"][component] = json!({"repository": repository, "tag": tag});
    release
}

/// The release is broken; how that was noticed, once it is taken back.
pub async fn caught(stage: &Stage, broken: Broken) -> Caught {
    let caught = Caught::wait(stage, MEMBER, "1.6.0", &broken_release(broken), BACK).await;
    caught.unwrap()
}

/// The member, which goes back by itself, or stands still where a gate has failed.
fn member(on_failure: &str) -> Value {
    let mut spec = spec();
    spec["upgrade"]["strategy"]["onFailure"] = json!(on_failure);
    Stage::member(MEMBER, &spec)
}

/// Waits until the rollout stands still at its gate and says what can be done, or until it goes on.
async fn until_halted(stage: &Stage, halts: bool) {
    let what = if halts {
        "it stands still and says so"
    } else {
        "it goes on"
    };
    until_status(stage, what, BACK, |status| {
        let halted = status.rollout.as_ref()?.halted.as_ref();
        let is_halted = halted.is_some_and(|why| why.starts_with("gate Proxy"));
        let words = ["applink retry", "applink abort"];
        let is_told = status.conditions.iter().any(|one| {
            let told = words.iter().all(|word| one.message.contains(word));
            one.type_ == "UpToDate" && one.reason == "GateFailed" && told
        });
        ((is_halted, is_told) == (halts, halts)).then_some(())
    })
    .await;
}

/// The same under `onFailure: Pause`: it stands still, says so, and nobody goes back before somebody asks for it. Tried
/// again, it fails again.
async fn halted(stage: &Stage, broken: Broken) -> Caught {
    stage.apply(&member("Pause")).unwrap();
    let decide = async {
        until_halted(stage, true).await;
        let both = || {
            let arriving = stage.left_of("1.6.0").unwrap();
            let proxies = arriving.iter().filter(|name| name.contains("ztunnel-"));
            assert_eq!(proxies.count(), 2, "both are there: {arriving:?}");
        };
        both();
        stage.applink(&["retry", MEMBER]).unwrap();
        until_halted(stage, false).await;
        until_halted(stage, true).await;
        both();
        stage.applink(&["abort", MEMBER]).unwrap();
    };
    let (caught, ()) = tokio::join!(caught(stage, broken), decide);
    stage.apply(&member("Rollback")).unwrap();
    caught
}

/// Pods that come while a broken release is there and on the way back are in time. But for those of a node whose network agent
/// crashes: nobody can start there, and they wait until the one of before is back.
fn assert_pods_came(stage: &Stage, broken: Broken, caught: &Caught, arrivals: &[Arrival]) {
    if broken != Broken::CrashingAgent {
        assert_in_time(stage, NAMESPACE, &NODES, arrivals);
        return;
    }
    let touched = |one: &&Arrival| {
        let mut ways = caught.seen.ways.iter();
        ways.any(|(node, way)| way.is_touched() && one.pod.contains(node.as_str()))
    };
    let elsewhere: Vec<Arrival> = (arrivals.iter().filter(|one| !touched(one)).cloned()).collect();
    assert!(elsewhere.len() >= 2, "{arrivals:#?}");
    assert_none_late(stage, NAMESPACE, &elsewhere);
    let here: Vec<Arrival> = arrivals.iter().filter(touched).cloned().collect();
    assert!(!here.is_empty(), "{arrivals:#?}");
    let bound = (caught.back + SOON).as_secs_f64();
    assert!(longest(&here) < bound, "{bound} s: {here:#?}");
}

#[test]
fn what_is_broken_is_caught_on_the_first_node_and_taken_back() {
    on_stage(|stage| async move {
        fresh(stage).await;
        let load = Load::start(stage, NAMESPACE, &NODES, Amount::FULL)
            .await
            .unwrap();
        let load = Arc::new(load);
        for (broken, is_noticed) in ROWS {
            let pods = load.pods().await.unwrap();
            // Where users notice, new pods do as well.
            let churn =
                (!is_noticed).then(|| Churn::start(&stage.client, &load, NAMESPACE, &NODES));
            let since = Timestamp::now();
            let conditions = Conditions::start(stage.client.clone()).await;
            let before = load.told().await.unwrap();
            let caught = if broken == HALTED {
                halted(stage, broken).await
            } else {
                caught(stage, broken).await
            };
            let figures = load.since(&before).await.unwrap();
            eprintln!("{broken:?}: {caught}; {figures}");
            let differences = caught.differences(Expected::with_users(broken));
            assert_eq!(differences, [""; 0], "{broken:?}");
            if let Some(churn) = churn {
                let arrivals = churn.end().await.unwrap();
                eprintln!("{}", came(&arrivals));
                assert_unnoticed(&figures, &caught.seen);
                assert_pods_came(stage, broken, &caught, &arrivals);
                // On the canary no pod can start while its agent crashes, which is told.
                if broken != Broken::CrashingAgent {
                    conditions.assert_ready();
                }
            }
            until_event(stage, since, "ReleaseFailed", &["gate ", " on node "]).await;
            let failures = events(stage, since, "ReleaseFailed").await.unwrap();
            assert_eq!(failures.len(), 1, "{broken:?}: {failures:?}");
            // Whatever fails: nothing is damaged, nobody is put out, and it is never two nodes at once.
            assert_eq!(figures.wrong, 0, "{broken:?}: {figures}");
            assert_eq!(pods, load.pods().await.unwrap(), "{broken:?}");
            let (moving, lacking) = (caught.seen.most_moving, caught.seen.most_lacking);
            assert!(
                moving <= 1 && lacking <= 1,
                "{broken:?}: {moving} moved and {lacking} lacked something at once"
            );
            // What ran before is what is asked for again, and whoever asks is answered.
            stage.apply(&Stage::release("1.6.0", &["Rapid"])).unwrap();
            (stage
                .until_condition(MEMBER, "UpToDate", "True", INSTALL)
                .await)
                .unwrap();
            let before = load.told().await.unwrap();
            let after = load.since(&before).await.unwrap();
            assert_eq!(
                after.failed, 0,
                "{broken:?}: {after}: {:#?}",
                after.failures
            );
        }
        remove_namespace(stage, NAMESPACE).await;
        left(stage).await;
    });
}
