//! Our node proxy beside other programs of the same contract, on the same machine in the same minutes.
//!
//! The topology is that of the black-box scenarios: two nodes in network namespaces, istio-cni's rules in the pods, one fake
//! istiod. Everything but the proxies is the same for all, and they take turns, so that what else the machine does hits all
//! alike, seconds apart: ratios are worth more than figures.
//!
//! ```text
//! sudo -E UPSTREAM_ZTUNNEL=/path/to/ztunnel cargo bench -p applink-ztunnel --bench paired -- --rounds 5 --seconds 2
//! ```
//!
//! `ZTUNNEL_BIN` names our program (default: this package's example, built for release), `EARLIER_ZTUNNEL` an earlier build of
//! it, `UPSTREAM_ZTUNNEL` upstream's; those not named are left out. Any other argument is a part of the names of the cases to
//! run.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot measure ends by a panic"
)]
#![allow(
    dead_code,
    reason = "the topology is shared with the black-box scenarios, which use more of it"
)]

mod cases;
mod load;
mod servers;
mod table;
mod usage;

#[path = "../../tests/blackbox/agent.rs"]
mod agent;
#[path = "../../tests/blackbox/authority.rs"]
mod authority;
#[path = "../../tests/blackbox/eventually.rs"]
mod eventually;
#[path = "../../tests/blackbox/istiod.rs"]
mod istiod;
#[path = "../../tests/blackbox/mesh.rs"]
mod mesh;
#[path = "../../tests/blackbox/netns.rs"]
mod netns;
#[path = "../../tests/blackbox/proxy.rs"]
mod proxy;
#[path = "../../tests/blackbox/redirection.rs"]
mod redirection;
#[path = "../../tests/blackbox/traffic.rs"]
mod traffic;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use eventually::eventually;

/// The contestant that the others are compared with.
const OURS: &str = "ours";
/// What can be reached at most.
const NO_MESH: &str = "no mesh";

/// What the command line asks for.
struct Plan {
    rounds: usize,
    span: Duration,
    wanted: Vec<String>,
}

fn main() -> ExitCode {
    let Some(plan) = plan() else {
        return ExitCode::SUCCESS;
    };
    if !nix::unistd::geteuid().is_root() {
        eprintln!(
            "the benchmark makes network namespaces: run it as root, for example with `sudo -E cargo bench`"
        );
        return ExitCode::FAILURE;
    }
    let mut contestants = vec![(OURS, ours())];
    for (name, key) in [
        ("earlier", "EARLIER_ZTUNNEL"),
        ("upstream", "UPSTREAM_ZTUNNEL"),
    ] {
        if let Some(path) = std::env::var_os(key) {
            contestants.push((name, path.into()));
        }
    }
    let mut table = table::Table::default();
    for round in 0..plan.rounds {
        eprintln!("round {} of {}", round + 1, plan.rounds);
        let meshes: Vec<_> = contestants
            .iter()
            .map(|(name, program)| (*name, mesh::Mesh::up_with(program)))
            .collect();
        let mut pairs: Vec<_> = meshes
            .iter()
            .map(|(name, mesh)| (*name, cases::Pair::meshed(mesh)))
            .collect();
        pairs.push((NO_MESH, cases::Pair::plain(&meshes[0].1)));
        for case in cases::ALL.iter().filter(|(name, _)| plan.wants(name)) {
            // A B C, B C A, C A B: none is always the one after the pause.
            for index in 0..pairs.len() {
                let (name, pair) = &pairs[(round + index) % pairs.len()];
                eprint!("  {name},");
                table.add(name, cases::run(case, pair, plan.span));
            }
        }
    }
    println!("{table}");
    ExitCode::SUCCESS
}

impl Plan {
    fn wants(&self, case: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|part| case.contains(part.as_str()))
    }
}

/// `None` when this is not a run but a listing, or `cargo test`.
fn plan() -> Option<Plan> {
    let mut plan = Plan {
        rounds: 3,
        span: Duration::from_secs(2),
        wanted: Vec::new(),
    };
    let mut is_run = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let text = arguments.next();
            text.and_then(|text| text.parse().ok())
                .unwrap_or_else(|| panic!("{argument} wants a number"))
        };
        match argument.as_str() {
            "--bench" => is_run = true,
            "--rounds" => plan.rounds = usize::try_from(number()).unwrap(),
            "--seconds" => plan.span = Duration::from_secs(number()),
            "--list" => return None,
            _ => plan.wanted.push(argument),
        }
    }
    is_run.then_some(plan)
}

/// Our program, as users get it.
fn ours() -> PathBuf {
    if let Some(path) = std::env::var_os("ZTUNNEL_BIN") {
        return path.into();
    }
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--example", "ztunnel"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the example ztunnel does not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
        PathBuf::from,
    );
    target.join("release/examples/ztunnel")
}
