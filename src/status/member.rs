//! The next status of a `MeshMember`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::bounds;
use super::conditions::{Conditions, Verdict, whole_seconds};
use super::outcome::{Component, Outcome, Progress, Work};
use crate::api::conditions::{ConditionType, Reason};
use crate::api::v1alpha1::{
    AvailableUpgrade, CertificateStatus, ComponentStatus, HistoryEntry, MAX_AVAILABLE_UPGRADES,
    MAX_CERTIFICATES, MAX_COMPONENTS, MAX_HISTORY, MAX_MEMBERSHIP_NAMES, MAX_ROLLOUT_NODES,
    MembershipStatus, MeshMemberStatus, NodeFailure, PlatformStatus, RolloutNodes, RolloutStatus,
    Upgrade, UpgradeStatus, VersionStatus,
};
use crate::catalogue::{Notice, Pin, Resolution, Version};
use crate::preflight::{Code, Finding, Severity};

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
        outcome.platform.as_ref().map(platform),
    );
    if let Some(components) = &outcome.components {
        status.components = bounds::list(components, MAX_COMPONENTS, |component| {
            self::component(&component.status)
        });
    }
    if let Some(certificates) = &outcome.certificates {
        status.certificates = bounds::list(certificates, MAX_CERTIFICATES, certificate);
    }
    if let Some(upgrades) = &outcome.available_upgrades {
        status.available_upgrades = bounds::list(upgrades, MAX_AVAILABLE_UPGRADES, available);
    }
    keep_or(
        &mut status.membership,
        outcome.membership.as_ref().map(membership),
    );
    keep_or(&mut status.upgrade, upgrade(outcome));
    advance(&mut status, outcome, whole_seconds(now));
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
                    result: "Succeeded".to_owned(),
                    reason: None,
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
        .map(nodes)
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

fn decide(conditions: &mut Conditions, status: &MeshMemberStatus, outcome: &Outcome) {
    conditions.set_or_keep(
        ConditionType::Accepted,
        accepted(outcome),
        "the cluster has not been looked at yet",
    );
    conditions.set_or_keep(
        ConditionType::Ready,
        ready(status, outcome),
        "the components have not been looked at yet",
    );
    conditions.set_or_keep(
        ConditionType::UpToDate,
        up_to_date(outcome),
        "the components have not been looked at yet",
    );
    conditions.set_or_keep(
        ConditionType::MembershipHealthy,
        outcome.membership.as_ref().map(membership_healthy),
        "the enrolled pods have not been looked at yet",
    );
    let stalled = stalled(outcome);
    let reconciling = if stalled.is_some() {
        None
    } else {
        reconciling(outcome)
    };
    conditions.set_or_remove(ConditionType::Stalled, stalled);
    conditions.set_or_remove(ConditionType::Reconciling, reconciling);
    let blocked = outcome
        .leave_blocked
        .as_ref()
        .map(|problem| Verdict::is_true(problem.reason, &problem.message));
    conditions.set_or_remove(ConditionType::LeaveBlocked, blocked);
}

/// The spec is valid, what it refers to was found, and the cluster is this member's own.
fn accepted(outcome: &Outcome) -> Option<Verdict> {
    if let Some(problem) = &outcome.invalid {
        return Some(Verdict::is_false(problem.reason, &problem.message));
    }
    if let Some(rival) = outcome
        .findings
        .iter()
        .find(|finding| finding.code == Code::ClusterAlreadyMember)
    {
        return Some(Verdict::is_false(
            Reason::ClusterAlreadyMember,
            rival.to_string(),
        ));
    }
    let resolution = match outcome.resolution.as_ref()? {
        Ok(resolution) => resolution,
        Err(unresolved) => {
            return Some(Verdict::is_false(
                unresolved.reason(),
                unresolved.to_string(),
            ));
        }
    };
    let mut message = format!(
        "{} means {} (Istio {})",
        follows(resolution),
        resolution.release.version,
        resolution.release.istio
    );
    let warnings: Vec<String> = resolution
        .notices
        .iter()
        .map(|notice| format!("{}: {notice}", resolution.release.version))
        .chain(
            outcome
                .findings
                .iter()
                .filter(|finding| finding.severity == Severity::Warn)
                .map(Finding::to_string),
        )
        .collect();
    if warnings.is_empty() {
        return Some(Verdict::is_true(Reason::Valid, message));
    }
    message.push_str("; warnings: ");
    message.push_str(&warnings.join(" | "));
    Some(Verdict::is_true(Reason::ValidWithWarnings, message))
}

/// The mesh serves; it does not have to be the version that was asked for.
fn ready(status: &MeshMemberStatus, outcome: &Outcome) -> Option<Verdict> {
    if let Progress::Working(Work {
        step: crate::api::conditions::Step::Leave,
        ..
    }) = &outcome.progress
    {
        return Some(Verdict::is_false(
            Reason::Leaving,
            "the member is leaving the cluster",
        ));
    }
    let installed = status
        .version
        .as_ref()
        .is_some_and(|version| version.current.is_some());
    if !installed {
        return Some(match &outcome.progress {
            Progress::Working(work) => Verdict::is_false(Reason::Installing, doing(work)),
            _ => Verdict::is_false(Reason::Installing, "the first install has not finished"),
        });
    }
    let components = outcome.components.as_ref()?;
    let silent: Vec<String> = components
        .iter()
        .filter(|component| !component.serves)
        .map(silence)
        .collect();
    Some(if silent.is_empty() {
        Verdict::is_true(Reason::Serving, "every component serves")
    } else {
        Verdict::is_false(Reason::ComponentUnavailable, silent.join("; "))
    })
}

fn silence(component: &Component) -> String {
    let ComponentStatus {
        name,
        ready,
        desired,
        message,
        ..
    } = &component.status;
    let counted = format!("{name}: {ready} of {desired} ready");
    message
        .as_ref()
        .map_or(counted.clone(), |message| format!("{counted}, {message}"))
}

/// What runs is what was asked for.
fn up_to_date(outcome: &Outcome) -> Option<Verdict> {
    match &outcome.progress {
        Progress::Unknown => None,
        Progress::Working(work) => Some(Verdict::is_false(Reason::Progressing, doing(work))),
        Progress::Settled { version, .. } => Some(settled(*version, outcome)),
    }
}

fn settled(version: Version, outcome: &Outcome) -> Verdict {
    let Some(Ok(resolution)) = &outcome.resolution else {
        return Verdict::is_true(Reason::Current, format!("{version} runs"));
    };
    let target = resolution.release.version;
    if target != version {
        return Verdict::is_true(
            Reason::Current,
            format!(
                "{version} runs; {} means {target} now, and this version of applink does not move to it",
                follows(resolution)
            ),
        );
    }
    let affected =
        |notice: &&Notice| matches!(notice, Notice::Withdrawn { .. } | Notice::Vulnerable { .. });
    match resolution.notices.iter().find(affected) {
        Some(notice) if matches!(resolution.pin, Some(Pin::Exact(_))) => Verdict::is_false(
            Reason::PinnedToAffectedRelease,
            format!("{version} is pinned and runs, and {notice}; pin another version"),
        ),
        _ => Verdict::is_true(Reason::Current, format!("{version} runs")),
    }
}

/// Work goes on; absent when nothing has to be done.
fn reconciling(outcome: &Outcome) -> Option<Verdict> {
    if let Some(failure) = &outcome.failure {
        return Some(Verdict::is_true(
            Reason::Retrying,
            format!("{}: {}", failure.reason, failure.message),
        ));
    }
    match &outcome.progress {
        Progress::Working(work) => {
            let reason = work
                .wait
                .as_ref()
                .map_or(work.step.reason(), |wait| wait.reason);
            Some(Verdict::is_true(reason, doing(work)))
        }
        Progress::Unknown | Progress::Settled { .. } => None,
    }
}

/// Nothing moves until somebody acts.
fn stalled(outcome: &Outcome) -> Option<Verdict> {
    if let Some(failure) = outcome
        .failure
        .as_ref()
        .filter(|failure| failure.is_terminal)
    {
        return Some(Verdict::is_true(failure.reason, &failure.message));
    }
    let blocking: Vec<&Finding> = outcome
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Block)
        .collect();
    if let Some(first) = blocking.first() {
        let reason = match first.code {
            Code::MissingRights => Reason::MissingRights,
            Code::ClusterAlreadyMember => Reason::ClusterAlreadyMember,
            _ => Reason::PreflightFailed,
        };
        let all: Vec<String> = blocking.iter().map(ToString::to_string).collect();
        return Some(Verdict::is_true(reason, all.join(" | ")));
    }
    if let Some(problem) = &outcome.invalid {
        return Some(Verdict::is_true(problem.reason, &problem.message));
    }
    match &outcome.resolution {
        Some(Err(unresolved)) => Some(Verdict::is_true(
            unresolved.reason(),
            unresolved.to_string(),
        )),
        _ => None,
    }
}

fn membership_healthy(membership: &MembershipStatus) -> Verdict {
    let MembershipStatus {
        namespaces,
        enrolled,
        meshed,
        broken,
        ..
    } = membership;
    if *namespaces == 0 && *enrolled == 0 {
        return Verdict::is_true(
            Reason::NothingEnrolled,
            "no namespace is enrolled; label one with istio.io/dataplane-mode=ambient",
        );
    }
    if broken.is_empty() && meshed >= enrolled {
        return Verdict::is_true(
            Reason::AllServed,
            format!("{meshed} of {enrolled} enrolled pods are in the mesh"),
        );
    }
    let names = broken
        .iter()
        .take(3)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    let named = if names.is_empty() {
        String::new()
    } else {
        format!(": not {names}")
    };
    Verdict::is_false(
        Reason::PodsNotServed,
        format!("{meshed} of {enrolled} enrolled pods are in the mesh{named}"),
    )
}

/// What is being done, in one line.
fn doing(work: &Work) -> String {
    match &work.wait {
        Some(wait) => format!("step {}: {}: {}", work.step, wait.object, wait.message),
        None => format!("step {}", work.step),
    }
}

/// What the member follows, in words.
fn follows(resolution: &Resolution) -> String {
    match (resolution.channel, resolution.pin) {
        (Some(channel), _) => format!("channel {}", channel.as_str()),
        (None, Some(pin)) => format!("version {pin}"),
        (None, None) => "the default".to_owned(),
    }
}

/// The upgrade settings in effect; also shown while they resolve to nothing.
fn upgrade(outcome: &Outcome) -> Option<UpgradeStatus> {
    let resolution = outcome.resolution.as_ref()?;
    let (mode, channel, pin) = match resolution {
        Ok(resolution) => (
            resolution.mode,
            resolution.channel,
            resolution.pin.map(|pin| pin.to_string()),
        ),
        Err(_) => {
            let upgrade = outcome.upgrade.as_ref();
            let asked = upgrade
                .and_then(|upgrade| upgrade.version.as_deref())
                .map(bounds::name);
            (
                upgrade.map(Upgrade::effective_mode).unwrap_or_default(),
                upgrade.and_then(Upgrade::effective_channel),
                asked,
            )
        }
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

fn platform(seen: &PlatformStatus) -> PlatformStatus {
    PlatformStatus {
        name: bounds::name(&seen.name),
        evidence: bounds::message(&seen.evidence),
    }
}

fn component(seen: &ComponentStatus) -> ComponentStatus {
    ComponentStatus {
        name: bounds::name(&seen.name),
        version: bounds::optional(seen.version.as_ref()),
        message: seen.message.as_deref().map(bounds::message),
        ..*seen
    }
}

fn certificate(seen: &CertificateStatus) -> CertificateStatus {
    CertificateStatus {
        what: bounds::name(&seen.what),
        fingerprint: bounds::name(&seen.fingerprint),
        not_after: seen.not_after.clone(),
    }
}

fn available(seen: &AvailableUpgrade) -> AvailableUpgrade {
    AvailableUpgrade {
        version: bounds::name(&seen.version),
        istio_version: bounds::name(&seen.istio_version),
        channels: bounds::list(&seen.channels, 3, |channel| bounds::name(channel)),
        fixes: seen.fixes,
    }
}

fn membership(seen: &MembershipStatus) -> MembershipStatus {
    MembershipStatus {
        enrolled_names: bounds::list(&seen.enrolled_names, MAX_MEMBERSHIP_NAMES, |name| {
            bounds::name(name)
        }),
        broken: bounds::list(&seen.broken, MAX_MEMBERSHIP_NAMES, |name| {
            bounds::name(name)
        }),
        ..*seen
    }
}

fn nodes(seen: &RolloutNodes) -> RolloutNodes {
    RolloutNodes {
        current: bounds::list(&seen.current, MAX_ROLLOUT_NODES, |name| bounds::name(name)),
        failed: bounds::list(&seen.failed, MAX_ROLLOUT_NODES, |failure| NodeFailure {
            name: bounds::name(&failure.name),
            reason: bounds::name(&failure.reason),
        }),
        ..*seen
    }
}

#[cfg(test)]
#[path = "member_tests.rs"]
mod tests;
