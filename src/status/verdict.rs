//! What each condition of a `MeshMember` says after a pass, and why.

use super::conditions::{Conditions, Status, Verdict};
use super::outcome::{Component, Outcome, Progress, Work};
use super::steering::Ending;
use crate::api::conditions::{ConditionType, Reason, Step};
use crate::api::v1alpha1::{ComponentStatus, MembershipStatus, MeshMemberStatus};
use crate::catalogue::Resolution;
use crate::preflight::{Code, Finding, Severity};

/// What the warnings of condition Accepted follow.
pub(super) const WARNINGS: &str = "; warnings: ";
/// What stands between two findings.
pub(super) const BETWEEN: &str = " | ";

/// Sets every condition of a member.
pub(super) fn decide(conditions: &mut Conditions, status: &MeshMemberStatus, outcome: &Outcome) {
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
        up_to_date(status, outcome),
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
    let problem = outcome.invalid.as_ref();
    if let Some(problem) = problem.or(outcome.steering.refusal.as_ref()) {
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
    message.push_str(WARNINGS);
    message.push_str(&warnings.join(BETWEEN));
    Some(Verdict::is_true(Reason::ValidWithWarnings, message))
}

/// The mesh serves; it does not have to be the version that was asked for.
fn ready(status: &MeshMemberStatus, outcome: &Outcome) -> Option<Verdict> {
    if let Progress::Working(Work {
        step: Step::Leave, ..
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
    let why = message.as_ref().map(|message| format!(", {message}"));
    format!(
        "{name}: {ready} of {desired} ready{}",
        why.unwrap_or_default()
    )
}

/// What the last rollout was to.
fn tried(status: &MeshMemberStatus) -> Option<&str> {
    status.history.first().map(|entry| entry.to.as_str())
}

/// What runs is what was asked for.
fn up_to_date(status: &MeshMemberStatus, outcome: &Outcome) -> Option<Verdict> {
    let steering = &outcome.steering;
    let rollout = status.rollout.as_ref();
    match &outcome.progress {
        Progress::Unknown => None,
        // What runs stays as it is, and nothing has begun.
        Progress::Working(_)
            if rollout.is_none()
                && let Some(stalled) = stalled(outcome) =>
        {
            let is_refused =
                accepted(outcome).is_some_and(|accepted| accepted.status == Status::False);
            let reason = if is_refused {
                Reason::NotAccepted
            } else {
                Reason::PreflightFailed
            };
            Some(Verdict::is_false(reason, stalled.message))
        }
        Progress::Working(work)
            if let Some(halted) = rollout.and_then(|rollout| rollout.halted.as_ref()) =>
        {
            Some(Verdict::is_false(
                Reason::GateFailed,
                format!(
                    "{halted}; nothing begins and nothing goes back: applink retry goes on, applink abort takes it back; {}",
                    doing(work)
                ),
            ))
        }
        Progress::Working(work) => Some(match &steering.held_up {
            Some(hold) => Verdict::is_false(
                hold.reason,
                format!(
                    "{}; what has begun is brought to a safe point: {}",
                    hold.message,
                    doing(work)
                ),
            ),
            None => Verdict::is_false(
                Reason::Progressing,
                match &steering.begins {
                    Some(begins) => format!("{} begins", begins.why),
                    None => doing(work),
                },
            ),
        }),
        Progress::Settled { version, .. } => match (&outcome.rollout.ended, &steering.verdict) {
            (Some(Ending::RolledBack { reason }), _) => Some(Verdict::is_false(
                Reason::ReleaseFailed,
                match tried(status).filter(|tried| *tried != version.to_string()) {
                    Some(tried) => {
                        format!("{tried} failed and was taken back, {version} runs again: {reason}")
                    }
                    None => format!(
                        "the new template of {version} failed and was taken back, the one before runs again: {reason}"
                    ),
                },
            )),
            // What comes after it is decided next: there may be another hop.
            (Some(_), _) => None,
            (None, Some(judgement)) => Some(Verdict {
                status: if judgement.is_true {
                    Status::True
                } else {
                    Status::False
                },
                reason: judgement.reason,
                message: judgement.message.clone(),
            }),
            (None, None) => Some(Verdict::is_true(Reason::Current, format!("{version} runs"))),
        },
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
                .map_or_else(|| work.step.reason(), |wait| wait.reason);
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
        return Some(Verdict::is_true(reason, all.join(BETWEEN)));
    }
    let problem = outcome.invalid.as_ref();
    if let Some(problem) = problem.or(outcome.steering.refusal.as_ref()) {
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
    let some = broken
        .iter()
        .take(3)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    let lost = if some.is_empty() {
        String::new()
    } else {
        format!(": not {some}")
    };
    Verdict::is_false(
        Reason::PodsNotServed,
        format!("{meshed} of {enrolled} enrolled pods are in the mesh{lost}"),
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
