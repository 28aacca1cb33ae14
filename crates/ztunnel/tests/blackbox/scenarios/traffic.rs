//! Plain traffic.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::capture::Capture;
use crate::mesh::{Family, Mesh, PORT, WEB};
use crate::traffic::{Talk, ask};

pub fn cross_node(mesh: &mut Mesh, family: Family) {
    let (client, web) = (mesh.pod("client"), mesh.pod("web-1"));
    let capture = Capture::start(&mesh.lan);
    let answer = ask(
        &client.netns,
        web.server_at(family),
        "a-secret-nobody-reads",
    )
    .unwrap();
    assert_eq!(
        answer,
        format!("web-1 {} a-secret-nobody-reads", client.address(family)),
        "the server sees the client's own address"
    );
    assert!(
        !capture.saw("a-secret-nobody-reads"),
        "plain text between the nodes"
    );
    let tunnel = SocketAddr::new(web.address(family), 15008).to_string();
    let inside = web.server_at(family).to_string();
    let (from, to) = (client.identity(), web.identity());
    for (proxy, direction) in [
        (mesh.proxy_of(&client), "outbound"),
        (mesh.proxy_of(&web), "inbound"),
    ] {
        proxy.wait_for_access(&[
            ("message", "connection complete"),
            ("direction", direction),
            ("src.identity", &from),
            ("dst.identity", &to),
            ("dst.addr", &tunnel),
            ("dst.hbone_addr", &inside),
        ]);
    }
}

pub fn same_node(mesh: &mut Mesh) {
    let (client, neighbour) = (mesh.pod("client"), mesh.pod("neighbour"));
    let answer = ask(&client.netns, neighbour.server(), "next door").unwrap();
    assert_eq!(answer, format!("neighbour {} next door", client.ip));
    let inside = neighbour.server().to_string();
    for direction in ["outbound", "inbound"] {
        mesh.proxy_of(&client)
            .wait_for_access(&[("direction", direction), ("dst.hbone_addr", &inside)]);
    }
}

pub fn to_uncaptured(mesh: &mut Mesh, family: Family) {
    let (client, legacy) = (mesh.pod("client"), mesh.pod("legacy"));
    let server = legacy.server_at(family);
    let capture = Capture::start(&mesh.lan);
    let answer = ask(&client.netns, server, "readable-by-all").unwrap();
    assert_eq!(
        answer,
        format!("legacy {} readable-by-all", client.address(family))
    );
    assert!(
        capture.saw("readable-by-all"),
        "plain text to a pod outside the mesh is plain: the capture works"
    );
    let line = mesh
        .proxy_of(&client)
        .wait_for_access(&[("direction", "outbound"), ("dst.addr", &server.to_string())]);
    assert!(line.get("dst.hbone_addr").is_none(), "{line}");
}

pub fn from_uncaptured(mesh: &mut Mesh, family: Family) {
    let (stranger, web) = (mesh.pod("stranger"), mesh.pod("web-1"));
    let server = web.server_at(family);
    let answer = ask(&stranger.netns, server, "from outside").unwrap();
    assert_eq!(
        answer,
        format!("web-1 {} from outside", stranger.address(family))
    );
    let line = mesh
        .proxy_of(&web)
        .wait_for_access(&[("direction", "inbound"), ("dst.addr", &server.to_string())]);
    assert!(line.get("src.identity").is_none(), "{line}");
}

pub fn service(mesh: &mut Mesh, family: Family) {
    let client = mesh.pod("client");
    let own = client.address(family).to_string();
    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        let answer = ask(&client.netns, SocketAddr::new(family.web(), 80), "who").unwrap();
        let mut words = answer.split(' ');
        seen.insert(words.next().unwrap().to_owned());
        assert_eq!(words.next(), Some(own.as_str()));
    }
    assert_eq!(
        seen,
        BTreeSet::from(["web-1".to_owned(), "web-2".to_owned()])
    );
    let tunnel = SocketAddr::new(mesh.pod("web-1").address(family), 15008).to_string();
    mesh.proxy_of(&client).wait_for_access(&[
        ("direction", "outbound"),
        ("dst.service", WEB),
        ("dst.addr", &tunnel),
    ]);
}

pub fn refused(mesh: &mut Mesh) {
    let (client, web) = (mesh.pod("client"), mesh.pod("web-1"));
    let nobody = SocketAddr::from((web.ip, 9));
    assert!(ask(&client.netns, nobody, "x").is_err());
    let inside = nobody.to_string();
    let line = mesh
        .proxy_of(&client)
        .wait_for_access(&[("direction", "outbound"), ("dst.hbone_addr", &inside)]);
    assert!(
        line["error"].as_str().is_some_and(|e| !e.is_empty()),
        "{line}"
    );
    mesh.proxy_of(&web)
        .wait_for_access(&[("direction", "inbound"), ("dst.hbone_addr", &inside)]);
}

pub fn metrics(mesh: &mut Mesh) {
    let (client, web) = (mesh.pod("client"), mesh.pod("web-2"));
    let common = [
        ("source_workload", "client-deployment"),
        ("source_principal", &*client.identity()),
        ("source_workload_namespace", "shop"),
        ("destination_workload", "web-deployment"),
        ("destination_principal", &*web.identity()),
        ("destination_canonical_service", "web"),
        ("destination_canonical_revision", "v1"),
        ("destination_cluster", "Kubernetes"),
        ("request_protocol", "tcp"),
        ("response_flags", "-"),
        ("connection_security_policy", "mutual_tls"),
    ];
    for (pod, reporter) in [(&client, "source"), (&web, "destination")] {
        let labels: Vec<(&str, &str)> = common
            .iter()
            .copied()
            .chain([("reporter", reporter)])
            .collect();
        let proxy = mesh.proxy_of(pod);
        let count = |name: &str| proxy.metric(name, &labels);
        let names = [
            "istio_tcp_connections_opened_total",
            "istio_tcp_connections_closed_total",
            "istio_tcp_received_bytes_total",
            "istio_tcp_sent_bytes_total",
        ];
        let before = names.map(count);
        let answer = ask(&client.netns, web.server(), "0123456789").unwrap();
        let expected = [1, 1, 11, answer.len() as u64 + 1];
        crate::eventually(
            "the counters moved",
            std::time::Duration::from_secs(5),
            || {
                let moved: Vec<u64> = names
                    .map(count)
                    .iter()
                    .zip(before)
                    .map(|(now, then)| now - then)
                    .collect();
                if moved == expected {
                    Ok(())
                } else {
                    Err(format!("{reporter}: {moved:?} instead of {expected:?}"))
                }
            },
        );
    }
    let proxy = mesh.proxy_of(&client);
    assert_eq!(proxy.metric("workload_manager_active_proxy_count", &[]), 2);
    assert_eq!(proxy.metric("istio_build", &[("component", "ztunnel")]), 1);
    assert!(
        proxy.metric(
            "istio_xds_message_total",
            &[("url", "type.googleapis.com/istio.workload.Address")]
        ) >= 1
    );
}

pub fn access_log(mesh: &mut Mesh) {
    let (client, web) = (mesh.pod("client"), mesh.pod("web-2"));
    let mut talk = Talk::open(&client.netns, SocketAddr::from((web.ip, PORT))).unwrap();
    let answer = talk.say("counted").unwrap();
    drop(talk);
    let (request, response) = (
        "counted\n".len().to_string(),
        (answer.len() + 1).to_string(),
    );
    for (pod, direction, sent, received) in [
        (&client, "outbound", &request, &response),
        (&web, "inbound", &response, &request),
    ] {
        let line = mesh.proxy_of(pod).wait_for_access(&[
            ("level", "info"),
            ("message", "connection complete"),
            ("direction", direction),
            ("bytes_sent", sent),
            ("bytes_recv", received),
            ("src.workload", "client"),
            ("src.namespace", "shop"),
            ("src.cluster", "Kubernetes"),
            ("dst.workload", "web-2"),
            ("dst.namespace", "shop"),
            ("dst.cluster", "Kubernetes"),
        ]);
        let source: SocketAddr = line["src.addr"].as_str().unwrap().parse().unwrap();
        assert_eq!(source.ip(), std::net::IpAddr::from(client.ip), "{line}");
        assert!(line["duration"].as_str().unwrap().ends_with("ms"), "{line}");
        assert!(line.get("error").is_none(), "{line}");
    }
}
