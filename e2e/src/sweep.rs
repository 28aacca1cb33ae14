//! The kill sweep: the operator dies before and after chosen API writes and is started again, in
//! one run that must still end where an undisturbed one does.
//!
//! The operator runs as a process of its own behind the counting proxy, under the identity that
//! its manifests give it, so its rights are those of the cluster. Nothing has to be recorded
//! first: the first write of a target that is seen is stopped before the server sees it, the next
//! one of the same target after the server did it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::Method;

use crate::cluster;
use crate::command;
use crate::files;
use crate::images::{self, Image, recipes};
use crate::stage::{self, Stage, eventually};
use crate::write_proxy::{Moment, Verdict, Write, WriteProxy};

/// The identity that the operator's manifests give it.
const USER: &str = "system:serviceaccount:applink-operator:applink-operator";
const GROUP: &str = "system:serviceaccounts";
/// How often it is looked whether the operator has died.
const BEAT: Duration = Duration::from_millis(50);
/// How long the operator in the cluster may take to go.
const GONE: Duration = Duration::from_mins(1);
/// Kinds that an installation consists of, besides definitions.
const KINDS: &str = "namespaces,deployments,daemonsets,serviceaccounts,services,configmaps,secrets,\
roles,rolebindings,clusterroles,clusterrolebindings,networkpolicies,poddisruptionbudgets,\
horizontalpodautoscalers,mutatingwebhookconfigurations,validatingwebhookconfigurations";

/// What can go wrong in a sweep.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stage.
    #[error(transparent)]
    Stage(#[from] stage::Error),
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The folder of definitions.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// The definitions themselves.
    #[error(transparent)]
    Images(#[from] images::Error),
    /// The administrator's client for the operator's identity.
    #[error(transparent)]
    Client(#[from] crate::control_plane::Error),
    /// A process or a port could not be had.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// What is there is not what should be.
    #[error("{0}")]
    Differs(String),
}

/// What happens while writes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// From a new member to a mesh that is up to date.
    Install,
    /// From a deleted member to a clean cluster.
    Leave,
}

/// Which writes are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// One write in each step.
    Steps,
    /// Every method on every path.
    Writes,
}

/// One target: its phase, its step and, in [`Depth::Writes`], the write itself.
pub type Target = (Phase, &'static str, String);

/// The step of install or leave that a write belongs to, told from outside: by what is written.
pub fn step(phase: Phase, method: &Method, path: &str) -> &'static str {
    let is = |part: &str| path.contains(part);
    if is("/meshmembers/") || is("/meshreleases/") {
        return "Status";
    }
    match phase {
        Phase::Install if is("/customresourcedefinitions") => "CRDs",
        Phase::Install if is("/daemonsets/") || is("/nodes/") || is("/pods/") => "Nodes",
        Phase::Install => "ControlPlane",
        Phase::Leave if is("applink-leave-check") && *method == Method::DELETE => "CheckGone",
        Phase::Leave if is("applink-leave-check") => "Check",
        Phase::Leave if is("/namespaces/") && *method == Method::PATCH => "Unenrol",
        Phase::Leave if is("/daemonsets/ztunnel") => "Proxies",
        Phase::Leave if is("/daemonsets/istio-cni") => "Agents",
        Phase::Leave => "Rest",
    }
}

#[derive(Default)]
struct Shared {
    operator: Option<Child>,
    phase: Option<Phase>,
    hits: BTreeMap<Target, BTreeSet<&'static str>>,
    kills: u32,
}

impl Shared {
    /// Kills the operator if this write at this moment is one that was not tried yet.
    fn judge(&mut self, depth: Depth, moment: Moment, write: &Write) -> Verdict {
        let Some(phase) = self.phase else {
            return Verdict::Pass;
        };
        if self.operator.is_none() {
            // The client is dead already; what it had under way is cut with it.
            return Verdict::Cut;
        }
        let line = match depth {
            Depth::Steps => String::new(),
            Depth::Writes => format!("{} {}", write.method, write.path),
        };
        let target = (phase, step(phase, &write.method, &write.path), line);
        let seen = self.hits.entry(target).or_default();
        let due = match moment {
            Moment::Before => seen.insert("before"),
            // The same write that was let through; never without the kill before it.
            Moment::After => seen.contains("before") && seen.insert("after"),
        };
        if !due {
            return Verdict::Pass;
        }
        self.kills += 1;
        self.kill();
        Verdict::Cut
    }

    fn kill(&mut self) {
        if let Some(mut operator) = self.operator.take() {
            // It may have ended by itself; either way it is gone after the wait.
            let _ = operator.kill();
            let _ = operator.wait();
        }
    }
}

/// An operator that dies at every target once before and once after.
pub struct Sweep<'a> {
    stage: &'a Stage,
    shared: Arc<Mutex<Shared>>,
    proxy: WriteProxy,
    folder: PathBuf,
}

impl Drop for Sweep<'_> {
    fn drop(&mut self) {
        lock(&self.shared).kill();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Sweep<'a> {
    /// Takes the operator in the cluster away and stands ready to run one outside of it.
    ///
    /// # Errors
    /// When the operator in the cluster does not go, or the one outside cannot be prepared.
    pub async fn start(stage: &'a Stage, depth: Depth) -> Result<Self, Error> {
        let folder = stage.cluster.folder().join("sweep");
        files::create_dir(&folder)?;
        for (name, from) in recipes::definitions()? {
            files::copy(&from, &folder.join("crds").join(name))?;
        }
        let identity = stage.cluster.kubeconfig_of(USER, Some(GROUP))?;
        let upstream = crate::control_plane::client(&identity).await?;
        let shared = Arc::<Mutex<Shared>>::default();
        let judge = shared.clone();
        let proxy = WriteProxy::start(
            upstream,
            Arc::new(move |moment, write| lock(&judge).judge(depth, moment, write)),
        )
        .await
        .map_err(|source| Error::Io {
            doing: "start the counting proxy",
            source,
        })?;
        files::write(&folder.join("kubeconfig"), proxy.kubeconfig())?;
        // By the same manager as ever, so that the next apply is no conflict.
        let manifests = stage.applink(&["install", "--image", &Image::Applink.reference()])?;
        stage
            .cluster
            .apply(&manifests.replace("replicas: 1\n", "replicas: 0\n"))?;
        eventually("the operator in the cluster is gone", GONE, || async {
            let pods = (stage.cluster)
                .kubectl(&["get", "pods", "-n", "applink-operator", "-o", "name"])
                .map_err(|error| command::chain(&error))?;
            if pods.trim().is_empty() {
                Ok(())
            } else {
                Err(pods)
            }
        })
        .await?;
        Ok(Self {
            stage,
            shared,
            proxy,
            folder,
        })
    }

    /// Waits for `goal` in that phase and starts the operator whenever it is not there.
    ///
    /// # Errors
    /// That of `goal`, or when the operator cannot be started.
    pub async fn drive<T>(
        &self,
        phase: Phase,
        goal: impl Future<Output = Result<T, stage::Error>>,
    ) -> Result<T, Error> {
        lock(&self.shared).phase = Some(phase);
        tokio::pin!(goal);
        loop {
            self.revive()?;
            tokio::select! {
                found = &mut goal => return Ok(found?),
                () = tokio::time::sleep(BEAT) => {}
            }
        }
    }

    fn revive(&self) -> Result<(), Error> {
        let io = |doing| move |source| Error::Io { doing, source };
        let mut shared = lock(&self.shared);
        let ended = match &mut shared.operator {
            None => true,
            Some(child) => child
                .try_wait()
                .map_err(io("look at the operator"))?
                .is_some(),
        };
        if !ended {
            return Ok(());
        }
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("operator.log"))
            .map_err(io("open the operator's log"))?;
        let again = log.try_clone().map_err(io("open the operator's log"))?;
        let child = Command::new(&self.stage.applink)
            .args(["operator", "--admin", "127.0.0.1:0", "--identity", "sweep"])
            .arg("--crds")
            .arg(self.folder.join("crds"))
            .env("KUBECONFIG", self.folder.join("kubeconfig"))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(again)
            .spawn()
            .map_err(io("start the operator"))?;
        shared.operator = Some(child);
        Ok(())
    }

    /// Every target that was met, and at which moments the operator died there.
    pub fn hits(&self) -> BTreeMap<Target, BTreeSet<&'static str>> {
        lock(&self.shared).hits.clone()
    }

    /// What was done, one line a target.
    pub fn table(&self) -> String {
        let shared = lock(&self.shared);
        let mut lines: Vec<String> = (shared.hits.iter())
            .map(|((phase, step, write), moments)| {
                let moments: Vec<&str> = moments.iter().rev().copied().collect();
                let phase = format!("{phase:?}");
                format!("{phase:<8} {step:<13} {:<14} {write}", moments.join("+"))
            })
            .collect();
        let (kills, writes) = (shared.kills, self.proxy.writes());
        lines.push(format!("{kills} kills, {writes} writes"));
        lines.join("\n")
    }

    /// Stops the operator outside of the cluster and gives the cluster its own back.
    ///
    /// # Errors
    /// When its manifests are refused.
    pub fn end(self) -> Result<(), Error> {
        {
            let mut shared = lock(&self.shared);
            shared.phase = None;
            shared.kill();
        }
        Ok(self.stage.install_operator()?)
    }
}

/// What is installed: kind, namespace and name, sorted. The random part of a root's name is left
/// out, so that a second root still shows.
///
/// # Errors
/// When the cluster cannot be asked.
pub fn inventory(stage: &Stage) -> Result<Vec<String>, Error> {
    let text = stage.cluster.kubectl(&[
        "get",
        KINDS,
        "-A",
        "-l",
        "app.kubernetes.io/managed-by=applink",
        "-o",
        "jsonpath={range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name}{\"\\n\"}{end}",
    ])?;
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| match line.find(applink::names::ROOT_SECRET_PREFIX) {
            Some(at) => line[..at + applink::names::ROOT_SECRET_PREFIX.len()].to_owned(),
            None => line.to_owned(),
        })
        .collect();
    lines.sort();
    Ok(lines)
}

/// Fails unless the nodes have nothing left of the network agent.
///
/// # Errors
/// [`Error::Differs`] names the node and what it still has.
pub fn assert_nodes_clean(stage: &Stage) -> Result<(), Error> {
    for node in stage
        .cluster
        .state()
        .nodes
        .iter()
        .map(crate::node::Node::name)
    {
        let look = "cat /etc/cni/net.d/* 2>/dev/null; ls /opt/cni/bin";
        let found = stage.cluster.run_on(&node, &["sh", "-c", look])?;
        if found.contains("istio") {
            return Err(Error::Differs(format!("{node} is not clean:\n{found}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_write_belongs_to_the_step_that_makes_it() {
        let rows = [
            (
                Phase::Install,
                Method::PATCH,
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/a",
                "CRDs",
            ),
            (
                Phase::Install,
                Method::PATCH,
                "/apis/apps/v1/namespaces/s/deployments/istiod",
                "ControlPlane",
            ),
            (
                Phase::Install,
                Method::PATCH,
                "/apis/apps/v1/namespaces/s/daemonsets/ztunnel",
                "Nodes",
            ),
            (
                Phase::Install,
                Method::PATCH,
                "/apis/applink.dev/v1alpha1/meshmembers/m/status",
                "Status",
            ),
            (
                Phase::Leave,
                Method::PATCH,
                "/api/v1/namespaces/shop",
                "Unenrol",
            ),
            (
                Phase::Leave,
                Method::DELETE,
                "/apis/apps/v1/namespaces/s/daemonsets/ztunnel",
                "Proxies",
            ),
            (
                Phase::Leave,
                Method::DELETE,
                "/apis/apps/v1/namespaces/s/daemonsets/istio-cni-node",
                "Agents",
            ),
            (
                Phase::Leave,
                Method::PATCH,
                "/apis/apps/v1/namespaces/s/daemonsets/applink-leave-check",
                "Check",
            ),
            (
                Phase::Leave,
                Method::DELETE,
                "/apis/apps/v1/namespaces/s/daemonsets/applink-leave-check",
                "CheckGone",
            ),
            (
                Phase::Leave,
                Method::DELETE,
                "/apis/apps/v1/namespaces/s/deployments/istiod",
                "Rest",
            ),
        ];
        for (phase, method, path, expected) in rows {
            assert_eq!(step(phase, &method, path), expected, "{method} {path}");
        }
    }
}
