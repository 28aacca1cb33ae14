//! The end of a release: its control plane goes when nothing needs it any longer.

use jiff::Timestamp;

use super::act::{Act, Plan};
use super::planes::{self, Planes};
use super::target::Target;
use super::targets::Targets;
use super::waypoints;
use crate::api::conditions::{Reason, Step};
use crate::facts::{Facts, Live, ObjectKey};
use crate::names;
use crate::status::Wait;

/// How many names a message lists.
const MOST: usize = 5;

/// What is left of a release that is not to be.
type Leftover<'a> = (&'a ObjectKey, &'a Live, &'a str);

/// Takes the control planes away that belong neither to what runs on nodes nor to anybody else; `true` when none is left.
/// `held` says that the target is the one that goes: what was settled runs on.
pub(super) fn control_planes(
    facts: &Facts,
    targets: &Targets,
    held: bool,
    plan: &mut Plan,
    now: Timestamp,
) -> bool {
    let settled = targets.settled.as_ref().unwrap_or(&targets.target);
    let stays = if held { settled } else { &targets.target };
    let planes = if held {
        Planes::Settled
    } else {
        Planes::Target
    };
    planes::keep(facts, targets, planes, plan);
    let left = planes::strangers(facts, &[planes::slug(stays)]);
    let is_pinned = waypoints::pins(facts).next().is_some();
    if left.is_empty() && !is_pinned {
        return true;
    }
    plan.step = Step::Retire;
    let mut blocked = if held {
        None
    } else {
        stands(facts, stays, plan, now)
    };
    if blocked.is_none() {
        let going: Vec<&str> = left.iter().map(|(.., release)| *release).collect();
        blocked = waypoints::give_back(facts, &going, plan);
        if blocked.is_some() {
            plan.step = Step::Waypoints;
        }
    }
    if let Some(wait) = blocked.or_else(|| needed(facts, &left)) {
        if !held {
            // As long as it is needed it is cared for.
            planes::keep_own(facts, settled, plan);
        }
        plan.wait = Some(wait);
        return false;
    }
    // Whoever is to sign alone from now on is asked once more, right before the other one goes.
    if !held && left.iter().any(|(key, ..)| key.kind == "Deployment") {
        let stale = planes::stale(facts, stays, now);
        if let Some(first) = stale.first() {
            plan.wait = Some(planes::asked_again(first));
            plan.acts.extend(stale.into_iter().map(Act::Ask));
            return false;
        }
    }
    take_away(facts, &left, plan);
    false
}

/// What stays can do without the other one: `None`, or what is waited for.
fn stands(facts: &Facts, stays: &Target, plan: &mut Plan, now: Timestamp) -> Option<Wait> {
    if let Some(wait) = planes::gate(facts, stays, plan, now) {
        return Some(wait);
    }
    (planes::default_release(facts) != Some(planes::slug(stays).as_str())).then(|| Wait {
        reason: Reason::Finish,
        object: names::DEFAULT_VALIDATOR.to_owned(),
        message: "it is being moved to the new release".to_owned(),
    })
}

/// Who still needs what is to go.
fn needed(facts: &Facts, left: &[Leftover<'_>]) -> Option<Wait> {
    let mut releases: Vec<&str> = left.iter().map(|(.., release)| *release).collect();
    releases.sort_unstable();
    releases.dedup();
    releases.into_iter().find_map(|release| {
        if let Some(pod) = planes::proxies_of(facts, release).next() {
            return Some(Wait {
                reason: Reason::WaitingForNodes,
                object: format!("Node {}", pod.node),
                message: format!("{} of release {release} has not ended there yet", pod.name),
            });
        }
        if planes::is_used(facts, release) {
            return Some(Wait {
                reason: Reason::WaitingForNodes,
                object: format!("release {release}"),
                message: "its DaemonSet has not gone yet".to_owned(),
            });
        }
        let users = facts.users_of(release);
        let first = users.first()?;
        Some(Wait {
            reason: Reason::RevisionInUse,
            object: first.clone(),
            message: format!(
                "{} objects carry the label {}={release}, which is to go; remove the label or change it: {}",
                users.len(),
                names::ISTIO_REVISION_LABEL,
                users[..users.len().min(MOST)].join(", ")
            ),
        })
    })
}

/// Webhooks before the Service that they call, configuration last: as long as it is there the rest is not done.
fn take_away(facts: &Facts, left: &[Leftover<'_>], plan: &mut Plan) {
    let is_last = |key: &ObjectKey| key.kind == "ConfigMap";
    let delete = |(key, live, _): &Leftover<'_>| Act::delete(key, live);
    let mut first: Vec<&Leftover<'_>> = left.iter().filter(|one| !is_last(one.0)).collect();
    if !first.is_empty() {
        first.sort_by_key(|one| !one.0.kind.ends_with("WebhookConfiguration"));
        plan.acts.extend(first.into_iter().map(delete));
        return;
    }
    for one in left {
        if let Some(pod) = planes::istiods_of(facts, one.2).next() {
            // It would take its leases anew.
            plan.wait = Some(Wait {
                reason: Reason::Finish,
                object: format!("Pod {}/{}", names::SYSTEM_NAMESPACE, pod.name),
                message: "it has not ended yet".to_owned(),
            });
            continue;
        }
        let forget = Act::Forget {
            release: one.2.to_owned(),
        };
        if !plan.acts.contains(&forget) {
            plan.acts.push(forget);
        }
        plan.acts.push(delete(one));
    }
}
