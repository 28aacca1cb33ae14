//! Any updates in any order give the same lookups as a model that searches lists.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::*;
use crate::policy;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Change {
    Workload {
        uid: u8,
        address: u8,
        kind: u8,
        services: Vec<u8>,
        policies: Vec<u8>,
    },
    Service {
        namespace: u8,
        host: u8,
        vip: Option<u8>,
        block: Option<u8>,
        flags: u8,
    },
    Policy {
        namespace: u8,
        name: u8,
        scope: u8,
        action: u8,
    },
    RemoveWorkload(u8),
    RemoveService(u8, u8),
    RemovePolicy(u8, u8),
}

const NAMESPACES: [&str; 3] = ["a", "b", "c"];

fn change() -> impl Strategy<Value = Change> {
    let small = 0..3_u8;
    let list = || prop::collection::vec(0..6_u8, 0..3);
    prop_oneof![
        4 => (0..6_u8, 0..4_u8, 0..8_u8, list(), list()).prop_map(|(uid, address, kind, services, policies)| {
            Change::Workload { uid, address, kind, services, policies }
        }),
        3 => (small.clone(), 0..2_u8, prop::option::of(0..3_u8), prop::option::of(0..3_u8), 0..4_u8).prop_map(
            |(namespace, host, vip, block, flags)| Change::Service { namespace, host, vip, block, flags }
        ),
        2 => (small.clone(), 0..2_u8, small.clone(), 0..2_u8).prop_map(|(namespace, name, scope, action)| {
            Change::Policy { namespace, name, scope, action }
        }),
        1 => (0..6_u8).prop_map(Change::RemoveWorkload),
        1 => (small.clone(), 0..2_u8).prop_map(|(namespace, host)| Change::RemoveService(namespace, host)),
        1 => (small, 0..2_u8).prop_map(|(namespace, name)| Change::RemovePolicy(namespace, name)),
    ]
}

fn uid(number: u8) -> String {
    if number.is_multiple_of(2) {
        format!("c//Pod/shop/{number}")
    } else {
        format!("entry-{number}")
    }
}

fn service_key(number: u8) -> String {
    format!("{}/h{}", NAMESPACES[usize::from(number % 3)], number / 3)
}

fn policy_key(number: u8) -> String {
    format!("{}/p{}", NAMESPACES[usize::from(number % 3)], number / 3)
}

fn block(number: u8) -> String {
    ["/10.96.0.0/16", "/10.96.0.0/24", "/10.96.0.0/30"][usize::from(number)].to_owned()
}

fn update(change: &Change) -> Update {
    match change {
        Change::Workload {
            uid: number,
            address,
            kind,
            services,
            policies,
        } => Update::address(proto::Workload {
            namespace: NAMESPACES[usize::from(number % 3)].to_owned(),
            tunnel_protocol: i32::from(kind & 1),
            network_mode: i32::from(kind >> 1 & 1),
            status: i32::from(kind >> 2 & 1),
            services: services
                .iter()
                .map(|number| (service_key(*number), proto::PortList::default()))
                .collect(),
            authorization_policies: policies.iter().map(|number| policy_key(*number)).collect(),
            node: format!("n{}", kind & 1),
            ..at(&uid(*number), &[&format!("10.0.0.{address}")])
        }),
        Change::Service {
            namespace,
            host,
            vip: single,
            block: number,
            flags,
        } => {
            let vips = single.map(|number| vip(&format!("/10.96.0.{number}")));
            Update::address(proto::Service {
                addresses: vips
                    .into_iter()
                    .chain(number.map(|number| vip(&block(number))))
                    .collect(),
                canonical: flags & 1 == 1,
                visibility: i32::from(flags >> 1),
                ..service(NAMESPACES[usize::from(*namespace)], &format!("h{host}"))
            })
        }
        Change::Policy {
            namespace,
            name,
            scope,
            action,
        } => Update::authorization(Authorization {
            scope: i32::from(*scope),
            action: i32::from(*action),
            ..policy(
                NAMESPACES[usize::from(*namespace)],
                &format!("p{name}"),
                Scope::Global,
            )
        }),
        Change::RemoveWorkload(number) => Update::RemoveAddress(uid(*number)),
        Change::RemoveService(namespace, host) => {
            Update::RemoveAddress(format!("{}/h{host}", NAMESPACES[usize::from(*namespace)]))
        }
        Change::RemovePolicy(namespace, name) => {
            Update::RemoveAuthorization(format!("{}/p{name}", NAMESPACES[usize::from(*namespace)]))
        }
    }
}

/// The last version of everything, searched from end to end.
#[derive(Default)]
struct Model {
    workloads: BTreeMap<String, Workload>,
    services: BTreeMap<String, Service>,
    policies: BTreeMap<String, Policy>,
}

impl Model {
    fn apply(&mut self, update: Update) {
        match update {
            Update::Address(address) => match address.r#type.unwrap() {
                Type::Workload(w) => {
                    drop(self.workloads.insert(w.uid.clone(), w.try_into().unwrap()));
                }
                Type::Service(s) => {
                    let service = Service::try_from(s).unwrap();
                    self.services.insert(service.key().to_string(), service);
                }
            },
            Update::Authorization(p) => {
                let policy = Policy::try_from(*p).unwrap();
                self.policies.insert(policy.key().to_string(), policy);
            }
            Update::RemoveAddress(name) => {
                self.workloads.remove(&name);
                self.services.remove(&name);
            }
            Update::RemoveAuthorization(name) => drop(self.policies.remove(&name)),
        }
    }

    fn workload_at(&self, address: IpAddr) -> Option<&Workload> {
        self.workloads
            .values()
            .filter(|w| {
                w.network_mode == workload::NetworkMode::Standard && w.addresses.contains(&address)
            })
            .min_by_key(|w| (!w.is_pod(), !w.speaks_hbone(), w.uid.clone()))
    }

    fn service_at(&self, address: IpAddr, client: &str) -> Option<&Service> {
        let rank = |service: &Service| match () {
            () if *service.namespace == *client => 0,
            () if service.canonical => 1,
            () if &*service.namespace == "c" => 2,
            () => 3,
        };
        let visible = || {
            self.services
                .values()
                .filter(|service| service.is_visible_from(client))
        };
        let exact =
            visible().filter(|service| service.vips.iter().any(|vip| vip.address == address));
        exact
            .min_by_key(|service| (rank(service), service.key()))
            .or_else(|| {
                let inside = |service: &&Service| {
                    let blocks = service.cidr_vips.iter().map(|vip| vip.block);
                    blocks
                        .filter(|block| block.contains(address))
                        .map(|block| block.length())
                        .max()
                };
                visible()
                    .filter_map(|service| inside(&service).map(|length| (length, service)))
                    .min_by_key(|(length, service)| {
                        (std::cmp::Reverse(*length), rank(service), service.key())
                    })
                    .map(|(_, service)| service)
            })
    }

    fn members(&self, key: &str) -> Vec<String> {
        let key = super::key(key);
        self.workloads
            .values()
            .filter(|w| w.services.contains_key(&key))
            .map(|w| w.uid.to_string())
            .collect()
    }

    fn applicable(&self, workload: &Workload) -> Vec<String> {
        let applies = |key: &String, policy: &Policy| match policy.scope {
            policy::Scope::Global => true,
            policy::Scope::Namespace if policy.namespace == workload.namespace => true,
            _ => workload
                .authorization_policies
                .iter()
                .any(|named| **named == **key),
        };
        self.policies
            .iter()
            .filter(|(key, policy)| applies(key, policy))
            .map(|(key, _)| key.clone())
            .collect()
    }
}

fn compare(snapshot: &Snapshot, model: &Model) {
    for last in 0..4_u8 {
        let address = IpAddr::from([10, 0, 0, last]);
        let found = snapshot.workload_by_address(&NetworkAddress::new("", address));
        assert_eq!(
            found.as_deref(),
            model.workload_at(address),
            "workload at {address}"
        );
    }
    for client in NAMESPACES {
        for last in [[0, 0], [0, 1], [0, 2], [0, 5], [0, 200], [1, 1]] {
            let address = IpAddr::from([10, 96, last[0], last[1]]);
            let found = snapshot.service_by_vip(&NetworkAddress::new("", address), client);
            assert_eq!(
                found.as_deref(),
                model.service_at(address, client),
                "service at {address} from {client}"
            );
        }
    }
    for number in 0..6 {
        let key = service_key(number);
        let endpoints = snapshot.endpoints(&super::key(&key));
        let mut found: Vec<String> = endpoints
            .iter()
            .flat_map(|endpoints| endpoints.workloads())
            .map(|workload| workload.uid.to_string())
            .collect();
        found.sort();
        assert_eq!(found, model.members(&key), "members of {key}");
        assert_eq!(
            snapshot.service(&super::key(&key)).as_deref(),
            model.services.get(&key),
            "{key}"
        );
        let host = key.split_once('/').unwrap().1;
        let named = model
            .services
            .values()
            .filter(|service| *service.hostname == *host);
        let visible = named.filter(|service| service.is_visible_from("a")).count();
        assert_eq!(snapshot.services_by_hostname(host, "a").len(), visible);
    }
    for workload in model.workloads.values() {
        assert_eq!(snapshot.workload(&workload.uid).as_deref(), Some(workload));
        let sets = snapshot.policies_for(workload);
        let mut found: Vec<String> = sets
            .iter()
            .flat_map(|set| set.policies())
            .map(|policy| policy.key().to_string())
            .collect();
        found.sort();
        found.dedup();
        assert_eq!(
            found,
            model.applicable(workload),
            "policies of {}",
            workload.uid
        );
    }
    for node in ["n0", "n1"] {
        let expected = model
            .workloads
            .values()
            .filter(|workload| &*workload.node == node)
            .count();
        assert_eq!(snapshot.workloads_on(node).count(), expected);
    }
    assert_eq!(snapshot.workloads().count(), model.workloads.len());
    assert_eq!(snapshot.services().count(), model.services.len());
    assert_eq!(snapshot.policies().count(), model.policies.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_updates_in_any_batches_give_what_the_model_gives(
        changes in prop::collection::vec(change(), 0..40), batch in 1..8_usize,
    ) {
        let (store, mut model) = (Store::new("c"), Model::default());
        for batch in changes.chunks(batch) {
            prop_assert_eq!(store.apply(batch.iter().map(update).collect()), vec![]);
            batch.iter().map(update).for_each(|update| model.apply(update));
            compare(&store.snapshot(), &model);
        }
        // Taking everything away leaves nothing behind in any index.
        let (workloads, services) = (model.workloads.into_keys(), model.services.into_keys());
        let addresses = workloads.chain(services).map(Update::RemoveAddress);
        let policies = model.policies.into_keys().map(Update::RemoveAuthorization);
        store.apply(addresses.chain(policies).collect());
        let empty = store.snapshot();
        let left = [
            empty.workloads.len(), empty.by_address.len(), empty.by_node.len(), empty.services.len(),
            empty.by_host.len(), empty.by_vip.len(), empty.by_block.len(), empty.block_lengths.len(),
            empty.endpoints.len(), empty.policies.len(), empty.by_namespace.len(),
        ];
        prop_assert_eq!(left, [0; 11]);
    }
}
