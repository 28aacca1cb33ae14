//! `make demo`: from nothing to a mesh on a real cluster, each claim shown with the command that shows it.
//!
//! Every claim is checked, not only printed: a demo that ends well has proved what it says.

mod ground;
mod mesh;
mod objects;
mod observed;
mod releases;
mod screen;
mod shop;
mod telling;
mod traffic;
mod upgrade;
mod wire;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use ground::{Ground, Kind};
use screen::Screen;

/// Why the demo stopped, in words for the person in front of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The local cluster could not do it.
    #[error(transparent)]
    Cluster(#[from] e2e::cluster::Error),
    /// An image could not be made.
    #[error(transparent)]
    Images(#[from] e2e::images::Error),
    /// A program could not be run or failed.
    #[error(transparent)]
    Command(#[from] e2e::command::Error),
    /// The API server could not be asked.
    #[error(transparent)]
    ControlPlane(#[from] e2e::control_plane::Error),
    /// The member could not be read.
    #[error("cannot read MeshMember demo: {0}")]
    Member(#[from] Box<kube::Error>),
    /// The traffic of the second act did not come up.
    #[error(transparent)]
    Stage(#[from] e2e::stage::Error),
    /// Something did not become true in time.
    #[error("{what} did not happen within {seconds} s; the last thing seen: {seen}")]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        seconds: u64,
        /// What was seen instead.
        seen: String,
    },
    /// A command ended with a failure that it has explained itself.
    #[error("{command} failed: {said}")]
    Refused {
        /// The command.
        command: &'static str,
        /// Its last words.
        said: String,
    },
    /// The mesh did not do what the demo claims.
    #[error("the demo claims {claim}, but this was seen: {seen}")]
    Claim {
        /// The claim.
        claim: &'static str,
        /// What was seen.
        seen: String,
    },
    /// The kernel refused to show packets.
    #[error("cannot capture packets: {0}; the demo needs root")]
    Capture(#[from] std::io::Error),
}

#[derive(Parser)]
#[command(about = "From nothing to a mesh on a real cluster")]
struct Arguments {
    /// Where it runs
    #[arg(long, value_enum, default_value_t = Kind::Local)]
    cluster: Kind,
    /// Name of the cluster
    #[arg(long, default_value = "demo")]
    name: String,
    /// How many acts: 1 from nothing to a mesh, 2 an upgrade and a bad release as well
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=2))]
    acts: u8,
    /// Remove what the demo made
    #[arg(long)]
    down: bool,
    #[command(subcommand)]
    inner: Option<Inner>,
}

#[derive(Subcommand)]
enum Inner {
    /// Count packets on an interface until standard input ends (run by the demo inside a node)
    #[command(hide = true)]
    Sniff {
        /// The interface
        interface: String,
        /// The port of the shop
        port: u16,
        /// The text to look for
        marker: String,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A second call finds the first provider in place.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", e2e::command::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    if let Some(Inner::Sniff {
        interface,
        port,
        marker,
    }) = &arguments.inner
    {
        return Ok(e2e::sniff::run(interface, *port, marker)?);
    }
    let screen = Screen::new();
    if arguments.down {
        return Ground::remove(arguments.cluster, &arguments.name, screen);
    }
    let ground = Ground::prepare(arguments.cluster, &arguments.name, screen)?;
    screen.act(&format!(
        "Act 1 of {}: from nothing to a mesh",
        arguments.acts
    ));
    mesh::install(&ground, screen)?;
    shop::open(&ground, screen)?;
    wire::readable(&ground, screen)?;
    shop::enrol(&ground, screen)?;
    let witness = shop::requests(&ground, screen)?;
    shop::identities(&ground, screen, &witness)?;
    wire::silent(&ground, screen)?;
    shop::denied(&ground, screen)?;
    shop::strict(&ground, screen)?;
    mesh::show(&ground, screen)?;
    if arguments.acts > 1 {
        upgrade::show(&ground, screen)?;
    }
    screen.epilogue(&ground, arguments.cluster);
    Ok(())
}

/// An error unless the claim holds.
fn claim(claim: &'static str, holds: bool, seen: &str) -> Result<(), Error> {
    if holds {
        Ok(())
    } else {
        Err(Error::Claim {
            claim,
            seen: seen.to_owned(),
        })
    }
}
