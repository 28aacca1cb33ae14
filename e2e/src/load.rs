//! Traffic that notices everything, on every node: 50 kept connections to other nodes and 50 new ones a second, by the
//! shop's own programs; and what they saw of a stretch of time.

mod figures;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::forward;
use crate::images::Image;
use crate::stage::{Error, Stage, eventually, with};
pub use figures::{Figures, Noticed, Told, figures};

/// How much traffic all nodes together make.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// Kept connections.
    pub kept: usize,
    /// New connections a second.
    pub fresh: usize,
}

impl Amount {
    /// What upgrades are shown under.
    pub const FULL: Self = Self {
        kept: 50,
        fresh: 50,
    };
    /// None, for those who only want to ask.
    pub const NONE: Self = Self { kept: 0, fresh: 0 };
}

/// Where frames are answered, and where the load is told.
pub const ECHO_PORT: u16 = 9000;
const TOLD_PORT: u16 = 9001;
/// How long the traffic may take to flow.
const FLOWS: Duration = Duration::from_mins(1);

/// Without a request a pod has the least share that there is: on a busy machine it would measure its own hunger.
fn share_of_cpu() -> Value {
    json!({"requests": {"cpu": "100m"}})
}

/// A pod that answers frames, with labels and whatever else its spec holds.
pub fn echo(namespace: &str, name: &str, labels: &Value, more: &Value) -> Value {
    let spec = json!({
        "terminationGracePeriodSeconds": 0,
        "containers": [{
            "name": "shop", "image": Image::Shop.reference(), "args": ["echo", ECHO_PORT.to_string()],
            "readinessProbe": {"tcpSocket": {"port": ECHO_PORT}, "periodSeconds": 1},
            "resources": share_of_cpu(),
        }],
    });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": with(spec, more),
    })
}

/// On each node one that asks and one that answers, in a namespace of the mesh that takes no plain text.
pub fn objects(namespace: &str, nodes: &[&str], amount: Amount) -> Value {
    let target = |node: &str| format!("answers-{node}.{namespace}.svc.cluster.local.:{ECHO_PORT}");
    let share = |of: usize| (of / nodes.len().max(1)).to_string();
    let mut items = vec![
        crate::stage::namespace(namespace, &json!({"istio.io/dataplane-mode": "ambient"})),
        json!({
            "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
            "metadata": {"name": "strict", "namespace": namespace},
            "spec": {"mtls": {"mode": "STRICT"}},
        }),
    ];
    for (at, node) in nodes.iter().enumerate() {
        let here = json!({"nodeSelector": {"kubernetes.io/hostname": node}});
        let name = format!("answers-{node}");
        items.push(echo(namespace, &name, &json!({"app": name}), &here));
        items.push(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"selector": {"app": name}, "ports": [{"name": "tcp", "port": ECHO_PORT}]},
        }));
        // The next node first: what is kept crosses nodes.
        let (before, after) = nodes.split_at(at + 1);
        let targets = after.iter().chain(before).map(|node| target(node));
        let mut arguments = vec!["load".to_owned(), TOLD_PORT.to_string()];
        arguments.extend([share(amount.kept), share(amount.fresh)]);
        arguments.extend(targets);
        items.push(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("asks-{node}"), "namespace": namespace, "labels": {"app": "asks"}},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "nodeSelector": {"kubernetes.io/hostname": node},
                "containers": [{
                    "name": "shop", "image": Image::Shop.reference(), "args": arguments,
                    "resources": share_of_cpu(),
                }],
            },
        }));
    }
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// Traffic that flows.
pub struct Load {
    client: kube::Client,
    namespace: String,
    nodes: Vec<String>,
}

impl Load {
    /// Begins, and returns when every kept connection is open and new ones are answered.
    ///
    /// # Errors
    /// When the pods do not come up or the traffic does not flow within a minute.
    pub async fn start(
        stage: &Stage,
        namespace: &str,
        nodes: &[&str],
        amount: Amount,
    ) -> Result<Self, Error> {
        stage.apply(&objects(namespace, nodes, amount))?;
        stage.until_pods_ready(namespace, "app", FLOWS).await?;
        Self::begun(&stage.client, namespace, nodes, amount).await
    }

    /// The same once somebody has applied the [`objects`] of it.
    ///
    /// # Errors
    /// When the traffic does not flow within a minute.
    pub async fn begun(
        client: &kube::Client,
        namespace: &str,
        nodes: &[&str],
        amount: Amount,
    ) -> Result<Self, Error> {
        let load = Self {
            client: client.clone(),
            namespace: namespace.to_owned(),
            nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
        };
        let first = load.told().await?;
        load.until("the traffic flows", |told| {
            let kept: u64 = told
                .values()
                .map(|one| one.kept.opened - one.kept.cut)
                .sum();
            let seen = figures(&first, told);
            kept >= (amount.kept / nodes.len() * nodes.len()) as u64
                && (amount.fresh == 0 || seen.tried - seen.failed >= 10)
        })
        .await?;
        Ok(load)
    }

    /// What each tells now, by node.
    ///
    /// # Errors
    /// When one of them does not answer.
    pub async fn told(&self) -> Result<BTreeMap<String, Told>, Error> {
        self.until("the load tells", |_| true).await
    }

    /// What was seen since `before`, once everything that had begun by now has ended.
    ///
    /// # Errors
    /// When one of them does not answer.
    pub async fn since(&self, before: &BTreeMap<String, Told>) -> Result<Figures, Error> {
        let now = self.told().await?;
        // Two seconds and a little: whatever had begun by then has ended by then.
        let ended = |told: &BTreeMap<String, Told>| {
            told.iter().all(|(node, one)| {
                let then = now.get(node).map_or(0, |then| then.new.tried);
                one.now - now.get(node).map_or(0, |then| then.now) > 2_100
                    && one.new.answered + one.new.failed >= then
            })
        };
        let after = self.until("what has begun ends", ended).await?;
        Ok(figures(before, &after))
    }

    async fn until(
        &self,
        what: &str,
        holds: impl Fn(&BTreeMap<String, Told>) -> bool,
    ) -> Result<BTreeMap<String, Told>, Error> {
        let holds = &holds;
        eventually(what, FLOWS, || async move {
            let mut all = BTreeMap::new();
            for node in &self.nodes {
                let (_, text) = self.get(node, "/").await?;
                all.insert(node.clone(), Told::read(&text)?);
            }
            if holds(&all) {
                Ok(all)
            } else {
                Err(format!("{all:?}"))
            }
        })
        .await
    }

    /// A node to ask from that is not this one, where there is one.
    pub fn from_another_than<'a>(&'a self, node: &'a str) -> &'a str {
        let mut others = self.nodes.iter().filter(|other| *other != node);
        others.next().map_or(node, String::as_str)
    }

    /// Asks `address` (`host:port`) once from a pod of the mesh on a node.
    ///
    /// # Errors
    /// With what was seen instead of an answer.
    pub async fn ask(&self, node: &str, address: &str) -> Result<(), String> {
        match self.get(node, &format!("/ask/{address}")).await? {
            (200, _) => Ok(()),
            (_, text) => Err(format!("from {node} to {address}: {text}")),
        }
    }

    async fn get(&self, node: &str, path: &str) -> Result<(u16, String), String> {
        let pod = format!("asks-{node}");
        forward::get(&self.client, &self.namespace, &pod, TOLD_PORT, path).await
    }

    /// Name, uid and restarts of each of its own pods: as long as they stay, nobody was put out.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn pods(&self) -> Result<Vec<(String, String, i32)>, Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let list = pods.list(&ListParams::default().labels("app")).await;
        let list = list.map_err(|source| Error::Api {
            doing: format!("list the pods of {}", self.namespace),
            source: Box::new(source),
        })?;
        let restarts = |pod: &Pod| {
            let statuses =
                (pod.status.iter()).flat_map(|one| one.container_statuses.iter().flatten());
            statuses.map(|one| one.restart_count).sum()
        };
        let one = |pod: &Pod| (pod.name_any(), pod.uid().unwrap_or_default(), restarts(pod));
        Ok(list.items.iter().map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_crosses_nodes() {
        let list = objects("load", &["a", "b", "c"], Amount::FULL).to_string();
        for (from, to) in [("a", "b"), ("b", "c"), ("c", "a")] {
            let arguments =
                format!(r#"["load","9001","16","16","answers-{to}.load.svc.cluster.local.:9000""#);
            assert_eq!(list.matches(&arguments).count(), 1, "{from}: {list}");
        }
    }
}
