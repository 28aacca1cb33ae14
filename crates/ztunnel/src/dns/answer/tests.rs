use super::*;
use crate::proto::workload as wire;
use crate::store::{Store, Update};

const WEB: &str = "web.shop.svc.cluster.local";

fn address(network: &str, ip: &str) -> wire::NetworkAddress {
    let ip: IpAddr = ip.parse().unwrap();
    wire::NetworkAddress {
        network: network.into(),
        address: crate::addr::ip_to_bytes(ip),
        ..Default::default()
    }
}

fn service(namespace: &str, hostname: &str, vips: &[(&str, &str)]) -> wire::Service {
    wire::Service {
        name: hostname.split('.').next().unwrap().into(),
        namespace: namespace.into(),
        hostname: hostname.into(),
        addresses: vips
            .iter()
            .map(|(network, ip)| address(network, ip))
            .collect(),
        ..Default::default()
    }
}

fn member(uid: &str, ip: &str, of: &str) -> wire::Workload {
    wire::Workload {
        uid: uid.into(),
        name: uid.into(),
        namespace: "shop".into(),
        addresses: vec![crate::addr::ip_to_bytes(ip.parse().unwrap())],
        services: [(of.to_owned(), wire::PortList::default())].into(),
        ..Default::default()
    }
}

fn store() -> Store {
    let store = Store::default();
    let services = [
        service(
            "shop",
            WEB,
            &[("", "10.1.0.1"), ("", "10.1.0.2"), ("far", "10.9.0.1")],
        ),
        service("shop", "db.shop.svc.cluster.local", &[]),
        service(
            "shop",
            "dual.shop.svc.cluster.local",
            &[("", "10.1.0.9"), ("", "fd00::9")],
        ),
        service("other", "web.other.svc.cluster.local", &[("", "10.2.0.1")]),
        service("shop", "api.example.com", &[("", "240.0.0.1")]),
        service("shop", "*.wild.example.com", &[("", "240.0.0.2")]),
        service("shop", "none.example.com", &[]),
        service("shop", "both.example.com", &[("", "240.0.0.3")]),
        service("other", "both.example.com", &[("", "240.0.0.4")]),
    ];
    let mut updates: Vec<Update> = services
        .map(|s| {
            Update::address(wire::Address {
                r#type: Some(wire::address::Type::Service(s)),
            })
        })
        .into();
    for workload in [
        member("a", "10.0.0.1", "shop/db.shop.svc.cluster.local"),
        member("b", "10.0.0.2", "shop/db.shop.svc.cluster.local"),
    ] {
        updates.push(Update::address(wire::Address {
            r#type: Some(wire::address::Type::Workload(workload)),
        }));
    }
    assert_eq!(store.apply(updates), []);
    store
}

fn query(name: &str, asked: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), asked));
    message
}

fn decided(message: &Message, transport: Transport, namespace: &str) -> Decision {
    let client = Client {
        namespace,
        network: "",
        domain: "cluster.local",
    };
    decide(
        &message.to_vec().unwrap(),
        transport,
        &store().snapshot(),
        &client,
        7,
    )
}

/// The records of the answer, sorted; `None` when the query is passed on.
fn answered(name: &str, asked: RecordType) -> Option<Vec<String>> {
    match decided(&query(name, asked), Transport::Udp, "shop").verdict {
        Verdict::Answer(bytes) => {
            let reply = Message::from_vec(&bytes).unwrap();
            assert_eq!(
                (reply.metadata.id, reply.metadata.response_code),
                (4711, ResponseCode::NoError)
            );
            assert!(reply.metadata.authoritative && reply.metadata.recursion_desired);
            let mut records: Vec<String> = reply
                .answers
                .iter()
                .map(|r| format!("{} {} {} {}", r.name, r.ttl, r.record_type(), r.data))
                .collect();
            records.sort();
            Some(records)
        }
        Verdict::Forward => None,
        Verdict::Drop => panic!("{name} was dropped"),
    }
}

#[test]
fn names_of_services_are_answered_and_all_else_is_passed_on() {
    use RecordType::{A, AAAA, MX, SRV};
    let cases: &[(&str, RecordType, Option<&[&str]>)] = &[
        (
            "web.shop.svc.cluster.local.",
            A,
            Some(&[
                "web.shop.svc.cluster.local. 30 A 10.1.0.1",
                "web.shop.svc.cluster.local. 30 A 10.1.0.2",
            ]),
        ),
        (
            "WEB.Shop.svc.cluster.local.",
            A,
            Some(&[
                "WEB.Shop.svc.cluster.local. 30 A 10.1.0.1",
                "WEB.Shop.svc.cluster.local. 30 A 10.1.0.2",
            ]),
        ),
        // The family does not exist: an empty answer, not an error.
        ("web.shop.svc.cluster.local.", AAAA, Some(&[])),
        (
            "dual.shop.svc.cluster.local.",
            AAAA,
            Some(&["dual.shop.svc.cluster.local. 30 AAAA fd00::9"]),
        ),
        // Short names, as typed without a search path.
        (
            "web.",
            A,
            Some(&["web. 30 A 10.1.0.1", "web. 30 A 10.1.0.2"]),
        ),
        ("web.other.", A, Some(&["web.other. 30 A 10.2.0.1"])),
        ("web.other.svc.", A, Some(&["web.other.svc. 30 A 10.2.0.1"])),
        // A search domain that a resolver appended.
        (
            "web.other.shop.svc.cluster.local.",
            A,
            Some(&[
                "web.other. 30 A 10.2.0.1",
                "web.other.shop.svc.cluster.local. 30 CNAME web.other.",
            ]),
        ),
        (
            "api.example.com.svc.cluster.local.",
            A,
            Some(&[
                "api.example.com. 30 A 240.0.0.1",
                "api.example.com.svc.cluster.local. 30 CNAME api.example.com.",
            ]),
        ),
        // Headless: the members.
        (
            "db.shop.svc.cluster.local.",
            A,
            Some(&[
                "db.shop.svc.cluster.local. 30 A 10.0.0.1",
                "db.shop.svc.cluster.local. 30 A 10.0.0.2",
            ]),
        ),
        (
            "a.b.wild.example.com.",
            A,
            Some(&["a.b.wild.example.com. 30 A 240.0.0.2"]),
        ),
        (
            "both.example.com.",
            A,
            Some(&["both.example.com. 30 A 240.0.0.3"]),
        ),
        // Not ours.
        ("none.example.com.", A, None),
        ("example.com.", A, None),
        ("gone.shop.svc.cluster.local.", A, None),
        ("web.shop.svc.cluster.local.", MX, None),
        ("web.shop.svc.cluster.local.", SRV, None),
        (".", A, None),
    ];
    for (name, asked, records) in cases {
        let records =
            records.map(|records| records.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>());
        assert_eq!(answered(name, *asked), records, "{name} {asked}");
    }
}

#[test]
fn the_client_s_own_namespace_wins() {
    let reply = decided(
        &query("both.example.com.", RecordType::A),
        Transport::Udp,
        "other",
    )
    .verdict;
    let Verdict::Answer(bytes) = reply else {
        panic!("{reply:?}")
    };
    assert_eq!(
        Message::from_vec(&bytes).unwrap().answers[0]
            .data
            .to_string(),
        "240.0.0.4"
    );
}

#[test]
fn addresses_of_other_networks_are_left_out() {
    let client = Client {
        namespace: "shop",
        network: "far",
        domain: "cluster.local",
    };
    let packet = query("web.shop.svc.cluster.local.", RecordType::A)
        .to_vec()
        .unwrap();
    let decision = decide(&packet, Transport::Udp, &store().snapshot(), &client, 7);
    let Verdict::Answer(bytes) = decision.verdict else {
        panic!("{decision:?}")
    };
    let reply = Message::from_vec(&bytes).unwrap();
    assert_eq!(
        reply
            .answers
            .iter()
            .map(|r| r.data.to_string())
            .collect::<Vec<_>>(),
        ["10.9.0.1"]
    );
}

#[test]
fn an_answer_too_long_for_a_datagram_is_cut_and_given_by_stream() {
    let store = Store::default();
    let hostname = "many.shop.svc.cluster.local";
    let mut updates = vec![Update::address(wire::Address {
        r#type: Some(wire::address::Type::Service(service("shop", hostname, &[]))),
    })];
    for n in 0..3000_u32 {
        let ip = std::net::Ipv4Addr::from(0x0a00_0000 + n).to_string();
        let workload = member(&format!("w{n}"), &ip, &format!("shop/{hostname}"));
        updates.push(Update::address(wire::Address {
            r#type: Some(wire::address::Type::Workload(workload)),
        }));
    }
    store.apply(updates);
    let client = Client {
        namespace: "shop",
        network: "",
        domain: "cluster.local",
    };
    let mut message = query("many.shop.svc.cluster.local.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    message.set_edns(edns);
    let packet = message.to_vec().unwrap();
    let reply = |transport| match decide(&packet, transport, &store.snapshot(), &client, 7).verdict
    {
        Verdict::Answer(bytes) => (bytes.len(), Message::from_vec(&bytes).unwrap()),
        other => panic!("{other:?}"),
    };
    let (length, cut) = reply(Transport::Udp);
    assert!(
        length <= 1232 && cut.metadata.truncation && cut.answers.is_empty() && cut.edns.is_some()
    );
    let (length, whole) = reply(Transport::Tcp);
    assert!(length <= 65_535 && !whole.metadata.truncation);
    assert_eq!(whole.answers.len(), MOST_ADDRESSES);
}

#[test]
fn the_order_of_addresses_varies_with_the_seed() {
    let client = Client {
        namespace: "shop",
        network: "",
        domain: "cluster.local",
    };
    let packet = query("web.shop.svc.cluster.local.", RecordType::A)
        .to_vec()
        .unwrap();
    let snapshot = store().snapshot();
    let first = |seed| match decide(&packet, Transport::Udp, &snapshot, &client, seed).verdict {
        Verdict::Answer(bytes) => Message::from_vec(&bytes).unwrap().answers[0]
            .data
            .to_string(),
        other => panic!("{other:?}"),
    };
    let firsts: std::collections::BTreeSet<String> = (0..64).map(first).collect();
    assert_eq!(firsts.len(), 2);
}

#[test]
fn what_is_not_a_query_is_refused_or_dropped() {
    let code = |message: &Message| match decided(message, Transport::Udp, "shop").verdict {
        Verdict::Answer(bytes) => Some(Message::from_vec(&bytes).unwrap().metadata.response_code),
        _ => None,
    };
    let mut update = query("web.", RecordType::A);
    update.metadata.op_code = OpCode::Update;
    assert_eq!(code(&update), Some(ResponseCode::NotImp));
    let mut two = query("web.", RecordType::A);
    two.add_query(Query::query(
        Name::from_ascii("db.").unwrap(),
        RecordType::A,
    ));
    assert_eq!(code(&two), Some(ResponseCode::FormErr));
    let reply = query("web.", RecordType::A).into_response();
    assert_eq!(code(&reply), None);
    let client = Client {
        namespace: "shop",
        network: "",
        domain: "cluster.local",
    };
    let snapshot = store().snapshot();
    let raw = |packet: &[u8]| decide(packet, Transport::Udp, &snapshot, &client, 0).verdict;
    assert_eq!(raw(&[]), Verdict::Drop);
    assert_eq!(raw(&[0; 11]), Verdict::Drop);
    let Verdict::Answer(bytes) = raw(&[0x12, 0x67, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xff]) else {
        panic!()
    };
    assert_eq!(
        bytes[..4],
        [0x12, 0x67, 0x80, 1],
        "its id, the response bit and FORMERR"
    );
}

#[test]
fn only_the_reply_to_the_same_question_counts() {
    let asked = query(WEB, RecordType::A).to_vec().unwrap();
    let mut reply = asked.clone();
    assert!(!is_reply_to(&reply, &asked), "a query is no reply");
    reply[2] |= 0x80;
    assert!(is_reply_to(&reply, &asked));
    let mut other_id = reply.clone();
    other_id[0] ^= 1;
    assert!(!is_reply_to(&other_id, &asked));
    let mut other_name = reply.clone();
    other_name[13] ^= 1;
    assert!(!is_reply_to(&other_name, &asked));
    let failure = server_failure(&asked).unwrap();
    assert!(is_reply_to(&failure, &asked));
}

proptest::proptest! {
    #[test]
    fn any_packet_is_decided_without_a_panic(packet in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let client = Client { namespace: "shop", network: "", domain: "cluster.local" };
        let snapshot = store().snapshot();
        for transport in [Transport::Udp, Transport::Tcp] {
            let _ = decide(&packet, transport, &snapshot, &client, 0);
        }
        let _ = (server_failure(&packet), is_reply_to(&packet, &packet));
    }

    #[test]
    fn a_bent_query_is_decided_without_a_panic(at in 0_usize..60, byte in proptest::num::u8::ANY) {
        let mut packet = query("web.other.shop.svc.cluster.local.", RecordType::A).to_vec().unwrap();
        if let Some(place) = packet.get_mut(at) {
            *place = byte;
        }
        let client = Client { namespace: "shop", network: "", domain: "cluster.local" };
        let decision = decide(&packet, Transport::Udp, &store().snapshot(), &client, 0);
        if let Verdict::Answer(bytes) = decision.verdict {
            proptest::prop_assert_eq!(&bytes[..2], &packet[..2]);
        }
    }
}
