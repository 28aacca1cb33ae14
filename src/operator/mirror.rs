//! A watch whose objects are kept as facts: projected when they arrive, so that nothing else of them stays in memory, and
//! waking the loop only when a fact changed. A node's heartbeat changes no fact.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tracing::{debug, warn};

use crate::facts::NamespaceFact;
use crate::facts::{Denied, Live, Node};

/// What is kept of an object.
pub trait Fact: PartialEq + Send + Sync + 'static {
    /// Nothing that a decision reads differs.
    fn is_same(&self, other: &Self) -> bool {
        self == other
    }
    /// The version it was seen in, where writes depend on it; a lower one never replaces a higher one.
    fn version(&self) -> u64 {
        0
    }
}

impl Fact for Live {
    fn is_same(&self, other: &Self) -> bool {
        self.uid == other.uid
            && self.deleting == other.deleting
            && self.digest == other.digest
            && self.body.get("status") == other.body.get("status")
    }
    fn version(&self) -> u64 {
        version(&self.resource_version)
    }
}

impl Fact for Node {
    fn is_same(&self, other: &Self) -> bool {
        let of = |node: &Self| Self {
            resource_version: String::new(),
            ..node.clone()
        };
        of(self) == of(other)
    }
}

impl Fact for NamespaceFact {
    fn is_same(&self, other: &Self) -> bool {
        self.labels == other.labels && self.deleting == other.deleting && self.uid == other.uid
    }
}

/// Resource versions are numbers that grow, as the API says since Kubernetes 1.35 and servers did before; what is not one
/// counts as 0, which is never newer.
pub fn version(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

/// Facts by key.
#[derive(Debug)]
pub struct Mirror<Key, V> {
    map: Mutex<BTreeMap<Key, Arc<V>>>,
    synced: AtomicBool,
    tried: AtomicBool,
    denied: Mutex<Option<Denied>>,
}

impl<Key: Ord + Clone + Send + 'static, V: Fact> Mirror<Key, V> {
    /// A mirror of nothing yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            map: Mutex::new(BTreeMap::new()),
            synced: AtomicBool::new(false),
            tried: AtomicBool::new(false),
            denied: Mutex::new(None),
        })
    }

    /// Everything, as of now.
    pub fn all(&self) -> BTreeMap<Key, Arc<V>> {
        lock(&self.map).clone()
    }

    /// One fact, as of now.
    pub fn get(&self, key: &Key) -> Option<Arc<V>> {
        lock(&self.map).get(key).cloned()
    }

    /// The first list is complete, or refused.
    pub fn is_synced(&self) -> bool {
        self.has_listed() || lock(&self.denied).is_some()
    }

    /// The first list is complete: what is not here is not there.
    pub fn has_listed(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    /// The first list is complete, or could not be had; it is tried again then.
    pub fn was_tried(&self) -> bool {
        self.tried.load(Ordering::Acquire)
    }

    /// Why nothing is seen.
    pub fn denied(&self) -> Option<Denied> {
        lock(&self.denied).clone()
    }

    /// Takes a fact that came by another way, as the answer to a write. Returns whether it changed anything.
    pub fn put(&self, key: Key, value: V) -> bool {
        take(&mut lock(&self.map), key, value)
    }

    /// Takes the answer to a write about something that may end: what has gone meanwhile does not come back. Returns whether
    /// it changed anything.
    pub fn amend(&self, key: &Key, value: V) -> bool {
        let mut map = lock(&self.map);
        map.contains_key(key) && take(&mut map, key.clone(), value)
    }

    /// Forgets a fact.
    pub fn remove(&self, key: &Key) -> bool {
        lock(&self.map).remove(key).is_some()
    }

    fn replace(&self, new: BTreeMap<Key, Arc<V>>) -> bool {
        let mut map = lock(&self.map);
        let same = map.len() == new.len()
            && map
                .iter()
                .zip(&new)
                .all(|((a, x), (b, y))| a == b && x.is_same(y));
        *map = new;
        !same
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is watched, for messages.
#[derive(Clone, Debug)]
pub struct Place {
    /// The resource with its group: `daemonsets.apps`.
    pub resource: String,
    /// The namespace; empty for the whole cluster.
    pub namespace: String,
}

/// Watches for ever, into the mirror. Errors are retried with growing delays; a refusal is kept for people to see.
pub async fn follow<K, Key, V>(
    api: Api<K>,
    config: watcher::Config,
    place: Place,
    mirror: Arc<Mirror<Key, V>>,
    wake: Arc<Notify>,
    project: impl Fn(K) -> Option<(Key, V)> + Send,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    Key: Ord + Clone + Send + 'static,
    V: Fact,
{
    let mut stream = watcher::watcher(api, config).default_backoff().boxed();
    let mut fresh: Option<BTreeMap<Key, Arc<V>>> = None;
    while let Some(event) = stream.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                refused(&error, &place, &mirror, &wake);
                if !mirror.tried.swap(true, Ordering::AcqRel) {
                    wake.notify_one();
                }
                continue;
            }
        };
        let changed = match event {
            Event::Init => {
                fresh = Some(BTreeMap::new());
                false
            }
            Event::InitApply(object) => {
                if let (Some(fresh), Some((key, value))) = (&mut fresh, project(object)) {
                    fresh.insert(key, Arc::new(value));
                }
                false
            }
            Event::InitDone => {
                *lock(&mirror.denied) = None;
                let changed = mirror.replace(fresh.take().unwrap_or_default());
                mirror.tried.store(true, Ordering::Release);
                let first = !mirror.synced.swap(true, Ordering::AcqRel);
                changed || first
            }
            Event::Apply(object) => match project(object) {
                Some((key, value)) => mirror.put(key, value),
                None => false,
            },
            Event::Delete(object) => project(object).is_some_and(|(key, _)| mirror.remove(&key)),
        };
        if changed {
            debug!(resource = %place.resource, "facts changed");
            wake.notify_one();
        }
    }
}

fn refused<Key, V>(error: &watcher::Error, place: &Place, mirror: &Mirror<Key, V>, wake: &Notify) {
    let (verb, status) = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => ("list", Some(status)),
        watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => ("watch", Some(status)),
        _ => ("watch", None),
    };
    if status.is_some_and(|status| status.code == 403) {
        let denied = Denied {
            verb: verb.to_owned(),
            resource: place.resource.clone(),
            namespace: place.namespace.clone(),
        };
        if lock(&mirror.denied).replace(denied).is_none() {
            wake.notify_one();
        }
    }
    if status.is_some_and(|status| status.code == 410) {
        debug!(resource = %place.resource, "watch expired, listing anew");
    } else {
        warn!(resource = %place.resource, error = %crate::operator::chain(error), "watch interrupted, trying again");
    }
}

/// Takes what is not older than what is known; whether that is something else.
fn take<Key: Ord, V: Fact>(map: &mut BTreeMap<Key, Arc<V>>, key: Key, value: V) -> bool {
    let known = map.get(&key);
    if known.is_some_and(|known| value.version() < known.version()) {
        return false;
    }
    let is_changed = known.is_none_or(|known| !known.is_same(&value));
    map.insert(key, Arc::new(value));
    is_changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(version: &str, digest: u64) -> Live {
        Live {
            resource_version: version.to_owned(),
            digest,
            ..Live::default()
        }
    }

    #[test]
    fn an_older_version_never_replaces_a_newer_one_and_a_heartbeat_changes_nothing() {
        let mirror: Arc<Mirror<&str, Live>> = Mirror::new();
        assert!(mirror.put("a", live("5", 1)));
        assert!(!mirror.put("a", live("4", 2)));
        assert_eq!(mirror.all()["a"].digest, 1);
        assert!(!mirror.put("a", live("6", 1)));
        assert_eq!(mirror.all()["a"].resource_version, "6");
        assert!(mirror.put("a", live("7", 2)));
        assert!(mirror.remove(&"a"));
    }

    #[test]
    fn what_has_gone_does_not_come_back_with_the_answer_to_its_deletion() {
        let mirror: Arc<Mirror<&str, Live>> = Mirror::new();
        mirror.put("a", live("5", 1));
        assert!(!mirror.amend(&"a", live("4", 2)), "older");
        assert!(mirror.amend(&"a", live("6", 2)));
        assert_eq!(mirror.all()["a"].digest, 2);
        assert!(!mirror.amend(&"a", live("7", 2)), "the same");
        mirror.remove(&"a");
        assert!(!mirror.amend(&"a", live("8", 3)));
        assert!(mirror.all().is_empty());
    }
}
