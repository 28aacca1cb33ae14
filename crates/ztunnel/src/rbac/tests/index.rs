//! The index against reading every policy.

use super::*;
use crate::policy::Clause;
use proptest::prelude::*;

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
                namespaces,
                principals,
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
