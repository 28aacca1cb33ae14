//! Asks the policies of a pod about a connection, once at its start and again whenever policies change.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::Error;
use super::pod::Pod;
use crate::rbac::{self, Connection, Reason};

/// A connection under watch.
pub(super) struct Watched {
    pod: Arc<Pod>,
    /// An address of the pod, by which its workload is found.
    at: IpAddr,
    connection: Connection,
    changes: watch::Receiver<u64>,
}

impl Watched {
    /// The connection, if it is allowed.
    ///
    /// # Errors
    /// [`Error::Denied`] names the policy.
    pub(super) fn allowed(
        pod: &Arc<Pod>,
        at: IpAddr,
        connection: Connection,
    ) -> Result<Self, Error> {
        // Listening for changes starts before the decision, so that none is missed.
        let changes = pod.shared.store.policies_changed();
        let watched = Self {
            pod: Arc::clone(pod),
            at,
            connection,
            changes,
        };
        match watched.denial() {
            Some(reason) => Err(Error::Denied(reason)),
            None => Ok(watched),
        }
    }

    /// Resolves when a changed policy denies the connection. Cancel safe.
    pub(super) async fn denied(mut self) -> Error {
        loop {
            if self.changes.changed().await.is_err() {
                // The process ends; the drain says so in better words.
                return std::future::pending().await;
            }
            if let Some(reason) = self.denial() {
                return Error::DeniedNow(reason);
            }
        }
    }

    fn denial(&self) -> Option<Arc<str>> {
        let mesh = self.pod.shared.store.snapshot();
        // A pod that the control plane no longer knows keeps its connections until the node agent says it is gone.
        let workload = self.pod.known(&mesh, self.at)?;
        let sets = mesh.policies_for(&workload);
        let decision = rbac::authorize(sets.iter().map(|set| &**set), &self.connection);
        for dry_run in &decision.dry_run {
            tracing::info!(policy = %dry_run.policy, action = ?dry_run.action, connection = ?self.connection, "dry run policy matched");
        }
        if self.pod.shared.settings.logs_authorization {
            tracing::info!(allowed = decision.is_allowed, reason = ?decision.reason, connection = ?self.connection, "authorization");
        }
        (!decision.is_allowed).then(|| match decision.reason {
            Reason::Policy(policy) => policy,
            Reason::NoAllowMatched | Reason::NoPolicy => "no ALLOW policy matched".into(),
        })
    }
}
