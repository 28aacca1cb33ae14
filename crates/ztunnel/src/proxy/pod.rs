//! One pod: its listeners, its tunnels, and who it is in the mesh.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::net::TcpListener;
use tokio::time::timeout;

use super::connections::Connections;
use super::{
    Error, KNOWN_TIMEOUT, OUTBOUND_PORT, PLAIN_PORT, Shared, TUNNEL_PORT, listen, passthrough,
    receive, send,
};
use crate::addr::NetworkAddress;
use crate::ca::Priority;
use crate::drain::Drain;
use crate::hbone::Pool;
use crate::identity::Identity;
use crate::socket::Sockets;
use crate::store::Snapshot;
use crate::tls::{self, WorkloadCertificate};
use crate::workload::Workload;

/// Who a pod is, as the node agent says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Info {
    /// Pod name.
    pub name: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Service account.
    pub service_account: Arc<str>,
}

/// The listeners of one pod.
#[derive(Debug)]
pub struct Listeners {
    outbound: TcpListener,
    plain: TcpListener,
    tunnel: TcpListener,
}

impl Listeners {
    /// Opens all three.
    ///
    /// # Errors
    /// When a port is taken or the namespace cannot be entered. Must be called inside a tokio runtime.
    pub fn open(sockets: &Sockets) -> io::Result<Self> {
        Ok(Self {
            outbound: sockets.listen(OUTBOUND_PORT)?,
            plain: sockets.listen(PLAIN_PORT)?,
            tunnel: sockets.listen(TUNNEL_PORT)?,
        })
    }
}

/// What the tasks of one pod share.
pub(super) struct Pod {
    pub(super) info: Info,
    pub(super) shared: Arc<Shared>,
    pub(super) sockets: Sockets,
    pub(super) pool: Pool,
    pub(super) connections: Connections,
    /// Of the whole process.
    pub(super) process: Drain,
    /// Of this pod.
    pub(super) drain: Drain,
    uid: String,
    accepting: Mutex<Option<Accepting>>,
}

/// The configuration made of the certificate in use.
struct Accepting {
    certificate: Arc<WorkloadCertificate>,
    config: tls::Acceptor,
}

/// Serves a pod until `drain`, a child of `process`, ends. Returns its list of connections at once; the tasks run on the
/// current tokio runtime.
pub fn serve(
    shared: Arc<Shared>,
    info: Info,
    sockets: Sockets,
    listeners: Listeners,
    process: Drain,
    drain: Drain,
) -> Connections {
    let connections = Connections::default();
    let uid = format!(
        "{}//Pod/{}/{}",
        shared.settings.cluster_id, info.namespace, info.name
    );
    let pod = Arc::new(Pod {
        info,
        shared,
        sockets,
        pool: Pool::default(),
        connections: connections.clone(),
        process,
        drain,
        uid,
        accepting: Mutex::new(None),
    });
    tokio::spawn(listen::accept(
        Arc::clone(&pod),
        listeners.outbound,
        send::outbound,
    ));
    tokio::spawn(listen::accept(
        Arc::clone(&pod),
        listeners.plain,
        passthrough::plain,
    ));
    tokio::spawn(listen::accept(pod, listeners.tunnel, receive::tunnel));
    connections
}

impl Pod {
    /// The pod's workload, if the control plane has told about it. `at` is one of the pod's addresses.
    pub(super) fn known(&self, mesh: &Snapshot, at: IpAddr) -> Option<Arc<Workload>> {
        let is_it = |workload: &Arc<Workload>| {
            workload.name == self.info.name
                && workload.namespace == self.info.namespace
                && workload.service_account() == &*self.info.service_account
        };
        mesh.workload(&self.uid).filter(is_it).or_else(|| {
            let address = NetworkAddress::new(Arc::clone(&self.shared.settings.network), at);
            mesh.workload_by_address(&address).filter(is_it)
        })
    }

    /// The pod's workload. A pod may run some moments before the control plane tells about it.
    ///
    /// # Errors
    /// [`Error::UnknownPod`] after 5 s.
    pub(super) async fn workload(&self, at: IpAddr) -> Result<Arc<Workload>, Error> {
        let mut changed = self.shared.store.changed();
        let found = async {
            loop {
                changed.mark_unchanged();
                if let Some(workload) = self.known(&self.shared.store.snapshot(), at) {
                    return Some(workload);
                }
                changed.changed().await.ok()?;
            }
        };
        let unknown =
            || Error::UnknownPod(format!("{}/{}", self.info.namespace, self.info.name).into());
        timeout(KNOWN_TIMEOUT, found)
            .await
            .ok()
            .flatten()
            .ok_or_else(unknown)
    }

    /// The certificate of an identity of this pod.
    ///
    /// # Errors
    /// [`Error::Certificate`] with the reason.
    pub(super) async fn certificate(
        &self,
        identity: &Identity,
    ) -> Result<Arc<WorkloadCertificate>, Error> {
        let Some(certificates) = &self.shared.certificates else {
            return Err(Error::NoAuthority);
        };
        let certificate = certificates.fetch(identity, Priority::RealTime).await;
        certificate.map_err(|source| Error::Certificate {
            identity: identity.clone(),
            source: Arc::new(source),
        })
    }

    /// How tunnels are accepted now. Made once per certificate.
    ///
    /// # Errors
    /// [`Error::Certificate`] with the reason.
    pub(super) async fn accepting(&self, identity: &Identity) -> Result<tls::Acceptor, Error> {
        let certificate = self.certificate(identity).await?;
        let mut cached = self
            .accepting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = cached.as_ref()
            && Arc::ptr_eq(&cached.certificate, &certificate)
            && certificate.is_valid(SystemTime::now())
        {
            return Ok(cached.config.clone());
        }
        let config = tls::server_config(&certificate).map_err(|source| Error::Certificate {
            identity: identity.clone(),
            source: Arc::new(source),
        })?;
        *cached = Some(Accepting {
            certificate,
            config: config.clone(),
        });
        Ok(config)
    }

    /// Why live connections are cut.
    pub(super) fn cut_reason(&self) -> Error {
        if self.process.is_cut() {
            Error::Draining
        } else {
            Error::PodGone
        }
    }
}
