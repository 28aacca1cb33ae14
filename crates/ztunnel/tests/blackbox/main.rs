//! The proxy as a black box: a process in real network namespaces, between a node agent, an istiod and pods that are all
//! this test's own. `ZTUNNEL_BIN=path` puts another program of the same contract in its place.
//!
//! Runs as root, needs the Debian packages `iproute2` and `iptables`, and leaves nothing behind: namespaces have no names
//! and end with this process. Arguments are parts of scenario names to run.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by a panic"
)]

mod agent;
mod authority;
mod capture;
mod eventually;
mod istiod;
mod mesh;
mod netns;
mod proxy;
mod redirection;
mod scenarios;
mod traffic;
mod tunnel;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use eventually::eventually;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, _) in scenarios::ALL {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let is_wanted = |name: &str| {
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    };
    let chosen: Vec<_> = scenarios::ALL
        .iter()
        .filter(|(name, _)| is_wanted(name))
        .collect();
    if chosen.is_empty() {
        println!(
            "\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; {} filtered out; finished in 0.00s",
            scenarios::ALL.len()
        );
        return ExitCode::SUCCESS;
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!(
            "the black-box scenarios make network namespaces: run them as root, for example with `sudo -E cargo test`"
        );
        return ExitCode::FAILURE;
    }

    println!("\nrunning {} tests", chosen.len());
    let began = Instant::now();
    let mut mesh = mesh::Mesh::up();
    println!("topology up in {:.2}s", began.elapsed().as_secs_f64());
    let mut failed = Vec::new();
    for (name, scenario) in &chosen {
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| scenario(&mut mesh)));
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!(
            "test {name} ... {word} ({:.2}s)",
            started.elapsed().as_secs_f64()
        );
        if outcome.is_err() {
            println!("{}", mesh.logs());
            failed.push(*name);
        }
    }
    drop(mesh);
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s",
        chosen.len() - failed.len(),
        failed.len(),
        scenarios::ALL.len() - chosen.len(),
        began.elapsed().as_secs_f64(),
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
