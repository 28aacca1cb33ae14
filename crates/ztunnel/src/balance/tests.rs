//! Tables for load balancing.

use super::*;
use crate::proto::workload as proto;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn place() -> Place {
    Place::of(&member("client", "north/a/1/n1/c1/"))
}

/// A member of `web`; `at` is region/zone/subzone/node/cluster/network.
fn source(uid: &str, at: &str) -> proto::Workload {
    let parts: Vec<String> = at.split('/').map(str::to_owned).collect();
    let [region, zone, subzone, node, cluster_id, network] =
        <[String; 6]>::try_from(parts).unwrap();
    proto::Workload {
        uid: uid.to_owned(),
        namespace: "shop".to_owned(),
        addresses: vec![vec![10, 0, 0, 1]],
        locality: Some(proto::Locality {
            region,
            zone,
            subzone,
        }),
        node,
        cluster_id,
        network,
        services: [("shop/web".to_owned(), proto::PortList::default())].into(),
        ..proto::Workload::default()
    }
}

fn member(uid: &str, at: &str) -> Workload {
    source(uid, at).try_into().unwrap()
}

fn service(mode: proto::load_balancing::Mode, scopes: &[proto::load_balancing::Scope]) -> Service {
    proto::Service {
        namespace: "shop".to_owned(),
        hostname: "web".to_owned(),
        ports: vec![proto::Port {
            service_port: 80,
            target_port: 8080,
            app_protocol: 0,
        }],
        load_balancing: Some(proto::LoadBalancing {
            mode: mode.into(),
            routing_preference: scopes.iter().map(|scope| i32::from(*scope)).collect(),
            health_policy: 0,
        }),
        ..proto::Service::default()
    }
    .try_into()
    .unwrap()
}

fn ranked(service: &Service, members: &[Workload]) -> Vec<String> {
    let members: Vec<_> = members.iter().cloned().map(Arc::new).collect();
    let ranking = Ranking::new(service, members.iter(), &place(), 80, Family::V4);
    ranking
        .endpoints()
        .iter()
        .map(|endpoint| endpoint.workload.uid.to_string())
        .collect()
}

#[test]
fn modes_and_scopes_decide_who_is_equal() {
    use proto::load_balancing::Mode::{Failover, Strict, UnspecifiedMode};
    use proto::load_balancing::Scope::{Cluster, Network, Node, Region, Subzone, Zone};
    let members = [
        member("near", "north/a/1/n1/c1/"),
        member("zone", "north/a/2/n2/c1/"),
        member("region", "north/b/1/n3/c1/"),
        member("far", "south/a/1/n4/c2/other"),
    ];
    let all = vec!["far", "near", "region", "zone"];
    let table: Vec<(_, &[_], Vec<&str>)> = vec![
        (UnspecifiedMode, &[], all.clone()),
        (UnspecifiedMode, &[Node], all.clone()),
        (Strict, &[], all.clone()),
        (Strict, &[Node], vec!["near"]),
        (Strict, &[Region], vec!["near", "region", "zone"]),
        (Strict, &[Region, Zone], vec!["near", "zone"]),
        (Strict, &[Subzone], vec!["far", "near", "region"]),
        (Strict, &[Region, Subzone], vec!["near", "region"]),
        (Strict, &[Cluster], vec!["near", "region", "zone"]),
        (Failover, &[], all),
        (Failover, &[Network, Region, Zone], vec!["near", "zone"]),
        (
            Failover,
            &[Network, Region, Zone, Subzone, Node],
            vec!["near"],
        ),
        (Failover, &[Node], vec!["near"]),
    ];
    for (mode, scopes, expected) in table {
        assert_eq!(
            ranked(&service(mode, scopes), &members),
            expected,
            "{mode:?} {scopes:?}"
        );
    }
    // Failover goes on when the best are missing; strict does not.
    let rest = &members[2..];
    assert_eq!(
        ranked(&service(Failover, &[Network, Region, Zone]), rest),
        ["region"]
    );
    assert_eq!(
        ranked(&service(Failover, &[Network, Region, Zone]), &rest[1..]),
        ["far"]
    );
    assert!(ranked(&service(Strict, &[Region, Zone]), rest).is_empty());
    // Counting stops at the first mismatch: sharing the subzone's name elsewhere counts for nothing.
    assert_eq!(
        ranked(&service(Failover, &[Zone, Subzone]), &members[2..]),
        ["far"]
    );
}

#[test]
fn unusable_members_are_dropped() {
    let plain = service(proto::load_balancing::Mode::UnspecifiedMode, &[]);
    let with = |change: &dyn Fn(&mut proto::Workload)| {
        let mut workload = source("w", "north/a/1/n1/c1/");
        change(&mut workload);
        ranked(&plain, &[workload.try_into().unwrap()]).len()
    };
    assert_eq!(with(&|_| {}), 1);
    assert_eq!(
        with(&|w| w.status = proto::WorkloadStatus::Unhealthy.into()),
        0
    );
    assert_eq!(with(&|w| w.addresses.clear()), 0);
    assert_eq!(with(&|w| w.capacity = Some(0)), 0);
    assert_eq!(with(&|w| w.addresses = vec![vec![0; 16]]), 1);
    let by_name = |w: &mut proto::Workload| {
        w.addresses.clear();
        w.hostname = "db.example.com".to_owned();
    };
    assert_eq!(with(&by_name), 1);
    let behind_gateway = |w: &mut proto::Workload| {
        w.addresses.clear();
        w.network_gateway = Some(proto::GatewayAddress {
            destination: Some(proto::gateway_address::Destination::Hostname(
                proto::NamespacedHostname {
                    namespace: "istio-system".to_owned(),
                    hostname: "gateway".to_owned(),
                },
            )),
            hbone_mtls_port: 15008,
        });
    };
    assert_eq!(with(&behind_gateway), 1);
}

#[test]
fn an_unhealthy_member_counts_when_the_service_says_so() {
    let mut open = service(proto::load_balancing::Mode::UnspecifiedMode, &[]);
    open.load_balancing.allow_unhealthy = true;
    let mut workload = source("w", "north/a/1/n1/c1/");
    workload.status = proto::WorkloadStatus::Unhealthy.into();
    assert_eq!(ranked(&open, &[workload.try_into().unwrap()]), ["w"]);
}

#[test]
fn the_target_port_is_the_members_then_the_services_then_the_tunnels() {
    let port = |service_port, target_port| proto::Port {
        service_port,
        target_port,
        app_protocol: 0,
    };
    let service: Service = proto::Service {
        namespace: "shop".to_owned(),
        hostname: "web".to_owned(),
        ports: vec![port(80, 8080), port(90, 0)],
        ..proto::Service::default()
    }
    .try_into()
    .unwrap();
    let workload = |own: Vec<proto::Port>, tunnel: Option<u32>| -> Workload {
        let mut workload = source("w", "north/a/1/n1/c1/");
        workload.services = [("shop/web".to_owned(), proto::PortList { ports: own })].into();
        workload.application_tunnel =
            tunnel.map(|port| proto::ApplicationTunnel { protocol: 0, port });
        workload.try_into().unwrap()
    };
    for (own, tunnel, asked, expected) in [
        (vec![], None, 80, Some(8080)),
        (vec![port(80, 7070)], None, 80, Some(7070)),
        (vec![port(80, 0)], None, 80, Some(8080)),
        (vec![], None, 90, None),
        (vec![port(90, 9090)], None, 90, Some(9090)),
        (vec![], Some(15088), 90, Some(15088)),
        (vec![port(90, 9090)], Some(15088), 90, Some(9090)),
        (vec![], None, 81, None),
        (vec![], Some(15088), 81, None),
    ] {
        let workload = workload(own.clone(), tunnel);
        assert_eq!(
            target_port(&service, &service.key(), &workload, asked),
            expected,
            "{own:?} {tunnel:?} {asked}"
        );
    }
}

#[test]
fn the_clients_family_is_preferred_and_the_services_is_binding() {
    use proto::IpFamilies::{Automatic, Dual, Ipv4Only, Ipv6Only};
    let dual = |families: proto::IpFamilies, addresses: Vec<Vec<u8>>, family| {
        let mut service = service(proto::load_balancing::Mode::UnspecifiedMode, &[]);
        service.ip_families = proto::Service {
            ip_families: families.into(),
            hostname: "h".into(),
            namespace: "n".into(),
            ..Default::default()
        }
        .try_into()
        .map(|s: Service| s.ip_families)
        .unwrap();
        let mut workload = source("w", "north/a/1/n1/c1/");
        workload.addresses = addresses;
        let workload = Arc::new(Workload::try_from(workload).unwrap());
        let ranking = Ranking::new(&service, [&workload].into_iter(), &place(), 80, family);
        ranking
            .pick(0)
            .and_then(|endpoint| endpoint.address)
            .map(Family::of)
    };
    let (v4, v6) = (vec![10, 0, 0, 1], vec![0xfd; 16]);
    let both = vec![v4.clone(), v6.clone()];
    for (families, addresses, asked, expected) in [
        (Automatic, both.clone(), Family::V4, Some(Family::V4)),
        (Automatic, both.clone(), Family::V6, Some(Family::V6)),
        (Dual, vec![v6.clone()], Family::V4, Some(Family::V6)),
        (Ipv4Only, both.clone(), Family::V6, Some(Family::V4)),
        (Ipv6Only, both, Family::V4, Some(Family::V6)),
        (Ipv6Only, vec![v4], Family::V4, None),
        (Ipv4Only, vec![v6], Family::V6, None),
    ] {
        assert_eq!(
            dual(families, addresses.clone(), asked),
            expected,
            "{families:?} {addresses:?} {asked:?}"
        );
    }
}

#[test]
fn a_ranking_is_computed_once_per_place_port_and_family() {
    let service = service(proto::load_balancing::Mode::UnspecifiedMode, &[]);
    let members = [Arc::new(member("w", "north/a/1/n1/c1/"))];
    let rankings = Rankings::default();
    let get =
        |place: &Place, port, family| rankings.get(&service, members.iter(), place, port, family);
    let first = get(&place(), 80, Family::V4);
    assert!(Arc::ptr_eq(&first, &get(&place(), 80, Family::V4)));
    assert!(!Arc::ptr_eq(&first, &get(&place(), 80, Family::V6)));
    assert!(!Arc::ptr_eq(
        &first,
        &get(
            &Place {
                node: "n2".into(),
                ..place()
            },
            80,
            Family::V4
        )
    ));
    // Ports that no client may use cannot fill the memory.
    for port in 0..1000 {
        get(&place(), port, Family::V4);
    }
    assert!(rankings.0.read().unwrap().len() <= MAX_RANKINGS);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn endpoints_are_picked_by_capacity(capacities in prop::collection::vec(1..20_u32, 1..6)) {
        let service = service(proto::load_balancing::Mode::UnspecifiedMode, &[]);
        let members: Vec<_> = capacities.iter().enumerate().map(|(number, capacity)| {
            let mut workload = source(&format!("w{number}"), "north/a/1/n1/c1/");
            workload.capacity = Some(*capacity);
            Arc::new(Workload::try_from(workload).unwrap())
        }).collect();
        let ranking = Ranking::new(&service, members.iter(), &place(), 80, Family::V4);
        let mut counts: BTreeMap<Arc<str>, f64> = BTreeMap::new();
        let draws = 20_000_u32;
        for draw in 0..draws {
            // A fixed sequence that covers both halves of the sample evenly (golden ratio steps).
            let sample = u64::from(draw).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            *counts.entry(Arc::clone(&ranking.pick(sample).unwrap().workload.uid)).or_default() += 1.0;
        }
        let total: u32 = capacities.iter().sum();
        for (number, capacity) in capacities.iter().enumerate() {
            let share = counts.get(format!("w{number}").as_str()).copied().unwrap_or(0.0) / f64::from(draws);
            prop_assert!((share - f64::from(*capacity) / f64::from(total)).abs() < 0.03);
        }
    }
}
