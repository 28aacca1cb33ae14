//! When work has to end: a tree of signals from the process down to pods and connections.
//!
//! Layer 1. A [`Drain`] first *closes* (listeners stop, tunnels say goodbye, live work goes on) and later *cuts* (live work
//! ends now). A child ends with its parent, never the other way round. Owns signals and counting only; knows no sockets.

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How long work that was cut may take to write its last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One node of the tree. Cheap to clone; clones are the same node.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    closing: CancellationToken,
    cut: CancellationToken,
    /// Own tracker last; the others belong to the nodes above.
    trackers: Vec<TaskTracker>,
}

/// Proof that work is going on; the node and all above it count it until it is dropped.
#[derive(Debug)]
pub struct Hold(#[expect(dead_code, reason = "held for its drop")] Vec<TaskTrackerToken>);

impl Drain {
    /// The root of a tree.
    pub fn new() -> Self {
        Self {
            closing: CancellationToken::new(),
            cut: CancellationToken::new(),
            trackers: vec![TaskTracker::new()],
        }
    }

    /// A node that ends with this one, or earlier.
    pub fn child(&self) -> Self {
        let mut trackers = self.trackers.clone();
        trackers.push(TaskTracker::new());
        Self {
            closing: self.closing.child_token(),
            cut: self.cut.child_token(),
            trackers,
        }
    }

    /// Counts one piece of live work.
    pub fn hold(&self) -> Hold {
        Hold(self.trackers.iter().map(TaskTracker::token).collect())
    }

    /// How much work is going on at this node and below it.
    pub fn held(&self) -> usize {
        self.trackers.last().map_or(0, TaskTracker::len)
    }

    /// Resolves when no new work may start. Cancel safe.
    pub fn closing(&self) -> impl Future<Output = ()> + Send + '_ {
        self.closing.cancelled()
    }

    /// Whether no new work may start.
    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Resolves when live work must end. Cancel safe.
    pub fn cut(&self) -> impl Future<Output = ()> + Send + '_ {
        self.cut.cancelled()
    }

    /// Whether live work must end.
    pub fn is_cut(&self) -> bool {
        self.cut.is_cancelled()
    }

    /// No new work from now on; live work goes on.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Ends everything at once.
    pub fn cut_now(&self) {
        self.closing.cancel();
        self.cut.cancel();
    }

    /// Closes, waits until live work has ended or `deadline` has passed, then cuts what is left and lets it write its last
    /// words. Returns how many pieces of work were cut.
    pub async fn end(&self, deadline: Duration) -> usize {
        self.close();
        let _ = timeout(deadline, self.idle()).await;
        let left = self.held();
        self.cut_now();
        let _ = timeout(LAST_WORDS, self.idle()).await;
        left
    }

    /// Resolves when no work is going on. Only meaningful after [`Drain::close`].
    pub async fn idle(&self) {
        if let Some(own) = self.trackers.last() {
            own.close();
            own.wait().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_ends_with_its_parent_and_never_the_other_way_round() {
        let root = Drain::new();
        let (one, two) = (root.child(), root.child());
        one.cut_now();
        assert!(one.is_closing() && one.is_cut());
        assert!(!root.is_closing() && !two.is_closing());
        root.close();
        assert!(two.is_closing() && !two.is_cut());
        root.cut_now();
        assert!(two.is_cut() && root.child().is_cut());
    }

    #[test]
    fn work_counts_at_its_node_and_above() {
        let root = Drain::new();
        let (one, two) = (root.child(), root.child());
        let hold = one.hold();
        assert_eq!((root.held(), one.held(), two.held()), (1, 1, 0));
        drop(hold);
        assert_eq!((root.held(), one.held()), (0, 0));
    }

    #[tokio::test]
    async fn the_end_comes_as_soon_as_the_last_work_is_done() {
        let root = Drain::new();
        let (drain, hold) = (root.child(), root.child().hold());
        let work = tokio::spawn(async move {
            drain.closing().await;
            drop(hold);
            drain.is_cut()
        });
        assert_eq!(root.end(Duration::from_hours(1)).await, 0);
        assert!(!work.await.unwrap(), "work that ends by itself is not cut");
    }

    #[tokio::test]
    async fn what_outlives_the_deadline_is_cut_and_counted() {
        let root = Drain::new();
        let drain = root.child();
        let hold = drain.hold();
        let work = tokio::spawn(async move {
            drain.cut().await;
            drop(hold);
        });
        assert_eq!(root.end(Duration::from_millis(5)).await, 1);
        work.await.unwrap();
    }
}
