//! A node: a network, mount, host-name and process namespace, with containerd, kubelet and
//! kube-proxy in it.
//!
//! Its first process holds everything: when that dies, the kernel ends every other process,
//! mount and link of the node. What stays is its folder, the node's disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::apiserver::Site;
use crate::command::{self, command};
use crate::network::{self, Network};
use crate::process::{self, Record};
use crate::{certificates, cgroup, files};

pub mod settings;

/// Folders that are the node's own, below its folder and, in the node, below `/`.
const OWN: [&str; 8] = [
    "etc/cni",
    "opt/cni/bin",
    "var/lib/cni",
    "var/lib/containerd",
    "var/lib/istio",
    "var/lib/kubelet",
    "var/log/containers",
    "var/log/pods",
];
/// The CNI plugins that a node's configuration names.
const PLUGINS: [&str; 4] = ["bridge", "host-local", "loopback", "portmap"];
/// Where distributions put CNI plugins.
const PLUGIN_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// A node could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program of the host failed.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// A process did not start.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// A certificate could not be made.
    #[error(transparent)]
    Certificates(#[from] certificates::Error),
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// A CNI plugin is missing.
    #[error(
        "CNI plugin {0} is in none of {PLUGIN_FOLDERS:?}; install the package containernetworking-plugins"
    )]
    Plugin(&'static str),
}

/// What a node needs to know of its cluster.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The cluster's folder.
    pub folder: PathBuf,
    /// The cluster's addresses.
    pub network: Network,
    /// A process in the ground's network namespace.
    pub ground: i32,
    /// The API server.
    pub site: Site,
    /// The folder of the Kubernetes programs.
    pub programs: PathBuf,
}

/// A node as it is remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Counts from 1 in its cluster; gives its addresses.
    pub number: u8,
    /// The first process, and its programs by name; empty while it is stopped.
    pub processes: Vec<Record>,
}

impl Node {
    /// A node that has not been started.
    pub fn new(number: u8) -> Self {
        Self {
            number,
            processes: Vec::new(),
        }
    }

    /// `node-<number>`.
    pub fn name(&self) -> String {
        format!("node-{}", self.number)
    }

    /// The first process, seen from the host, while it runs.
    pub fn init(&self) -> Option<i32> {
        self.processes
            .first()
            .filter(|record| record.is_running())
            .map(|record| record.pid)
    }

    /// The node's folder in its cluster's.
    pub fn folder(&self, cluster: &Path) -> PathBuf {
        cluster.join("nodes").join(self.name())
    }

    /// A command to run inside the running node.
    pub fn enter(init: i32, program: &Path) -> Command {
        let mut nsenter = command("nsenter", [format!("--target={init}")]);
        nsenter
            .args(["--net", "--mount", "--uts", "--pid", "--"])
            .arg(program);
        nsenter
    }

    /// Starts the namespaces and containerd.
    pub fn boot(&mut self, around: &Surroundings) -> Result<(), Error> {
        let folder = self.folder(&around.folder);
        self.furnish(around, &folder)?;
        cgroup::create(&around.network.cgroup(), &self.name())?;
        let pid_file = folder.join("init.pid");
        files::remove(&pid_file)?;
        let log = |name: &str| folder.join("logs").join(name);
        let mut unshare = command("unshare", ["--net", "--mount", "--uts", "--pid", "--fork"]);
        unshare
            .args(["--kill-child", "--propagation=private", "bash", "-ec", INIT])
            .arg("init")
            .arg(&folder)
            .arg(self.name())
            .args(OWN);
        let holder = process::detach("unshare", &mut unshare, &around.folder, &log("init.log"))?;
        let mut pid = None;
        process::eventually(
            &format!("the start of {}", self.name()),
            Duration::from_secs(20),
            Some(&log("init.log")),
            || {
                pid = fs::read_to_string(&pid_file)
                    .ok()
                    .and_then(|text| text.trim().parse().ok());
                pid.is_some()
            },
        )?;
        let init = Record::of("init", pid.unwrap_or_default());
        self.processes = vec![init.clone(), holder];
        network::detach_node(around.ground, self.number);
        network::attach_node(around.network, around.ground, init.pid, self.number)?;
        self.launch(
            around,
            "containerd",
            Path::new("containerd"),
            &["--config=/etc/cni/containerd.toml"],
        )?;
        process::eventually(
            &format!("containerd on {}", self.name()),
            Duration::from_secs(20),
            Some(&log("containerd.log")),
            || command::output(&mut ctr(init.pid, &["version"])).is_ok(),
        )?;
        Ok(())
    }

    /// Starts kubelet and kube-proxy; the API server must be ready.
    pub fn join(&mut self, around: &Surroundings) -> Result<(), Error> {
        let folder = self.folder(&around.folder);
        let file = |name: &str| folder.join(name).display().to_string();
        let address = around.network.node(self.number);
        let name = self.name();
        let kubelet = [
            format!("--config={}", file("kubelet.json")),
            format!("--kubeconfig={}", file("kubelet.kubeconfig")),
            format!("--hostname-override={name}"),
            format!("--node-ip={address}"),
            format!(
                "--node-labels=topology.kubernetes.io/region=local,topology.kubernetes.io/zone=zone-{}",
                1 + (self.number + 1) % 2
            ),
        ];
        let proxy = [
            format!("--kubeconfig={}", file("kube-proxy.kubeconfig")),
            format!("--hostname-override={name}"),
            format!("--cluster-cidr={}", around.network.all_pods()),
            "--proxy-mode=iptables".to_owned(),
            // Limits of the host's connection table belong to the host.
            "--conntrack-max-per-core=0".to_owned(),
            "--conntrack-tcp-timeout-established=0".to_owned(),
            "--conntrack-tcp-timeout-close-wait=0".to_owned(),
            "--iptables-min-sync-period=100ms".to_owned(),
            "--oom-score-adj=0".to_owned(),
        ];
        self.launch(
            around,
            "kubelet",
            &around.programs.join("kubelet"),
            &kubelet,
        )?;
        self.launch(
            around,
            "kube-proxy",
            &around.programs.join("kube-proxy"),
            &proxy,
        )
    }

    fn launch<A: AsRef<std::ffi::OsStr>>(
        &mut self,
        around: &Surroundings,
        name: &str,
        program: &Path,
        arguments: &[A],
    ) -> Result<(), Error> {
        let init = self.processes.first().map_or(0, |record| record.pid);
        let log = self
            .folder(&around.folder)
            .join("logs")
            .join(format!("{name}.log"));
        let mut command = Self::enter(init, program);
        command.args(arguments);
        let record = process::detach(name, &mut command, &around.folder, &log)?;
        self.processes.push(record);
        Ok(())
    }

    /// Ends the node's processes: at once like a power cut, or the kubelet first.
    pub fn halt(&mut self, orderly: bool) -> Result<(), Error> {
        if orderly
            && let Some(kubelet) = self
                .processes
                .iter()
                .find(|record| record.name == "kubelet")
        {
            process::terminate_children(kubelet);
            // A kubelet that does not end in time is cut off with the rest.
            let _ = process::eventually("the kubelet's end", Duration::from_secs(10), None, || {
                !kubelet.is_running()
            });
        }
        for record in &self.processes {
            process::signal(record, Signal::SIGKILL);
        }
        process::eventually(
            &format!("the end of {}", self.name()),
            Duration::from_secs(20),
            None,
            || !self.processes.iter().any(Record::is_running),
        )?;
        self.processes.clear();
        Ok(())
    }

    /// Imports an image archive into the running node's containerd.
    pub fn import(&self, archive: &Path) -> Result<(), Error> {
        let Some(init) = self.init() else {
            return Ok(());
        };
        command::output(ctr(init, &["images", "import"]).arg(archive))?;
        Ok(())
    }

    /// Writes the node's disk: what is there from an earlier start stays.
    fn furnish(&self, around: &Surroundings, folder: &Path) -> Result<(), Error> {
        for own in OWN {
            files::create_dir(&folder.join(own))?;
            files::create_dir(&Path::new("/").join(own))?;
        }
        if folder.join("furnished").exists() {
            return Ok(());
        }
        for plugin in PLUGINS {
            let found = self::plugin(plugin).ok_or(Error::Plugin(plugin))?;
            files::copy(&found, &folder.join("opt/cni/bin").join(plugin))?;
        }
        let name = self.name();
        let cgroup = format!("/{}/{name}", around.network.cgroup());
        let authority = around.site.authority()?;
        let kubelet = authority.client(
            &format!("{name}-kubelet"),
            &format!("system:node:{name}"),
            Some("system:nodes"),
        )?;
        let proxy = authority.client(&format!("{name}-kube-proxy"), "system:kube-proxy", None)?;
        let url = around.site.url();
        files::write_secret(
            &folder.join("kubelet.kubeconfig"),
            authority.kubeconfig(&url, &kubelet)?,
        )?;
        files::write_secret(
            &folder.join("kube-proxy.kubeconfig"),
            authority.kubeconfig(&url, &proxy)?,
        )?;
        files::write(&folder.join("resolv.conf"), "")?;
        let settings = settings::kubelet(
            &authority.certificate(),
            &folder.join("resolv.conf"),
            &cgroup,
            around.network.dns(),
        );
        files::write(&folder.join("kubelet.json"), settings)?;
        files::write(
            &folder.join("etc/cni/containerd.toml"),
            settings::CONTAINERD,
        )?;
        files::write(
            &folder.join("etc/cni/net.d/10-bridge.conflist"),
            settings::cni(&around.network.pods(self.number)),
        )?;
        Ok(files::write(&folder.join("furnished"), "")?)
    }
}

/// The host's file of a CNI plugin.
pub fn plugin(name: &str) -> Option<PathBuf> {
    let mut places = PLUGIN_FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join(name));
    places.find(|path| path.is_file())
}

/// A containerd client call inside a node.
fn ctr(init: i32, arguments: &[&str]) -> Command {
    let mut command = Node::enter(init, Path::new("ctr"));
    command.args(["--namespace=k8s.io"]).args(arguments);
    command
}

/// The first process of a node: arguments are the node's folder, its name and its own folders.
/// It waits for ever and reaps what others leave behind, which bash does by itself.
const INIT: &str = r#"
folder=$1 name=$2; shift 2
for own in "$@"; do mount --bind "$folder/$own" "/$own"; done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock
mount --make-rshared /
hostname "$name"
read -r pid rest < /proc/self/stat
mount -t proc proc /proc
echo "$pid" > "$folder/init.pid.draft"
mv "$folder/init.pid.draft" "$folder/init.pid"
trap : CHLD
set +e
while :; do sleep 86400 & wait $!; done
"#;
