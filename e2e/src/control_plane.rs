//! Only etcd and an API server, for tests of what the API server does: CRD rules, admission,
//! server-side apply, RBAC.
//!
//! Needs no root and no node: free ports on loopback, files in a temporary folder. Both programs
//! die with the value, and with the test process however it ends, so a value may also be kept in
//! a static. Start takes about 3 s once the programs are built.
//!
//! ```no_run
//! # async fn example() -> Result<(), e2e::control_plane::Error> {
//! let plane = e2e::control_plane::ControlPlane::start().await?;
//! let client: kube::Client = plane.client().await?;
//! # Ok(()) }
//! ```

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::apiserver::{Audit, Site, write_kubeconfig};
use crate::process::{self, Tethered};
use crate::programs::{self, Module};
use crate::progress::Progress;
use crate::{certificates, files};

/// How long an API server may take until it is ready, on a busy machine.
const READY: Duration = Duration::from_secs(90);

/// A control plane could not be started or reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The programs could not be built.
    #[error(transparent)]
    Programs(#[from] programs::Error),
    /// A certificate could not be made.
    #[error(transparent)]
    Certificates(#[from] certificates::Error),
    /// A program did not start, or ended.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// No free port.
    #[error("cannot have a free port on loopback")]
    Port(#[source] std::io::Error),
    /// The kubeconfig does not make a client.
    #[error("cannot read the kubeconfig at {}", path.display())]
    Kubeconfig {
        /// Its place.
        path: PathBuf,
        /// The reason.
        source: kube::config::KubeconfigError,
    },
    /// The client could not be made.
    #[error("cannot make a client of the API server")]
    Client(#[source] kube::Error),
    /// The API server ended, or did not become ready.
    #[error("the API server did not become ready within {} s ({last}); its log ends:\n{log}", READY.as_secs())]
    NotReady {
        /// The last answer.
        last: String,
        /// The end of its log.
        log: String,
    },
    /// A blocking part was cancelled.
    #[error("the start was cancelled")]
    Cancelled(#[from] tokio::task::JoinError),
}

/// A running etcd and API server; dropped, both stop and their files go.
#[derive(Debug)]
pub struct ControlPlane {
    site: Site,
    // Dropped in this order: the server before its store.
    _apiserver: Tethered,
    _etcd: Tethered,
    _folder: Folder,
}

#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Left-overs are swept by the next control plane.
        let _ = files::remove_dir(&self.0);
    }
}

impl ControlPlane {
    /// Builds the programs if need be, starts both and waits until the API server is ready.
    pub async fn start() -> Result<Self, Error> {
        Self::start_with(Audit::Everybody).await
    }

    /// The same with another audit log.
    pub async fn start_with(audit: Audit) -> Result<Self, Error> {
        let plane = tokio::task::spawn_blocking(move || Self::launch(audit)).await??;
        ready(&plane.site).await?;
        Ok(plane)
    }

    fn launch(audit: Audit) -> Result<Self, Error> {
        let progress = Progress::new();
        let etcd = programs::build(Module::Etcd, progress)?.join("etcd");
        let kubernetes = programs::build(Module::Kubernetes, progress)?;
        let folder = Folder(process::temporary_folder("control-plane")?);
        let [port, etcd_port, etcd_peer_port] = free_ports().map_err(Error::Port)?;
        let site = Site {
            folder: folder.0.clone(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port,
            etcd_port,
            etcd_peer_port,
            services: "10.96.0.0/16".to_owned(),
            service: IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1)),
            audit,
        };
        site.prepare()?;
        let start = |program: &Path, arguments: &[String], log: &str| {
            Tethered::start(program, arguments, &folder.0.join(log))
        };
        let etcd = start(&etcd, &site.etcd_arguments(), "etcd.log")?;
        // The API server waits for etcd by itself.
        let mut arguments = site.arguments();
        // Nothing here serves pods, and the default asks loopback for an address of the host.
        arguments.push("--endpoint-reconciler-type=none".to_owned());
        let apiserver = start(
            &kubernetes.join("kube-apiserver"),
            &arguments,
            "kube-apiserver.log",
        )?;
        Ok(Self {
            site,
            _apiserver: apiserver,
            _etcd: etcd,
            _folder: folder,
        })
    }

    /// A client with every right (group `system:masters`).
    pub async fn client(&self) -> Result<kube::Client, Error> {
        client(&self.site.kubeconfig()).await
    }

    /// A client as another user, with no right but those that RBAC gives to it; the audit log
    /// names it as `user`.
    pub async fn client_as(&self, user: &str, group: Option<&str>) -> Result<kube::Client, Error> {
        client(&self.kubeconfig_as(user, group)?).await
    }

    /// The kubeconfig of [`ControlPlane::client_as`], for a program under test.
    pub fn kubeconfig_as(&self, user: &str, group: Option<&str>) -> Result<PathBuf, Error> {
        // In the variable KUBECONFIG a colon parts two files.
        let name = format!("kubeconfig-{}", user.replace([':', '/'], "-"));
        let path = self.site.folder.join(name);
        write_kubeconfig(&self.site, &path, user, group)?;
        Ok(path)
    }

    /// Where the API server is, for programs beside it.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The kubeconfig of [`ControlPlane::client`], for kubectl or a program under test.
    pub fn kubeconfig(&self) -> PathBuf {
        self.site.kubeconfig()
    }

    /// The URL of the API server.
    pub fn url(&self) -> String {
        self.site.url()
    }

    /// The audit log: one `audit.k8s.io/v1` event in JSON a line, level Metadata.
    pub fn audit_log(&self) -> PathBuf {
        self.site.audit_log()
    }

    /// Stops both programs; the same as dropping the value.
    pub fn stop(self) {}
}

/// A client from a kubeconfig file alone, without looking at the environment.
pub async fn client(path: &Path) -> Result<kube::Client, Error> {
    let failed = |source| Error::Kubeconfig {
        path: path.to_owned(),
        source,
    };
    let config = Kubeconfig::read_from(path).map_err(failed)?;
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
        .await
        .map_err(failed)?;
    kube::Client::try_from(config).map_err(Error::Client)
}

/// Waits until `/readyz` says so.
pub(crate) async fn ready(site: &Site) -> Result<(), Error> {
    let client = client(&site.kubeconfig()).await?;
    let deadline = Instant::now() + READY;
    loop {
        let last = match http::Request::get("/readyz").body(Vec::new()) {
            Ok(request) => match client.request_text(request).await {
                Ok(_) => return Ok(()),
                Err(error) => crate::command::chain(&error),
            },
            Err(error) => error.to_string(),
        };
        if Instant::now() > deadline {
            let log = files::read(&site.folder.join("kube-apiserver.log")).unwrap_or_default();
            return Err(Error::NotReady {
                last,
                log: crate::command::tail(&log, 15),
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Ports that were free a moment ago; held together, so that they differ.
fn free_ports<const N: usize>() -> std::io::Result<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
