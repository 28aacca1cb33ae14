//! Listens inside one pod.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::answer::{Client, Transport, Verdict, decide, server_failure};
use super::forward::{self, Sockets};
use super::resolvers::Resolvers;
use crate::drain::Drain;
use crate::metrics::dns::DnsLabels;
use crate::metrics::{self, Party};
use crate::socket;
use crate::store::{Snapshot, Store};

/// Largest query read from a datagram. Queries are small; a longer one cannot be a question of ours.
const LARGEST_QUERY: usize = 4096;
/// Forwarded datagrams in flight per pod; more are answered with a failure at once.
const MOST_FORWARDED: usize = 512;
/// TCP connections per pod; more wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 64;
/// A TCP client that says nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(10);
/// Pause after a failed accept or receive, so that a lasting fault does not spin.
const PAUSE: Duration = Duration::from_millis(50);

/// What all pods of this process share.
#[derive(Debug)]
pub struct Shared {
    /// The state of the mesh.
    pub store: Arc<Store>,
    /// The node's resolvers.
    pub resolvers: Resolvers,
    /// Counters.
    pub counters: metrics::Dns,
    /// The cluster's domain.
    pub domain: String,
    /// This node's network.
    pub network: String,
    /// This cluster's id, the first part of a pod's workload uid.
    pub cluster_id: String,
}

/// The server of one pod.
struct Server {
    shared: Arc<Shared>,
    namespace: Arc<str>,
    workload: String,
    sockets: Arc<dyn Sockets>,
    forwarded: Semaphore,
    connections: Arc<Semaphore>,
    seed: AtomicU64,
}

/// Answers one pod's queries on `udp` and `tcp` (already bound inside the pod). When `drain` closes, new ones are left to
/// whoever shares the ports; those that the kernel had taken by then are still answered. Returns when `drain` is cut.
pub async fn serve(
    shared: Arc<Shared>,
    (namespace, pod): (Arc<str>, Arc<str>),
    udp: UdpSocket,
    tcp: TcpListener,
    sockets: Arc<dyn Sockets>,
    drain: Drain,
) {
    let server = Arc::new(Server {
        workload: format!("{}//Pod/{namespace}/{pod}", shared.cluster_id),
        shared,
        namespace,
        sockets,
        forwarded: Semaphore::new(MOST_FORWARDED),
        connections: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
        seed: AtomicU64::new(std::hash::BuildHasher::hash_one(
            &std::hash::RandomState::new(),
            0,
        )),
    });
    tokio::join!(
        Arc::clone(&server).datagrams(Arc::new(udp), &drain),
        server.streams(tcp, &drain)
    );
}

impl Server {
    async fn datagrams(self: Arc<Self>, udp: Arc<UdpSocket>, drain: &Drain) {
        let mut packet = vec![0; LARGEST_QUERY];
        let mut hold = Some(drain.hold());
        loop {
            let received = tokio::select! {
                biased;
                () = drain.cut() => return,
                () = drain.closing(), if hold.is_some() => {
                    if let Err(error) = socket::step_aside(&udp).await {
                        debug!(%error, "cannot leave DNS queries to another proxy");
                    }
                    while let Some((length, from)) = socket::taken_datagram(&udp, &mut packet) {
                        self.datagram(&packet[..length], from, &udp, drain);
                    }
                    hold = None;
                    continue;
                }
                // Also after closing: one that was on its way to this socket may still come.
                received = udp.recv_from(&mut packet) => received,
            };
            match received {
                Ok((length, from)) => self.datagram(&packet[..length], from, &udp, drain),
                Err(error) => {
                    debug!(%error, "cannot receive a DNS query");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn datagram(
        self: &Arc<Self>,
        query: &[u8],
        from: SocketAddr,
        socket: &Arc<UdpSocket>,
        drain: &Drain,
    ) {
        let (verdict, labels) = self.verdict(query, Transport::Udp);
        match verdict {
            Verdict::Drop => {}
            // A full send buffer loses the answer, as the network may; the client asks again.
            Verdict::Answer(reply) => drop(socket.try_send_to(&reply, from)),
            Verdict::Forward => {
                let (server, socket, query, drain) = (
                    Arc::clone(self),
                    Arc::clone(socket),
                    query.to_vec(),
                    drain.clone(),
                );
                let hold = drain.hold();
                tokio::spawn(async move {
                    let reply = match server.forwarded.try_acquire() {
                        Ok(_permit) => tokio::select! {
                            () = drain.cut() => return,
                            reply = server.forward(&query, Transport::Udp, &labels) => reply,
                        },
                        Err(_) => server_failure(&query),
                    };
                    if let Some(reply) = reply {
                        let _ = socket.send_to(&reply, from).await;
                    }
                    drop(hold);
                });
            }
        }
    }

    async fn streams(self: Arc<Self>, listener: TcpListener, drain: &Drain) {
        let hold = drain.hold();
        loop {
            let accepted = async {
                let permit = self.permit().await?;
                listener.accept().await.map(|(stream, _)| (stream, permit))
            };
            let accepted = tokio::select! {
                biased;
                () = drain.closing() => break,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((stream, permit)) => self.start(stream, permit, drain),
                Err(error) => {
                    warn!(%error, "cannot accept a DNS connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        for (stream, _) in socket::last_streams(&listener) {
            let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
                break;
            };
            self.start(stream, permit, drain);
        }
        drop(listener);
        drop(hold);
    }

    async fn permit(&self) -> io::Result<OwnedSemaphorePermit> {
        let connections = Arc::clone(&self.connections);
        connections.acquire_owned().await.map_err(io::Error::other)
    }

    fn start(self: &Arc<Self>, stream: TcpStream, permit: OwnedSemaphorePermit, drain: &Drain) {
        let (server, drain) = (Arc::clone(self), drain.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = drain.cut() => {}
                ended = server.stream(stream, &drain) => {
                    if let Err(error) = ended {
                        debug!(%error, "a DNS connection broke");
                    }
                }
            }
            drop(permit);
        });
    }

    async fn stream(&self, mut stream: TcpStream, drain: &Drain) -> io::Result<()> {
        loop {
            let Ok(query) = timeout(IDLE, forward::read_message(&mut stream)).await else {
                return Ok(());
            };
            let Some(query) = query? else { return Ok(()) };
            let hold = drain.hold();
            let (verdict, labels) = self.verdict(&query, Transport::Tcp);
            let reply = match verdict {
                Verdict::Drop => return Ok(()),
                Verdict::Answer(reply) => Some(reply),
                Verdict::Forward => self.forward(&query, Transport::Tcp, &labels).await,
            };
            let Some(reply) = reply else { return Ok(()) };
            let written = timeout(IDLE, forward::write_message(&mut stream, &reply)).await;
            written.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            drop(hold);
        }
    }

    fn verdict(&self, query: &[u8], transport: Transport) -> (Verdict, DnsLabels) {
        let shared = &self.shared;
        let store = shared.store.snapshot();
        let client = Client {
            namespace: &self.namespace,
            network: &shared.network,
            domain: &shared.domain,
        };
        let seed = self.seed.fetch_add(1, Ordering::Relaxed);
        let decision = decide(query, transport, &store, &client, seed);
        let labels = DnsLabels::new(
            decision.query_type,
            transport_label(transport),
            &self.party(&store),
        );
        (decision.verdict, shared.counters.request(labels))
    }

    fn party(&self, store: &Snapshot) -> Party {
        store
            .workload(&self.workload)
            .map_or_else(Party::default, |workload| Party::from(&*workload))
    }

    async fn forward(
        &self,
        query: &[u8],
        transport: Transport,
        labels: &DnsLabels,
    ) -> Option<Vec<u8>> {
        let began = Instant::now();
        let reply = forward::ask(query, transport, &self.shared.resolvers, &self.sockets).await;
        self.shared
            .counters
            .forwarded(labels, reply.is_ok(), began.elapsed());
        match reply {
            Ok(reply) => Some(reply),
            Err(error) => {
                debug!(%error, cause = %error.source, "a DNS query was not answered");
                server_failure(query)
            }
        }
    }
}

fn transport_label(transport: Transport) -> metrics::dns::Protocol {
    match transport {
        Transport::Udp => metrics::dns::Protocol::Udp,
        Transport::Tcp => metrics::dns::Protocol::Tcp,
    }
}

#[cfg(test)]
mod tests;
