//! A rollout as somebody sees it who is not the operator: by a watch of the data plane's pods and of the member.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use applink::api::v1alpha1::MeshMember;
use e2e::stage::{self, Stage};
use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::watcher::{self, Event, watcher};

use crate::caller::Answer;
use crate::fixture::PATIENT;

/// How long after its pods are Ready a node may need until requests go through again: the agent tells the new proxy
/// which pods there are, and a request that began before waits for its own patience.
const SLACK: SignedDuration = SignedDuration::from_secs(2);
/// The network agent and the node proxy, by the label that tells them apart.
const COMPONENTS: [&str; 2] = ["istio-cni-node", "ztunnel"];

/// A time in which a node lacked one of its components.
#[derive(Clone, Debug)]
pub struct Away {
    pub node: String,
    pub component: &'static str,
    pub from: Timestamp,
    pub until: Timestamp,
}

impl Away {
    pub fn seconds(&self) -> f64 {
        self.until.duration_since(self.from).as_secs_f64()
    }

    /// A request on the node failed because of it: it began before the proxy was back, and ended after it went. Without
    /// its agent a node still carries the traffic of the pods it has.
    pub fn explains(&self, answer: &Answer) -> bool {
        self.component == "ztunnel" && answer.asked <= self.until + SLACK && self.from <= answer.at
    }
}

/// What a watch saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Every component of a node that was away, in order.
    pub away: Vec<Away>,
    /// Every status of condition Ready.
    pub ready: BTreeSet<String>,
    /// Every reason of condition `UpToDate`.
    pub reasons: BTreeSet<String>,
}

/// Watches the data plane's pods and the member.
pub struct Watch {
    state: Arc<Mutex<State>>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

#[derive(Default)]
struct State {
    nodes: Vec<String>,
    synced: bool,
    /// Node and component by pod, and whether it serves.
    pods: BTreeMap<String, (String, String, bool)>,
    /// Nodes and their components that are away, and since when.
    since: BTreeMap<(String, &'static str), Timestamp>,
    seen: Seen,
}

impl State {
    fn put(&mut self, pod: &Pod) {
        let labels = pod.labels();
        let component = ["app", "k8s-app"]
            .iter()
            .filter_map(|key| labels.get(*key))
            .find(|value| COMPONENTS.contains(&value.as_str()));
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let (Some(component), Some(node)) = (component, node) else {
            return;
        };
        let conditions = pod
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        let is_ready = conditions
            .into_iter()
            .any(|one| one.type_ == "Ready" && one.status == "True");
        let serves = is_ready && pod.metadata.deletion_timestamp.is_none();
        self.pods
            .insert(pod.name_any(), (node, component.clone(), serves));
    }

    fn look(&mut self) {
        let now = Timestamp::now();
        for node in &self.nodes {
            for component in COMPONENTS {
                let key = (node.clone(), component);
                let serves = (self.pods.values())
                    .any(|(on, of, serves)| on == node && of == component && *serves);
                if !serves {
                    self.since.entry(key).or_insert(now);
                } else if let Some(from) = self.since.remove(&key) {
                    self.seen.away.push(Away {
                        node: node.clone(),
                        component,
                        from,
                        until: now,
                    });
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// Begins, and returns when the first list is complete.
    pub async fn start(stage: &Stage, member: &str, nodes: &[&str]) -> Self {
        let shared = Arc::new(Mutex::new(State {
            nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
            ..State::default()
        }));
        let pods: Api<Pod> = Api::namespaced(stage.client.clone(), "applink-system");
        let tasks = [
            tokio::spawn(follow(pods, Arc::clone(&shared))),
            tokio::spawn(read(
                stage.client.clone(),
                member.to_owned(),
                Arc::clone(&shared),
            )),
        ];
        let watch = Self {
            state: shared,
            tasks,
        };
        stage::eventually("the watch is complete", PATIENT, || async {
            if lock(&watch.state).synced {
                Ok(())
            } else {
                Err("not yet".to_owned())
            }
        })
        .await
        .unwrap();
        watch
    }

    /// What was seen, once no node is away any more.
    pub async fn end(self) -> Seen {
        stage::eventually("every node is back", PATIENT, || async {
            let state = lock(&self.state);
            if state.since.is_empty() {
                Ok(())
            } else {
                Err(format!("{:?}", state.since))
            }
        })
        .await
        .unwrap();
        for task in &self.tasks {
            task.abort();
        }
        lock(&self.state).seen.clone()
    }
}

async fn follow(pods: Api<Pod>, state: Arc<Mutex<State>>) {
    let mut events = watcher(pods, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        let mut state = lock(&state);
        match event.unwrap() {
            Event::Init => {}
            Event::InitApply(pod) => state.put(&pod),
            Event::InitDone => {
                state.synced = true;
                state.look();
            }
            Event::Apply(pod) => {
                state.put(&pod);
                state.look();
            }
            Event::Delete(pod) => {
                state.pods.remove(&pod.name_any());
                state.look();
            }
        }
    }
}

async fn read(client: kube::Client, member: String, state: Arc<Mutex<State>>) {
    let only = watcher::Config::default().fields(&format!("metadata.name={member}"));
    let members: Api<MeshMember> = Api::all(client);
    let mut events = watcher(members, only).boxed();
    while let Some(event) = events.next().await {
        let (Event::Apply(member) | Event::InitApply(member)) = event.unwrap() else {
            continue;
        };
        let mut state = lock(&state);
        for condition in member.status.unwrap_or_default().conditions {
            match condition.type_.as_str() {
                "Ready" => _ = state.seen.ready.insert(condition.status),
                "UpToDate" => _ = state.seen.reasons.insert(condition.reason),
                _ => {}
            }
        }
    }
}
