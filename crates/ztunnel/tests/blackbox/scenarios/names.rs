//! DNS capture.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use crate::mesh::{Family, Mesh, WEB_VIP, WEB_VIP6};
use crate::traffic::{resolve, resolve_by_stream};

pub fn capture(mesh: &mut Mesh, family: Family) {
    let (client, server) = (mesh.pod("client").netns, family.cluster_dns());
    let proxy = mesh.proxy_of(&mesh.pod("client"));
    let labels = [
        ("request_query_type", "a"),
        ("request_protocol", "udp"),
        ("source_canonical_service", "client"),
    ];
    let counts = || {
        [
            "istio_dns_requests_total",
            "istio_dns_upstream_requests_total",
        ]
        .map(|name| proxy.metric(name, &labels))
    };
    let before = counts();
    let (vip, vip6) = (WEB_VIP.to_string(), WEB_VIP6.to_string());
    for (name, asked, code, records) in [
        (
            "web.shop.svc.cluster.local.",
            RecordType::A,
            ResponseCode::NoError,
            vec![vip.as_str()],
        ),
        ("web.", RecordType::A, ResponseCode::NoError, vec![&vip]),
        (
            "web.shop.",
            RecordType::A,
            ResponseCode::NoError,
            vec![&vip],
        ),
        // The search path of a pod's resolver: the first try is `web.shop.shop.svc.cluster.local`.
        (
            "web.shop.shop.svc.cluster.local.",
            RecordType::A,
            ResponseCode::NoError,
            vec![&vip, "web.shop."],
        ),
        (
            "web.shop.svc.cluster.local.",
            RecordType::AAAA,
            ResponseCode::NoError,
            vec![&vip6],
        ),
        (
            "outside.example.org.",
            RecordType::A,
            ResponseCode::NoError,
            vec!["192.0.2.7"],
        ),
        (
            "nowhere.example.org.",
            RecordType::A,
            ResponseCode::NXDomain,
            vec![],
        ),
    ] {
        let expected = (
            code,
            records.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>(),
        );
        assert_eq!(
            resolve(&client, server, name, asked),
            expected,
            "{name} by datagram"
        );
        assert_eq!(
            resolve_by_stream(&client, server, name, asked),
            expected,
            "{name} by stream"
        );
    }
    let after = counts();
    assert!(
        after[0] >= before[0] + 6 && after[1] >= before[1] + 2,
        "{before:?} {after:?}"
    );
}
