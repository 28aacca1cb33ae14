//! A change of what runs on nodes, under traffic: beside the settled revision, node by node in waves, each behind its
//! gates; and back again, in reverse.
//!
//! Everything is read from the cluster: which revisions there are from their `DaemonSets`, how far a node is from its
//! label, its taint and its pods.

use jiff::{SignedDuration, Timestamp};

use super::act::{Act, Plan};
use super::agent::{self, Templates};
use super::drift::is_due;
use super::fleet::{Course, Proxies, course, daemon_sets};
use super::passage::{Flight, Judge, Mark, Passage, Pods, Stage, is_tainted, pods};
use super::target::{Object, Target};
use super::wave::{self, Wave};
use super::way::{Place, Way};
use super::{Orders, nodes};
use crate::api::conditions::{Reason, Step};
use crate::api::v1alpha1::{MAX_ROLLOUT_NODES, NodeFailure, OnFullNode, RolloutNodes};
use crate::facts::{Facts, Node, ObjectKey, Question};
use crate::health;
use crate::names;
use crate::status::Wait;

/// How old an answer about room may be.
const ROOM_FRESH: SignedDuration = SignedDuration::from_secs(30);

/// What runs on nodes is not what should.
pub(super) fn is_needed(facts: &Facts, target: &Target, orders: &Orders) -> bool {
    let Course::Settled(settled) = course(facts, target.revision.as_str(), orders.reverts()) else {
        return true;
    };
    let Some(agent) = settled_agent(&settled, target) else {
        return false;
    };
    let hash = agent.template_hash();
    facts.object(&agent::key()).is_some() && agent::live_hash(facts) != hash
        || facts
            .pods_with("k8s-app", names::CNI_DAEMON_SET)
            .filter(|pod| !pod.deleting)
            .filter(|pod| {
                facts
                    .nodes
                    .get(&pod.node)
                    .is_some_and(|node| target.rules.supports(node))
            })
            .any(|pod| pod.template_hash.as_deref() != hash)
}

/// The revision that runs is not the target's, which failed here.
pub(super) fn is_held(facts: &Facts, target: &Target, orders: &Orders) -> bool {
    matches!(
        course(facts, target.revision.as_str(), orders.reverts()),
        Course::Settled(settled) if settled.revision != target.revision.as_str()
    )
}

/// The network agent that belongs to the settled revision.
fn settled_agent(settled: &Proxies<'_>, target: &Target) -> Option<Object> {
    if settled.revision == target.revision.as_str() {
        return agent_of(target).cloned();
    }
    settled.agent().map(Object::of)
}

fn agent_of(target: &Target) -> Option<&Object> {
    target
        .agent
        .iter()
        .find(|object| object.key == agent::key())
}

/// Labels and taints that mean nothing once only one `DaemonSet` is left.
pub(super) fn tidy(facts: &Facts, plan: &mut Plan) {
    if daemon_sets(facts).count() > 1 {
        return;
    }
    plan.acts.extend(
        facts
            .nodes
            .values()
            .filter_map(|node| clean(node, |_| true)),
    );
}

/// Takes the taint, and a label that means nothing, off a node.
fn clean(node: &Node, is_stale: impl Fn(&str) -> bool) -> Option<Act> {
    let label = node
        .labels
        .get(names::NODE_ZTUNNEL_LABEL)
        .filter(|label| is_stale(label))
        .map(|_| None);
    let taint = is_tainted(node).then_some(false);
    (label.is_some() || taint.is_some()).then(|| Act::MarkNode {
        name: node.name.clone(),
        label,
        taint,
        resource_version: node.resource_version.clone(),
    })
}

/// Moves nodes to the target, or back to what is settled.
pub(super) fn move_nodes(
    facts: &Facts,
    target: &Target,
    orders: &Orders,
    mut plan: Plan,
    now: Timestamp,
) -> Plan {
    plan.step = Step::Nodes;
    let rights = target.agent.iter().filter(|one| one.key != agent::key());
    let rights: Vec<Object> = rights.cloned().collect();
    super::apply(facts, &rights, &mut plan);
    let tour = Tour {
        facts,
        target,
        orders,
        pods: pods(facts),
        now,
    };
    match course(facts, target.revision.as_str(), orders.reverts()) {
        Course::Nothing => {
            super::apply(facts, &target.agent, &mut plan);
            super::apply(facts, &target.proxy, &mut plan);
            let message = "nothing runs by default; it is being applied";
            plan.waiting(Step::Nodes, wait_for_set(target, message))
        }
        Course::Settled(settled) => tour.back(&settled, None, plan),
        Course::Back { settled, arriving } => tour.back(&settled, Some(&arriving), plan),
        Course::Forward { settled, arriving } => tour.forward(&settled, arriving.as_ref(), plan),
        Course::Finish { winner, losers } => tour.retire(&winner, &losers, plan),
    }
}

fn wait_for_set(target: &Target, message: &str) -> Wait {
    Wait {
        reason: Reason::Nodes,
        object: ObjectKey::in_system("DaemonSet", &target.daemon_set).to_string(),
        message: message.to_owned(),
    }
}

/// What one pass over the nodes goes by.
struct Tour<'a> {
    facts: &'a Facts,
    target: &'a Target,
    orders: &'a Orders,
    pods: Pods<'a>,
    now: Timestamp,
}

impl<'a> Tour<'a> {
    fn look(
        &self,
        way: &Way,
        agent: Option<&str>,
        soak: SignedDuration,
        plan: &mut Plan,
    ) -> Vec<Passage<'a>> {
        let judge = Judge {
            facts: self.facts,
            way,
            agent,
            foreign: daemon_sets(self.facts)
                .map(Proxies::of)
                .filter(|one| !one.is_applink())
                .map(|one| one.revision)
                .collect(),
            soak,
            timeout: self.orders.strategy.gate_timeout,
            now: self.now,
        };
        self.facts
            .nodes
            .values()
            .filter(|node| self.target.rules.supports(node))
            .map(|node| judge.look(node, &self.pods, plan))
            .collect()
    }

    fn forward(
        &self,
        settled: &Proxies<'_>,
        arriving: Option<&Proxies<'_>>,
        mut plan: Plan,
    ) -> Plan {
        let target = self.target;
        let way = Way::forward(target.revision.as_str());
        if self.orders.paused && arriving.is_none() {
            let message = "paused before the first node";
            return plan.waiting(Step::Nodes, wait_for_set(target, message));
        }
        if arriving.is_none() {
            // Labels and taints that an earlier rollout left would move nodes before their turn.
            let stale = self
                .facts
                .nodes
                .values()
                .filter_map(|node| clean(node, |_| true));
            let stale: Vec<Act> = stale.collect();
            if !stale.is_empty() {
                plan.acts.extend(stale);
                let message = "labels that an earlier rollout left are removed first";
                return plan.waiting(Step::Nodes, wait_for_set(target, message));
            }
        }
        if let Some(wait) = make_room(target, settled, &mut plan) {
            return plan.waiting(Step::Nodes, wait);
        }
        let before = plan.acts.len();
        super::apply(self.facts, &target.arriving, &mut plan);
        if plan.acts[before..].iter().any(is_daemon_set) || arriving.is_none() {
            return plan.waiting(Step::Nodes, wait_for_set(target, "it is being applied"));
        }
        let canary_passed = arriving.is_some_and(Proxies::has_passed_canary);
        let strategy = &self.orders.strategy;
        let soak = if canary_passed {
            strategy.batch_soak
        } else {
            strategy.canary_soak
        };
        let mut passages = self.look(&way, Some(&target.agent_hash), soak, &mut plan);
        if let Some(wanted) = agent_of(target) {
            let settled = settled.agent().map(Object::of).filter(|_| !canary_passed);
            let templates = Templates {
                wanted,
                settled: settled.as_ref(),
            };
            agent::replace(self.facts, templates, &passages, &self.pods, &mut plan);
        }
        marks(&passages, &mut plan);
        plan.wave = Some(wave::number(&passages, strategy, canary_passed));
        plan.is_revertible = true;
        plan.failed = passages.iter().find_map(|one| one.failed.clone());
        if plan.failed.is_some() || self.orders.paused {
            return self.waits(passages, plan);
        }
        let wave = wave::forward(&passages, strategy, canary_passed);
        if let (true, Some(arriving)) = (wave.canary_passed, arriving) {
            plan.acts.push(Act::PassCanary {
                key: arriving.key.clone(),
                resource_version: arriving.live.resource_version.clone(),
            });
        } else {
            self.begin(&way, &wave, &mut passages, &mut plan);
        }
        if passages
            .iter()
            .all(|one| matches!(one.flight, Flight::Done | Flight::Aside(_)))
            && wave.held.is_none()
            && !wave.canary_passed
        {
            return self.finish(settled, &passages, plan);
        }
        if let Some(held) = wave.held {
            plan.nodes = Some(self.summary(&passages));
            let wait = Wait {
                reason: Reason::WaitingForNodes,
                object: "MeshMember".to_owned() + " " + &target.owner.name,
                message: held,
            };
            return plan.waiting(Step::Nodes, wait);
        }
        self.waits(passages, plan)
    }

    fn back(&self, settled: &Proxies<'_>, arriving: Option<&Proxies<'_>>, mut plan: Plan) -> Plan {
        let way = Way::back(settled.revision, arriving.map(|one| one.revision));
        let is_target = settled.revision == self.target.revision.as_str();
        if is_target && arriving.is_none() {
            super::apply(self.facts, &self.target.proxy, &mut plan);
        }
        let agent = settled_agent(settled, self.target);
        let hash = agent.as_ref().and_then(Object::template_hash);
        let mut passages = self.look(&way, hash, SignedDuration::ZERO, &mut plan);
        if let Some(wanted) = &agent {
            let templates = Templates {
                wanted,
                settled: None,
            };
            agent::replace(self.facts, templates, &passages, &self.pods, &mut plan);
        }
        marks(&passages, &mut plan);
        plan.is_revertible = true;
        if !self.orders.paused {
            let wave = wave::back(&passages, &self.orders.strategy);
            self.begin(&way, &wave, &mut passages, &mut plan);
        }
        let is_back = passages.iter().all(|one| match one.flight {
            Flight::Done => true,
            // It comes back with what its label says.
            Flight::Aside(_) => one.place == Place::End,
            _ => false,
        });
        if is_back && plan.acts.is_empty() {
            plan.nodes = Some(self.summary(&passages));
            if let Some(arriving) = arriving {
                plan.acts.push(Act::delete(arriving.key, arriving.live));
            } else {
                tidy(self.facts, &mut plan);
                plan.step = Step::Verify;
                plan.done = plan.acts.is_empty();
            }
            return plan;
        }
        self.waits(passages, plan)
    }

    /// Begins with those nodes of a wave that have room.
    fn begin(&self, way: &Way, wave: &Wave, passages: &mut [Passage<'a>], plan: &mut Plan) {
        let mut chosen = Vec::new();
        let mut is_known = true;
        for &at in &wave.candidates {
            if chosen.len() >= wave.size {
                break;
            }
            match self.has_room(way, &passages[at], plan) {
                Some(true) => chosen.push(at),
                Some(false) => passages[at].flight = Flight::Aside("NodeFull"),
                None => {
                    is_known = false;
                    chosen.push(at);
                    "what room it has is asked".clone_into(&mut passages[at].told);
                }
            }
        }
        if !is_known {
            return;
        }
        for at in chosen {
            let one = &mut passages[at];
            let needs_agent = !one.other_agents.is_empty() || one.lacks_agent;
            let agent_is_next = match one.place {
                Place::Start => way.is_forward && needs_agent,
                Place::Middle | Place::End => true,
            };
            let mark = if agent_is_next {
                Mark {
                    label: None,
                    taint: Some(true),
                }
            } else {
                Mark {
                    label: Some(way.label(Place::Middle)),
                    taint: None,
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
                    Some(seen.good)
                } else {
                    plan.ask(self.facts, &question, self.now);
                    None
                }
            }
            _ => {
                plan.acts.push(Act::Ask(question));
                None
            }
        }
    }

    fn waits(&self, passages: Vec<Passage<'a>>, mut plan: Plan) -> Plan {
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
            (Some(failed), _) => failed.to_string(),
            (None, Some((pod, text))) if pod.trouble.is_some() => format!("{}: {text}", pod.name),
            _ => first.told.clone(),
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

    /// Every node that can move has moved: the target becomes the one for all, the settled one goes.
    fn finish(&self, settled: &Proxies<'_>, passages: &[Passage<'_>], mut plan: Plan) -> Plan {
        plan.nodes = Some(self.summary(passages));
        // A node that is away may come back with the settled proxy only.
        let behind: Vec<&str> = passages
            .iter()
            .filter(|one| matches!(one.flight, Flight::Aside(_)))
            .map(|one| one.node.name.as_str())
            .collect();
        if let Some(first) = behind.first() {
            let wait = Wait {
                reason: Reason::WaitingForNodes,
                object: format!("Node {first}"),
                message: format!(
                    "{} of {} nodes are set aside; the old revision stays until they have moved or are deleted: {}",
                    behind.len(),
                    passages.len(),
                    behind
                        .iter()
                        .take(8)
                        .copied()
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            };
            return plan.waiting(Step::Finish, wait);
        }
        if !plan.acts.is_empty() {
            // What the nodes still need comes before the point of no return.
            return plan;
        }
        plan.is_revertible = false;
        plan.step = Step::Finish;
        let default = self
            .target
            .proxy
            .iter()
            .filter(|one| one.key.kind == "DaemonSet");
        plan.acts.extend(
            default
                .filter(|object| is_due(object, self.facts))
                .map(|object| Act::Apply(Box::new(object.clone()))),
        );
        plan.acts.push(Act::delete(settled.key, settled.live));
        plan
    }

    /// The end was begun and not finished: the others go as soon as the winner runs on every node.
    fn retire(&self, winner: &Proxies<'_>, losers: &[Proxies<'_>], mut plan: Plan) -> Plan {
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
        plan.acts
            .extend(losers.iter().map(|one| Act::delete(one.key, one.live)));
        plan.step = Step::Finish;
        plan
    }

    /// How far the nodes are, for status.
    fn summary(&self, passages: &[Passage<'_>]) -> RolloutNodes {
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
            unsupported: nodes::unsupported(self.facts, self.target),
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

/// Patches that are due on nodes in flight, and on nodes that should not carry the taint.
fn marks(passages: &[Passage<'_>], plan: &mut Plan) {
    plan.acts.extend(
        passages
            .iter()
            .filter_map(|one| Some(one.act(one.mark.as_ref()?))),
    );
}

fn is_daemon_set(act: &Act) -> bool {
    matches!(act, Act::Apply(object) if object.key.kind == "DaemonSet")
}

/// Keeps the settled `DaemonSet` off nodes that have arrived, and waits until its controller knows: a label written
/// before would leave a node with whatever the controller remembers.
fn make_room(target: &Target, settled: &Proxies<'_>, plan: &mut Plan) -> Option<Wait> {
    let wait = |message: &str| Wait {
        reason: Reason::Nodes,
        object: settled.key.to_string(),
        message: message.to_owned(),
    };
    if !settled.kept_off().contains(target.revision.as_str()) {
        plan.acts.push(Act::Exclude {
            key: settled.key.clone(),
            revisions: vec![target.revision.to_string()],
            resource_version: settled.live.resource_version.clone(),
        });
        return Some(wait("it is being kept off the nodes that move"));
    }
    (!health::is_observed(settled.live))
        .then(|| wait("its controller has not seen yet which nodes move"))
}
