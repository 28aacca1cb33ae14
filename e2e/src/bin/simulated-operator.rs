//! The operator as it is, on nodes that are simulated: only who is asked about components is another. It ends with its
//! standard input, so never after whoever started it, and prints what its questions would have cost.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use applink::operator::{self, Settings};
use clap::Parser;
use e2e::command;
use e2e::simulated::signals::Simulation;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The operator on simulated nodes; `KUBECONFIG` says as whom.
#[derive(Parser)]
struct Arguments {
    /// The kubeconfig by which the simulation knows which pods there are.
    #[arg(long)]
    simulation: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", command::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    std::thread::spawn(|| {
        let mut rest = Vec::new();
        // Whatever ends the input ends the program, in order.
        let _ = std::io::stdin().read_to_end(&mut rest);
        let _ = kill(Pid::this(), Signal::SIGTERM);
    });
    let simulation = Simulation::default();
    simulation.watch(&arguments.simulation)?;
    let signals = simulation.clone();
    operator::run_with(&arguments.settings, |_| Arc::new(signals))?;
    println!("{}", serde_json::to_string(&simulation.reads())?);
    Ok(())
}
