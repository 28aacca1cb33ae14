//! The proxy under test: a process inside a node's namespace, known only by its sockets, its HTTP and its output.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::eventually;
use crate::netns::Netns;

/// The program under test: `ZTUNNEL_BIN` (a ztunnel, or an `applink`), or this package's example, built on the spot.
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("ZTUNNEL_BIN") {
        return path.into();
    }
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--package",
            "applink-ztunnel",
            "--example",
            "ztunnel",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the example ztunnel does not build");
    let test = std::env::current_exe().unwrap();
    test.parent()
        .and_then(Path::parent)
        .unwrap()
        .join("examples/ztunnel")
}

type Lines = Arc<(Mutex<Vec<String>>, Condvar)>;

/// A running proxy. Killed when dropped.
pub struct Proxy {
    child: Child,
    netns: Netns,
    lines: Lines,
    name: String,
}

impl Proxy {
    /// Starts it inside `netns` with these variables and this `resolv.conf`.
    pub fn start(
        program: &Path,
        name: &str,
        netns: &Netns,
        environment: &BTreeMap<&str, String>,
        resolvers: &Path,
    ) -> Self {
        let mut child = netns.run(|| {
            // An own mount namespace, in which the resolver settings are the test's.
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            let target = fs::canonicalize("/etc/resolv.conf").unwrap();
            mount(Some(resolvers), &target, none, MsFlags::MS_BIND, none).unwrap();
            // The proxy is one of the roles of the whole project's program.
            let role = (program.file_name() == Some("applink".as_ref())).then_some("ztunnel");
            Command::new(program)
                .args(role)
                .arg("proxy")
                .env_clear()
                .envs(environment)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap_or_else(|e| panic!("{} cannot be started: {e}", program.display()))
        });
        let lines = Lines::default();
        collect(child.stdout.take().unwrap(), &lines);
        collect(child.stderr.take().unwrap(), &lines);
        Self {
            child,
            netns: netns.clone(),
            lines,
            name: name.to_owned(),
        }
    }

    /// One HTTP request to the proxy from its own namespace: status and body.
    pub fn http(&self, method: &str, port: u16, path: &str) -> std::io::Result<(u16, String)> {
        let mut stream = self
            .netns
            .connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or(0);
        Ok((status, body.to_owned()))
    }

    /// Status and body of the readiness probe.
    pub fn readiness(&self) -> (u16, String) {
        self.http("GET", 15021, "/healthz/ready")
            .unwrap_or((0, String::new()))
    }

    /// Waits until it is ready.
    pub fn wait_until_ready(&self) {
        eventually(
            &format!("{} is ready", self.name),
            Duration::from_secs(20),
            || {
                let (status, body) = self.readiness();
                if status == 200 && body == "ready\n" {
                    Ok(())
                } else {
                    Err(format!("{status} {body}\n{}", self.log()))
                }
            },
        );
    }

    /// A page of the admin listener as JSON.
    pub fn admin(&self, path: &str) -> Value {
        let (status, body) = self.http("GET", 15000, path).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Samples of a counter or gauge with these labels, added up.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let (status, text) = self.http("GET", 15020, "/metrics").unwrap();
        assert_eq!(status, 200);
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}=\"{value}\""))
            .collect();
        text.lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name))
            .filter(|line| labels.iter().all(|label| line.contains(label.as_str())))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    /// Waits for an access-log line with these fields (JSON values as text), and returns it.
    pub fn wait_for_access(&self, fields: &[(&str, &str)]) -> Value {
        let found = |lines: &[String]| {
            lines
                .iter()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|line| {
                    line["scope"] == "access"
                        && fields.iter().all(|(key, value)| match &line[*key] {
                            Value::String(text) => text == value,
                            other => format!("{other}") == *value,
                        })
                })
        };
        let (lock, changed) = &*self.lines;
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut lines = lock.lock().unwrap();
        loop {
            if let Some(line) = found(&lines) {
                return line;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let log = lines.join("\n");
                drop(lines);
                panic!(
                    "{}: no access-log line with {fields:?} in\n{log}",
                    self.name
                );
            }
            lines = changed.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Everything it has written.
    pub fn log(&self) -> String {
        let lines = self.lines.0.lock().unwrap();
        let last = lines.len().saturating_sub(60);
        format!(
            "--- {} (last {} of {} lines)\n{}",
            self.name,
            lines.len() - last,
            lines.len(),
            lines[last..].join("\n")
        )
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let child = &mut self.child;
        let mut ended = None;
        eventually("the proxy ends", limit, || {
            ended = child.try_wait().unwrap();
            ended.map(|_| ()).ok_or_else(|| "still running".to_owned())
        });
        ended.unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(out: impl std::io::Read + Send + 'static, lines: &Lines) {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            lines.0.lock().unwrap().push(line);
            lines.1.notify_all();
        }
    });
}
