//! Clients, on threads inside a pod.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::netns::Netns;

/// Bytes written at once.
const LARGE: usize = 256 * 1024;
/// A client that is later than this counts from when it should have asked.
const LATE: Duration = Duration::from_millis(1);

/// Runs `work` on so many threads inside a pod while `watch` measures; then tells them to stop.
pub fn with_clients<T: Send>(
    pod: &Netns,
    threads: usize,
    work: impl Fn(&AtomicBool) + Sync + Send,
    watch: impl FnOnce() -> T + Send,
) -> T {
    pod.run(|| {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| work(&stop));
            }
            let watched = watch();
            stop.store(true, Ordering::Relaxed);
            watched
        })
    })
}

/// Sends as fast as it goes.
pub fn send(to: SocketAddr, stop: &AtomicBool) {
    let mut stream = TcpStream::connect(to).expect("the sink accepts");
    let data = vec![0x5a; LARGE];
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&data).expect("the sink takes everything");
    }
}

/// Connects, sends a byte, waits for it, closes, and again.
pub fn connect(to: SocketAddr, stop: &AtomicBool, done: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect(to).expect("the echo accepts");
        exchange(&mut stream, &mut [1]);
        drop(stream);
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Asks on one connection every `period`; how long each answer took.
pub fn ask(to: SocketAddr, period: Duration, span: Duration) -> Vec<Duration> {
    let mut stream = TcpStream::connect(to).expect("the echo accepts");
    stream.set_nodelay(true).unwrap();
    let mut message = [7; 64];
    exchange(&mut stream, &mut message);
    let (began, mut answers) = (Instant::now(), Vec::new());
    let mut due = began;
    while due < began + span {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = Instant::now();
        let asked = if now > due + LATE { due } else { now };
        exchange(&mut stream, &mut message);
        answers.push(asked.elapsed());
        due += period;
    }
    answers
}

/// So many connections, each used once and kept.
pub fn hold(to: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count)
        .map(|_| {
            let mut stream = TcpStream::connect(to).expect("the echo accepts");
            exchange(&mut stream, &mut [1]);
            stream
        })
        .collect()
}

fn exchange(stream: &mut TcpStream, message: &mut [u8]) {
    stream.write_all(message).expect("the echo takes it");
    stream.read_exact(message).expect("the echo answers");
}
