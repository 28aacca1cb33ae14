//! Captured outbound connections: decides, connects, carries.

use std::future::pending;
use std::hash::BuildHasher as _;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::sys::socket::MsgFlags;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::carry::{carry, finish};
use super::connections::{Live, Protocol};
use super::outbound::{Hop, Question, Route, Unanswered, route};
use super::party::{labels, party};
use super::pod::Pod;
use super::{CONNECT_TIMEOUT, Error};
use crate::access_log::Addresses;
use crate::balance::Family;
use crate::buffer;
use crate::copy::Plain;
use crate::hbone::{self, Client, Key, Request, Stream, forwarded::Forwarded};
use crate::metrics::{Party, Reporter, Security};
use crate::socket::{Source, original_destination};
use crate::tls;
use crate::workload::Workload;

/// Most bytes that a client's first words may have to go along with the request: below every peer's first window.
const EARLY: usize = 16 * 1024;

/// Serves one captured connection.
pub(super) async fn outbound(pod: Arc<Pod>, stream: TcpStream, peer: SocketAddr) {
    let accepted = Instant::now();
    let to = match original_destination(&stream) {
        Ok(to) => to,
        Err(error) => return refuse(&pod, peer, peer, None, &Error::OriginalDestination(error)),
    };
    let client = match pod.workload(peer.ip()).await {
        Ok(client) => client,
        Err(error) => return refuse(&pod, peer, to, None, &error),
    };
    let route = match decide(&pod, &client, to).await {
        Ok(route) => route,
        Err(error) => return refuse(&pod, peer, to, Some(&client), &error),
    };
    let (next, hbone, security, protocol) = match &route.hop {
        Hop::Plain(to) => (*to, None, Security::Unknown, Protocol::Tcp),
        Hop::Tunnel { to, authority, .. } => (
            *to,
            Some(authority.to_string().into()),
            Security::MutualTls,
            Protocol::Hbone,
        ),
    };
    let server = route.workload.as_deref();
    let labels = labels(
        Reporter::Source,
        party(Some(&client), None, None),
        party(server, None, None),
        route.service.as_ref(),
        security,
    );
    let addresses = Addresses {
        source: peer,
        destination: next,
        hbone,
    };
    let live = pod.shared.reports.open(labels, addresses, accepted);
    let _listed = pod.connections.open(Live {
        reporter: Reporter::Source,
        src: peer,
        original_dst: to,
        actual_dst: next,
        protocol,
    });
    let early = match &route.hop {
        Hop::Plain(_) => Bytes::new(),
        Hop::Tunnel { .. } => early(&stream),
    };
    let connected = tokio::select! {
        connected = connect(&pod, &client, peer, &route, &early) => connected,
        () = pod.drain.cut() => Err(pod.cut_reason()),
    };
    let client = Plain(stream);
    match connected {
        Ok(Connected::Plain(server)) => carry(&pod, client, Plain(server), live, pending()).await,
        Ok(Connected::Tunnel(server)) => {
            live.add_request_bytes(early.len() as u64);
            drop(early);
            carry(&pod, client, server, live, pending()).await;
        }
        Err(error) => {
            if !early.is_empty() {
                // What the client sent is lost, and a reset tells it so, as it does for bytes that nobody has read.
                let _ = SockRef::from(&client.0).set_linger(Some(Duration::ZERO));
            }
            finish(live, Err(error));
        }
    }
}

/// What the client has sent by now; most have said something before they are even accepted.
fn early(stream: &TcpStream) -> Bytes {
    let mut buffer = buffer::lend();
    let space = buffer.space();
    let most = space.len().min(EARLY);
    // Asked of the socket itself: the runtime has not heard of its bytes yet. A fault is found again by the next read.
    let count = nix::sys::socket::recv(
        stream.as_raw_fd(),
        space.get_mut(..most).unwrap_or_default(),
        MsgFlags::MSG_DONTWAIT,
    );
    buffer.into_bytes(count.unwrap_or(0))
}

enum Connected {
    Plain(TcpStream),
    Tunnel(Stream),
}

fn refuse(pod: &Pod, peer: SocketAddr, to: SocketAddr, client: Option<&Workload>, error: &Error) {
    let source = client.map_or_else(|| own(pod), |client| party(Some(client), None, None));
    let labels = labels(
        Reporter::Source,
        source,
        Party::default(),
        None,
        Security::Unknown,
    );
    let addresses = Addresses {
        source: peer,
        destination: to,
        hbone: None,
    };
    pod.shared
        .reports
        .refuse(labels, &addresses, error.flag(), &error.chain());
}

/// What is known about a pod that the control plane has not told about.
pub(super) fn own(pod: &Pod) -> Party {
    Party {
        pod: Some(Arc::clone(&pod.info.name)),
        namespace: Some(Arc::clone(&pod.info.namespace)),
        ..Party::default()
    }
}

async fn decide(pod: &Pod, client: &Workload, to: SocketAddr) -> Result<Route, Error> {
    let (mesh, sample) = (pod.shared.store.snapshot(), sample());
    let question = Question {
        mesh: &mesh,
        network: &pod.shared.settings.network,
        client,
        to,
        sample,
        resolved: None,
    };
    let hostname = match route(&question) {
        Ok(route) => return Ok(route),
        Err(Unanswered::Refused(error)) => return Err(error),
        Err(Unanswered::Resolve(hostname)) => hostname,
    };
    let address = resolve(&hostname, Family::of(to.ip()), sample).await?;
    match route(&Question {
        resolved: Some((&hostname, address)),
        ..question
    }) {
        Ok(route) => Ok(route),
        Err(Unanswered::Refused(error)) => Err(error),
        Err(Unanswered::Resolve(other)) => Err(Error::NoHealthyUpstream(other)),
    }
}

/// An address of a host, by the node's own resolver.
async fn resolve(hostname: &Arc<str>, family: Family, sample: u64) -> Result<IpAddr, Error> {
    let unresolvable = |source| Error::Unresolvable(Arc::clone(hostname), source);
    let found = timeout(CONNECT_TIMEOUT, tokio::net::lookup_host((&**hostname, 0))).await;
    let found = found
        .map_err(|_| unresolvable(std::io::ErrorKind::TimedOut.into()))?
        .map_err(unresolvable)?;
    let all: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    let fitting: Vec<IpAddr> = all
        .iter()
        .copied()
        .filter(|address| Family::of(*address) == family)
        .collect();
    let choice = if fitting.is_empty() { all } else { fitting };
    let at = usize::try_from(sample % choice.len().max(1) as u64).unwrap_or(0);
    choice
        .get(at)
        .copied()
        .ok_or_else(|| unresolvable(std::io::ErrorKind::NotFound.into()))
}

async fn connect(
    pod: &Arc<Pod>,
    client: &Workload,
    peer: SocketAddr,
    route: &Route,
    early: &Bytes,
) -> Result<Connected, Error> {
    let from = peer.ip();
    match &route.hop {
        Hop::Plain(to) => Ok(Connected::Plain(dial(pod, *to, source(from)).await?)),
        Hop::Tunnel {
            to,
            authority,
            expected,
        } => {
            let host = route.service.as_ref().map(|service| &*service.hostname);
            let request = Request {
                authority: authority.clone(),
                baggage: Some(client.baggage().encode()),
                forwarded: Some(Forwarded::encode(peer, host)),
                traceparent: Some(traceparent()),
                network: None,
            };
            let key = Key {
                source: client.identity.clone(),
                destinations: expected.clone(),
                to: *to,
                from,
            };
            let make = || make_tunnel(Arc::clone(pod), key.clone());
            let (stream, ..) =
                pod.pool
                    .open(&key, &request, early, make)
                    .await
                    .map_err(|error| match error {
                        hbone::Error::TimedOut => Error::TunnelTimedOut(*to),
                        source => Error::Tunnel { to: *to, source },
                    })?;
            Ok(Connected::Tunnel(stream))
        }
    }
}

/// Makes a tunnel for the pool.
async fn make_tunnel(pod: Arc<Pod>, key: Key) -> Result<Client, hbone::Error> {
    let certificate = pod
        .certificate(&key.source)
        .await
        .map_err(hbone::Error::certificate)?;
    let config =
        tls::client_config(&certificate, &key.destinations).map_err(hbone::Error::certificate)?;
    let stream = timeout(
        CONNECT_TIMEOUT,
        pod.sockets.connect(key.to, source(key.from)),
    )
    .await;
    let stream = match stream {
        Ok(stream) => stream.map_err(|error| hbone::Error::Connect(Arc::new(error)))?,
        Err(_) => return Err(hbone::Error::TimedOut),
    };
    let tunnel = hbone::connect(stream, config, pod.shared.settings.hbone);
    timeout(CONNECT_TIMEOUT, tunnel)
        .await
        .map_err(|_| hbone::Error::TlsTimedOut)?
}

/// A plain connection.
pub(super) async fn dial(pod: &Pod, to: SocketAddr, from: Source) -> Result<TcpStream, Error> {
    match timeout(CONNECT_TIMEOUT, pod.sockets.connect(to, from)).await {
        Ok(connected) => connected.map_err(|source| Error::Connect { to, source }),
        Err(_) => Err(Error::TimedOut(to)),
    }
}

/// The pod keeps the address it used; loopback reaches nothing outside.
fn source(from: IpAddr) -> Source {
    if from.is_loopback() {
        Source::Any
    } else {
        Source::Ip(from)
    }
}

/// A number for choices that need no secrecy.
fn sample() -> u64 {
    std::hash::RandomState::new().hash_one(0)
}

/// W3C trace context with fresh ids and nothing sampled.
fn traceparent() -> String {
    format!(
        "00-{:016x}{:016x}-{:016x}-00",
        sample() | 1,
        sample(),
        sample() | 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_ids_have_the_standard_form_and_differ() {
        let (one, two) = (traceparent(), traceparent());
        assert_ne!(one, two);
        let parts: Vec<&str> = one.split('-').collect();
        assert_eq!(
            parts.iter().map(|part| part.len()).collect::<Vec<_>>(),
            [2, 32, 16, 2]
        );
        assert!(
            one.bytes()
                .all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
        );
    }

    #[tokio::test]
    async fn a_host_name_gives_an_address_of_the_asked_family() {
        let address = resolve(&"localhost".into(), Family::V4, 7).await.unwrap();
        assert!(address.is_loopback());
        let missing = resolve(&"no-such-host.invalid".into(), Family::V4, 7)
            .await
            .unwrap_err();
        assert!(missing.to_string().contains("no-such-host.invalid"));
    }
}
