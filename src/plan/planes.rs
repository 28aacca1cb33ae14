//! The control planes of a cluster: one, and two while nodes move from one release to another.
//!
//! What carries a release in its name comes from that release. What both share (accounts, bindings, the namespace's
//! labels, defaults of waypoints) is rendered from the same spec by both, and has one holder at a time: the settled
//! release until the other one's control plane is started, that one from then on, and the settled one again when it is
//! gone back to. The default validator is the exception: it moves in the step Finish, as unlabelled Gateways follow it.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::act::{Act, Plan};
use super::fleet::{Proxies, daemon_sets};
use super::gate::{Failed, Gate, is_stale, overdue};
use super::target::{Object, Target};
use super::targets::Targets;
use crate::api::conditions::Reason;
use crate::catalogue::Version;
use crate::facts::{Answer, Facts, Live, ObjectKey, Pod, Question};
use crate::health::{self, Deployment};
use crate::names;
use crate::status::Wait;

/// Which control planes are there to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Planes {
    /// The settled release's, and the other one's as far as nodes run it.
    Settled,
    /// Both; the settled release's is the default.
    Both,
    /// Both; the target's is the default.
    Moved,
    /// The target's.
    Target,
}

/// Repairs the control planes that are there to be, and what they stand on.
pub(super) fn keep(facts: &Facts, targets: &Targets, planes: Planes, plan: &mut Plan) {
    let target = &targets.target;
    let settled = targets.settled.as_ref().unwrap_or(target);
    let both = || -> Vec<&Arc<Target>> {
        let arriving = targets.settled.is_some().then_some(target);
        [settled].into_iter().chain(arriving).collect()
    };
    let (holder, owners, default) = match planes {
        Planes::Settled if is_used(facts, &slug(target)) => (settled, both(), settled),
        Planes::Settled => (settled, vec![settled], settled),
        Planes::Both => (target, both(), settled),
        Planes::Moved => (target, both(), target),
        Planes::Target => (target, vec![target], target),
    };
    let shared = holder
        .control_plane
        .iter()
        .filter(|one| !is_of_release(one));
    let wanted = holder
        .foundation
        .iter()
        .chain(shared)
        .chain(owners.into_iter().flat_map(|one| own(one)))
        .chain(default_validator(default));
    super::apply(facts, wanted, plan);
}

/// What carries a release in its name, but for the default validator.
fn own(target: &Target) -> impl Iterator<Item = &Object> {
    target
        .control_plane
        .iter()
        .filter(|one| is_of_release(one) && !is_default(&one.key))
}

/// Repairs what carries a release in its name.
pub(super) fn keep_own(facts: &Facts, target: &Target, plan: &mut Plan) {
    super::apply(facts, own(target), plan);
}

/// The release a target's control plane is called by: `1-6-0`.
pub(super) fn slug(target: &Target) -> String {
    target.version.dashed()
}

/// The release of a revision: `1-6-0` of `1-6-0-3fa9c1`.
pub(super) fn release_of(revision: &str) -> &str {
    revision
        .rsplit_once('-')
        .map_or(revision, |(release, _)| release)
}

fn is_of_release(object: &Object) -> bool {
    object.manifest.label(names::ISTIO_REVISION_LABEL).is_some()
}

/// The webhook configuration that both releases have, one after the other.
fn is_default(key: &ObjectKey) -> bool {
    key.kind == VALIDATORS && key.name == names::DEFAULT_VALIDATOR
}

/// Kind of the default validator.
const VALIDATORS: &str = "ValidatingWebhookConfiguration";

/// The release that unlabelled objects belong to, as the cluster has it.
pub(super) fn default_release(facts: &Facts) -> Option<&str> {
    let key = ObjectKey::new(VALIDATORS, None, names::DEFAULT_VALIDATOR);
    facts.object(&key)?.label(names::ISTIO_REVISION_LABEL)
}

/// The default validator of a release.
pub(super) fn default_validator(target: &Target) -> Option<&Object> {
    target
        .control_plane
        .iter()
        .find(|object| is_default(&object.key))
}

/// The point of no return was passed: what is not labelled belongs to the target already, while another release ran.
pub(super) fn is_finishing(facts: &Facts, targets: &Targets) -> bool {
    targets.settled.is_some() && is_default_release(facts, targets.target.version)
}

fn is_default_release(facts: &Facts, version: Version) -> bool {
    default_release(facts) == Some(version.dashed().as_str())
}

/// The point of no return of a rollout between these releases was passed, as the cluster has it: whoever passed it may have
/// died before it was written down.
pub fn is_past_return(facts: &Facts, from: Version, to: Version) -> bool {
    if from != to {
        return is_default_release(facts, to);
    }
    let proxies = daemon_sets(facts).filter(|(_, live)| !live.deleting);
    proxies.map(Proxies::of).filter(Proxies::is_default).count() > 1
}

/// Proxies of a release run, or are to run.
pub fn is_used(facts: &Facts, release: &str) -> bool {
    daemon_sets(facts)
        .map(Proxies::of)
        .any(|one| release_of(one.revision) == release)
        || proxies_of(facts, release).next().is_some()
}

/// Pods of a release's proxies, ending ones included.
pub(super) fn proxies_of<'a>(
    facts: &'a Facts,
    release: &'a str,
) -> impl Iterator<Item = &'a Pod> + 'a {
    facts.pods_with("app", names::ZTUNNEL).filter(move |pod| {
        pod.labels
            .get(names::REVISION_LABEL)
            .is_some_and(|revision| release_of(revision) == release)
    })
}

/// Pods of a release's istiod, ending ones included.
pub(super) fn istiods_of<'a>(
    facts: &'a Facts,
    release: &'a str,
) -> impl Iterator<Item = &'a Pod> + 'a {
    facts
        .pods_with("app", names::ISTIOD)
        .filter(move |pod| is_of_deployment(&pod.name, &format!("{}-{release}", names::ISTIOD)))
}

/// What carries a release in its name and belongs to none of these: key, object and release.
pub(super) fn strangers<'a>(
    facts: &'a Facts,
    kept: &[String],
) -> Vec<(&'a ObjectKey, &'a Live, &'a str)> {
    facts
        .objects
        .iter()
        .filter(|(key, live)| !live.deleting && !is_default(key))
        .filter_map(|(key, live)| {
            Some((key, live.as_ref(), live.label(names::ISTIO_REVISION_LABEL)?))
        })
        .filter(|(_, _, release)| !kept.iter().any(|one| one == release))
        .collect()
}

/// How far the control plane of a release is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Every replica runs in the template asked for, and one at least serves and signs.
    Whole,
    /// One serves and signs; what is waited for of the others.
    Serves(Wait),
    /// Nobody does.
    Lacking(Wait),
}

/// How long a control plane may take before its release has failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// How long.
    pub limit: SignedDuration,
    /// It was whole before the first node moved. A replica that is made anew since and finds no place is no fault of the
    /// release, as long as another one serves.
    pub was_whole: bool,
}

/// istiod of a release runs in the template asked for, serves, signs, and has spread the root certificate: `None`, or what
/// is waited for.
pub(super) fn gate(
    facts: &Facts,
    target: &Target,
    plan: &mut Plan,
    now: Timestamp,
) -> Option<Wait> {
    match standing(facts, target, None, plan, now) {
        Standing::Whole => None,
        Standing::Serves(wait) | Standing::Lacking(wait) => Some(wait),
    }
}

/// How far the control plane of a release is. One that takes too long fails the release.
pub(super) fn standing(
    facts: &Facts,
    target: &Target,
    patience: Option<Patience>,
    plan: &mut Plan,
    now: Timestamp,
) -> Standing {
    let key = ObjectKey::in_system("Deployment", &target.istiod);
    let wait = |message: String| Wait {
        reason: Reason::ControlPlane,
        object: key.to_string(),
        message,
    };
    let release = slug(target);
    let signs = signs(facts, &release, plan, now);
    let short = |wait: Wait| match signs {
        Ok(()) => Standing::Serves(wait),
        Err(_) => Standing::Lacking(wait),
    };
    let pending = plan
        .acts
        .iter()
        .any(|act| matches!(act, Act::Apply(object) if object.key == key));
    let Some(live) = facts.object(&key).filter(|_| !pending) else {
        return short(wait("it is being applied".to_owned()));
    };
    let state = Deployment::of(live);
    let pods = || istiods_of(facts, &release);
    let is_lost = |pod: &Pod| !facts.answers(pod);
    let lost = pods()
        .filter(|pod| !pod.ready && !pod.deleting && is_lost(pod))
        .count();
    if !state.is_rolled_out_but(lost) {
        if let Some(Patience { limit, was_whole }) = patience {
            let is_excused = |pod: &Pod| was_whole && signs.is_ok() && pod.node.is_empty();
            plan.failed = pods()
                .filter(|pod| !pod.deleting && !is_lost(pod) && !is_excused(pod))
                .find_map(|pod| overdue(pod, Gate::ControlPlane, limit, plan, now));
            if plan.failed.is_none() && !(was_whole && signs.is_ok()) {
                plan.failed = refused(live, limit, plan, now);
            }
        }
        if let Some((pod, text)) = health::trouble(pods()) {
            if patience.is_some() {
                return short(wait(format!("{}: {text}", pod.name)));
            }
            return short(super::trouble(pod, text, Reason::ControlPlane));
        }
        if let Some((_, why)) = health::refused(live) {
            return short(wait(format!("a replica cannot be made: {why}")));
        }
        return short(wait(format!(
            "{} of {} replicas are of the newest template, {} are available, {lost} are on nodes that do not answer",
            state.updated, state.desired, state.available
        )));
    }
    if !facts.root_config_map {
        return Standing::Lacking(Wait {
            reason: Reason::ControlPlane,
            object: ObjectKey::in_system("ConfigMap", names::ROOT_CONFIG_MAP).to_string(),
            message: "istiod has not written the root certificate yet".to_owned(),
        });
    }
    let Some((pod, answer)) = (match signs {
        Ok(()) => return Standing::Whole,
        Err(asked) => asked,
    }) else {
        return Standing::Lacking(wait(
            "it does not serve yet: it has not been asked yet".to_owned(),
        ));
    };
    let told = answer.text();
    let lasts = now.duration_since(plan.counts_from(answer.since));
    if patience.is_some_and(|patience| lasts >= patience.limit) {
        let seconds = lasts.as_secs();
        plan.failed = Some(Failed {
            gate: Gate::ControlPlane,
            node: pod.node.clone(),
            pod: pod.name.clone(),
            message: format!("has not served for {seconds} s: {told}"),
        });
    }
    Standing::Lacking(wait(format!("it does not serve yet: {told}")))
}

/// The API server has taken no replica for too long.
fn refused(live: &Live, limit: SignedDuration, plan: &mut Plan, now: Timestamp) -> Option<Failed> {
    let (since, why) = health::refused(live)?;
    let since = plan.counts_from(since?);
    let due = since.checked_add(limit).ok()?;
    if due > now {
        plan.again_by(due);
        return None;
    }
    Some(Failed {
        gate: Gate::ControlPlane,
        node: String::new(),
        pod: String::new(),
        message: format!(
            "a replica could not be made for {} s: {why}",
            now.duration_since(since).as_secs()
        ),
    })
}

/// Pods of a release's istiod that can be asked, and what they are asked.
fn askable<'a>(
    facts: &'a Facts,
    release: &'a str,
) -> impl Iterator<Item = (&'a Pod, Question)> + 'a {
    istiods_of(facts, release)
        .filter(|pod| pod.ready && !pod.deleting)
        .map(|pod| {
            let question = Question::ControlPlane {
                pod: pod.name.clone(),
                uid: pod.incarnation(),
            };
            (pod, question)
        })
}

/// An istiod of the release serves and signs; else who was asked last, and the answer.
fn signs<'a>(
    facts: &'a Facts,
    release: &'a str,
    plan: &mut Plan,
    now: Timestamp,
) -> Result<(), Option<(&'a Pod, &'a Answer)>> {
    let mut is_good = false;
    let mut last = None;
    for (pod, question) in askable(facts, release) {
        is_good |= plan.ask(facts, &question, now);
        last = Some((pod, question));
    }
    if is_good {
        return Ok(());
    }
    Err(last.and_then(|(pod, question)| Some((pod, facts.answers.get(&question)?))))
}

/// What the istiods of a target were asked too long ago for the point of no return.
pub(super) fn stale(facts: &Facts, target: &Target, now: Timestamp) -> Vec<Question> {
    let release = slug(target);
    askable(facts, &release)
        .map(|(_, question)| question)
        .filter(|question| is_stale(facts, question, now))
        .collect()
}

/// What is waited for while an istiod is asked once more.
pub(super) fn asked_again(question: &Question) -> Wait {
    Wait {
        reason: Reason::Verify,
        object: question.to_string(),
        message: "it is asked once more whether it serves and signs".to_owned(),
    }
}

/// Pods of a Deployment are called `<deployment>-<template hash>-<random>`.
fn is_of_deployment(pod: &str, deployment: &str) -> bool {
    pod.strip_prefix(deployment)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|rest| rest.matches('-').count() <= 1)
}
