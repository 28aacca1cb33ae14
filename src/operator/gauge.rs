//! What a pass shows in metrics.

use jiff::Timestamp;

use crate::api::conditions::{ConditionType, Reason};
use crate::api::v1alpha1::MeshMemberStatus;
use crate::facts::Answers;
use crate::metrics::{Gauges, Heard};
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

/// Adds what was answered at gates, and how many nodes the probe could not prove.
pub fn show_gates(answers: &Answers, unproved: usize, gauges: &mut Gauges) {
    gauges.unproved = number(unproved);
    gauges.answers = answers
        .iter()
        .map(|(question, answer)| {
            let heard = match &answer.seen {
                Ok(seen) => Heard::Answer {
                    good: seen.good,
                    counted: seen.tally.map(|tally| {
                        [tally.good, tally.all.saturating_sub(tally.good)].map(number)
                    }),
                },
                Err(_) => Heard::Nothing,
            };
            (question.gate(), heard)
        })
        .collect();
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
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
    use crate::facts::{Answer, Evidence, Question, Tally};

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

    #[test]
    fn an_answer_is_told_with_its_gate_and_what_it_counted() {
        let room = |node: &str| Question::Room {
            node: node.to_owned(),
            uid: "u".to_owned(),
            millicores: 1,
            bytes: 1,
        };
        let answer = |seen| Answer::after(None, Timestamp::UNIX_EPOCH, seen);
        let counted = Evidence {
            tally: Some(Tally::of(3, 5)),
            ..Evidence::default()
        };
        let answers = Answers::from([
            (room("a"), answer(Ok(counted))),
            (room("b"), answer(Err("nobody answers".to_owned()))),
        ]);
        let mut gauges = Gauges::default();
        show_gates(&answers, 2, &mut gauges);
        let bad = Heard::Answer {
            good: false,
            counted: Some([3, 2]),
        };
        assert_eq!(gauges.answers, [("Room", bad), ("Room", Heard::Nothing)]);
        assert_eq!(gauges.unproved, 2);
    }
}
