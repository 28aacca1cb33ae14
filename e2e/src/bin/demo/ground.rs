//! Where the demo runs: the project's own cluster, or one of kind. The rest of the demo does not know which.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::cluster::{Cluster, Options};
use e2e::command::{self, command};
use e2e::images::Image;
use e2e::progress::Progress;

use crate::Error;
use crate::screen::Screen;

/// The kinds of ground.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The project's own cluster: real nodes in namespaces of this machine, no container engine
    Local,
    /// A cluster of kind, on a Docker engine
    Kind,
}

/// Images under which the mesh runs here.
#[derive(Clone, Debug)]
pub struct References {
    /// Operator and node proxy.
    pub applink: String,
    /// The shop.
    pub shop: String,
    /// Images of istiod and of the CNI agent, when they are not upstream's: name in a MeshRelease, repository, tag.
    pub istio: Vec<(&'static str, String, String)>,
}

/// A cluster with the images in it.
#[derive(Debug)]
pub struct Ground {
    target: Target,
    kubeconfig: PathBuf,
    /// Images to use.
    pub references: References,
    /// The command line, as built.
    pub applink: PathBuf,
}

#[derive(Debug)]
enum Target {
    Local(Box<Cluster>),
    /// Its name.
    Kind(String),
}

impl Ground {
    /// Builds programs and images, starts the cluster and gives it the images. What is there already is kept.
    pub fn prepare(kind: Kind, name: &str, screen: Screen) -> Result<Self, Error> {
        screen.title("Build the operator, the node proxy, the command line and the shop");
        let programs = build()?;
        match kind {
            Kind::Local => Self::local(name, &programs, screen),
            Kind::Kind => Self::kind(name, &programs, screen),
        }
    }

    fn local(name: &str, programs: &Path, screen: Screen) -> Result<Self, Error> {
        screen.title(
            "Start a real Kubernetes cluster: two nodes, each with its own kubelet and containerd",
        );
        let mut cluster = run(Cluster::up(&Options::new(name), Progress::new()))?;
        let applink = programs.join("applink");
        screen.title("Give the nodes the images");
        let images = [
            (Image::Applink, Some(applink.clone())),
            (Image::Shop, Some(programs.join("shop"))),
            (Image::Pilot, None),
            (Image::InstallCni, None),
            (Image::Broken, Some(programs.join("shop"))),
        ];
        for (image, binary) in images {
            let archive = image.build(binary.as_deref(), Progress::new())?;
            cluster.load(&archive)?;
            screen.note(&image.reference());
        }
        let istio = [("pilot", Image::Pilot), ("install-cni", Image::InstallCni)].map(
            |(component, image)| {
                let reference = image.reference();
                let (repository, tag) = reference.rsplit_once(':').unwrap_or((&reference, ""));
                (component, repository.to_owned(), tag.to_owned())
            },
        );
        Ok(Self {
            kubeconfig: cluster.kubeconfig(),
            references: References {
                applink: Image::Applink.reference(),
                shop: Image::Shop.reference(),
                istio: istio.into(),
            },
            target: Target::Local(Box::new(cluster)),
            applink,
        })
    }

    /// istiod and the CNI agent are upstream's own images here: a Docker engine can pull them.
    fn kind(name: &str, programs: &Path, screen: Screen) -> Result<Self, Error> {
        screen.title("Start a cluster of kind: one control plane, two workers");
        let kubeconfig = std::env::temp_dir().join(format!("applink-kind-{name}.kubeconfig"));
        let clusters = command::output(&mut command("kind", ["get", "clusters"]))?;
        if !clusters.lines().any(|line| line.trim() == name) {
            let config = repository().join("kind-config.yaml");
            let mut kind = command(
                "kind",
                [
                    "create", "cluster", "--wait", "120s", "--name", name, "--config",
                ],
            );
            command::output(kind.arg(config).arg("--kubeconfig").arg(&kubeconfig))?;
        }
        command::output(
            command(
                "kind",
                ["export", "kubeconfig", "--name", name, "--kubeconfig"],
            )
            .arg(&kubeconfig),
        )?;
        screen.title("Give the nodes the images");
        let references = References {
            applink: Image::Applink.reference(),
            shop: Image::Shop.reference(),
            istio: Vec::new(),
        };
        for (image, program) in [
            (Image::Applink, "applink"),
            (Image::Shop, "shop"),
            (Image::Broken, "shop"),
        ] {
            let archive = image.build(Some(&programs.join(program)), Progress::new())?;
            command::output(
                command("kind", ["load", "image-archive", "--name", name]).arg(archive),
            )?;
            screen.note(&image.reference());
        }
        Ok(Self {
            target: Target::Kind(name.to_owned()),
            kubeconfig,
            references,
            applink: programs.join("applink"),
        })
    }

    /// Removes the cluster with everything in it; one that is not there is as good.
    pub fn remove(kind: Kind, name: &str, screen: Screen) -> Result<(), Error> {
        match kind {
            Kind::Local => Cluster::down(&Options::new(name), Progress::new())?,
            Kind::Kind => drop(command::output(&mut command(
                "kind",
                ["delete", "cluster", "--name", name],
            ))?),
        }
        screen.note("the demo is removed");
        Ok(())
    }

    /// Gives the nodes the images of a release of that version: those that are there, under another name.
    pub fn name_images(&self, version: &str) -> Result<(), Error> {
        let (repository, tag) =
            (self.references.applink.rsplit_once(':')).unwrap_or((&self.references.applink, "dev"));
        let istio = &self.references.istio;
        let istio = istio
            .iter()
            .map(|(_, repository, tag)| (&**repository, &**tag));
        for (repository, tag) in std::iter::once((repository, tag)).chain(istio) {
            let (from, to) = (
                format!("{repository}:{tag}"),
                format!("{repository}:{version}"),
            );
            let program = [
                "ctr", "-n", "k8s.io", "images", "tag", "--force", &from, &to,
            ];
            match &self.target {
                Target::Local(cluster) => {
                    for node in &cluster.state().nodes {
                        cluster.run_on(&node.name(), &program)?;
                    }
                }
                Target::Kind(name) => {
                    let nodes = command("kind", ["get", "nodes", "--name", name]);
                    for node in command::output(&mut { nodes })?.lines() {
                        let mut docker = command("docker", ["exec", node]);
                        command::output(docker.args(program))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A client as administrator.
    pub async fn client(&self) -> Result<kube::Client, Error> {
        Ok(e2e::control_plane::client(&self.kubeconfig).await?)
    }

    /// kubectl as administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> Command {
        let program = match &self.target {
            Target::Local(cluster) => cluster.programs().join("kubectl"),
            Target::Kind(_) => "kubectl".into(),
        };
        let mut kubectl = command(program, ["--kubeconfig"]);
        kubectl.arg(&self.kubeconfig).args(arguments);
        kubectl
    }

    /// What kubectl prints.
    pub fn ask(&self, arguments: &[&str]) -> Result<String, Error> {
        Ok(command::output(&mut self.kubectl(arguments))?)
    }

    /// Applies objects in YAML or JSON.
    pub fn apply(&self, objects: &str) -> Result<(), Error> {
        let mut kubectl = self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"]);
        command::feed(&mut kubectl, objects)?;
        Ok(())
    }

    /// The command line against this cluster.
    pub fn applink(&self, arguments: &[&str]) -> Command {
        let mut applink = command(&self.applink, arguments);
        applink.arg("--kubeconfig").arg(&self.kubeconfig);
        applink
    }

    /// A program inside a node, found under the same path there.
    pub fn in_node(&self, node: &str, program: &[&str]) -> Result<Command, Error> {
        match &self.target {
            Target::Local(cluster) => Ok(cluster.enter(node, program)?),
            Target::Kind(_) => {
                let (first, rest) = program.split_first().unwrap_or((&"true", &[]));
                command::output(&mut command(
                    "docker",
                    ["cp", first, &format!("{node}:/usr/local/bin/applink-demo")],
                ))?;
                let mut docker = command(
                    "docker",
                    ["exec", "-i", node, "/usr/local/bin/applink-demo"],
                );
                docker.args(rest);
                Ok(docker)
            }
        }
    }

    /// What to type so that `kubectl` and `applink` mean this cluster.
    pub fn environment(&self) -> String {
        let mut folders: Vec<String> = self
            .applink
            .parent()
            .map(|folder| folder.display().to_string())
            .into_iter()
            .collect();
        if let Target::Local(cluster) = &self.target {
            folders.push(cluster.programs().display().to_string());
        }
        format!(
            "export KUBECONFIG={} PATH={}:$PATH",
            self.kubeconfig.display(),
            folders.join(":")
        )
    }
}

/// Builds the binaries in the profile that this program was built in; the folder they are in.
fn build() -> Result<PathBuf, Error> {
    let own = std::env::current_exe()?;
    let folder = own
        .parent()
        .map_or_else(|| repository().join("target/release"), Path::to_owned);
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut build = command(cargo, ["build", "--quiet", "-p", "applink", "-p", "shop"]);
    if folder.ends_with("release") {
        build.arg("--release");
    }
    build
        .current_dir(repository())
        .stderr(std::process::Stdio::inherit());
    command::output(&mut build)?;
    Ok(folder)
}

/// The folder of the sources.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// Runs the asynchronous part.
fn run<T>(future: impl Future<Output = Result<T, e2e::cluster::Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    Ok(runtime.block_on(future)?)
}
