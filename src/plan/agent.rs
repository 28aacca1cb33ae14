//! Which template the network agent's `DaemonSet` carries, and which agents are replaced now.
//!
//! It is one `DaemonSet` for all nodes. Until the first nodes have proved the arriving template, it carries that one only
//! from just before an agent is deleted until its replacement is there: an agent that starts anywhere else meanwhile is
//! made from the settled one.

use super::act::{Act, Plan};
use super::drift::is_due;
use super::passage::{Flight, Passage, Pods};
use super::target::Object;
use super::way::Place;
use crate::facts::{Facts, ObjectKey};
use crate::health;
use crate::names;

/// The agent's `DaemonSet`.
pub(super) fn key() -> ObjectKey {
    ObjectKey::in_system("DaemonSet", names::CNI_DAEMON_SET)
}

/// Template hash of the agent's `DaemonSet` as it is.
pub(super) fn live_hash(facts: &Facts) -> Option<&str> {
    facts
        .object(&key())?
        .annotation(names::TEMPLATE_HASH_ANNOTATION)
}

/// The template that nodes on their way get, and the one that all others keep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Templates<'a> {
    /// Of nodes that have begun.
    pub wanted: &'a Object,
    /// Of the others, while they must not get the wanted one yet.
    pub settled: Option<&'a Object>,
}

/// Puts the template in place that is needed now, then replaces the agents whose turn it is.
pub(super) fn replace(
    facts: &Facts,
    templates: Templates<'_>,
    passages: &[Passage<'_>],
    pods: &Pods<'_>,
    plan: &mut Plan,
) {
    let wanted_hash = templates.wanted.template_hash();
    let is_awaited = passages
        .iter()
        .any(|one| one.flight == Flight::Moving && one.tainted && one.lacks_agent);
    let object = templates
        .settled
        .filter(|_| !is_awaited)
        .unwrap_or(templates.wanted);
    if is_due(object, facts) {
        plan.acts.push(Act::Apply(Box::new(object.clone())));
        return;
    }
    let in_place = facts
        .object(&key())
        .is_some_and(|live| !live.deleting && health::is_observed(live));
    if !in_place {
        return;
    }
    if object.template_hash() == wanted_hash {
        plan.acts.extend(
            passages
                .iter()
                .filter(|one| one.flight == Flight::Moving)
                .flat_map(|one| one.stale.iter().map(|pod| Act::delete_pod(pod))),
        );
        return;
    }
    // An agent of a node that has not begun, made in the moment in which the arriving template was in place.
    let strays = passages
        .iter()
        .filter(|one| one.place == Place::Start && !one.tainted)
        .filter_map(|one| pods.get(one.node.name.as_str()))
        .flat_map(|(agents, _)| agents)
        .filter(|pod| !pod.deleting && pod.template_hash.as_deref() == wanted_hash);
    plan.acts.extend(strays.map(|pod| Act::delete_pod(pod)));
}
