//! What the load is sent to: a sink that counts, and an echo.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::netns::Netns;

/// Port of the sink.
pub const SINK: u16 = 9001;
/// Port of the echo.
pub const ECHO: u16 = 9002;

/// Bytes read at once by the sink.
const LARGE: usize = 256 * 1024;
/// Bytes of a message.
const SMALL: usize = 4 * 1024;
/// Enough for a thread that only copies.
const STACK: usize = 64 * 1024;

/// Starts both in a pod; returns what counts the sink's bytes. They live as long as the process.
pub fn start(pod: &Netns) -> Arc<AtomicU64> {
    let received = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&received);
    serve(pod, SINK, move |stream| drain(stream, &counted));
    serve(pod, ECHO, echo);
    received
}

fn serve(pod: &Netns, port: u16, work: impl Fn(TcpStream) + Clone + Send + 'static) {
    let listener = pod.listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let work = work.clone();
            std::thread::Builder::new()
                .stack_size(STACK)
                .spawn(move || work(stream))
                .unwrap();
        }
    });
}

fn drain(mut stream: TcpStream, received: &AtomicU64) {
    let mut buffer = vec![0; LARGE];
    while let Ok(count) = stream.read(&mut buffer)
        && count > 0
    {
        received.fetch_add(count as u64, Ordering::Relaxed);
    }
}

fn echo(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = [0; SMALL];
    while let Ok(count) = stream.read(&mut buffer)
        && count > 0
        && stream.write_all(&buffer[..count]).is_ok()
    {}
}
