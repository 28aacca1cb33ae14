//! The conversation with the node agent: connect, hello, requests answered one by one, and again after a loss.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::keeper::{Keeper, Start};
use super::link::Link;
use super::packet::{self, Request};
use crate::drain::Drain;
use crate::readiness::Blocker;
use crate::socket::Netns;

/// First wait before another attempt to connect; doubles.
const FIRST_WAIT: Duration = Duration::from_millis(10);
/// Longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// How often pending pods are tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long the agent may take to read an answer; it waits as long for ours.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls of the operator: the two halves of an upgrade of the proxy on a node. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Control(Arc<Orders>);

#[derive(Debug, Default)]
struct Orders {
    stands_down: AtomicBool,
    reconnect: Notify,
}

impl Control {
    /// Keep the connection, but never make another: the agent gives new pods to the newest one, and that shall be somebody
    /// else's from now on.
    pub fn stand_down(&self) {
        self.0.stands_down.store(true, Ordering::Relaxed);
    }

    /// Make a new connection now: it becomes the newest and brings a full snapshot. Takes a stand-down back: whoever was
    /// to leave may have to stay, when what should follow does not come up.
    pub fn reconnect(&self) {
        self.0.stands_down.store(false, Ordering::Relaxed);
        self.0.reconnect.notify_one();
    }

    /// Whether a stand-down was asked for.
    pub fn stands_down(&self) -> bool {
        self.0.stands_down.load(Ordering::Relaxed)
    }
}

/// Why a connection to the agent ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the node agent cannot be reached; is istio-cni running on this node?")]
    Unreachable(#[source] io::Error),
    #[error("the connection to the node agent broke")]
    Broken(#[source] io::Error),
    #[error("the node agent closed the connection")]
    Closed,
    #[error("the node agent broke the protocol: {0}")]
    Protocol(String),
    #[error("a new connection was asked for")]
    Asked,
}

/// Follows the agent until `drain` is cut.
pub(super) struct Agent<S> {
    pub(super) socket: PathBuf,
    pub(super) keeper: Keeper<S>,
    pub(super) control: Control,
    pub(super) blocker: Blocker,
    pub(super) drain: Drain,
}

impl<S: Start> Agent<S> {
    pub(super) async fn run(mut self) {
        let drain = self.drain.clone();
        tokio::select! {
            () = drain.cut() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&mut self) {
        let mut wait = FIRST_WAIT;
        loop {
            if self.drain.is_closing() {
                // Who drains takes no pods: another connection would take them from who does.
                self.idle().await;
                continue;
            }
            // Asked for on the connection that has ended, while another attempt was waited for, or before the first one.
            if self.control.stands_down() {
                tracing::info!("told to stand down: no connection to the node agent is made");
                self.idle().await;
                tracing::info!("told to connect to the node agent again");
                wait = FIRST_WAIT;
                continue;
            }
            let mut had_snapshot = false;
            let lost = match Link::connect(&self.socket) {
                Ok(link) => self.converse(&link, &mut had_snapshot).await,
                Err(error) => Lost::Unreachable(error),
            };
            self.blocker.raise();
            if self.control.stands_down() {
                tracing::info!(reason = %lost, "the connection to the node agent is over");
                continue;
            }
            // A connection that brought a snapshot was a good one: its loss starts the waiting anew.
            if had_snapshot {
                wait = FIRST_WAIT;
            }
            let reason = std::error::Error::source(&lost).map(ToString::to_string);
            tracing::warn!(error = %lost, reason, next_attempt = ?wait, "not connected to the node agent");
            tokio::select! {
                () = sleep(wait) => {}
                () = self.drain.closing() => {}
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Pods stay served as long as the process lives; what is pending is still tried. Ends when a new connection is asked
    /// for, which a draining process never makes.
    async fn idle(&mut self) {
        let control = self.control.clone();
        loop {
            tokio::select! {
                () = sleep(RETRY) => {}
                () = control.0.reconnect.notified(), if !self.drain.is_closing() => return,
            }
            if !self.drain.is_closing() {
                self.keeper.retry();
            }
        }
    }

    /// One connection, from hello to its end.
    async fn converse(&mut self, link: &Link, had_snapshot: &mut bool) -> Lost {
        if let Err(error) = say(link, &packet::hello()).await {
            return Lost::Broken(error);
        }
        let mut named = BTreeSet::new();
        let mut retry = interval_at(Instant::now() + RETRY, RETRY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let control = self.control.clone();
        loop {
            let received = tokio::select! {
                received = link.receive() => received,
                _ = retry.tick() => {
                    self.keeper.retry();
                    self.show(*had_snapshot);
                    continue;
                }
                () = control.0.reconnect.notified() => return Lost::Asked,
            };
            let received = match received {
                Ok(Some(received)) => received,
                Ok(None) => return Lost::Closed,
                Err(error) => return Lost::Broken(error),
            };
            let (outcome, end) = match packet::parse(received) {
                Ok(request) => self.obey(request, &mut named, had_snapshot),
                Err(error) => (Err(error.to_string()), false),
            };
            if let Err(reason) = &outcome {
                tracing::warn!(reason, "a request of the node agent is refused");
            }
            self.show(*had_snapshot);
            if let Err(error) = say(link, &packet::answer(&outcome)).await {
                return Lost::Broken(error);
            }
            if end {
                return Lost::Protocol(outcome.err().unwrap_or_default());
            }
        }
    }

    /// Does what a request asks. Says what to answer, and whether the connection cannot go on.
    fn obey(
        &mut self,
        request: Request,
        named: &mut BTreeSet<Arc<str>>,
        had_snapshot: &mut bool,
    ) -> (Result<(), String>, bool) {
        match request {
            Request::Add { .. } if self.drain.is_closing() => (
                Err("this proxy is draining; another one must serve new pods".into()),
                false,
            ),
            Request::Add { uid, info, netns } => {
                if !*had_snapshot {
                    named.insert(Arc::clone(&uid));
                }
                let netns = Netns::new(netns).map_err(|error| {
                    format!("the network namespace of pod {uid} cannot be used: {error}")
                });
                (
                    netns.and_then(|netns| self.keeper.add(&uid, info, netns)),
                    false,
                )
            }
            Request::Delete { uid } => {
                named.remove(&uid);
                self.keeper.delete(&uid);
                (Ok(()), false)
            }
            Request::Keep { uid } if *had_snapshot => {
                (Err(format!("keep of pod {uid} after the snapshot")), true)
            }
            Request::Keep { uid } => {
                named.insert(uid);
                (Ok(()), false)
            }
            Request::Snapshot if *had_snapshot => {
                (Err("a second snapshot on one connection".into()), true)
            }
            Request::Snapshot => {
                self.keeper.retain(named);
                named.clear();
                *had_snapshot = true;
                tracing::info!("the node agent has named every pod of this node");
                (Ok(()), false)
            }
        }
    }

    fn show(&mut self, had_snapshot: bool) {
        self.blocker.set(!had_snapshot || self.keeper.is_pending());
    }
}

async fn say(link: &Link, packet: &[u8]) -> io::Result<()> {
    timeout(SEND_TIMEOUT, link.send(packet))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

#[cfg(test)]
mod tests;
