//! No packet makes the DNS server panic, and what it answers carries the query's id and the response bit.
#![no_main]

use applink_ztunnel::dns::answer::{Transport, is_reply_to, server_failure};
use applink_ztunnel::dns::{Client, Verdict, decide};
use applink_ztunnel::proto::workload::{Address, NetworkAddress, Service, address};
use applink_ztunnel::store::{Store, Update};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let store = Store::default();
    let hosts = ["web.shop.svc.cluster.local", "*.example.com"];
    store.apply(hosts.map(service).into());
    let client = Client {
        namespace: "shop",
        network: "",
        domain: "cluster.local",
    };
    for transport in [Transport::Udp, Transport::Tcp] {
        if let Verdict::Answer(reply) =
            decide(packet, transport, &store.snapshot(), &client, 1).verdict
        {
            assert_eq!(reply[..2], packet[..2]);
            assert_ne!(reply[2] & 0x80, 0);
            assert!(
                reply.len()
                    <= if transport == Transport::Udp {
                        1232
                    } else {
                        65_535
                    }
            );
        }
    }
    if let Some(failure) = server_failure(packet) {
        assert_eq!(failure[..2], packet[..2]);
    }
    let _ = is_reply_to(packet, packet);
});

fn service(hostname: &str) -> Update {
    let addresses = vec![NetworkAddress {
        address: vec![10, 0, 0, 1],
        ..NetworkAddress::default()
    }];
    let service = Service {
        name: "web".into(),
        namespace: "shop".into(),
        hostname: hostname.into(),
        addresses,
        ..Service::default()
    };
    Update::address(Address {
        r#type: Some(address::Type::Service(service)),
    })
}
