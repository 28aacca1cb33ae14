//! Our node proxy beside another program of the same contract, on the same machine in the same minutes.
//!
//! The topology is that of the black-box scenarios: two nodes in network namespaces, istio-cni's rules in the pods, one fake
//! istiod. Everything but the proxies is the same for both, and the two take turns, so that what else the machine does hits
//! both alike: ratios are worth more than figures.
//!
//! ```text
//! sudo -E UPSTREAM_ZTUNNEL=/path/to/ztunnel cargo bench -p applink-ztunnel --bench paired -- --rounds 5 --seconds 2
//! ```
//!
//! `ZTUNNEL_BIN` names our program (default: this package's example, built for release). Without `UPSTREAM_ZTUNNEL` ours is
//! measured alone. Any other argument is a part of the names of the cases to run.

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
    let mut contestants = vec![("ours", ours())];
    if let Some(path) = std::env::var_os("UPSTREAM_ZTUNNEL") {
        contestants.push(("theirs", path.into()));
    }
    let mut table = table::Table::default();
    for round in 0..plan.rounds {
        // A B, B A, A B: neither is always the one after the pause.
        let turn = if round % 2 == 0 {
            0
        } else {
            contestants.len() - 1
        };
        for index in 0..contestants.len() {
            let (name, program) = &contestants[turn.abs_diff(index)];
            eprintln!("round {} of {}: {name}", round + 1, plan.rounds);
            let mesh = mesh::Mesh::up_with(program);
            let pair = cases::Pair::meshed(&mesh);
            let all = cases::run(&mesh, &pair, plan.span, &plan.wanted);
            table.add(name, all);
            if *name == "ours" {
                let pair = cases::Pair::plain(&mesh);
                let direct = cases::run(&mesh, &pair, plan.span, &plan.wanted);
                table.add("no mesh", direct);
            }
        }
    }
    println!("{table}");
    ExitCode::SUCCESS
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
