//! `make test`: runs every suite, streams what they print, and ends with one line of sums.
//!
//! A suite is a command. What it ran is counted from its output; a command that ends badly without a counted failure is one
//! failure, so that nothing can fail unseen. What is skipped must stand in `tests/skips.txt` with its reason: a skip that is
//! not on the list is a failure.

mod area;
mod count;
mod groups;
mod skips;
mod suite;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use count::Count;
use skips::Skips;
use suite::Suite;

/// A suite that has run.
struct Ran<'a> {
    suite: &'a Suite,
    count: Count,
    /// How long it took, by area.
    areas: BTreeMap<&'static str, Duration>,
}

/// Runs suites side by side; several mark their lines by their names.
fn run<'a>(root: &Path, suites: &'a [Suite]) -> Vec<Ran<'a>> {
    let one = |suite: &'a Suite| {
        let name = suite.name;
        println!("\n==> {name}");
        let mark = if suites.len() > 1 {
            format!("{name}: ")
        } else {
            String::new()
        };
        let (count, areas) = suite.run(root, &mark);
        Ran {
            suite,
            count,
            areas,
        }
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (suites.iter())
            .map(|suite| scope.spawn(move || one(suite)))
            .collect();
        let ended = running.into_iter().map(std::thread::ScopedJoinHandle::join);
        // A panic in there is one here.
        ended
            .map(|ran| ran.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
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
    for group in groups::groups() {
        let (wanted, others): (Vec<Suite>, _) = group.into_iter().partition(Suite::is_wanted);
        skipped.extend(others.into_iter().map(|suite| suite.name.to_owned()));
        let begun = Instant::now();
        let ran = run(&root, &wanted);
        let shared = area::shared(ran.iter().map(|ran| &ran.areas), begun.elapsed());
        for (area, took) in shared {
            *spent.entry(area).or_default() += took;
        }
        for Ran {
            suite,
            count,
            areas,
        } in ran
        {
            let took = areas.values().sum::<Duration>().as_secs_f64();
            let (passed, failed) = (count.passed, count.failed);
            lines.push(format!(
                "{took:>6.0} s  {passed:>5} passed  {failed:>3} failed  {:>3} skipped  {}",
                count.skipped.len(),
                suite.name
            ));
            total.passed += passed;
            total.failed += failed;
            skipped.extend(count.skipped);
        }
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
