//! Layer 4 authorization: a pure decision from a connection and the policies that apply to its destination.
//!
//! Layer 4. No I/O, no clock, no store: the policies come in as prepared [`PolicySet`]s.

mod index;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::identity::Identity;
use crate::policy::{Action, Match, Policy, Rule};
pub use index::PolicySet;

/// What is decided about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Who the client proved to be; `None` for plain text.
    pub identity: Option<Identity>,
    /// The client's address.
    pub source: IpAddr,
    /// The real destination, with the port the workload listens on.
    pub destination: SocketAddr,
}

/// Why a connection is let through or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// No ALLOW policy applies, so everything not denied is let through.
    NoPolicy,
    /// This policy decided.
    Policy(Arc<str>),
    /// ALLOW policies apply and none matched.
    NoAllowMatched,
}

/// A policy that only logs, and would have matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DryRun {
    /// `namespace/name`
    pub policy: Arc<str>,
    /// What it would do.
    pub action: Action,
}

/// The outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether the connection may go on.
    pub is_allowed: bool,
    /// Why.
    pub reason: Reason,
    /// Policies in dry run that matched.
    pub dry_run: Vec<DryRun>,
}

/// Decides about a connection: any DENY that matches refuses; without an applicable ALLOW everything else passes;
/// otherwise one ALLOW must match.
#[expect(
    clippy::needless_pass_by_value,
    reason = "an iterator that clones cheaply reads better than a reference to one"
)]
pub fn authorize<'a>(
    sets: impl IntoIterator<Item = &'a PolicySet> + Clone,
    connection: &Connection,
) -> Decision {
    let mut dry_run = Vec::new();
    for set in sets.clone() {
        set.dry_run_matches(connection, &mut dry_run);
    }
    let first = |action| {
        sets.clone()
            .into_iter()
            .find_map(|set| set.first_match(action, connection))
    };
    let (is_allowed, reason) = if let Some(policy) = first(Action::Deny) {
        (false, Reason::Policy(policy.key()))
    } else if !sets.clone().into_iter().any(PolicySet::has_allow) {
        (true, Reason::NoPolicy)
    } else if let Some(policy) = first(Action::Allow) {
        (true, Reason::Policy(policy.key()))
    } else {
        (false, Reason::NoAllowMatched)
    };
    Decision {
        is_allowed,
        reason,
        dry_run,
    }
}

/// Whether any rule of the policy matches. A policy without rules matches nothing.
pub fn policy_matches(policy: &Policy, connection: &Connection) -> bool {
    policy
        .rules
        .iter()
        .any(|rule| rule_matches(rule, connection))
}

fn rule_matches(rule: &Rule, connection: &Connection) -> bool {
    rule.iter().all(|clause| {
        let mut asked = clause.iter().filter(|m| !m.is_empty());
        clause.is_empty() || asked.any(|m| match_accepts(m, connection))
    })
}

fn match_accepts(m: &Match, connection: &Connection) -> bool {
    // A client without an identity has an empty one: no exact value equals it, and presence fails.
    let identity = connection.identity.as_ref();
    let namespace = identity.map_or("", Identity::namespace);
    m.destination_ports
        .accept(|port| *port == connection.destination.port())
        && m.principals
            .accept(|p| identity.is_some_and(|id| p.matches(id.principal())))
        && m.namespaces
            .accept(|n| identity.is_some() && n.matches(namespace))
        && m.service_accounts.accept(|account| {
            identity.is_some_and(|id| {
                *id.namespace() == *account.namespace && *id.service_account() == *account.name
            })
        })
        && m.source_ips
            .accept(|block| block.contains(connection.source.to_canonical()))
        && m.destination_ips
            .accept(|block| block.contains(connection.destination.ip().to_canonical()))
}

#[cfg(test)]
mod tests;
