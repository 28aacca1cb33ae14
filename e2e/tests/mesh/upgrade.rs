//! From one release to the next and back from a bad one, under traffic that notices everything. The releases are one
//! upstream version under test labels, with images of their own by name.

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
use e2e::stage::Stage;
use e2e::trace::Trace;
use serde_json::{Value, json};

use crate::fixture::{MEMBER, cluster, left, on_stage, operator, remove_namespace};
use crate::input_fault::delete;
use crate::overlap::{NODES, assert_disturbed_once, assert_in_time, assert_unnoticed, longest};
use crate::running::data_plane;

const NAMESPACE: &str = "upgrade";
/// How long a whole upgrade may take on two nodes; the aim is a minute, on a machine that does nothing else.
const UPGRADE: Duration = Duration::from_mins(3);

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

/// Does what makes a member move, and holds what was seen until `version` runs against what must hold.
async fn move_to(stage: &'static Stage, load: &Arc<Load>, version: &str, change: &Value) {
    let trace = Trace::start(stage).await.unwrap();
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
        "to {version} in {took:.1} s; {figures}; {} pods came, the slowest could be reached after {:.1} s",
        arrivals.len(),
        longest(&arrivals),
    );
    for one in arrivals.iter().filter(|one| one.reached > 5.0) {
        eprintln!("{one:?}");
    }
    for slow in &figures.slow {
        eprintln!("slow: {} on {}: {}", slow.at, slow.node, slow.why);
    }
    assert_unnoticed(&figures, &seen);
    assert_in_time(stage, NAMESPACE, &arrivals);
    assert_disturbed_once(&seen, 1);
    assert_eq!(pods, load.pods().await.unwrap(), "nobody was put out");
    let newest = member.status.unwrap().history.into_iter().next();
    let newest = newest.unwrap();
    assert_eq!(newest.to.as_str(), version, "{newest:?}");
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
    for release in releases {
        delete(stage, release);
    }
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

        let pin = Stage::member(MEMBER, &pinned("1.7"));
        move_to(stage, &load, "1.7.0", &pin).await;
        assert_retired(stage, "1.6.0");
        // Another mode, and the same release: nothing moves. Then the channel does.
        stage
            .apply(&Stage::member(MEMBER, &follows("Rapid")))
            .unwrap();
        until_runs(stage, "1.7.0").await;
        let next = stage.tagged_release("1.8.0", &["Rapid"]).unwrap();
        releases.push(next.clone());
        move_to(stage, &load, "1.8.0", &next).await;
        assert_retired(stage, "1.7.0");

        over(stage, &releases).await;
    });
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
        let load = (Load::start(stage, NAMESPACE, &NODES, Amount::FULL).await).unwrap();
        let pods = data_plane(stage);
        for (number, broken) in ROWS.into_iter().enumerate() {
            let version = format!("1.7.{number}");
            let release = stage.broken_release(&version, &[], broken).unwrap();
            stage.apply(&release).unwrap();
            releases.push(release);
            let before = load.told().await.unwrap();
            let bad = Stage::member(MEMBER, &pinned(&version));
            let caught = Caught::wait(stage, MEMBER, &version, &bad, UPGRADE).await;
            let caught = caught.unwrap();
            let figures = load.since(&before).await.unwrap();
            eprintln!("{broken:?}: {caught}; {figures}");
            let differences = caught.differences(Expected::with_users(broken));
            assert_eq!(differences, [""; 0], "{broken:?}");
            assert_eq!(figures.cut, 0, "{broken:?}: {figures}");
            assert_unnoticed(&figures, &caught.seen);
            stage.apply(&good).unwrap();
            until_runs(stage, "1.6.0").await;
            assert_retired(stage, &version);
        }
        assert_eq!(pods, data_plane(stage), "nothing that runs was touched");
        over(stage, &releases).await;
    });
}
