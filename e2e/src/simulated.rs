//! A cluster of many nodes that are none: a real API server with the real controllers and the real scheduler, and kwok in
//! place of kubelets. Everything listens on loopback, needs no root, and dies with the value.
//!
//! What a kubelet would start does not run: istiod, network agents and proxies are pods that say that they run. Whoever
//! asks them is answered by [`signals`].

use std::path::PathBuf;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery;
use serde_json::Value;

use crate::apiserver::Audit;
use crate::control_plane::{self, ControlPlane};
use crate::controllers::{Controller, Pace};
use crate::process::{self, Tethered};
use crate::programs::{self, Module};
use crate::progress::Progress;
use crate::{certificates, files};

pub mod objects;
pub mod signals;
mod stages;

/// The annotation by which kwok knows the nodes it plays, and its value.
const MANAGED: (&str, &str) = ("kwok.x-k8s.io/node", "fake");
/// Seconds for which a beat of a node counts.
const LEASE: u32 = 240;
/// How fast the controllers of a thousand nodes may be. Beats of nodes are a minute apart.
const PACE: Pace = Pace {
    requests: 5000,
    daemon_sets: 4,
    look: Duration::from_secs(10),
    silence: Duration::from_mins(10),
};

/// A simulated cluster could not be started, or refused something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server.
    #[error(transparent)]
    ControlPlane(#[from] control_plane::Error),
    /// A program could not be built.
    #[error(transparent)]
    Programs(#[from] programs::Error),
    /// A certificate could not be made.
    #[error(transparent)]
    Certificates(#[from] certificates::Error),
    /// A program did not start.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// A file could not be written.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// An object is none, or was refused.
    #[error("cannot apply {what}")]
    Apply {
        /// Kind and name.
        what: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// A blocking part was cancelled.
    #[error("the start was cancelled")]
    Cancelled(#[from] tokio::task::JoinError),
}

/// A running cluster without a kubelet; dropped, everything stops and its files go.
pub struct Simulated {
    /// An administrator's client.
    pub client: Client,
    // Dropped in this order: whoever asks before who answers.
    _kwok: Tethered,
    _controllers: Vec<Tethered>,
    plane: ControlPlane,
}

impl Simulated {
    /// Starts it without a node. The audit log tells of `audited` only.
    ///
    /// # Errors
    /// When a program cannot be built or does not start.
    pub async fn start(audited: &str, progress: Progress) -> Result<Self, Error> {
        let plane = ControlPlane::start_with(Audit::Only(audited.to_owned())).await?;
        let client = plane.client().await?;
        let starts = tokio::task::spawn_blocking(move || {
            let kubernetes = programs::build(Module::Kubernetes, progress)?;
            let kwok = programs::build(Module::Kwok, progress)?.join("kwok");
            let site = plane.site();
            let mut controllers = Vec::new();
            for controller in Controller::ALL {
                let mut arguments = controller.arguments(site, PACE)?;
                // Two clusters on one machine would want the same port.
                arguments.push("--secure-port=0".to_owned());
                let name = controller.name();
                let log = site.folder.join(format!("{name}.log"));
                controllers.push(Tethered::start(&kubernetes.join(name), &arguments, &log)?);
            }
            let configuration = site.folder.join("kwok.yaml");
            files::write(&configuration, stages::configuration())?;
            let arguments = [
                format!("--kubeconfig={}", site.kubeconfig().display()),
                format!("--config={}", configuration.display()),
                "--node-ip=127.0.0.1".to_owned(),
            ];
            let kwok = Tethered::start(&kwok, &arguments, &site.folder.join("kwok.log"))?;
            Ok::<_, Error>((plane, controllers, kwok))
        });
        let (plane, controllers, kwok) = starts.await??;
        Ok(Self {
            client,
            _kwok: kwok,
            _controllers: controllers,
            plane,
        })
    }

    /// Applies an object as administrator. A kind that was made a moment ago is the caller's to wait for.
    ///
    /// # Errors
    /// [`Error::Apply`] with the server's words.
    pub async fn apply(&self, object: &Value) -> Result<(), Error> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let (kind, name) = (kind.unwrap_or_default(), name.unwrap_or_default());
        let failed = |source| Error::Apply {
            what: format!("{kind} {name}"),
            source: Box::new(source),
        };
        let version = text("/apiVersion").unwrap_or_default();
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let (resource, _) = discovery::pinned_kind(&self.client, &gvk)
            .await
            .map_err(failed)?;
        let api: Api<DynamicObject> = match text("/metadata/namespace") {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let params = PatchParams::apply("e2e").force();
        api.patch(name, &params, &Patch::Apply(object))
            .await
            .map_err(failed)?;
        Ok(())
    }

    /// A kubeconfig of another user, told apart in the audit log; RBAC decides what it may do.
    ///
    /// # Errors
    /// When its certificate cannot be made.
    pub fn kubeconfig_as(&self, user: &str, group: Option<&str>) -> Result<PathBuf, Error> {
        Ok(self.plane.kubeconfig_as(user, group)?)
    }

    /// The audit log.
    pub fn audit_log(&self) -> PathBuf {
        self.plane.audit_log()
    }

    /// Where files and logs are.
    pub fn folder(&self) -> PathBuf {
        self.plane.site().folder.clone()
    }
}
