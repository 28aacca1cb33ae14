//! One revision follows another on every node, the two proxies side by side, and traffic that notices everything notices
//! nothing until the drain is over.

mod broken;

use std::sync::Arc;
use std::time::Instant;

use e2e::churn::{Arrival, Churn};
use e2e::load::{Amount, Figures, Load};
use e2e::rollouts::swift;
use e2e::stage::Stage;
use e2e::trace::{Seen, Trace};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::fixture::{INSTALL, MEMBER, installed_with, on_stage, remove_namespace};

const NAMESPACE: &str = "overlap";
pub const NODES: [&str; 2] = ["node-1", "node-2"];
/// How long connections may live on in a proxy that leaves.
const DRAIN: SignedDuration = SignedDuration::from_secs(5);
/// Between what happens and when a watch tells of it.
const SLACK: SignedDuration = SignedDuration::from_millis(1_500);
/// The longest that a frame may wait for its answer, in milliseconds, since the load began.
const SLOWEST: u64 = 5_000;
/// Of how many pods in a rollout it may be said that the network agent's own watch was late.
const MOST_OVERTAKEN: usize = 2;
/// By when a new pod can be reached, in seconds.
const SOON_ENOUGH: f64 = 10.0;

fn spec(data_plane: &Value) -> Value {
    json!({"upgrade": {"version": "1.6", "strategy": swift()}, "dataPlane": data_plane})
}

async fn apply_and_follow(stage: &Stage, spec: &Value) {
    stage.apply(&Stage::member(MEMBER, spec)).unwrap();
    for status in ["False", "True"] {
        (stage
            .until_condition(MEMBER, "UpToDate", status, INSTALL)
            .await)
            .unwrap();
    }
}

/// There was as much traffic as an upgrade must bear, and nobody noticed anything.
pub fn assert_unnoticed(figures: &Figures, seen: &Seen) {
    assert!(figures.seconds > 4.0, "too short to tell: {figures}");
    assert_flowed(figures, Amount::FULL);
    assert_whole(figures, seen);
}

/// New connections and frames of kept ones were at least half of what was asked for: this machine does much else.
pub fn assert_flowed(figures: &Figures, amount: Amount) {
    let number = |count: u64| f64::from(u32::try_from(count).unwrap());
    let half = |rate: usize| figures.seconds * number(rate as u64) / 2.0;
    assert!(number(figures.tried) > half(amount.fresh), "{figures}");
    // Ten frames a second each.
    let least = half(10 * amount.kept);
    assert!(number(figures.frames) > least, "{figures}");
}

/// No new connection failed, nothing was damaged, and what was cut was cut by a proxy whose drain was over.
pub fn assert_whole(figures: &Figures, seen: &Seen) {
    let first = figures.failures.iter().take(20).collect::<Vec<_>>();
    assert_eq!(figures.failed, 0, "{figures}: {first:#?} {seen:#?}");
    assert_eq!(figures.wrong, 0, "{figures}");
    assert!(figures.slowest < SLOWEST, "{figures}");
    for cut in &figures.cuts {
        let is_due = seen.proxies().any(|life| {
            let from = life.leaving.map(|at| at + DRAIN - SLACK);
            let until = life.gone.map(|at| at + SLACK);
            from.is_some_and(|from| from <= cut.at) && until.is_none_or(|until| cut.at <= until)
        });
        assert!(is_due, "cut before the drain was over: {cut:?} {seen:#?}");
    }
    // What the outside watch saw, with traffic as without.
    assert!(seen.broken.is_empty(), "{:?}", seen.broken);
    assert!(seen.most_moving <= 1, "{} at a time", seen.most_moving);
    assert!(seen.most_lacking <= 1, "{} at a time", seen.most_lacking);
}

/// Pods whose sandbox the network agent refused because its own watch had not told it of them yet. On a busy machine that
/// happens without any upgrade, and the kubelet tries again a quarter of a minute later.
fn overtaken(stage: &Stage, namespace: &str) -> String {
    let list = ["get", "events", "-n", namespace, "-o"];
    let columns = "jsonpath={range .items[*]}{.involvedObject.name} {.message}{\"\\n\"}{end}";
    let all = stage
        .cluster
        .kubectl(&[&list[..], &[columns]].concat())
        .unwrap();
    let refused = all
        .lines()
        .filter(|line| line.contains("failed to find pod"));
    refused.collect::<Vec<_>>().join("\n")
}

/// Every pod ran and could be reached in time.
pub fn assert_in_time(stage: &Stage, namespace: &str, arrivals: &[Arrival]) {
    let on = |node: &str| arrivals.iter().filter(|one| one.pod.contains(node)).count();
    assert!(NODES.iter().all(|node| on(node) >= 2), "{arrivals:#?}");
    assert_none_late(stage, namespace, arrivals);
}

/// None of these pods was late.
pub fn assert_none_late(stage: &Stage, namespace: &str, arrivals: &[Arrival]) {
    let overtaken = overtaken(stage, namespace);
    let is_overtaken = |pod: &str| {
        overtaken
            .lines()
            .any(|line| line.split(' ').next() == Some(pod))
    };
    let (excused, late): (Vec<&Arrival>, Vec<&Arrival>) = arrivals
        .iter()
        .filter(|one| one.reached > SOON_ENOUGH)
        .partition(|one| is_overtaken(&one.pod));
    assert!(late.is_empty(), "late: {late:#?}");
    eprintln!(
        "{} pods were late by no upgrade: {overtaken}",
        excused.len()
    );
    assert!(excused.len() <= MOST_OVERTAKEN, "{excused:#?}");
}

/// Each node went the whole way once, and lost each of its components at most once.
pub fn assert_disturbed_once(seen: &Seen, agents: usize) {
    for node in NODES {
        let way = &seen.ways[node];
        let is_once = match &way.labels[..] {
            [first, moving, moved, last] => {
                first.is_empty() && last.is_empty() && *moving == format!("{moved}.moving")
            }
            _ => false,
        };
        assert!(is_once, "{node}: {way:?}");
        assert_eq!(seen.ended(node, true), 1, "{node}: {seen:#?}");
        assert_eq!(seen.ended(node, false), agents, "{node}: {seen:#?}");
        assert_eq!(way.tainted, agents, "{node}: {way:?}");
    }
    assert!(
        seen.lives.values().all(|life| life.restarts == 0),
        "{seen:#?}"
    );
}

pub fn longest(arrivals: &[Arrival]) -> f64 {
    arrivals.iter().map(|one| one.reached).fold(0.0, f64::max)
}

#[test]
fn nobody_notices_how_one_revision_follows_another() {
    on_stage(|stage| async move {
        let settled = json!({"upgrade": {"version": "1.6", "strategy": swift()}});
        installed_with(stage, settled).await;
        remove_namespace(stage, NAMESPACE).await;
        let load = Arc::new(
            Load::start(stage, NAMESPACE, &NODES, Amount::FULL)
                .await
                .unwrap(),
        );
        // The proxy alone, then the agent as well.
        let proxy = json!({"resources": {"requests": {"cpu": "21m", "memory": "48Mi"}}});
        let agent = json!({"logLevel": "Debug"});
        for (agents, data_plane) in [(0, json!({"ztunnel": proxy})), (1, json!({"cni": agent}))] {
            let trace = Trace::start(&stage.client).await.unwrap();
            let pods = load.pods().await.unwrap();
            let churn = Churn::start(&stage.client, &load, NAMESPACE, &NODES);
            let before = load.told().await.unwrap();
            let clock = Instant::now();
            apply_and_follow(stage, &spec(&data_plane)).await;
            let took = clock.elapsed().as_secs_f64();
            let figures = load.since(&before).await.unwrap();
            let arrivals = churn.end().await.unwrap();
            let seen = trace.seen();
            eprintln!(
                "{} in {took:.1} s; {figures}; {} pods came, the slowest could be reached after {:.1} s",
                if agents == 0 {
                    "proxies moved"
                } else {
                    "proxies and agents moved"
                },
                arrivals.len(),
                longest(&arrivals),
            );
            assert_unnoticed(&figures, &seen);
            assert_in_time(stage, NAMESPACE, &arrivals);
            assert_disturbed_once(&seen, agents);
            assert_eq!(pods, load.pods().await.unwrap(), "nobody was put out");
        }
        remove_namespace(stage, NAMESPACE).await;
    });
}
