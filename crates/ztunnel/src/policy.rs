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
            source_ips: values(source.source_ips, source.not_source_ips, block)?,
            destination_ips: values(source.destination_ips, source.not_destination_ips, block)?,
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

fn block(source: proto::Address) -> Result<Cidr, Error> {
    let address = ip("policy address", &source.address)?;
    Cidr::new(address, source.length).map_err(|source| Error::Address {
        field: "policy address",
        source,
    })
}
