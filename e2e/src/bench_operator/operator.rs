//! The operator on simulated nodes, as a process.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin};

use super::process::Process;
use super::{Error, OPERATOR};
use crate::files;
use crate::images::definitions::Published;
use crate::simulated::Simulated;
use crate::simulated::signals::Reads;

/// As whom the simulation knows which pods there are.
const SIMULATION: &str = "simulation";
/// The metric that counts passes over members.
const PASSES: &str = "applink_reconcile_duration_seconds_count";

/// The operator's process.
pub(super) struct Operator {
    child: Child,
    input: ChildStdin,
    pub process: Process,
    admin: SocketAddr,
}

impl Operator {
    pub fn start(cluster: &Simulated, program: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Operator {
            what: format!("does not start from {}", program.display()),
            source,
        };
        let crds = cluster.folder().join("crds");
        files::create_dir(&crds)?;
        Published::find()?.write(&crds)?;
        let group = Some("system:masters");
        // Free a moment ago.
        let admin = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .map_err(failed)?;
        let log = cluster.folder().join("operator.log");
        let log = std::fs::File::create(log).map_err(failed)?;
        let mut child = tokio::process::Command::new(program)
            .env("KUBECONFIG", cluster.kubeconfig_as(OPERATOR, None)?)
            .arg("--simulation")
            .arg(cluster.kubeconfig_as(SIMULATION, group)?)
            .arg("--crds")
            .arg(&crds)
            .args(["--admin", &admin.to_string(), "--log-format", "text"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let input = child.stdin.take();
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let (Some(input), Some(pid)) = (input, pid) else {
            return Err(failed(io::ErrorKind::NotFound.into()));
        };
        Ok(Self {
            child,
            input,
            process: Process::of(pid),
            admin,
        })
    }

    /// How many passes it has made over the member, by its own count.
    pub async fn passes(&self) -> Result<f64, Error> {
        let failed = |source| Error::Operator {
            what: "does not tell its metrics".to_owned(),
            source,
        };
        let mut stream = TcpStream::connect(self.admin).await.map_err(failed)?;
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.map_err(failed)?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.map_err(failed)?;
        text.lines()
            .find_map(|line| line.strip_prefix(PASSES)?.trim().parse().ok())
            .ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))
    }

    /// Ends it in order; what its questions took.
    pub async fn stop(mut self) -> Result<Reads, Error> {
        let failed = |source| Error::Operator {
            what: "did not end well".to_owned(),
            source,
        };
        drop(self.input);
        let mut said = String::new();
        if let Some(mut output) = self.child.stdout.take() {
            output.read_to_string(&mut said).await.map_err(failed)?;
        }
        let status = self.child.wait().await.map_err(failed)?;
        if !status.success() {
            return Err(failed(io::Error::other(status.to_string())));
        }
        serde_json::from_str(&said).map_err(|error| failed(error.into()))
    }
}
