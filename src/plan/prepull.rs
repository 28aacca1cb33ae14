//! The images of an arriving revision, pulled on every node before anything is touched.
//!
//! The `DaemonSet` that pulls is the record, too: what is not pulled yet when the nodes' turn has come stays visible, and
//! holds those nodes only.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::act::{Act, Plan};
use super::drift::is_due;
use super::fleet::Proxies;
use super::gate::{Failed, Gate};
use super::target::{NodeRules, Object, Target};
use crate::api::conditions::Reason;
use crate::desired::Manifest;
use crate::facts::{Facts, Pod, Trouble};
use crate::health;
use crate::names;
use crate::status::Wait;

/// Where a pod template names its first image.
const IMAGE: &str = "/spec/template/spec/containers/0/image";

/// Deletes what pulls images for another revision than this one.
pub(super) fn clear(facts: &Facts, kept: Option<&Target>, plan: &mut Plan) {
    plan.acts.extend(
        facts
            .daemon_sets_with("app", names::PREPULL)
            .filter(|(key, live)| {
                !live.deleting && kept.is_none_or(|kept| **key != kept.prepull.key)
            })
            .map(|(key, live)| Act::delete(key, live)),
    );
}

/// The arriving revision brings an image that the settled one has not.
pub(super) fn is_needed(target: &Target, settled: &Proxies<'_>) -> bool {
    let image = |body: &Value| {
        body.pointer(IMAGE)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let of = |manifest: &Manifest| image(&manifest.body);
    let set = |objects: &[Object]| {
        objects
            .iter()
            .find(|object| object.key.kind == "DaemonSet")
            .and_then(|object| of(&object.manifest))
    };
    image(&settled.live.body) != set(&target.arriving)
        || settled.agent().as_ref().and_then(of) != set(&target.agent)
}

/// Who pulls, by node: only nodes that are waited for.
fn pullers<'a>(facts: &'a Facts, target: &'a Target) -> BTreeMap<&'a str, Option<&'a Pod>> {
    let mut all: BTreeMap<&str, Option<&Pod>> = facts
        .nodes
        .values()
        .filter(|node| target.rules.supports(node) && NodeRules::set_aside(node).is_none())
        .map(|node| (node.name.as_str(), None))
        .collect();
    for pod in of_target(facts, target) {
        if let Some(puller) = all.get_mut(pod.node.as_str()) {
            *puller = Some(pod);
        }
    }
    all
}

fn of_target<'a>(facts: &'a Facts, target: &'a Target) -> impl Iterator<Item = &'a Pod> + 'a {
    facts.pods_with("app", names::PREPULL).filter(|pod| {
        !pod.deleting
            && pod.labels.get(names::REVISION_LABEL).map(String::as_str)
                == Some(target.revision.as_str())
    })
}

/// Nodes on which an image of the arriving revision is still being pulled.
pub(super) fn behind<'a>(facts: &'a Facts, target: &'a Target) -> BTreeSet<&'a str> {
    if facts.object(&target.prepull.key).is_none() {
        return BTreeSet::new();
    }
    pullers(facts, target)
        .into_iter()
        .filter(|(_, puller)| puller.is_some_and(|pod| !pod.pulled))
        .map(|(node, _)| node)
        .collect()
}

/// Every node has the images, or has had its time: `None`, or what is waited for. An image that no node could pull fails
/// the release.
pub(super) fn gate(
    facts: &Facts,
    target: &Target,
    limit: SignedDuration,
    plan: &mut Plan,
    now: Timestamp,
) -> Option<Wait> {
    let key = &target.prepull.key;
    let wait = |message: String| Wait {
        reason: Reason::Prepull,
        object: key.to_string(),
        message,
    };
    if is_due(&target.prepull, facts) {
        plan.acts.push(Act::Apply(Box::new(target.prepull.clone())));
        return Some(wait("it is being applied".to_owned()));
    }
    let live = facts.object(key)?;
    let pullers = pullers(facts, target);
    let pulled = pullers.values().flatten().filter(|pod| pod.pulled).count();
    // A node without room for it is not waited for: whether the proxy has room is asked later.
    let absent = pullers.values().filter(|puller| puller.is_none()).count();
    let all_placed = absent
        <= of_target(facts, target)
            .filter(|pod| is_unplaced(pod))
            .count();
    let waiting: Vec<(&str, Option<&Pod>)> = pullers
        .iter()
        .filter(|(_, puller)| puller.map_or(!all_placed, |pod| !pod.pulled))
        .map(|(node, puller)| (*node, *puller))
        .collect();
    if waiting.is_empty() {
        return None;
    }
    // That a container has ended is as it should be.
    let troubled = health::trouble(
        waiting
            .iter()
            .filter_map(|(_, puller)| *puller)
            .filter(|pod| pod.trouble.as_ref().is_some_and(Trouble::is_image)),
    );
    let told = troubled.as_ref().map_or_else(
        || format!("waiting for node {}", waiting[0].0),
        |(pod, text)| format!("{} on node {}: {text}", pod.name, pod.node),
    );
    let message = format!(
        "{pulled} of {} nodes have the images; {told}",
        pullers.len()
    );
    let since = created(&live.body).map(|since| plan.counts_from(since));
    let due = since.and_then(|since| since.checked_add(limit).ok());
    match due {
        Some(due) if due <= now && pulled > 0 => None,
        Some(due) if due > now => {
            plan.again_by(due);
            Some(wait(message))
        }
        None => Some(wait(message)),
        Some(_) => {
            let (node, first) =
                troubled.map_or(waiting[0], |(pod, _)| (pod.node.as_str(), Some(pod)));
            plan.failed = Some(Failed {
                gate: Gate::Prepull,
                node: node.to_owned(),
                pod: first.map(|pod| pod.name.clone()).unwrap_or_default(),
                message: format!("{message}, after {} s", limit.as_secs()),
            });
            Some(wait(message))
        }
    }
}

/// The scheduler found no room for it.
fn is_unplaced(pod: &Pod) -> bool {
    pod.node.is_empty()
        && pod
            .trouble
            .as_ref()
            .is_some_and(|trouble| trouble.reason == "Unschedulable")
}

fn created(body: &Value) -> Option<Timestamp> {
    body.pointer("/metadata/creationTimestamp")?
        .as_str()?
        .parse()
        .ok()
}
