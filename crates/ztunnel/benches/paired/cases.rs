//! What is measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::load;
use crate::mesh::Mesh;
use crate::netns::Netns;
use crate::servers::{self, ECHO, SINK};
use crate::usage::{cpu, resident};

/// Before a measurement: tunnels are made, buffers grow.
const WARM_UP: Duration = Duration::from_millis(500);
/// Connections held for the memory case.
const HELD: usize = 1000;

/// One figure.
#[derive(Clone, Debug)]
pub struct Figure {
    pub name: &'static str,
    pub unit: &'static str,
    pub value: f64,
    /// Whether more is better.
    pub more: bool,
}

fn more(name: &'static str, unit: &'static str, value: f64) -> Figure {
    Figure {
        name,
        unit,
        value,
        more: true,
    }
}

fn less(name: &'static str, unit: &'static str, value: f64) -> Figure {
    Figure {
        name,
        unit,
        value,
        more: false,
    }
}

/// Who talks to whom, and the proxies between them.
pub struct Pair {
    client: Netns,
    sink: SocketAddr,
    echo: SocketAddr,
    received: Arc<AtomicU64>,
    proxies: Vec<Pid>,
}

impl Pair {
    /// Two captured pods on two nodes.
    pub fn meshed(mesh: &Mesh) -> Self {
        let proxies = mesh.nodes.iter().map(|node| node.proxy.pid()).collect();
        Self::between(mesh, ("client", "web-1"), proxies)
    }

    /// Two pods on two nodes that are not captured.
    pub fn plain(mesh: &Mesh) -> Self {
        Self::between(mesh, ("stranger", "legacy"), Vec::new())
    }

    fn between(mesh: &Mesh, (client, server): (&str, &str), proxies: Vec<Pid>) -> Self {
        let (client, server) = (mesh.pod(client), mesh.pod(server));
        Self {
            client: client.netns,
            received: servers::start(&server.netns),
            sink: SocketAddr::from((server.ip, SINK)),
            echo: SocketAddr::from((server.ip, ECHO)),
            proxies,
        }
    }

    fn cpu(&self) -> f64 {
        self.proxies.iter().map(|pid| cpu(*pid)).sum()
    }

    /// Of one proxy, on average.
    #[expect(clippy::cast_precision_loss, reason = "there are two")]
    fn resident(&self) -> f64 {
        let all: f64 = self.proxies.iter().map(|pid| resident(*pid)).sum();
        all / self.proxies.len().max(1) as f64
    }
}

/// A name and how it is measured, in about so much time.
pub type Case = (&'static str, fn(&Pair, Duration) -> Vec<Figure>);

/// Everything that is measured.
pub const ALL: [Case; 7] = [
    ("memory", memory),
    ("throughput of 1", |pair, span| {
        let names = ["throughput, 1 connection", "CPU per GB, 1 connection"];
        throughput(pair, span, 1, names)
    }),
    ("throughput of 8", |pair, span| {
        let names = ["throughput, 8 connections", "CPU per GB, 8 connections"];
        throughput(pair, span, 8, names)
    }),
    ("latency of 1", |pair, span| {
        let names = [
            "1 000 messages/s on 1 connection, p50",
            "the same, p99",
            "the same, CPU per message",
        ];
        latency(pair, span, 1, 1000, names)
    }),
    ("latency of 16", |pair, span| {
        let names = [
            "8 000 messages/s on 16 connections, p50",
            "p99 of these",
            "CPU per message of these",
        ];
        latency(pair, span, 16, 8000, names)
    }),
    ("connections by 1", |pair, span| {
        let names = ["new connections, 1 client", "CPU per connection, 1 client"];
        connections(pair, span, 1, names)
    }),
    ("connections by 8", |pair, span| {
        let names = [
            "new connections, 8 clients",
            "CPU per connection, 8 clients",
        ];
        connections(pair, span, 8, names)
    }),
];

/// Runs a case. CPU is that of both proxies together.
pub fn run((name, case): &Case, pair: &Pair, span: Duration) -> Vec<Figure> {
    let mut figures = case(pair, span);
    eprintln!("  {name}: {}", text(&figures));
    if pair.proxies.is_empty() {
        figures.retain(|figure| !figure.name.contains("CPU") && !figure.name.contains("memory"));
    }
    figures
}

fn text(figures: &[Figure]) -> String {
    let all: Vec<String> = figures
        .iter()
        .map(|figure| format!("{:.4} {}", figure.value, figure.unit))
        .collect();
    all.join(", ")
}

/// Counts before and after: what was counted, in how many seconds, with how many seconds of CPU.
fn watch(pair: &Pair, span: Duration, count: impl Fn() -> u64) -> (f64, f64, f64) {
    std::thread::sleep(WARM_UP);
    let (began, counted, used) = (Instant::now(), count(), pair.cpu());
    std::thread::sleep(span);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let done = (count() - counted) as f64;
    (done, began.elapsed().as_secs_f64(), pair.cpu() - used)
}

fn throughput(
    pair: &Pair,
    span: Duration,
    clients: usize,
    names: [&'static str; 2],
) -> Vec<Figure> {
    let (bytes, seconds, used) = load::with_clients(
        &pair.client,
        clients,
        |stop| load::send(pair.sink, stop),
        || watch(pair, span, || pair.received.load(Ordering::Relaxed)),
    );
    vec![
        more(names[0], "Gb/s", bytes * 8.0 / seconds / 1e9),
        less(names[1], "s", used / (bytes / 1e9)),
    ]
}

fn connections(
    pair: &Pair,
    span: Duration,
    clients: usize,
    names: [&'static str; 2],
) -> Vec<Figure> {
    let done = AtomicU64::new(0);
    let (count, seconds, used) = load::with_clients(
        &pair.client,
        clients,
        |stop| load::connect(pair.echo, stop, &done),
        || watch(pair, span, || done.load(Ordering::Relaxed)),
    );
    vec![
        more(names[0], "1/s", count / seconds),
        less(names[1], "us", used / count * 1e6),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn latency(
    pair: &Pair,
    span: Duration,
    clients: u32,
    rate: u32,
    names: [&'static str; 3],
) -> Vec<Figure> {
    let period = Duration::from_secs(1) * clients / rate;
    let all = Mutex::new(Vec::new());
    let used = pair.cpu();
    load::with_clients(
        &pair.client,
        usize::try_from(clients).unwrap(),
        |_| {
            let answers = load::ask(pair.echo, period, span);
            all.lock().unwrap().extend(answers);
        },
        || (),
    );
    let used = pair.cpu() - used;
    let mut all = all.into_inner().unwrap();
    all.sort_unstable();
    let at = |percent: usize| all[(all.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    vec![
        less(names[0], "us", at(50)),
        less(names[1], "us", at(99)),
        less(names[2], "us", used / all.len() as f64 * 1e6),
    ]
}

fn memory(pair: &Pair, _: Duration) -> Vec<Figure> {
    let idle = pair.resident();
    let held = pair.client.run(|| load::hold(pair.echo, HELD));
    let busy = pair.resident();
    drop(held);
    vec![
        less("memory, idle", "MB", idle),
        less("memory, 1 000 connections", "MB", busy),
    ]
}
