//! Which endpoint of a service a connection goes to.
//!
//! Layer 4. A [`Ranking`] is computed once per (service, place of the client, port, family) and then answers in
//! constant time; randomness is passed in.

mod alias;

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use crate::addr::NamespacedHostname;
use crate::service::{Mode, Scope, Service};
use crate::workload::{Locality, Status, Workload};
use alias::Alias;

/// Most rankings kept per service; clients of one node rarely need more than one per port and family.
const MAX_RANKINGS: usize = 64;

/// Where a client is, as far as load balancing compares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Region, zone, subzone.
    pub locality: Locality,
    /// Node.
    pub node: Arc<str>,
    /// Cluster.
    pub cluster: Arc<str>,
    /// Network.
    pub network: Arc<str>,
}

impl Place {
    /// Where a workload is.
    pub fn of(workload: &Workload) -> Self {
        Self {
            locality: workload.locality.clone(),
            node: Arc::clone(&workload.node),
            cluster: Arc::clone(&workload.cluster_id),
            network: Arc::clone(&workload.network),
        }
    }

    fn shares(&self, scope: Scope, other: &Workload) -> bool {
        match scope {
            Scope::Region => self.locality.region == other.locality.region,
            Scope::Zone => self.locality.zone == other.locality.zone,
            Scope::Subzone => self.locality.subzone == other.locality.subzone,
            Scope::Node => self.node == other.node,
            Scope::Cluster => self.cluster == other.cluster_id,
            Scope::Network => self.network == other.network,
        }
    }

    /// How many leading scopes are shared; counting stops at the first that is not.
    fn shared(&self, preference: &[Scope], other: &Workload) -> usize {
        preference
            .iter()
            .take_while(|scope| self.shares(**scope, other))
            .count()
    }
}

/// Which family a client used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.to_canonical().is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}

/// One endpoint that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The workload.
    pub workload: Arc<Workload>,
    /// Its address; absent for one that is known by host name or only behind a gateway.
    pub address: Option<IpAddr>,
    /// The port it listens on for the service port that was asked.
    pub port: u16,
}

/// The outcome of a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// This endpoint.
    Endpoint(Endpoint),
    /// The service asks for the original address.
    Passthrough,
    /// No healthy endpoint.
    Nothing,
}

/// The endpoints that are equally good for clients of one place, weighted.
#[derive(Debug, Default)]
pub struct Ranking {
    endpoints: Vec<Endpoint>,
    alias: Alias,
}

impl Ranking {
    /// Ranks the members of a service.
    pub fn new<'a>(
        service: &Service,
        members: impl Iterator<Item = &'a Arc<Workload>>,
        place: &Place,
        service_port: u16,
        family: Family,
    ) -> Self {
        let key = service.key();
        let preference = &service.load_balancing.routing_preference[..];
        let (mut best, mut endpoints) = (0, Vec::new());
        for workload in members.filter(|workload| is_usable(service, workload)) {
            let Some(endpoint) = endpoint(service, &key, workload, service_port, family) else {
                continue;
            };
            let shared = place.shared(preference, workload);
            match service.load_balancing.mode {
                Mode::Strict if shared < preference.len() => {}
                Mode::Failover if shared < best => {}
                Mode::Failover if shared > best => {
                    best = shared;
                    endpoints = vec![endpoint];
                }
                _ => endpoints.push(endpoint),
            }
        }
        // The map they come from has no order: sorting makes the choice a function of the sample.
        endpoints.sort_unstable_by(|one, two| one.workload.uid.cmp(&two.workload.uid));
        let weights: Vec<u32> = endpoints
            .iter()
            .map(|endpoint| endpoint.workload.capacity)
            .collect();
        Self {
            alias: Alias::new(&weights),
            endpoints,
        }
    }

    /// The endpoint for a number drawn evenly from all 64-bit numbers.
    pub fn pick(&self, sample: u64) -> Option<&Endpoint> {
        self.endpoints.get(self.alias.index(sample)?)
    }

    /// All endpoints that can be picked.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }
}

/// A capacity of 0 takes an endpoint out, so that failover goes on to the next group.
fn is_usable(service: &Service, workload: &Workload) -> bool {
    workload.capacity > 0
        && (service.load_balancing.allow_unhealthy || workload.status == Status::Healthy)
}

fn endpoint(
    service: &Service,
    key: &NamespacedHostname,
    workload: &Arc<Workload>,
    service_port: u16,
    family: Family,
) -> Option<Endpoint> {
    let port = target_port(service, key, workload, service_port)?;
    let accepted = || {
        workload
            .addresses
            .iter()
            .copied()
            .filter(|address| service.ip_families.accepts(*address))
    };
    let address = accepted()
        .find(|address| Family::of(*address) == family)
        .or_else(|| accepted().next());
    let is_elsewhere = workload.addresses.is_empty()
        && (!workload.hostname.is_empty() || workload.network_gateway.is_some());
    (address.is_some() || is_elsewhere).then(|| Endpoint {
        workload: Arc::clone(workload),
        address,
        port,
    })
}

/// The port a member listens on for a service port: its own, then the service's, then its tunnel listener's.
/// `None` when the service does not have the port at all.
pub fn target_port(
    service: &Service,
    key: &NamespacedHostname,
    workload: &Workload,
    service_port: u16,
) -> Option<u16> {
    let own = workload
        .services
        .get(key)
        .and_then(|ports| ports.target(service_port));
    own.or_else(|| service.target_port(service_port))
        .or_else(|| {
            service.port(service_port)?;
            workload.application_tunnel.and_then(|tunnel| tunnel.port)
        })
}

/// Rankings already computed for one state of one service.
#[derive(Debug, Default)]
pub struct Rankings(RwLock<Vec<(Asked, Arc<Ranking>)>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    service_port: u16,
    family: Family,
    place: Place,
}

impl Rankings {
    /// The ranking for a client, computed at most once.
    pub fn get<'a>(
        &self,
        service: &Service,
        members: impl Iterator<Item = &'a Arc<Workload>>,
        place: &Place,
        service_port: u16,
        family: Family,
    ) -> Arc<Ranking> {
        let is_asked = |asked: &Asked| {
            asked.service_port == service_port && asked.family == family && asked.place == *place
        };
        let find = |all: &[(Asked, Arc<Ranking>)]| {
            all.iter()
                .find(|(asked, _)| is_asked(asked))
                .map(|(_, ranking)| Arc::clone(ranking))
        };
        if let Some(ranking) = find(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return ranking;
        }
        let ranking = Arc::new(Ranking::new(service, members, place, service_port, family));
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = find(&all) {
            return earlier;
        }
        if all.len() >= MAX_RANKINGS {
            all.clear();
        }
        all.push((
            Asked {
                service_port,
                family,
                place: place.clone(),
            },
            Arc::clone(&ranking),
        ));
        ranking
    }
}

#[cfg(test)]
mod tests;
