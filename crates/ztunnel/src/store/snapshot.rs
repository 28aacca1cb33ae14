//! Lookups in one state of the mesh.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::map::Map;
use crate::addr::{Cidr, NamespacedHostname, NetworkAddress};
use crate::balance::{Choice, Family, Place, Rankings};
use crate::policy::Policy;
use crate::rbac::PolicySet;
use crate::service::{CidrVip, Mode, Service};
use crate::workload::{Destination, GatewayAddress, Status, Workload};

/// A short list that shares its entries; most have one.
pub(super) type Shared<T> = Arc<[Arc<T>]>;

/// One state of the mesh. Cloning shares everything.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(super) version: u64,
    pub(super) policy_version: u64,
    preferred_namespace: Arc<str>,
    pub(super) workloads: Map<Arc<str>, Arc<Workload>>,
    /// Best candidate first.
    pub(super) by_address: Map<NetworkAddress, Shared<Workload>>,
    pub(super) by_node: Map<Arc<str>, Map<Arc<str>, Arc<Workload>>>,
    pub(super) by_workload_host: Map<Arc<str>, Shared<Workload>>,
    pub(super) services: Map<NamespacedHostname, Arc<Service>>,
    /// In the order of their keys, as the two below.
    pub(super) by_host: Map<Arc<str>, Shared<Service>>,
    pub(super) by_vip: Map<NetworkAddress, Shared<Service>>,
    pub(super) by_block: Map<CidrVip, Shared<Service>>,
    /// Per network: how many blocks there are of each (is IPv6, prefix length).
    pub(super) block_lengths: Map<Arc<str>, BTreeMap<(bool, u8), usize>>,
    /// Also for services that are not known yet.
    pub(super) endpoints: Map<NamespacedHostname, Arc<Endpoints>>,
    pub(super) policies: Map<Arc<str>, Arc<Named>>,
    pub(super) by_namespace: Map<Arc<str>, Arc<Grouped>>,
}

/// The members of one service, known or not.
#[derive(Debug, Default)]
pub struct Endpoints {
    pub(super) members: Map<Arc<str>, Arc<Workload>>,
    pub(super) rankings: Rankings,
}

impl Endpoints {
    /// The workloads, in no order, whatever their health.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.members.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A member by uid.
    pub fn get(&self, uid: &str) -> Option<&Arc<Workload>> {
        self.members.get(uid)
    }
}

/// One policy and, once somebody asked, its index.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) policy: Arc<Policy>,
    pub(super) set: OnceLock<Arc<PolicySet>>,
}

/// The policies of a namespace (of the mesh under the empty name) and, once somebody asked, their index.
#[derive(Debug, Default)]
pub(super) struct Grouped {
    pub(super) policies: BTreeMap<Arc<str>, Arc<Policy>>,
    pub(super) set: OnceLock<Arc<PolicySet>>,
}

/// What an address or host name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A service.
    Service(Arc<Service>),
    /// A workload.
    Workload(Arc<Workload>),
}

impl Snapshot {
    pub(super) fn new(preferred_namespace: Arc<str>) -> Self {
        Self {
            version: 0,
            policy_version: 0,
            preferred_namespace,
            workloads: Map::default(),
            by_address: Map::default(),
            by_node: Map::default(),
            by_workload_host: Map::default(),
            services: Map::default(),
            by_host: Map::default(),
            by_vip: Map::default(),
            by_block: Map::default(),
            block_lengths: Map::default(),
            endpoints: Map::default(),
            policies: Map::default(),
            by_namespace: Map::default(),
        }
    }

    /// Grows with every change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Grows with every change of a policy, or of the list of policies that select a workload.
    pub fn policy_version(&self) -> u64 {
        self.policy_version
    }

    /// A workload by its uid.
    pub fn workload(&self, uid: &str) -> Option<Arc<Workload>> {
        self.workloads.get(uid).cloned()
    }

    /// The workload at an address. Between several a pod wins, then one that speaks HBONE, then the lowest uid.
    /// Workloads in their node's network are not found this way.
    pub fn workload_by_address(&self, address: &NetworkAddress) -> Option<Arc<Workload>> {
        self.by_address.get(address)?.first().cloned()
    }

    /// Workloads known by this host name instead of an address.
    pub fn workload_by_hostname(&self, hostname: &str) -> Option<Arc<Workload>> {
        self.by_workload_host.get(hostname)?.first().cloned()
    }

    /// Workloads on a node, in no order.
    pub fn workloads_on(&self, node: &str) -> impl Iterator<Item = &Arc<Workload>> {
        self.by_node.get(node).into_iter().flat_map(Map::values)
    }

    /// A service by its key.
    pub fn service(&self, key: &NamespacedHostname) -> Option<Arc<Service>> {
        self.services.get(key).cloned()
    }

    /// Services with this host name in any namespace, as a client in `client_namespace` sees them, best first.
    pub fn services_by_hostname(
        &self,
        hostname: &str,
        client_namespace: &str,
    ) -> Vec<Arc<Service>> {
        let all = self.by_host.get(hostname).map_or(&[][..], |all| all);
        let mut visible: Vec<_> = all
            .iter()
            .filter(|s| s.is_visible_from(client_namespace))
            .cloned()
            .collect();
        visible.sort_by_key(|service| self.preference(service, client_namespace));
        visible
    }

    /// The service at a virtual address, as a client in `client_namespace` sees it: an exact address before blocks,
    /// longer blocks before shorter ones. Between several the client's namespace wins, then the canonical one, then
    /// the preferred namespace, then the lowest key.
    pub fn service_by_vip(
        &self,
        address: &NetworkAddress,
        client_namespace: &str,
    ) -> Option<Arc<Service>> {
        let best = |all: &Shared<Service>| {
            let visible = all
                .iter()
                .filter(|service| service.is_visible_from(client_namespace));
            visible
                .min_by_key(|service| self.preference(service, client_namespace))
                .cloned()
        };
        if let Some(found) = self.by_vip.get(address).and_then(best) {
            return Some(found);
        }
        let is_v6 = address.address.is_ipv6();
        let lengths = self.block_lengths.get(&address.network)?;
        lengths
            .range((is_v6, 0)..=(is_v6, 128))
            .rev()
            .find_map(|((_, length), _)| {
                let block = Cidr::around(address.address, *length);
                self.by_block
                    .get(&CidrVip {
                        network: Arc::clone(&address.network),
                        block,
                    })
                    .and_then(best)
            })
    }

    /// Lower is better; ties keep the order of keys.
    fn preference(&self, service: &Service, client_namespace: &str) -> u8 {
        if *service.namespace == *client_namespace {
            0
        } else if service.canonical {
            1
        } else if service.namespace == self.preferred_namespace
            && !self.preferred_namespace.is_empty()
        {
            2
        } else {
            3
        }
    }

    /// What an address stands for: a service before a workload.
    pub fn find_address(&self, address: &NetworkAddress, client_namespace: &str) -> Option<Found> {
        let service = self
            .service_by_vip(address, client_namespace)
            .map(Found::Service);
        service.or_else(|| self.workload_by_address(address).map(Found::Workload))
    }

    /// What a waypoint or gateway is: by host name a service before a workload, by address likewise.
    pub fn find_gateway(&self, gateway: &GatewayAddress, client_namespace: &str) -> Option<Found> {
        match &gateway.destination {
            Destination::Address(address) => self.find_address(address, client_namespace),
            Destination::Hostname(name) => self.service(name).map(Found::Service).or_else(|| {
                self.workload_by_hostname(&name.hostname)
                    .map(Found::Workload)
            }),
        }
    }

    /// The members of a service.
    pub fn endpoints(&self, key: &NamespacedHostname) -> Option<Arc<Endpoints>> {
        self.endpoints.get(key).cloned()
    }

    /// The members that may get traffic: healthy ones, or all if the service says so.
    pub fn usable_endpoints(&self, service: &Service) -> Vec<Arc<Workload>> {
        let Some(endpoints) = self.endpoints.get(&service.key()) else {
            return Vec::new();
        };
        let all = service.load_balancing.allow_unhealthy;
        endpoints
            .workloads()
            .filter(|w| all || w.status == Status::Healthy)
            .cloned()
            .collect()
    }

    /// Chooses an endpoint for a connection to `service_port` by a client at `place` that used `family`. `sample` is
    /// drawn evenly from all 64-bit numbers.
    pub fn choose(
        &self,
        service: &Service,
        place: &Place,
        service_port: u16,
        family: Family,
        sample: u64,
    ) -> Choice {
        if service.load_balancing.mode == Mode::Passthrough {
            return Choice::Passthrough;
        }
        let Some(endpoints) = self.endpoints.get(&service.key()) else {
            return Choice::Nothing;
        };
        let ranking =
            endpoints
                .rankings
                .get(service, endpoints.workloads(), place, service_port, family);
        ranking
            .pick(sample)
            .cloned()
            .map_or(Choice::Nothing, Choice::Endpoint)
    }

    /// The policies that apply to a workload, ready for [`crate::rbac::authorize`]: of the mesh, of its namespace,
    /// and those that select it.
    pub fn policies_for(&self, workload: &Workload) -> Vec<Arc<PolicySet>> {
        let group = |namespace: &str| self.by_namespace.get(namespace).map(|group| group.set());
        let named = workload
            .authorization_policies
            .iter()
            .filter_map(|key| self.policies.get(key));
        let own = (!workload.namespace.is_empty())
            .then(|| group(&workload.namespace))
            .flatten();
        group("")
            .into_iter()
            .chain(own)
            .chain(named.map(|policy| policy.set()))
            .collect()
    }

    /// A policy by its key `namespace/name`.
    pub fn policy(&self, key: &str) -> Option<Arc<Policy>> {
        self.policies
            .get(key)
            .map(|named| Arc::clone(&named.policy))
    }

    /// Every workload, in no order.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.values()
    }

    /// Every service, in no order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// Every policy, in no order.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.values().map(|named| &named.policy)
    }

    /// Members of services that are not known (yet), in no order.
    pub fn staged_endpoints(&self) -> impl Iterator<Item = (&NamespacedHostname, &Arc<Endpoints>)> {
        self.endpoints
            .iter()
            .filter(|(key, _)| self.services.get(*key).is_none())
    }

    /// Host names of all services, in no order; for names with a wildcard.
    pub fn hostnames(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_host.iter().map(|(hostname, _)| hostname)
    }
}

impl Named {
    fn set(&self) -> Arc<PolicySet> {
        Arc::clone(
            self.set
                .get_or_init(|| Arc::new(PolicySet::new(vec![Arc::clone(&self.policy)]))),
        )
    }
}

impl Grouped {
    fn set(&self) -> Arc<PolicySet> {
        let policies = || self.policies.values().cloned().collect();
        Arc::clone(
            self.set
                .get_or_init(|| Arc::new(PolicySet::new(policies()))),
        )
    }
}
