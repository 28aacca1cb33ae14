//! Who may connect.

use std::time::Duration;

use applink_ztunnel::proto::authorization::{
    Action, Authorization, Clause, Match, Rule, Scope, StringMatch, string_match::MatchType,
};

use crate::mesh::{Mesh, Pod};
use crate::traffic::{Talk, ask};

fn principal(pod: &Pod) -> StringMatch {
    MatchType::Exact(pod.identity().trim_start_matches("spiffe://").to_owned()).into()
}

fn policy(name: &str, scope: Scope, action: Action, one: Match) -> Authorization {
    let namespace = if scope == Scope::Global { "" } else { "shop" };
    Authorization {
        name: name.into(),
        namespace: namespace.into(),
        scope: scope as i32,
        action: action as i32,
        rules: vec![Rule {
            clauses: vec![Clause { matches: vec![one] }],
        }],
        ..Authorization::default()
    }
}

pub fn allow(mesh: &mut Mesh) {
    let (client, neighbour, web) = (mesh.pod("client"), mesh.pod("neighbour"), mesh.pod("web-1"));
    let only_neighbour = Match {
        principals: vec![principal(&neighbour)],
        ..Match::default()
    };
    mesh.istiod.policy(&policy(
        "only-neighbour",
        Scope::WorkloadSelector,
        Action::Allow,
        only_neighbour,
    ));
    let mut selected = web.workload();
    selected.authorization_policies = vec!["shop/only-neighbour".into()];
    mesh.istiod.workload(selected);

    assert_eq!(
        ask(&neighbour.netns, web.server(), "may").unwrap(),
        format!("web-1 {} may", neighbour.ip)
    );
    assert!(ask(&client.netns, web.server(), "may not").is_err());
    assert!(
        ask(&mesh.pod("stranger").netns, web.server(), "may not").is_err(),
        "plain text has no principal"
    );
    assert!(
        ask(&client.netns, mesh.pod("web-2").server(), "other pod").is_ok(),
        "only the selected pod is closed"
    );
    let line = mesh.proxy_of(&web).wait_for_access(&[
        ("direction", "inbound"),
        ("src.identity", &client.identity()),
        ("dst.hbone_addr", &web.server().to_string()),
        ("level", "error"),
    ]);
    assert!(line["error"].as_str().unwrap().contains("policy"), "{line}");
    assert!(
        mesh.proxy_of(&web).metric(
            "istio_tcp_connections_failed_total",
            &[("response_flags", "DENY")]
        ) >= 1
    );

    mesh.istiod.workload(web.workload());
    mesh.istiod.remove_policy("shop/only-neighbour");
    assert!(ask(&client.netns, web.server(), "again").is_ok());
}

pub fn live(mesh: &mut Mesh) {
    let (client, neighbour, web) = (mesh.pod("client"), mesh.pod("neighbour"), mesh.pod("web-1"));
    let mut denied = Talk::open(&client.netns, web.server()).unwrap();
    let mut kept = Talk::open(&neighbour.netns, web.server()).unwrap();
    denied.say("hello").unwrap();
    kept.say("hello").unwrap();
    let no_client = Match {
        principals: vec![principal(&client)],
        ..Match::default()
    };
    mesh.istiod.policy(&policy(
        "no-client",
        Scope::Namespace,
        Action::Deny,
        no_client,
    ));
    denied.wait_for_end(Duration::from_secs(5));
    kept.say("still there").unwrap();
    assert!(ask(&client.netns, web.server(), "a new one").is_err());
    mesh.istiod.remove_policy("shop/no-client");
    assert!(ask(&client.netns, web.server(), "again").is_ok());
    kept.say("all the time").unwrap();
}

pub fn strict(mesh: &mut Mesh) {
    let (client, stranger, web) = (mesh.pod("client"), mesh.pod("stranger"), mesh.pod("web-1"));
    let without_identity = Match {
        not_principals: vec![MatchType::Presence(()).into()],
        ..Match::default()
    };
    mesh.istiod.policy(&policy(
        "istio_converted_static_strict",
        Scope::Global,
        Action::Deny,
        without_identity,
    ));
    assert!(ask(&stranger.netns, web.server(), "plain").is_err());
    assert!(ask(&client.netns, web.server(), "in a tunnel").is_ok());
    mesh.istiod.remove_policy("/istio_converted_static_strict");
    assert!(ask(&stranger.netns, web.server(), "plain again").is_ok());
}
