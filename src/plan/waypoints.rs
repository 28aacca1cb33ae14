//! Waypoints while the default moves.
//!
//! A waypoint that names no release belongs to the default one. When that moves, all of them would change hands at once.
//! So they are pinned to the release that has them before it moves, and given back afterwards, one after the other. Which
//! are pinned by us is read from the objects: an annotation says so. A label that somebody else has written is never
//! touched, and what follows a label of its namespace is not ours to pin.

use jiff::{SignedDuration, Timestamp};

use super::act::{Act, Plan};
use super::planes;
use crate::api::conditions::Reason;
use crate::facts::{Facts, GatewayFact};
use crate::names;
use crate::status::Wait;

/// How many are pinned in one pass.
const AT_ONCE: usize = 32;

/// How long an istiod may take to see a pin, also right after its watch broke.
const PIN_SEEN: SignedDuration = SignedDuration::from_secs(5);

/// A Gateway and where it is.
type Placed<'a> = (&'a (String, String), &'a GatewayFact);

/// Gateways that carry our annotation.
pub fn pins(facts: &Facts) -> impl Iterator<Item = Placed<'_>> {
    facts
        .gateways
        .iter()
        .map(|(place, gateway)| (place, gateway.as_ref()))
        .filter(|(_, gateway)| gateway.pinned.is_some())
}

/// The release that a label of the namespace gives to Gateways without one.
fn of_namespace<'a>(facts: &'a Facts, namespace: &str) -> Option<&'a str> {
    let labels = &facts.namespaces.get(namespace)?.labels;
    let release = labels.get(names::ISTIO_REVISION_LABEL)?;
    (!release.is_empty()).then_some(release)
}

/// Waypoints that belong to whoever has the default.
fn loose(facts: &Facts) -> Vec<Placed<'_>> {
    facts
        .gateways
        .iter()
        .map(|(place, gateway)| (place, gateway.as_ref()))
        .filter(|(_, gateway)| gateway.is_waypoint() && !gateway.deleting)
        .filter(|(_, gateway)| gateway.revision.is_none() && gateway.pinned.is_none())
        .filter(|((namespace, _), _)| of_namespace(facts, namespace).is_none())
        .collect()
}

/// A pod that the istiod of a release that goes has made for a Gateway that this release has no longer.
fn behind(facts: &Facts, going: &[&str]) -> Option<Wait> {
    let default = planes::default_release(facts);
    let mut pods = facts
        .workloads
        .iter()
        .filter_map(|((namespace, name), pod)| {
            let made = pod.gateway.as_deref().filter(|_| !pod.deleting)?;
            let release = made.release.as_str();
            let key = (namespace.clone(), made.gateway.clone());
            let holder = match facts.gateways.get(&key)?.revision.as_deref() {
                Some("") => default,
                Some(named) => Some(named),
                None => of_namespace(facts, namespace).or(default),
            };
            (going.contains(&release) && holder != Some(release)).then_some((namespace, name, made))
        });
    let (namespace, name, made) = pods.next()?;
    Some(Wait {
        reason: Reason::Gateways,
        object: format!("Pod {namespace}/{name}"),
        message: format!(
            "Gateway {} has been given to another release, and this pod of {} has not been replaced yet",
            made.gateway, made.release
        ),
    })
}

fn wait((namespace, name): &(String, String), message: String) -> Wait {
    Wait {
        reason: Reason::Gateways,
        object: format!("Gateway {namespace}/{name}"),
        message,
    }
}

/// Which Gateways there are is known: `None`, or what is waited for.
fn unseen(facts: &Facts) -> Option<Wait> {
    facts.gateways_unseen.then(|| Wait {
        reason: Reason::Gateways,
        object: "Gateways".to_owned(),
        message: "they are served, and have not been seen yet".to_owned(),
    })
}

/// Every waypoint that would change hands with the default is pinned, and istiods have had the time to see it: `None`, or
/// what is waited for.
pub(super) fn pin(facts: &Facts, arriving: &str, plan: &mut Plan, now: Timestamp) -> Option<Wait> {
    let default = planes::default_release(facts).filter(|default| *default != arriving)?;
    if let Some(wait) = unseen(facts) {
        return Some(wait);
    }
    let loose = loose(facts);
    let Some((first, _)) = loose.first() else {
        return unseen_pin(facts, plan, now);
    };
    let acts = loose
        .iter()
        .take(AT_ONCE)
        .map(|(place, gateway)| Act::pin(place, gateway, Some(default)));
    plan.acts.extend(acts);
    Some(wait(
        first,
        format!(
            "{} waypoints are pinned to {default} until the default has moved",
            loose.len()
        ),
    ))
}

/// A pin that an istiod may not have seen: the default comes to it by another watch, which may be the earlier one. It tells
/// nobody what it has seen. A clock that differs by more than that is no reason to wait.
fn unseen_pin(facts: &Facts, plan: &mut Plan, now: Timestamp) -> Option<Wait> {
    let newest = pins(facts).filter_map(|(place, gateway)| Some((gateway.pinned_at?, place)));
    let (at, place) = newest.max()?;
    if now.duration_since(at).abs() >= PIN_SEEN {
        return None;
    }
    plan.again_by(at.checked_add(PIN_SEEN).ok()?);
    Some(wait(
        place,
        "it is pinned; the default moves once that has been seen".to_owned(),
    ))
}

/// No waypoint is pinned any longer, and no pod is left of one that these releases have no longer: `None`, or what is
/// waited for.
pub(super) fn give_back(facts: &Facts, going: &[&str], plan: &mut Plan) -> Option<Wait> {
    if let Some(wait) = unseen(facts).or_else(|| behind(facts, going)) {
        return Some(wait);
    }
    let count = pins(facts).count();
    let (place, gateway) = pins(facts).next()?;
    plan.acts.push(Act::pin(place, gateway, None));
    let release = gateway.pinned.as_deref().unwrap_or_default();
    Some(wait(
        place,
        format!(
            "{count} waypoints are still pinned to {release}; they follow the default one after the other"
        ),
    ))
}
