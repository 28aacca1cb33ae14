//! Network namespaces.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use nix::sched::{CloneFlags, setns};
use nix::sys::stat::fstat;

/// What a namespace is known by while it exists: its device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id {
    device: u64,
    inode: u64,
}

/// A namespace, and the way back out of it. Cheap to clone. Keeps the namespace alive.
#[derive(Debug, Clone)]
pub struct Netns(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    inside: OwnedFd,
    home: OwnedFd,
    id: Id,
}

impl Netns {
    /// A namespace from a descriptor of it. Home is where the calling thread is.
    ///
    /// # Errors
    /// When the descriptor cannot be read, or `/proc` is not mounted.
    pub fn new(inside: OwnedFd) -> io::Result<Self> {
        let stat = fstat(inside.as_fd())?;
        let home = File::open("/proc/thread-self/ns/net")?.into();
        let id = Id {
            device: stat.st_dev,
            inode: stat.st_ino,
        };
        Ok(Self(Arc::new(Inner { inside, home, id })))
    }

    /// A namespace from a path such as `/var/run/netns/name`.
    ///
    /// # Errors
    /// As [`Netns::new`], and when the path cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::new(File::open(path)?.into())
    }

    /// Its identity.
    pub fn id(&self) -> Id {
        self.0.id
    }

    /// Runs `step` with the calling thread inside. `step` cannot wait for other tasks, so no task of the runtime ever runs
    /// in the wrong namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered, for example for lack of `CAP_SYS_ADMIN`.
    pub fn enter<T>(&self, step: impl FnOnce() -> T) -> io::Result<T> {
        setns(self.0.inside.as_fd(), CloneFlags::CLONE_NEWNET)?;
        let _home = Return(self);
        Ok(step())
    }
}

/// Brings the thread home, also after a panic.
struct Return<'a>(&'a Netns);

impl Drop for Return<'_> {
    fn drop(&mut self) {
        if setns(self.0.0.home.as_fd(), CloneFlags::CLONE_NEWNET).is_err() {
            // A thread that stays in a pod would send other pods' traffic from there. Nothing can mend that.
            std::process::abort();
        }
    }
}
