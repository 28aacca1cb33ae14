//! A thousand simulated nodes: install, and one upgrade in waves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use applink::api::v1alpha1::MeshMember;
use applink::cli::manifests;
use applink::names;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::{Value, json};

use super::figure::{Figure, Report, count, megabytes};
use super::operator::Operator;
use super::requests::{by_kind, by_node, by_time, idle, is_peer, is_work, is_write, settle};
use super::{Error, MEMBER, OPERATOR};
use crate::cluster::nodes::is_ready;
use crate::progress::Progress;
use crate::simulated::{Simulated, objects};
use crate::stage::{Stage, eventually};
use crate::trace::Trace;
use crate::{audit, built, command};

/// What runs first, and what follows.
const RELEASES: [&str; 2] = ["1.6.0", "1.6.1"];
/// Enrolled pods on each node.
const WORKLOADS: u8 = 2;
/// Longest wait for anything short; what takes longer is broken rather than slow.
const PATIENCE: Duration = Duration::from_mins(3);
/// How many objects are written at a time while the cluster is filled.
const AT_ONCE: usize = 16;

/// What the upgrade is asked to do.
const CANARY: usize = 1;
const BATCH_PERCENT: usize = 10;
const DRAIN: Duration = Duration::from_secs(5);

/// Bytes that a status may have: names of a few nodes, conditions, a history.
const STATUS: f64 = 16_384.0;

/// From how many nodes on what an upgrade writes once for all of them is little beside what it writes for each.
const MANY: u16 = 500;

/// Measures on that many nodes, each watched for so long.
///
/// # Errors
/// When the cluster does not come up, or the member does not come to what is asked for.
pub async fn run(nodes: u16, soak: Duration, progress: Progress) -> Result<Report, Error> {
    let program = built::program("simulated-operator", "SIMULATED_OPERATOR_BIN")?;
    let cluster = Simulated::start(OPERATOR, progress).await?;
    progress.say(format!("logs are in {}", cluster.folder().display()));
    fill(&cluster, nodes, progress).await?;
    let operator = Operator::start(&cluster, &program)?;
    let client = &cluster.client;
    let statuses = Statuses::watch(client);
    let trace = Trace::start(client).await?;
    let log = cluster.audit_log();

    let clock = Instant::now();
    for release in RELEASES {
        cluster.apply(&objects::release(release)).await?;
    }
    cluster.apply(&objects::root_certificate()).await?;
    let spec = json!({"upgrade": {"version": RELEASES[0], "strategy": strategy(soak)}});
    cluster.apply(&Stage::member(MEMBER, &spec)).await?;
    let patience = PATIENCE + Duration::from_millis(600) * u32::from(nodes);
    until_runs(client, RELEASES[0], patience).await?;
    let install = clock.elapsed();
    progress.say(format!("installed in {:.1} s", install.as_secs_f64()));
    settle(&log, PATIENCE).await?;
    let installed = operator.process.memory()?;
    let cpu_before = operator.process.cpu()?;
    let passes_before = operator.passes().await?;
    let since = Timestamp::now();

    let asked = asked_for(usize::from(nodes), soak);
    progress.say(format!(
        "the upgrade begins; soaks and drains alone take {} s",
        asked.as_secs()
    ));
    let clock = Instant::now();
    let move_on = json!({"spec": {"upgrade": {"version": RELEASES[1]}}});
    let api: Api<MeshMember> = Api::all(client.clone());
    api.patch(MEMBER, &PatchParams::default(), &Patch::Merge(&move_on))
        .await
        .map_err(refused("move the member on"))?;
    until_runs(client, RELEASES[1], asked * 3 + patience).await?;
    let upgrade = clock.elapsed();
    progress.say(format!("upgraded in {:.1} s", upgrade.as_secs_f64()));
    settle(&log, PATIENCE).await?;
    until_settled(client, nodes).await?;
    let seen = trace.seen();
    drop(trace);
    let (memory, cpu) = (operator.process.memory()?, operator.process.cpu()?);
    let cpu = cpu.saturating_sub(cpu_before);
    let passes = operator.passes().await? - passes_before;
    let reads = operator.stop().await?;

    let entries: Vec<audit::Entry> = audit::entries(&log, OPERATOR)?
        .into_iter()
        .filter(|entry| entry.at > since && is_work_or_lease(entry))
        .collect();
    let idle_writes = idle(&entries);
    let work: Vec<audit::Entry> = entries.iter().filter(|one| is_work(one)).cloned().collect();
    let writes = work.iter().filter(|entry| is_write(entry)).count();
    let peers = work
        .iter()
        .filter(|one| is_write(one) && is_peer(one))
        .count();
    let about = by_node(&work);
    let busiest = about.iter().max_by_key(|(_, count)| **count);
    let most = busiest.map_or(0, |(_, count)| *count);
    let seconds = |time: Duration| time.as_secs_f64();
    let beside = upgrade.saturating_sub(asked);
    let figure = Figure::new;
    let batch = count(batch(usize::from(nodes)));
    let mut told = vec![
        (
            "beside the figures",
            vec![
                format!(
                    "{:>8.1} s    install until Ready and UpToDate",
                    seconds(install)
                ),
                format!("{:>8.1} s    upgrade", seconds(upgrade)),
                format!(
                    "{:>8.1} MB   RSS after the install",
                    megabytes(installed.rss)
                ),
                format!("{:>8.1} MB   RSS after the upgrade", megabytes(memory.rss)),
                format!("{:>8.1} MB   PSS after the upgrade", megabytes(memory.pss)),
                format!("{:>8.1} s    CPU of the upgrade", seconds(cpu)),
                format!(
                    "{passes:>8}      passes, {:.1} ms of CPU each, with everything between them",
                    1000.0 * seconds(cpu) / passes.max(1.0)
                ),
                format!("{:>8}      nodes written about", about.len()),
                format!("{peers:>8}      writes about peers of the probe"),
                format!("{:>8}      statuses seen", statuses.seen()),
                format!(
                    "{:>8}      questions answered, by {} reads",
                    reads.questions, reads.all
                ),
            ],
        ),
        ("requests of the upgrade", by_kind(&work)),
    ];
    if let Some((node, _)) = busiest {
        let title = "writes about the node with the most";
        told.push((title, by_time(&work, node)));
    }
    if !seen.broken.is_empty() {
        let first = seen.broken.iter().take(10).cloned();
        told.push((
            "what was seen that must never be, the first",
            first.collect(),
        ));
    }
    if !idle_writes.is_empty() {
        let first = idle_writes.iter().take(10).map(ToString::to_string);
        told.push(("writes that changed nothing, the first", first.collect()));
    }
    let mut figures = vec![
        figure("RSS at its peak", megabytes(memory.peak), 80.0, "MB", 1),
        figure("writes about one node, most", f64::from(most), 8.0, "", 0),
        figure(
            "reads for one gate, most",
            f64::from(reads.most),
            6.0,
            "",
            0,
        ),
        figure(
            "writes that changed nothing",
            count(idle_writes.len()),
            0.0,
            "",
            0,
        ),
        figure(
            "nodes in flight at once",
            count(seen.most_moving),
            batch,
            "",
            0,
        ),
        figure(
            "a batch of nodes, less those in flight",
            batch - count(seen.most_moving),
            0.0,
            "",
            0,
        ),
        figure(
            "nodes lacking a component at once",
            count(seen.most_lacking),
            batch,
            "",
            0,
        ),
        figure(
            "what was seen that must never be",
            count(seen.broken.len()),
            0.0,
            "",
            0,
        ),
        figure("status, largest", count(statuses.largest()), STATUS, "B", 0),
        figure(
            "upgrade beside the soaks asked for",
            seconds(beside),
            seconds(asked),
            "s",
            1,
        ),
    ];
    let per_node = count(writes) / f64::from(nodes);
    if nodes >= MANY {
        let all = figure("writes of the upgrade per node", per_node, 8.0, "", 2);
        figures.insert(1, all);
    }
    Ok(Report {
        title: format!("{nodes} simulated nodes: install, and one upgrade in waves"),
        figures,
        notes: told,
    })
}

/// The Lease's renewals say how far versions had come.
fn is_work_or_lease(entry: &audit::Entry) -> bool {
    entry.verb != "watch"
}

fn strategy(soak: Duration) -> Value {
    let soak = format!("{}s", soak.as_secs());
    json!({
        "canary": {"type": "Count", "count": CANARY, "soak": soak},
        "batch": {"size": format!("{BATCH_PERCENT}%"), "soak": soak},
        "drain": {"timeout": format!("{}s", DRAIN.as_secs())},
    })
}

/// How many nodes a batch may take, of so many.
fn batch(nodes: usize) -> usize {
    (nodes * BATCH_PERCENT).div_ceil(100).max(1)
}

/// How long the waves are to be watched: the canary, then batches, each once its connections have had their time.
fn asked_for(nodes: usize, soak: Duration) -> Duration {
    let waves = 1 + nodes.saturating_sub(CANARY).div_ceil(batch(nodes));
    (soak + DRAIN) * u32::try_from(waves).unwrap_or(u32::MAX)
}

fn refused(doing: &str) -> impl FnOnce(kube::Error) -> Error {
    let doing = doing.to_owned();
    move |error| Error::Api {
        doing,
        source: Box::new(error),
    }
}

/// The operator's objects, nodes, and workloads that run on each of them.
async fn fill(cluster: &Simulated, nodes: u16, progress: Progress) -> Result<(), Error> {
    let choice = manifests::Choice::default();
    for mut object in manifests::objects(&choice).map_err(Error::Manifests)? {
        if object["kind"] == "Deployment" {
            // It runs here, not in a pod that only says so.
            object["spec"]["replicas"] = json!(0);
        }
        let what = format!("{} {}", object["kind"], object["metadata"]["name"]);
        eventually(&what, PATIENCE, || async {
            cluster
                .apply(&object)
                .await
                .map_err(|error| command::chain(&error))
        })
        .await?;
    }
    let api: Api<Node> = Api::all(cluster.client.clone());
    stream::iter(0..nodes)
        .map(|number| {
            let api = api.clone();
            async move {
                let node = serde_json::from_value(objects::node(number))
                    .map_err(kube::Error::SerdeError)?;
                api.create(&PostParams::default(), &node).await.map(drop)
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await
        .map_err(refused("create nodes"))?;
    let patience = PATIENCE + Duration::from_millis(300) * u32::from(nodes);
    // A pod on a node that kwok does not know yet may be passed over.
    eventually("every node is Ready", patience, || async {
        let list = api.list(&ListParams::default()).await;
        let list = list.map_err(|error| error.to_string())?;
        let ready = list.iter().filter(|node| is_ready(node)).count();
        (ready == usize::from(nodes))
            .then_some(())
            .ok_or_else(|| format!("{ready} of {nodes}"))
    })
    .await?;
    for object in objects::workloads(WORKLOADS) {
        cluster.apply(&object).await?;
    }
    let sets: Api<DaemonSet> = Api::namespaced(cluster.client.clone(), objects::SHOP);
    eventually("workloads run on every node", patience, || async {
        let list = sets.list(&ListParams::default()).await;
        let list = list.map_err(|error| error.to_string())?;
        let ready: Vec<i32> = list
            .iter()
            .map(|set| set.status.as_ref().map_or(0, |status| status.number_ready))
            .collect();
        let is_there = ready.len() == usize::from(WORKLOADS)
            && ready.iter().all(|ready| *ready == i32::from(nodes));
        is_there
            .then_some(())
            .ok_or_else(|| format!("{ready:?} of {nodes}"))
    })
    .await?;
    progress.say(format!("{nodes} nodes are Ready, workloads run on them"));
    Ok(())
}

/// Waits until a version runs everywhere and nothing is left to do.
async fn until_runs(client: &Client, version: &str, within: Duration) -> Result<(), Error> {
    let api: Api<MeshMember> = Api::all(client.clone());
    eventually(&format!("{version} runs"), within, || async {
        let found = api.get(MEMBER).await.map_err(|error| error.to_string())?;
        let status = found.status.unwrap_or_default();
        let current = status.version.as_ref().and_then(|one| one.current.clone());
        let holds = |condition: &str| {
            (status.conditions.iter()).any(|one| {
                one.type_ == condition
                    && one.status == "True"
                    && one.observed_generation == found.metadata.generation
            })
        };
        if current.as_deref() == Some(version) && holds("UpToDate") && holds("Ready") {
            return Ok(());
        }
        Err(format!(
            "{current:?}: {:?} {:#?}",
            status.rollout, status.conditions
        ))
    })
    .await?;
    Ok(())
}

/// Nothing of the upgrade is left on nodes, and each runs one proxy of the newest release.
async fn until_settled(client: &Client, nodes: u16) -> Result<(), Error> {
    let api: Api<Node> = Api::all(client.clone());
    let pods: Api<Pod> = Api::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
    let params = ListParams::default().labels(&format!("app={}", names::ZTUNNEL));
    let revision = format!("{}-", RELEASES[1].replace('.', "-"));
    eventually("every node is settled", PATIENCE, || async {
        let marked = ListParams::default().labels(names::NODE_ZTUNNEL_LABEL);
        let marked = api.list_metadata(&marked).await;
        let marked = marked.map_err(|error| error.to_string())?.items.len();
        let proxies = pods.list_metadata(&params).await;
        let proxies = proxies.map_err(|error| error.to_string())?.items;
        let labels = proxies.iter().flat_map(|pod| &pod.metadata.labels);
        let moved = labels
            .filter_map(|labels| labels.get(names::REVISION_LABEL))
            .filter(|one| one.starts_with(&revision))
            .count();
        let all = proxies.len();
        if marked == 0 && all == usize::from(nodes) && moved == all {
            return Ok(());
        }
        Err(format!(
            "{marked} nodes carry a label, {moved} of {all} proxies are of {}",
            RELEASES[1]
        ))
    })
    .await?;
    Ok(())
}

/// The member's statuses as they were written.
struct Statuses {
    seen: Arc<(AtomicUsize, AtomicUsize)>,
    task: tokio::task::JoinHandle<()>,
}

impl Statuses {
    fn watch(client: &Client) -> Self {
        let seen = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let api: Api<MeshMember> = Api::all(client.clone());
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut events = watcher(api, watcher::Config::default()).boxed();
            while let Some(event) = events.next().await {
                let Ok(Event::Apply(member) | Event::InitApply(member)) = event else {
                    continue;
                };
                let size = serde_json::to_vec(&member.status).map_or(0, |text| text.len());
                shared.0.fetch_max(size, Ordering::Relaxed);
                shared.1.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { seen, task }
    }

    /// Bytes of JSON.
    fn largest(&self) -> usize {
        self.seen.0.load(Ordering::Relaxed)
    }

    fn seen(&self) -> usize {
        self.seen.1.load(Ordering::Relaxed)
    }
}

impl Drop for Statuses {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_the_canary_and_as_many_batches_as_the_rest_takes() {
        let soak = Duration::from_secs(30);
        let waves = |count| (soak + DRAIN) * count;
        assert_eq!(asked_for(1000, soak), waves(11));
        assert_eq!(asked_for(1001, soak), waves(11));
        assert_eq!(asked_for(3, soak), waves(3));
    }
}
