//! The pods this process serves, as others see them: the config dump, metrics and the operator.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::proxy::Info;
use crate::proxy::connections::{Connections, Live};

/// Whether a pod is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its listeners could not be started yet; tried again every few seconds.
    Pending,
    /// Served.
    Up,
}

/// One pod at one moment.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Kubernetes uid.
    pub uid: Arc<str>,
    /// Who it is.
    pub info: Info,
    /// Whether it is served.
    pub state: State,
    /// Its connections; empty while pending.
    pub connections: Vec<Live>,
}

/// For the metrics `workload_manager_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Pods served now.
    pub active: u64,
    /// Pods waiting now.
    pub pending: u64,
    /// Starts since the process began.
    pub started: u64,
    /// Stops since the process began.
    pub stopped: u64,
}

/// The set. Cheap to clone; clones are the same set.
#[derive(Debug, Clone, Default)]
pub struct Pods(Arc<Inner>);

/// By uid; without connections while pending.
type Served = BTreeMap<Arc<str>, (Info, Option<Connections>)>;

#[derive(Debug, Default)]
struct Inner {
    pods: Mutex<Served>,
    started: AtomicU64,
    stopped: AtomicU64,
}

impl Pods {
    /// Every pod, by uid.
    pub fn list(&self) -> Vec<Pod> {
        let pods: Vec<_> = self
            .lock()
            .iter()
            .map(|(uid, pod)| (Arc::clone(uid), pod.clone()))
            .collect();
        pods.into_iter()
            .map(|(uid, (info, connections))| Pod {
                uid,
                info,
                state: if connections.is_some() {
                    State::Up
                } else {
                    State::Pending
                },
                connections: connections.map(|live| live.list()).unwrap_or_default(),
            })
            .collect()
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        let pods = self.lock();
        let active = pods
            .values()
            .filter(|(_, connections)| connections.is_some())
            .count() as u64;
        Counters {
            active,
            pending: pods.len() as u64 - active,
            started: self.0.started.load(Ordering::Relaxed),
            stopped: self.0.stopped.load(Ordering::Relaxed),
        }
    }

    /// A pod waits to be served.
    pub(super) fn wait(&self, uid: Arc<str>, info: Info) {
        let before = self.lock().insert(uid, (info, None));
        self.count_stop(before.as_ref());
    }

    /// A pod is served.
    pub(super) fn serve(&self, uid: Arc<str>, info: Info, connections: Connections) {
        let before = self.lock().insert(uid, (info, Some(connections)));
        self.count_stop(before.as_ref());
        self.0.started.fetch_add(1, Ordering::Relaxed);
    }

    /// A pod is gone.
    pub(super) fn remove(&self, uid: &str) {
        let before = self.lock().remove(uid);
        self.count_stop(before.as_ref());
    }

    fn count_stop(&self, before: Option<&(Info, Option<Connections>)>) {
        if matches!(before, Some((_, Some(_)))) {
            self.0.stopped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Served> {
        self.0.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::metrics::Reporter;
    use crate::proxy::connections::Protocol;

    fn info(name: &str) -> Info {
        Info {
            name: name.into(),
            namespace: "shop".into(),
            service_account: "cart".into(),
        }
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn pods_are_counted_by_state_and_over_time() {
        let pods = Pods::default();
        pods.wait("a".into(), info("one"));
        pods.serve("b".into(), info("two"), Connections::default());
        assert_eq!(
            pods.counters(),
            Counters {
                active: 1,
                pending: 1,
                started: 1,
                stopped: 0
            }
        );
        pods.serve("a".into(), info("one"), Connections::default());
        pods.remove("b");
        pods.remove("b");
        assert_eq!(
            pods.counters(),
            Counters {
                active: 1,
                pending: 0,
                started: 2,
                stopped: 1
            }
        );
    }

    #[test]
    fn live_connections_are_listed_with_their_pod() {
        let (pods, connections) = (Pods::default(), Connections::default());
        pods.serve("a".into(), info("one"), connections.clone());
        let live = Live {
            reporter: Reporter::Source,
            src: at("10.0.0.1:4000"),
            original_dst: at("10.9.0.1:80"),
            actual_dst: at("10.0.0.2:15008"),
            protocol: Protocol::Hbone,
        };
        let entry = connections.open(live.clone());
        let listed = pods.list();
        assert_eq!(
            (listed[0].state, &listed[0].connections),
            (State::Up, &vec![live])
        );
        drop(entry);
        assert!(pods.list()[0].connections.is_empty());
    }
}
