//! One install and one leave under deaths, and what must hold all the while, seen from outside.

mod rollouts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use applink::api::v1alpha1::MeshMember;
use applink::names;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};

use super::step::Phase;
use super::{Error, Sweep, lock};
use crate::command;
use crate::rollouts::swift;
use crate::stage::{self, Stage, eventually, quick};

/// How long an install or a leave may take, with the deaths in it.
const PATIENCE: Duration = Duration::from_mins(10);
/// How long a pod may take to start.
const SOON: Duration = Duration::from_mins(1);

/// The install and leave of one member, with a namespace that is enrolled in between.
pub struct Course<'a> {
    stage: &'a Stage,
    member: &'static str,
    namespace: &'static str,
    strategy: Value,
    broken: Mutex<BTreeSet<String>>,
    authorities: Mutex<BTreeMap<String, String>>,
}

impl<'a> Course<'a> {
    /// The release that is installed.
    pub const RELEASE: &'static str = "1.6.0";

    /// A course on that stage with that member and namespace.
    pub fn new(stage: &'a Stage, member: &'static str, namespace: &'static str) -> Self {
        Self {
            stage,
            member,
            namespace,
            strategy: quick(),
            broken: Mutex::default(),
            authorities: Mutex::default(),
        }
    }

    /// The same with waves as they are swept: a short drain.
    #[must_use]
    pub fn swift(mut self) -> Self {
        self.strategy = swift();
        self
    }

    /// The member, pinned to a version; it may un-enrol.
    fn pinned(&self, version: &str, strategy: &Value) -> Value {
        let spec = json!({
            "upgrade": {"version": version, "strategy": strategy},
            "leavePolicy": "UnenrolNamespaces",
        });
        Stage::member(self.member, &spec)
    }

    /// Applies the member, and waits until it is ready and up to date.
    ///
    /// # Errors
    /// When that does not happen.
    pub async fn install(&self, sweep: &Sweep<'_>) -> Result<(), Error> {
        lock(&self.authorities).clear();
        self.stage
            .apply(&Stage::release(Self::RELEASE, &["Rapid"]))?;
        self.stage.apply(&self.pinned("1.6", &self.strategy))?;
        let goal = eventually("the mesh is ready and up to date", PATIENCE, || async {
            self.look_at_authorities().await?;
            let member = self.stage.read_member(self.member).await;
            let member = member.map_err(|error| command::chain(&error))?;
            let conditions = member.status.unwrap_or_default().conditions;
            let holds = |kind: &str| {
                let held = conditions.iter().find(|held| held.type_ == kind);
                held.is_some_and(|held| held.status == "True")
            };
            if holds("Ready") && holds("UpToDate") {
                Ok(())
            } else {
                let told = |held: &_| format!("{held:?}");
                Err(conditions.iter().map(told).collect::<Vec<_>>().join("; "))
            }
        });
        sweep.drive(Phase::Install, None, goal).await
    }

    /// Makes the network refuse plain text, and waits until the mesh does.
    ///
    /// # Errors
    /// When that does not happen.
    pub async fn harden(&self, sweep: &Sweep<'_>) -> Result<(), Error> {
        let strict = json!({"spec": {"mtls": "Strict"}}).to_string();
        let network = ["patch", "applicationnetwork", names::DEFAULT_NETWORK];
        let how = ["--type=merge", "-p", &strict];
        self.stage.cluster.kubectl(&[network, how].concat())?;
        let list = ["get", "peerauthentications.security.istio.io", "-o", "name"];
        let list = [&list[..], &["-n", names::SYSTEM_NAMESPACE]].concat();
        let goal = eventually("the mesh-wide policy is there", SOON, || async {
            match self.stage.cluster.kubectl(&list) {
                Ok(text) if !text.trim().is_empty() => Ok(()),
                Ok(_) => Err("it is not".to_owned()),
                Err(error) => Err(command::chain(&error)),
            }
        });
        sweep.drive(Phase::Install, None, goal).await
    }

    /// An enrolled namespace, web on the first node asking cart on the second, and an answer.
    ///
    /// # Errors
    /// When the pods do not start or no answer comes.
    pub async fn enrol(&self) -> Result<(), Error> {
        let label = json!({names::DATAPLANE_MODE_LABEL: names::DATAPLANE_MODE_AMBIENT});
        self.stage
            .apply(&stage::namespace(self.namespace, &label))?;
        for (name, node, next) in [
            ("cart", "node-2", None),
            ("web", "node-1", Some("http://cart:8080")),
        ] {
            self.stage
                .apply(&stage::shop(self.namespace, name, node, next))?;
        }
        self.stage
            .until_pods_ready(self.namespace, "app", SOON)
            .await?;
        eventually("enrolled pods are captured", SOON, || async {
            match self.redirected().await?.len() {
                2 => Ok(()),
                count => Err(format!("{count} of 2 are")),
            }
        })
        .await?;
        self.ask().await
    }

    /// One request of web to cart.
    ///
    /// # Errors
    /// With what was said instead of an answer.
    pub async fn ask(&self) -> Result<(), Error> {
        let get = ["/usr/local/bin/shop", "get", "http://cart:8080/", "5"];
        eventually("web gets an answer of cart", SOON, || async {
            match self.stage.exec(self.namespace, "web", &get) {
                (true, _) => Ok(()),
                (false, text) => Err(text),
            }
        })
        .await?;
        Ok(())
    }

    /// Deletes the member and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be deleted or does not go.
    pub async fn leave(&self, sweep: &Sweep<'_>) -> Result<(), Error> {
        let members: Api<MeshMember> = Api::all(self.stage.client.clone());
        let deleted = eventually("the member may be deleted", SOON, || async {
            let deleted = members.delete(self.member, &DeleteParams::default()).await;
            deleted.map(|_| ()).map_err(|error| error.to_string())
        });
        deleted.await?;
        let goal = eventually("the member has left", PATIENCE, || async {
            self.look_at_order().await?;
            match members.get_opt(self.member).await {
                Ok(None) => Ok(()),
                Ok(Some(member)) => Err(format!("{:?}", member.status)),
                Err(error) => Err(error.to_string()),
            }
        });
        sweep.drive(Phase::Leave, None, goal).await?;
        let namespace = ["get", "namespace", self.namespace];
        let labels = ["-o", "jsonpath={.metadata.labels}"];
        let labels = self
            .stage
            .cluster
            .kubectl(&[&namespace[..], &labels].concat())?;
        if labels.contains(names::DATAPLANE_MODE_LABEL) {
            self.is_broken(format!("namespace {} is still enrolled", self.namespace));
        }
        Ok(())
    }

    /// What did not hold, each once.
    pub fn broken(&self) -> Vec<String> {
        lock(&self.broken).iter().cloned().collect()
    }

    fn is_broken(&self, what: String) {
        lock(&self.broken).insert(what);
    }

    async fn redirected(&self) -> Result<Vec<String>, String> {
        let pods: Api<Pod> = Api::namespaced(self.stage.client.clone(), self.namespace);
        let list = pods.list(&ListParams::default()).await;
        let list = list.map_err(|error| error.to_string())?;
        let is_redirected = |pod: &Pod| {
            let annotations = pod.metadata.annotations.as_ref();
            annotations.is_some_and(|all| {
                (all.get(names::REDIRECTION_ANNOTATION)).is_some_and(|value| value == "enabled")
            })
        };
        Ok((list.items.into_iter())
            .filter(is_redirected)
            .filter_map(|pod| pod.metadata.name)
            .collect())
    }

    /// An authority that was made is never made again.
    async fn look_at_authorities(&self) -> Result<(), String> {
        for (namespace, wanted) in [
            (names::OPERATOR_NAMESPACE, names::ROOT_SECRET_PREFIX),
            (names::SYSTEM_NAMESPACE, names::CACERTS_SECRET),
        ] {
            let secrets: Api<Secret> = Api::namespaced(self.stage.client.clone(), namespace);
            let list = secrets.list_metadata(&ListParams::default()).await;
            for secret in list.map_err(|error| error.to_string())?.items {
                let name = secret.metadata.name.unwrap_or_default();
                let uid = secret.metadata.uid.unwrap_or_default();
                if !name.starts_with(wanted) {
                    continue;
                }
                let mut known = lock(&self.authorities);
                let first = known.entry(name.clone()).or_insert_with(|| uid.clone());
                if *first != uid {
                    drop(known);
                    self.is_broken(format!("Secret {namespace}/{name} was made twice"));
                }
            }
        }
        Ok(())
    }

    /// Nobody is left to a proxy that goes, and no proxy to an agent that goes. What is looked at first only ever goes,
    /// so what is still there afterwards was there before. A pod whose containers have all ended serves nobody: the
    /// kubelet tells its last phase a moment before it takes the pod away.
    async fn look_at_order(&self) -> Result<(), String> {
        let client = || self.stage.client.clone();
        let text = |error: kube::Error| error.to_string();
        let sets: Api<DaemonSet> = Api::namespaced(client(), names::SYSTEM_NAMESPACE);
        let pods: Api<Pod> = Api::namespaced(client(), names::SYSTEM_NAMESPACE);
        let all = ListParams::default();
        let sets = sets.list(&all).await.map_err(text)?.items;
        let is_there = |prefix: &str| {
            sets.iter().any(|set| {
                let name = set.metadata.name.as_deref().unwrap_or_default();
                name.starts_with(prefix) && set.metadata.deletion_timestamp.is_none()
            })
        };
        if !is_there(names::CNI_DAEMON_SET) {
            let proxies = pods
                .list(&ListParams::default().labels("app=ztunnel"))
                .await;
            let has_ended = |pod: &Pod| {
                let phase = pod
                    .status
                    .as_ref()
                    .and_then(|status| status.phase.as_deref());
                matches!(phase, Some("Succeeded" | "Failed"))
            };
            let runs = proxies.map_err(text)?.items.into_iter();
            for pod in runs.filter(|pod| !has_ended(pod)) {
                let name = pod.metadata.name.unwrap_or_default();
                let status = pod.status.unwrap_or_default();
                self.is_broken(format!("the agent went before proxy {name}: {status:?}"));
            }
        }
        if !is_there(names::ZTUNNEL) {
            for name in self.redirected().await? {
                self.is_broken(format!("the proxies went before pod {name} was let go"));
            }
        }
        Ok(())
    }
}
