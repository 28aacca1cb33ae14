//! Where a node on its way may stay for as long as somebody likes.

use super::passage::{Flight, Mark, Passage, Stage};
use super::way::{Place, Way};

/// Stops nodes at the next point at which nothing of them is half done: before their network agent is replaced; and after
/// it, where the canary has passed, as then every node gets that agent. Beside both proxies there is no such point: those
/// nodes come to their end.
pub(super) fn stop(passages: &mut [Passage<'_>], way: &Way, canary_passed: bool) {
    for one in passages
        .iter_mut()
        .filter(|one| one.flight == Flight::Moving)
    {
        let is_agents_turn = match one.place {
            Place::Start => way.agent_first,
            Place::Middle => false,
            Place::End => !way.agent_first,
        };
        // One that is only started again for its proxy is no change.
        let has_agent_of_before =
            one.stage == Stage::Agent && (!one.other_agents.is_empty() || !one.stale.is_empty());
        let begins_with_proxy = canary_passed
            && one.place == Place::Start
            && (one.mark.as_ref()).is_some_and(|mark| mark.label.is_some());
        if !(is_agents_turn && has_agent_of_before || begins_with_proxy) {
            continue;
        }
        one.stale.clear();
        one.mark = one.tainted.then_some(Mark {
            taint: Some(false),
            ..Mark::default()
        });
        one.flight = Flight::Waiting;
        "it is paused where it may stay".clone_into(&mut one.told);
    }
}
