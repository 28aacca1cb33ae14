//! Ways in which a release can be broken: what the images of broken releases start instead of their program. Only the tests
//! of upgrades have such images.

use std::io::{Error, ErrorKind, Result};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

/// Where a node proxy says that it is ready.
const READY: &str = "127.0.0.1:15021";
/// How fast it grows, and where it gives up if nobody ends it before: a machine without limits must survive it.
const BITE: usize = 4 << 20;
const BITES: usize = 128;
const PAUSE: Duration = Duration::from_millis(40);

/// What makes connections fail, and to which port: where the load of the tests is answered. The operator's own probe has
/// another one.
const FLAKY: [(&str, &str); 2] = [
    ("LD_PRELOAD", "/usr/local/lib/libshop_flaky.so"),
    ("SHOP_FLAKY_PORT", "9000"),
];

/// How it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Ends at once.
    Crash,
    /// Runs, and never gets ready.
    Mute,
    /// Gets ready, and has no certificate: every connection of the mesh through it is refused.
    Refuse,
    /// Gets ready, and fails one in ten of the connections of whoever is no probe.
    Flake,
    /// Gets ready, and then grows until it is killed.
    Grow,
}

impl Way {
    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "crash" => Some(Self::Crash),
            "mute" => Some(Self::Mute),
            "refuse" => Some(Self::Refuse),
            "flake" => Some(Self::Flake),
            "grow" => Some(Self::Grow),
            _ => None,
        }
    }
}

/// Runs a program that way.
///
/// # Errors
/// How it ended, if it ends.
pub fn run(way: Way, program: &[&str]) -> Result<()> {
    match way {
        Way::Crash => Err(Error::other("broken: crashes at start")),
        Way::Mute => loop {
            std::thread::park();
        },
        Way::Refuse => {
            // Nobody listens there, so nobody signs.
            Err(command(program)?
                .env("CA_ADDRESS", "https://127.0.0.1:1")
                .exec())
        }
        Way::Flake => Err(command(program)?.envs(FLAKY).exec()),
        Way::Grow => grow(command(program)?),
    }
}

fn command(program: &[&str]) -> Result<Command> {
    let (program, arguments) = program
        .split_first()
        .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "no program"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

fn grow(mut command: Command) -> Result<()> {
    let mut child = command.spawn()?;
    while TcpStream::connect(READY).is_err() {
        if let Some(status) = child.try_wait()? {
            return Err(Error::other(format!("ended before it was ready: {status}")));
        }
        std::thread::sleep(PAUSE);
    }
    let mut eaten = Vec::new();
    while eaten.len() < BITES {
        // Written to, so that it counts.
        eaten.push(vec![1_u8; BITE]);
        std::thread::sleep(PAUSE);
    }
    drop(eaten);
    child.kill()?;
    Err(Error::other("nobody ended it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_crashes_says_so_and_what_has_no_program_too() {
        let said = |way| run(way, &[]).unwrap_err().to_string();
        assert_eq!(said(Way::Crash), "broken: crashes at start");
        assert_eq!(said(Way::Refuse), "no program");
        assert_eq!(said(Way::Flake), "no program");
        assert_eq!(said(Way::Grow), "no program");
        assert_eq!(Way::named("mute"), Some(Way::Mute));
        assert_eq!(Way::named("else"), None);
    }

    #[test]
    fn a_program_that_ends_before_it_is_ready_is_told() {
        let error = run(Way::Grow, &["false"]).unwrap_err();
        assert!(error.to_string().contains("before it was ready"), "{error}");
    }
}
