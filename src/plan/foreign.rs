//! Proxies whose program is not ours: upstream's has no admin calls, so what ours is told its agent has to bring about.

use super::judge::{Judge, question, revision};
use super::passage::{Mark, Passage};
use crate::facts::Pod;

/// After how many comparisons an agent is started again for a proxy that cannot be told to reconnect.
const MOST_COMPARISONS: u32 = 3;

impl<'a> Judge<'a, '_> {
    /// A proxy that cannot be told to reconnect gets the full list from an agent that starts: beside those that leave, so
    /// that nobody is without a proxy meanwhile, or alone.
    pub(super) fn restart_agent(
        &self,
        passage: &mut Passage<'a>,
        survivor: &Pod,
        agent: &'a Pod,
        leavers: &[&Pod],
    ) {
        let question = question(passage, survivor, agent, leavers);
        let answer = self.facts.answers.get(&question);
        let is_lasting = answer
            .is_some_and(|answer| !answer.is_unknown() && answer.failures >= MOST_COMPARISONS);
        // One that was made since the node carries the taint has brought the full list: another one brings no other.
        let is_anew = passage.tainted
            && (passage.node.marked)
                .is_some_and(|marked| agent.created.is_some_and(|made| made >= marked));
        let is_due = self.is_foreign(survivor) && is_lasting && !is_anew;
        // Where none would come again, the one that is there stays.
        let comes_again = self.rules.lack(passage.node).is_none();
        if !is_due || !comes_again || passage.failed.is_some() {
            return;
        }
        passage.mark = (!passage.tainted).then_some(Mark {
            taint: Some(true),
            ..Mark::default()
        });
        if passage.tainted {
            passage.stale.push(agent);
            // The template that it is made from again has to be in place.
            passage.lacks_agent = true;
        }
    }

    /// Its program is not ours: it cannot be told anything.
    pub(super) fn is_foreign(&self, pod: &Pod) -> bool {
        revision(pod).is_some_and(|revision| self.foreign.contains(&revision.as_str()))
    }
}
