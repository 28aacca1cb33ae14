//! Certificates ahead of time: for every identity that a workload of this node needs.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Certificates;
use crate::identity::Identity;
use crate::store::{Snapshot, Store};

/// Identities of the workloads on a node whose connections this proxy tunnels.
pub fn node_identities(snapshot: &Snapshot, node: &str) -> BTreeSet<Identity> {
    snapshot
        .workloads_on(node)
        .filter(|workload| workload.speaks_hbone() && !workload.native_tunnel)
        .map(|workload| workload.identity.clone())
        .collect()
}

/// Keeps the certificates of a node's identities fetched, and forgets those whose last workload left. Ends when the
/// store is dropped.
pub async fn prefetch_node(store: Arc<Store>, certificates: Certificates, node: Arc<str>) {
    let mut changed = store.changed();
    let mut held = BTreeSet::new();
    loop {
        changed.mark_unchanged();
        let needed = node_identities(&store.snapshot(), &node);
        needed
            .difference(&held)
            .for_each(|identity| certificates.prefetch(identity));
        held.difference(&needed)
            .for_each(|identity| certificates.forget(identity));
        held = needed;
        if changed.changed().await.is_err() {
            return;
        }
    }
}
