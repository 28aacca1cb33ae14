//! Alert rules, for clusters that run the Prometheus operator. Not part of the base: its kind may not be there.

use serde_json::{Value, json};

use super::labels;
use crate::names;

/// The rules: name, severity, for how long, expression, what it means and what to do.
const RULES: [(&str, &str, &str, &str, &str); 7] = [
    (
        "ApplinkRolloutStuck",
        "warning",
        "10m",
        "applink_rollouts_active > 0 and time() - applink_rollout_started_seconds > 3600 and time() > applink_rollout_watched_until_seconds and ignoring(what) changes(applink_nodes{what=\"updated\"}[1h]) == 0",
        "A rollout has not moved a node for an hour, no node is being watched, and nothing it may wait for is closed or paused. Look at `applink status`; take it back with `applink abort`.",
    ),
    (
        "ApplinkRolloutHalted",
        "warning",
        "0m",
        "applink_members_behind{reason=\"GateFailed\"} > 0",
        "A gate has failed and `upgrade.strategy.onFailure` is Pause: the rollout goes neither on nor back. `applink status` says which gate, on which node and why; `applink retry` goes on, `applink abort` takes it back.",
    ),
    (
        "ApplinkRolledBack",
        "warning",
        "0m",
        "increase(applink_rollouts_total{result=\"RolledBack\"}[1h]) > 0 or applink_members_behind{reason=\"ReleaseFailed\"} > 0",
        "A release was taken back here, because it failed or somebody said `applink abort`, and is not tried again. `applink history` says which and why; `applink retry` tries it again.",
    ),
    (
        "ApplinkBehind",
        "warning",
        "3d",
        "sum(applink_members_behind) > 0",
        "A member has not come to what its channel or pin means for three days. Condition UpToDate says what it waits for.",
    ),
    (
        "ApplinkEndOfLifeNear",
        "warning",
        "1h",
        "applink_release_end_of_life_seconds > 0 and applink_release_end_of_life_seconds - time() < 30 * 86400",
        "What runs is not cared for any more in less than 30 days. `applink releases` shows where it may go.",
    ),
    (
        "ApplinkCertificateNearExpiry",
        "critical",
        "1h",
        "applink_certificate_not_after_seconds - time() < 30 * 86400",
        "A root or intermediate certificate of the mesh ends in less than 30 days.",
    ),
    (
        "ApplinkNobodyLeads",
        "critical",
        "10m",
        "absent(applink_leading == 1)",
        "No operator acts: what runs goes on, nothing is repaired or moved.",
    ),
];

/// The one object of the file.
pub fn objects() -> Vec<Value> {
    let rules: Vec<Value> = RULES
        .into_iter()
        .map(|(alert, severity, after, expression, description)| {
            json!({
                "alert": alert,
                "expr": expression,
                "for": after,
                "labels": {"severity": severity},
                "annotations": {"description": description},
            })
        })
        .collect();
    vec![json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "applink", "namespace": names::OPERATOR_NAMESPACE, "labels": labels()},
        "spec": {"groups": [{"name": "applink", "rules": rules}]},
    })]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::conditions::{Reason, Step};
    use crate::metrics::{Gauges, Metrics};

    /// Words of an expression that begin with `applink_`.
    fn named(expression: &str) -> Vec<String> {
        expression
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .filter(|word| word.starts_with("applink_"))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn every_metric_that_a_rule_names_is_there_with_the_labels_it_selects() {
        let metrics = Metrics::default();
        metrics.show(&Gauges {
            steps: vec![(Step::Nodes, None)],
            certificates: vec![("root", 7)],
            behind: vec![Reason::ReleaseFailed, Reason::GateFailed],
            rollouts: vec![(7, true)],
            ends_of_life: vec![9],
            ..Gauges::default()
        });
        let text = metrics.text();
        let mut seen = 0;
        for (alert, _, _, expression, _) in RULES {
            for name in named(expression) {
                seen += 1;
                let is_there = text.lines().any(|line| {
                    line.strip_prefix(name.as_str())
                        .is_some_and(|rest| rest.starts_with(['{', ' ']))
                });
                assert!(is_there, "{alert}: {name} is not in\n{text}");
            }
            for label in [
                "what=\"updated\"",
                "result=\"RolledBack\"",
                "reason=\"ReleaseFailed\"",
                "reason=\"GateFailed\"",
            ] {
                assert!(
                    !expression.contains(label) || text.contains(label),
                    "{label}"
                );
            }
        }
        assert!(seen >= RULES.len(), "{seen}");
    }

    /// `and` finds nothing where the series of both sides differ in a label.
    #[test]
    fn series_that_are_joined_have_the_same_labels() {
        let metrics = Metrics::default();
        metrics.show(&Gauges {
            rollouts: vec![(7, true)],
            ends_of_life: vec![9],
            ..Gauges::default()
        });
        let text = metrics.text();
        let labels = |operand: &str| -> BTreeSet<String> {
            let name = named(operand).remove(0);
            let mut rests = text
                .lines()
                .filter_map(|line| line.strip_prefix(name.as_str()));
            let rest = rests.find(|rest| rest.starts_with(['{', ' '])).unwrap();
            let ignored = operand.strip_prefix("ignoring(");
            let ignored = ignored.and_then(|rest| rest.split(')').next());
            (rest.split('}').next().unwrap().split(['{', ',']))
                .filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()))
                .filter(|label| Some(label.as_str()) != ignored)
                .collect()
        };
        assert!(labels("applink_nodes{").contains("what"));
        let joined = RULES.iter().filter(|rule| rule.3.contains(" and "));
        for (alert, _, _, expression, _) in joined {
            let sides: Vec<BTreeSet<String>> = expression.split(" and ").map(labels).collect();
            assert!(
                sides.iter().all(|side| *side == sides[0]),
                "{alert}: {sides:?}"
            );
        }
    }
}
