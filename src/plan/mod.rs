//! Steps of an install: what to do next, what to wait for.
//!
//! Level-triggered and pure: a plan depends on the facts and on `now`, never on what was planned before, so the operator
//! may be killed at any instant and goes on. Which nodes are done is read from nodes and pods.
//!
//! Until the first install has finished, steps follow each other, each behind the gate of the one before, and nodes are
//! served all at once. Afterwards everything that drifts is repaired at once, and only a change of what runs on nodes is
//! done in order, beside what runs, in waves of nodes ([`rollout`]).

mod act;
mod agent;
mod definitions;
mod drift;
mod fleet;
mod gate;
mod nodes;
mod orders;
mod passage;
mod rollout;
mod target;
mod targets;
mod wave;
mod way;

#[cfg(test)]
pub(crate) mod model;
#[cfg(test)]
mod tests;

pub use act::{Act, Plan};
pub use definitions::{Bundle, Entry, restored};
pub use drift::{difference, is_due};
pub use fleet::{canary_patch, exclusion};
pub use gate::{Failed, Gate};
pub use nodes::NodeView;
pub use orders::Orders;
pub use target::{APPLIED_ANNOTATION, NodeRules, Object, Target};
pub use targets::Targets;

use jiff::Timestamp;

use crate::api::conditions::{Reason, Step};
use crate::facts::{Facts, ObjectKey, Question};
use crate::health::{self, Deployment};
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
    let target = targets.target.as_ref();
    let mut plan = Plan::new(Step::Crds);
    let installed = phase == Phase::Installed;
    if let Some(wait) = definitions::plan(facts, bundle, &mut plan)
        && !installed
    {
        return plan.waiting(Step::Crds, wait);
    }
    let rolling = rollout::is_needed(facts, target, orders);
    plan.is_rolling = installed && rolling;
    apply(facts, &target.foundation, &mut plan);
    apply(facts, &target.control_plane, &mut plan);
    if installed && !rolling {
        // Nothing to move: repair, clean up, done.
        apply(facts, &target.policy, &mut plan);
        plan.is_held = rollout::is_held(facts, target, orders);
        if !plan.is_held {
            apply(facts, &target.agent, &mut plan);
            apply(facts, &target.proxy, &mut plan);
        }
        rollout::tidy(facts, &mut plan);
        plan.step = Step::Verify;
        plan.done = true;
        return plan;
    }
    if let Some(wait) = control_plane(facts, target, &mut plan, now) {
        return plan.waiting(Step::ControlPlane, wait);
    }
    apply(facts, &target.policy, &mut plan);
    if installed {
        return rollout::move_nodes(facts, target, orders, plan, now);
    }
    first_nodes(facts, target, plan, now)
}

/// Plans what has drifted.
fn apply(facts: &Facts, objects: &[Object], plan: &mut Plan) {
    plan.acts.extend(
        objects
            .iter()
            .filter(|object| is_due(object, facts))
            .cloned()
            .map(|object| Act::Apply(Box::new(object))),
    );
}

/// istiod runs in the version asked for, serves, signs, and has spread the root certificate.
fn control_plane(facts: &Facts, target: &Target, plan: &mut Plan, now: Timestamp) -> Option<Wait> {
    let key = ObjectKey::in_system("Deployment", &target.istiod);
    let wait = |message: String| Wait {
        reason: Reason::ControlPlane,
        object: key.to_string(),
        message,
    };
    let pending = plan
        .acts
        .iter()
        .any(|act| matches!(act, Act::Apply(object) if object.key == key));
    let Some(live) = facts.object(&key).filter(|_| !pending) else {
        return Some(wait("it is being applied".to_owned()));
    };
    let state = Deployment::of(live);
    let pods = || {
        facts
            .pods_with("app", names::ISTIOD)
            .filter(|pod| is_of_deployment(&pod.name, &target.istiod))
    };
    let lost = pods()
        .filter(|pod| !pod.ready && !pod.deleting && !facts.answers(pod))
        .count();
    if !state.is_rolled_out_but(lost) {
        if let Some((pod, text)) = health::trouble(pods()) {
            return Some(trouble(pod, text, Reason::ControlPlane));
        }
        return Some(wait(format!(
            "{} of {} replicas are of the newest template, {} are available, {lost} are on nodes that do not answer",
            state.updated, state.desired, state.available
        )));
    }
    if !facts.root_config_map {
        return Some(Wait {
            reason: Reason::ControlPlane,
            object: ObjectKey::in_system("ConfigMap", names::ROOT_CONFIG_MAP).to_string(),
            message: "istiod has not written the root certificate yet".to_owned(),
        });
    }
    let mut asked: Vec<(Question, bool)> = pods()
        .filter(|pod| pod.ready && !pod.deleting)
        .map(|pod| Question::ControlPlane {
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
        })
        .map(|question| {
            let good = plan.ask(facts, &question, now);
            (question, good)
        })
        .collect();
    if asked.iter().any(|(_, good)| *good) {
        return None;
    }
    let told = asked
        .pop()
        .and_then(|(question, _)| facts.answers.get(&question))
        .map_or("it has not been asked yet", |answer| answer.text());
    Some(wait(format!("it does not serve yet: {told}")))
}

/// Pods of a Deployment are called `<deployment>-<template hash>-<random>`.
fn is_of_deployment(pod: &str, deployment: &str) -> bool {
    pod.strip_prefix(deployment)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|rest| rest.matches('-').count() <= 1)
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
    rollout::tidy(facts, &mut plan);
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
        plan.done = plan.acts.is_empty();
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
