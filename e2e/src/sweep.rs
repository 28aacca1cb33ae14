//! The kill sweep: the operator dies before and after chosen API writes and is started again, in
//! one run that must still end where an undisturbed one does.
//!
//! The operator runs as a process of its own behind the counting proxy, under the identity that
//! its manifests give it, so its rights are those of the cluster.

pub mod course;
pub mod deaths;
pub mod inventory;
pub mod standing;
pub mod step;
pub mod weather;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use course::Course;
pub use deaths::Deaths;
pub use standing::Standing;
pub use step::Phase;
use weather::Event;
pub use weather::Weather;

use crate::cluster;
use crate::files;
use crate::images;
use crate::images::definitions::Published;
use crate::stage::{self, Stage};
use crate::trace::Trace;
use crate::write_proxy::{Moment, Verdict, Write, WriteProxy};

/// The identity that the operator's manifests give it.
const USER: &str = "system:serviceaccount:applink-operator:applink-operator";
const GROUP: &str = "system:serviceaccounts";
/// How often it is looked whether the operator has died.
const BEAT: Duration = Duration::from_millis(50);

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

#[derive(Debug)]
struct Shared {
    operator: Option<Child>,
    phase: Option<Phase>,
    deaths: Deaths,
    weather: Option<Weather>,
}

impl Shared {
    /// Kills the operator if it is due at this write.
    fn judge(&mut self, moment: Moment, write: &Write) -> Verdict {
        let Some(phase) = self.phase else {
            return Verdict::Pass;
        };
        if self.operator.is_none() {
            // The client is dead already; what it had under way is cut with it.
            return Verdict::Cut;
        }
        if !self.deaths.is_due(phase, moment, write) {
            return Verdict::Pass;
        }
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

/// A lock that somebody died with is still a lock.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Sweep<'a> {
    /// Takes the operator in the cluster away and stands ready to run one outside of it.
    ///
    /// # Errors
    /// When the operator in the cluster does not go, or the one outside cannot be prepared.
    pub async fn start(stage: &'a Stage, deaths: Deaths) -> Result<Self, Error> {
        let folder = stage.cluster.folder().join("sweep");
        files::create_dir(&folder)?;
        Published::find()?.write(&folder.join("crds"))?;
        let identity = stage.cluster.kubeconfig_as(USER, Some(GROUP))?;
        let upstream = crate::control_plane::client(&identity).await?;
        let shared = Arc::new(Mutex::new(Shared {
            operator: None,
            phase: None,
            deaths,
            weather: None,
        }));
        let judge = shared.clone();
        let proxy = WriteProxy::start(
            upstream,
            Arc::new(move |moment, write| lock(&judge).judge(moment, write)),
        )
        .await
        .map_err(|source| Error::Io {
            doing: "start the counting proxy",
            source,
        })?;
        files::write(&folder.join("kubeconfig"), proxy.kubeconfig())?;
        stage.stop_operator().await?;
        Ok(Self {
            stage,
            shared,
            proxy,
            folder,
        })
    }

    /// Waits for `goal` in that phase and starts the operator whenever it is not there. Nodes that are started again are
    /// excused from the `trace`.
    ///
    /// # Errors
    /// That of `goal`, or when the operator cannot be started.
    pub async fn drive<T>(
        &self,
        phase: Phase,
        trace: Option<&Trace>,
        goal: impl Future<Output = Result<T, stage::Error>>,
    ) -> Result<T, Error> {
        lock(&self.shared).phase = Some(phase);
        tokio::pin!(goal);
        let found = loop {
            self.revive()?;
            self.weather(phase, trace).await?;
            tokio::select! {
                found = &mut goal => break found,
                () = tokio::time::sleep(BEAT) => {}
            }
        };
        lock(&self.shared).phase = None;
        // It may have died in the very last write.
        self.revive()?;
        Ok(found?)
    }

    /// What goes wrong now by itself.
    async fn weather(&self, phase: Phase, trace: Option<&Trace>) -> Result<(), Error> {
        let taken = lock(&self.shared).weather.take();
        let Some(mut weather) = taken else {
            return Ok(());
        };
        let result = match weather.event(Instant::now()) {
            None => Ok(()),
            Some(Event::Death) => {
                let mut shared = lock(&self.shared);
                shared.deaths.at_random(phase);
                shared.kill();
                Ok(())
            }
            Some(Event::ApiServer) => weather.restart_api_server().await,
            Some(Event::Node) => weather.restart_node(trace).await,
        };
        lock(&self.shared).weather = Some(weather);
        result
    }

    fn revive(&self) -> Result<(), Error> {
        let io = |doing| move |source| Error::Io { doing, source };
        let mut shared = lock(&self.shared);
        if let Some(child) = &mut shared.operator {
            return match child.try_wait().map_err(io("look at the operator"))? {
                None => Ok(()),
                // Without an API server its Lease is lost, and it ends.
                Some(_) if shared.weather.is_some() => {
                    shared.operator = None;
                    Ok(())
                }
                Some(status) => Err(Error::Differs(format!(
                    "the operator ended by itself with {status}, see {}",
                    self.folder.join("operator.log").display()
                ))),
            };
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

    /// Where the operator has died.
    pub fn deaths(&self) -> Deaths {
        lock(&self.shared).deaths.clone()
    }

    /// Goes on with other deaths.
    pub fn aim(&self, change: impl FnOnce(&mut Deaths)) {
        change(&mut lock(&self.shared).deaths);
    }

    /// From now on things go wrong at random, or no longer; what did until now.
    pub fn expose(&self, weather: Option<Weather>) -> Option<weather::Counts> {
        let before = std::mem::replace(&mut lock(&self.shared).weather, weather);
        before.map(|weather| weather.counts())
    }

    /// Writes that the proxy has seen.
    pub fn writes(&self) -> u64 {
        self.proxy.writes()
    }

    /// Stops the operator outside of the cluster and gives the cluster its own back.
    ///
    /// # Errors
    /// When its manifests are refused.
    pub fn end(self) -> Result<(), Error> {
        lock(&self.shared).kill();
        Ok(self.stage.install_operator()?)
    }
}
