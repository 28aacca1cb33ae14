//! From one release to the next and back from a bad one, under traffic that notices everything. The releases are one
//! upstream version under test labels, with images of their own by name.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use applink::api::v1alpha1::MeshMember;
use e2e::caught::{Caught, Expected};
use e2e::churn::Churn;
use e2e::images::broken::Broken;
use e2e::load::{Amount, Load};
use e2e::progress::Progress;
use e2e::releases::give_broken;
use e2e::rollouts::strict;
use e2e::stage::{self, Stage};
use e2e::trace::Trace;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fixture::{MEMBER, PATIENT, cluster, left, on_stage, operator, remove_namespace};
use crate::input_fault::delete_all;
use crate::running::data_plane;
use crate::told::{events, until_event};
use crate::upgrades::conditions::Conditions;
use crate::upgrades::held::get;
use crate::upgrades::overlap::{
    NODES, assert_disturbed_once, assert_in_time, assert_unnoticed, came,
};

const NAMESPACE: &str = "upgrade";
/// How long a whole upgrade may take on two nodes; the aim is a minute, on a machine that does nothing else.
pub const UPGRADE: Duration = Duration::from_mins(3);

/// A member that stays on what it names.
pub fn pinned(version: &str) -> Value {
    json!({"upgrade": {"version": version, "strategy": strict()}})
}

fn follows(channel: &str) -> Value {
    json!({"upgrade": {
        "mode": "FullyManaged", "releaseChannel": channel, "strategy": strict(),
    }})
}

pub fn release(stage: &Stage, version: &str, channels: &[&str]) -> Value {
    let release = stage.tagged_release(version, channels).unwrap();
    stage.apply(&release).unwrap();
    release
}

pub async fn until_runs(stage: &Stage, version: &str) -> MeshMember {
    (stage.until_runs(MEMBER, version, UPGRADE).await).unwrap()
}

/// Does what makes a member move, and holds what was seen until `version` runs against what must hold: by whom it was moved and
/// from where, too.
async fn move_to(
    stage: &'static Stage,
    load: &Arc<Load>,
    (version, from, by): (&str, &str, &str),
    change: &Value,
) -> BTreeSet<String> {
    let since = Timestamp::now();
    let trace = Trace::start(&stage.client).await.unwrap();
    let pods = load.pods().await.unwrap();
    let churn = Churn::start(&stage.client, load, NAMESPACE, &NODES);
    let before = load.told().await.unwrap();
    let clock = Instant::now();
    stage.apply(change).unwrap();
    let member = until_runs(stage, version).await;
    let took = clock.elapsed().as_secs_f64();
    let figures = load.since(&before).await.unwrap();
    let arrivals = churn.end().await.unwrap();
    let seen = trace.seen();
    eprintln!(
        "to {version} in {took:.1} s; {figures}; {}",
        came(&arrivals)
    );
    for one in arrivals.iter().filter(|one| one.reached > 5.0) {
        eprintln!("{one:?}");
    }
    for slow in &figures.slow {
        eprintln!("slow: {} on {}: {}", slow.at, slow.node, slow.why);
    }
    assert_unnoticed(&figures, &seen);
    assert_in_time(stage, NAMESPACE, &NODES, &arrivals);
    assert_disturbed_once(&seen, 1);
    assert_eq!(pods, load.pods().await.unwrap(), "nobody was put out");
    let newest = member.status.unwrap().history.into_iter().next();
    let newest = newest.unwrap();
    let told = (newest.from.as_deref(), newest.initiated_by.as_deref());
    assert_eq!(newest.to, version, "{newest:?}");
    assert_eq!(told, (Some(from), Some(by)), "{newest:?}");
    assert_images(stage, version);
    for wave in [1, 2] {
        let words = format!("wave {wave} of the rollout to {version}");
        until_event(stage, since, "Wave", &[&words]).await;
    }
    let waves = events(stage, since, "Wave").await.unwrap();
    assert_eq!(waves.len(), NODES.len(), "{waves:?}");
    let touched = seen.ways.into_iter().filter(|(_, way)| way.is_touched());
    touched.map(|(node, _)| node).collect()
}

/// Every pod of the data plane runs that release's programs, by the names of its images.
fn assert_images(stage: &Stage, version: &str) {
    let list = get(stage, &["pods", "-n", "applink-system"]);
    let pods = list["items"].as_array().into_iter().flatten();
    let images: Vec<(&str, &str)> = pods
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .flat_map(|pod| {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
            containers.map(move |one| (name, one["image"].as_str().unwrap_or_default()))
        })
        .collect();
    for component in ["ztunnel-", "istio-cni-node-", "istiod-"] {
        let is_there = images.iter().any(|(name, _)| name.starts_with(component));
        assert!(is_there, "{component}: {images:?}");
    }
    let is_stranger = |(_, image): &&(&str, &str)| !image.ends_with(&format!(":{version}"));
    let strangers: Vec<_> = images.iter().filter(is_stranger).collect();
    assert!(strangers.is_empty(), "not of {version}: {strangers:?}");
}

/// What `applink plan` tells of the member: to which release it goes, and its nodes by wave.
fn planned(stage: &Stage) -> (String, Vec<Vec<String>>) {
    let text = stage.applink(&["plan", MEMBER, "-o", "json"]).unwrap();
    let plan: Value = serde_json::from_str(&text).unwrap();
    let waves = serde_json::from_value(plan[0]["waves"].clone());
    let to = plan[0]["to"].as_str().unwrap_or_default().to_owned();
    (to, waves.unwrap_or_else(|_| panic!("{text}")))
}

/// Nothing of a release is left in the data plane.
pub fn assert_retired(stage: &Stage, version: &str) {
    assert_eq!(stage.left_of(version).unwrap(), [""; 0]);
}

/// The operator, no member, and one release, which the nodes have; what earlier runs left is gone.
pub async fn bare(stage: &Stage) -> Vec<Value> {
    remove_namespace(stage, NAMESPACE).await;
    operator(stage).await;
    // Before anybody leaves: whoever does needs programs that work.
    let all = ["delete", "meshreleases", "--all"];
    stage.cluster.kubectl(&all).unwrap();
    let first = release(stage, "1.6.0", &[]);
    left(stage).await;
    vec![first]
}

pub async fn over(stage: &Stage, releases: &[Value]) {
    remove_namespace(stage, NAMESPACE).await;
    left(stage).await;
    delete_all(stage, releases);
}

#[test]
fn a_pin_and_a_channel_move_and_nobody_notices() {
    on_stage(|stage| async move {
        let mut releases = bare(stage).await;
        releases.push(release(stage, "1.7.0", &["Rapid"]));
        stage.apply(&Stage::member(MEMBER, &pinned("1.6"))).unwrap();
        until_runs(stage, "1.6.0").await;
        let load = Arc::new(
            Load::start(stage, NAMESPACE, &NODES, Amount::FULL)
                .await
                .unwrap(),
        );

        // Paused it says what would come, and nothing comes.
        let pin = Stage::member(MEMBER, &pinned("1.7"));
        stage.applink(&["pause", MEMBER]).unwrap();
        stage.apply(&pin).unwrap();
        (stage
            .until_condition(MEMBER, "UpToDate", "False", UPGRADE)
            .await)
            .unwrap();
        let (to, waves) = planned(stage);
        assert_eq!((to.as_str(), waves.len()), ("1.7.0", 2), "{waves:?}");
        stage.applink(&["resume", MEMBER]).unwrap();
        let touched = move_to(stage, &load, ("1.7.0", "1.6.0", "Spec"), &pin).await;
        assert_eq!(
            waves.into_iter().flatten().collect::<BTreeSet<_>>(),
            touched
        );
        assert_retired(stage, "1.6.0");
        // Another mode, and the same release: nothing moves. Then the channel does.
        stage
            .apply(&Stage::member(MEMBER, &follows("Rapid")))
            .unwrap();
        until_runs(stage, "1.7.0").await;
        let next = stage.tagged_release("1.8.0", &["Rapid"]).unwrap();
        releases.push(next.clone());
        move_to(stage, &load, ("1.8.0", "1.7.0", "Channel"), &next).await;
        assert_retired(stage, "1.7.0");

        over(stage, &releases).await;
    });
}

/// Somebody says that a release is to be tried again, and it is.
async fn retried(stage: &Stage, version: &str) {
    stage.applink(&["retry", MEMBER]).unwrap();
    stage::eventually("it is tried again", PATIENT, || async {
        let member = stage.read_member(MEMBER).await;
        let status = member.map_err(|error| error.to_string())?.status;
        let status = status.unwrap_or_default();
        let to = status
            .rollout
            .as_ref()
            .and_then(|rollout| rollout.to.as_deref());
        if to == Some(version) && status.failed_releases.is_empty() {
            Ok(())
        } else {
            Err(format!("{:?} {:?}", status.rollout, status.failed_releases))
        }
    })
    .await
    .unwrap();
}

/// What must be seen before any node is touched.
const ROWS: [Broken; 3] = [
    Broken::MissingImage,
    Broken::CrashingPilot,
    Broken::UnsigningPilot,
];

#[test]
fn a_release_whose_images_or_control_plane_are_broken_touches_no_node() {
    on_stage(|stage| async move {
        give_broken(&mut cluster(), Progress::new()).unwrap();
        let mut releases = bare(stage).await;
        let good = Stage::member(MEMBER, &pinned("1.6.0"));
        stage.apply(&good).unwrap();
        until_runs(stage, "1.6.0").await;
        let load = Load::start(stage, NAMESPACE, &NODES, Amount::FULL);
        let load = Arc::new(load.await.unwrap());
        let users = load.pods().await.unwrap();
        let pods = data_plane(stage);
        for (number, broken) in ROWS.into_iter().enumerate() {
            let version = format!("1.7.{number}");
            let release = stage.broken_release(&version, &[], broken).unwrap();
            stage.apply(&release).unwrap();
            releases.push(release);
            let since = Timestamp::now();
            let conditions = Conditions::start(stage.client.clone()).await;
            let churn = Churn::start(&stage.client, &load, NAMESPACE, &NODES);
            let before = load.told().await.unwrap();
            let bad = Stage::member(MEMBER, &pinned(&version));
            let caught = Caught::wait(stage, MEMBER, &version, &bad, UPGRADE).await;
            let caught = caught.unwrap();
            let figures = load.since(&before).await.unwrap();
            let arrivals = churn.end().await.unwrap();
            eprintln!("{broken:?}: {caught}; {figures}; {}", came(&arrivals));
            let differences = caught.differences(Expected::with_users(broken));
            assert_eq!(differences, [""; 0], "{broken:?}");
            assert_eq!(figures.cut, 0, "{broken:?}: {figures}");
            assert_unnoticed(&figures, &caught.seen);
            assert_in_time(stage, NAMESPACE, &NODES, &arrivals);
            conditions.assert_ready();
            until_event(
                stage,
                since,
                "ReleaseFailed",
                &["1.6.0 runs again", "gate "],
            )
            .await;
            let failures = events(stage, since, "ReleaseFailed").await.unwrap();
            assert_eq!(failures.len(), 1, "{failures:?}");
            if number == 0 {
                retried(stage, &version).await;
            }
            stage.apply(&good).unwrap();
            until_runs(stage, "1.6.0").await;
            assert_retired(stage, &version);
        }
        assert_eq!(pods, data_plane(stage), "nothing that runs was touched");
        assert_eq!(users, load.pods().await.unwrap(), "nobody was put out");
        over(stage, &releases).await;
    });
}
