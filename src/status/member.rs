//! The next status of a `MeshMember`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{Conditions, whole_seconds};
use super::outcome::{Outcome, Progress, Work};
use super::verdict::decide;
use super::{bounds, seen};
use crate::api::v1alpha1::{
    FailedRelease, HistoryEntry, LeaveStatus, MAX_AVAILABLE_UPGRADES, MAX_CERTIFICATES,
    MAX_COMPONENTS, MAX_FAILED_RELEASES, MAX_HISTORY, MeshMemberStatus, RolloutStatus, Upgrade,
    UpgradeStatus, VersionStatus,
};
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
    if let Some(leave) = &outcome.leave {
        status.leave = Some(seen::leave(leave)).filter(|leave| *leave != LeaveStatus::default());
    }
    if let Some(failed) = &outcome.rollout.failed {
        record_failure(&mut status.failed_releases, failed, whole_seconds(now));
    }
    advance(&mut status, outcome, whole_seconds(now));
    if let Some(rollout) = &mut status.rollout {
        rollout.wave = outcome.rollout.wave.or(rollout.wave);
        rollout.revertible = outcome.rollout.revertible.or(rollout.revertible);
    }
    let mut conditions = Conditions::from(&status.conditions, status.observed_generation, now);
    decide(&mut conditions, &status, outcome);
    status.conditions = conditions.into_vec();
    status
}

fn keep_or<T>(field: &mut Option<T>, seen: Option<T>) {
    if seen.is_some() {
        *field = seen;
    }
}

/// Remembers that a release failed here, once.
fn record_failure(known: &mut Vec<FailedRelease>, failed: &FailedRelease, now: Timestamp) {
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
            version.target = work.to.as_ref().map(Version::to_string).or(version.target);
            status.rollout = Some(rollout(status.rollout.as_ref(), &version, work, now));
            status.version = (version != VersionStatus::default()).then_some(version);
        }
        Progress::Settled { version, istio } => {
            let arrived = version.to_string();
            let mut versions = status.version.take().unwrap_or_default();
            let from = versions
                .current
                .take()
                .filter(|current| !current.is_empty());
            let finished = status.rollout.take();
            if from.as_deref() != Some(arrived.as_str()) || finished.is_some() {
                let entry = HistoryEntry {
                    from: from.clone(),
                    to: arrived.clone(),
                    started: finished
                        .as_ref()
                        .and_then(|rollout| rollout.started_at.clone())
                        .or(Some(Time(now))),
                    ended: Some(Time(now)),
                    initiated_by: finished.and_then(|rollout| rollout.initiated_by),
                    result: if outcome.rollout.held.is_some() {
                        "RolledBack"
                    } else {
                        "Succeeded"
                    }
                    .to_owned(),
                    reason: outcome
                        .rollout
                        .held
                        .as_ref()
                        .map(|reason| bounds::message(reason)),
                };
                status.history.insert(0, entry);
                status.history.truncate(MAX_HISTORY);
            }
            if let Some(from) = from.filter(|from| *from != arrived) {
                versions.previous = Some(from);
            }
            versions.current = Some(arrived.clone());
            versions.target = Some(arrived);
            status.version = Some(versions);
            status.istio_version = Some(istio.to_string());
        }
    }
}

/// The rollout in progress: the same one while its revision stays, else a new one.
fn rollout(
    old: Option<&RolloutStatus>,
    version: &VersionStatus,
    work: &Work,
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
    RolloutStatus {
        id,
        revision,
        from: version.current.clone(),
        to: work
            .to
            .as_ref()
            .map(Version::to_string)
            .or_else(|| same.and_then(|old| old.to.clone())),
        initiated_by: same
            .and_then(|old| old.initiated_by.clone())
            .or_else(|| Some("Spec".to_owned())),
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
        waiting_for: None,
        next_window: None,
    })
}
