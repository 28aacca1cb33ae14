//! What can be read on the wire between the nodes while the shop is busy.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use e2e::command::line;
use e2e::sniff::Seen;

use crate::ground::Ground;
use crate::objects::{MARKER, PORT, SHOP};
use crate::screen::Screen;
use crate::{Error, claim, shop};

/// Requests that are sent while the wire is watched.
const REQUESTS: u32 = 20;
/// The interface between nodes, here and on kind.
const INTERFACE: &str = "eth0";

/// Before the mesh: what the services say can be read by anybody between the nodes.
pub fn readable(ground: &Ground, screen: Screen) -> Result<(), Error> {
    screen.title("Before the mesh, everything can be read on the wire between the nodes");
    let (seen, table) = watch(ground, screen)?;
    claim(
        "that plain text is readable without a mesh",
        seen.plain > 0 && seen.marker > 0,
        &table,
    )
}

/// In the mesh: tunnels are seen, the shop's own port and words are not.
pub fn silent(ground: &Ground, screen: Screen) -> Result<(), Error> {
    screen.title("In the mesh, nothing can be read on the wire between the nodes");
    let (seen, table) = watch(ground, screen)?;
    let holds = seen.tunnel > 0 && seen.plain == 0 && seen.marker == 0;
    claim(
        "that only tunnels are seen between the nodes",
        holds,
        &table,
    )
}

/// Captures on every node's link while the shop is busy; what all of them saw, and a table.
fn watch(ground: &Ground, screen: Screen) -> Result<(Seen, String), Error> {
    let own = std::env::current_exe()?.display().to_string();
    let port = PORT.to_string();
    let (mut watched, mut typed) = (Vec::new(), Vec::new());
    for node in shop::nodes(ground)? {
        let mut sniffer = ground.in_node(&node, &[&own, "sniff", INTERFACE, &port, MARKER])?;
        typed.push(line(&sniffer));
        let child = sniffer
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        watched.push((node, Watcher::begun(child)?));
    }
    typed.push(format!(
        "kubectl -n {SHOP} exec deploy/web -- shop get http://web:8080/buy {REQUESTS}"
    ));
    let said = shop::call(ground, SHOP, "web", "http://web:8080/buy", REQUESTS);
    let answered = said.lines().filter(|line| line.starts_with("200 ")).count();
    let mut table = format!(
        "{:<22} {:>8} {:>14} {:>12} {:>12}\n",
        "NODE", "FRAMES", "TUNNEL (15008)", "SHOP (8080)", "READABLE"
    );
    let mut all = Vec::new();
    for (node, watcher) in watched {
        let seen = watcher.end()?;
        let row = format!(
            "{node:<22} {:>8} {:>14} {:>12} {:>12}\n",
            seen.frames, seen.tunnel, seen.plain, seen.marker
        );
        table.push_str(&row);
        all.push(seen);
    }
    screen.note("a capture in each node counts what crosses its link, until its input ends (Ctrl-D), while the shop is busy");
    screen.shells(&typed, &table);
    screen.note(&format!(
        "{answered} requests that carry the words {MARKER} were answered meanwhile"
    ));
    claim(
        "that every request is answered while the wire is watched",
        answered == usize::try_from(REQUESTS).unwrap_or_default(),
        &said,
    )?;
    Ok((all.into_iter().sum(), table))
}

/// A capture that runs; killed when dropped.
struct Watcher {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Watcher {
    /// Waits until the capture has begun.
    fn begun(mut child: Child) -> Result<Self, Error> {
        let output = child
            .stdout
            .take()
            .ok_or_else(|| std::io::Error::other("the capture has no output"))?;
        let mut watcher = Self {
            child,
            output: BufReader::new(output),
        };
        let line = watcher.line()?;
        if line.trim() == "listening" {
            Ok(watcher)
        } else {
            Err(std::io::Error::other(format!("the capture said {line:?}")).into())
        }
    }

    fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line)
    }

    /// Ends the capture; what it saw.
    fn end(mut self) -> Result<Seen, Error> {
        drop(self.child.stdin.take());
        let line = self.line()?;
        self.child.wait()?;
        serde_json::from_str(&line).map_err(|error| std::io::Error::other(error).into())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Already gone when it ended as asked.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
