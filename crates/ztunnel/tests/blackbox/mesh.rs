//! The topology: a bridge between two nodes, pods behind each, istio-cni's rules in the captured ones, one istiod.
//!
//! ```text
//!              lan: bridge 10.0.0.254, istiod :15012, resolver :53
//!        10.0.0.1 |                          | 10.0.0.2
//!          node-1 (proxy)                node-2 (proxy)
//!     client neighbour stranger      web-1 web-2 legacy
//! ```
//!
//! Everything has an IPv6 address too: `fd00::x` on the bridge, `fd00:1:<node>::x` for pods. `stranger` and `legacy` are not
//! captured. Needs the Debian packages `iproute2` and `iptables`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use applink_ztunnel::proto::workload::{
    NetworkAddress, Port, PortList, Service, TunnelProtocol, Workload,
};

use crate::agent::{Agent, PodEntry};
use crate::authority::Root;
use crate::istiod::Istiod;
use crate::netns::{Netns, join};
use crate::proxy::{Proxy, program};
use crate::redirection::redirect;
use crate::traffic::{serve_lines, serve_names};

/// istiod's and the resolver's address.
const LAN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
/// The virtual addresses of the service `web`.
pub const WEB_VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 80);
pub const WEB_VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0x80);
/// Port of the line servers.
pub const PORT: u16 = 8080;
/// A port of the service that is called by a name in its pods.
pub const NAMED: u32 = 81;
/// Host name of the service `web`.
pub const WEB: &str = "web.shop.svc.cluster.local";
/// How long live connections may go on after SIGTERM.
pub const DRAIN_SECONDS: u64 = 2;

/// What a scenario speaks.
#[derive(Clone, Copy, Debug)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// The virtual address of the service `web`.
    pub fn web(self) -> IpAddr {
        match self {
            Self::V4 => WEB_VIP.into(),
            Self::V6 => WEB_VIP6.into(),
        }
    }

    /// Where pods send their queries: nothing listens there, capture answers.
    pub fn cluster_dns(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 96, 0, 10).into(),
            Self::V6 => Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0x10).into(),
        }
    }
}

/// A pod.
#[derive(Clone, Debug)]
pub struct Pod {
    pub name: &'static str,
    pub netns: Netns,
    pub ip: Ipv4Addr,
    pub ip6: Ipv6Addr,
    pub node: usize,
    pub service_account: &'static str,
    pub captured: bool,
}

impl Pod {
    /// Where its line server listens in IPv4.
    pub fn server(&self) -> SocketAddr {
        SocketAddr::from((self.ip, PORT))
    }

    /// Its address.
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.ip.into(),
            Family::V6 => self.ip6.into(),
        }
    }

    /// Where its line server listens.
    pub fn server_at(&self, family: Family) -> SocketAddr {
        SocketAddr::new(self.address(family), PORT)
    }

    /// The uid by which the agent calls it.
    pub fn uid(&self) -> String {
        format!("uid-{}", self.name)
    }

    /// The uid by which istiod calls it.
    pub fn resource(&self) -> String {
        format!("Kubernetes//Pod/shop/{}", self.name)
    }

    /// Its SPIFFE id.
    pub fn identity(&self) -> String {
        format!("spiffe://cluster.local/ns/shop/sa/{}", self.service_account)
    }

    /// Its entry at the agent.
    pub fn entry(&self) -> PodEntry {
        PodEntry {
            uid: self.uid(),
            name: self.name.into(),
            namespace: "shop".into(),
            service_account: self.service_account.into(),
            netns: self.netns.clone(),
        }
    }

    /// What istiod says about it.
    pub fn workload(&self) -> Workload {
        let protocol = if self.captured {
            TunnelProtocol::Hbone
        } else {
            TunnelProtocol::None
        };
        let mut services = std::collections::HashMap::new();
        if self.service_account == "web" {
            let port = |service_port| Port {
                service_port,
                target_port: u32::from(PORT),
                ..Port::default()
            };
            let ports = vec![port(80), port(NAMED)];
            services.insert(format!("shop/{WEB}"), PortList { ports });
        }
        Workload {
            uid: self.resource(),
            name: self.name.into(),
            namespace: "shop".into(),
            addresses: vec![self.ip.octets().to_vec(), self.ip6.octets().to_vec()],
            tunnel_protocol: protocol as i32,
            trust_domain: "cluster.local".into(),
            service_account: self.service_account.into(),
            node: node_name(self.node),
            canonical_name: self.service_account.into(),
            canonical_revision: "v1".into(),
            workload_name: format!("{}-deployment", self.service_account),
            cluster_id: "Kubernetes".into(),
            services,
            ..Workload::default()
        }
    }
}

fn node_name(node: usize) -> String {
    format!("node-{node}")
}

/// One node.
pub struct Node {
    pub netns: Netns,
    pub agent: Agent,
    pub proxy: Proxy,
    environment: BTreeMap<&'static str, String>,
}

/// Everything. Proxies end and files go when it is dropped; namespaces end with their descriptors.
pub struct Mesh {
    pub lan: Netns,
    pub istiod: Istiod,
    pub root: Root,
    pub runtime: tokio::runtime::Runtime,
    pub nodes: Vec<Node>,
    pods: Vec<Pod>,
    program: PathBuf,
    resolvers: PathBuf,
    _folder: Folder,
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("blackbox-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Mesh {
    /// Brings everything up with the program under test and waits until both proxies are ready.
    pub fn up() -> Self {
        Self::up_with(&program())
    }

    /// The same with this program.
    pub fn up_with(program: &Path) -> Self {
        let folder = Folder::new();
        let write = |name: &str, text: &str| {
            let path = folder.0.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let lan = Netns::new();
        lan.ip(&[
            "link add br0 type bridge forward_delay 0",
            &format!("addr add {LAN}/24 dev br0"),
            "link set br0 up",
            "-6 addr add fd00::fe/64 dev br0 nodad",
        ]);
        let netns: Vec<Netns> = (1..=2).map(|node| new_node(&lan, node)).collect();
        let pods: Vec<Pod> = [
            ("client", 1, "client", true),
            ("neighbour", 1, "neighbour", true),
            ("stranger", 1, "stranger", false),
            ("web-1", 2, "web", true),
            ("web-2", 2, "web", true),
            ("legacy", 2, "legacy", false),
        ]
        .into_iter()
        .enumerate()
        .map(|(index, (name, node, service_account, captured))| {
            let (n, last) = (
                u8::try_from(node).unwrap(),
                u8::try_from(10 + index).unwrap(),
            );
            let ip = Ipv4Addr::new(10, 1, n, last);
            let ip6 = Ipv6Addr::new(0xfd00, 1, n.into(), 0, 0, 0, 0, last.into());
            let pod = Pod {
                name,
                netns: Netns::new(),
                ip,
                ip6,
                node,
                service_account,
                captured,
            };
            plug(&netns[node - 1], &pod);
            serve_lines(&pod.netns, PORT, name);
            pod
        })
        .collect();
        serve_names(&lan, SocketAddr::from((LAN, 53)));

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let root = Root::new();
        let istiod_at = SocketAddr::from((LAN, 15012));
        let istiod = Istiod::start(runtime.handle(), &lan, istiod_at, &root);
        for pod in pods.iter().filter(|pod| pod.name != "stranger") {
            istiod.workload(pod.workload());
        }
        istiod.service(web());

        let (root_file, resolvers) = (
            write("root.pem", &root.pem()),
            write("resolv.conf", &format!("nameserver {LAN}\n")),
        );
        let nodes: Vec<Node> = netns
            .into_iter()
            .enumerate()
            .map(|(index, netns)| {
                let node = index + 1;
                let agent = Agent::start(&folder.0, &format!("zds-{node}"));
                for pod in pods.iter().filter(|pod| pod.node == node && pod.captured) {
                    agent.add(pod.entry());
                }
                let environment = BTreeMap::from([
                    ("XDS_ADDRESS", format!("https://{istiod_at}")),
                    ("CA_ADDRESS", format!("https://{istiod_at}")),
                    ("XDS_ROOT_CA", root_file.display().to_string()),
                    ("CA_ROOT_CA", root_file.display().to_string()),
                    ("AUTH_TOKEN", "token-of-the-test".into()),
                    ("NODE_NAME", node_name(node)),
                    ("POD_NAME", format!("ztunnel-{node}")),
                    ("POD_NAMESPACE", "applink-system".into()),
                    ("INPOD_UDS", agent.path().display().to_string()),
                    ("INPOD_ENABLED", "true".into()),
                    ("LOG_FORMAT", "json".into()),
                    ("RUST_LOG", "info".into()),
                    ("ZTUNNEL_WORKER_THREADS", "2".into()),
                    (
                        "CONNECTION_TERMINATION_DEADLINE",
                        format!("{DRAIN_SECONDS}s"),
                    ),
                ]);
                let proxy =
                    Proxy::start(program, &node_name(node), &netns, &environment, &resolvers);
                Node {
                    netns,
                    agent,
                    proxy,
                    environment,
                }
            })
            .collect();
        let mesh = Self {
            lan,
            istiod,
            root,
            runtime,
            nodes,
            pods,
            program: program.to_owned(),
            resolvers,
            _folder: folder,
        };
        for node in &mesh.nodes {
            node.proxy.wait_until_ready();
        }
        mesh.istiod.wait_for_streams(2);
        mesh
    }

    /// A pod by its name.
    pub fn pod(&self, name: &str) -> Pod {
        self.pods
            .iter()
            .find(|pod| pod.name == name)
            .unwrap_or_else(|| panic!("no pod {name}"))
            .clone()
    }

    /// The proxy that serves a pod.
    pub fn proxy_of(&self, pod: &Pod) -> &Proxy {
        &self.nodes[pod.node - 1].proxy
    }

    /// Starts another proxy on a node, beside what is there.
    pub fn another_proxy(&self, node: usize) -> Proxy {
        let at = &self.nodes[node - 1];
        Proxy::start(
            &self.program,
            &node_name(node),
            &at.netns,
            &at.environment,
            &self.resolvers,
        )
    }

    /// What the proxies wrote last.
    pub fn logs(&self) -> String {
        self.nodes
            .iter()
            .map(|node| node.proxy.log())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// The service `web`.
pub fn web() -> Service {
    Service {
        name: "web".into(),
        namespace: "shop".into(),
        hostname: WEB.into(),
        addresses: [WEB_VIP.octets().to_vec(), WEB_VIP6.octets().to_vec()]
            .map(|address| NetworkAddress {
                address,
                ..NetworkAddress::default()
            })
            .into(),
        ports: vec![
            Port {
                service_port: 80,
                target_port: u32::from(PORT),
                ..Port::default()
            },
            // Which port of a pod a name stands for is told by each pod.
            Port {
                service_port: NAMED,
                ..Port::default()
            },
        ],
        ..Service::default()
    }
}

fn new_node(lan: &Netns, node: usize) -> Netns {
    let netns = Netns::new();
    let port = format!("n{node}");
    join((lan, &port), (&netns, "eth0"));
    lan.ip(&[
        &format!("link set {port} master br0"),
        &format!("link set {port} up"),
        &format!("route add 10.1.{node}.0/24 via 10.0.0.{node} dev br0"),
        &format!("-6 route add fd00:1:{node}::/64 via fd00::{node} dev br0"),
    ]);
    let other = 3 - node;
    netns.ip(&[
        &format!("addr add 10.0.0.{node}/24 dev eth0"),
        "link set eth0 up",
        &format!("route add 10.1.{other}.0/24 via 10.0.0.{other}"),
        &format!("-6 addr add fd00::{node}/64 dev eth0 nodad"),
        &format!("-6 route add fd00:1:{other}::/64 via fd00::{other}"),
    ]);
    netns
}

fn plug(node: &Netns, pod: &Pod) {
    let port = format!("p{}", pod.ip.octets()[3]);
    let gateway = format!("10.1.{}.1", pod.node);
    join((node, &port), (&pod.netns, "eth0"));
    node.ip(&[
        &format!("addr add {gateway}/32 dev {port}"),
        &format!("link set {port} up"),
        &format!("route add {}/32 dev {port}", pod.ip),
        &format!("-6 addr add fe80::1/64 dev {port} nodad"),
        &format!("-6 route add {}/128 dev {port}", pod.ip6),
    ]);
    pod.netns.ip(&[
        &format!("addr add {}/32 dev eth0", pod.ip),
        "link set eth0 up",
        &format!("route add {gateway} dev eth0 scope link"),
        &format!("route add default via {gateway}"),
        &format!("-6 addr add {}/128 dev eth0 nodad", pod.ip6),
        "-6 route add default via fe80::1 dev eth0",
    ]);
    if pod.captured {
        redirect(&pod.netns);
    }
}
