//! A proxy that gives no answer: its node cannot be reached, or it alone is silent.
//!
//! Somebody else of its node tells which: the proxy beside it, and where there is none any longer the operator's own probe.
//! Both are reached by the same way, through the node's kubelet, so one that answers shows that the way is open. That the
//! kubelet reports the node and its pods as ready shows less: it reports by a way of its own.

use jiff::SignedDuration;

use super::act::{Act, Plan};
use super::baseline;
use super::gate::{Failed, Gate};
use super::judge::Judge;
use super::passage::{Flight, Passage};
use crate::facts::{Answer, Node, Pod, Question};

/// How long a proxy has to go on being silent after somebody else of its node has answered: longer than an answer may take,
/// so that it was asked anew since. A node that has just returned is no release's fault.
const STILL: SignedDuration = SignedDuration::from_secs(15);

impl<'a> Judge<'a, '_> {
    /// What becomes of a node whose proxy has not answered this question. After the time of a gate the release has failed
    /// where the proxy is the arriving one and somebody else of its node answers; where nobody does, or nobody else is
    /// there, nothing is known, and the node is set aside.
    pub(super) fn falls_silent(
        &self,
        passage: &mut Passage<'a>,
        proxy: &Pod,
        asked: &Question,
        leavers: &[&Pod],
        plan: &mut Plan,
    ) {
        let Some(answer) = (self.facts.answers.get(asked)).filter(|one| one.is_unknown()) else {
            return;
        };
        let since = plan.counts_from(answer.since);
        let lasts = self.now.duration_since(since);
        if lasts < self.timeout {
            return;
        }
        let Some(witness) = self.witness(passage.node, proxy, leavers) else {
            passage.flight = Flight::Aside(UNREACHABLE);
            return;
        };
        let told = answer.text();
        let seconds = lasts.as_secs();
        // What was said before it fell silent tells nothing.
        let heard = (self.facts.answers.get(&witness)).filter(|one| one.at >= since);
        match heard {
            None => {
                passage.told = format!(
                    "{}: no answer for {seconds} s; {witness} beside it is asked",
                    proxy.name
                );
                plan.acts.push(Act::Ask(witness));
            }
            Some(heard) if heard.is_unknown() => {
                plan.ask(self.facts, &witness, self.now);
                passage.flight = Flight::Aside(UNREACHABLE);
            }
            Some(heard) if is_after(answer, heard) => {
                passage.failed = Some(Failed {
                    gate: Gate::Pods,
                    node: passage.node.name.clone(),
                    pod: proxy.name.clone(),
                    message: format!(
                        "no answer for {seconds} s, and {witness} beside it answers: {told}"
                    ),
                });
            }
            Some(_) => {
                passage.told = format!(
                    "{}: no answer for {seconds} s, and {witness} beside it answers: {told}",
                    proxy.name
                );
            }
        }
    }

    /// What is asked of somebody else on the node of an arriving proxy.
    fn witness(&self, node: &Node, proxy: &Pod, leavers: &[&Pod]) -> Option<Question> {
        let is_arriving =
            self.way.is_forward && super::judge::revision(proxy) == Some(&self.way.survivor);
        if !is_arriving {
            return None;
        }
        match leavers.first() {
            Some(leaver) => Some(baseline::question(node, leaver)),
            None => self.probes?.question(node, proxy),
        }
    }
}

/// Why a node is set aside of which nobody answers.
pub(super) const UNREACHABLE: &str = "NodeUnreachable";

/// It was asked anew since the other answer, and was silent again.
fn is_after(answer: &Answer, heard: &Answer) -> bool {
    answer.at.duration_since(heard.at) >= STILL
}
