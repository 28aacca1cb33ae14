//! What status says of nodes on their way.

use super::act::Plan;
use super::passage::{Flight, Passage, Stage};
use super::rollout::Tour;
use crate::api::conditions::{Reason, Step};
use crate::api::v1alpha1::{MAX_ROLLOUT_NODES, NodeFailure, RolloutNodes};
use crate::status::Wait;

impl<'a> Tour<'a> {
    /// Waits for the node that is most in need of it.
    pub(super) fn waits(&self, passages: Vec<Passage<'a>>, mut plan: Plan) -> Plan {
        plan.nodes = Some(self.summary(&passages));
        let rank = |one: &Passage<'_>| match one.flight {
            _ if one.failed.is_some() => 0,
            Flight::Moving => 1,
            Flight::Ailing => 2,
            Flight::Waiting => 3,
            Flight::Aside(_) => 4,
            Flight::Done => 5,
        };
        let Some(first) = passages.into_iter().min_by_key(rank) else {
            return plan;
        };
        let message = match (&first.failed, &first.trouble) {
            // Status has the cause of a halt already: how long it lasts would be another text in every pass.
            (Some(failed), _) if self.orders.halted.is_none() => failed.to_string(),
            (None, Some((pod, text))) if pod.trouble.is_some() => format!("{}: {text}", pod.name),
            _ => first.told.clone(),
        };
        let message = match &self.short {
            Some(short) => format!(
                "{message}; no further node begins: {}: {}",
                short.object, short.message
            ),
            None => message,
        };
        let wait = Wait {
            reason: match first.stage {
                Stage::Verifying | Stage::Soaking => Reason::Verify,
                _ => Reason::Nodes,
            },
            object: format!("Node {}", first.node.name),
            message,
        };
        plan.waiting(Step::Nodes, wait)
    }

    /// How far the nodes are, for status.
    pub(super) fn summary(&self, passages: &[Passage<'_>]) -> RolloutNodes {
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let aside: Vec<(&str, &str)> = passages
            .iter()
            .filter_map(|one| match one.flight {
                Flight::Aside(why) => Some((one.node.name.as_str(), why)),
                _ => None,
            })
            .collect();
        let done = passages.iter().filter(|one| one.flight == Flight::Done);
        let current = passages.iter().filter(|one| one.flight == Flight::Moving);
        RolloutNodes {
            total: count(passages.len()),
            updated: count(done.count()),
            set_aside: count(aside.len()),
            unsupported: count(self.facts.nodes.len().saturating_sub(passages.len())),
            current: current
                .map(|one| one.node.name.clone())
                .take(MAX_ROLLOUT_NODES)
                .collect(),
            failed: aside
                .into_iter()
                .take(MAX_ROLLOUT_NODES)
                .map(|(name, reason)| NodeFailure {
                    name: name.to_owned(),
                    reason: reason.to_owned(),
                })
                .collect(),
        }
    }
}
