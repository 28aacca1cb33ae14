//! The certificates in use: one task per identity fetches, publishes and renews.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::queue::{Queue, Turn};
use super::{Error, Issuer, Priority, State, schedule};
use crate::identity::Identity;
use crate::tls::WorkloadCertificate;

/// Requests to the signer at once, as upstream.
const AT_ONCE: usize = 8;
/// Longest single sleep, so that a clock that was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_mins(10);

/// Keeps certificates. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Certificates(Arc<Shared>);

struct Shared {
    issuer: Arc<dyn Issuer>,
    queue: Queue,
    runtime: Handle,
    entries: Mutex<HashMap<Identity, Entry>>,
}

struct Entry {
    state: watch::Receiver<State>,
    /// How urgent the next fetch is; only rises until the fetch is done.
    priority: watch::Sender<Priority>,
    /// How many workloads need it. Entries that only connections asked for have 0.
    users: usize,
    task: AbortHandle,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Certificates {
    /// An empty keeper whose tasks run on the current Tokio runtime; panics outside of one.
    pub fn new(issuer: Arc<dyn Issuer>) -> Self {
        Self(Arc::new(Shared {
            issuer,
            queue: Queue::new(AT_ONCE),
            runtime: Handle::current(),
            entries: Mutex::default(),
        }))
    }

    /// The certificate of an identity: at once when there is one, else as soon as the signer answers. Requests for one
    /// identity share one call. While the last attempt has failed the error comes back at once.
    ///
    /// # Errors
    /// The reason of the last failure, or [`Error::Expired`], or [`Error::Forgotten`].
    pub async fn fetch(
        &self,
        identity: &Identity,
        priority: Priority,
    ) -> Result<Arc<WorkloadCertificate>, Error> {
        let mut state = self.entry(identity, priority, 0);
        let settled = state
            .wait_for(|state| !matches!(state, State::Initializing))
            .await;
        match &*settled.map_err(|_| Error::Forgotten(identity.clone()))? {
            State::Available(certificate) if certificate.is_valid(SystemTime::now()) => {
                Ok(Arc::clone(certificate))
            }
            State::Unavailable(reason) => Err(reason.clone()),
            State::Available(_) | State::Initializing => Err(Error::Expired(identity.clone())),
        }
    }

    /// Counts one more workload that needs an identity, and fetches its certificate ahead of time.
    pub fn prefetch(&self, identity: &Identity) {
        self.entry(identity, Priority::Warmup, 1);
    }

    /// Counts one workload less; with the last one the certificate and its key are dropped.
    pub fn forget(&self, identity: &Identity) {
        let mut entries = self.entries();
        if let Some(entry) = entries.get_mut(identity) {
            entry.users = entry.users.saturating_sub(1);
            if entry.users == 0 {
                entries.remove(identity);
            }
        }
    }

    /// Follows an identity's certificate; the sender goes away when the identity is forgotten.
    pub fn watch(&self, identity: &Identity) -> watch::Receiver<State> {
        self.entry(identity, Priority::Warmup, 0)
    }

    /// The identities that workloads need and their states, sorted. What only a connection has asked for, as one that
    /// outlives its pod does, is nobody's: istiod may refuse it for ever.
    pub fn states(&self) -> Vec<(Identity, State)> {
        let state = |entry: &Entry| entry.state.borrow().clone();
        let mut all: Vec<_> = self
            .entries()
            .iter()
            .filter(|(_, entry)| entry.users > 0)
            .map(|(identity, entry)| (identity.clone(), state(entry)))
            .collect();
        all.sort_by(|(one, _), (two, _)| one.cmp(two));
        all
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Identity, Entry>> {
        self.0
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(
        &self,
        identity: &Identity,
        priority: Priority,
        more_users: usize,
    ) -> watch::Receiver<State> {
        let mut entries = self.entries();
        let entry = entries
            .entry(identity.clone())
            .or_insert_with(|| self.start(identity, priority));
        entry.users += more_users;
        entry.priority.send_if_modified(|now| {
            let rises = priority > *now;
            *now = priority.max(*now);
            rises
        });
        entry.state.clone()
    }

    fn start(&self, identity: &Identity, first: Priority) -> Entry {
        let (state_sender, state) = watch::channel(State::Initializing);
        let (priority, wanted) = watch::channel(first);
        let keeper = Keeper {
            identity: identity.clone(),
            issuer: Arc::clone(&self.0.issuer),
            queue: self.0.queue.clone(),
            state: state_sender,
            priority: wanted,
        };
        let task = self.0.runtime.spawn(keeper.run(first)).abort_handle();
        Entry {
            state,
            priority,
            users: 0,
            task,
        }
    }
}

/// The task of one identity.
struct Keeper {
    identity: Identity,
    issuer: Arc<dyn Issuer>,
    queue: Queue,
    state: watch::Sender<State>,
    priority: watch::Receiver<Priority>,
}

impl Keeper {
    async fn run(mut self, first: Priority) {
        let (mut failures, mut least) = (0, first);
        loop {
            let turn = self.turn(least).await;
            let result = self.issuer.issue(self.identity.clone()).await;
            drop(turn);
            let wait = match result {
                Ok(certificate) => {
                    failures = 0;
                    let now = SystemTime::now();
                    let wait = schedule::until_renewal(
                        certificate.not_before(),
                        certificate.not_after(),
                        now,
                    );
                    self.state
                        .send_replace(State::Available(Arc::new(certificate)));
                    wait
                }
                Err(reason) => {
                    failures += 1;
                    let wait = schedule::until_retry(failures, sample());
                    tracing::warn!(
                        identity = %self.identity, retry_in = ?wait, error = &reason as &dyn std::error::Error,
                        "no certificate"
                    );
                    self.fail(reason);
                    wait
                }
            };
            self.rest(wait).await;
            least = if self.serves() {
                Priority::Background
            } else {
                Priority::Warmup
            };
        }
    }

    /// Waits for a turn, and lines up again when somebody more urgent appears.
    async fn turn(&mut self, least: Priority) -> Turn {
        loop {
            let priority = if self.serves() {
                least
            } else {
                least.max(*self.priority.borrow_and_update())
            };
            let place = self.queue.line_up(priority);
            tokio::select! {
                Ok(turn) = place => return turn,
                Ok(()) = self.priority.changed() => {}
                else => std::future::pending().await,
            }
        }
    }

    /// Sleeps in steps, so that a clock that was set cannot let a certificate end unnoticed.
    async fn rest(&self, wait: Duration) {
        let until = SystemTime::now() + wait;
        while let Ok(left) = until.duration_since(SystemTime::now()) {
            if left.is_zero() {
                return;
            }
            sleep(left.min(LONGEST_SLEEP)).await;
        }
    }

    fn serves(&self) -> bool {
        self.state.borrow().usable(SystemTime::now()).is_some()
    }

    /// A failure changes the state only when no usable certificate is left.
    fn fail(&self, reason: Error) {
        if !self.serves() {
            self.state.send_replace(State::Unavailable(reason));
        }
    }
}

/// A number drawn evenly, for the spread of retries. Not for secrets.
fn sample() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::time::Instant::now())
}
