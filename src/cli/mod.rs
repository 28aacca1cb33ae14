//! The command line: what each command prints and which exit code it ends with.
//!
//! Top layer. A command reads from the cluster, hands plain data to a pure renderer and prints the text; renderers are tested
//! against golden text. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the mesh is not ready (`status` only).

pub mod bundle;
pub mod completion;
pub mod connect;
pub mod failure;
pub mod history;
pub mod install;
pub mod manifests;
pub mod output;
pub mod pack;
pub mod plan;
pub mod program;
pub mod redact;
pub mod releases;
pub mod request;
pub mod serve;
pub mod snapshot;
pub mod status;
pub mod tar;
pub mod tree;
pub mod verify_node;
pub mod version;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub use failure::Failure;

/// Exit code of `status` when a member is not ready; the command itself worked.
pub const NOT_READY: u8 = 3;

/// The open application network for any Kubernetes cluster.
///
/// One MeshMember brings an Istio-ambient mesh to a cluster: the operator installs istiod, the CNI agent and a node proxy, and
/// namespaces opt in with the label istio.io/dataplane-mode=ambient.
#[derive(Debug, Parser)]
#[command(name = "applink", disable_version_flag = true, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    cluster: connect::Flags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print everything that installs the operator, or apply it
    Install(install::Args),
    /// Show members, components, nodes and certificates, and what is being waited for
    Status(status::Args),
    /// Show what each member would do next with its version, when, in which steps, on which nodes; changes nothing
    Plan(plan::Args),
    /// Show the last moves of a member: who asked, from where to where, and how they ended
    History(history::Args),
    /// Begin nothing new: a rollout stops at its next safe point
    Pause(request::Args),
    /// Go on after a pause
    Resume(request::Args),
    /// Take the rollout back that is on its way
    Abort(request::Args),
    /// Try again what failed and was taken back
    Retry(request::Args),
    /// List releases, channels, dates, what each fixes and where each may move
    Releases(releases::Args),
    /// Write what somebody needs to help you into one archive, without secrets
    SupportBundle(bundle::Args),
    /// Print the completion script of a shell
    Completion(completion::Args),
    /// Print the version of this program and of the operator
    Version(version::Args),
    /// Run the operator (in the cluster)
    Operator(crate::operator::Settings),
    /// Run the node proxy (in the cluster, on every node)
    Ztunnel(serve::ZtunnelArgs),
    /// Answer other pods of the operator's own probe, and ask those that it names
    #[command(hide = true)]
    Probe,
    /// Say whether anything of istio-cni is left on this node
    #[command(hide = true)]
    VerifyNodeClean(verify_node::Args),
    /// Write a folder of published definitions in the form that costs the operator least (when its image is built)
    #[command(hide = true)]
    PackDefinitions(pack::Args),
    /// Print the kinds of applink.dev
    #[command(hide = true)]
    Crd,
    /// Write the files below manifests/
    #[command(hide = true)]
    Manifests(install::GenerateArgs),
}

/// Parses the arguments of this process, runs the command and turns its result into an exit code.
pub fn main() -> ExitCode {
    let called_as = program::called_as(std::env::args_os().next().as_deref());
    let matches = Cli::command().bin_name(called_as).get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    // Two TLS providers in one process would make rustls refuse to choose; a second call finds the first in place.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(cli, called_as) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli, called_as: &str) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Install(args) => install::run(&args, &cli.cluster),
        Command::Status(args) => status::run(&args, &cli.cluster),
        Command::Plan(args) => plan::run(&args, &cli.cluster),
        Command::History(args) => history::run(&args, &cli.cluster),
        Command::Pause(args) => request::run(request::Verb::Pause, &args, &cli.cluster),
        Command::Resume(args) => request::run(request::Verb::Resume, &args, &cli.cluster),
        Command::Abort(args) => request::run(request::Verb::Abort, &args, &cli.cluster),
        Command::Retry(args) => request::run(request::Verb::Retry, &args, &cli.cluster),
        Command::Releases(args) => releases::run(&args, &cli.cluster),
        Command::SupportBundle(args) => bundle::run(&args, &cli.cluster),
        Command::Completion(args) => completion::run(&args, called_as),
        Command::Version(args) => version::run(&args, &cli.cluster),
        Command::Operator(settings) => serve::operator(&settings),
        Command::Ztunnel(args) => Ok(serve::ztunnel(&args)),
        Command::Probe => serve::probe(),
        Command::VerifyNodeClean(args) => verify_node::run(&args),
        Command::PackDefinitions(args) => pack::run(&args),
        Command::Crd => install::print_kinds(),
        Command::Manifests(args) => install::generate(&args),
    }
}

/// Runs a future of a short command on a small runtime.
///
/// # Errors
/// The future's own, or that no runtime could be made.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(
                "cannot start",
                error.to_string(),
                "check the limits of this process",
            )
        })?
        .block_on(future)
}

/// Prints to standard output; a reader that has gone away (`| head`) is not an error.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(
            "cannot print",
            error.to_string(),
            "check where standard output goes",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn usage_of_a_plug_in_can_be_copied_and_run() {
        let help = Cli::command()
            .bin_name("kubectl applink")
            .render_long_help()
            .to_string();
        assert!(
            help.contains("Usage: kubectl applink [OPTIONS] <COMMAND>"),
            "{help}"
        );
    }

    #[test]
    fn generators_are_hidden_and_every_other_command_says_what_it_does() {
        let mut command = Cli::command();
        let help = command.render_help().to_string();
        assert!(!help.contains("  manifests"), "{help}");
        for sub in command.get_subcommands() {
            assert!(
                sub.get_about().is_some(),
                "{} has no description",
                sub.get_name()
            );
        }
    }
}
