//! What becomes of nodes and of their proxies while a release arrives, seen by watches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Client, ResourceExt as _};

/// Which proxies a node carries; absent while nothing moves there.
const LABEL: &str = "applink.dev/ztunnel";
/// Between what happens and when a watch tells of it.
const SLACK: SignedDuration = SignedDuration::from_millis(1_500);

#[derive(Debug, Default)]
struct Seen {
    /// When each proxy was told to go, by uid.
    told: BTreeMap<String, Timestamp>,
    /// Nodes on which something moved.
    touched: BTreeSet<String>,
}

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Observed {
    seen: Arc<Mutex<Seen>>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

impl Observed {
    /// Begins.
    pub fn start(client: &Client) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let pods = Api::namespaced(client.clone(), "applink-system");
        let nodes = Api::all(client.clone());
        let tasks = [
            tokio::spawn(proxies(pods, Arc::clone(&seen))),
            tokio::spawn(labels(nodes, Arc::clone(&seen))),
        ];
        Self { seen, tasks }
    }

    /// The nodes on which something has moved since the beginning.
    pub fn touched(&self) -> Vec<String> {
        lock(&self.seen).touched.iter().cloned().collect()
    }

    /// How long before `moment` a proxy was last told to go; none when nobody had been told by then.
    pub fn since_told(&self, moment: Timestamp) -> Option<SignedDuration> {
        let seen = lock(&self.seen);
        let ages = seen.told.values().map(|told| moment.duration_since(*told));
        let age = ages.filter(|age| *age > -SLACK).min()?;
        Some(age.max(SignedDuration::ZERO))
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Whether `age` is what a drain of `drain` explains, as exactly as a watch can tell.
pub fn is_drained(age: Option<SignedDuration>, drain: SignedDuration) -> bool {
    age.is_some_and(|age| age >= drain - SLACK)
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn proxies(pods: Api<Pod>, seen: Arc<Mutex<Seen>>) {
    let config = Config::default().labels("app=ztunnel");
    let mut events = watcher(pods, config).default_backoff().boxed();
    while let Some(event) = events.next().await {
        let pod = match event {
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => pod,
            Ok(Event::Delete(_) | Event::Init | Event::InitDone) | Err(_) => continue,
        };
        if pod.metadata.deletion_timestamp.is_some()
            && let Some(uid) = pod.uid()
        {
            let told = &mut lock(&seen).told;
            told.entry(uid).or_insert_with(Timestamp::now);
        }
    }
}

async fn labels(nodes: Api<PartialObjectMeta<Node>>, seen: Arc<Mutex<Seen>>) {
    let mut events = watcher(nodes, Config::default()).default_backoff().boxed();
    while let Some(event) = events.next().await {
        if let Ok(Event::Apply(node) | Event::InitApply(node)) = event
            && node.labels().contains_key(LABEL)
        {
            lock(&seen).touched.insert(node.name_any());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_proxy_that_was_told_early_enough_explains_a_cut() {
        let drain = SignedDuration::from_secs(5);
        let seconds = |seconds| Some(SignedDuration::from_secs(seconds));
        assert!(is_drained(seconds(5), drain) && is_drained(seconds(9), drain));
        assert!(!is_drained(seconds(3), drain) && !is_drained(None, drain));
    }

    #[tokio::test]
    async fn the_last_one_that_was_told_counts() {
        let told = ["a", "b"].into_iter().zip([100, 200]);
        let told = told.map(|(uid, at)| (uid.to_owned(), Timestamp::from_second(at).unwrap()));
        let seen = Seen {
            told: told.collect(),
            touched: BTreeSet::new(),
        };
        let observed = Observed {
            seen: Arc::new(Mutex::new(seen)),
            tasks: [tokio::spawn(async {}), tokio::spawn(async {})],
        };
        let since = |at| observed.since_told(Timestamp::from_second(at).unwrap());
        assert_eq!(since(205), Some(SignedDuration::from_secs(5)));
        assert_eq!(since(106), Some(SignedDuration::from_secs(6)));
        assert_eq!(since(90), None);
    }
}
