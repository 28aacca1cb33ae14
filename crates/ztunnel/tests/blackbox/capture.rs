//! Sees every frame on the wire between the nodes: a packet socket in the namespace of the bridge.

use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::netns::Netns;

/// `ETH_P_ALL` in network order, as packet sockets want it.
const ALL: i32 = 0x0003_u16.to_be() as i32;
/// Most bytes kept.
const MOST: usize = 16 << 20;

/// A running capture.
pub struct Capture {
    bytes: Arc<Mutex<Vec<u8>>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Capture {
    /// Captures from now on.
    pub fn start(netns: &Netns) -> Self {
        let mut socket = netns
            .run(|| Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(ALL))))
            .unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        socket.set_recv_buffer_size(8 << 20).unwrap();
        let (bytes, stop) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(AtomicBool::new(false)),
        );
        let (kept, stopped) = (Arc::clone(&bytes), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut frame = vec![0; 70_000];
            // After the stop, what is already queued is still read.
            loop {
                match socket.read(&mut frame) {
                    Ok(length) => {
                        let mut kept = kept.lock().unwrap();
                        if kept.len() < MOST {
                            kept.extend_from_slice(&frame[..length]);
                        }
                    }
                    Err(_) if stopped.load(Ordering::Relaxed) => return,
                    Err(_) => {}
                }
            }
        });
        Self {
            bytes,
            stop,
            thread: Some(thread),
        }
    }

    /// Ends the capture and says whether a text was seen.
    pub fn saw(mut self, text: &str) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        let bytes = self.bytes.lock().unwrap();
        assert!(!bytes.is_empty(), "the capture saw no frame at all");
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    }
}
