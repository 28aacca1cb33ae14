//! Agents that go away, pods and proxies that end.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::eventually;
use crate::mesh::{DRAIN_SECONDS, Mesh};
use crate::traffic::{Talk, ask};

/// What "at once" may take on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(1500);

pub fn agent_away(mesh: &mut Mesh) {
    let (client, web) = (mesh.pod("client"), mesh.pod("web-1"));
    let node = &mesh.nodes[0];
    let mut talk = Talk::open(&client.netns, web.server()).unwrap();
    talk.say("before").unwrap();
    let snapshots = node.agent.snapshots();
    node.agent.hang_up(true);
    eventually(
        "readiness says that the agent is gone",
        Duration::from_secs(5),
        || {
            let answer = node.proxy.readiness();
            if answer == (500, "not ready, pending: workload proxy manager\n".into()) {
                Ok(())
            } else {
                Err(format!("{answer:?}"))
            }
        },
    );
    talk.say("without an agent").unwrap();
    assert!(ask(&client.netns, web.server(), "new, without an agent").is_ok());
    node.agent.hang_up(false);
    node.agent.wait_for_snapshots(snapshots + 1);
    node.proxy.wait_until_ready();
    talk.say("after").unwrap();
}

pub fn reconciled(mesh: &mut Mesh) {
    let (client, neighbour, web) = (mesh.pod("client"), mesh.pod("neighbour"), mesh.pod("web-1"));
    let node = &mesh.nodes[0];
    let mut kept = Talk::open(&client.netns, web.server()).unwrap();
    let mut cut = Talk::open(&neighbour.netns, web.server()).unwrap();
    kept.say("kept").unwrap();
    cut.say("cut").unwrap();
    let snapshots = node.agent.snapshots();
    node.agent.forget(&neighbour.uid());
    node.agent.hang_up(false);
    node.agent.wait_for_snapshots(snapshots + 1);
    cut.wait_for_end(Duration::from_secs(2 * DRAIN_SECONDS + 5));
    kept.say("still").unwrap();
    node.proxy.wait_until_ready();
    node.agent.add(neighbour.entry());
    assert!(ask(&neighbour.netns, web.server(), "back").is_ok());
}

pub fn deleted(mesh: &mut Mesh) {
    let (client, neighbour) = (mesh.pod("client"), mesh.pod("neighbour"));
    let node = &mesh.nodes[0];
    let mut talk = Talk::open(&client.netns, neighbour.server()).unwrap();
    talk.say("alive").unwrap();
    let answered = node.agent.remove(&neighbour.uid());
    let ended = talk.wait_for_end(Duration::from_secs(5));
    assert!(
        answered < AT_ONCE && ended < AT_ONCE,
        "answered after {answered:?}, ended after {ended:?}"
    );
    // `/pods`, `/certificates` and `/connections` are our own addition to the admin listener.
    if std::env::var_os("ZTUNNEL_BIN").is_none() {
        assert_eq!(node.proxy.admin("/pods"), serde_json::json!([client.uid()]));
        let certificates = node.proxy.admin("/certificates");
        let is_whole = |one: &serde_json::Value| {
            let root = one["root"].as_str().map(str::len);
            one["state"] == "Available" && one["notAfter"].is_string() && root == Some(64)
        };
        assert!(
            certificates.as_array().into_iter().flatten().any(is_whole),
            "the client has one: {certificates}"
        );
        let opened = node.proxy.metric("istio_tcp_connections_opened_total", &[]);
        let counted = node.proxy.admin("/connections");
        assert_eq!(counted["opened"], opened, "{counted}");
        assert!(counted["failed"].is_object(), "{counted}");
        let without = |name: &str| node.proxy.admin(&format!("/connections?without={name}"));
        assert_eq!(without("nobodys"), counted);
        assert_eq!(without("shop")["opened"], 0);
    }
    node.agent.add(neighbour.entry());
    assert!(ask(&client.netns, neighbour.server(), "back").is_ok());
}

pub fn shutdown(mesh: &mut Mesh) {
    let (client, web) = (mesh.pod("client"), mesh.pod("web-1"));
    let mut talk = Talk::open(&client.netns, web.server()).unwrap();
    talk.say("live").unwrap();
    let old = &mut mesh.nodes[0].proxy;
    old.signal(Signal::SIGTERM);
    eventually(
        "no listener is left in the pod",
        Duration::from_secs(1),
        || match ask(&client.netns, web.server(), "new") {
            Err(_) => Ok(()),
            Ok(answer) => Err(answer),
        },
    );
    talk.say("drains").unwrap();
    let cut = talk.wait_for_end(Duration::from_secs(DRAIN_SECONDS + 3));
    assert!(
        cut >= Duration::from_millis(500),
        "the connection was cut after {cut:?}, before the deadline"
    );
    let old = &mut mesh.nodes[0].proxy;
    assert!(old.wait(Duration::from_secs(5)).success());
    old.wait_for_access(&[
        ("direction", "outbound"),
        ("level", "error"),
        ("dst.hbone_addr", &web.server().to_string()),
    ]);

    let snapshots = mesh.nodes[0].agent.snapshots();
    let new = mesh.another_proxy(1);
    mesh.nodes[0].agent.wait_for_snapshots(snapshots + 1);
    mesh.nodes[0].proxy = new;
    mesh.nodes[0].proxy.wait_until_ready();
    assert!(ask(&client.netns, web.server(), "by the new one").is_ok());
}
