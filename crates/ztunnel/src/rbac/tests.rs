//! Tables for authorization.

use super::*;
use crate::policy::{Clause, Scope, ServiceAccount, StringMatch, Values};
use proptest::prelude::*;

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
        (
            "exact principal",
            Match {
                principals: one_of([exact(cart)]),
                ..Match::default()
            },
            true,
        ),
        (
            "other principal",
            Match {
                principals: one_of([exact("cluster.local/ns/shop/sa/pay")]),
                ..Match::default()
            },
            false,
        ),
        (
            "scheme is not part of it",
            Match {
                principals: one_of([exact(&format!("spiffe://{cart}"))]),
                ..Match::default()
            },
            false,
        ),
        (
            "principal prefix",
            Match {
                principals: one_of([StringMatch::Prefix("cluster.local/ns/shop/".into())]),
                ..Match::default()
            },
            true,
        ),
        (
            "principal suffix",
            Match {
                principals: one_of([StringMatch::Suffix("/sa/cart".into())]),
                ..Match::default()
            },
            true,
        ),
        (
            "principal present",
            Match {
                principals: one_of([StringMatch::Presence]),
                ..Match::default()
            },
            true,
        ),
        (
            "one of two principals",
            Match {
                principals: one_of([exact("x"), exact(cart)]),
                ..Match::default()
            },
            true,
        ),
        (
            "excluded principal",
            Match {
                principals: none([exact(cart)]),
                ..Match::default()
            },
            false,
        ),
        (
            "other excluded principal",
            Match {
                principals: none([exact("x")]),
                ..Match::default()
            },
            true,
        ),
        (
            "accepted and excluded",
            Match {
                principals: Values {
                    any: vec![StringMatch::Presence],
                    none: vec![exact(cart)],
                },
                ..Match::default()
            },
            false,
        ),
        (
            "namespace",
            Match {
                namespaces: one_of([exact("shop")]),
                ..Match::default()
            },
            true,
        ),
        (
            "other namespace",
            Match {
                namespaces: one_of([exact("bank")]),
                ..Match::default()
            },
            false,
        ),
        (
            "excluded namespace",
            Match {
                namespaces: none([StringMatch::Prefix("sh".into())]),
                ..Match::default()
            },
            false,
        ),
        (
            "service account",
            Match {
                service_accounts: one_of([account("shop", "cart")]),
                ..Match::default()
            },
            true,
        ),
        (
            "service account elsewhere",
            Match {
                service_accounts: one_of([account("bank", "cart")]),
                ..Match::default()
            },
            false,
        ),
        (
            "excluded service account",
            Match {
                service_accounts: none([account("shop", "cart")]),
                ..Match::default()
            },
            false,
        ),
        (
            "source block",
            Match {
                source_ips: one_of([block("10.0.0.0/8")]),
                ..Match::default()
            },
            true,
        ),
        (
            "other source block",
            Match {
                source_ips: one_of([block("192.168.0.0/16")]),
                ..Match::default()
            },
            false,
        ),
        (
            "excluded source",
            Match {
                source_ips: none([block("10.0.0.7/32")]),
                ..Match::default()
            },
            false,
        ),
        (
            "destination",
            Match {
                destination_ips: one_of([block("10.0.0.9/32")]),
                ..Match::default()
            },
            true,
        ),
        (
            "excluded destination",
            Match {
                destination_ips: none([block("10.0.0.9/32")]),
                ..Match::default()
            },
            false,
        ),
        (
            "port",
            Match {
                destination_ports: one_of([80, 8080]),
                ..Match::default()
            },
            true,
        ),
        (
            "other port",
            Match {
                destination_ports: one_of([80]),
                ..Match::default()
            },
            false,
        ),
        (
            "excluded port",
            Match {
                destination_ports: none([8080]),
                ..Match::default()
            },
            false,
        ),
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
            Match {
                principals: one_of([StringMatch::Presence]),
                ..Match::default()
            },
            false,
        ),
        (
            "empty exact",
            Match {
                principals: one_of([exact("")]),
                ..Match::default()
            },
            false,
        ),
        (
            "empty prefix",
            Match {
                principals: one_of([StringMatch::Prefix("".into())]),
                ..Match::default()
            },
            false,
        ),
        (
            "nobody excluded",
            Match {
                principals: none([StringMatch::Presence]),
                ..Match::default()
            },
            true,
        ),
        (
            "namespace",
            Match {
                namespaces: one_of([exact("")]),
                ..Match::default()
            },
            false,
        ),
        (
            "excluded namespace",
            Match {
                namespaces: none([exact("shop")]),
                ..Match::default()
            },
            true,
        ),
        (
            "service account",
            Match {
                service_accounts: one_of([account("", "")]),
                ..Match::default()
            },
            false,
        ),
        (
            "port only",
            Match {
                destination_ports: one_of([8080]),
                ..Match::default()
            },
            true,
        ),
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
    let yes = || Match {
        destination_ports: one_of([8080]),
        ..Match::default()
    };
    let no = || Match {
        destination_ports: one_of([1]),
        ..Match::default()
    };
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
    let yes = || {
        one(Match {
            destination_ports: one_of([8080]),
            ..Match::default()
        })
    };
    let no = || {
        one(Match {
            destination_ports: one_of([1]),
            ..Match::default()
        })
    };
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
    let yes = || {
        one(Match {
            destination_ports: one_of([8080]),
            ..Match::default()
        })
    };
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
    let strict = one(Match {
        principals: none([StringMatch::Presence]),
        ..Match::default()
    });
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
        one(Match {
            source_ips: one_of([block("10.0.0.0/8")]),
            ..Match::default()
        }),
    );
    let mapped = Connection {
        source: "::ffff:10.0.0.7".parse().unwrap(),
        ..connection()
    };
    assert!(!decide(&[deny], &mapped).is_allowed);
}

fn string_match() -> impl Strategy<Value = StringMatch> {
    let text = prop::sample::select(vec![
        "",
        "shop",
        "bank",
        "cluster.local/ns/shop/sa/cart",
        "cluster.local/ns/bank/sa/pay",
        "/sa/cart",
    ]);
    (0..4_u8, text).prop_map(|(kind, text)| match kind {
        0 => StringMatch::Prefix(text.into()),
        1 => StringMatch::Suffix(text.into()),
        2 => StringMatch::Presence,
        _ => exact(text),
    })
}

fn values<T: std::fmt::Debug + Clone>(
    value: impl Strategy<Value = T> + Clone,
) -> impl Strategy<Value = Values<T>> {
    let list = |value| prop::collection::vec(value, 0..2);
    (list(value.clone()), list(value)).prop_map(|(any, none)| Values { any, none })
}

fn any_match() -> impl Strategy<Value = Match> {
    let account = (
        prop::sample::select(vec!["shop", "bank"]),
        prop::sample::select(vec!["cart", "pay"]),
    )
        .prop_map(|(namespace, name)| account(namespace, name));
    let port = prop::sample::select(vec![80_u16, 8080]);
    (
        values(string_match().boxed()),
        values(string_match().boxed()),
        values(account.boxed()),
        values(port),
    )
        .prop_map(
            |(principals, namespaces, service_accounts, destination_ports)| Match {
                principals,
                namespaces,
                service_accounts,
                destination_ports,
                ..Match::default()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn the_index_decides_as_reading_every_policy_would(
        rules in prop::collection::vec(
            (prop::collection::vec(prop::collection::vec(prop::collection::vec(any_match(), 0..3), 0..3), 0..3),
             proptest::bool::ANY, 0..8_u8),
            0..5,
        ),
        who in 0..3_usize, port in prop::sample::select(vec![80_u16, 8080, 9]),
    ) {
        let policies: Vec<_> = rules.into_iter().enumerate().map(|(number, (rules, is_deny, dry))| {
            let rules: Vec<Vec<Clause>> = rules;
            let action = if is_deny { Action::Deny } else { Action::Allow };
            let plain = policy(&format!("p{number}"), action, rules);
            Arc::new(Policy { dry_run: dry == 0, ..(*plain).clone() })
        }).collect();
        let connection = Connection {
            identity: [None, Some(identity("shop", "cart")), Some(identity("bank", "pay"))][who].clone(),
            destination: std::net::SocketAddr::from(([10, 0, 0, 9], port)),
            ..connection()
        };
        let matching = |action: Action, dry_run: bool| policies.iter().any(|p| {
            p.action == action && p.dry_run == dry_run && policy_matches(p, &connection)
        });
        let has_allow = policies.iter().any(|p| p.action == Action::Allow && !p.dry_run);
        let expected = !matching(Action::Deny, false) && (!has_allow || matching(Action::Allow, false));
        let decision = decide(&policies, &connection);
        prop_assert_eq!(decision.is_allowed, expected);
        let dry = policies.iter().filter(|p| p.dry_run && policy_matches(p, &connection)).count();
        prop_assert_eq!(decision.dry_run.len(), dry);
    }
}
