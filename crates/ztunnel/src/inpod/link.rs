//! The socket to the node agent: packets with descriptors.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, connect, recvmsg,
    send, socket,
};
use tokio::io::unix::AsyncFd;

use super::packet::{MAX_PACKET, Packet};

/// Descriptors one packet may bring before the kernel drops the rest and says so.
const MAX_DESCRIPTORS: usize = 4;

/// A connection to the agent.
#[derive(Debug)]
pub(super) struct Link(AsyncFd<OwnedFd>);

impl Link {
    /// Connects to the agent's socket.
    ///
    /// # Errors
    /// When nobody listens there. Must be called inside a tokio runtime.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let descriptor = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        connect(descriptor.as_raw_fd(), &UnixAddr::new(path)?)?;
        Self::new(descriptor)
    }

    /// A connection from its descriptor, which must not block.
    pub(super) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        // SAFETY: the descriptor is owned, and nothing closes or changes it before the registration ends with it.
        #[expect(unsafe_code, reason = "tokio asks for a promise about the descriptor")]
        let registered = unsafe { AsyncFd::register(descriptor) };
        Ok(Self(registered?))
    }

    #[cfg(test)]
    pub(super) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// The next packet; `None` when the agent has closed the connection. Cancel safe.
    pub(super) async fn receive(&self) -> io::Result<Option<Packet>> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|descriptor| receive(descriptor.as_raw_fd())) {
                Ok(received) => return received,
                Err(_would_block) => {}
            }
        }
    }

    /// Sends one packet.
    pub(super) async fn send(&self, packet: &[u8]) -> io::Result<()> {
        loop {
            let mut ready = self.0.writable().await?;
            let flags = MsgFlags::MSG_NOSIGNAL;
            match ready.try_io(|descriptor| Ok(send(descriptor.as_raw_fd(), packet, flags)?)) {
                Ok(sent) => return sent.map(drop),
                Err(_would_block) => {}
            }
        }
    }
}

fn receive(descriptor: RawFd) -> io::Result<Option<Packet>> {
    let mut bytes = vec![0; MAX_PACKET];
    let mut control = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let received = recvmsg::<()>(
        descriptor,
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT,
    )?;
    let (length, flags) = (received.bytes, received.flags);
    let mut descriptors = Vec::new();
    // An error here means that the control data was cut, which the flags say too.
    for message in received.cmsgs().into_iter().flatten() {
        if let ControlMessageOwned::ScmRights(raw) = message {
            // SAFETY: the kernel has just made these descriptors for this process; nobody else knows them.
            #[expect(unsafe_code, reason = "descriptors come from the kernel as numbers")]
            descriptors.extend(
                raw.into_iter()
                    .map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }),
            );
        }
    }
    if length == 0 && descriptors.is_empty() {
        return Ok(None);
    }
    bytes.truncate(length);
    let is_truncated = flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
    Ok(Some(Packet {
        bytes,
        descriptors,
        is_truncated,
    }))
}
