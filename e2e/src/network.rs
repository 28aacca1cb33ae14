//! Addresses and links of a cluster.
//!
//! Every cluster has a *ground*: a network namespace with a bridge, in which the control plane
//! runs. Nodes hang on that bridge, each in a namespace of its own; so does the host, by one link.
//! Nothing else of a cluster is visible in the host's network: no bridge, no iptables rule.
//!
//! All addresses follow from the cluster's slot: `10.<200 + slot>.0.0/16`.
//!
//! | range | what |
//! |---|---|
//! | `.0.0/24` | host `.1`, control plane `.2`, node n `.10 + n` |
//! | `.(16 + n).0/24` | pods of node n |
//! | `.128.0/20` | services; `.128.1` the API server, `.128.10` DNS |

use std::net::Ipv4Addr;
use std::path::PathBuf;

use nix::unistd::Pid;

use crate::command::{self, command};

/// How many clusters can live side by side.
pub const SLOTS: u8 = 16;

/// The addresses of one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    slot: u8,
}

impl Network {
    /// The network of a slot below [`SLOTS`].
    pub fn new(slot: u8) -> Self {
        Self { slot }
    }

    fn address(self, third: u8, fourth: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 200 + self.slot, third, fourth)
    }

    /// Everything in the cluster, as a range.
    pub fn range(self) -> String {
        format!("{}/16", self.address(0, 0))
    }

    /// The host, as the cluster sees it.
    pub fn host(self) -> Ipv4Addr {
        self.address(0, 1)
    }

    /// Where the control plane listens.
    pub fn control_plane(self) -> Ipv4Addr {
        self.address(0, 2)
    }

    /// A node's address; nodes count from 1.
    pub fn node(self, number: u8) -> Ipv4Addr {
        self.address(0, 10 + number)
    }

    /// The range of a node's pods.
    pub fn pods(self, number: u8) -> String {
        format!("{}/24", self.address(16 + number, 0))
    }

    /// The range of all pods.
    pub fn all_pods(self) -> String {
        format!("{}/20", self.address(16, 0))
    }

    /// The range of services.
    pub fn services(self) -> String {
        format!("{}/20", self.address(128, 0))
    }

    /// The service address of the API server.
    pub fn api_service(self) -> Ipv4Addr {
        self.address(128, 1)
    }

    /// The service address of the cluster's DNS.
    pub fn dns(self) -> Ipv4Addr {
        self.address(128, 10)
    }

    /// The one link that the host's network shows.
    pub fn host_link(self) -> String {
        format!("applink{}", self.slot)
    }

    /// The folder below a cgroup hierarchy's root that holds the nodes' groups.
    pub fn cgroup(self) -> String {
        format!("applink-e2e-{}", self.slot)
    }

    /// Whether the host already uses an address of the range for something else.
    pub fn is_taken(self) -> Result<bool, command::Error> {
        let prefix = format!("10.{}.", 200 + self.slot);
        let routes = command::output(&mut command("ip", ["-4", "route", "show", "table", "all"]))?;
        Ok(routes
            .lines()
            .any(|line| line.split([' ', '/']).any(|word| word.starts_with(&prefix))))
    }
}

/// A network namespace, by a process in it.
pub fn namespace(pid: i32) -> PathBuf {
    format!("/proc/{pid}/ns/net").into()
}

/// Runs `ip` commands, one a line, in the namespace of a process.
pub fn ip(pid: i32, lines: &[String]) -> Result<(), command::Error> {
    let mut nsenter = command("nsenter", [format!("--net={}", namespace(pid).display())]);
    nsenter.args(["ip", "-batch", "-"]);
    command::feed(&mut nsenter, &(lines.join("\n") + "\n")).map(drop)
}

/// Switches forwarding on, and source checks off, in the namespace of a process: replies of a
/// redirected connection may come back another way.
pub fn forward(pid: i32) -> Result<(), command::Error> {
    let script = "for switch in ip_forward conf/all/rp_filter conf/default/rp_filter; do
  case $switch in ip_forward) value=1;; *) value=0;; esac
  echo $value > /proc/sys/net/ipv4/$switch
done
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding 2>/dev/null || true";
    let mut nsenter = command("nsenter", [format!("--net={}", namespace(pid).display())]);
    command::output(nsenter.args(["sh", "-ec", script])).map(drop)
}

/// Lays the ground: the bridge, and the link to the host.
pub fn lay_ground(network: Network, pid: i32) -> Result<(), command::Error> {
    let link = network.host_link();
    let own = Pid::this().as_raw();
    remove_host_link(network)?;
    forward(pid)?;
    ip(
        pid,
        &[
            "link set lo up".to_owned(),
            "link add bridge type bridge".to_owned(),
            format!("address add {}/24 dev bridge", network.control_plane()),
            "link set bridge up".to_owned(),
            // Made on this side: the end given to the host never has another name there.
            format!("link add host type veth peer name {link} netns {own}"),
            "link set host master bridge up".to_owned(),
        ],
    )?;
    ip(
        own,
        &[
            format!("address add {}/24 dev {link}", network.host()),
            format!("link set {link} up"),
            format!(
                "route add {} via {}",
                network.range(),
                network.control_plane()
            ),
        ],
    )
}

/// Hangs a node on the bridge and gives it its addresses and routes.
pub fn attach_node(
    network: Network,
    ground: i32,
    node: i32,
    number: u8,
) -> Result<(), command::Error> {
    forward(node)?;
    ip(
        ground,
        &[
            format!("link add node{number} type veth peer name eth0 netns {node}"),
            format!("link set node{number} master bridge up"),
        ],
    )?;
    ip(
        node,
        &[
            "link set lo up".to_owned(),
            format!("address add {}/24 dev eth0", network.node(number)),
            "link set eth0 up".to_owned(),
            format!("route add default via {}", network.control_plane()),
        ],
    )
}

/// Takes a node's link away; one that is not there is as good.
pub fn detach_node(ground: i32, number: u8) {
    let _ = ip(ground, &[format!("link del node{number}")]);
}

/// Writes the routes to pods and services for the running nodes, by process in their namespace.
///
/// The control plane and the host reach services through the nodes: the first running one
/// translates service addresses, so no kube-proxy is needed outside of nodes.
pub fn route(network: Network, ground: i32, running: &[(u8, i32)]) -> Result<(), command::Error> {
    let mut from_ground: Vec<String> = running
        .iter()
        .map(|(number, _)| {
            format!(
                "route replace {} via {}",
                network.pods(*number),
                network.node(*number)
            )
        })
        .collect();
    if let Some((number, _)) = running.first() {
        from_ground.push(format!(
            "route replace {} via {}",
            network.services(),
            network.node(*number)
        ));
    }
    ip(ground, &from_ground)?;
    for (number, pid) in running {
        let others: Vec<String> = running
            .iter()
            .filter(|(other, _)| other != number)
            .map(|(other, _)| {
                format!(
                    "route replace {} via {}",
                    network.pods(*other),
                    network.node(*other)
                )
            })
            .collect();
        ip(*pid, &others)?;
    }
    Ok(())
}

/// Whether the host still has the cluster's link.
pub fn has_host_link(network: Network) -> bool {
    std::path::Path::new("/sys/class/net")
        .join(network.host_link())
        .exists()
}

/// Removes the link on the host; one that is not there is as good.
pub fn remove_host_link(network: Network) -> Result<(), command::Error> {
    if has_host_link(network) {
        // Its namespace may vanish at the same time and take it along.
        let removed = command::output(&mut command("ip", ["link", "del", &network.host_link()]));
        if has_host_link(network) {
            removed?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_side_by_side_share_no_address() {
        let (first, second) = (Network::new(0), Network::new(1));
        assert_eq!(first.range(), "10.200.0.0/16");
        assert_eq!(second.range(), "10.201.0.0/16");
        assert_ne!(first.host_link(), second.host_link());
        assert_ne!(first.cgroup(), second.cgroup());
    }

    #[test]
    fn the_ranges_of_a_cluster_do_not_overlap() {
        let network = Network::new(3);
        assert_eq!(network.all_pods(), "10.203.16.0/20");
        assert_eq!(network.pods(1), "10.203.17.0/24");
        assert_eq!(network.pods(15), "10.203.31.0/24");
        assert_eq!(network.services(), "10.203.128.0/20");
        assert_eq!(network.dns().to_string(), "10.203.128.10");
        assert_eq!(network.node(15).to_string(), "10.203.0.25");
    }
}
