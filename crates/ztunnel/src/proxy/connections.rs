//! The live connections of one pod: what the config dump lists.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::metrics::Reporter;

/// What carries a connection between the proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Plain TCP.
    Tcp,
    /// A tunnel.
    Hbone,
    /// A tunnel inside a tunnel.
    DoubleHbone,
}

/// One live connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Which end of it this proxy is.
    pub reporter: Reporter,
    /// The client.
    pub src: SocketAddr,
    /// Where the client wanted to go.
    pub original_dst: SocketAddr,
    /// Where it was taken.
    pub actual_dst: SocketAddr,
    /// What carries it.
    pub protocol: Protocol,
}

/// The set. Cheap to clone; clones are the same set.
#[derive(Debug, Clone, Default)]
pub struct Connections(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    next: AtomicU64,
    live: Mutex<HashMap<u64, Live>>,
}

/// Keeps one connection listed until it is dropped.
#[derive(Debug)]
pub struct Entry {
    id: u64,
    set: Connections,
}

impl Connections {
    /// Lists a connection.
    pub fn open(&self, live: Live) -> Entry {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(id, live);
        Entry {
            id,
            set: self.clone(),
        }
    }

    /// Every live connection, oldest first.
    pub fn list(&self) -> Vec<Live> {
        let mut live: Vec<(u64, Live)> = self
            .lock()
            .iter()
            .map(|(id, live)| (*id, live.clone()))
            .collect();
        live.sort_unstable_by_key(|(id, _)| *id);
        live.into_iter().map(|(_, live)| live).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Live>> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.set.lock().remove(&self.id);
    }
}
