//! Traffic over IPv6.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use http::Method;

use crate::capture::Capture;
use crate::mesh::{Mesh, PORT, WEB, WEB_VIP6};
use crate::traffic::ask;
use crate::tunnel::request;

pub fn cross_node(mesh: &mut Mesh) {
    let (client, web) = (mesh.pod("client"), mesh.pod("web-1"));
    let capture = Capture::start(&mesh.lan);
    let answer = ask(&client.netns, web.server6(), "across-in-version-six").unwrap();
    assert_eq!(
        answer,
        format!("web-1 {} across-in-version-six", client.ip6),
        "the server sees the client's own address"
    );
    assert!(
        !capture.saw("across-in-version-six"),
        "plain text between the nodes"
    );
    let tunnel = format!("[{}]:15008", web.ip6);
    let inside = web.server6().to_string();
    for (proxy, direction) in [
        (mesh.proxy_of(&client), "outbound"),
        (mesh.proxy_of(&web), "inbound"),
    ] {
        proxy.wait_for_access(&[
            ("message", "connection complete"),
            ("direction", direction),
            ("src.identity", &client.identity()),
            ("dst.identity", &web.identity()),
            ("dst.addr", &tunnel),
            ("dst.hbone_addr", &inside),
        ]);
    }
}

pub fn passthrough(mesh: &mut Mesh) {
    let (client, legacy) = (mesh.pod("client"), mesh.pod("legacy"));
    let answer = ask(&client.netns, legacy.server6(), "out").unwrap();
    assert_eq!(answer, format!("legacy {} out", client.ip6));
    let line = mesh.proxy_of(&client).wait_for_access(&[
        ("direction", "outbound"),
        ("dst.addr", &legacy.server6().to_string()),
    ]);
    assert!(line.get("dst.hbone_addr").is_none(), "{line}");

    let (stranger, web) = (mesh.pod("stranger"), mesh.pod("web-1"));
    let answer = ask(&stranger.netns, web.server6(), "in").unwrap();
    assert_eq!(answer, format!("web-1 {} in", stranger.ip6));
    let line = mesh.proxy_of(&web).wait_for_access(&[
        ("direction", "inbound"),
        ("dst.addr", &web.server6().to_string()),
    ]);
    assert!(line.get("src.identity").is_none(), "{line}");
}

pub fn service(mesh: &mut Mesh) {
    let client = mesh.pod("client");
    let vip = SocketAddr::from((WEB_VIP6, 80));
    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        let answer = ask(&client.netns, vip, "who").unwrap();
        let mut words = answer.split(' ');
        seen.insert(words.next().unwrap().to_owned());
        assert_eq!(words.next(), Some(client.ip6.to_string().as_str()));
    }
    assert_eq!(
        seen,
        BTreeSet::from(["web-1".to_owned(), "web-2".to_owned()])
    );
    mesh.proxy_of(&client).wait_for_access(&[
        ("direction", "outbound"),
        ("dst.service", WEB),
        ("dst.addr", &format!("[{}]:15008", mesh.pod("web-1").ip6)),
    ]);
}

pub fn refused(mesh: &mut Mesh) {
    let (stranger, web, other) = (mesh.pod("stranger"), mesh.pod("web-1"), mesh.pod("web-2"));
    let tls = mesh
        .root
        .client_config("spiffe://cluster.local/ns/shop/sa/stranger");
    for (authority, status) in [
        (format!("[{}]:{PORT}", web.ip6), 200),
        (format!("[{}]:{PORT}", other.ip6), 400),
        // The pod's other address is not the one the tunnel came to.
        (format!("{}:{PORT}", web.ip), 400),
        (format!("[{}]:15008", web.ip6), 503),
    ] {
        let answer = request(
            mesh.runtime.handle(),
            &stranger.netns,
            tls.clone(),
            web.ip6.into(),
            Method::CONNECT,
            &authority,
        );
        assert_eq!(answer, Ok(status), "{authority}");
    }
}
