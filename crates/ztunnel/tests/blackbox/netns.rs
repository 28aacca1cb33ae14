//! Network namespaces without a name: they end with the last descriptor, so nothing is left behind even by a crash.

use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace of this test.
#[derive(Clone, Debug)]
pub struct Netns(Arc<File>);

impl Netns {
    /// A new one with loopback up, forwarding on and source checks off.
    ///
    /// New namespaces take some settings from the machine, so none is relied on.
    pub fn new() -> Self {
        let file = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace (run as root)");
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let ns = Self(Arc::new(file.join().unwrap()));
        ns.run(|| {
            for (key, value) in [
                ("ipv4/ip_forward", "1"),
                ("ipv4/conf/all/rp_filter", "0"),
                ("ipv4/conf/default/rp_filter", "0"),
                ("ipv6/conf/all/disable_ipv6", "0"),
                ("ipv6/conf/default/disable_ipv6", "0"),
                ("ipv6/conf/all/forwarding", "1"),
                ("ipv6/conf/default/forwarding", "1"),
                // Addresses are usable at once.
                ("ipv6/conf/default/accept_dad", "0"),
            ] {
                let path = format!("/proc/sys/net/{key}");
                // A kernel without IPv6 has no such key.
                if std::path::Path::new(&path).exists() {
                    std::fs::write(&path, value).unwrap();
                }
            }
        });
        ns.ip(&["link set lo up"]);
        ns
    }

    /// Runs `work` inside, on a thread of its own.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&*self.0, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The path by which `ip link` finds it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// The descriptor a node agent hands to the proxy.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Runs `ip` commands inside, in one process; those that begin with `-6` afterwards, in another.
    pub fn ip(&self, commands: &[&str]) {
        let (six, others): (Vec<&str>, Vec<&str>) = commands
            .iter()
            .partition(|command| command.starts_with("-6 "));
        if !others.is_empty() {
            self.feed("ip", &["-batch", "-"], &others.join("\n"));
        }
        if !six.is_empty() {
            let six: Vec<&str> = six.iter().map(|command| &command[3..]).collect();
            self.feed("ip", &["-6", "-batch", "-"], &six.join("\n"));
        }
    }

    /// Runs a program inside with this input; it must succeed.
    pub fn feed(&self, program: &str, arguments: &[&str], input: &str) {
        self.run(|| {
            let mut child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap_or_else(|e| panic!("{program} cannot be started ({e}); install the Debian packages iproute2 and iptables"));
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            let done = child.wait_with_output().unwrap();
            assert!(done.status.success(), "{program}: {}\n{input}", String::from_utf8_lossy(&done.stderr));
        });
    }

    /// Connects from inside.
    pub fn connect(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        let stream = self.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(5)))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        Ok(stream)
    }

    /// Listens inside.
    pub fn listen(&self, at: SocketAddr) -> TcpListener {
        self.run(|| TcpListener::bind(at)).unwrap()
    }

    /// A datagram socket inside.
    pub fn datagrams(&self, at: SocketAddr) -> UdpSocket {
        let socket = self.run(|| UdpSocket::bind(at)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        socket
    }
}

/// Joins two namespaces by a pair of interfaces.
pub fn join((one, one_name): (&Netns, &str), (other, other_name): (&Netns, &str)) {
    one.ip(&[&format!(
        "link add name {one_name} type veth peer name {other_name} netns {}",
        other.path()
    )]);
}
