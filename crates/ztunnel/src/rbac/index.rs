//! Policies prepared for fast decisions.
//!
//! A rule that can only match clients of a few exact principals, service accounts, namespaces, or a few ports is
//! filed under those; everything else is looked at for every connection. Filing never changes a decision, only how
//! many rules are evaluated.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use super::{Connection, DryRun, rule_matches};
use crate::policy::{Action, Match, Policy, Rule, StringMatch};

/// Policies of one origin (the mesh, a namespace, or one that a workload names), indexed.
#[derive(Debug, Default)]
pub struct PolicySet {
    policies: Vec<Arc<Policy>>,
    deny: Filed,
    allow: Filed,
    dry_run: Filed,
    has_allow: bool,
}

/// Where a rule is: policy and rule number inside the set.
type Place = (u32, u32);

/// Rules by the one property that a connection must have for them to match.
#[derive(Debug, Default)]
struct Filed {
    principal: HashMap<Arc<str>, Vec<Place>>,
    service_account: HashMap<(Arc<str>, Arc<str>), Vec<Place>>,
    namespace: HashMap<Arc<str>, Vec<Place>>,
    port: HashMap<u16, Vec<Place>>,
    anyone: Vec<Place>,
}

impl PolicySet {
    /// Indexes policies. Those in dry run never decide.
    pub fn new(policies: Vec<Arc<Policy>>) -> Self {
        let mut set = Self::default();
        for (number, policy) in (0..).zip(&policies) {
            let filed = match (policy.dry_run, policy.action) {
                (true, _) => &mut set.dry_run,
                (false, Action::Deny) => &mut set.deny,
                (false, Action::Allow) => &mut set.allow,
            };
            set.has_allow |= !policy.dry_run && policy.action == Action::Allow;
            for (rule_number, rule) in (0..).zip(&policy.rules) {
                filed.file(rule, (number, rule_number));
            }
        }
        Self { policies, ..set }
    }

    /// The policies, in the order given.
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }

    /// Whether an ALLOW policy is among them, even one without rules.
    pub fn has_allow(&self) -> bool {
        self.has_allow
    }

    /// A policy of this action that matches.
    pub fn first_match<'a>(
        &'a self,
        action: Action,
        connection: &'a Connection,
    ) -> Option<&'a Arc<Policy>> {
        let filed = match action {
            Action::Allow => &self.allow,
            Action::Deny => &self.deny,
        };
        self.matching(filed, connection).next()
    }

    /// Adds the policies in dry run that match, each once.
    pub fn dry_run_matches(&self, connection: &Connection, found: &mut Vec<DryRun>) {
        for policy in self.matching(&self.dry_run, connection) {
            let entry = DryRun {
                policy: policy.key(),
                action: policy.action,
            };
            if !found.contains(&entry) {
                found.push(entry);
            }
        }
    }

    fn matching<'a>(
        &'a self,
        filed: &'a Filed,
        connection: &'a Connection,
    ) -> impl Iterator<Item = &'a Arc<Policy>> + 'a {
        filed.candidates(connection).filter_map(|(policy, rule)| {
            let policy = self.policies.get(usize::try_from(policy).ok()?)?;
            let rule = policy.rules.get(usize::try_from(rule).ok()?)?;
            rule_matches(rule, connection).then_some(policy)
        })
    }
}

impl Filed {
    fn file(&mut self, rule: &Rule, place: Place) {
        if let Some(principals) = required(rule, |m| exact(&m.principals.any)) {
            for key in principals {
                self.principal.entry(key).or_default().push(place);
            }
        } else if let Some(accounts) = required(rule, |m| {
            let pairs = m.service_accounts.any.iter();
            Some(
                pairs
                    .map(|a| (Arc::clone(&a.namespace), Arc::clone(&a.name)))
                    .collect(),
            )
        }) {
            for key in accounts {
                self.service_account.entry(key).or_default().push(place);
            }
        } else if let Some(namespaces) = required(rule, |m| exact(&m.namespaces.any)) {
            for key in namespaces {
                self.namespace.entry(key).or_default().push(place);
            }
        } else if let Some(ports) = required(rule, |m| Some(m.destination_ports.any.clone())) {
            for key in ports {
                self.port.entry(key).or_default().push(place);
            }
        } else {
            self.anyone.push(place);
        }
    }

    fn candidates<'a>(&'a self, connection: &'a Connection) -> impl Iterator<Item = Place> + 'a {
        let identity = connection.identity.as_ref();
        let by_principal = identity.and_then(|id| self.principal.get(id.principal()));
        let by_namespace = identity.and_then(|id| self.namespace.get(id.namespace()));
        // Building the pair costs two allocations, so only when something is filed there.
        let by_account = identity
            .filter(|_| !self.service_account.is_empty())
            .and_then(|id| {
                self.service_account
                    .get(&(id.namespace().into(), id.service_account().into()))
            });
        let by_port = self.port.get(&connection.destination.port());
        [by_principal, by_account, by_namespace, by_port]
            .into_iter()
            .flatten()
            .chain(std::iter::once(&self.anyone))
            .flatten()
            .copied()
    }
}

/// The values one of which a connection must have for the rule to match, if some clause demands it.
fn required<K: Eq + Hash>(
    rule: &Rule,
    keys: impl Fn(&Match) -> Option<Vec<K>>,
) -> Option<HashSet<K>> {
    rule.iter()
        .filter(|clause| !clause.is_empty())
        .find_map(|clause| {
            let mut all = HashSet::new();
            for m in clause.iter().filter(|m| !m.is_empty()) {
                all.extend(keys(m).filter(|of_match| !of_match.is_empty())?);
            }
            // A clause of empty matches only can never be satisfied: filed nowhere is right too.
            Some(all)
        })
}

fn exact(values: &[StringMatch]) -> Option<Vec<Arc<str>>> {
    values
        .iter()
        .map(|value| match value {
            StringMatch::Exact(text) => Some(Arc::clone(text)),
            StringMatch::Prefix(_) | StringMatch::Suffix(_) | StringMatch::Presence => None,
        })
        .collect()
}
