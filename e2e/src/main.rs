//! The local cluster, on the command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use e2e::cluster::{self, Cluster, Error, Options};
use e2e::images::Image;
use e2e::images::definitions::Published;
use e2e::programs::{self, Module};
use e2e::progress::Progress;
use e2e::{bench_operator, chaos, command, files, prerequisites};

/// A real Kubernetes cluster on one Linux machine, without Docker.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
struct Which {
    /// The cluster.
    #[arg(
        long,
        global = true,
        default_value = "applink",
        env = "APPLINK_E2E_NAME"
    )]
    name: String,
    /// The folder that holds clusters.
    #[arg(long, global = true, default_value = cluster::HOME, env = "APPLINK_E2E_HOME")]
    home: PathBuf,
}

#[derive(Subcommand)]
enum Verb {
    /// Start the cluster and wait until nodes are Ready and DNS answers.
    Up {
        /// Number of nodes.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=5))]
        nodes: u8,
    },
    /// Remove the cluster with everything it had.
    Down,
    /// Say what runs.
    Status,
    /// Name every cluster of this machine.
    List,
    /// Print the path of the administrator's kubeconfig.
    Kubeconfig,
    /// Give images to every node, of now and of later.
    Load {
        /// Images to make and load.
        #[arg(value_enum)]
        images: Vec<Image>,
        /// The program for the images applink, shop and upstream-ztunnel.
        #[arg(long)]
        binary: Option<PathBuf>,
        /// A finished image archive.
        #[arg(long)]
        archive: Vec<PathBuf>,
    },
    /// Make an image archive and print its path.
    Image {
        /// The image.
        #[arg(value_enum)]
        image: Image,
        /// The program for the images applink, shop and upstream-ztunnel.
        #[arg(long)]
        binary: Option<PathBuf>,
    },
    /// Build programs now, and print their folders.
    Programs {
        /// What they come from; without any, all of them.
        #[arg(value_enum)]
        modules: Vec<Module>,
    },
    /// Copy the definitions of Istio's and the Gateway API's kinds, as published, into a folder.
    Definitions {
        /// Where to put them.
        folder: PathBuf,
    },
    /// Check, and on Debian install, what the host needs.
    Prerequisites,
    /// Print a log: `kube-apiserver`, `node-1/kubelet`; without a name, list them.
    Logs {
        /// Whose.
        of: Option<String>,
    },
    /// Measure what the operator costs, on clusters of its own: two nodes, and a thousand simulated ones; fail when a limit
    /// is broken.
    BenchOperator(bench_operator::Parts),
    /// Try every broken release without users, kill the operator before and after every write of install, upgrade, rollback and
    /// leave, then at random, on a cluster of its own; fail on a difference.
    Chaos(chaos::Amount),
    /// Change nodes.
    Node {
        #[command(subcommand)]
        verb: NodeVerb,
    },
    /// Run a program inside a node.
    Exec {
        /// The node.
        node: String,
        /// The program with its arguments.
        #[arg(trailing_var_arg = true, required = true, allow_hyphen_values = true)]
        program: Vec<String>,
    },
    /// Run kubectl as administrator.
    Kubectl {
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Subcommand)]
enum NodeVerb {
    /// Add one and print its name.
    Add,
    /// Shut it down in order.
    Stop {
        /// Its name.
        node: String,
    },
    /// Cut its power.
    Kill {
        /// Its name.
        node: String,
    },
    /// Start it again with the disk it had.
    Start {
        /// Its name.
        node: String,
    },
    /// Take it away with its disk and its object.
    Remove {
        /// Its name.
        node: String,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", command::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let progress = Progress::new();
    let mut options = Options::new(&arguments.which.name);
    options.home = arguments.which.home;
    let open = || Cluster::open(&options, progress);
    match arguments.verb {
        Verb::Up { nodes } => {
            options.nodes = nodes;
            let cluster = Cluster::up(&options, progress).await?;
            eprintln!(
                "          export KUBECONFIG={}",
                cluster.kubeconfig().display()
            );
        }
        Verb::Down => Cluster::down(&options, progress)?,
        Verb::Status => return Ok(status(&open()?)),
        Verb::List => {
            for (folder, runs) in cluster::all()? {
                println!(
                    "{}\t{}",
                    folder.display(),
                    if runs { "running" } else { "not running" }
                );
            }
        }
        Verb::Kubeconfig => println!("{}", open()?.kubeconfig().display()),
        Verb::Load {
            images,
            binary,
            archive,
        } => {
            let mut cluster = open()?;
            for image in images {
                let archive = image.build(binary.as_deref(), progress)?;
                cluster.load(&archive)?;
                progress.say(format!("loaded {}", image.reference()));
            }
            for archive in archive {
                cluster.load(&archive)?;
                progress.say(format!("loaded {}", archive.display()));
            }
        }
        Verb::Image { image, binary } => {
            println!("{}", image.build(binary.as_deref(), progress)?.display());
        }
        Verb::Programs { modules } => {
            prerequisites::toolchains()?;
            let all = Module::ALL.to_vec();
            for module in if modules.is_empty() { all } else { modules } {
                println!("{}", programs::build(module, progress)?.display());
            }
        }
        Verb::Definitions { folder } => {
            Published::find()?.write(&folder)?;
        }
        Verb::Prerequisites => prerequisites::ensure(progress)?,
        Verb::Logs { of } => logs(&open()?, of.as_deref())?,
        Verb::BenchOperator(parts) => {
            let reports = bench_operator::run(&options, parts, progress).await?;
            for report in &reports {
                println!("{report}");
            }
            if !reports.iter().all(bench_operator::Report::keeps_limits) {
                return Ok(ExitCode::FAILURE);
            }
        }
        Verb::Chaos(amount) => {
            let report = chaos::run(&options, amount, progress).await?;
            println!("{report}");
            if !report.is_good() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Verb::Node { verb } => change_node(&mut open()?, verb).await?,
        Verb::Exec { node, program } => {
            let words: Vec<&str> = program.iter().map(String::as_str).collect();
            return Ok(follow(open()?.enter(&node, &words)?));
        }
        Verb::Kubectl { arguments } => {
            let cluster = open()?;
            let mut kubectl = command::command(cluster.programs().join("kubectl"), arguments);
            kubectl.env("KUBECONFIG", cluster.kubeconfig());
            return Ok(follow(kubectl));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn change_node(cluster: &mut Cluster, verb: NodeVerb) -> Result<(), Error> {
    match verb {
        NodeVerb::Add => println!("{}", cluster.add_node().await?),
        NodeVerb::Stop { node } => cluster.halt_node(&node, true)?,
        NodeVerb::Kill { node } => cluster.halt_node(&node, false)?,
        NodeVerb::Start { node } => cluster.start_node(&node).await?,
        NodeVerb::Remove { node } => cluster.remove_node(&node)?,
    }
    Ok(())
}

/// Becomes the program, so that terminal and signals are its own.
fn follow(mut command: std::process::Command) -> ExitCode {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    eprintln!(
        "error: cannot run {}: {error}",
        command.get_program().display()
    );
    ExitCode::FAILURE
}

/// Fails when something does not run.
fn status(cluster: &Cluster) -> ExitCode {
    let mut all = cluster.state().complete;
    println!("folder      {}", cluster.folder().display());
    println!("kubeconfig  {}", cluster.kubeconfig().display());
    println!("network     {}", cluster.network().range());
    for (node, record) in cluster.processes() {
        let runs = record.is_running();
        all &= runs;
        println!(
            "{:<10}  {:<24} {:>8}  {}",
            node.unwrap_or_else(|| "-".to_owned()),
            record.name,
            record.pid,
            if runs { "running" } else { "ended" }
        );
    }
    for node in cluster
        .state()
        .nodes
        .iter()
        .filter(|node| node.processes.is_empty())
    {
        println!("{:<10}  stopped", node.name());
    }
    println!(
        "{}",
        if all {
            "running"
        } else {
            "not everything runs"
        }
    );
    if all {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn logs(cluster: &Cluster, of: Option<&str>) -> Result<(), Error> {
    if let Some(of) = of {
        print!("{}", files::read(&cluster.log(of))?);
        return Ok(());
    }
    let outside = cluster
        .state()
        .processes
        .iter()
        .map(|record| record.name.clone());
    let inside = cluster.state().nodes.iter().flat_map(|node| {
        ["init", "containerd", "kubelet", "kube-proxy"]
            .map(|program| format!("{}/{program}", node.name()))
    });
    for name in outside.chain(inside) {
        if Path::new(&cluster.log(&name)).is_file() {
            println!("{name}");
        }
    }
    Ok(())
}
