//! Tables and properties of the store.

mod lookups;
mod model;

use super::*;
use crate::addr::{NamespacedHostname, NetworkAddress};
use crate::proto::authorization::Scope;
use crate::proto::workload as proto;

fn workload(uid: &str) -> proto::Workload {
    proto::Workload {
        uid: uid.to_owned(),
        namespace: "shop".to_owned(),
        ..proto::Workload::default()
    }
}

fn at(uid: &str, addresses: &[&str]) -> proto::Workload {
    proto::Workload {
        addresses: addresses.iter().map(|text| bytes(text)).collect(),
        ..workload(uid)
    }
}

fn service(namespace: &str, hostname: &str) -> proto::Service {
    proto::Service {
        namespace: namespace.to_owned(),
        hostname: hostname.to_owned(),
        ports: vec![proto::Port {
            service_port: 80,
            target_port: 8080,
            app_protocol: 0,
        }],
        ..proto::Service::default()
    }
}

/// `network/ip` or `network/ip/length`.
fn vip(text: &str) -> proto::NetworkAddress {
    let parts: Vec<&str> = text.split('/').collect();
    proto::NetworkAddress {
        network: parts[0].to_owned(),
        address: bytes(parts[1]),
        length: parts.get(2).map(|length| length.parse().unwrap()),
    }
}

fn bytes(text: &str) -> Vec<u8> {
    crate::addr::ip_to_bytes(text.parse().unwrap())
}

fn policy(namespace: &str, name: &str, scope: Scope) -> Authorization {
    Authorization {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        scope: scope.into(),
        ..Authorization::default()
    }
}

fn filled(resources: impl IntoIterator<Item = Address>) -> Arc<Snapshot> {
    let store = Store::default();
    let rejected = store.apply(resources.into_iter().map(Update::address).collect());
    assert_eq!(rejected, []);
    store.snapshot()
}

fn network(text: &str) -> NetworkAddress {
    text.parse().unwrap()
}

fn key(text: &str) -> NamespacedHostname {
    text.parse().unwrap()
}

#[test]
fn a_bad_resource_is_named_and_the_others_are_applied() {
    let store = Store::default();
    store.apply(vec![Update::address(at("kept", &["10.0.0.1"]))]);
    let bad = proto::Workload {
        addresses: vec![vec![1, 2, 3]],
        ..workload("kept")
    };
    let legacy = proto::Workload {
        tunnel_protocol: 2,
        ..workload("legacy")
    };
    let rejected = store.apply(vec![
        Update::address(bad),
        Update::address(workload("good")),
        Update::address(legacy),
        Update::address(Address::default()),
        Update::authorization(Authorization {
            action: 7,
            ..policy("shop", "p", Scope::Global)
        }),
    ]);
    let named: Vec<_> = rejected
        .iter()
        .map(|r| (r.index, r.name.as_str()))
        .collect();
    assert_eq!(named, [(0, "kept"), (2, "legacy"), (3, ""), (4, "shop/p")]);
    assert_eq!(rejected[1].reason, workload::Error::LegacyTunnel);
    let snapshot = store.snapshot();
    assert!(snapshot.workload("good").is_some() && snapshot.workload("legacy").is_none());
    assert!(
        snapshot
            .workload_by_address(&network("/10.0.0.1"))
            .is_some(),
        "the known one stays as it was"
    );
}

#[test]
fn a_snapshot_never_changes_under_its_holder() {
    let store = Store::default();
    store.apply(vec![Update::address(at("w", &["10.0.0.1"]))]);
    let before = store.snapshot();
    store.apply(vec![Update::RemoveAddress("w".to_owned())]);
    assert!(before.workload("w").is_some() && store.snapshot().workload("w").is_none());
}

#[test]
fn only_changes_are_reported_and_only_policy_changes_to_those_who_watch_policies() {
    let store = Store::default();
    let (mut changed, mut policies) = (store.changed(), store.policies_changed());
    let mut seen = |updates: Vec<Update>| {
        store.apply(updates);
        let seen = (
            changed.has_changed().unwrap(),
            policies.has_changed().unwrap(),
        );
        changed.mark_unchanged();
        policies.mark_unchanged();
        seen
    };
    let selected = proto::Workload {
        authorization_policies: vec!["shop/p".to_owned()],
        ..workload("w")
    };
    assert_eq!(seen(vec![]), (false, false));
    assert_eq!(seen(vec![Update::address(workload("w"))]), (true, false));
    assert_eq!(
        seen(vec![Update::address(workload("w"))]),
        (false, false),
        "the same again"
    );
    assert_eq!(
        seen(vec![Update::address(selected.clone())]),
        (true, true),
        "selected by a policy"
    );
    assert_eq!(
        seen(vec![Update::address(service("shop", "web"))]),
        (true, false)
    );
    let deny = policy("shop", "p", Scope::WorkloadSelector);
    assert_eq!(
        seen(vec![Update::authorization(deny.clone())]),
        (true, true)
    );
    assert_eq!(
        seen(vec![Update::authorization(deny)]),
        (false, false),
        "the same again"
    );
    assert_eq!(
        seen(vec![Update::RemoveAuthorization("shop/p".to_owned())]),
        (true, true)
    );
    assert_eq!(
        seen(vec![Update::RemoveAuthorization("shop/p".to_owned())]),
        (false, false)
    );
    assert_eq!(
        seen(vec![Update::RemoveAddress("nobody".to_owned())]),
        (false, false)
    );
    assert_eq!(
        seen(vec![Update::RemoveAddress("w".to_owned())]),
        (true, false)
    );
}

#[test]
fn endpoints_may_come_before_their_service_and_stay_after_it() {
    let member = proto::Workload {
        services: [("shop/web".to_owned(), proto::PortList::default())].into(),
        ..at("w", &["10.0.0.1"])
    };
    let store = Store::default();
    store.apply(vec![Update::address(member)]);
    let staged = |store: &Store| store.snapshot().staged_endpoints().count();
    assert_eq!(staged(&store), 1);
    store.apply(vec![Update::address(service("shop", "web"))]);
    assert_eq!(staged(&store), 0);
    let choose = |store: &Store| {
        let snapshot = store.snapshot();
        let service = snapshot.service(&key("shop/web")).unwrap();
        let client = snapshot.workload("w").unwrap();
        snapshot.choose(
            &service,
            &crate::balance::Place::of(&client),
            80,
            crate::balance::Family::V4,
            0,
        )
    };
    let crate::balance::Choice::Endpoint(endpoint) = choose(&store) else {
        panic!("an endpoint is expected")
    };
    assert_eq!(
        (endpoint.address, endpoint.port),
        (Some("10.0.0.1".parse().unwrap()), 8080)
    );
    // A changed service forgets the ranking made before.
    let changed = proto::Service {
        ports: vec![proto::Port {
            service_port: 80,
            target_port: 9090,
            app_protocol: 0,
        }],
        ..service("shop", "web")
    };
    store.apply(vec![Update::address(changed)]);
    let crate::balance::Choice::Endpoint(endpoint) = choose(&store) else {
        panic!("an endpoint is expected")
    };
    assert_eq!(endpoint.port, 9090);
    store.apply(vec![Update::RemoveAddress("shop/web".to_owned())]);
    assert_eq!(staged(&store), 1);
    store.apply(vec![Update::RemoveAddress("w".to_owned())]);
    assert_eq!(staged(&store), 0);
}

#[test]
fn a_passthrough_service_asks_for_no_endpoint_and_an_empty_one_has_none() {
    use crate::balance::{Choice, Family, Place};
    let open = proto::Service {
        load_balancing: Some(proto::LoadBalancing {
            mode: 3,
            ..proto::LoadBalancing::default()
        }),
        ..service("shop", "open")
    };
    let snapshot = filled([
        open.into(),
        service("shop", "empty").into(),
        workload("client").into(),
    ]);
    let place = Place::of(&snapshot.workload("client").unwrap());
    let choose = |name: &str| {
        snapshot.choose(
            &snapshot.service(&key(name)).unwrap(),
            &place,
            80,
            Family::V4,
            0,
        )
    };
    assert_eq!(choose("shop/open"), Choice::Passthrough);
    assert_eq!(choose("shop/empty"), Choice::Nothing);
}

#[test]
fn policies_of_the_mesh_the_namespace_and_the_workload_apply() {
    let store = Store::default();
    let selecting = |keys: &[&str]| proto::Workload {
        authorization_policies: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..workload("w")
    };
    store.apply(vec![
        Update::authorization(policy("", "mesh", Scope::Global)),
        Update::authorization(policy("istio-system", "odd", Scope::Global)),
        Update::authorization(policy("shop", "ns", Scope::Namespace)),
        Update::authorization(policy("bank", "ns", Scope::Namespace)),
        Update::authorization(policy("shop", "one", Scope::WorkloadSelector)),
        Update::authorization(policy("shop", "two", Scope::WorkloadSelector)),
        Update::address(selecting(&["shop/one", "shop/unknown"])),
    ]);
    let applicable = |store: &Store| {
        let snapshot = store.snapshot();
        let sets = snapshot.policies_for(&snapshot.workload("w").unwrap());
        let mut keys: Vec<String> = sets
            .iter()
            .flat_map(|set| set.policies())
            .map(|policy| policy.key().to_string())
            .collect();
        keys.sort();
        keys
    };
    assert_eq!(
        applicable(&store),
        ["/mesh", "istio-system/odd", "shop/ns", "shop/one"]
    );
    store.apply(vec![
        Update::address(selecting(&["shop/two"])),
        Update::authorization(policy("shop", "ns", Scope::WorkloadSelector)),
        Update::RemoveAuthorization("/mesh".to_owned()),
    ]);
    assert_eq!(applicable(&store), ["istio-system/odd", "shop/two"]);
}

#[test]
fn workloads_are_listed_by_node_and_by_host_name() {
    let on = |uid: &str, node: &str| proto::Workload {
        node: node.to_owned(),
        ..workload(uid)
    };
    let named = proto::Workload {
        hostname: "db.example.com".to_owned(),
        ..workload("db")
    };
    let store = Store::default();
    let updates = [on("a", "n1"), on("b", "n1"), on("c", "n2"), named].map(Update::address);
    store.apply(updates.into());
    let nodes = |store: &Store, node: &str| store.snapshot().workloads_on(node).count();
    assert_eq!(
        (nodes(&store, "n1"), nodes(&store, "n2"), nodes(&store, "")),
        (2, 1, 0)
    );
    assert_eq!(
        store
            .snapshot()
            .workload_by_hostname("db.example.com")
            .unwrap()
            .uid,
        "db".into()
    );
    store.apply(vec![
        Update::address(on("a", "n2")),
        Update::RemoveAddress("db".to_owned()),
    ]);
    assert_eq!((nodes(&store, "n1"), nodes(&store, "n2")), (1, 2));
    assert!(
        store
            .snapshot()
            .workload_by_hostname("db.example.com")
            .is_none()
    );
}

#[test]
fn writers_on_several_threads_lose_nothing() {
    let store = Store::default();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..50 {
                    store.apply(vec![Update::address(workload(&format!(
                        "{writer}-{number}"
                    )))]);
                }
            });
        }
    });
    assert_eq!(store.snapshot().workloads().count(), 200);
}
