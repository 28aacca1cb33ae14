//! What the pods of a node were made from. Somebody may edit a template, and a pod may start from it before the edit is
//! undone: it carries the mark of our template, and runs what was edited.
//!
//! The sign is the revision that the controller recorded of the template as it was then, and not the pod, which a webhook
//! may have changed for good reasons.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::act::{Act, Plan};
use super::drift::{difference, is_due};
use super::fleet::{self, Proxies};
use super::target::{NodeRules, Object, Target};
use super::targets::Targets;
use super::{agent, passage};
use crate::facts::{Facts, Pod};
use crate::names;

/// Label of a pod with the revision of its `DaemonSet` that it was made from, and the end of that revision's name.
/// Source: kubernetes `staging/src/k8s.io/api/apps/v1/types.go`, `ControllerRevisionHashLabelKey`.
const REVISION: &str = "controller-revision-hash";

/// The facts without the template hash of pods that were made from a template that somebody had edited; `None` when
/// there is no such pod. Only fields of ours count, and only while the `DaemonSet` itself is as it should be.
pub(super) fn disowned(facts: &Facts, targets: &Targets) -> Option<Facts> {
    let target = &targets.target;
    let settled: Vec<Object> = fleet::daemon_sets(facts)
        .filter_map(|one| Proxies::of(one).agent())
        .map(Object::of)
        .collect();
    let agents = target.agent.iter().filter(|one| one.key == agent::key());
    let proxies = target.proxy.iter().chain(&target.arriving);
    let edited: Vec<String> = (agents.chain(proxies).chain(&settled))
        .filter(|object| object.key.kind == "DaemonSet" && !is_due(object, facts))
        .flat_map(|object| edited(facts, object))
        .collect();
    if edited.is_empty() {
        return None;
    }
    let mut facts = facts.clone();
    for name in edited {
        if let Some(pod) = facts.pods.get_mut(&name) {
            Arc::make_mut(pod).template_hash = None;
        }
    }
    Some(facts)
}

/// Pods of a `DaemonSet` that is in place, made from a template in which a field of ours had another value.
fn edited(facts: &Facts, object: &Object) -> Vec<String> {
    let Some(live) = facts.object(&object.key) else {
        return Vec::new();
    };
    let ours = template(&object.manifest.body);
    // A webhook may have changed the `DaemonSet` for good.
    let accepted = difference(&template(&live.body), &ours);
    let prefix = format!("{}-", object.key.name);
    // There are a few revisions, and as many pods as nodes.
    let revisions: BTreeSet<&str> = facts
        .templates
        .iter()
        .filter_map(|(name, made)| Some((name.strip_prefix(&prefix)?, made)))
        .filter(|(_, made)| {
            let at = difference(made, &ours);
            // What is ours to the letter was edited by nobody, whatever a webhook makes of it by now.
            at.is_some() && at != accepted
        })
        .map(|(hash, _)| hash)
        .collect();
    if revisions.is_empty() {
        return Vec::new();
    }
    let is_edited = |pod: &&Pod| {
        let revision = pod.labels.get(REVISION);
        revision.is_some_and(|hash| revisions.contains(hash.as_str()))
    };
    facts
        .pods
        .values()
        .map(AsRef::as_ref)
        .filter(|pod| {
            pod.template_hash.is_some() && pod.template_hash.as_deref() == object.template_hash()
        })
        .filter(is_edited)
        .map(|pod| pod.name.clone())
        .collect()
}

/// The template of a `DaemonSet` without its affinity, which changes as nodes move and says nothing of what runs.
fn template(body: &Value) -> Value {
    let mut template = body.pointer("/spec/template").cloned().unwrap_or_default();
    if let Some(spec) = template.pointer_mut("/spec").and_then(Value::as_object_mut) {
        spec.remove("affinity");
    }
    template
}

/// Replaces proxies that were made from an edited template, one node at a time: nobody serves there until the new one
/// runs. Agents are replaced as in a rollout.
pub(super) fn replace(facts: &Facts, target: &Target, plan: &mut Plan) {
    let pods = passage::pods(facts);
    let mut edited = None;
    for node in facts
        .nodes
        .values()
        .filter(|node| target.rules.supports(node))
    {
        let Some((agents, proxies)) = pods.get(node.name.as_str()) else {
            continue;
        };
        if NodeRules::set_aside(node).is_some() {
            continue;
        }
        let first = proxies.iter().copied().find(|pod| {
            let revision = pod.labels.get(names::REVISION_LABEL).map(String::as_str);
            revision == Some(target.revision.as_str()) && pod.template_hash.is_none()
        });
        let is_served = agents.iter().any(|pod| pod.runs()) && proxies.iter().any(|pod| pod.runs());
        match first {
            // One that is away, or fails for another reason.
            _ if proxies.iter().any(|pod| pod.deleting) => return,
            None if !is_served => return,
            Some(pod) => edited = edited.or(Some(pod)),
            None => {}
        }
    }
    plan.acts.extend(edited.map(Act::delete_pod));
}
