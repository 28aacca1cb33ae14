//! The point of no return: the arriving revision becomes the one for all, the settled one goes.

use super::act::{Act, Plan};
use super::fleet::Proxies;
use super::gate::is_stale;
use super::passage::{Flight, NOT_COVERED, Passage};
use super::planes;
use super::rollout::Tour;
use super::waypoints;
use crate::api::conditions::{Reason, Step};
use crate::facts::Question;
use crate::names;
use crate::status::Wait;

/// How many nodes are asked at a time.
const AT_ONCE: usize = 32;

impl Tour<'_> {
    /// Every node has shown a moment ago that it serves, and the control plane that it signs: `None`, or what is asked
    /// again. A node that does not any longer is on its way again.
    fn verify(&self, passages: &[Passage<'_>], plan: &mut Plan) -> Option<Wait> {
        let istiods = planes::stale(self.facts, self.target, self.now);
        let old: Vec<&Question> = passages
            .iter()
            .filter_map(|one| one.proof.as_ref())
            .filter(|question| is_stale(self.facts, question, self.now))
            .collect();
        let wait = match old.first() {
            Some(first) => Wait {
                reason: Reason::Verify,
                object: format!("Node {}", first.node().unwrap_or_default()),
                message: format!("{} nodes are read once more", old.len()),
            },
            None => planes::asked_again(istiods.first()?),
        };
        let asked = old.into_iter().take(AT_ONCE).cloned();
        plan.acts.extend(asked.chain(istiods).map(Act::Ask));
        Some(wait)
    }

    /// Every node that can move has moved: the target becomes the one for all. The settled one goes once that is observed,
    /// see [`Self::retire`].
    pub(super) fn finish(&self, passages: &[Passage<'_>], mut plan: Plan) -> Plan {
        plan.nodes = Some(self.summary(passages));
        // A node that is away may come back with the settled proxy only.
        let mut behind: Vec<&Passage<'_>> = passages
            .iter()
            .filter(|one| match one.flight {
                Flight::Aside(NOT_COVERED) => !self.is_vacant(one, &mut plan),
                Flight::Aside(_) => true,
                _ => false,
            })
            .collect();
        // What somebody has to mend comes first.
        behind.sort_by_key(|one| one.flight != Flight::Aside(NOT_COVERED));
        if let Some(first) = behind.first() {
            let names: Vec<&str> = behind.iter().map(|one| one.node.name.as_str()).collect();
            let remedy = match first.flight {
                Flight::Aside(NOT_COVERED) => format!(
                    "; {} gets no proxy: {}, or move its enrolled pods to another node",
                    first.node.name, first.told
                ),
                _ => String::new(),
            };
            let wait = Wait {
                reason: Reason::WaitingForNodes,
                object: format!("Node {}", first.node.name),
                message: format!(
                    "{} of {} nodes are set aside; the old revision stays until they have moved or are deleted: {}{remedy}",
                    names.len(),
                    passages.len(),
                    names[..names.len().min(8)].join(", ")
                ),
            };
            return plan.waiting(Step::Finish, wait);
        }
        if !plan.acts.is_empty() {
            // What the nodes still need comes before the point of no return.
            return plan;
        }
        if let Some(wait) = self.verify(passages, &mut plan) {
            return plan.waiting(Step::Verify, wait);
        }
        // Unlabelled waypoints follow the default validator.
        if let Some(wait) =
            waypoints::pin(self.facts, &planes::slug(self.target), &mut plan, self.now)
        {
            return plan.waiting(Step::Finish, wait);
        }
        plan.is_revertible = false;
        plan.step = Step::Finish;
        let validator = planes::default_validator(self.target);
        let proxies = (self.target.proxy.iter()).filter(|one| one.key.kind == "DaemonSet");
        super::apply(self.facts, validator.into_iter().chain(proxies), &mut plan);
        plan
    }

    /// The end was begun: the others go as soon as the winner runs on every node, also on one that came meanwhile, and its
    /// controller knows that it is for all.
    pub(super) fn retire(
        &self,
        winner: &Proxies<'_>,
        losers: &[Proxies<'_>],
        mut plan: Plan,
    ) -> Plan {
        plan.is_revertible = false;
        if winner.revision == self.target.revision.as_str() {
            super::apply(self.facts, &self.target.agent, &mut plan);
            super::apply(self.facts, &self.target.proxy, &mut plan);
        }
        let silent = self.facts.nodes.values().find(|node| {
            let runs = |(_, proxies): &(Vec<_>, Vec<&crate::facts::Pod>)| {
                proxies.iter().any(|pod| {
                    pod.runs()
                        && pod.labels.get(names::REVISION_LABEL).map(String::as_str)
                            == Some(winner.revision)
                })
            };
            self.target.rules.supports(node)
                && node.ready
                && !self.pods.get(node.name.as_str()).is_some_and(runs)
        });
        if let Some(node) = silent {
            let wait = Wait {
                reason: Reason::Finish,
                object: format!("Node {}", node.name),
                message: format!("its {} does not run yet", winner.key.name),
            };
            return plan.waiting(Step::Finish, wait);
        }
        if let Some(wait) = winner.unobserved(Reason::Finish) {
            return plan.waiting(Step::Finish, wait);
        }
        plan.acts
            .extend(losers.iter().map(|one| Act::delete(one.key, one.live)));
        plan.step = Step::Finish;
        plan
    }
}
