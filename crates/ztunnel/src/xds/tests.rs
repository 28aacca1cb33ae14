//! The session as a table.

use super::*;
use crate::proto::authorization::Authorization;
use crate::proto::discovery::{Resource, Status};
use crate::proto::workload::{Address, Service, Workload};
use crate::proto::{ADDRESS_TYPE, AUTHORIZATION_TYPE};
use crate::store::Update;
use proptest::prelude::*;
use prost::Message;

fn resource(name: &str, version: &str, type_url: &str, message: &impl Message) -> Resource {
    Resource {
        name: name.to_owned(),
        version: version.to_owned(),
        resource: Some(prost_types::Any {
            type_url: type_url.to_owned(),
            value: message.encode_to_vec(),
        }),
        aliases: Vec::new(),
    }
}

fn workload(uid: &str, version: &str) -> Resource {
    let message = Workload {
        uid: uid.to_owned(),
        namespace: "shop".to_owned(),
        ..Workload::default()
    };
    resource(uid, version, ADDRESS_TYPE, &Address::from(message))
}

fn legacy(uid: &str) -> Resource {
    let message = Workload {
        uid: uid.to_owned(),
        namespace: "shop".to_owned(),
        tunnel_protocol: 2,
        ..Workload::default()
    };
    resource(uid, "1", ADDRESS_TYPE, &Address::from(message))
}

fn response(
    type_url: &str,
    nonce: &str,
    resources: Vec<Resource>,
    removed: &[&str],
) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: type_url.to_owned(),
        nonce: nonce.to_owned(),
        resources,
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

struct Test {
    session: Session,
    store: Store,
}

impl Test {
    fn new() -> Self {
        Self {
            session: Session::new(Node::default()),
            store: Store::default(),
        }
    }

    fn receive(&mut self, response: DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
        let store = &self.store;
        self.session
            .receive(response, |updates| store.apply(updates))
    }

    /// What a new stream would say it has.
    fn known(&mut self) -> Vec<(String, String)> {
        let mut known: Vec<_> = self.session.subscriptions()[0]
            .initial_resource_versions
            .clone()
            .into_iter()
            .collect();
        known.sort();
        known
    }

    fn uids(&self) -> Vec<String> {
        let mut uids: Vec<_> = self
            .store
            .snapshot()
            .workloads()
            .map(|w| w.uid.to_string())
            .collect();
        uids.sort();
        uids
    }
}

fn pairs(known: &[(&str, &str)]) -> Vec<(String, String)> {
    known
        .iter()
        .map(|(name, version)| ((*name).to_owned(), (*version).to_owned()))
        .collect()
}

#[test]
fn a_stream_starts_with_a_wildcard_subscription_per_type_that_says_who_asks() {
    let facts = NodeFacts {
        ip: "10.0.0.5".to_owned(),
        pod: "ztunnel-x".to_owned(),
        namespace: "applink-system".to_owned(),
        domain: "cluster.local".to_owned(),
        node: "n1".to_owned(),
        metadata: vec![
            ("CLUSTER_ID".to_owned(), "north".to_owned()),
            ("NAME".to_owned(), "wrong".to_owned()),
        ],
    };
    let requests = Session::new(facts.node()).subscriptions();
    let types: Vec<_> = requests
        .iter()
        .map(|request| request.type_url.as_str())
        .collect();
    assert_eq!(types, [ADDRESS_TYPE, AUTHORIZATION_TYPE]);
    for request in requests {
        let empty = request.resource_names_subscribe.is_empty()
            && request.resource_names_unsubscribe.is_empty()
            && request.initial_resource_versions.is_empty()
            && request.response_nonce.is_empty();
        assert!(empty);
        let node = request.node.unwrap();
        assert_eq!(
            node.id,
            "ztunnel~10.0.0.5~ztunnel-x.applink-system~applink-system.svc.cluster.local"
        );
        let fields = node.metadata.unwrap().fields;
        let text = |key: &str| match fields[key].kind.clone().unwrap() {
            Kind::StringValue(text) => text,
            other => panic!("a text is expected, not {other:?}"),
        };
        assert_eq!(
            [
                "NAME",
                "NAMESPACE",
                "INSTANCE_IPS",
                "NODE_NAME",
                "CLUSTER_ID"
            ]
            .map(text),
            ["ztunnel-x", "applink-system", "10.0.0.5", "n1", "north"]
        );
    }
}

#[test]
fn a_response_is_applied_and_acknowledged_with_its_nonce() {
    let mut test = Test::new();
    let ack = test.receive(response(
        ADDRESS_TYPE,
        "n1",
        vec![workload("a", "1"), workload("b", "2")],
        &[],
    ));
    let expected = DeltaDiscoveryRequest {
        type_url: ADDRESS_TYPE.to_owned(),
        response_nonce: "n1".to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    assert_eq!(ack, expected);
    assert_eq!(test.uids(), ["a", "b"]);
    test.receive(response(
        ADDRESS_TYPE,
        "n2",
        vec![workload("b", "3")],
        &["a"],
    ));
    assert_eq!(
        (test.uids(), test.known()),
        (vec!["b".to_owned()], pairs(&[("b", "3")]))
    );
}

#[test]
fn refused_resources_are_named_and_the_others_are_applied_and_remembered() {
    let mut test = Test::new();
    test.receive(response(
        ADDRESS_TYPE,
        "n0",
        vec![workload("kept", "1")],
        &[],
    ));
    let garbage = Resource {
        resource: Some(prost_types::Any {
            type_url: ADDRESS_TYPE.to_owned(),
            value: vec![0xff; 9],
        }),
        ..workload("garbage", "1")
    };
    let empty = Resource {
        resource: None,
        ..workload("empty", "1")
    };
    let other = resource("other", "1", AUTHORIZATION_TYPE, &Authorization::default());
    let resources = vec![legacy("kept"), garbage, workload("good", "1"), empty, other];
    let nack = test.receive(response(ADDRESS_TYPE, "n1", resources, &[]));
    assert_eq!(nack.response_nonce, "n1");
    let Status { code, message } = nack.error_detail.unwrap();
    assert_eq!(code, 3);
    for part in [
        "empty: the resource is empty",
        "garbage: the resource cannot be decoded",
        "kept: tunnel protocol LEGACY_ISTIO_MTLS is not supported",
        "other: the resource is of type",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert_eq!(test.uids(), ["good", "kept"]);
    // The refused version must come again after a reconnect.
    assert_eq!(test.known(), pairs(&[("good", "1")]));
}

#[test]
fn a_long_list_of_refusals_is_cut() {
    let mut test = Test::new();
    let resources = (0..40)
        .map(|number| legacy(&format!("w{number:02}")))
        .collect();
    let message = test
        .receive(response(ADDRESS_TYPE, "n", resources, &[]))
        .error_detail
        .unwrap()
        .message;
    assert!(message.ends_with("; and 24 more"), "{message}");
}

#[test]
fn a_type_nobody_asked_for_is_refused() {
    let mut test = Test::new();
    let nack = test.receive(response("type.googleapis.com/other", "n", vec![], &[]));
    assert!(nack.error_detail.is_some() && !test.session.is_complete());
}

#[test]
fn it_is_complete_after_the_first_answer_of_every_type_even_an_empty_one() {
    let mut test = Test::new();
    test.receive(response(ADDRESS_TYPE, "n1", vec![], &[]));
    assert!(!test.session.is_complete());
    test.receive(response(AUTHORIZATION_TYPE, "n2", vec![], &[]));
    assert!(test.session.is_complete());
}

#[test]
fn policies_and_services_come_and_go_by_their_keys() {
    let mut test = Test::new();
    let service = Service {
        namespace: "shop".to_owned(),
        hostname: "web".to_owned(),
        ..Service::default()
    };
    let service = resource("shop/web", "1", ADDRESS_TYPE, &Address::from(service));
    let policy = Authorization {
        namespace: "shop".to_owned(),
        name: "p".to_owned(),
        ..Authorization::default()
    };
    let policy = resource("shop/p", "1", AUTHORIZATION_TYPE, &policy);
    test.receive(response(ADDRESS_TYPE, "n1", vec![service], &[]));
    test.receive(response(AUTHORIZATION_TYPE, "n2", vec![policy], &[]));
    let count = |test: &Test| {
        let snapshot = test.store.snapshot();
        (snapshot.services().count(), snapshot.policies().count())
    };
    assert_eq!(count(&test), (1, 1));
    test.receive(response(AUTHORIZATION_TYPE, "n3", vec![], &["shop/p"]));
    test.receive(response(ADDRESS_TYPE, "n4", vec![], &["shop/web"]));
    assert_eq!(count(&test), (0, 0));
}

#[test]
fn a_list_of_versions_that_istiod_would_refuse_is_replaced_by_asking_for_everything() {
    let mut test = Test::new();
    let long = "x".repeat(100_000);
    let names: Vec<String> = (0..40).map(|number| format!("{long}{number}")).collect();
    test.receive(response(
        ADDRESS_TYPE,
        "n1",
        names.iter().map(|name| workload(name, "1")).collect(),
        &[],
    ));
    assert_eq!(test.known(), [], "4 MB of names are not sent");
    // Everything that exists comes again; what does not come is gone.
    let ack = test.receive(response(
        ADDRESS_TYPE,
        "n2",
        vec![workload(&names[0], "2"), workload("new", "1")],
        &[],
    ));
    assert_eq!(ack.error_detail, None);
    assert_eq!(test.uids(), ["new".to_owned(), names[0].clone()]);
    // Only the first answer of the stream is the whole list.
    test.receive(response(
        ADDRESS_TYPE,
        "n3",
        vec![workload("more", "1")],
        &[],
    ));
    assert_eq!(test.uids().len(), 3);
    assert_eq!(test.known().len(), 3);
}

#[test]
fn unknown_fields_are_skipped() {
    let mut test = Test::new();
    let mut resource = workload("a", "1");
    let any = resource.resource.as_mut().unwrap();
    // An unknown field 99 of the address, as a later istiod might send.
    any.value.extend([0x9a, 0x06, 0x03, 1, 2, 3]);
    assert_eq!(
        test.receive(response(ADDRESS_TYPE, "n", vec![resource], &[]))
            .error_detail,
        None
    );
    assert_eq!(test.uids(), ["a"]);
}

#[test]
fn waits_double_and_start_small_again_after_a_good_stream() {
    let mut wait = FIRST_WAIT;
    for _ in 0..20 {
        wait = next_wait(wait, false);
    }
    assert_eq!(wait, LONGEST_WAIT);
    assert_eq!(next_wait(wait, true), FIRST_WAIT);
    assert_eq!(next_wait(FIRST_WAIT, false), Duration::from_millis(20));
}

#[test]
fn the_end_of_a_stream_is_counted_by_its_kind() {
    let stream = |code, message: &str| Error::Stream {
        code,
        message: message.to_owned(),
    };
    for (error, expected) in [
        (
            Error::Connect("refused".to_owned()),
            Termination::ConnectionError,
        ),
        (Error::Closed, Termination::Complete),
        (
            stream(tonic::Code::Unavailable, "going away"),
            Termination::Reconnect,
        ),
        (
            stream(tonic::Code::Unknown, "h2 protocol error: x"),
            Termination::Reconnect,
        ),
        (
            stream(tonic::Code::PermissionDenied, "no"),
            Termination::Error,
        ),
    ] {
        assert_eq!(error.termination(), expected, "{error}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_session_panic(
        value in prop::collection::vec(any::<u8>(), 0..200), is_policy: bool, name in ".{0,20}",
    ) {
        let type_url = if is_policy { AUTHORIZATION_TYPE } else { ADDRESS_TYPE };
        let any = prost_types::Any { type_url: type_url.to_owned(), value };
        let resource = Resource { name, resource: Some(any), ..Resource::default() };
        Test::new().receive(response(type_url, "n", vec![resource], &["x"]));
    }

    /// Bytes that decode, so that the conversions are reached: every number and text arbitrary.
    #[test]
    fn no_resource_makes_the_store_panic(
        texts in prop::collection::vec(".{0,12}|[a-z]{1,5}/[a-z.]{1,8}", 6),
        numbers in prop::collection::vec(any::<i32>(), 8),
        lengths in prop::collection::vec(0..20_usize, 2),
        ports in prop::collection::vec((any::<u32>(), any::<u32>(), any::<i32>()), 0..3),
    ) {
        use crate::proto::workload as proto;
        let port = |(service_port, target_port, app_protocol)| proto::Port { service_port, target_port, app_protocol };
        let ports: Vec<_> = ports.into_iter().map(port).collect();
        let address = proto::NetworkAddress {
            network: texts[0].clone(),
            address: vec![7; lengths[0]],
            length: numbers[0].is_positive().then_some(numbers[1].unsigned_abs() % 150),
        };
        let gateway = proto::GatewayAddress {
            destination: Some(proto::gateway_address::Destination::Address(address.clone())),
            hbone_mtls_port: numbers[2].unsigned_abs(),
        };
        let workload = Workload {
            uid: texts[1].clone(),
            namespace: texts[2].clone(),
            service_account: texts[3].clone(),
            trust_domain: texts[4].clone(),
            addresses: vec![vec![1; lengths[1]]],
            tunnel_protocol: numbers[3],
            status: numbers[4] % 3,
            services: [(texts[5].clone(), proto::PortList { ports: ports.clone() })].into(),
            waypoint: Some(gateway.clone()),
            ..Workload::default()
        };
        let service = Service {
            namespace: texts[2].clone(),
            hostname: texts[3].clone(),
            addresses: vec![address],
            ports,
            weighted_waypoints: vec![proto::WeightedWaypoint { destination: Some(gateway), weight: u32::MAX }],
            load_balancing: Some(proto::LoadBalancing {
                routing_preference: vec![numbers[5] % 8],
                mode: numbers[6] % 5,
                health_policy: numbers[7] % 3,
            }),
            ..Service::default()
        };
        let store = Store::default();
        store.apply(vec![
            Update::address(workload),
            Update::address(service),
            Update::RemoveAddress(texts[5].clone()),
            Update::RemoveAddress(texts[1].clone()),
        ]);
        for service in store.snapshot().services() {
            let _ = service.waypoint(u64::MAX);
        }
    }
}
