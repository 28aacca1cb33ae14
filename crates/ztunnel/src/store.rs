//! Workloads, services and policies in an immutable snapshot.
//!
//! Layer 4. `apply` makes the next snapshot from the last one and swaps it in; readers never wait for a writer. No
//! I/O, no runtime, no clock.

mod map;
mod snapshot;
mod strings;
mod write;

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::watch;

use crate::policy::Policy;
use crate::proto::authorization::Authorization;
use crate::proto::workload::{Address, address::Type};
use crate::service::Service;
use crate::workload::{self, Workload};
pub use map::Map;
pub use snapshot::{Endpoints, Found, Snapshot};
use strings::Strings;

/// One change that istiod sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// A new or changed workload or service.
    Address(Box<Address>),
    /// A new or changed policy.
    Authorization(Box<Authorization>),
    /// A workload (uid) or service (`namespace/hostname`) that is gone.
    RemoveAddress(String),
    /// A policy (`namespace/name`) that is gone.
    RemoveAuthorization(String),
}

impl Update {
    /// A workload or service.
    pub fn address(resource: impl Into<Address>) -> Self {
        Self::Address(Box::new(resource.into()))
    }

    /// A policy.
    pub fn authorization(resource: Authorization) -> Self {
        Self::Authorization(Box::new(resource))
    }

    /// The key of the resource; what an error message calls it.
    fn name(&self) -> String {
        match self {
            Self::Address(address) => match &address.r#type {
                Some(Type::Workload(workload)) => workload.uid.clone(),
                Some(Type::Service(service)) => {
                    format!("{}/{}", service.namespace, service.hostname)
                }
                None => String::new(),
            },
            Self::Authorization(policy) => format!("{}/{}", policy.namespace, policy.name),
            Self::RemoveAddress(name) | Self::RemoveAuthorization(name) => name.clone(),
        }
    }
}

/// A change that was not applied; the others of its batch were.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("resource {name:?} is refused")]
pub struct Rejected {
    /// Where in the batch it was.
    pub index: usize,
    /// Key of the resource.
    pub name: String,
    /// The reason.
    #[source]
    pub reason: workload::Error,
}

/// The state of the mesh as this node knows it.
#[derive(Debug)]
pub struct Store {
    current: ArcSwap<Snapshot>,
    /// Held while a snapshot is made, so that no change is lost; with the texts that its entries share.
    writer: Mutex<Strings>,
    changed: watch::Sender<u64>,
    policies_changed: watch::Sender<u64>,
}

impl Default for Store {
    fn default() -> Self {
        Self::new("")
    }
}

impl Store {
    /// An empty store. `preferred_namespace` wins between services that share an address or a name and are equal
    /// otherwise; empty for none.
    pub fn new(preferred_namespace: impl Into<Arc<str>>) -> Self {
        Self {
            current: ArcSwap::from_pointee(Snapshot::new(preferred_namespace.into())),
            writer: Mutex::default(),
            changed: watch::Sender::new(0),
            policies_changed: watch::Sender::new(0),
        }
    }

    /// The state now. Hold it for one decision, not for the life of a connection.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Applies a batch as one step, in order, and says which changes were refused. A refused change of a resource
    /// that is already known leaves the known one as it is.
    pub fn apply(&self, updates: Vec<Update>) -> Vec<Rejected> {
        let mut strings = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.snapshot();
        let mut next = Snapshot::clone(&last);
        let mut rejected = Vec::new();
        for (index, update) in updates.into_iter().enumerate() {
            let name = update.name();
            if let Err(reason) = next.apply(update, &mut strings) {
                rejected.push(Rejected {
                    index,
                    name,
                    reason,
                });
            }
        }
        strings.sweep();
        if next.version() != last.version() {
            let (version, policies) = (next.version(), next.policy_version());
            self.current.store(Arc::new(next));
            self.changed.send_replace(version);
            if policies != last.policy_version() {
                self.policies_changed.send_replace(policies);
            }
        }
        rejected
    }

    /// Reports a new version after every batch that changed something.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Reports when a decision about a live connection may have changed: policies, or which of them select a workload.
    pub fn policies_changed(&self) -> watch::Receiver<u64> {
        self.policies_changed.subscribe()
    }
}

impl Snapshot {
    fn apply(&mut self, update: Update, strings: &mut Strings) -> Result<(), workload::Error> {
        match update {
            Update::Address(address) => match address.r#type.ok_or(workload::Error::Kind)? {
                Type::Workload(workload) => {
                    let mut workload = Workload::try_from(workload)?;
                    strings.share(&mut workload);
                    self.put_workload(workload);
                }
                Type::Service(service) => self.put_service(Service::try_from(service)?),
            },
            Update::Authorization(policy) => self.put_policy(Policy::try_from(*policy)?),
            Update::RemoveAddress(name) => self.remove_address(&name),
            Update::RemoveAuthorization(name) => self.remove_policy(&name),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
