//! Tunnels that no good proxy would make, and calls to the proxy's own ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use http::Method;

use crate::mesh::{Family, Mesh, NAMED, PORT, WEB};
use crate::traffic::Talk;
use crate::tunnel::request;

pub fn refused(mesh: &mut Mesh, family: Family) {
    let (stranger, web, other) = (mesh.pod("stranger"), mesh.pod("web-1"), mesh.pod("web-2"));
    let tls = mesh
        .root
        .client_config("spiffe://cluster.local/ns/shop/sa/stranger");
    let at = |port: u16| SocketAddr::new(web.address(family), port).to_string();
    let cases = [
        (Method::CONNECT, at(PORT), 200),
        // The target is always the address the tunnel came to: not another pod's, nor the pod's own of the other family.
        (Method::CONNECT, other.server_at(family).to_string(), 400),
        (
            Method::CONNECT,
            web.server_at(family.other()).to_string(),
            400,
        ),
        (Method::GET, at(PORT), 400),
        (Method::CONNECT, at(15001), 503),
        (Method::CONNECT, at(15006), 503),
        (Method::CONNECT, at(15008), 503),
        (
            Method::CONNECT,
            "nobody.shop.svc.cluster.local:80".to_owned(),
            503,
        ),
        // By the name of a service the pod belongs to: a port with a number, one with a name, and one that it has not.
        (Method::CONNECT, format!("{WEB}:80"), 200),
        (Method::CONNECT, format!("{WEB}:{NAMED}"), 200),
        (Method::CONNECT, format!("{WEB}:82"), 503),
        // Nothing listens there.
        (Method::CONNECT, at(9), 503),
    ];
    for (method, authority, status) in cases {
        let answer = request(
            mesh.runtime.handle(),
            &stranger.netns,
            tls.clone(),
            web.address(family),
            method.clone(),
            &authority,
        );
        assert_eq!(answer, Ok(status), "{method} {authority}");
    }
}

pub fn foreign(mesh: &mut Mesh) {
    let (stranger, web) = (mesh.pod("stranger"), mesh.pod("web-1"));
    let authority = web.server().to_string();
    let tls = mesh
        .root
        .client_config("spiffe://elsewhere.org/ns/shop/sa/client");
    let answer = request(
        mesh.runtime.handle(),
        &stranger.netns,
        tls,
        web.ip.into(),
        Method::CONNECT,
        &authority,
    );
    assert!(answer.is_err(), "{answer:?}");
    // Another root, the right name.
    let tls =
        crate::authority::Root::new().client_config("spiffe://cluster.local/ns/shop/sa/client");
    let answer = request(
        mesh.runtime.handle(),
        &stranger.netns,
        tls,
        web.ip.into(),
        Method::CONNECT,
        &authority,
    );
    assert!(answer.is_err(), "{answer:?}");
}

pub fn loops(mesh: &mut Mesh) {
    let (client, web) = (mesh.pod("client"), mesh.pod("web-1"));
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    for (to, port) in [
        (loopback, 15001),
        (loopback, 15006),
        (client.ip.into(), 15001),
        (client.ip.into(), 15006),
        (web.ip.into(), 15001),
        (web.ip.into(), 15006),
    ] {
        let began = Instant::now();
        let answered = Talk::open(&client.netns, SocketAddr::new(to, port))
            .and_then(|mut talk| talk.say("loop"));
        assert!(answered.is_err(), "{to}:{port} answered {answered:?}");
        assert!(
            began.elapsed() < Duration::from_secs(4),
            "{to}:{port} hangs"
        );
    }
    let open = mesh.proxy_of(&client).metric("process_open_fds", &[]);
    assert!(open < 1000, "{open} descriptors: a loop?");
}
