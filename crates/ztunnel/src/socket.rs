//! Sockets inside a pod's network namespace: marked, transparent, from a chosen address.
//!
//! Layer 5. Together with `inpod` the only place that talks to the kernel below tokio. A socket belongs to the namespace it
//! was made in for ever and can be used from any thread afterwards.

mod netns;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::sys::socket::{SockaddrStorage, recvfrom, setsockopt, sockopt};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

pub use netns::{Id, Netns};

/// Connections the kernel keeps for a listener that is busy. Upstream has 128; a burst above it costs the client a second.
const BACKLOG: i32 = 1024;

/// TCP keepalive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle time before the first probe.
    pub time: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Probes before the connection is given up.
    pub retries: u32,
}

/// What all sockets of this process have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// `SO_MARK`, by which istio-cni's rules know the proxy's own packets; `None` outside a pod.
    pub mark: Option<u32>,
    /// Whether listeners share their port with another process.
    pub reuse_port: bool,
    /// Whether listeners take IPv6 too.
    pub ipv6: bool,
    /// TCP keepalive; `None` for off.
    pub keepalive: Option<Keepalive>,
    /// `TCP_USER_TIMEOUT`; `None` for the kernel's own.
    pub user_timeout: Option<Duration>,
}

impl Default for Options {
    /// Upstream's defaults for a node proxy.
    fn default() -> Self {
        Self {
            mark: Some(1337),
            reuse_port: true,
            ipv6: true,
            keepalive: Some(Keepalive {
                time: Duration::from_mins(3),
                interval: Duration::from_mins(3),
                retries: 9,
            }),
            user_timeout: None,
        }
    }
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Whatever the kernel picks.
    Any,
    /// This address, any port. It need not belong to the pod.
    Ip(IpAddr),
    /// This address and, if it is free, this port: the kernel then searches for none, which costs milliseconds once the
    /// port range is half used. Falls back to any port.
    Exact(SocketAddr),
}

/// Makes sockets in one network namespace.
#[derive(Debug, Clone)]
pub struct Sockets {
    netns: Option<Netns>,
    options: Options,
}

impl Sockets {
    /// Sockets in a pod.
    pub fn within(netns: Netns, options: Options) -> Self {
        Self {
            netns: Some(netns),
            options,
        }
    }

    /// Sockets where this process is.
    pub fn here(options: Options) -> Self {
        Self {
            netns: None,
            options,
        }
    }

    /// A listener on a port of every address of the pod, able to take connections that were not meant for the pod.
    ///
    /// # Errors
    /// When the port is taken, or the namespace cannot be entered. Must be called inside a tokio runtime.
    pub fn listen(&self, port: u16) -> io::Result<TcpListener> {
        if self.options.ipv6 {
            match self.listener((Ipv6Addr::UNSPECIFIED, port).into(), true) {
                Err(error) if is_without_ipv6(&error) => {}
                other => return other,
            }
        }
        self.listener((Ipv4Addr::UNSPECIFIED, port).into(), true)
    }

    /// A listener on one address.
    ///
    /// # Errors
    /// As [`Sockets::listen`].
    pub fn listen_on(&self, address: SocketAddr) -> io::Result<TcpListener> {
        self.listener(address, false)
    }

    fn listener(&self, address: SocketAddr, is_transparent: bool) -> io::Result<TcpListener> {
        let socket = self.open(address, Type::STREAM)?;
        if is_transparent && self.options.mark.is_some() {
            set_transparent(&socket, address)?;
        }
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        if self.options.reuse_port {
            socket.set_reuse_port(true)?;
        }
        // Every stream that is accepted has what its listener has.
        self.tune(&socket)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    }

    /// A UDP socket on one address; port 0 for any.
    ///
    /// # Errors
    /// As [`Sockets::listen`].
    pub fn udp(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        let socket = self.open(address, Type::DGRAM)?;
        if self.options.reuse_port && address.port() != 0 {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&address.into())?;
        UdpSocket::from_std(socket.into())
    }

    /// A UDP socket that talks to one peer only.
    ///
    /// # Errors
    /// As [`Sockets::listen`], and when there is no route.
    pub fn datagram(&self, to: SocketAddr) -> io::Result<UdpSocket> {
        let socket = self.open(to, Type::DGRAM)?;
        socket.connect(&to.into())?;
        UdpSocket::from_std(socket.into())
    }

    /// Connects. Sets no deadline of its own.
    ///
    /// # Errors
    /// What the kernel reports.
    pub async fn connect(&self, to: SocketAddr, from: Source) -> io::Result<TcpStream> {
        let to = canonical(to);
        let any_port = |ip: IpAddr| SocketAddr::new(ip.to_canonical(), 0);
        let (exact, otherwise) = match from {
            Source::Any => (None, None),
            Source::Ip(ip) => (None, Some(any_port(ip))),
            Source::Exact(at) => (
                (at.port() != 0).then(|| canonical(at)),
                Some(any_port(at.ip())),
            ),
        };
        let fits = |at: &SocketAddr| at.is_ipv4() == to.is_ipv4();
        if let Some(exact) = exact.filter(fits) {
            match self.dial(to, Some(exact)).await {
                // Held by another socket, or the four addresses belong to a connection that ended a moment ago.
                Err(error) if is_taken(&error) => {}
                other => return other,
            }
        }
        self.dial(to, otherwise.filter(fits)).await
    }

    async fn dial(&self, to: SocketAddr, from: Option<SocketAddr>) -> io::Result<TcpStream> {
        let socket = self.open(to, Type::STREAM)?;
        if let Some(from) = from {
            if self.options.mark.is_some() {
                set_transparent(&socket, from)?;
            }
            if from.port() == 0 {
                // The port is then chosen in connect, where only the four addresses together must be unique.
                setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
            } else {
                socket.set_reuse_address(true)?;
            }
            socket.bind(&from.into())?;
        }
        self.tune(&socket)?;
        TcpSocket::from_std_stream(socket.into()).connect(to).await
    }

    /// Sets what every stream has: no delay, keepalive.
    fn tune(&self, socket: &Socket) -> io::Result<()> {
        socket.set_tcp_nodelay(true)?;
        if let Some(keepalive) = self.options.keepalive {
            let parameters = TcpKeepalive::new()
                .with_time(keepalive.time)
                .with_interval(keepalive.interval)
                .with_retries(keepalive.retries);
            socket.set_tcp_keepalive(&parameters)?;
        }
        if self.options.user_timeout.is_some() {
            socket.set_tcp_user_timeout(self.options.user_timeout)?;
        }
        Ok(())
    }

    /// A socket of the namespace, marked.
    fn open(&self, address: SocketAddr, kind: Type) -> io::Result<Socket> {
        let protocol = if kind == Type::STREAM {
            Protocol::TCP
        } else {
            Protocol::UDP
        };
        let kind = kind.nonblocking();
        let make = || Socket::new(Domain::for_address(address), kind, Some(protocol));
        let socket = match &self.netns {
            Some(netns) => netns.enter(make)??,
            None => make()?,
        };
        if let Some(mark) = self.options.mark {
            socket.set_mark(mark)?;
        }
        Ok(socket)
    }
}

/// Where the client of a redirected connection wanted to go. For one that was not redirected that is where it arrived.
///
/// # Errors
/// When the kernel cannot tell.
pub fn original_destination(stream: &TcpStream) -> io::Result<SocketAddr> {
    let local = canonical(stream.local_addr()?);
    let socket = SockRef::from(stream);
    let found = if local.is_ipv4() {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    match found.map(|address| address.as_socket()) {
        Ok(Some(address)) => Ok(canonical(address)),
        Ok(None) => Err(io::ErrorKind::Unsupported.into()),
        // No entry in the connection table: nobody redirected it. Some kernels lack the table altogether.
        Err(error) if is_not_redirected(&error) => Ok(local),
        Err(error) => Err(error),
    }
}

/// Takes no new connection any more, while those that are being made come to their end: a first packet is dropped, as the
/// network may drop one, and its client sends another a second later, which finds whoever shares the port. Closing resets
/// what has arrived since the last look; nothing can after this.
///
/// # Errors
/// What the kernel reports.
fn turn_away(listener: &TcpListener) -> io::Result<()> {
    // What the kernel shows begins with the TCP header (RFC 9293, 3.1): its byte 13 has the flags SYN (2) and ACK (16).
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    let step =
        |code: u32, jt, jf, k| SockFilter::new(u16::try_from(code).unwrap_or_default(), jt, jf, k);
    SockRef::from(listener).attach_filter(&[
        step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, FLAGS),
        step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, SYN | ACK),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, SYN),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
    ])
}

/// The connections that a listener has when it is about to close. Whoever comes after them is left to the other listeners on
/// the same port.
pub fn last_streams(listener: &TcpListener) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
    if let Err(error) = turn_away(listener) {
        tracing::debug!(%error, ?listener, "cannot leave new connections to another listener");
    }
    std::iter::from_fn(|| taken_stream(listener))
}

/// The next connection that the kernel has taken for a listener and nobody has accepted; `None` when there is none. Asks
/// the kernel itself: the runtime knows of a connection only after its next look at all sockets.
fn taken_stream(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    loop {
        match SockRef::from(listener).accept() {
            Ok((stream, peer)) => {
                let started = stream
                    .set_nonblocking(true)
                    .and_then(|()| TcpStream::from_std(stream.into()));
                return started.ok().zip(peer.as_socket());
            }
            // The client of this one has gone; there may be another one behind it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => return None,
        }
    }
}

/// Leaves what arrives from now on to the other sockets on the same port: connected, this one is meant for one peer only,
/// the discard port of its own address. What it has received stays in it, and it can send to anybody as before.
///
/// # Errors
/// What the kernel reports.
pub async fn step_aside(socket: &UdpSocket) -> io::Result<()> {
    const DISCARD: u16 = 9;
    let at = socket.local_addr()?;
    socket.connect(SocketAddr::new(at.ip(), DISCARD)).await
}

/// The next datagram that the kernel has for a socket, its length and sender; `None` when there is none. Asks the kernel
/// itself, as [`last_streams`] does.
pub fn taken_datagram(socket: &UdpSocket, into: &mut [u8]) -> Option<(usize, SocketAddr)> {
    let (length, from) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), into).ok()?;
    let from = from?;
    let v4 = from
        .as_sockaddr_in()
        .map(|&at| SocketAddrV4::from(at).into());
    let from = v4.or_else(|| (from.as_sockaddr_in6()).map(|&at| SocketAddrV6::from(at).into()))?;
    Some((length, from))
}

/// An address without the IPv6 form of IPv4.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn set_transparent(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() {
        socket.set_ip_transparent_v6(true)?;
        socket.set_freebind_v6(true)
    } else {
        socket.set_ip_transparent_v4(true)?;
        socket.set_freebind_v4(true)
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
    )
}

fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

fn is_not_redirected(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOPROTOOPT))
}

#[cfg(test)]
pub(crate) mod tests;
