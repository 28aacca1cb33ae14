//! Wiring: the process from its arguments to its exit.
//!
//! Layer 8. Two runtimes: one thread for everything that talks to istiod, the node agent and people, and a pool of workers
//! for pod traffic, so that neither can starve the other.

mod heap;
mod limits;
mod node;
mod pods;
mod signals;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Config};
use crate::logging;

/// Time the log has to be written at the end.
const LAST_LINES: Duration = Duration::from_secs(1);

const HELP: &str = "\
The applink node proxy.

Usage: ztunnel [COMMAND]

Commands:
  proxy    Serve the pods of this node (default)
  version  Print the version
  help     Print this text

Everything is set by environment variables, by upstream ztunnel's names.";

/// Why the process could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used.
    #[error("the configuration cannot be used")]
    Config(#[from] config::Error),
    /// Logging could not be set up.
    #[error("logging cannot be set up")]
    Logging(#[from] logging::Error),
    /// A runtime could not be started.
    #[error("the {name} threads cannot be started; raise the limit on processes")]
    Runtime {
        /// Which.
        name: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// One of our own listeners cannot be opened.
    #[error(
        "the {name} listener cannot be opened at {address}; is another proxy running in this network namespace?"
    )]
    Listener {
        /// Which.
        name: &'static str,
        /// Its address.
        address: std::net::SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// istiod's address or roots cannot be used.
    #[error("istiod's address cannot be used")]
    Control(#[from] crate::control::Error),
    /// Signals cannot be received.
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
}

/// Runs `ztunnel` with its arguments (without the program's name) until it is told to stop.
pub fn run(arguments: &[String]) -> ExitCode {
    match arguments.first().map_or("proxy", String::as_str) {
        "proxy" => {}
        "version" => {
            println!("applink ztunnel {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        "help" | "-h" | "--help" => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        other => {
            eprintln!("unknown command {other:?}; use proxy, version or help");
            return ExitCode::from(2);
        }
    }
    match config::load().map_err(Error::from).and_then(proxy) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ztunnel cannot run: {}", crate::error::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn proxy(config: Config) -> Result<ExitCode, Error> {
    heap::keep();
    let (levels, flush) = logging::start(&config.log_filter, config.log_json)?;
    limits::raise_descriptors();
    let config = Arc::new(config);
    let runtime = |name, built: std::io::Result<tokio::runtime::Runtime>| {
        built.map_err(|source| Error::Runtime { name, source })
    };
    let workers = runtime(
        "worker",
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.workers)
            .thread_name("worker")
            .enable_all()
            .build(),
    )?;
    let control = runtime(
        "control",
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
    )?;
    let outcome = control.block_on(node::serve(
        Arc::clone(&config),
        levels,
        workers.handle().clone(),
    ));
    workers.shutdown_background();
    if let Err(error) = &outcome {
        tracing::error!(error = %crate::error::chain(error), "ztunnel cannot run");
    }
    flush.now(LAST_LINES);
    Ok(outcome.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS))
}
