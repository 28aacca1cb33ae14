//! Steps of an install: what to do next, what to wait for.
//!
//! Level-triggered and pure: a plan depends on the facts and on `now`, never on what was planned before, so the operator
//! may be killed at any instant and goes on. Which nodes are done is read from nodes and pods.
//!
//! Until the first install has finished, the gates of its steps follow each other, and nodes are served all at once.
//! Afterwards everything that drifts is repaired at once, and only a change of what runs on nodes is done in order, beside
//! what runs, in waves of nodes ([`rollout`]).

mod act;
mod agent;
mod baseline;
mod begin;
mod definitions;
mod drift;
mod finish;
mod fleet;
mod forecast;
mod foreign;
mod gate;
mod judge;
mod left_out;
mod nodes;
mod orders;
mod origin;
mod passage;
mod planes;
mod prepull;
mod probe;
mod recorded;
mod retire;
mod rollout;
mod safe;
mod share;
mod silence;
mod target;
mod targets;
mod telling;
mod tidy;
mod wave;
mod way;
mod waypoints;

#[cfg(test)]
pub(crate) mod model;
#[cfg(test)]
mod tests;

pub use act::{Act, Plan};
pub use definitions::{Bundle, Entry, restored};
pub use drift::{difference, is_due};
pub use fleet::{canary_patch, exclusion, placement};
pub use forecast::waves;
pub use gate::{Failed, Gate};
pub use left_out::{LeftOut, left_out};
pub use nodes::NodeView;
pub use orders::Orders;
pub use planes::{is_past_return, is_used};
pub use probe::remains as remains_of_probe;
pub use target::{APPLIED_ANNOTATION, NodeRules, Object, Target};
pub use targets::Targets;
pub use tidy::clean as clean_nodes;
pub use waypoints::pins;

use jiff::Timestamp;

use planes::Planes;

use crate::api::conditions::{Reason, Step};
use crate::desired;
use crate::facts::{Facts, ObjectKey};
use crate::names;
use crate::status::Wait;

/// What the first install has come to, as status records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has not finished.
    Installing,
    /// It has: the mesh may carry traffic.
    Installed,
}

/// What is to be done now.
pub fn plan(
    facts: &Facts,
    targets: &Targets,
    orders: &Orders,
    bundle: &Bundle,
    phase: Phase,
    now: Timestamp,
) -> Plan {
    let disowned = origin::disowned(facts, targets);
    let facts = disowned.as_ref().unwrap_or(facts);
    let target = targets.target.as_ref();
    let mut plan = Plan::new(Step::Crds);
    if phase == Phase::Installed {
        definitions::plan(facts, bundle, &mut plan, now);
        return rollout::go_on(facts, targets, orders, plan, now);
    }
    // istiod needs seconds to start and takes kinds whenever they come: it starts while its definitions are written. The
    // gates stay one behind the other.
    planes::keep(facts, targets, Planes::Target, &mut plan);
    if let Some(wait) = definitions::plan(facts, bundle, &mut plan, now) {
        return plan.waiting(Step::Crds, wait);
    }
    if let Some(wait) = planes::gate(facts, target, &mut plan, now) {
        return plan.waiting(Step::ControlPlane, wait);
    }
    policy(facts, target, &mut plan);
    first_nodes(facts, target, plan, now)
}

/// Plans what has drifted.
fn apply<'a>(facts: &Facts, objects: impl IntoIterator<Item = &'a Object>, plan: &mut Plan) {
    plan.acts.extend(
        objects
            .into_iter()
            .filter(|object| is_due(object, facts))
            .cloned()
            .map(|object| Act::Apply(Box::new(object))),
    );
}

/// The mesh-wide policy is as the network asks for; one that it asks for no longer goes.
fn policy(facts: &Facts, target: &Target, plan: &mut Plan) {
    apply(facts, &target.policy, plan);
    let kind = desired::mesh::peer_authentication().kind;
    let is_wanted = |key: &ObjectKey| target.policy.iter().any(|object| object.key == *key);
    let stale = (facts.objects.iter())
        .filter(|(key, live)| key.kind == kind && !live.deleting && !is_wanted(key));
    plan.acts
        .extend(stale.map(|(key, live)| Act::delete(key, live)));
}

/// A wait for a pod that does not run.
fn trouble(pod: &crate::facts::Pod, text: String, reason: Reason) -> Wait {
    let is_image = pod
        .trouble
        .as_ref()
        .is_some_and(crate::facts::Trouble::is_image);
    let on = if pod.node.is_empty() {
        String::new()
    } else {
        format!(" on node {}", pod.node)
    };
    Wait {
        reason: if is_image {
            Reason::ImageUnavailable
        } else {
            reason
        },
        object: format!("Pod {}/{}{on}", names::SYSTEM_NAMESPACE, pod.name),
        message: text,
    }
}

/// The first install: agent and proxy on every node at once.
fn first_nodes(facts: &Facts, target: &Target, mut plan: Plan, now: Timestamp) -> Plan {
    apply(facts, &target.agent, &mut plan);
    apply(facts, &target.proxy, &mut plan);
    let untidy = tidy::tidy(facts, &mut plan);
    for (key, live) in fleet::daemon_sets(facts) {
        if key.name != target.daemon_set && !live.deleting {
            plan.acts.push(Act::delete(key, live));
        }
    }
    let mut views = nodes::views(facts, target);
    for view in &mut views {
        nodes::judge(facts, view, &mut plan, now);
        if view.set_aside.is_some() {
            continue;
        }
        // Left from an attempt with another template.
        plan.acts
            .extend(view.stale_agents.iter().map(|pod| Act::delete_pod(pod)));
    }
    plan.nodes = Some(nodes::summary(facts, target, &views));
    let open: Vec<&NodeView> = views
        .iter()
        .filter(|view| view.set_aside.is_none() && view.stage != nodes::Stage::Done)
        .collect();
    let Some(first) = open
        .iter()
        .find(|view| view.trouble.is_some())
        .or_else(|| open.first())
    else {
        plan.step = Step::Verify;
        plan.done = plan.acts.is_empty() && untidy.is_none();
        plan.wait = untidy;
        return plan;
    };
    let served = views
        .iter()
        .filter(|view| view.stage == nodes::Stage::Done)
        .count();
    let only_answers = open
        .iter()
        .all(|view| view.stage == nodes::Stage::Verifying);
    let step = if only_answers {
        Step::Verify
    } else {
        Step::Nodes
    };
    let mut wait = first.wait(target);
    wait.message = format!(
        "{} ({served} of {} nodes serve)",
        wait.message,
        served + open.len()
    );
    plan.waiting(step, wait)
}
