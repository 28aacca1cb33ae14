//! One command of `make test`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::area::{self, Clock};
use crate::count::Count;

/// Of who gives way, and of all that it starts: a tenth of what others get. Pods of a cluster are weighed by their groups instead, all alike.
const NICENESS: u8 = 10;

/// A command and how its result counts.
#[derive(Debug)]
pub struct Suite {
    /// What it is called, also in the list of skips.
    pub name: &'static str,
    program: String,
    arguments: Vec<String>,
    is_one: bool,
    area: &'static str,
    by_module: bool,
    variable: Option<&'static str>,
    environment: Vec<(&'static str, &'static str)>,
}

/// A suite that is a cargo command.
pub fn cargo(name: &'static str, arguments: &[&str]) -> Suite {
    Suite::new(
        name,
        &std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()),
        arguments,
    )
}

impl Suite {
    /// A suite of any command; a relative program is looked for below the repository.
    pub fn new(name: &'static str, program: &str, arguments: &[&str]) -> Self {
        let arguments = arguments
            .iter()
            .map(|argument| (*argument).to_owned())
            .collect();
        Self {
            name,
            program: program.to_owned(),
            arguments,
            is_one: false,
            area: area::UNIT,
            by_module: false,
            variable: None,
            environment: Vec::new(),
        }
    }

    /// Sets an environment variable of the command.
    pub fn with(mut self, variable: &'static str, value: &'static str) -> Self {
        self.environment.push((variable, value));
        self
    }

    /// Leaves the machine to others where they want it. Its program is found in the path.
    pub fn giving_way(mut self) -> Self {
        let program = std::mem::replace(&mut self.program, "nice".to_owned());
        let before = ["-n".to_owned(), NICENESS.to_string(), program];
        self.arguments.splice(0..0, before);
        self
    }

    /// Counts as one test: the end of the command decides.
    pub fn counted_once(mut self) -> Self {
        self.is_one = true;
        self
    }

    /// Builds, or checks without running; counts as one test.
    pub fn building(mut self) -> Self {
        self.area = area::BUILD;
        self.counted_once()
    }

    /// Its tests run one at a time, and are of areas of their own.
    pub fn by_module(mut self) -> Self {
        self.by_module = true;
        self
    }

    /// Runs only when this environment variable is set; skipped otherwise.
    pub fn only_with(mut self, variable: &'static str) -> Self {
        self.variable = Some(variable);
        self
    }

    /// Whether it is to be run here.
    pub fn is_wanted(&self) -> bool {
        self.variable.is_none_or(|variable| {
            std::env::var_os(variable).is_some_and(|value| !value.is_empty())
        })
    }

    /// Runs the command in `root`, shows what it prints, each line after `mark`, and counts; also how long that took by area.
    pub fn run(&self, root: &Path, mark: &str) -> (Count, BTreeMap<&'static str, Duration>) {
        let mut clock = Clock::of(self.area, self.by_module);
        let result = self.stream(root, mark, &mut clock);
        let spent = clock.ended(Instant::now());
        let count = match result {
            Ok((_, success)) if self.is_one => Count {
                passed: u32::from(success),
                failed: u32::from(!success),
                skipped: Vec::new(),
            },
            Ok((count, success)) => count.ended(success),
            Err(error) => {
                println!("cannot run {}: {error}", self.program);
                Count {
                    failed: 1,
                    ..Count::default()
                }
            }
        };
        (count, spent)
    }

    fn stream(&self, root: &Path, mark: &str, clock: &mut Clock) -> std::io::Result<(Count, bool)> {
        let program = if self.program.starts_with('.') {
            root.join(&self.program)
        } else {
            (&self.program).into()
        };
        let mut child = Command::new(program)
            .args(&self.arguments)
            .envs(self.environment.iter().copied())
            .current_dir(root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut count = Count::default();
        if let Some(output) = child.stdout.take() {
            for line in BufReader::new(output).split(b'\n') {
                let line = String::from_utf8_lossy(&line?).into_owned();
                count.line(&line);
                match clock.line(&line, Instant::now()) {
                    Some(took) => println!("{mark}{line} ({} s)", took.as_secs()),
                    None => println!("{mark}{line}"),
                }
            }
        }
        Ok((count, child.wait()?.success()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Suite {
        Suite::new("shell", "/bin/sh", &["-c", script])
    }

    fn command_output(program: &str) -> String {
        String::from_utf8(Command::new(program).output().unwrap().stdout).unwrap()
    }

    fn counted(suite: &Suite) -> Count {
        suite.run(Path::new("/"), "").0
    }

    #[test]
    fn a_command_that_ends_badly_is_a_failure_whatever_it_prints() {
        let lines = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'";
        let count = |passed, failed| Count {
            passed,
            failed,
            skipped: vec![],
        };
        for (suite, expected) in [
            (shell(lines), count(2, 0)),
            (shell(&format!("{lines}; exit 1")), count(2, 1)),
            (shell("exit 1").counted_once(), count(0, 1)),
            (shell("true").counted_once(), count(1, 0)),
        ] {
            assert_eq!(counted(&suite), expected, "{suite:?}");
        }
    }

    #[test]
    fn a_command_sees_the_variables_that_it_is_given() {
        let suite = shell(r#"test "$CLUSTER" = other"#).counted_once();
        assert_eq!(counted(&suite).failed, 1);
        assert_eq!(counted(&suite.with("CLUSTER", "other")).failed, 0);
    }

    #[test]
    fn who_gives_way_does_so_with_all_that_it_starts() {
        let own = command_output("nice").trim().parse::<i32>().unwrap();
        let expected = (own + i32::from(NICENESS)).min(19);
        let suite = shell(&format!("test \"$(sh -c nice)\" = {expected}")).counted_once();
        // Who has given way as far as can be gives way no further.
        assert_eq!(counted(&suite).failed, u32::from(own != expected));
        assert_eq!(counted(&suite.giving_way()).failed, 0);
    }

    #[test]
    fn a_missing_program_is_a_failure() {
        assert_eq!(
            counted(&Suite::new("gone", "./no/such/program", &[])).failed,
            1
        );
    }
}
