//! What must be done before the proxy is ready.
//!
//! A task registers by name and stays pending until its [`Blocker`] is cleared; a blocker can be raised again, for example
//! when the node agent goes away. Layer 5; no I/O.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Names of the tasks, as upstream prints them.
pub mod task {
    /// The first answer of every xDS type has been applied.
    pub const STATE_MANAGER: &str = "state manager";
    /// The proxy's own listeners stand.
    pub const PROXY: &str = "proxy";
    /// The DNS proxy's factory stands.
    pub const DNS_PROXY: &str = "dns proxy";
    /// The node agent has sent its snapshot and no pod waits.
    pub const WORKLOAD_PROXY_MANAGER: &str = "workload proxy manager";
}

/// The set of pending tasks. Cheap to clone; all clones share the set.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    pending: Arc<Mutex<BTreeMap<Arc<str>, usize>>>,
}

impl Readiness {
    /// Registers a task: not ready until the blocker is cleared or dropped.
    #[must_use]
    pub fn block(&self, name: &str) -> Blocker {
        let mut blocker = Blocker {
            name: name.into(),
            readiness: self.clone(),
            raised: false,
        };
        blocker.raise();
        blocker
    }

    /// Names of what is pending, sorted; empty when ready.
    #[must_use]
    pub fn pending(&self) -> Vec<Arc<str>> {
        self.lock().keys().cloned().collect()
    }

    /// The body of the probe's answer, a line: `Ok` when ready, else `Err`.
    ///
    /// # Errors
    /// The text `not ready, pending: ` and the names, when something is pending.
    pub fn report(&self) -> Result<&'static str, String> {
        let pending = self.pending();
        if pending.is_empty() {
            return Ok("ready\n");
        }
        Err(format!("not ready, pending: {}\n", pending.join(", ")))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, usize>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One task's claim that the proxy is not ready.
#[derive(Debug)]
pub struct Blocker {
    name: Arc<str>,
    readiness: Readiness,
    raised: bool,
}

impl Blocker {
    /// The task is done.
    pub fn clear(&mut self) {
        if !std::mem::take(&mut self.raised) {
            return;
        }
        let mut pending = self.readiness.lock();
        if let Some(count) = pending.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                pending.remove(&self.name);
            }
        }
    }

    /// The task is pending again.
    pub fn raise(&mut self) {
        if !std::mem::replace(&mut self.raised, true) {
            *self
                .readiness
                .lock()
                .entry(Arc::clone(&self.name))
                .or_default() += 1;
        }
    }

    /// Raises or clears.
    pub fn set(&mut self, pending: bool) {
        if pending { self.raise() } else { self.clear() }
    }
}

impl Drop for Blocker {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_nothing_is_registered() {
        assert_eq!(Readiness::default().report(), Ok("ready\n"));
    }

    #[test]
    fn pending_tasks_are_named_in_order() {
        let readiness = Readiness::default();
        let _state = readiness.block(task::STATE_MANAGER);
        let _dns = readiness.block(task::DNS_PROXY);
        assert_eq!(
            readiness.report(),
            Err("not ready, pending: dns proxy, state manager\n".into())
        );
    }

    #[test]
    fn a_task_can_become_pending_again() {
        let readiness = Readiness::default();
        let mut agent = readiness.block(task::WORKLOAD_PROXY_MANAGER);
        agent.clear();
        agent.clear();
        assert!(readiness.report().is_ok());
        agent.raise();
        agent.raise();
        assert!(readiness.report().is_err());
        agent.set(false);
        assert!(readiness.report().is_ok());
    }

    #[test]
    fn two_blockers_of_one_name_both_count() {
        let readiness = Readiness::default();
        let first = readiness.block(task::PROXY);
        let second = readiness.block(task::PROXY);
        drop(first);
        assert!(readiness.report().is_err());
        drop(second);
        assert!(readiness.report().is_ok());
    }
}
