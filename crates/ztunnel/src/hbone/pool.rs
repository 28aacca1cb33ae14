//! Tunnels of one pod, shared by its connections.
//!
//! One tunnel at a time is made per key, in a task of its own: no lock is held and nobody's patience decides meanwhile.
//! A tunnel that has become full leaves the pool for good; its streams finish by themselves.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::watch;

use super::client::{Place, Tunnel};
use super::{Answer, Client, Error, Request, Stream};
use crate::identity::Identity;

/// What two connections must have in common to share a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Who we are.
    pub source: Identity,
    /// Who the peer may be, sorted.
    pub destinations: Vec<Identity>,
    /// The peer's address.
    pub to: SocketAddr,
    /// Our address.
    pub from: IpAddr,
}

/// The tunnels. Cheap to clone; clones share everything. Tunnels without a stream end with the last clone.
#[derive(Debug, Clone, Default)]
pub struct Pool(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    entries: Mutex<HashMap<Key, Entry>>,
}

#[derive(Debug)]
enum Entry {
    /// A tunnel that may have places left.
    Ready(Client),
    /// One is being made.
    Connecting(watch::Receiver<Outcome>),
}

/// How the making of a tunnel goes.
#[derive(Debug, Clone)]
enum Outcome {
    Pending,
    Made,
    Failed(Error),
}

/// What a connection has to do.
enum Step {
    Open(Place),
    Wait(watch::Receiver<Outcome>),
}

impl Pool {
    /// Opens a stream in a tunnel of this key; `connect` makes the tunnel when there is none. `early` goes along with the
    /// request, see [`Client::open_with`]. Also tells who the peer is.
    ///
    /// # Errors
    /// What `connect` reports, to all that waited for it, or what [`Client::open`] reports. A tunnel that turns out to be
    /// dead before the peer can have seen the request is replaced once.
    pub async fn open<C, F>(
        &self,
        key: &Key,
        request: &Request,
        early: &Bytes,
        connect: C,
    ) -> Result<(Stream, Answer, Identity), Error>
    where
        C: Fn() -> F,
        F: Future<Output = Result<Client, Error>> + Send + 'static,
    {
        let (place, is_fresh) = self.place(key, &connect).await?;
        match self.open_at(key, place, request, early).await {
            Err(error) if error.is_stale_tunnel() && !is_fresh => {
                let (place, _) = self.place(key, &connect).await?;
                self.open_at(key, place, request, early).await
            }
            other => other,
        }
    }

    async fn open_at(
        &self,
        key: &Key,
        place: Place,
        request: &Request,
        early: &Bytes,
    ) -> Result<(Stream, Answer, Identity), Error> {
        let (tunnel, peer) = (place.tunnel(), place.peer().clone());
        match place.open(request, early).await {
            Ok((stream, answer)) => Ok((stream, answer, peer)),
            Err(error) => {
                if error.is_stale_tunnel() {
                    self.0.forget(key, &tunnel);
                }
                Err(error)
            }
        }
    }

    /// A place in a tunnel, and whether the tunnel was made while we waited.
    async fn place<C, F>(&self, key: &Key, connect: &C) -> Result<(Place, bool), Error>
    where
        C: Fn() -> F,
        F: Future<Output = Result<Client, Error>> + Send + 'static,
    {
        let mut is_fresh = false;
        loop {
            let mut outcome = match self.step(key, connect) {
                Step::Open(place) => return Ok((place, is_fresh)),
                Step::Wait(outcome) => outcome,
            };
            is_fresh = true;
            let told = outcome
                .wait_for(|outcome| !matches!(outcome, Outcome::Pending))
                .await;
            match told.as_deref() {
                Ok(Outcome::Failed(error)) => return Err(error.clone()),
                Ok(_) => {}
                Err(_) => return Err(Error::GivenUp),
            }
        }
    }

    fn step<C, F>(&self, key: &Key, connect: &C) -> Step
    where
        C: Fn() -> F,
        F: Future<Output = Result<Client, Error>> + Send + 'static,
    {
        let mut entries = self.0.lock();
        match entries.get(key) {
            Some(Entry::Ready(client)) => {
                if let Some(place) = client.place() {
                    return Step::Open(place);
                }
            }
            // An attempt whose task is gone without a word is not waited for.
            Some(Entry::Connecting(outcome)) if outcome.has_changed().is_ok() => {
                return Step::Wait(outcome.clone());
            }
            Some(Entry::Connecting(_)) | None => {}
        }
        let (tell, outcome) = watch::channel(Outcome::Pending);
        entries.insert(key.clone(), Entry::Connecting(outcome.clone()));
        drop(entries);
        tokio::spawn(attempt(
            Arc::downgrade(&self.0),
            key.clone(),
            tell,
            connect(),
        ));
        Step::Wait(outcome)
    }

    /// Forgets every tunnel; their streams finish by themselves.
    pub fn clear(&self) {
        self.0.lock().clear();
    }

    /// How many keys have a tunnel or are about to.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Makes one tunnel, offers it, and takes it out of the pool when it is over.
async fn attempt<F>(pool: Weak<Inner>, key: Key, tell: watch::Sender<Outcome>, connect: F)
where
    F: Future<Output = Result<Client, Error>> + Send + 'static,
{
    let made = connect.await;
    let Some(inner) = pool.upgrade() else { return };
    let client = match made {
        Ok(client) => client,
        Err(error) => {
            inner.lock().remove(&key);
            tell.send_replace(Outcome::Failed(error));
            return;
        }
    };
    let (ended, tunnel) = (client.end(), client.tunnel());
    inner.lock().insert(key.clone(), Entry::Ready(client));
    tell.send_replace(Outcome::Made);
    drop(inner);
    ended.cancelled().await;
    if let Some(inner) = pool.upgrade() {
        inner.forget(&key, &tunnel);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a tunnel out, if it is still the one in use.
    fn forget(&self, key: &Key, tunnel: &Tunnel) {
        let mut entries = self.lock();
        if matches!(entries.get(key), Some(Entry::Ready(current)) if current.tunnel() == *tunnel) {
            entries.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
