//! What components of simulated nodes would answer: the operator's [`Signals`] without anybody to forward a port to.
//!
//! It answers as good components do. Who is on a node it knows from a watch of its own, as another user than the operator,
//! so that nothing of it is counted as the operator's. What the real implementation would have asked the API server for
//! each answer is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use applink::facts::{Connections, Evidence, Mode, PodMeta};
use applink::names;
use applink::operator::{Mesh, Placed, Signals};
use applink::probe::{Figures, ROUND};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use kube::api::{Api, ApiResource};
use kube::core::Object;
use kube::runtime::watcher::{self, Event, watcher};
use serde::{Deserialize, Serialize};

use crate::control_plane;

/// How many pods a page of the first list holds: bounds what is in memory at once.
const PAGE: u32 = 200;

/// What is read of a pod.
type Pod = Object<Spec, Status>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: String,
    host_network: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: String,
}

/// Requests that the real implementation would have made, by question of the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reads {
    /// Questions that were answered.
    pub questions: usize,
    /// Requests for all of them.
    pub all: u64,
    /// Requests for the question that took most.
    pub most: u32,
}

#[derive(Default)]
struct Seen {
    /// Pods with an own network namespace that run, by node, then by namespace and name.
    workloads: BTreeMap<Arc<str>, BTreeMap<(String, String), PodMeta>>,
    /// The node of each pod that is bound to one, by namespace and name.
    nodes: BTreeMap<(String, String), Arc<str>>,
    /// Requests by the task that asks: the operator asks each question in a task of its own.
    reads: BTreeMap<Option<tokio::task::Id>, u32>,
}

/// Answers for simulated nodes.
#[derive(Clone, Default)]
pub struct Simulation(Arc<Mutex<Seen>>);

impl Simulation {
    /// Watches pods through this kubeconfig, in a thread of its own, until the process ends.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn watch(&self, kubeconfig: &Path) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (simulation, path) = (self.clone(), kubeconfig.to_owned());
        std::thread::Builder::new()
            .name("simulation".to_owned())
            .spawn(move || runtime.block_on(simulation.follow(&path)))?;
        Ok(())
    }

    async fn follow(&self, kubeconfig: &Path) {
        let client = match control_plane::client(kubeconfig).await {
            Ok(client) => client,
            Err(error) => {
                eprintln!("nobody answers for the nodes: {error}");
                return;
            }
        };
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
        let api: Api<Pod> = Api::all_with(client, &resource);
        let config = watcher::Config::default().page_size(PAGE);
        let mut events = watcher(api, config).boxed();
        // An error is told by silence, and by what the operator then says of the nodes.
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(pod) | Event::InitApply(pod)) => self.seen().take(pod),
                Ok(Event::Delete(pod)) => self.seen().forget(&place(&pod)),
                Ok(Event::Init | Event::InitDone) | Err(_) => {}
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what an answer would have cost, and looks.
    fn answered<T>(&self, reads: u32, look: impl FnOnce(&Seen) -> T) -> T {
        let mut seen = self.seen();
        *seen.reads.entry(tokio::task::try_id()).or_default() += reads;
        look(&seen)
    }

    /// What was asked so far.
    pub fn reads(&self) -> Reads {
        let seen = self.seen();
        Reads {
            questions: seen.reads.len(),
            all: seen.reads.values().map(|reads| u64::from(*reads)).sum(),
            most: seen.reads.values().max().copied().unwrap_or_default(),
        }
    }
}

fn place(pod: &Pod) -> (String, String) {
    let meta = &pod.metadata;
    (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

impl Seen {
    fn take(&mut self, pod: Pod) {
        if pod.spec.node_name.is_empty() {
            return;
        }
        let key = place(&pod);
        let node: Arc<str> = pod.spec.node_name.as_str().into();
        let runs = pod.status.is_some_and(|status| status.phase == "Running");
        if runs && !pod.spec.host_network {
            let annotations = pod.metadata.annotations.unwrap_or_default();
            let meta = PodMeta {
                uid: pod.metadata.uid.unwrap_or_default(),
                mode: Mode::Inherit,
                redirected: annotations.contains_key(names::REDIRECTION_ANNOTATION),
                deleting: pod.metadata.deletion_timestamp.is_some(),
                created: pod.metadata.creation_timestamp.map(|time| time.0),
                ..PodMeta::default()
            };
            let here = self.workloads.entry(Arc::clone(&node)).or_default();
            here.insert(key.clone(), meta);
        }
        self.nodes.insert(key, node);
    }

    fn forget(&mut self, key: &(String, String)) {
        let node = self.nodes.remove(key);
        if let Some(here) = node.and_then(|node| self.workloads.get_mut(&node)) {
            here.remove(key);
        }
    }

    /// The node of a pod of the data plane.
    fn node_of(&self, pod: &str) -> Result<&str, String> {
        let key = (names::SYSTEM_NAMESPACE.to_owned(), pod.to_owned());
        let node = self.nodes.get(&key).map(AsRef::as_ref);
        node.ok_or_else(|| format!("{pod} is on no node"))
    }
}

fn good(text: &str) -> Result<Evidence, String> {
    Ok(Evidence {
        good: true,
        text: text.to_owned(),
        ..Evidence::default()
    })
}

impl Signals for Simulation {
    fn control_plane<'a>(
        &'a self,
        _: &'a str,
        _: &'a Mesh,
    ) -> BoxFuture<'a, Result<Evidence, String>> {
        // Two ports, and a token.
        Box::pin(async move { self.answered(3, |_| good("ready, and signed")) })
    }

    fn served<'a>(&'a self, pod: &'a str) -> BoxFuture<'a, Result<BTreeSet<String>, String>> {
        Box::pin(async move {
            self.answered(1, |seen| {
                let here = seen.workloads.get(seen.node_of(pod)?);
                let all = here.into_iter().flatten();
                // What is in the mesh: the data plane itself is not.
                let meshed = all.filter(|((namespace, _), _)| namespace != names::SYSTEM_NAMESPACE);
                Ok(meshed.map(|(_, pod)| pod.uid.clone()).collect())
            })
        })
    }

    fn uncertified<'a>(
        &'a self,
        _: &'a str,
        _: &'a Mesh,
    ) -> BoxFuture<'a, Result<Vec<String>, String>> {
        Box::pin(async move { self.answered(1, |_| Ok(Vec::new())) })
    }

    fn on_node<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<Vec<Placed>, String>> {
        Box::pin(async move {
            self.answered(1, |seen| {
                let here = seen.workloads.get(node).into_iter().flatten();
                Ok(here.map(|(key, pod)| (key.clone(), pod.clone())).collect())
            })
        })
    }

    fn reconnect<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move { self.answered(1, |_| Ok(())) })
    }

    fn stand_down<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Evidence, String>> {
        Box::pin(async move { self.answered(1, |_| good("it stands down")) })
    }

    fn counted<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Connections>, String>> {
        // Many connections, none of which failed: the gate is passed for what was counted.
        Box::pin(async move { self.answered(1, |_| Ok(Some(Connections::new(1000, 0)))) })
    }

    fn without_sandbox<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<String>, String>> {
        Box::pin(async move { self.answered(1, |_| Ok(Vec::new())) })
    }

    fn connections<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Figures, String>> {
        Box::pin(async move {
            self.answered(1, |_| {
                Ok(Figures {
                    asked: ROUND,
                    failed: 0,
                    last: None,
                })
            })
        })
    }

    fn room<'a>(&'a self, _: &'a str, _: u64, _: u64) -> BoxFuture<'a, Result<Evidence, String>> {
        // The node, and its pods.
        Box::pin(async move { self.answered(2, |_| good("it has room for one more proxy")) })
    }
}
