//! The first patch of nodes whose turn has come.

use jiff::SignedDuration;

use super::act::{Act, Plan};
use super::passage::{Flight, Mark, Passage};
use super::rollout::Tour;
use super::wave::Wave;
use super::way::{Place, Way};
use crate::api::v1alpha1::OnFullNode;
use crate::facts::{self, Evidence, Question, Replicas};

/// How old an answer about pods of somebody else's may be.
const FRESH: SignedDuration = SignedDuration::from_secs(30);

impl<'a> Tour<'a> {
    /// Begins with those nodes of a wave that have room.
    pub(super) fn begin(
        &self,
        way: &Way,
        wave: &Wave<'_>,
        passages: &mut [Passage<'a>],
        plan: &mut Plan,
    ) {
        if wave.candidates.is_empty() {
            return;
        }
        let replicas = facts::replicas(self.facts);
        let mut share = wave.share(&replicas);
        let mut chosen = Vec::new();
        let mut is_known = true;
        for &at in &wave.candidates {
            if share.is_full() {
                break;
            }
            let one = &mut passages[at];
            // One patch at a time: what is due on it comes first.
            if one.mark.is_some() || !share.has_place(one.node) {
                continue;
            }
            let room = self.room(way, one, plan);
            if let Room::Full = room {
                // It takes nobody's place, neither in the wave nor in its zone.
                one.flight = Flight::Aside("NodeFull");
                continue;
            }
            if let Room::Unknown = room {
                is_known = false;
                "what room it has is asked".clone_into(&mut one.told);
            }
            let on_node = match room {
                Room::Free(Some(on_node)) => on_node,
                _ => &Replicas::new(),
            };
            if share.take(one.node, on_node) {
                chosen.push(at);
            } else {
                "it waits for the next wave: a workload has its other replicas in this one"
                    .clone_into(&mut one.told);
            }
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
                    taint: Some(true),
                    ..Mark::default()
                }
            } else {
                Mark {
                    label: Some(way.label(Place::Middle)),
                    ..Mark::default()
                }
            };
            one.flight = Flight::Moving;
            "it begins".clone_into(&mut one.told);
            plan.acts.push(one.act(&mark));
        }
    }

    /// Whether a node can take one more proxy. Who preempts is asked nevertheless: the answer tells what runs there.
    fn room(&self, way: &Way, passage: &Passage<'_>, plan: &mut Plan) -> Room<'a> {
        if !way.is_forward || passage.place != Place::Start {
            return Room::Free(None);
        }
        let (millicores, bytes) = self.target.room;
        let question = Question::Room {
            node: passage.node.name.clone(),
            uid: passage.node.uid.clone(),
            millicores,
            bytes,
        };
        let preempts = self.orders.strategy.on_full_node == OnFullNode::Preempt;
        match self.lately(question, plan) {
            Lately::Seen(seen) if seen.good || preempts => Room::Free(Some(&seen.replicas)),
            Lately::Seen(_) => Room::Full,
            Lately::WasBad if !preempts => Room::Full,
            Lately::WasBad | Lately::Unknown => Room::Unknown,
        }
    }

    /// No enrolled pod is on a node that gets no proxy any longer: nobody loses anything when the last one goes.
    pub(super) fn is_vacant(&self, passage: &Passage<'_>, plan: &mut Plan) -> bool {
        matches!(self.lately(Question::vacant(passage.node), plan), Lately::Seen(seen) if seen.good)
    }

    /// What is known of the pods of somebody else's on a node, which is asked anew when that is old.
    fn lately(&self, question: Question, plan: &mut Plan) -> Lately<'a> {
        match self.facts.answers.get(&question) {
            Some(answer) if self.now.duration_since(answer.at) < FRESH => {
                if let Ok(seen) = &answer.seen {
                    // Nobody tells when a pod of somebody else's has gone.
                    if let (false, Ok(stale)) = (seen.good, answer.at.checked_add(FRESH)) {
                        plan.again_by(stale);
                    }
                    Lately::Seen(seen)
                } else {
                    plan.ask(self.facts, &question, self.now);
                    Lately::Unknown
                }
            }
            stale => {
                plan.acts.push(Act::Ask(question));
                match stale.and_then(|answer| answer.seen.as_ref().ok()) {
                    Some(seen) if !seen.good => Lately::WasBad,
                    _ => Lately::Unknown,
                }
            }
        }
    }
}

/// What is known of the pods of somebody else's on a node.
enum Lately<'a> {
    /// This was answered.
    Seen(&'a Evidence),
    /// It was no good answer, a while ago: such a node keeps nobody waiting for the next one.
    WasBad,
    /// That is being asked.
    Unknown,
}

/// What is known of a node's room.
enum Room<'a> {
    /// It has some, and these pods by their controller, where that was asked.
    Free(Option<&'a Replicas>),
    /// It has none.
    Full,
    /// That is being asked.
    Unknown,
}
