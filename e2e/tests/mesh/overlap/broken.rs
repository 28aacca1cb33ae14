//! Programs that are broken, under a release that runs: caught on the first node, and taken back.

use std::time::{Duration, Instant};

use e2e::images::broken::Broken;
use e2e::load::{Amount, Load};
use e2e::progress::Progress;
use e2e::releases::give_broken;
use e2e::rollouts::strict;
use e2e::stage::{self, Stage};
use e2e::trace::Trace;
use serde_json::{Value, json};

use super::{NODES, assert_unnoticed};
use crate::fixture::{
    INSTALL, MEMBER, cluster, installed_with, left, on_stage, operator, remove_namespace,
};

const NAMESPACE: &str = "broken";
/// How long it may take until what is broken is gone again.
const BACK: Duration = Duration::from_mins(3);

/// What is broken, at which gate that must be seen, and whether users may notice before.
const ROWS: [(Broken, &str, bool); 5] = [
    (Broken::CrashingAgent, "gate Agent", false),
    (Broken::MuteProxy, "gate Proxy", false),
    // One in ten connections to users fails: the operator's own go through. Before those that refuse: what these make fail
    // would be in the baseline of the proxy that stays.
    (Broken::FlakyProxy, "gate Failures", true),
    (Broken::RefusingProxy, "has no certificate", true),
    (Broken::GrowingProxy, "gate ", true),
];

fn spec() -> Value {
    let mut strategy = strict();
    // What grows has to be watched for a while, and to meet a limit.
    strategy["canary"]["soak"] = json!("15s");
    let resources = json!({"limits": {"memory": "160Mi"}});
    json!({
        "upgrade": {"version": "1.6", "strategy": strategy},
        "dataPlane": {"ztunnel": {"resources": resources}},
    })
}

/// A mesh of a release that works, new, with every broken image at hand.
async fn fresh(stage: &Stage) {
    give_broken(&mut cluster(), Progress::new()).unwrap();
    remove_namespace(stage, NAMESPACE).await;
    operator(stage).await;
    // What failed at a member is not tried there again; whoever leaves needs programs that work.
    stage.apply(&Stage::release("1.6.0", &["Rapid"])).unwrap();
    left(stage).await;
    installed_with(stage, spec()).await;
}

/// Puts what is broken into the release that runs.
fn break_release(stage: &Stage, broken: Broken) {
    let (component, reference) = broken.image();
    let (repository, tag) = reference.rsplit_once(':').unwrap();
    let mut release = Stage::release("1.6.0", &["Rapid"]);
    release["spec"]["images"][component] = json!({"repository": repository, "tag": tag});
    stage.apply(&release).unwrap();
}

#[test]
fn a_proxy_that_refuses_connections_is_caught_where_nobody_uses_the_mesh() {
    on_stage(|stage| async move {
        fresh(stage).await;
        let status = stage.read_member(MEMBER).await.unwrap().status.unwrap();
        let membership = status.membership.unwrap();
        assert_eq!((membership.namespaces, membership.enrolled), (0, 0));
        let trace = Trace::start(stage).await.unwrap();
        let clock = Instant::now();
        break_release(stage, Broken::RefusingProxy);
        let reason = stage.until_taken_back(MEMBER, "1.6.0", BACK).await.unwrap();
        let took = clock.elapsed().as_secs_f64();
        let seen = trace.seen();
        let touched = seen.ways.values().filter(|way| way.is_touched()).count();
        eprintln!("taken back after {took:.1} s, {touched} nodes touched: {reason}");
        // The probe's own pod has no certificate, or its connections fail: whichever is seen first for long enough.
        assert!(
            reason.contains("gate Probe") || reason.contains("applink-probe"),
            "{reason}"
        );
        assert_eq!(touched, 1, "{seen:#?}");
        stage.apply(&Stage::release("1.6.0", &["Rapid"])).unwrap();
        (stage
            .until_condition(MEMBER, "UpToDate", "True", INSTALL)
            .await)
            .unwrap();
        stage::eventually("nothing of the probe is left", INSTALL, || async {
            let list = ["get", "pods", "-n", "applink-probe", "-o", "name"];
            match stage.cluster.kubectl(&list) {
                Ok(left) if left.trim().is_empty() => Ok(()),
                Ok(left) => Err(left),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
        .unwrap();
        left(stage).await;
    });
}

#[test]
fn what_is_broken_is_caught_on_the_first_node_and_taken_back() {
    on_stage(|stage| async move {
        fresh(stage).await;
        let load = Load::start(stage, NAMESPACE, &NODES, Amount::FULL)
            .await
            .unwrap();
        for (broken, gate, is_noticed) in ROWS {
            let trace = Trace::start(stage).await.unwrap();
            let before = load.told().await.unwrap();
            let clock = Instant::now();
            break_release(stage, broken);
            let reason = stage.until_taken_back(MEMBER, "1.6.0", BACK).await.unwrap();
            let took = clock.elapsed().as_secs_f64();
            let figures = load.since(&before).await.unwrap();
            let seen = trace.seen();
            let touched: Vec<_> = seen
                .ways
                .iter()
                .filter(|(_, way)| way.is_touched())
                .collect();
            eprintln!(
                "{broken:?}: taken back after {took:.1} s, {} nodes touched: {reason}; {figures}",
                touched.len()
            );
            assert!(reason.contains(gate), "{broken:?}: {reason}");
            assert_eq!(touched.len(), 1, "{broken:?}: {seen:#?}");
            if !is_noticed {
                assert_unnoticed(&figures, &seen);
            }
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
