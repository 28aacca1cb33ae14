//! A whole cluster: up, down, and what can be done to it in between.
//!
//! Everything a cluster has lives in its folder, in processes marked with that folder, in one
//! link of the host, in one group per cgroup hierarchy and in one slot. So a cluster whose start
//! was cut short at any point is removed the same way as a running one.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::apiserver;
use crate::command::{self, command};
use crate::images::Image;
use crate::network::{self, Network};
use crate::node::Node;
use crate::process::{self, Record};
use crate::programs::{self, Module};
use crate::progress::Progress;
use crate::state::State;
use crate::{cgroup, control_plane, dns, files, prerequisites, slot};

mod error;
mod ground;
mod held;
pub(crate) mod nodes;

pub use error::Error;
pub use held::Held;

/// Where clusters are kept unless said otherwise.
pub const HOME: &str = "/var/lib/applink-e2e";
/// The most nodes of one cluster.
pub const MOST_NODES: u8 = 5;
/// How long nodes and DNS may take, on a busy machine.
const READY: Duration = Duration::from_mins(2);

/// Which cluster, and how large.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name.
    pub name: String,
    /// The folder that holds clusters.
    pub home: PathBuf,
    /// How many nodes a start makes.
    pub nodes: u8,
}

impl Options {
    /// A cluster of two nodes in the usual place (`$APPLINK_E2E_HOME`, else [`HOME`]).
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            home: std::env::var_os("APPLINK_E2E_HOME").map_or_else(|| HOME.into(), PathBuf::from),
            nodes: 2,
        }
    }

    fn folder(&self) -> Result<PathBuf, Error> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let name = &self.name;
        if name.is_empty() || name.len() > 40 || !name.bytes().all(allowed) {
            return Err(Error::Name(name.clone()));
        }
        Ok(self.home.join(name))
    }
}

/// A cluster that is up.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    folder: PathBuf,
    state: State,
    progress: Progress,
}

impl Cluster {
    /// Starts the cluster and waits until its nodes are Ready and its DNS answers. One that runs
    /// already is kept, and gets the nodes that it lacks; what an earlier start or a crash left
    /// is removed first.
    pub async fn up(options: &Options, progress: Progress) -> Result<Self, Error> {
        if options.nodes == 0 || options.nodes > MOST_NODES {
            return Err(Error::NodeCount);
        }
        let folder = options.folder()?;
        prerequisites::ensure(progress)?;
        let _alone = alone(&options.name)?;
        if let Some(mut cluster) = Self::read(options, &folder, progress)
            && cluster.state.is_running()
        {
            progress.say(format!("cluster {} runs already", options.name));
            cluster.release_controller_manager();
            while cluster.state.nodes.len() < usize::from(options.nodes) {
                cluster.add_node_alone().await?;
            }
            return Ok(cluster);
        }
        // Built before anything is started: this is what takes minutes on a cold machine.
        let etcd = programs::build(Module::Etcd, progress)?.join("etcd");
        let kubernetes = programs::build(Module::Kubernetes, progress)?;
        let images = [Image::Pause, Image::Coredns]
            .into_iter()
            .map(|image| image.build(None, progress))
            .collect::<Result<Vec<_>, _>>()?;
        remove(&folder)?;
        let clock = Progress::new();
        files::create_dir(&folder)?;
        let mut cluster = Self {
            name: options.name.clone(),
            state: State {
                slot: slot::claim(&folder)?,
                programs: kubernetes,
                nodes: (1..=options.nodes).map(Node::new).collect(),
                ..State::default()
            },
            folder,
            progress,
        };
        for archive in images {
            cluster.keep_image(&archive)?;
        }
        cluster.save()?;
        cluster.start(&etcd).await?;
        cluster.state.complete = true;
        cluster.save()?;
        progress.say(format!(
            "cluster {} is up: {} nodes Ready, DNS answers ({:.1} s)",
            cluster.name,
            options.nodes,
            clock.elapsed().as_secs_f64()
        ));
        Ok(cluster)
    }

    async fn start(&mut self, etcd: &Path) -> Result<(), Error> {
        let site = self.site();
        site.prepare()?;
        self.start_ground()?;
        let around = self.surroundings();
        self.launch("etcd", etcd, &site.etcd_arguments())?;
        self.launch_kubernetes(ground::API_SERVER, &site.arguments())?;
        self.save()?;
        self.progress.say("etcd and kube-apiserver started");
        let images = self.state.images.clone();
        std::thread::scope(|scope| {
            let boots: Vec<_> = (self.state.nodes.iter_mut())
                .map(|node| scope.spawn(|| nodes::boot(node, &around, &images)))
                .collect();
            boots.into_iter().try_for_each(|boot| match boot.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        self.route()?;
        self.save()?;
        self.progress.say("containerd runs on every node");
        control_plane::ready(&site).await?;
        self.progress.say("the API server is ready");
        self.start_controllers()?;
        for node in &mut self.state.nodes {
            let number = node.number;
            (node.join(&around)).map_err(|source| Error::Node { number, source })?;
        }
        self.save()?;
        self.nodes_ready().await?;
        self.progress.say("nodes are Ready");
        // Only now, so that its pods spread over the nodes.
        let address = self.network().dns();
        let list = serde_json::json!({
            "apiVersion": "v1", "kind": "List", "items": dns::objects(address),
        });
        self.apply(&list.to_string())?;
        eventually("the cluster's DNS", async || dns::answers(address)).await
    }

    /// The cluster of that name, running or not.
    pub fn open(options: &Options, progress: Progress) -> Result<Self, Error> {
        let folder = options.folder()?;
        Self::read(options, &folder, progress).ok_or_else(|| Error::NoCluster {
            name: options.name.clone(),
            folder: options.home.clone(),
        })
    }

    fn read(options: &Options, folder: &Path, progress: Progress) -> Option<Self> {
        Some(Self {
            name: options.name.clone(),
            folder: folder.to_owned(),
            state: State::read(folder)?,
            progress,
        })
    }

    /// Removes the cluster with everything it had, whatever state it is in; one that is not there
    /// is as good.
    pub fn down(options: &Options, progress: Progress) -> Result<(), Error> {
        let folder = options.folder()?;
        let _alone = alone(&options.name)?;
        remove(&folder)?;
        progress.say(format!("cluster {} is gone", options.name));
        Ok(())
    }

    /// Imports an image archive into every running node now, and into others when they start.
    pub fn load(&mut self, archive: &Path) -> Result<(), Error> {
        let _alone = alone(&self.name)?;
        let kept = self.keep_image(archive)?;
        self.save()?;
        std::thread::scope(|scope| {
            let imports: Vec<_> = (self.state.nodes.iter())
                .map(|node| {
                    let kept = &kept;
                    scope.spawn(move || {
                        let number = node.number;
                        node.import(kept)
                            .map_err(|source| Error::Node { number, source })
                    })
                })
                .collect();
            imports
                .into_iter()
                .try_for_each(|import| match import.join() {
                    Ok(result) => result,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
        })
    }

    /// Puts an archive into the cluster's folder, so that nodes of later days find it.
    fn keep_image(&mut self, archive: &Path) -> Result<PathBuf, Error> {
        let name = archive.file_name().unwrap_or(archive.as_os_str());
        let kept = self.folder.join("images").join(name);
        files::create_dir(&self.folder.join("images"))?;
        files::remove(&kept)?;
        if std::fs::hard_link(archive, &kept).is_err() {
            files::copy(archive, &kept)?;
        }
        self.state.images.retain(|image| *image != kept);
        self.state.images.push(kept.clone());
        Ok(kept)
    }

    /// Runs a program inside a node and waits for it; its standard output.
    pub fn run_on(&self, name: &str, program: &[&str]) -> Result<String, Error> {
        Ok(command::output(&mut self.enter(name, program)?)?)
    }

    /// A command inside a node, ready to be run.
    pub fn enter(&self, name: &str, program: &[&str]) -> Result<std::process::Command, Error> {
        let node = self.node(name)?;
        let init = node.init().ok_or_else(|| Error::NodeState {
            node: name.to_owned(),
            state: "stopped",
        })?;
        let (first, rest) = program.split_first().unwrap_or((&"sh", &[]));
        let mut command = Node::enter(init, Path::new(first));
        command.args(rest);
        Ok(command)
    }

    /// Runs kubectl as administrator; its standard output.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, Error> {
        Ok(command::output(self.kubectl_command().args(arguments))?)
    }

    /// Applies objects in YAML or JSON as administrator.
    pub fn apply(&self, objects: &str) -> Result<String, Error> {
        self.apply_with(objects, &[])
    }

    /// Applies objects like [`Self::apply`], also where somebody else has applied them in another shape.
    pub fn apply_over(&self, objects: &str) -> Result<String, Error> {
        self.apply_with(objects, &["--force-conflicts"])
    }

    fn apply_with(&self, objects: &str, options: &[&str]) -> Result<String, Error> {
        let mut kubectl = self.kubectl_command();
        kubectl.args(["apply", "--server-side", "--validate=false", "-f", "-"]);
        Ok(command::feed(kubectl.args(options), objects)?)
    }

    fn kubectl_command(&self) -> std::process::Command {
        let kubeconfig = format!("--kubeconfig={}", self.kubeconfig().display());
        let mut kubectl = command(self.state.programs.join("kubectl"), [kubeconfig]);
        // It is over before garbage would matter; looking for it is a third of its time.
        kubectl.env("GOGC", "off");
        kubectl
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.site().kubeconfig()
    }

    /// A kubeconfig of another user, told apart in the audit log; RBAC decides what it may do.
    pub fn kubeconfig_as(&self, user: &str, group: Option<&str>) -> Result<PathBuf, Error> {
        let path = self
            .folder
            .join("users")
            .join(user.replace([':', '/'], "-"));
        apiserver::write_kubeconfig(&self.site(), &path, user, group)?;
        Ok(path)
    }

    /// The administrator's client.
    pub async fn client(&self) -> Result<kube::Client, Error> {
        Ok(control_plane::client(&self.kubeconfig()).await?)
    }

    /// The audit log, one JSON event a line.
    pub fn audit_log(&self) -> PathBuf {
        self.site().audit_log()
    }

    /// The folder of the Kubernetes programs, kubectl among them.
    pub fn programs(&self) -> &Path {
        &self.state.programs
    }

    /// The cluster's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The cluster's addresses.
    pub fn network(&self) -> Network {
        Network::new(self.state.slot)
    }

    /// What is remembered of it.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The log of `kube-apiserver`, or of a node's program: `node-1/kubelet`.
    pub fn log(&self, of: &str) -> PathBuf {
        match of.split_once('/') {
            Some((node, program)) => self
                .folder
                .join("nodes")
                .join(node)
                .join("logs")
                .join(format!("{program}.log")),
            None => self.folder.join(format!("{of}.log")),
        }
    }

    fn save(&self) -> Result<(), Error> {
        Ok(self.state.write(&self.folder)?)
    }
}

async fn eventually(what: &str, happened: impl AsyncFn() -> bool) -> Result<(), Error> {
    let deadline = Instant::now() + READY;
    while !happened().await {
        if Instant::now() > deadline {
            return Err(Error::NotReady {
                what: what.to_owned(),
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Keeps two runs of the program from working on one cluster at once.
fn alone(name: &str) -> Result<impl Drop + use<>, Error> {
    let folder = Path::new("/run/applink-e2e/locks");
    files::create_dir(folder)?;
    Ok(programs::lock(&folder.join(name))?)
}

/// Removes whatever there is of the cluster kept in `folder`.
fn remove(folder: &Path) -> Result<(), Error> {
    process::kill_marked(folder)?;
    if let Some(slot) = slot::find(folder)? {
        let network = Network::new(slot);
        // The kernel takes the link along when the ground's namespace goes, a moment later.
        network::remove_host_link(network)?;
        cgroup::remove(&network.cgroup())?;
    }
    files::remove_dir(folder)?;
    Ok(slot::release(folder)?)
}

/// Every cluster of this machine: its folder and whether everything in it runs.
pub fn all() -> Result<Vec<(PathBuf, bool)>, Error> {
    Ok(slot::all()?
        .into_iter()
        .map(|(_, folder)| {
            let runs = State::read(&folder).is_some_and(|state| state.is_running());
            (folder, runs)
        })
        .collect())
}

impl Cluster {
    /// The processes outside of nodes and those of nodes, with the node's name.
    pub fn processes(&self) -> impl Iterator<Item = (Option<String>, &Record)> {
        let outside = self.state.processes.iter().map(|record| (None, record));
        let inside = (self.state.nodes.iter()).flat_map(|node| {
            node.processes
                .iter()
                .map(|record| (Some(node.name()), record))
        });
        outside.chain(inside)
    }
}
