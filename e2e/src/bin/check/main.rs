//! `make test`: runs every suite, streams what they print, and ends with one line of sums.
//!
//! A suite is a command. What it ran is counted from its output; a command that ends badly without a counted failure is one
//! failure, so that nothing can fail unseen. What is skipped must stand in `tests/skips.txt` with its reason: a skip that is
//! not on the list is a failure.

mod area;
mod count;
mod skips;
mod suite;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use count::Count;
use skips::Skips;
use suite::{Suite, cargo};

/// What `make test` runs, the quickest to fail first.
fn suites() -> Vec<Suite> {
    let tests =
        |name, arguments: &[&str]| cargo(name, &[&["test", "--no-fail-fast"], arguments].concat());
    // `make` builds it and names it; by hand it is found in the path.
    let cargo_deny = std::env::var("CARGO_DENY").unwrap_or_else(|_| "cargo-deny".to_owned());
    vec![
        cargo("format", &["fmt", "--all", "--check"]).counted_once(),
        cargo(
            "lint",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
        )
        .counted_once(),
        Suite::new(
            "dependencies",
            &cargo_deny,
            &["check", "bans", "licenses", "sources"],
        )
        .counted_once(),
        tests(
            "unit, golden and property tests",
            &[
                "--workspace",
                "--exclude",
                "e2e",
                "--lib",
                "--bins",
                "--tests",
            ],
        ),
        tests(
            "the local cluster's own unit tests",
            &["-p", "e2e", "--lib", "--bins"],
        ),
        // What the real cluster runs is what users get.
        cargo(
            "release build",
            &["build", "--release", "-p", "applink", "-p", "shop"],
        )
        .counted_once(),
        // One at a time: each starts an API server or a whole cluster on this machine.
        tests(
            "API server and real cluster",
            &["-p", "e2e", "--test", "*", "--", "--test-threads=1"],
        )
        .by_module(),
        Suite::new("advisories", &cargo_deny, &["check", "advisories"])
            .counted_once()
            .only_with("APPLINK_ADVISORIES"),
        tests(
            "upstream-ztunnel",
            &[
                "-p",
                "e2e",
                "--test",
                "*",
                "upstream",
                "--",
                "--test-threads=1",
                "--ignored",
            ],
        )
        .only_with("UPSTREAM_ZTUNNEL"),
    ]
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let skips = match Skips::read(&root.join("tests/skips.txt")) {
        Ok(skips) => skips,
        Err(error) => {
            eprintln!("error: {error}");
            println!("0 passed, 1 failed, 0 skipped");
            return ExitCode::FAILURE;
        }
    };
    let started = Instant::now();
    let mut total = Count::default();
    let mut skipped = BTreeSet::new();
    let mut lines = Vec::new();
    let mut spent = BTreeMap::new();
    for suite in suites() {
        if !suite.is_wanted() {
            skipped.insert(suite.name.to_owned());
            continue;
        }
        println!("\n==> {}", suite.name);
        let clock = Instant::now();
        let count = suite.run(&root, &mut spent);
        lines.push(format!(
            "{:>6.0} s  {:>5} passed  {:>3} failed  {:>3} skipped  {}",
            clock.elapsed().as_secs_f64(),
            count.passed,
            count.failed,
            count.skipped.len(),
            suite.name
        ));
        total.passed += count.passed;
        total.failed += count.failed;
        skipped.extend(count.skipped);
    }
    println!("\n{}", lines.join("\n"));
    println!("\n{}", area::told(&spent).join("\n"));
    for name in &skipped {
        if let Some(reason) = skips.reason(name) {
            println!("skipped: {name}: {reason}");
        } else {
            println!("FAILED: {name} was skipped, and tests/skips.txt does not say why");
            total.failed += 1;
        }
    }
    println!("{:.0} s in all", started.elapsed().as_secs_f64());
    println!(
        "{} passed, {} failed, {} skipped",
        total.passed,
        total.failed,
        skipped.len()
    );
    if total.failed == 0 && total.passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
