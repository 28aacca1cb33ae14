//! The local cluster itself: that it comes up from any state, does what a cluster does, and
//! leaves nothing behind. Needs root.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use e2e::cluster::{Cluster, Options};
use e2e::command::{command, output};
use e2e::images::Image;
use e2e::process::Record;
use e2e::progress::Progress;
use e2e::{dns, network, process};
use tokio::sync::{Mutex, MutexGuard};

/// Two cores carry one start at a time.
static TURN: Mutex<()> = Mutex::const_new(());

/// How long a start of two nodes may take once the programs are built.
const START: Duration = Duration::from_secs(20);

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

    /// The program as one types it.
    fn e2e(&self, words: &str) -> Command {
        let which = format!("--name={}", self.options.name);
        let mut e2e = command(env!("CARGO_BIN_EXE_e2e"), [which]);
        e2e.arg("--home")
            .arg(&self.options.home)
            .args(words.split(' '))
            .stderr(Stdio::null());
        e2e
    }

    /// What the program prints, and its code.
    fn says(&self, words: &str) -> (String, Option<i32>) {
        let output = self.e2e(words).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (text, output.status.code())
    }

    /// The cluster as its files tell of it now.
    fn open(&self) -> Cluster {
        Cluster::open(&self.options, Progress::silent()).unwrap()
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

/// The host's network links, named network namespaces and control groups, but for those that are named as other clusters'
/// are: they may come and go meanwhile. That this cluster's own are gone is asked by their names.
fn surroundings() -> BTreeSet<String> {
    let links = output(&mut command("ip", ["-o", "link"])).unwrap();
    let links = links.lines().filter_map(|line| line.split(": ").nth(1));
    let namespaces = output(&mut command("ip", ["netns"])).unwrap();
    let groups = output(Command::new("find").args(["/sys/fs/cgroup", "-type", "d"])).unwrap();
    (links.chain(namespaces.lines()).chain(groups.lines()))
        .filter(|name| !name.starts_with("applink") && !name.contains("/applink-e2e-"))
        .map(str::to_owned)
        .collect()
}

fn cgroups(cluster: &Cluster) -> String {
    output(Command::new("find").args(["/sys/fs/cgroup", "-name", &cluster.network().cgroup()]))
        .unwrap()
}

#[tokio::test]
async fn a_cluster_that_went_down_leaves_nothing_behind() {
    let site = Site::new("nothing", 2).await;
    // What takes minutes on a cold machine is no part of a start.
    for image in [Image::Pause, Image::Coredns] {
        image.build(None, Progress::silent()).unwrap();
    }
    let (firewall_before, mounts_before) = (firewall(), own_mounts());
    let surroundings_before = surroundings();
    let clock = Instant::now();
    let mut cluster = site.up().await;
    let mut took = clock.elapsed();
    if took > START {
        // Once more, in case that the machine was busy with something else.
        site.down();
        let clock = Instant::now();
        cluster = site.up().await;
        took = clock.elapsed();
    }
    eprintln!("two nodes Ready and DNS after {:.1} s", took.as_secs_f64());
    assert!(took <= START, "two nodes Ready and DNS after {took:?}");
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
    let left: Vec<_> = surroundings()
        .difference(&surroundings_before)
        .cloned()
        .collect();
    assert_eq!(left, [""; 0]);
    site.down();
}

#[tokio::test]
async fn a_running_cluster_is_kept_and_a_crashed_one_is_replaced() {
    let site = Site::new("crash", 1).await;

    // The program dies in the middle of a start, at one moment after the other; each begins with what the last one left.
    for mark in [
        "etcd.log",
        "nodes/node-1/init.pid",
        "kube-controller-manager.log",
        "nodes/node-1/logs/kubelet.log",
    ] {
        let begun = SystemTime::now();
        let mut start = site.e2e("up --nodes=1").spawn().unwrap();
        let path = site.folder().join(mark);
        within(120, mark, || {
            let changed = fs::metadata(&path).and_then(|file| file.modified());
            changed.is_ok_and(|changed| changed >= begun)
        });
        start.kill().unwrap();
        start.wait().unwrap();
        assert!(!site.open().state().is_running(), "{mark}");
        assert!(!process::marked(&site.folder()).is_empty(), "{mark}");
        assert_eq!(site.says("status").1, Some(1), "{mark}");
    }
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
        first.e2e("up --nodes=1").spawn().unwrap(),
        second.e2e("up --nodes=1").spawn().unwrap(),
    ];
    for start in &mut starts {
        assert!(start.wait().unwrap().success());
    }
    let networks = [first.open().network(), second.open().network()];
    assert_ne!(networks[0].range(), networks[1].range());
    assert!(networks.iter().all(|network| dns::answers(network.dns())));

    first.down();
    assert!(!network::has_host_link(networks[0]));
    assert!(second.open().state().is_running() && dns::answers(networks[1].dns()));
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
    site.up().await;
    // Verbs as one types them.
    assert_eq!(site.says("node add"), ("node-2\n".into(), Some(0)));
    let cluster = site.open();
    let nodes = || site.says("kubectl get nodes --no-headers").0;
    assert_eq!(nodes().matches(" Ready").count(), 2);

    // An image that the new node has lost is given to it again.
    let pause = e2e::node::settings::PAUSE;
    let has_pause = || {
        let (images, code) = site.says("exec node-2 ctr -n k8s.io images ls -q");
        assert_eq!(code, Some(0), "{images}");
        images.lines().any(|image| image == pause)
    };
    let lose = format!("exec node-2 ctr -n k8s.io images rm --sync {pause}");
    assert_eq!(site.says(&lose).1, Some(0));
    assert!(!has_pause());
    assert_eq!(site.says("load pause").1, Some(0));
    assert!(has_pause());

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
    assert_eq!(site.says("kubectl logs server"), (String::new(), Some(0)));

    // What runs, and where, as the program tells it.
    let (text, code) = site.says("status");
    assert_eq!(code, Some(0), "{text}");
    for word in ["kube-apiserver", "node-2", "kubelet"] {
        assert!(text.contains(word), "{word} is missing:\n{text}");
    }
    let kubeconfig = cluster.kubeconfig().display().to_string();
    assert_eq!(site.says("kubeconfig").0.trim_end(), kubeconfig);
    let entry = format!("{}\trunning", site.folder().display());
    let (list, _) = site.says("list");
    assert!(list.lines().any(|line| line == entry), "{list}");
    assert!(site.says("logs").0.contains("node-2/kubelet"));
    assert!(!site.says("logs kube-apiserver").0.is_empty());
    assert_eq!(
        site.says("exec node-2 hostname"),
        ("node-2\n".into(), Some(0))
    );
    assert_eq!(site.says("up --nodes=6").1, Some(2), "five at most");
    assert_eq!(cluster.run_on("node-2", &["hostname"]).unwrap(), "node-2\n");

    // Power cut: the API server notices by silence. The pods come back with the node's disk.
    assert_eq!(site.says("node kill node-2").1, Some(0));
    let (text, code) = site.says("status");
    let stopped = text
        .lines()
        .any(|line| line.starts_with("node-2") && line.ends_with("stopped"));
    assert!(stopped && code == Some(0), "{text}");
    within(60, "node-2 NotReady", || {
        nodes().contains("node-2   NotReady")
    });
    assert_eq!(site.says("node start node-2").1, Some(0));
    let cluster = site.open();
    cluster.kubectl(&wait).unwrap();
    within(20, "the page again", || {
        cluster.kubectl(&fetch).is_ok_and(|page| page.len() > 1000)
    });

    // An orderly stop, and away.
    assert_eq!(site.says("node stop node-2").1, Some(0));
    assert_eq!(site.says("exec node-2 true").1, Some(1));
    assert_eq!(site.says("node remove node-2").1, Some(0));
    assert!(!nodes().contains("node-2"));
    let mut cluster = site.open();
    let unknown = cluster.start_node("node-2").await.unwrap_err().to_string();
    assert!(
        unknown.contains("has no node node-2; it has node-1"),
        "{unknown}"
    );
    assert!(!site.folder().join("nodes/node-2").exists());
}
