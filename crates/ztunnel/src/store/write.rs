//! Changes of a snapshot that is not published yet. Every index is kept in step with the entry it points to.

use std::cmp::Reverse;
use std::hash::Hash;
use std::sync::{Arc, OnceLock};

use super::map::Map;
use super::snapshot::{Endpoints, Grouped, Named, Shared, Snapshot};
use crate::addr::{NamespacedHostname, NetworkAddress};
use crate::policy::{Policy, Scope};
use crate::service::{CidrVip, Service};
use crate::workload::{NetworkMode, Workload};

impl Snapshot {
    pub(super) fn put_workload(&mut self, workload: Workload) {
        let old = self.workloads.get(&workload.uid).cloned();
        // A reconnect repeats everything: what did not change costs a comparison only.
        if old.as_deref() == Some(&workload) {
            return;
        }
        let is_selected_anew = match old.as_deref() {
            Some(old) => old.authorization_policies != workload.authorization_policies,
            None => !workload.authorization_policies.is_empty(),
        };
        self.policy_version += u64::from(is_selected_anew);
        if let Some(old) = &old {
            self.unlink_workload(old);
        }
        let workload = Arc::new(workload);
        for address in found_at(&workload) {
            link(&mut self.by_address, address, &workload, rank);
        }
        if !workload.hostname.is_empty() {
            link(
                &mut self.by_workload_host,
                Arc::clone(&workload.hostname),
                &workload,
                rank,
            );
        }
        if !workload.node.is_empty() {
            let mut on_node = self.by_node.remove(&workload.node).unwrap_or_default();
            on_node.insert(Arc::clone(&workload.uid), Arc::clone(&workload));
            self.by_node.insert(Arc::clone(&workload.node), on_node);
        }
        for key in workload.services.keys() {
            self.change_members(key, |members| {
                members.insert(Arc::clone(&workload.uid), Arc::clone(&workload));
            });
        }
        self.workloads.insert(Arc::clone(&workload.uid), workload);
        self.version += 1;
    }

    fn unlink_workload(&mut self, old: &Arc<Workload>) {
        for address in found_at(old) {
            unlink(&mut self.by_address, &address, old);
        }
        if !old.hostname.is_empty() {
            unlink(&mut self.by_workload_host, &old.hostname, old);
        }
        if let Some(mut on_node) = self.by_node.remove(&old.node) {
            on_node.remove(&old.uid);
            if !on_node.is_empty() {
                self.by_node.insert(Arc::clone(&old.node), on_node);
            }
        }
        for key in old.services.keys() {
            self.change_members(key, |members| {
                members.remove(&old.uid);
            });
        }
    }

    /// Changes the members of a service; what was computed from them before is forgotten.
    fn change_members(
        &mut self,
        key: &NamespacedHostname,
        change: impl FnOnce(&mut Map<Arc<str>, Arc<Workload>>),
    ) {
        let mut members = self.endpoints.remove(key).map(taken).unwrap_or_default();
        change(&mut members);
        if !members.is_empty() {
            self.endpoints.insert(
                key.clone(),
                Arc::new(Endpoints {
                    members,
                    ..Endpoints::default()
                }),
            );
        }
    }

    pub(super) fn put_service(&mut self, service: Service) {
        let key = service.key();
        let old = self.services.get(&key).cloned();
        if old.as_deref() == Some(&service) {
            return;
        }
        if let Some(old) = &old {
            self.unlink_service(old);
        }
        let service = Arc::new(service);
        link(
            &mut self.by_host,
            Arc::clone(&service.hostname),
            &service,
            Service::key,
        );
        for vip in &service.vips {
            link(&mut self.by_vip, vip.clone(), &service, Service::key);
        }
        for block in &service.cidr_vips {
            if link(&mut self.by_block, block.clone(), &service, Service::key) {
                self.count_block(block, true);
            }
        }
        // The rankings depend on the service as much as on its members.
        self.change_members(&key, |_| {});
        self.services.insert(key, service);
        self.version += 1;
    }

    fn unlink_service(&mut self, old: &Arc<Service>) {
        unlink(&mut self.by_host, &old.hostname, old);
        for vip in &old.vips {
            unlink(&mut self.by_vip, vip, old);
        }
        for block in &old.cidr_vips {
            if unlink(&mut self.by_block, block, old) {
                self.count_block(block, false);
            }
        }
    }

    /// Keeps the list of prefix lengths in step with the blocks.
    fn count_block(&mut self, vip: &CidrVip, is_new: bool) {
        let kind = (vip.block.address().is_ipv6(), vip.block.length());
        let mut lengths = self.block_lengths.remove(&vip.network).unwrap_or_default();
        let count = lengths.entry(kind).or_default();
        *count = if is_new {
            *count + 1
        } else {
            count.saturating_sub(1)
        };
        lengths.retain(|_, count| *count > 0);
        if !lengths.is_empty() {
            self.block_lengths.insert(Arc::clone(&vip.network), lengths);
        }
    }

    pub(super) fn remove_address(&mut self, name: &str) {
        if let Some(old) = self.workloads.remove(name) {
            self.unlink_workload(&old);
            self.version += 1;
        } else if let Some((namespace, hostname)) = name.split_once('/')
            && let Some(old) = self
                .services
                .remove(&NamespacedHostname::new(namespace, hostname))
        {
            self.unlink_service(&old);
            self.version += 1;
        }
    }

    pub(super) fn put_policy(&mut self, policy: Policy) {
        let key = policy.key();
        let old = self
            .policies
            .get(&key)
            .map(|named| Arc::clone(&named.policy));
        if old.as_deref() == Some(&policy) {
            return;
        }
        if let Some(old) = &old {
            self.unlink_policy(&key, old);
        }
        let policy = Arc::new(policy);
        if let Some(group) = group_of(&policy) {
            self.change_group(&group, |group| {
                group.policies.insert(Arc::clone(&key), Arc::clone(&policy));
            });
        }
        self.policies.insert(
            key,
            Arc::new(Named {
                policy,
                set: OnceLock::new(),
            }),
        );
        self.policy_version += 1;
        self.version += 1;
    }

    pub(super) fn remove_policy(&mut self, name: &str) {
        if let Some(old) = self.policies.remove(name) {
            self.unlink_policy(name, &old.policy);
            self.policy_version += 1;
            self.version += 1;
        }
    }

    fn unlink_policy(&mut self, key: &str, old: &Policy) {
        if let Some(group) = group_of(old) {
            self.change_group(&group, |group| {
                group.policies.remove(key);
            });
        }
    }

    fn change_group(&mut self, namespace: &Arc<str>, change: impl FnOnce(&mut Grouped)) {
        let old = self.by_namespace.remove(namespace);
        let policies = old.map(|group| match Arc::try_unwrap(group) {
            Ok(own) => own.policies,
            Err(shared) => shared.policies.clone(),
        });
        let mut group = Grouped {
            policies: policies.unwrap_or_default(),
            set: OnceLock::new(),
        };
        change(&mut group);
        if !group.policies.is_empty() {
            self.by_namespace
                .insert(Arc::clone(namespace), Arc::new(group));
        }
    }
}

/// The members without what was computed from them; no copy when nobody else holds them.
fn taken(endpoints: Arc<Endpoints>) -> Map<Arc<str>, Arc<Workload>> {
    match Arc::try_unwrap(endpoints) {
        Ok(own) => own.members,
        Err(shared) => shared.members.clone(),
    }
}

/// Where a policy applies without being named: the empty name is the whole mesh.
fn group_of(policy: &Policy) -> Option<Arc<str>> {
    match policy.scope {
        Scope::Global => Some("".into()),
        Scope::Namespace => Some(Arc::clone(&policy.namespace)),
        Scope::WorkloadSelector => None,
    }
}

/// The addresses a workload is found by.
fn found_at(workload: &Workload) -> Vec<NetworkAddress> {
    match workload.network_mode {
        NetworkMode::HostNetwork => Vec::new(),
        NetworkMode::Standard => {
            let at = |address| NetworkAddress::new(Arc::clone(&workload.network), address);
            workload.addresses.iter().copied().map(at).collect()
        }
    }
}

/// Lower is better.
fn rank(workload: &Workload) -> (Reverse<bool>, Reverse<bool>, Arc<str>) {
    (
        Reverse(workload.is_pod()),
        Reverse(workload.speaks_hbone()),
        Arc::clone(&workload.uid),
    )
}

/// Adds an entry to a list under a key, in order. Says whether the key is new.
fn link<K: Hash + Eq + Clone, T, O: Ord>(
    index: &mut Map<K, Shared<T>>,
    key: K,
    entry: &Arc<T>,
    order: impl Fn(&T) -> O,
) -> bool {
    let old = index.get(&key);
    let is_new = old.is_none();
    let mut all: Vec<Arc<T>> = old.map(|all| all.to_vec()).unwrap_or_default();
    // The same address twice in one resource counts once.
    if !all.iter().any(|other| Arc::ptr_eq(other, entry)) {
        all.push(Arc::clone(entry));
        all.sort_by_key(|entry| order(entry));
    }
    index.insert(key, all.into());
    is_new
}

/// Takes an entry out of a list under a key. Says whether the key is gone with it.
fn unlink<K: Hash + Eq + Clone, T>(index: &mut Map<K, Shared<T>>, key: &K, entry: &Arc<T>) -> bool {
    let Some(all) = index.get(key) else {
        return false;
    };
    let left: Vec<Arc<T>> = all
        .iter()
        .filter(|other| !Arc::ptr_eq(other, entry))
        .cloned()
        .collect();
    let is_gone = left.is_empty();
    if is_gone {
        index.remove(key);
    } else {
        index.insert(key.clone(), left.into());
    }
    is_gone
}
