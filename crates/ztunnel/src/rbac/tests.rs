//! Tables for authorization.

mod index;

use super::*;
use crate::policy::{Scope, ServiceAccount, StringMatch, Values};

fn identity(namespace: &str, account: &str) -> Identity {
    Identity::new("cluster.local", namespace, account).unwrap()
}

/// A client `shop/cart` at 10.0.0.7 that calls 10.0.0.9:8080.
fn connection() -> Connection {
    Connection {
        identity: Some(identity("shop", "cart")),
        source: "10.0.0.7".parse().unwrap(),
        destination: "10.0.0.9:8080".parse().unwrap(),
    }
}

fn plain() -> Connection {
    Connection {
        identity: None,
        ..connection()
    }
}

fn one_of<T>(values: impl IntoIterator<Item = T>) -> Values<T> {
    Values {
        any: values.into_iter().collect(),
        none: Vec::new(),
    }
}

fn none<T>(values: impl IntoIterator<Item = T>) -> Values<T> {
    Values {
        any: Vec::new(),
        none: values.into_iter().collect(),
    }
}

fn principals(values: Values<StringMatch>) -> Match {
    Match {
        principals: values,
        ..Match::default()
    }
}

fn namespaces(values: Values<StringMatch>) -> Match {
    Match {
        namespaces: values,
        ..Match::default()
    }
}

fn service_accounts(values: Values<ServiceAccount>) -> Match {
    Match {
        service_accounts: values,
        ..Match::default()
    }
}

fn source_ips(values: Values<crate::addr::Cidr>) -> Match {
    Match {
        source_ips: values,
        ..Match::default()
    }
}

fn destination_ips(values: Values<crate::addr::Cidr>) -> Match {
    Match {
        destination_ips: values,
        ..Match::default()
    }
}

fn destination_ports(values: Values<u16>) -> Match {
    Match {
        destination_ports: values,
        ..Match::default()
    }
}

fn exact(text: &str) -> StringMatch {
    StringMatch::Exact(text.into())
}

fn account(namespace: &str, name: &str) -> ServiceAccount {
    ServiceAccount {
        namespace: namespace.into(),
        name: name.into(),
    }
}

fn block(text: &str) -> crate::addr::Cidr {
    let (address, length) = text.split_once('/').unwrap();
    crate::addr::Cidr::new(address.parse().unwrap(), length.parse().unwrap()).unwrap()
}

fn policy(name: &str, action: Action, rules: Vec<Rule>) -> Arc<Policy> {
    Arc::new(Policy {
        name: name.into(),
        namespace: "shop".into(),
        scope: Scope::Namespace,
        action,
        rules,
        dry_run: false,
    })
}

fn one(m: Match) -> Vec<Rule> {
    vec![vec![vec![m]]]
}

fn decide(policies: &[Arc<Policy>], connection: &Connection) -> Decision {
    authorize([&PolicySet::new(policies.to_vec())], connection)
}

#[test]
fn one_match_is_accepted_when_all_its_fields_are() {
    let cart = "cluster.local/ns/shop/sa/cart";
    let table: Vec<(&str, Match, bool)> = vec![
        ("exact principal", principals(one_of([exact(cart)])), true),
        (
            "other principal",
            principals(one_of([exact("cluster.local/ns/shop/sa/pay")])),
            false,
        ),
        (
            "scheme is not part of it",
            principals(one_of([exact(&format!("spiffe://{cart}"))])),
            false,
        ),
        (
            "principal prefix",
            principals(one_of([StringMatch::Prefix(
                "cluster.local/ns/shop/".into(),
            )])),
            true,
        ),
        (
            "principal suffix",
            principals(one_of([StringMatch::Suffix("/sa/cart".into())])),
            true,
        ),
        (
            "principal present",
            principals(one_of([StringMatch::Presence])),
            true,
        ),
        (
            "one of two principals",
            principals(one_of([exact("x"), exact(cart)])),
            true,
        ),
        ("excluded principal", principals(none([exact(cart)])), false),
        (
            "other excluded principal",
            principals(none([exact("x")])),
            true,
        ),
        (
            "accepted and excluded",
            principals(Values {
                any: vec![StringMatch::Presence],
                none: vec![exact(cart)],
            }),
            false,
        ),
        ("namespace", namespaces(one_of([exact("shop")])), true),
        (
            "other namespace",
            namespaces(one_of([exact("bank")])),
            false,
        ),
        (
            "excluded namespace",
            namespaces(none([StringMatch::Prefix("sh".into())])),
            false,
        ),
        (
            "service account",
            service_accounts(one_of([account("shop", "cart")])),
            true,
        ),
        (
            "service account elsewhere",
            service_accounts(one_of([account("bank", "cart")])),
            false,
        ),
        (
            "excluded service account",
            service_accounts(none([account("shop", "cart")])),
            false,
        ),
        (
            "source block",
            source_ips(one_of([block("10.0.0.0/8")])),
            true,
        ),
        (
            "other source block",
            source_ips(one_of([block("192.168.0.0/16")])),
            false,
        ),
        (
            "excluded source",
            source_ips(none([block("10.0.0.7/32")])),
            false,
        ),
        (
            "destination",
            destination_ips(one_of([block("10.0.0.9/32")])),
            true,
        ),
        (
            "excluded destination",
            destination_ips(none([block("10.0.0.9/32")])),
            false,
        ),
        ("port", destination_ports(one_of([80, 8080])), true),
        ("other port", destination_ports(one_of([80])), false),
        ("excluded port", destination_ports(none([8080])), false),
        (
            "all fields",
            Match {
                principals: one_of([exact(cart)]),
                destination_ports: one_of([8080]),
                ..Match::default()
            },
            true,
        ),
        (
            "one field fails",
            Match {
                principals: one_of([exact(cart)]),
                destination_ports: one_of([80]),
                ..Match::default()
            },
            false,
        ),
    ];
    for (case, m, expected) in table {
        let deny = policy("p", Action::Deny, one(m));
        assert_eq!(policy_matches(&deny, &connection()), expected, "{case}");
        assert_eq!(
            decide(&[deny], &connection()).is_allowed,
            !expected,
            "{case}, indexed"
        );
    }
}

#[test]
fn a_client_without_identity_equals_nobody() {
    let table: Vec<(&str, Match, bool)> = vec![
        (
            "presence",
            principals(one_of([StringMatch::Presence])),
            false,
        ),
        ("empty exact", principals(one_of([exact("")])), false),
        (
            "empty prefix",
            principals(one_of([StringMatch::Prefix("".into())])),
            false,
        ),
        (
            "nobody excluded",
            principals(none([StringMatch::Presence])),
            true,
        ),
        ("namespace", namespaces(one_of([exact("")])), false),
        (
            "excluded namespace",
            namespaces(none([exact("shop")])),
            true,
        ),
        (
            "service account",
            service_accounts(one_of([account("", "")])),
            false,
        ),
        ("port only", destination_ports(one_of([8080])), true),
    ];
    for (case, m, expected) in table {
        let deny = policy("p", Action::Deny, one(m));
        assert_eq!(policy_matches(&deny, &plain()), expected, "{case}");
        assert_eq!(
            decide(&[deny], &plain()).is_allowed,
            !expected,
            "{case}, indexed"
        );
    }
}

#[test]
fn rules_are_or_clauses_are_and_matches_are_or() {
    let yes = || destination_ports(one_of([8080]));
    let no = || destination_ports(one_of([1]));
    let table: Vec<(&str, Vec<Rule>, bool)> = vec![
        ("no rules", vec![], false),
        ("a rule without clauses", vec![vec![]], true),
        ("an empty clause", vec![vec![vec![]]], true),
        (
            "an empty match is skipped",
            vec![vec![vec![Match::default()]]],
            false,
        ),
        (
            "an empty match beside a good one",
            vec![vec![vec![Match::default(), yes()]]],
            true,
        ),
        (
            "one of two rules",
            vec![vec![vec![no()]], vec![vec![yes()]]],
            true,
        ),
        (
            "one of two clauses",
            vec![vec![vec![yes()], vec![no()]]],
            false,
        ),
        ("both clauses", vec![vec![vec![yes()], vec![yes()]]], true),
        ("one of two matches", vec![vec![vec![no(), yes()]]], true),
        (
            "an empty clause and a failing one",
            vec![vec![vec![], vec![no()]]],
            false,
        ),
    ];
    for (case, rules, expected) in table {
        let deny = policy("p", Action::Deny, rules);
        assert_eq!(policy_matches(&deny, &connection()), expected, "{case}");
        assert_eq!(
            decide(&[deny], &connection()).is_allowed,
            !expected,
            "{case}, indexed"
        );
    }
}

#[test]
fn deny_wins_then_an_allow_must_match_if_there_is_any() {
    let yes = || one(destination_ports(one_of([8080])));
    let no = || one(destination_ports(one_of([1])));
    let (allow, deny) = (
        |rules| policy("a", Action::Allow, rules),
        |rules| policy("d", Action::Deny, rules),
    );
    let named = |name: &str| Reason::Policy(format!("shop/{name}").into());
    let table = vec![
        ("nothing applies", vec![], true, Reason::NoPolicy),
        ("deny matches", vec![deny(yes())], false, named("d")),
        (
            "deny does not match",
            vec![deny(no())],
            true,
            Reason::NoPolicy,
        ),
        ("allow matches", vec![allow(yes())], true, named("a")),
        (
            "allow does not match",
            vec![allow(no())],
            false,
            Reason::NoAllowMatched,
        ),
        (
            "both match",
            vec![allow(yes()), deny(yes())],
            false,
            named("d"),
        ),
        (
            "only allow matches",
            vec![allow(yes()), deny(no())],
            true,
            named("a"),
        ),
        (
            "neither matches",
            vec![allow(no()), deny(no())],
            false,
            Reason::NoAllowMatched,
        ),
        (
            "one allow of two",
            vec![policy("x", Action::Allow, no()), allow(yes())],
            true,
            named("a"),
        ),
        (
            "allow without rules denies everything",
            vec![allow(vec![])],
            false,
            Reason::NoAllowMatched,
        ),
        (
            "deny without rules denies nothing",
            vec![deny(vec![])],
            true,
            Reason::NoPolicy,
        ),
    ];
    for (case, policies, is_allowed, reason) in table {
        let decision = decide(&policies, &connection());
        assert_eq!(
            (decision.is_allowed, decision.reason),
            (is_allowed, reason),
            "{case}"
        );
        // Each policy in a set of its own: the same decision.
        let sets: Vec<PolicySet> = policies
            .iter()
            .map(|p| PolicySet::new(vec![Arc::clone(p)]))
            .collect();
        assert_eq!(
            authorize(&sets, &connection()).is_allowed,
            is_allowed,
            "{case}, apart"
        );
    }
}

#[test]
fn a_policy_in_dry_run_only_reports() {
    let yes = || one(destination_ports(one_of([8080])));
    let dry = |name: &str, action, rules| {
        Arc::new(Policy {
            dry_run: true,
            ..(*policy(name, action, rules)).clone()
        })
    };
    let decision = decide(
        &[
            dry("d", Action::Deny, yes()),
            dry("a", Action::Allow, vec![]),
        ],
        &connection(),
    );
    assert_eq!(
        (decision.is_allowed, decision.reason),
        (true, Reason::NoPolicy)
    );
    assert_eq!(
        decision.dry_run,
        [DryRun {
            policy: "shop/d".into(),
            action: Action::Deny
        }]
    );
    // Two rules of one policy are one report.
    let twice = dry("d", Action::Deny, [yes(), yes()].concat());
    assert_eq!(decide(&[twice], &connection()).dry_run.len(), 1);
}

#[test]
fn converted_peer_authentication_denies_plain_text_only() {
    // As istiod sends STRICT: deny whoever has no principal.
    let strict = one(principals(none([StringMatch::Presence])));
    let deny = policy("istio_converted_static_strict", Action::Deny, strict);
    assert!(deny.is_peer_authentication());
    assert!(decide(&[Arc::clone(&deny)], &connection()).is_allowed);
    assert!(!decide(&[deny], &plain()).is_allowed);
    assert!(
        policy("converted_peer_authentication_x", Action::Deny, vec![]).is_peer_authentication()
    );
    assert!(!policy("mine", Action::Deny, vec![]).is_peer_authentication());
}

#[test]
fn mapped_addresses_match_ipv4_blocks() {
    let deny = policy(
        "p",
        Action::Deny,
        one(source_ips(one_of([block("10.0.0.0/8")]))),
    );
    let mapped = Connection {
        source: "::ffff:10.0.0.7".parse().unwrap(),
        ..connection()
    };
    assert!(!decide(&[deny], &mapped).is_allowed);
}
