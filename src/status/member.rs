//! The next status of a `MeshMember`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{Conditions, whole_seconds};
use super::outcome::{Outcome, Progress, Work};
use super::steering::{self, Ending};
use super::verdict::decide;
use super::{bounds, seen};
use crate::api::conditions::Step;
use crate::api::v1alpha1::{
    FailedRelease, HistoryEntry, LeaveStatus, MAX_AVAILABLE_UPGRADES, MAX_CERTIFICATES,
    MAX_COMPONENTS, MAX_FAILED_RELEASES, MAX_HISTORY, MeshMemberStatus, RolloutStatus, Upgrade,
    UpgradeStatus, VersionStatus,
};
use crate::blueprint::Strategy;
use crate::catalogue::Version;

/// What a member reports after a pass, from what it reported before.
///
/// Equal inputs give equal outputs, and a pass that found nothing new gives back `old`: then nothing is written.
pub fn next(old: Option<&MeshMemberStatus>, outcome: &Outcome, now: Timestamp) -> MeshMemberStatus {
    let mut status = old.cloned().unwrap_or_default();
    status.observed_generation = outcome.generation.or(status.observed_generation);
    keep_or(
        &mut status.cluster_uid,
        bounds::optional(outcome.cluster_uid.as_ref()),
    );
    keep_or(
        &mut status.kubernetes_version,
        bounds::optional(outcome.kubernetes_version.as_ref()),
    );
    keep_or(
        &mut status.platform,
        outcome.platform.as_ref().map(seen::platform),
    );
    if let Some(components) = &outcome.components {
        status.components = bounds::list(components, MAX_COMPONENTS, |component| {
            seen::component(&component.status)
        });
    }
    if let Some(certificates) = &outcome.certificates {
        status.certificates = bounds::list(certificates, MAX_CERTIFICATES, seen::certificate);
    }
    if let Some(upgrades) = &outcome.available_upgrades {
        status.available_upgrades = bounds::list(upgrades, MAX_AVAILABLE_UPGRADES, seen::available);
    }
    keep_or(
        &mut status.membership,
        outcome.membership.as_ref().map(seen::membership),
    );
    keep_or(&mut status.upgrade, upgrade(outcome));
    steering::remember(&mut status, &outcome.steering, whole_seconds(now));
    if let Some(leave) = &outcome.leave {
        status.leave = Some(seen::leave(leave)).filter(|leave| *leave != LeaveStatus::default());
    }
    if let Some(failed) = &outcome.rollout.failed {
        let follows = status
            .rollout
            .as_ref()
            .and_then(|rollout| rollout.follows.clone());
        record_failure(
            &mut status.failed_releases,
            failed,
            follows.as_deref().or(outcome.steering.follows.as_deref()),
            whole_seconds(now),
        );
    }
    advance(&mut status, outcome, whole_seconds(now));
    if let Some(rollout) = &mut status.rollout {
        rollout.wave = outcome.rollout.wave.or(rollout.wave);
        rollout.revertible = outcome.rollout.revertible.or(rollout.revertible);
        if let Some((hash, settings)) = &outcome.rollout.template {
            rollout.hash = Some(bounds::name(hash));
            rollout.settings = Some(bounds::name(settings));
        }
        if let Some(halted) = &outcome.rollout.halted {
            rollout
                .halted
                .get_or_insert_with(|| bounds::message(halted));
        }
        if let Some(halted) = &rollout.halted {
            rollout.message = Some(halted.clone());
        }
    }
    let mut conditions = Conditions::from(&status.conditions, status.observed_generation, now);
    decide(&mut conditions, &status, outcome);
    status.conditions = conditions.into_vec();
    status
}

pub(super) fn keep_or<T>(field: &mut Option<T>, seen: Option<T>) {
    if seen.is_some() {
        *field = seen;
    }
}

/// Remembers that a release failed here, once.
pub(super) fn record_failure(
    known: &mut Vec<FailedRelease>,
    failed: &FailedRelease,
    follows: Option<&str>,
    now: Timestamp,
) {
    let is_known = known
        .iter()
        .any(|one| one.version == failed.version && one.hash == failed.hash);
    if is_known {
        return;
    }
    known.insert(
        0,
        FailedRelease {
            version: bounds::name(&failed.version),
            hash: bounds::name(&failed.hash),
            reason: bounds::message(&failed.reason),
            follows: follows.map(bounds::name),
            at: Some(Time(now)),
        },
    );
    known.truncate(MAX_FAILED_RELEASES);
}

/// Version, rollout and history.
fn advance(status: &mut MeshMemberStatus, outcome: &Outcome, now: Timestamp) {
    match &outcome.progress {
        Progress::Unknown => {}
        Progress::Working(work) => {
            let mut version = status.version.take().unwrap_or_default();
            let is_installed = version.current.is_some();
            if !is_installed {
                version.target = work.to.as_ref().map(Version::to_string).or(version.target);
            }
            // What is checked before the first act of an upgrade is no rollout yet.
            if !is_installed || status.rollout.is_some() || work.step != Step::Preflight {
                let follows = outcome.steering.follows.as_ref();
                let rollout = rollout(status.rollout.as_ref(), &version, work, follows, now);
                status.rollout = Some(rollout);
            }
            status.version = (version != VersionStatus::default()).then_some(version);
        }
        Progress::Settled { version, istio } => settle(status, outcome, *version, *istio, now),
    }
}

/// Nothing is on the way any more.
fn settle(
    status: &mut MeshMemberStatus,
    outcome: &Outcome,
    version: Version,
    istio: Version,
    now: Timestamp,
) {
    let arrived = version.to_string();
    let mut versions = status.version.take().unwrap_or_default();
    let from = versions
        .current
        .take()
        .filter(|current| !current.is_empty());
    let finished = status.rollout.take();
    let is_new = from.as_deref() != Some(arrived.as_str());
    let steering = &outcome.steering;
    if is_new || finished.is_some() {
        let ended = outcome.rollout.ended.as_ref();
        let rollout = finished.unwrap_or_default();
        let is_back = ended.is_some_and(|ended| *ended != Ending::Succeeded);
        if !is_back {
            versions.reached_by = rollout
                .follows
                .or_else(|| steering.follows.clone())
                .map(|follows| bounds::name(&follows));
        }
        let entry = HistoryEntry {
            from: from.clone(),
            to: rollout
                .to
                .filter(|_| is_back)
                .unwrap_or_else(|| arrived.clone()),
            started: rollout.started_at.or(Some(Time(now))),
            ended: Some(Time(now)),
            initiated_by: rollout.initiated_by,
            result: ended.map_or("Succeeded", Ending::as_str).to_owned(),
            reason: ended.and_then(Ending::reason).map(bounds::message),
        };
        status.history.insert(0, entry);
        status.history.truncate(MAX_HISTORY);
    } else if steering.is_reached
        && let Some(follows) = &steering.follows
    {
        versions.reached_by = Some(bounds::name(follows));
    }
    if let Some(settled) = &steering.settled {
        versions.hash = Some(bounds::name(&settled.hash));
        versions.settings = Some(bounds::name(&settled.settings));
        versions.images = Some(bounds::name(&settled.images));
    }
    if let Some(from) = from.filter(|_| is_new) {
        versions.previous = Some(from);
    }
    versions.current = Some(arrived.clone());
    versions.target = Some(arrived);
    status.version = Some(versions);
    status.istio_version = Some(istio.to_string());
}

/// The rollout in progress: the same one while its revision stays, else a new one.
fn rollout(
    old: Option<&RolloutStatus>,
    version: &VersionStatus,
    work: &Work,
    follows: Option<&String>,
    now: Timestamp,
) -> RolloutStatus {
    let revision = bounds::optional(work.revision.as_ref());
    let same =
        old.filter(|old| old.revision == revision || revision.is_none() || old.revision.is_none());
    let started = same
        .and_then(|old| old.started_at.clone())
        .unwrap_or(Time(now));
    let revision = revision.or_else(|| same.and_then(|old| old.revision.clone()));
    let nodes = work
        .nodes
        .as_ref()
        .map(seen::nodes)
        .or_else(|| same.and_then(|old| old.nodes.clone()));
    let id = same.map_or_else(
        || format!("{}", started.0.as_second()),
        |old| old.id.clone(),
    );
    // Another template on the way to the same release is another attempt at what somebody asked for.
    let to = work.to.as_ref().map(Version::to_string);
    let asked = old.filter(|old| to.is_none() || old.to == to);
    RolloutStatus {
        id,
        revision,
        from: version.current.clone(),
        initiated_by: asked
            .and_then(|old| old.initiated_by.clone())
            .or_else(|| Some("Spec".to_owned())),
        follows: asked
            .and_then(|old| old.follows.clone())
            .or_else(|| bounds::optional(follows)),
        why: asked.and_then(|old| old.why.clone()),
        fixes: asked.and_then(|old| old.fixes),
        returns: asked.and_then(|old| old.returns.clone()),
        hash: same.and_then(|old| old.hash.clone()),
        settings: same.and_then(|old| old.settings.clone()),
        halted: same.and_then(|old| old.halted.clone()),
        retried_at: same.and_then(|old| old.retried_at.clone()),
        to: to.or_else(|| same.and_then(|old| old.to.clone())),
        step: work.step.as_str().to_owned(),
        wave: same.and_then(|old| old.wave),
        nodes,
        revertible: same.and_then(|old| old.revertible),
        started_at: Some(started),
        message: work
            .wait
            .as_ref()
            .map(|wait| bounds::message(&format!("{}: {}", wait.object, wait.message))),
    }
}

/// The upgrade settings in effect; also shown while they resolve to nothing.
fn upgrade(outcome: &Outcome) -> Option<UpgradeStatus> {
    let resolution = outcome.resolution.as_ref()?;
    let asked = outcome.upgrade.as_ref();
    let (mode, channel, pin) = match resolution {
        Ok(resolution) => (
            resolution.mode,
            resolution.channel,
            resolution.pin.map(|pin| pin.to_string()),
        ),
        Err(_) => (
            asked.map(Upgrade::effective_mode).unwrap_or_default(),
            asked.and_then(Upgrade::effective_channel),
            asked
                .and_then(|asked| asked.version.as_deref())
                .map(bounds::name),
        ),
    };
    let channel = channel.map(|channel| channel.as_str().to_owned());
    let version = pin.filter(|_| channel.is_none());
    Some(UpgradeStatus {
        mode: Some(mode.as_str().to_owned()),
        follows: channel.clone().or_else(|| version.clone()),
        channel,
        version,
        max_failure_increase: Some(Strategy::of(asked).max_failure_increase.to_string()),
        waiting_for: outcome.steering.waiting_for.as_deref().map(bounds::message),
        next_window: outcome.steering.next_window.map(Time),
    })
}
