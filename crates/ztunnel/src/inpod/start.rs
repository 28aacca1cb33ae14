//! Starts what a pod needs: listeners in its namespace, the proxy on them, the DNS server.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::net::{TcpStream, UdpSocket};
use tokio::runtime::Handle;

use super::keeper::Start;
use crate::dns;
use crate::drain::Drain;
use crate::proxy::connections::Connections;
use crate::proxy::{self, Info, Listeners};
use crate::socket::{Netns, Sockets, Source};

/// What the pods' DNS servers share, and where they listen.
#[derive(Clone)]
pub struct Dns {
    /// An address of the pod's loopback; its IPv6 counterpart is served too where the pod has one.
    pub listen: SocketAddr,
    /// What they share.
    pub shared: Arc<dns::server::Shared>,
}

/// Starts pods.
pub(super) struct Starter {
    pub(super) shared: Arc<proxy::Shared>,
    pub(super) dns: Option<Dns>,
    /// The runtime of pod traffic.
    pub(super) workers: Handle,
    /// Of the process.
    pub(super) drain: Drain,
}

impl Start for Starter {
    fn start(&self, info: &Info, netns: &Netns) -> io::Result<(Drain, Connections)> {
        let _context = self.workers.enter();
        let sockets = Sockets::within(netns.clone(), self.shared.settings.sockets);
        let listeners = Listeners::open(&sockets)?;
        let mut names = Vec::new();
        for address in self.dns.iter().flat_map(|dns| self.addresses(dns.listen)) {
            match sockets
                .udp(address)
                .and_then(|udp| Ok((udp, sockets.listen_on(address)?)))
            {
                Ok(pair) => names.push(pair),
                // A pod without IPv6 has no such loopback.
                Err(_) if address.is_ipv6() => {}
                Err(error) => return Err(error),
            }
        }
        let drain = self.drain.child();
        if let Some(dns) = &self.dns {
            let inside: Arc<dyn dns::forward::Sockets> = Arc::new(Inside(sockets.clone()));
            for (udp, tcp) in names {
                let who = (Arc::clone(&info.namespace), Arc::clone(&info.name));
                let shared = Arc::clone(&dns.shared);
                tokio::spawn(dns::server::serve(
                    shared,
                    who,
                    udp,
                    tcp,
                    Arc::clone(&inside),
                    drain.clone(),
                ));
            }
        }
        let shared = Arc::clone(&self.shared);
        let connections = proxy::serve(
            shared,
            info.clone(),
            sockets,
            listeners,
            self.drain.clone(),
            drain.clone(),
        );
        Ok((drain, connections))
    }
}

impl Starter {
    fn addresses(&self, listen: SocketAddr) -> impl Iterator<Item = SocketAddr> + use<> {
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, listen.port()));
        let has_both =
            self.shared.settings.sockets.ipv6 && listen.is_ipv4() && listen.ip().is_loopback();
        std::iter::once(listen).chain(has_both.then_some(v6))
    }
}

/// Sockets of a pod, as the DNS server wants them.
struct Inside(Sockets);

impl dns::forward::Sockets for Inside {
    fn datagram(&self, to: SocketAddr) -> io::Result<UdpSocket> {
        self.0.datagram(to)
    }

    fn stream(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(self.0.connect(to, Source::Any))
    }
}
