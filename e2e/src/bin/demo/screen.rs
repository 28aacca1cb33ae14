//! What the person in front of the demo sees: titles with times, commands that can be copied, what they print.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Error;
use crate::ground::{Ground, Kind};

/// Prints, with the time since the start.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    started: Instant,
}

impl Screen {
    /// Starts the clock.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// A new part of the demo.
    pub fn title(self, text: &str) {
        println!("\n[{:>5.1} s] {text}", self.started.elapsed().as_secs_f64());
    }

    /// A new act.
    pub fn act(self, text: &str) {
        println!(
            "\n[{:>5.1} s] ===== {text} =====",
            self.started.elapsed().as_secs_f64()
        );
    }

    /// One thing that was measured.
    #[expect(
        clippy::unused_self,
        reason = "all that is printed goes through the screen"
    )]
    pub fn figure(self, what: &str, value: &str) {
        println!("            {what:<17} {value}");
    }

    /// What is going on inside a part.
    pub fn note(self, text: &str) {
        println!("[{:>5.1} s]   {text}", self.started.elapsed().as_secs_f64());
    }

    /// A command as one would type it, and what it printed.
    pub fn shell(self, command: &str, output: &str) {
        self.shells(&[command.to_owned()], output);
    }

    /// The same for commands that run side by side.
    #[expect(
        clippy::unused_self,
        reason = "all that is printed goes through the screen"
    )]
    pub fn shells(self, commands: &[String], output: &str) {
        println!();
        for command in commands {
            println!("  $ {command}");
        }
        for line in output.trim_end().lines() {
            println!("    {line}");
        }
    }

    /// Runs a command that reports its progress on standard error, line by line as it comes.
    #[expect(
        clippy::unused_self,
        reason = "all that is printed goes through the screen"
    )]
    pub fn stream(self, command: &mut Command) -> Result<(), Error> {
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut last = String::new();
        for line in child
            .stderr
            .take()
            .map(BufReader::new)
            .into_iter()
            .flat_map(BufReader::lines)
        {
            last = line?;
            println!("    {last}");
        }
        if child.wait()?.success() {
            Ok(())
        } else {
            Err(Error::Refused {
                command: "applink install --apply",
                said: last,
            })
        }
    }

    /// What to try next, and how to remove it all.
    pub fn epilogue(self, ground: &Ground, kind: Kind) {
        let suffix = if kind == Kind::Kind {
            " CLUSTER=kind"
        } else {
            ""
        };
        println!(
            "\n[{:>5.1} s] done. Everything above still runs; try it:\n\n  {}\n  \
             kubectl get meshmembers\n  \
             applink status\n  \
             applink releases\n  \
             applink history\n  \
             kubectl -n demo exec deploy/web -- shop get http://cart:8080/buy\n  \
             kubectl -n applink-system logs -l app=ztunnel --tail 5\n  \
             kubectl delete meshmember demo        # denied, and it says why\n\n\
             Remove it: make demo-down{suffix}",
            self.started.elapsed().as_secs_f64(),
            ground.environment(),
        );
    }
}
