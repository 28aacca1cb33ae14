//! What becomes of nodes and of the data plane's pods while one revision follows another, seen by watches: the operator is
//! not asked.

mod seen;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use applink::names;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher::{self, Event, watcher};

pub use seen::{Life, Seen, Way};

use crate::stage::{self, eventually};

/// How long the first lists may take, on a machine that does much else.
const LISTED: Duration = Duration::from_secs(90);

/// Watches until it is dropped.
pub struct Trace {
    seen: Arc<Mutex<Seen>>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Trace {
    /// Begins, and returns when the first lists are complete.
    ///
    /// # Errors
    /// When they are not within a minute and a half.
    pub async fn start(client: &Client) -> Result<Self, stage::Error> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let client = || client.clone();
        let tasks = [
            tokio::spawn(pods(
                Api::namespaced(client(), names::SYSTEM_NAMESPACE),
                Arc::clone(&seen),
            )),
            tokio::spawn(nodes(Api::all(client()), Arc::clone(&seen))),
        ];
        let trace = Self { seen, tasks };
        eventually("the trace is complete", LISTED, || async {
            match lock(&trace.seen).lists() {
                lists if lists >= 2 => Ok(()),
                lists => Err(format!("{lists} of 2 lists")),
            }
        })
        .await?;
        Ok(trace)
    }

    /// What has been seen by now.
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// Somebody other than the operator disturbs this node: it is not judged any longer.
    pub fn excuse(&self, node: &str) {
        lock(&self.seen).excuse(node);
    }

    /// The node was disturbed by somebody else.
    pub fn is_excused(&self, node: &str) -> bool {
        lock(&self.seen).is_excused(node)
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
            Ok(Event::Init) => seen.pods_are_listed(),
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => seen.put(&pod),
            Ok(Event::Delete(pod)) => seen.end(&pod),
            Ok(Event::InitDone) => seen.pods_were_listed(),
            Err(_) => {}
        }
    }
}

async fn nodes(nodes: Api<Node>, seen: Arc<Mutex<Seen>>) {
    let mut events = watcher(nodes, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        let mut seen = lock(&seen);
        match event {
            Ok(Event::Init) => seen.nodes_are_listed(),
            Ok(Event::Apply(node) | Event::InitApply(node)) => seen.look(&node),
            Ok(Event::InitDone) => seen.nodes_were_listed(),
            Ok(Event::Delete(_)) | Err(_) => {}
        }
    }
}
