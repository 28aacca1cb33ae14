//! Pods that come and go on every node, by way of the scheduler, and how soon each can be reached through the mesh.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::command;
use crate::load::{self, Load};
use crate::stage::eventually;

/// How long a pod may take, before it is given up: much longer than is right, and than a node can be without an agent.
const PATIENCE: Duration = Duration::from_mins(2);
/// How often a pod comes on each node, where the one before is gone by then.
const PACE: Duration = Duration::from_secs(12);
/// How much later the first one comes on each node than on the node before it, so that no two are started at once.
const APART: Duration = Duration::from_secs(3);
/// Set by the network agent on a pod that it has captured.
const CAPTURED: &str = "ambient.istio.io/redirection";

/// One pod that came.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Its name, which names its node.
    pub pod: String,
    /// Seconds from its creation until it ran.
    pub ran: f64,
    /// Seconds from its creation until it was reached from another node.
    pub reached: f64,
    /// The time of its creation.
    pub at: jiff::Timestamp,
    /// What those were told who asked it too early.
    pub refused: Vec<String>,
}

/// What comes and goes, until this ends or is dropped.
pub struct Churn {
    stop: watch::Sender<bool>,
    tasks: Vec<tokio::task::JoinHandle<Result<Vec<Arrival>, String>>>,
}

impl Churn {
    /// Begins: on each node one pod after the other, until told to end.
    pub fn start(client: &kube::Client, load: &Arc<Load>, namespace: &str, nodes: &[&str]) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = Vec::new();
        for (at, node) in (0_u32..).zip(nodes) {
            let one = Round {
                pods: Api::namespaced(client.clone(), namespace),
                load: Arc::clone(load),
                namespace: namespace.to_owned(),
                on: (*node).to_owned(),
                from: load.from_another_than(node).to_owned(),
            };
            let mut stopped = stopped.clone();
            let first = tokio::time::Instant::now() + APART * at;
            tasks.push(tokio::spawn(async move {
                let mut seen = Vec::new();
                let mut pace = tokio::time::interval_at(first, PACE);
                pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    tokio::select! {
                        // Told to end, or `Churn` was dropped; before another pod that is due.
                        biased;
                        _ = stopped.wait_for(|stop| *stop) => return Ok(seen),
                        _ = pace.tick() => {}
                    }
                    seen.push(one.pod(seen.len()).await?);
                }
            }));
        }
        Self { stop, tasks }
    }

    /// Every pod that came, once the last ones are gone.
    ///
    /// # Errors
    /// When one of them never ran or was never reached.
    pub async fn end(self) -> Result<Vec<Arrival>, String> {
        self.stop.send_replace(true);
        let mut all = Vec::new();
        for task in self.tasks {
            all.extend(task.await.map_err(|error| error.to_string())??);
        }
        Ok(all)
    }
}

/// The pods of one node.
struct Round {
    pods: Api<Pod>,
    load: Arc<Load>,
    namespace: String,
    on: String,
    /// From where they are asked.
    from: String,
}

impl Round {
    async fn pod(&self, number: usize) -> Result<Arrival, String> {
        let name = format!("churn-{}-{number}", self.on);
        let object = load::echo(
            &self.namespace,
            &name,
            &json!({"role": "churn"}),
            &on(&self.on),
        );
        let object = serde_json::from_value(object).map_err(|error| error.to_string())?;
        let (at, begun) = (jiff::Timestamp::now(), Instant::now());
        (self.pods.create(&PostParams::default(), &object).await)
            .map_err(|error| command::chain(&error))?;
        let what = format!("{name} runs");
        let address = eventually(&what, PATIENCE, || self.address(&name)).await;
        let address = address.map_err(|error| error.to_string())?;
        let ran = begun.elapsed().as_secs_f64();
        let refused = Mutex::new(Vec::new());
        eventually(&format!("{name} is reached"), PATIENCE, || async {
            let asked = self.load.ask(&self.from, &address).await;
            asked.inspect_err(|why| {
                let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
                refused.push(format!(
                    "after {:.1} s: {why}",
                    begun.elapsed().as_secs_f64()
                ));
            })
        })
        .await
        .map_err(|error| error.to_string())?;
        let reached = begun.elapsed().as_secs_f64();
        (self.pods.delete(&name, &DeleteParams::default()).await)
            .map_err(|error| command::chain(&error))?;
        eventually(&format!("{name} is gone"), PATIENCE, || async {
            match self.pods.get_metadata_opt(&name).await {
                Ok(None) => Ok(()),
                Ok(Some(_)) => Err("it is there".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
        .map_err(|error| error.to_string())?;
        Ok(Arrival {
            pod: name,
            ran,
            reached,
            at,
            refused: refused.into_inner().unwrap_or_else(PoisonError::into_inner),
        })
    }

    /// Where a pod answers, once it runs and the mesh has captured it: nobody reaches it by plain text.
    async fn address(&self, name: &str) -> Result<String, String> {
        let pod = self
            .pods
            .get(name)
            .await
            .map_err(|error| error.to_string())?;
        let captured = (pod.metadata.annotations.as_ref())
            .is_some_and(|all| all.get(CAPTURED).is_some_and(|value| value == "enabled"));
        let status = pod.status.unwrap_or_default();
        match status.pod_ip {
            Some(address) if captured && status.phase.as_deref() == Some("Running") => {
                Ok(format!("{address}:{}", load::ECHO_PORT))
            }
            _ => Err(format!("{:?}, captured: {captured}", status.phase)),
        }
    }
}

/// A node by affinity, so that the scheduler decides when: a taint keeps a pod waiting.
fn on(node: &str) -> serde_json::Value {
    let term = json!({"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]},
    ]});
    json!({"affinity": {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]},
    }}})
}
