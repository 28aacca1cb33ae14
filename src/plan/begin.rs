//! The first patch of nodes whose turn has come.

use jiff::SignedDuration;

use super::act::{Act, Plan};
use super::passage::{Flight, Mark, Passage};
use super::rollout::Tour;
use super::wave::{self, Wave};
use super::way::{Place, Way};
use crate::api::v1alpha1::OnFullNode;
use crate::facts::Question;

/// How old an answer about room may be.
const ROOM_FRESH: SignedDuration = SignedDuration::from_secs(30);

impl<'a> Tour<'a> {
    /// Begins with those nodes of a wave that have room.
    pub(super) fn begin(
        &self,
        way: &Way,
        wave: &Wave<'_>,
        passages: &mut [Passage<'a>],
        plan: &mut Plan,
    ) {
        let mut chosen = Vec::new();
        let mut is_known = true;
        let mut zones = wave.zones.clone();
        for &at in &wave.candidates {
            if chosen.len() >= wave.size {
                break;
            }
            let left = zones.get_mut(wave::zone(passages[at].node));
            if left.as_deref() == Some(&0) {
                continue;
            }
            let has_room = self.has_room(way, &passages[at], plan);
            if has_room == Some(false) {
                // It takes nobody's place, neither in the wave nor in its zone.
                passages[at].flight = Flight::Aside("NodeFull");
                continue;
            }
            if has_room.is_none() {
                is_known = false;
                "what room it has is asked".clone_into(&mut passages[at].told);
            }
            if let Some(left) = left {
                *left -= 1;
            }
            chosen.push(at);
        }
        if !is_known {
            return;
        }
        for at in chosen {
            let one = &mut passages[at];
            let needs_agent = !one.other_agents.is_empty() || one.lacks_agent;
            let agent_is_next = match one.place {
                Place::Start => way.agent_first && needs_agent,
                Place::Middle | Place::End => true,
            };
            let mark = if agent_is_next {
                Mark {
                    label: None,
                    taint: Some(true),
                    ..Mark::default()
                }
            } else {
                Mark {
                    label: Some(way.label(Place::Middle)),
                    taint: None,
                    ..Mark::default()
                }
            };
            one.flight = Flight::Moving;
            "it begins".clone_into(&mut one.told);
            plan.acts.push(one.act(&mark));
        }
    }

    /// Whether a node can take one more proxy; `None` while that is not known.
    fn has_room(&self, way: &Way, passage: &Passage<'_>, plan: &mut Plan) -> Option<bool> {
        if !way.is_forward || self.orders.strategy.on_full_node == OnFullNode::Preempt {
            return Some(true);
        }
        let (millicores, bytes) = self.target.room;
        let question = Question::Room {
            node: passage.node.name.clone(),
            uid: passage.node.uid.clone(),
            millicores,
            bytes,
        };
        match self.facts.answers.get(&question) {
            Some(answer) if self.now.duration_since(answer.at) < ROOM_FRESH => {
                if let Ok(seen) = &answer.seen {
                    // Nobody tells when a pod of somebody else's has gone.
                    if let (false, Ok(stale)) = (seen.good, answer.at.checked_add(ROOM_FRESH)) {
                        plan.again_by(stale);
                    }
                    Some(seen.good)
                } else {
                    plan.ask(self.facts, &question, self.now);
                    None
                }
            }
            stale => {
                plan.acts.push(Act::Ask(question));
                // A node that was full a moment ago keeps nobody waiting for its answer.
                let seen = stale.and_then(|answer| answer.seen.as_ref().ok())?;
                (!seen.good).then_some(false)
            }
        }
    }
}
