//! One revision follows another on every node, the two proxies side by side, and traffic that notices everything notices
//! nothing until the drain is over.

pub mod broken;

use std::sync::Arc;
use std::time::Instant;

use applink::names;
use e2e::churn::{Arrival, Churn};
use e2e::load::{Amount, Figures, Load};
use e2e::rollouts::swift;
use e2e::stage::{self, Stage};
use e2e::trace::{Seen, Trace};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::fixture::{INSTALL, MEMBER, SOON, installed_with, on_stage, remove_namespace};
use crate::upgrades::conditions::Conditions;
use crate::upgrades::held::get;

const NAMESPACE: &str = "overlap";
pub const NODES: [&str; 2] = ["node-1", "node-2"];
/// How long connections may live on in a proxy that leaves.
const DRAIN: SignedDuration = SignedDuration::from_secs(5);
/// How much later than the drain ends what it cuts may be gone: a second of last words, and the kubelet that told it to go.
const LAST: SignedDuration = SignedDuration::from_millis(3_500);
/// Between what happens and when a watch tells of it.
const SLACK: SignedDuration = SignedDuration::from_millis(1_500);
/// The longest that a frame may wait for its answer, in milliseconds, since the load began.
const SLOWEST: u64 = 5_000;
/// Of how many pods in a rollout it may be said that the network agent's own watch was late.
const MOST_OVERTAKEN: usize = 2;
/// By when a new pod can be reached, in seconds, on a machine that starts half of them in [`USUAL`].
const SOON_ENOUGH: f64 = 10.0;
/// How long half of all pods take at most until they can be reached, in seconds, unless the machine is slow or busy.
const USUAL: f64 = 3.0;

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

/// No new connection failed, nothing was damaged, and what was cut was cut by a proxy when its drain was over.
pub fn assert_whole(figures: &Figures, seen: &Seen) {
    let first = figures.failures.iter().take(20).collect::<Vec<_>>();
    assert_eq!(figures.failed, 0, "{figures}: {first:#?} {seen:#?}");
    assert_eq!(figures.wrong, 0, "{figures}");
    assert!(figures.slowest < SLOWEST, "{figures}");
    for cut in &figures.cuts {
        let is_due = seen.proxies().any(|life| {
            let from = life.leaving.map(|at| at + DRAIN - SLACK);
            let until = life.leaving.map(|at| at + DRAIN + LAST);
            let gone = life.gone.map(|at| at + SLACK);
            from.is_some_and(|from| from <= cut.at)
                && until.is_some_and(|until| cut.at <= until)
                && gone.is_none_or(|gone| cut.at <= gone)
        });
        assert!(is_due, "not cut at the end of a drain: {cut:?} {seen:#?}");
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

/// Every pod ran and could be reached in time, several on each of these nodes.
pub fn assert_in_time(stage: &Stage, namespace: &str, nodes: &[&str], arrivals: &[Arrival]) {
    let on = |node: &str| arrivals.iter().filter(|one| one.pod.contains(node)).count();
    assert!(nodes.iter().all(|node| on(node) >= 2), "{arrivals:#?}");
    assert_none_late(stage, namespace, arrivals);
}

/// By when a pod can be reached, by how long the others take: a machine that is slow is so for all of them.
fn soon_enough(arrivals: &[Arrival]) -> f64 {
    let mut all: Vec<f64> = arrivals.iter().map(|one| one.reached).collect();
    all.sort_by(f64::total_cmp);
    let median = all.get(all.len() / 2).copied().unwrap_or_default();
    SOON_ENOUGH * (median / USUAL).max(1.0)
}

/// None of these pods was late.
pub fn assert_none_late(stage: &Stage, namespace: &str, arrivals: &[Arrival]) {
    let soon_enough = soon_enough(arrivals);
    eprintln!("pods have {soon_enough:.1} s");
    let overtaken = overtaken(stage, namespace);
    let is_overtaken = |pod: &str| {
        overtaken
            .lines()
            .any(|line| line.split(' ').next() == Some(pod))
    };
    let (excused, late): (Vec<&Arrival>, Vec<&Arrival>) = arrivals
        .iter()
        .filter(|one| one.reached > soon_enough)
        .partition(|one| is_overtaken(&one.pod));
    assert!(late.is_empty(), "late: {late:#?}");
    eprintln!(
        "{} pods were late by no upgrade: {overtaken}",
        excused.len()
    );
    assert!(excused.len() <= MOST_OVERTAKEN, "{excused:#?}");
}

/// Each node went the whole way once, lost one proxy and `agents` agents, and was never without a proxy.
pub fn assert_disturbed_once(seen: &Seen, agents: usize) {
    assert!(seen.silent.is_empty(), "without a proxy: {seen:#?}");
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

fn longest(arrivals: &[Arrival]) -> f64 {
    arrivals.iter().map(|one| one.reached).fold(0.0, f64::max)
}

/// How many pods came, and how soon, in words.
pub fn came(arrivals: &[Arrival]) -> String {
    format!(
        "{} pods came, the slowest could be reached after {:.1} s",
        arrivals.len(),
        longest(arrivals)
    )
}

/// Waits until there is one proxy revision, which runs by default, and no node names any.
async fn until_settled(stage: &Stage) {
    stage::eventually("one proxy revision runs by default", SOON, || async {
        let proxies = ["daemonsets", "-n", "applink-system", "-l", "app=ztunnel"];
        let sets = get(stage, &proxies);
        let count = sets["items"].as_array().map_or(0, Vec::len);
        let affinity = sets["items"][0]["spec"]["template"]["spec"]["affinity"].to_string();
        let nodes = get(stage, &["nodes", "-l", names::NODE_ZTUNNEL_LABEL]);
        let labelled = nodes["items"].as_array().map_or(0, Vec::len);
        if (count, labelled) == (1, 0) && !affinity.contains(names::NODE_ZTUNNEL_LABEL) {
            Ok(())
        } else {
            Err(format!(
                "{count} revisions, {labelled} nodes with a label: {affinity}"
            ))
        }
    })
    .await
    .unwrap();
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
            // It is written in whole seconds.
            let since = Timestamp::now() - SignedDuration::from_secs(1);
            let trace = Trace::start(&stage.client).await.unwrap();
            let conditions = Conditions::start(stage.client.clone()).await;
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
                "{} in {took:.1} s; {figures}; {}",
                if agents == 0 {
                    "proxies moved"
                } else {
                    "proxies and agents moved"
                },
                came(&arrivals),
            );
            assert_unnoticed(&figures, &seen);
            assert_in_time(stage, NAMESPACE, &NODES, &arrivals);
            assert_disturbed_once(&seen, agents);
            assert_eq!(pods, load.pods().await.unwrap(), "nobody was put out");
            // The mesh serves all the while, and says that it is not yet what was asked for.
            conditions.assert_ready();
            let told = conditions.of("UpToDate");
            assert!(told.contains("False Progressing"), "{told:?}");
            let member = stage.read_member(MEMBER).await.unwrap();
            let newest = member.status.unwrap().history.into_iter().next().unwrap();
            let is_new = newest.started.as_ref().is_some_and(|at| at.0 >= since);
            assert!(is_new && newest.result == "Succeeded", "{newest:?}");
            until_settled(stage).await;
        }
        remove_namespace(stage, NAMESPACE).await;
    });
}
