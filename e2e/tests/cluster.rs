//! The local cluster itself: that it comes up from any state, does what a cluster does, and
//! leaves nothing behind. Needs root.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::cluster::{Cluster, Options};
use e2e::command::{command, output};
use e2e::process::Record;
use e2e::progress::Progress;
use e2e::{dns, network, process};
use tokio::sync::{Mutex, MutexGuard};

/// Two cores carry one start at a time.
static TURN: Mutex<()> = Mutex::const_new(());

/// A cluster's options, and the promise that it is taken down at the end, also of a failed test.
struct Site {
    options: Options,
    turn_held: Option<MutexGuard<'static, ()>>,
}

impl Site {
    async fn new(name: &str, nodes: u8) -> Self {
        let turn = TURN.lock().await;
        let mut site = Self::beside(name, nodes);
        site.turn_held = Some(turn);
        site
    }

    fn beside(name: &str, nodes: u8) -> Self {
        let mut options = Options::new(&format!("test-{name}-{}", std::process::id()));
        options.nodes = nodes;
        Self {
            options,
            turn_held: None,
        }
    }

    async fn up(&self) -> Cluster {
        Cluster::up(&self.options, Progress::silent())
            .await
            .unwrap()
    }

    fn down(&self) {
        Cluster::down(&self.options, Progress::silent()).unwrap();
    }

    fn folder(&self) -> PathBuf {
        self.options.home.join(&self.options.name)
    }

    fn program(&self) -> Command {
        let mut up = command(env!("CARGO_BIN_EXE_e2e"), ["up", "--nodes=1"]);
        up.arg(format!("--name={}", self.options.name))
            .arg("--home")
            .arg(&self.options.home)
            .stderr(Stdio::null());
        up
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = Cluster::down(&self.options, Progress::silent());
    }
}

fn within(seconds: u64, what: &str, happened: impl FnMut() -> bool) {
    process::eventually(what, Duration::from_secs(seconds), None, happened).unwrap();
}

/// Every process of the machine that is in one of the namespaces.
fn inhabitants(namespaces: &BTreeSet<PathBuf>) -> Vec<Record> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| {
            ["net", "mnt", "pid"].iter().any(|kind| {
                fs::read_link(entry.path().join("ns").join(kind))
                    .is_ok_and(|namespace| namespaces.contains(&namespace))
            })
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(|pid| Record::of("inhabitant", pid))
        .collect()
}

/// Those of a cluster's processes, without the host's own.
fn namespaces_of(cluster: &Cluster) -> BTreeSet<PathBuf> {
    let of = |pid: i32| {
        ["net", "mnt", "pid"].map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap())
    };
    let own: BTreeSet<_> = of(std::process::id().try_into().unwrap()).into();
    let init = cluster
        .state()
        .nodes
        .iter()
        .filter_map(e2e::node::Node::init);
    let theirs: BTreeSet<_> = cluster
        .processes()
        .map(|(_, record)| record.pid)
        .chain(init)
        .flat_map(of)
        .collect();
    &theirs - &own
}

/// Whether any process still sees a mount of the folder.
fn is_mounted(folder: &Path) -> bool {
    let folder = folder.to_str().unwrap();
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        fs::read_to_string(entry.path().join("mountinfo")).is_ok_and(|text| text.contains(folder))
    })
}

fn firewall() -> String {
    let text = |program: &str| output(&mut command(program, [] as [&str; 0])).unwrap_or_default();
    // Counters and times change by themselves.
    (text("iptables-save") + &text("ip6tables-save"))
        .lines()
        .filter(|line| !line.starts_with(['#', ':']))
        .collect::<Vec<_>>()
        .join("\n")
}

fn own_mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

fn cgroups(cluster: &Cluster) -> String {
    output(Command::new("find").args(["/sys/fs/cgroup", "-name", &cluster.network().cgroup()]))
        .unwrap()
}

#[tokio::test]
async fn a_cluster_that_went_down_leaves_nothing_behind() {
    let site = Site::new("nothing", 2).await;
    let (firewall_before, mounts_before) = (firewall(), own_mounts());
    let cluster = site.up().await;
    let used = namespaces_of(&cluster);
    assert_eq!(
        used.len(),
        1 + 2 * 3,
        "the ground's network and three of each node: {used:?}"
    );
    let inhabitants = inhabitants(&used);
    // Those of the programs, and of the pods' processes beside them.
    assert!(inhabitants.len() > cluster.processes().count() && is_mounted(&site.folder()));
    assert!(network::has_host_link(cluster.network()) && !cgroups(&cluster).is_empty());
    assert_eq!(
        firewall(),
        firewall_before,
        "the host's firewall is never touched"
    );

    site.down();
    assert_eq!(process::marked(&site.folder()), [] as [i32; 0]);
    let survivors: Vec<_> = (inhabitants.iter().filter(|record| record.is_running()))
        .map(|record| {
            (
                record.pid,
                fs::read_to_string(format!("/proc/{}/cmdline", record.pid)),
            )
        })
        .collect();
    assert!(survivors.is_empty(), "{survivors:?}");
    assert!(!is_mounted(&site.folder()) && own_mounts() == mounts_before);
    assert!(!network::has_host_link(cluster.network()) && cgroups(&cluster).is_empty());
    assert!(!site.folder().exists() && firewall() == firewall_before);
    site.down();
}

#[tokio::test]
async fn a_running_cluster_is_kept_and_a_crashed_one_is_replaced() {
    let site = Site::new("crash", 1).await;

    // The program dies in the middle of a start.
    let mut start = site.program().spawn().unwrap();
    let booted = site.folder().join("nodes/node-1/init.pid");
    within(120, "half a start", || booted.exists());
    start.kill().unwrap();
    start.wait().unwrap();
    assert!(
        Cluster::open(&site.options, Progress::silent())
            .unwrap()
            .state()
            .nodes[0]
            .init()
            .is_none()
    );
    assert!(!process::marked(&site.folder()).is_empty());
    let first = site.up().await;

    // A second start changes nothing.
    let pids = |cluster: &Cluster| {
        cluster
            .processes()
            .map(|(_, record)| record.pid)
            .collect::<Vec<_>>()
    };
    assert_eq!(pids(&site.up().await), pids(&first));

    // Everything dies.
    process::kill_marked(&site.folder()).unwrap();
    let second = site.up().await;
    assert_ne!(pids(&second), pids(&first));
    assert!(
        second
            .kubectl(&["get", "nodes"])
            .unwrap()
            .contains("node-1")
    );
}

#[tokio::test]
async fn two_clusters_live_side_by_side() {
    let first = Site::new("first", 1).await;
    let second = Site::beside("second", 1);
    let mut starts = [
        first.program().spawn().unwrap(),
        second.program().spawn().unwrap(),
    ];
    for start in &mut starts {
        assert!(start.wait().unwrap().success());
    }
    let open = |site: &Site| Cluster::open(&site.options, Progress::silent()).unwrap();
    let networks = [open(&first).network(), open(&second).network()];
    assert_ne!(networks[0].range(), networks[1].range());
    assert!(networks.iter().all(|network| dns::answers(network.dns())));

    first.down();
    assert!(!network::has_host_link(networks[0]));
    assert!(open(&second).state().is_running() && dns::answers(networks[1].dns()));
}

/// A page served by a pod on one node, and a client on the other.
fn page(server: &str, client: &str) -> String {
    let pod = |name: &str, node: &str, arguments: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\n\
             spec:\n  nodeName: {node}\n  terminationGracePeriodSeconds: 0\n  containers:\n  - name: it\n    \
             image: {}\n    imagePullPolicy: Never\n    command: [/bin/busybox, {arguments}]\n---\n",
            e2e::node::settings::PAUSE
        )
    };
    pod("server", server, "httpd, -f, -p, '8080', -h, /bin")
        + &pod("client", client, "sleep, '1000'")
        + "apiVersion: v1\nkind: Service\nmetadata: {name: server}\n\
           spec: {selector: {app: server}, ports: [{port: 80, targetPort: 8080}]}\n"
}

#[tokio::test]
async fn nodes_come_and_go_and_pods_on_them_talk() {
    let site = Site::new("nodes", 1).await;
    let mut cluster = site.up().await;
    assert_eq!(cluster.add_node().await.unwrap(), "node-2");
    let nodes = |cluster: &Cluster| cluster.kubectl(&["get", "nodes", "--no-headers"]).unwrap();
    assert_eq!(nodes(&cluster).matches(" Ready").count(), 2);

    // Pods of different nodes, by a service's name; logs and exec by way of the API server.
    cluster.apply(&page("node-2", "node-1")).unwrap();
    let wait = [
        "wait",
        "--for=condition=Ready",
        "pod",
        "--all",
        "--timeout=60s",
    ];
    cluster.kubectl(&wait).unwrap();
    let fetch = [
        "exec",
        "client",
        "--",
        "/bin/busybox",
        "wget",
        "-qO-",
        "http://server.default.svc.cluster.local/busybox",
    ];
    within(20, "a page from the other node", || {
        cluster.kubectl(&fetch).is_ok_and(|page| page.len() > 1000)
    });
    assert_eq!(cluster.kubectl(&["logs", "server"]).unwrap(), "");
    assert_eq!(cluster.run_on("node-2", &["hostname"]).unwrap(), "node-2\n");

    // Power cut: the API server notices by silence. The pods come back with the node's disk.
    cluster.halt_node("node-2", false).unwrap();
    within(60, "node-2 NotReady", || {
        nodes(&cluster).contains("node-2   NotReady")
    });
    cluster.start_node("node-2").await.unwrap();
    cluster.kubectl(&wait).unwrap();
    within(20, "the page again", || {
        cluster.kubectl(&fetch).is_ok_and(|page| page.len() > 1000)
    });

    // An orderly stop, and away.
    cluster.halt_node("node-2", true).unwrap();
    assert!(cluster.run_on("node-2", &["true"]).is_err());
    cluster.remove_node("node-2").unwrap();
    assert!(!nodes(&cluster).contains("node-2"));
    let unknown = cluster.start_node("node-2").await.unwrap_err().to_string();
    assert!(
        unknown.contains("has no node node-2; it has node-1"),
        "{unknown}"
    );
    assert!(!site.folder().join("nodes/node-2").exists());
}
