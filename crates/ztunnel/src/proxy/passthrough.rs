//! Captured plain inbound connections: from outside the mesh, or from peers that do not use tunnels.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;

use super::authorize::Watched;
use super::carry::{carry, finish};
use super::connections::{Live, Protocol};
use super::inbound::likely_service;
use super::party::{labels, party};
use super::pod::Pod;
use super::receive::source;
use super::send::{dial, own};
use super::{Error, GUARDED};
use crate::access_log::Addresses;
use crate::copy::Plain;
use crate::metrics::{Reporter, Security};
use crate::rbac::Connection;
use crate::socket::{Source, original_destination};

/// Serves one connection.
pub(super) async fn plain(pod: Arc<Pod>, stream: TcpStream, peer: SocketAddr) {
    let accepted = Instant::now();
    let (to, problem) = match original_destination(&stream) {
        Ok(to) if GUARDED.contains(&to.port()) => (to, Some(Error::OwnPort(to))),
        Ok(to) => (to, None),
        Err(error) => (peer, Some(Error::OriginalDestination(error))),
    };
    // Policies are the pod's: without knowing it nothing may pass.
    let workload = match problem {
        Some(problem) => Err(problem),
        None => pod.workload(to.ip()).await,
    };
    let addresses = Addresses {
        source: peer,
        destination: to,
        hbone: None,
    };
    let mesh = pod.shared.store.snapshot();
    let client = source(&pod, &mesh, peer.ip(), None);
    let client = party(client.as_deref(), None, None);
    let workload = match workload {
        Ok(workload) => workload,
        Err(error) => {
            let labels = labels(
                Reporter::Destination,
                client,
                own(&pod),
                None,
                Security::Unknown,
            );
            return pod
                .shared
                .reports
                .refuse(labels, &addresses, error.flag(), &error.chain());
        }
    };
    let service = likely_service(&mesh, &workload, None, to.port());
    let labels = labels(
        Reporter::Destination,
        client,
        party(Some(&workload), None, None),
        service.as_ref(),
        Security::Unknown,
    );
    drop(mesh);
    let live = pod.shared.reports.open(labels, addresses, accepted);
    let connection = Connection {
        identity: None,
        source: peer.ip(),
        destination: to,
    };
    let watched = match Watched::allowed(&pod, to.ip(), connection) {
        Ok(watched) => watched,
        Err(error) => return finish(live, Err(error)),
    };
    let _listed = pod.connections.open(Live {
        reporter: Reporter::Destination,
        src: peer,
        original_dst: to,
        actual_dst: to,
        protocol: Protocol::Tcp,
    });
    // Never the client's own port: the kernel would take the two connections for one.
    let from = if pod.shared.settings.keeps_source {
        Source::Ip(peer.ip())
    } else {
        Source::Any
    };
    let server = tokio::select! {
        server = dial(&pod, to, from) => server,
        () = pod.drain.cut() => Err(pod.cut_reason()),
    };
    match server {
        Ok(server) => carry(&pod, Plain(stream), Plain(server), live, watched.denied()).await,
        Err(error) => finish(live, Err(error)),
    }
}
