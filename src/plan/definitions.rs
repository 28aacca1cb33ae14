//! Definitions of Istio and the Gateway API: which are applied, and whether all are served.

use jiff::{SignedDuration, Timestamp};

use super::act::{Act, Plan};
use crate::api::conditions::Reason;
use crate::desired::crds::{BUNDLE_VERSION_ANNOTATION, Bundled, Existing, Owner, Verdict, judge};
use crate::facts::{Definition, Facts, ObjectKey};
use crate::names;
use crate::status::Wait;

/// How long the API server may take from a definition's accepted names to serving it; moments on a quiet machine.
const TOUCHED_EVERY: SignedDuration = SignedDuration::from_secs(10);

/// The folder's definitions without their schemas, and the generation each was answered with when we applied it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bundle {
    /// By name.
    pub entries: Vec<Entry>,
}

/// One definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The definition; the body holds metadata only.
    pub bundled: Bundled,
    /// Generation after our last write in this process: another one means that somebody changed it.
    pub generation: Option<i64>,
}

impl Bundle {
    /// Definitions that this process has not applied yet.
    pub fn of(entries: Vec<Bundled>) -> Self {
        let entry = |bundled| Entry {
            bundled,
            generation: None,
        };
        Self {
            entries: entries.into_iter().map(entry).collect(),
        }
    }
}

/// Plans what is missing or drifted; what is waited for until every definition is served.
pub(super) fn plan(
    facts: &Facts,
    bundle: &Bundle,
    plan: &mut Plan,
    now: Timestamp,
) -> Option<Wait> {
    let mut due = Vec::new();
    let mut waits = Vec::new();
    let mut touched = Vec::new();
    for entry in &bundle.entries {
        let name = &entry.bundled.manifest.name;
        let live = facts.definitions.get(name);
        if live.is_some_and(|live| live.deleting) {
            waits.push(name);
            continue;
        }
        let existing = live.map(|live| existing(live));
        let changed = live.is_some_and(|live| {
            entry
                .generation
                .is_some_and(|applied| applied != live.generation)
        });
        match judge(&entry.bundled, existing.as_ref(), None) {
            Verdict::Apply => due.push(name.clone()),
            Verdict::Current if changed => due.push(name.clone()),
            Verdict::Current
            | Verdict::Newer { .. }
            | Verdict::Foreign { .. }
            | Verdict::Unfit { .. } => {}
        }
        if !live.is_some_and(|live| live.established) {
            waits.push(name);
        }
        let is_ours = existing.is_some_and(|existing| existing.owner == Owner::Applink);
        if let Some(stuck) = live.filter(|_| is_ours).and_then(|live| stuck(live)) {
            if stuck <= now {
                touched.push(Act::Touch(name.clone()));
            } else {
                plan.again_by(stuck);
            }
        }
    }
    if !due.is_empty() {
        plan.acts.push(Act::Define(due));
    }
    plan.acts.extend(touched);
    let first = waits.first()?;
    Some(Wait {
        reason: Reason::CustomResources,
        object: ObjectKey::new("CustomResourceDefinition", None, first).to_string(),
        message: format!(
            "{} of {} definitions are not served yet",
            waits.len(),
            bundle.entries.len()
        ),
    })
}

/// What to tell when definitions that were taken away under a running mesh are put back; `None` for any other act.
pub fn restored(act: &Act, facts: &Facts) -> Option<String> {
    let Act::Define(due) = act else { return None };
    let missing: Vec<&str> = due
        .iter()
        .filter(|name| !facts.definitions.contains_key(*name))
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        return None;
    }
    let shown = missing[..missing.len().min(5)].join(", ");
    let more = match missing.len() {
        0..=5 => String::new(),
        count => format!(" and {} more", count - 5),
    };
    Some(format!(
        "CustomResourceDefinition {shown}{more} had been removed and is put back; objects of that kind went with it: apply them again"
    ))
}

/// When a definition that the API server does not serve has waited long enough for it.
///
/// The server serves a definition whose names it has accepted when it is told of a change of it. Started again between
/// the two it is told of none, and looks by itself every five minutes only.
/// Source: kubernetes `staging/src/k8s.io/apiextensions-apiserver/pkg/apiserver`, `crdHandler.updateCustomResourceDefinition`
/// and `apiserver.go` (the informers' resync).
fn stuck(live: &Definition) -> Option<Timestamp> {
    let touched = live.annotations.get(names::TOUCHED_ANNOTATION);
    let touched = touched.and_then(|text| text.parse().ok());
    live.accepted?
        .max(touched.unwrap_or(Timestamp::MIN))
        .checked_add(TOUCHED_EVERY)
        .ok()
}

fn existing(live: &Definition) -> Existing {
    let annotation = |key: &str| live.annotations.get(key).cloned();
    let owner = match live.labels.get(names::MANAGED_BY_LABEL) {
        Some(name) if name == names::MANAGED_BY => Owner::Applink,
        Some(name) => Owner::Named(name.clone()),
        None => live.manager.clone().map_or(Owner::Unknown, Owner::Named),
    };
    Existing {
        owner,
        version: annotation(names::GATEWAY_API_BUNDLE_ANNOTATION)
            .or_else(|| annotation(BUNDLE_VERSION_ANNOTATION))
            .and_then(|text| text.trim_start_matches('v').parse().ok()),
        channel: annotation(names::GATEWAY_API_CHANNEL_ANNOTATION),
        served: live.served.clone(),
        stored: live.stored.clone(),
        hash: annotation(names::TEMPLATE_HASH_ANNOTATION),
    }
}
