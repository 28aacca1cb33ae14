//! Tunnels into the pod: takes them, decides about each stream, connects to the application.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::authorize::Watched;
use super::carry::{carry, finish};
use super::connections::{Live, Protocol};
use super::inbound::{Question, Target, likely_service, target};
use super::party::{labels, party};
use super::pod::Pod;
use super::send::{dial, own};
use super::{Error, proxy_header};
use crate::access_log::Addresses;
use crate::addr::NetworkAddress;
use crate::copy::Plain;
use crate::hbone::{self, Answer, Authority, Incoming, forwarded::Forwarded};
use crate::identity::Identity;
use crate::metrics::{Labels, Party, Reporter, Security};
use crate::rbac::Connection;
use crate::socket::{Source, canonical};
use crate::store::Snapshot;
use crate::workload::Workload;

/// A tunnel as its streams see it.
struct Tunnel {
    /// The client's end.
    from: SocketAddr,
    /// Who the client proved to be.
    peer: Identity,
    /// Our end.
    arrived: SocketAddr,
}

/// Serves one tunnel.
pub(super) async fn tunnel(pod: Arc<Pod>, stream: TcpStream, peer: SocketAddr) {
    let arrived = stream.local_addr().map_or(peer, canonical);
    let accepted = async {
        let workload = pod.workload(arrived.ip()).await?;
        let config = pod.accepting(&workload.identity).await?;
        let settings = pod.shared.settings.hbone;
        let server = hbone::accept(stream, config, settings).await;
        server.map_err(|source| Error::Tunnel { to: peer, source })
    };
    let accepted = tokio::select! {
        accepted = accepted => accepted,
        () = pod.drain.cut() => return,
    };
    let mut server = match accepted {
        Ok(server) => server,
        Err(error) => return refuse(&pod, peer, arrived, &error),
    };
    let tunnel = Arc::new(Tunnel {
        from: peer,
        peer: server.peer().clone(),
        arrived,
    });
    let mut is_closing = false;
    loop {
        let incoming = tokio::select! {
            incoming = server.next() => incoming,
            () = pod.drain.cut() => return,
            () = pod.drain.closing(), if !is_closing => {
                is_closing = true;
                server.close();
                continue;
            }
        };
        let Some(incoming) = incoming else { return };
        tokio::spawn(stream_in(Arc::clone(&pod), Arc::clone(&tunnel), incoming));
    }
}

fn refuse(pod: &Pod, peer: SocketAddr, arrived: SocketAddr, error: &Error) {
    let labels = labels(
        Reporter::Destination,
        Party::default(),
        own(pod),
        None,
        Security::Unknown,
    );
    let addresses = Addresses {
        source: peer,
        destination: arrived,
        hbone: None,
    };
    pod.shared
        .reports
        .refuse(labels, &addresses, error.flag(), &error.chain());
}

/// Serves one stream.
async fn stream_in(pod: Arc<Pod>, tunnel: Arc<Tunnel>, incoming: Incoming) {
    let (accepted, _hold) = (Instant::now(), pod.drain.hold());
    let mesh = pod.shared.store.snapshot();
    let forwarded = Forwarded::parse(incoming.request().forwarded.as_deref().unwrap_or_default());
    let client = client(&tunnel, &forwarded);
    let authority = incoming.request().authority.clone();
    let addresses = Addresses {
        source: client,
        destination: tunnel.arrived,
        hbone: Some(authority.to_string().into()),
    };
    let Some(workload) = pod.known(&mesh, tunnel.arrived.ip()) else {
        let error = Error::UnknownPod(Arc::clone(&pod.info.name));
        incoming.refuse(503);
        return refuse(&pod, client, tunnel.arrived, &error);
    };
    let decided = target(&Question {
        mesh: &mesh,
        network: &pod.shared.settings.network,
        pod: &workload,
        authority: &authority,
        arrived: tunnel.arrived.ip(),
        localhost_tunnel: pod.shared.settings.localhost_tunnel,
    });
    let facts = facts(
        &pod,
        &mesh,
        &tunnel,
        &incoming,
        &workload,
        decided.as_ref().ok(),
        forwarded.host.as_deref(),
    );
    drop(mesh);
    let live = pod.shared.reports.open(facts, addresses, accepted);
    let target = match decided {
        Ok(target) => target,
        Err(refusal) => {
            incoming.refuse(refusal.status());
            return finish(live, Err(Error::Inbound(refusal)));
        }
    };
    let connection = Connection {
        identity: Some(tunnel.peer.clone()),
        source: tunnel.from.ip(),
        destination: target.destination,
    };
    let watched = match Watched::allowed(&pod, tunnel.arrived.ip(), connection) {
        Ok(watched) => watched,
        Err(error) => {
            incoming.refuse(401);
            return finish(live, Err(error));
        }
    };
    let _listed = pod.connections.open(Live {
        reporter: Reporter::Destination,
        src: client,
        original_dst: match &authority {
            Authority::Address(address) => *address,
            Authority::Host(..) => target.destination,
        },
        actual_dst: target.connect,
        protocol: Protocol::Hbone,
    });
    let server = tokio::select! {
        server = connect(&pod, &tunnel, client, &authority, &target) => server,
        () = pod.drain.cut() => Err(pod.cut_reason()),
    };
    let server = match server {
        Ok(server) => server,
        Err(error) => {
            incoming.refuse(503);
            return finish(live, Err(error));
        }
    };
    let answer = Answer {
        baggage: pod
            .shared
            .settings
            .response_baggage
            .then(|| workload.baggage().encode()),
    };
    match incoming.accept(&answer) {
        Ok(stream) => carry(&pod, stream, Plain(server), live, watched.denied()).await,
        Err(source) => finish(
            live,
            Err(Error::Tunnel {
                to: tunnel.from,
                source,
            }),
        ),
    }
}

/// The client's own address: its proxy tells the port, and nothing else is believed.
fn client(tunnel: &Tunnel, forwarded: &Forwarded) -> SocketAddr {
    match forwarded.client {
        Some(told) if told.ip() == tunnel.from.ip() && told.port() != 0 => told,
        _ => tunnel.from,
    }
}

async fn connect(
    pod: &Pod,
    tunnel: &Tunnel,
    client: SocketAddr,
    authority: &Authority,
    target: &Target,
) -> Result<TcpStream, Error> {
    let from = if !pod.shared.settings.keeps_source || !target.keeps_source() {
        Source::Any
    } else if client == tunnel.from {
        Source::Ip(client.ip())
    } else {
        Source::Exact(client)
    };
    let mut server = dial(pod, target.connect, from).await?;
    if target.has_proxy_header {
        let to = match authority {
            Authority::Address(address) => *address,
            Authority::Host(..) => target.destination,
        };
        let header = proxy_header::encode(client, to, Some(&tunnel.peer));
        server
            .write_all(&header)
            .await
            .map_err(|source| Error::Connect {
                to: target.connect,
                source,
            })?;
    }
    Ok(server)
}

fn facts(
    pod: &Pod,
    mesh: &Snapshot,
    tunnel: &Tunnel,
    incoming: &Incoming,
    workload: &Workload,
    target: Option<&Target>,
    host: Option<&str>,
) -> Labels {
    let request = incoming.request();
    let is_local = request
        .network
        .as_ref()
        .is_none_or(|network| **network == *pod.shared.settings.network);
    let source = is_local
        .then(|| source(pod, mesh, tunnel.from.ip(), Some(&tunnel.peer)))
        .flatten();
    let named = target.and_then(|target| target.service.clone());
    let port = target.map_or_else(
        || request.authority.port(),
        |target| target.destination.port(),
    );
    let service = named.or_else(|| likely_service(mesh, workload, host, port));
    labels(
        Reporter::Destination,
        party(
            source.as_deref(),
            Some(&tunnel.peer),
            request.baggage.as_deref(),
        ),
        party(Some(workload), None, None),
        service.as_ref(),
        Security::MutualTls,
    )
}

/// The client's workload by its address; one that does not have the proven identity is another one.
pub(super) fn source(
    pod: &Pod,
    mesh: &Snapshot,
    address: IpAddr,
    identity: Option<&Identity>,
) -> Option<Arc<Workload>> {
    let address = NetworkAddress::new(Arc::clone(&pod.shared.settings.network), address);
    mesh.workload_by_address(&address)
        .filter(|workload| identity.is_none_or(|identity| workload.identity == *identity))
}
