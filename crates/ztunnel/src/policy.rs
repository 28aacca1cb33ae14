//! An authorization policy: who may connect to what.
//!
//! Layer 3. The domain type and its conversion from xDS; evaluation is in `rbac`.

use std::sync::Arc;

use crate::addr::Cidr;
use crate::proto::authorization as proto;
use crate::workload::{Error, ip, known, port};

/// What a policy applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Every workload.
    Global,
    /// Workloads of its namespace.
    Namespace,
    /// Workloads that name it.
    WorkloadSelector,
}

/// What a match means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Let through.
    Allow,
    /// Refuse.
    Deny,
}

/// How a text is compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StringMatch {
    /// Equal.
    Exact(Arc<str>),
    /// Starts with.
    Prefix(Arc<str>),
    /// Ends with.
    Suffix(Arc<str>),
    /// Is not empty.
    Presence,
}

impl StringMatch {
    /// Whether `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *text,
            Self::Prefix(prefix) => text.starts_with(&**prefix),
            Self::Suffix(suffix) => text.ends_with(&**suffix),
            Self::Presence => !text.is_empty(),
        }
    }
}

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// A positive and a negative list; an empty positive list accepts anything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Values<T> {
    /// One of these must match, unless empty.
    pub any: Vec<T>,
    /// None of these may match.
    pub none: Vec<T>,
}

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self {
            any: Vec::new(),
            none: Vec::new(),
        }
    }
}

impl<T> Values<T> {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.any.is_empty() && self.none.is_empty()
    }

    /// Whether the lists accept what `is` recognises.
    pub fn accept(&self, is: impl Fn(&T) -> bool) -> bool {
        (self.any.is_empty() || self.any.iter().any(&is)) && !self.none.iter().any(&is)
    }
}

/// All fields must accept the connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Match {
    /// Namespace of the client's identity.
    pub namespaces: Values<StringMatch>,
    /// The client's identity without `spiffe://`.
    pub principals: Values<StringMatch>,
    /// Namespace and service account of the client's identity.
    pub service_accounts: Values<ServiceAccount>,
    /// Client address.
    pub source_ips: Values<Cidr>,
    /// Destination address.
    pub destination_ips: Values<Cidr>,
    /// Destination port.
    pub destination_ports: Values<u16>,
}

impl Match {
    /// Whether no field asks anything. Such a match is skipped.
    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
            && self.principals.is_empty()
            && self.service_accounts.is_empty()
            && self.source_ips.is_empty()
            && self.destination_ips.is_empty()
            && self.destination_ports.is_empty()
    }
}

/// Any match suffices; no match at all means the clause is satisfied.
pub type Clause = Vec<Match>;

/// All clauses must be satisfied.
pub type Rule = Vec<Clause>;

/// One policy. Immutable once stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Name.
    pub name: Arc<str>,
    /// Namespace; empty for the root namespace.
    pub namespace: Arc<str>,
    /// What it applies to.
    pub scope: Scope,
    /// What a match means.
    pub action: Action,
    /// Any rule suffices; none means the policy never matches.
    pub rules: Vec<Rule>,
    /// Only log what it would do.
    pub dry_run: bool,
}

/// Name of the policy istiod makes from a strict `PeerAuthentication` that covers everything.
const STATIC_STRICT: &str = "istio_converted_static_strict";
/// How the names of other converted `PeerAuthentication` policies start.
const CONVERTED_PREFIX: &str = "converted_peer_authentication_";

impl Policy {
    /// Its key: `namespace/name`.
    pub fn key(&self) -> Arc<str> {
        format!("{}/{}", self.namespace, self.name).into()
    }

    /// Whether istiod made it from a `PeerAuthentication`, so a denial is about missing mTLS.
    pub fn is_peer_authentication(&self) -> bool {
        &*self.name == STATIC_STRICT || self.name.starts_with(CONVERTED_PREFIX)
    }
}

impl TryFrom<proto::Authorization> for Policy {
    type Error = Error;

    fn try_from(source: proto::Authorization) -> Result<Self, Error> {
        if source.name.is_empty() {
            return Err(Error::Missing("name"));
        }
        let clause =
            |clause: proto::Clause| clause.matches.into_iter().map(Match::try_from).collect();
        let rule = |rule: proto::Rule| rule.clauses.into_iter().map(clause).collect();
        Ok(Self {
            scope: match known("scope", source.scope)? {
                proto::Scope::Global => Scope::Global,
                proto::Scope::Namespace => Scope::Namespace,
                proto::Scope::WorkloadSelector => Scope::WorkloadSelector,
            },
            action: match known("action", source.action)? {
                proto::Action::Allow => Action::Allow,
                proto::Action::Deny => Action::Deny,
            },
            rules: source
                .rules
                .into_iter()
                .map(rule)
                .collect::<Result<_, _>>()?,
            name: source.name.into(),
            namespace: source.namespace.into(),
            dry_run: source.dry_run,
        })
    }
}

impl TryFrom<proto::Match> for Match {
    type Error = Error;

    fn try_from(source: proto::Match) -> Result<Self, Error> {
        Ok(Self {
            namespaces: values(source.namespaces, source.not_namespaces, string_match)?,
            principals: values(source.principals, source.not_principals, string_match)?,
            service_accounts: values(
                source.service_accounts,
                source.not_service_accounts,
                |account| {
                    Ok(ServiceAccount {
                        namespace: account.namespace.into(),
                        name: account.service_account.into(),
                    })
                },
            )?,
            source_ips: values(source.source_ips, source.not_source_ips, |address| {
                block(&address)
            })?,
            destination_ips: values(
                source.destination_ips,
                source.not_destination_ips,
                |address| block(&address),
            )?,
            destination_ports: values(
                source.destination_ports,
                source.not_destination_ports,
                |value| port("destination_ports", value),
            )?,
        })
    }
}

/// A value that cannot be read refuses the whole policy: dropping it would widen or narrow what the policy says.
fn values<S, T>(
    any: Vec<S>,
    none: Vec<S>,
    read: impl Fn(S) -> Result<T, Error>,
) -> Result<Values<T>, Error> {
    Ok(Values {
        any: any.into_iter().map(&read).collect::<Result<_, _>>()?,
        none: none.into_iter().map(&read).collect::<Result<_, _>>()?,
    })
}

fn string_match(source: proto::StringMatch) -> Result<StringMatch, Error> {
    use proto::string_match::MatchType;
    Ok(
        match source
            .match_type
            .ok_or(Error::Missing("match type in a string match"))?
        {
            MatchType::Exact(text) => StringMatch::Exact(text.into()),
            MatchType::Prefix(text) => StringMatch::Prefix(text.into()),
            MatchType::Suffix(text) => StringMatch::Suffix(text.into()),
            MatchType::Presence(()) => StringMatch::Presence,
        },
    )
}

fn block(source: &proto::Address) -> Result<Cidr, Error> {
    let address = ip("policy address", &source.address)?;
    Cidr::new(address, source.length).map_err(|source| Error::Address {
        field: "policy address",
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::string_match::MatchType;

    fn source() -> proto::Authorization {
        proto::Authorization {
            name: "p".to_owned(),
            namespace: "shop".to_owned(),
            ..proto::Authorization::default()
        }
    }

    fn with(m: proto::Match) -> Result<Policy, Error> {
        let rules = vec![proto::Rule {
            clauses: vec![proto::Clause { matches: vec![m] }],
        }];
        Policy::try_from(proto::Authorization { rules, ..source() })
    }

    #[test]
    fn every_field_of_a_match_arrives_where_it_belongs() {
        let text = |text: &str| vec![proto::StringMatch::from(MatchType::Exact(text.to_owned()))];
        let block = |last: u8| {
            vec![proto::Address {
                address: vec![10, 0, 0, last],
                length: 32,
            }]
        };
        let account = |name: &str| {
            vec![proto::ServiceAccountMatch {
                namespace: "shop".to_owned(),
                service_account: name.to_owned(),
            }]
        };
        let policy = with(proto::Match {
            namespaces: text("n"),
            not_namespaces: text("nn"),
            principals: text("p"),
            not_principals: vec![MatchType::Presence(()).into()],
            source_ips: block(1),
            not_source_ips: block(2),
            destination_ips: block(3),
            not_destination_ips: block(4),
            destination_ports: vec![5],
            not_destination_ports: vec![6],
            service_accounts: account("a"),
            not_service_accounts: account("b"),
        })
        .unwrap();
        let exact = |text: &str| vec![StringMatch::Exact(text.into())];
        let block = |last| vec![Cidr::new([10, 0, 0, last].into(), 32).unwrap()];
        let account = |name: &str| {
            vec![ServiceAccount {
                namespace: "shop".into(),
                name: name.into(),
            }]
        };
        let expected = Match {
            namespaces: Values {
                any: exact("n"),
                none: exact("nn"),
            },
            principals: Values {
                any: exact("p"),
                none: vec![StringMatch::Presence],
            },
            service_accounts: Values {
                any: account("a"),
                none: account("b"),
            },
            source_ips: Values {
                any: block(1),
                none: block(2),
            },
            destination_ips: Values {
                any: block(3),
                none: block(4),
            },
            destination_ports: Values {
                any: vec![5],
                none: vec![6],
            },
        };
        assert_eq!(policy.rules, [[[expected]]]);
        assert_eq!(&*policy.key(), "shop/p");
    }

    #[test]
    fn a_value_that_cannot_be_read_refuses_the_whole_policy() {
        let address = |length, bytes: &[u8]| {
            vec![proto::Address {
                address: bytes.to_vec(),
                length,
            }]
        };
        let cases = [
            proto::Match {
                source_ips: address(33, &[10, 0, 0, 1]),
                ..Default::default()
            },
            proto::Match {
                not_source_ips: address(8, &[10]),
                ..Default::default()
            },
            proto::Match {
                destination_ports: vec![65_536],
                ..Default::default()
            },
            proto::Match {
                principals: vec![proto::StringMatch::default()],
                ..Default::default()
            },
        ];
        for (number, case) in cases.into_iter().enumerate() {
            assert!(with(case).is_err(), "case {number}");
        }
    }

    #[test]
    fn unknown_numbers_and_a_missing_name_are_named() {
        let message = |change: &dyn Fn(&mut proto::Authorization)| {
            let mut source = source();
            change(&mut source);
            Policy::try_from(source).unwrap_err().to_string()
        };
        assert_eq!(message(&|p| p.name.clear()), "the resource has no name");
        assert_eq!(
            message(&|p| p.scope = 9),
            "scope has the value 9, which this proxy does not know"
        );
        assert_eq!(
            message(&|p| p.action = 2),
            "action has the value 2, which this proxy does not know"
        );
    }
}
