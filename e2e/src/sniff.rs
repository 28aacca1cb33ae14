//! Counts what crosses an interface of a network namespace: tunnels between nodes, plain text, words that can be read.

use std::fs::File;
use std::io::{Error, Read as _, Result};
use std::iter::Sum;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, socket,
};
use serde::{Deserialize, Serialize};

/// The port of the tunnels between nodes.
const TUNNEL: u16 = 15008;
/// Room for one frame, jumbo frames and segmentation offload included.
const FRAME: usize = 70_000;

/// What was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// All frames.
    pub frames: u64,
    /// TCP segments of tunnels between nodes.
    pub tunnel: u64,
    /// TCP segments with data from or to the workload's own port.
    pub plain: u64,
    /// Frames in which the marker can be read.
    pub marker: u64,
}

/// Counts until standard input ends, then prints one line of JSON. The first line says that it has begun.
///
/// # Errors
/// When there is no such interface, or this may not be watched (as root it may).
pub fn run(interface: &str, port: u16, marker: &str) -> Result<()> {
    let ended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ended);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        flag.store(true, Ordering::Release);
    });
    let seen = capture(interface, port, marker, &ended, || println!("listening"))?;
    println!("{}", serde_json::to_string(&seen)?);
    Ok(())
}

/// Counts until it is told that it has ended.
fn capture(
    interface: &str,
    port: u16,
    marker: &str,
    ended: &AtomicBool,
    begun: impl FnOnce(),
) -> Result<Seen> {
    let index = usize::try_from(if_nametoindex(interface)?).unwrap_or_default();
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_NONBLOCK,
        SockProtocol::EthAll,
    )?;
    begun();
    let mut seen = Seen::default();
    let mut frame = vec![0; FRAME];
    while !ended.load(Ordering::Acquire) {
        poll(
            &mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)],
            PollTimeout::from(50_u8),
        )?;
        while let Ok((length, from)) = recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut frame) {
            if from.is_some_and(|from| from.ifindex() == index) {
                seen.count(&frame[..length], port, marker.as_bytes());
            }
        }
    }
    Ok(seen)
}

/// A capture that runs in a thread of its own.
pub struct Tap {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen>>,
}

impl Tap {
    /// Begins to count what crosses an interface in a network namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or as for [`run`].
    pub fn open(namespace: &Path, interface: &str, port: u16, marker: &str) -> Result<Self> {
        let namespace = File::open(namespace)?;
        let (interface, marker) = (interface.to_owned(), marker.to_owned());
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        let (begun, waits) = mpsc::channel();
        // The thread ends with the namespace it has entered.
        let thread = std::thread::Builder::new()
            .name("tap".to_owned())
            .spawn(move || {
                setns(&namespace, CloneFlags::CLONE_NEWNET)?;
                capture(&interface, port, &marker, &flag, || {
                    // Whoever waits may be gone.
                    let _ = begun.send(());
                })
            })?;
        let tap = Self { ended, thread };
        // One that has not begun has ended, and says why.
        match waits.recv() {
            Ok(()) => Ok(tap),
            Err(_) => Err(tap
                .close()
                .err()
                .unwrap_or_else(|| Error::other("the capture has not begun"))),
        }
    }

    /// Ends it; what it saw.
    ///
    /// # Errors
    /// What kept it from seeing.
    pub fn close(self) -> Result<Seen> {
        self.ended.store(true, Ordering::Release);
        let ended = self.thread.join();
        ended.unwrap_or_else(|_| Err(Error::other("the capture has panicked")))
    }
}

/// What was seen in several places, together.
impl Sum for Seen {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |one, other| Self {
            frames: one.frames + other.frames,
            tunnel: one.tunnel + other.tunnel,
            plain: one.plain + other.plain,
            marker: one.marker + other.marker,
        })
    }
}

impl Seen {
    /// Takes one Ethernet frame into account.
    pub fn count(&mut self, frame: &[u8], port: u16, marker: &[u8]) {
        self.frames += 1;
        if !marker.is_empty() && frame.windows(marker.len()).any(|window| window == marker) {
            self.marker += 1;
        }
        let Some((ports, has_data)) = tcp(frame) else {
            return;
        };
        if ports.contains(&TUNNEL) {
            self.tunnel += 1;
        } else if ports.contains(&port) && has_data {
            self.plain += 1;
        }
    }
}

/// Ports of a TCP segment over IPv4 or IPv6, and whether it carries data.
fn tcp(frame: &[u8]) -> Option<([u16; 2], bool)> {
    const TCP: u8 = 6;
    let word =
        |bytes: &[u8], at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let packet = frame.get(14..)?;
    let segment = match word(frame, 12)? {
        0x0800 if *packet.get(9)? == TCP => {
            let header = usize::from(packet.first()? & 0x0f) * 4;
            packet.get(header..usize::from(word(packet, 2)?).max(header).min(packet.len()))?
        }
        0x86dd if *packet.get(6)? == TCP => {
            packet.get(40..(40 + usize::from(word(packet, 4)?)).min(packet.len()))?
        }
        _ => return None,
    };
    let header = usize::from(*segment.get(12)? >> 4) * 4;
    Some((
        [word(segment, 0)?, word(segment, 2)?],
        segment.len() > header,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame_v4(from: u16, to: u16, data: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        let mut packet = vec![
            0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        let mut segment = [from.to_be_bytes(), to.to_be_bytes()].concat();
        segment.resize(20, 0);
        segment[12] = 0x50;
        segment.extend(data);
        let length = u16::try_from(packet.len() + segment.len()).unwrap();
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        frame.extend(packet);
        frame.extend(segment);
        frame
    }

    fn seen(frames: &[Vec<u8>]) -> Seen {
        let mut seen = Seen::default();
        for frame in frames {
            seen.count(frame, 8080, b"marker");
        }
        seen
    }

    #[test]
    fn tunnels_plain_text_and_the_marker_are_told_apart() {
        let frames = [
            frame_v4(40_000, 15008, b"\x17\x03\x03"),
            frame_v4(8080, 40_000, b"HTTP/1.1 200 a marker"),
            frame_v4(22, 40_000, b"other"),
        ];
        assert_eq!(
            seen(&frames),
            Seen {
                frames: 3,
                tunnel: 1,
                plain: 1,
                marker: 1
            }
        );
    }

    #[test]
    fn a_bare_acknowledgement_padded_to_the_least_frame_carries_no_data() {
        let mut frame = frame_v4(40_000, 8080, b"");
        frame.resize(60, 0);
        assert_eq!(seen(&[frame]).plain, 0);
    }

    #[test]
    fn ipv6_is_read_too() {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 23, 6, 64]);
        frame.resize(54, 0);
        let mut segment = [40_000_u16.to_be_bytes(), 15008_u16.to_be_bytes()].concat();
        segment.resize(20, 0);
        segment[12] = 0x50;
        segment.extend([1, 2, 3]);
        frame.extend(segment);
        assert_eq!(seen(&[frame]).tunnel, 1);
    }

    #[test]
    fn cut_and_strange_frames_count_as_frames_only() {
        let whole = frame_v4(1, 15008, b"x");
        let frames: Vec<Vec<u8>> = (0..30).map(|length| whole[..length].to_vec()).collect();
        assert_eq!(
            seen(&frames),
            Seen {
                frames: 30,
                ..Seen::default()
            }
        );
    }
}
