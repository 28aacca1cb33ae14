//! What a pass shows in metrics.

use jiff::Timestamp;

use crate::api::conditions::{ConditionType, Reason};
use crate::api::v1alpha1::MeshMemberStatus;
use crate::metrics::Gauges;
use crate::names;
use crate::status::{Outcome, Progress};

/// Adds a member's state to the gauges.
pub fn show(outcome: &Outcome, gauges: &mut Gauges) {
    if let Progress::Working(work) = &outcome.progress {
        gauges
            .steps
            .push((work.step, work.wait.as_ref().map(|wait| wait.reason)));
        if let Some(nodes) = &work.nodes {
            gauges.nodes = [
                nodes.total,
                nodes.updated,
                nodes.set_aside,
                nodes.unsupported,
            ]
            .map(i64::from);
        }
    }
    let compared = outcome.rollout.compared;
    gauges
        .compared
        .extend(compared.map(|(before, now)| [before.ratio(), now.ratio()]));
    if matches!(outcome.progress, Progress::Settled { .. }) {
        let proxies = outcome
            .components
            .iter()
            .flatten()
            .find(|component| component.status.name == names::ZTUNNEL);
        if let Some(proxies) = proxies {
            gauges.nodes[0] = proxies.status.desired.into();
            gauges.nodes[1] = proxies.status.updated.into();
        }
    }
    let watched = outcome.rollout.watched_until.map(Timestamp::as_second);
    gauges.watched_until = gauges.watched_until.max(watched);
    gauges
        .ends_of_life
        .extend(outcome.steering.end_of_life.map(Timestamp::as_second));
    for certificate in outcome.certificates.iter().flatten() {
        let what = match certificate.what.as_str() {
            "root" => "root",
            _ => "intermediate",
        };
        if let Some(end) = &certificate.not_after {
            gauges.certificates.push((what, end.0.as_second()));
        }
    }
}

/// Adds what a member's status says to the gauges.
pub fn show_status(status: &MeshMemberStatus, gauges: &mut Gauges) {
    let condition = |kind: ConditionType| {
        let all = &status.conditions;
        all.iter().find(|one| one.type_ == kind.as_str())
    };
    let is_ready = condition(ConditionType::Ready).is_some_and(|one| one.status == "True");
    gauges.ready += i64::from(is_ready);
    let reason = condition(ConditionType::UpToDate)
        .filter(|one| one.status == "False")
        .and_then(|one| one.reason.parse::<Reason>().ok());
    if let Some(rollout) = &status.rollout {
        let started = rollout.started_at.as_ref();
        let started = started.map_or(0, |started| started.0.as_second());
        gauges
            .rollouts
            .push((started, reason == Some(Reason::Progressing)));
        // Nothing of it comes to an end by itself.
        gauges
            .behind
            .extend(reason.filter(|reason| *reason == Reason::GateFailed));
    } else {
        let behind = reason.filter(|reason| *reason != Reason::Progressing);
        gauges.behind.extend(behind);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rollout_that_stands_still_at_a_gate_counts_as_behind_and_as_none_that_goes_on() {
        let shown = |reason: &str| {
            let status = json!({
                "rollout": {"id": "1", "step": "Nodes", "startedAt": "2026-11-21T10:00:00Z"},
                "conditions": [{"type": "UpToDate", "status": "False", "reason": reason, "message": "",
                    "lastTransitionTime": "2026-11-21T10:00:00Z"}],
            });
            let mut gauges = Gauges::default();
            show_status(&serde_json::from_value(status).unwrap(), &mut gauges);
            (gauges.rollouts[0].1, gauges.behind)
        };
        assert_eq!(shown("Progressing"), (true, vec![]));
        assert_eq!(shown("Paused"), (false, vec![]));
        assert_eq!(shown("GateFailed"), (false, vec![Reason::GateFailed]));
    }
}
