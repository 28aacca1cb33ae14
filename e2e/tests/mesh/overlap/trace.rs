//! What becomes of nodes and of the data plane's pods while one revision follows another, seen by watches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use e2e::stage::{self, Stage};
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::watcher::{self, Event, watcher};

use crate::fixture::PATIENT;

/// Which proxies a node carries; one value of it names the revision.
const LABEL: &str = "applink.dev/ztunnel";
/// Keeps new pods away while a node's agent is replaced.
const TAINT: &str = "applink.dev/moving";

/// One pod of the data plane, by what was seen of it.
#[derive(Clone, Debug)]
pub struct Life {
    pub node: String,
    pub is_proxy: bool,
    pub restarts: i32,
    /// When it was seen to be told to end.
    pub leaving: Option<Timestamp>,
    /// When it was seen to be gone.
    pub gone: Option<Timestamp>,
}

/// What was seen of a node.
#[derive(Clone, Debug, Default)]
pub struct Way {
    /// Every value of its label, in order; absent is empty.
    pub labels: Vec<String>,
    /// How often it was tainted.
    pub tainted: usize,
    is_tainted: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub ways: BTreeMap<String, Way>,
    /// By uid.
    pub lives: BTreeMap<String, Life>,
    synced: usize,
}

impl Seen {
    pub fn proxies(&self) -> impl Iterator<Item = &Life> {
        self.lives.values().filter(|life| life.is_proxy)
    }

    /// What ended on a node: agents or proxies.
    pub fn ended(&self, node: &str, proxies: bool) -> usize {
        (self.lives.values())
            .filter(|life| life.node == node && life.is_proxy == proxies && life.gone.is_some())
            .count()
    }

    fn put(&mut self, pod: &Pod) {
        let labels = pod.labels();
        let is_proxy = labels.get("app").is_some_and(|app| app == "ztunnel");
        let is_agent = (labels.get("k8s-app")).is_some_and(|app| app == "istio-cni-node");
        let (Some(node), Some(uid), true) = (
            pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            pod.uid(),
            is_proxy || is_agent,
        ) else {
            return;
        };
        let life = self.lives.entry(uid).or_insert_with(|| Life {
            node,
            is_proxy,
            restarts: 0,
            leaving: None,
            gone: None,
        });
        let statuses = (pod.status.iter()).flat_map(|one| one.container_statuses.iter().flatten());
        life.restarts = statuses.map(|one| one.restart_count).sum();
        if pod.metadata.deletion_timestamp.is_some() {
            life.leaving.get_or_insert_with(Timestamp::now);
        }
    }

    fn end(&mut self, pod: &Pod) {
        self.put(pod);
        if let Some(life) = pod.uid().and_then(|uid| self.lives.get_mut(&uid)) {
            let now = Timestamp::now();
            life.leaving.get_or_insert(now);
            life.gone = Some(now);
        }
    }

    fn look(&mut self, node: &Node) {
        let way = self.ways.entry(node.name_any()).or_default();
        let label = node.labels().get(LABEL).cloned().unwrap_or_default();
        if way.labels.last() != Some(&label) {
            way.labels.push(label);
        }
        let spec = node.spec.as_ref();
        let taints = spec.and_then(|spec| spec.taints.as_deref());
        let is_tainted = taints.is_some_and(|all| all.iter().any(|one| one.key == TAINT));
        if is_tainted && !way.is_tainted {
            way.tainted += 1;
        }
        way.is_tainted = is_tainted;
    }
}

impl Way {
    /// Something was done to it.
    pub fn is_touched(&self) -> bool {
        self.labels.len() > 1 || self.tainted > 0
    }
}

/// Watches until it is ended.
pub struct Trace {
    seen: Arc<Mutex<Seen>>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Trace {
    /// Begins, and returns when the first lists are complete.
    pub async fn start(stage: &Stage) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let client = || stage.client.clone();
        let tasks = [
            tokio::spawn(pods(
                Api::namespaced(client(), "applink-system"),
                Arc::clone(&seen),
            )),
            tokio::spawn(nodes(Api::all(client()), Arc::clone(&seen))),
        ];
        let trace = Self { seen, tasks };
        stage::eventually("the trace is complete", PATIENT, || async {
            match lock(&trace.seen).synced {
                2 => Ok(()),
                synced => Err(format!("{synced} of 2 lists")),
            }
        })
        .await
        .unwrap();
        trace
    }

    /// What has been seen by now.
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn pods(pods: Api<Pod>, seen: Arc<Mutex<Seen>>) {
    let mut events = watcher(pods, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        let mut seen = lock(&seen);
        // An API server that is away is asked again.
        match event {
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => seen.put(&pod),
            Ok(Event::Delete(pod)) => seen.end(&pod),
            Ok(Event::InitDone) => seen.synced += 1,
            Ok(Event::Init) | Err(_) => {}
        }
    }
}

async fn nodes(nodes: Api<Node>, seen: Arc<Mutex<Seen>>) {
    let mut events = watcher(nodes, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        let mut seen = lock(&seen);
        match event {
            Ok(Event::Apply(node) | Event::InitApply(node)) => seen.look(&node),
            Ok(Event::InitDone) => seen.synced += 1,
            Ok(Event::Init | Event::Delete(_)) | Err(_) => {}
        }
    }
}
