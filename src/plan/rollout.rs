//! A change of what runs on nodes, under traffic: beside the settled revision, node by node in waves, each behind its
//! gates; and back again, in reverse.
//!
//! Everything is read from the cluster: which revisions there are from their `DaemonSets`, how far a node is from its
//! label, its taint and its pods.

use jiff::{SignedDuration, Timestamp};

use super::act::{Act, Plan};
use super::agent::{self, Templates};
use super::fleet::{Course, Proxies, course, daemon_sets};
use super::judge::Judge;
use super::passage::{Flight, NOT_COVERED, Passage, Pods, pods};
use super::planes::{self, Patience, Planes, Standing};
use super::prepull;
use super::probe::{self, Probes};
use super::safe;
use super::target::{NodeRules, Object, Target};
use super::targets::Targets;
use super::tidy;
use super::wave;
use super::way::{Place, Way};
use super::{Orders, origin, retire};
use crate::api::conditions::{Reason, Step};
use crate::api::v1alpha1::MAX_ROLLOUT_NODES;
use crate::blueprint::Strategy;
use crate::facts::{Facts, Node, ObjectKey};
use crate::names;
use crate::status::Wait;

/// What runs on nodes is not what should.
fn is_needed(facts: &Facts, target: &Target, course: &Course<'_>) -> bool {
    let Course::Settled(settled) = course else {
        return true;
    };
    let Some(agent) = settled_agent(settled, target) else {
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

/// Keeps an installed mesh as it is to be, and moves it there where it is not.
pub(super) fn go_on(
    facts: &Facts,
    targets: &Targets,
    orders: &Orders,
    mut plan: Plan,
    now: Timestamp,
) -> Plan {
    let target = targets.target.as_ref();
    // What was begun to be finished is finished, whatever happens.
    let finishing = planes::is_finishing(facts, targets);
    let unstopped = finishing.then(|| orders.to_the_end());
    let orders = unstopped.as_ref().unwrap_or(orders);
    plan.retried = orders.retried;
    let course = course(facts, target.revision.as_str(), orders.reverts());
    if !is_needed(facts, target, &course) {
        return stay(facts, targets, &course, plan, now);
    }
    if !matches!(course, Course::Forward { .. }) {
        probe::clear(facts, &mut plan);
    }
    plan.is_rolling = true;
    plan.is_revertible = !finishing;
    plan.step = Step::Nodes;
    let mut tour = Tour {
        facts,
        target,
        orders,
        pods: pods(facts),
        short: None,
        finishing,
        is_older: (targets.settled.as_ref()).is_some_and(|one| one.version > target.version),
        now,
    };
    let is_target = |one: &Proxies<'_>| one.revision == target.revision.as_str();
    let planes = match &course {
        Course::Forward { .. } if finishing => Planes::Moved,
        Course::Forward { arriving, .. } if orders.rests() && arriving.is_none() => Planes::Settled,
        Course::Forward { .. } => Planes::Both,
        Course::Settled(one) | Course::Finish { winner: one, .. } if is_target(one) => {
            Planes::Moved
        }
        _ => Planes::Settled,
    };
    let kept = matches!(course, Course::Forward { .. }).then_some(target);
    prepull::clear(facts, kept, &mut plan);
    if let (Planes::Both, Course::Forward { settled, arriving }) = (planes, &course)
        && let Some(wait) = tour.images(targets, settled, arriving.is_some(), &mut plan)
    {
        planes::keep(facts, targets, Planes::Settled, &mut plan);
        return plan.waiting_or_failed(Step::Prepull, wait);
    }
    planes::keep(facts, targets, planes, &mut plan);
    let holder = match (&targets.settled, planes) {
        (Some(settled), Planes::Settled) => settled.as_ref(),
        _ => target,
    };
    let is_two = targets.settled.is_some();
    // Going back needs nothing of the target's control plane, which may be what failed; nor may it wait for a replica.
    let is_back = matches!(course, Course::Back { .. }) || (planes == Planes::Settled && is_two);
    if !is_back {
        let was_whole = !matches!(
            course,
            Course::Nothing | Course::Forward { arriving: None, .. }
        );
        let patience = (planes == Planes::Both && is_two).then_some(Patience {
            limit: orders.strategy.gate_timeout,
            was_whole,
        });
        match planes::standing(facts, target, patience, &mut plan, now) {
            Standing::Whole => {}
            // What was begun needs one that serves, no more.
            Standing::Serves(wait) if was_whole && plan.failed.is_none() => tour.short = Some(wait),
            Standing::Serves(wait) | Standing::Lacking(wait) => {
                return if orders.halted.is_some() {
                    plan.waiting(Step::ControlPlane, wait)
                } else {
                    plan.waiting_or_failed(Step::ControlPlane, wait)
                };
            }
        }
    }
    super::policy(facts, holder, &mut plan);
    let rights = holder.agent.iter().filter(|one| one.key != agent::key());
    super::apply(facts, rights, &mut plan);
    match course {
        Course::Nothing => {
            super::apply(facts, &holder.agent, &mut plan);
            super::apply(facts, &holder.proxy, &mut plan);
            let message = "nothing runs by default; it is being applied";
            plan.waiting(Step::Nodes, wait_for_set(holder, message))
        }
        Course::Settled(settled) => tour.back(&settled, None, plan),
        Course::Back { settled, arriving } => tour.back(&settled, Some(&arriving), plan),
        Course::Forward { settled, arriving } => tour.forward(&settled, arriving.as_ref(), plan),
        Course::Finish { winner, losers } => tour.retire(&winner, &losers, plan),
    }
}

/// Nothing is to be moved: repair, clean up, done.
fn stay(
    facts: &Facts,
    targets: &Targets,
    course: &Course<'_>,
    mut plan: Plan,
    now: Timestamp,
) -> Plan {
    let target = &targets.target;
    // The revision that runs is not the target's, which failed here.
    plan.is_held = matches!(
        course,
        Course::Settled(settled) if settled.revision != target.revision.as_str()
    );
    plan.step = Step::Verify;
    prepull::clear(facts, None, &mut plan);
    probe::clear(facts, &mut plan);
    plan.done = retire::control_planes(facts, targets, plan.is_held, &mut plan, now);
    plan.is_rolling = !plan.done && targets.settled.is_some();
    super::policy(facts, targets.left(&plan), &mut plan);
    if !plan.is_held {
        super::apply(facts, &target.agent, &mut plan);
        super::apply(facts, &target.proxy, &mut plan);
        origin::replace(facts, target, &mut plan);
    }
    if let Some(wait) = tidy::tidy(facts, &mut plan)
        && plan.done
    {
        plan = plan.waiting(Step::Finish, wait);
        plan.done = false;
    }
    plan
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

/// How long after a proxy is ready a node is watched. Where a soak is asked for, it begins when the connections of the proxy
/// before have had their time: only from then on does the new one carry everything.
fn watched(soak: SignedDuration, strategy: &Strategy) -> SignedDuration {
    if soak.is_zero() {
        return soak;
    }
    let drain = SignedDuration::try_from(strategy.drain).unwrap_or(SignedDuration::MAX);
    soak.saturating_add(drain)
}

fn wait_for_set(target: &Target, message: &str) -> Wait {
    Wait {
        reason: Reason::Nodes,
        object: ObjectKey::in_system("DaemonSet", &target.daemon_set).to_string(),
        message: message.to_owned(),
    }
}

/// What one pass over the nodes goes by.
pub(super) struct Tour<'a> {
    pub facts: &'a Facts,
    pub target: &'a Target,
    pub orders: &'a Orders,
    pub pods: Pods<'a>,
    /// What the control plane lacks: no further node begins, and nothing is finished.
    pub short: Option<Wait>,
    /// The point of no return was passed: nothing fails any longer.
    pub finishing: bool,
    /// The target is an older release than the settled one.
    pub is_older: bool,
    pub now: Timestamp,
}

impl<'a> Tour<'a> {
    /// The images of the arriving revision are on the nodes: `None`, or what is waited for. What was begun after they had
    /// been pulled needs them no longer.
    fn images(
        &self,
        targets: &Targets,
        settled: &Proxies<'_>,
        has_arrived: bool,
        plan: &mut Plan,
    ) -> Option<Wait> {
        let target = self.target;
        let istiod = ObjectKey::in_system("Deployment", &target.istiod);
        let is_over = has_arrived
            || targets.settled.is_some() && self.facts.object(&istiod).is_some()
            || !prepull::is_needed(target, settled);
        if !is_over {
            let limit = self.orders.strategy.gate_timeout;
            let limit = limit.checked_mul(2).unwrap_or(limit);
            return prepull::gate(self.facts, target, limit, plan, self.now);
        }
        if has_arrived && prepull::behind(self.facts, target).is_empty() {
            let key = &target.prepull.key;
            let live = self.facts.object(key).filter(|live| !live.deleting);
            plan.acts.extend(live.map(|live| Act::delete(key, live)));
        }
        None
    }

    fn look(
        &self,
        way: &Way,
        agent: Option<&str>,
        soak: SignedDuration,
        probes: Option<&Probes<'a>>,
        plan: &mut Plan,
    ) -> Vec<Passage<'a>> {
        // Where proxies are placed is read from their `DaemonSet`: the spec may have changed since.
        let rules = daemon_sets(self.facts)
            .find(|(key, _)| key.name == names::proxies(&way.survivor))
            .and_then(|(_, live)| NodeRules::of(live))
            .unwrap_or_else(|| self.target.rules.clone());
        let is_ours = |node: &Node| rules.supports(node) || self.carries(node);
        let nodes: Vec<_> = (self.facts.nodes.values().filter(|node| is_ours(node))).collect();
        let judge = Judge {
            facts: self.facts,
            way,
            agent,
            rules,
            foreign: daemon_sets(self.facts)
                .map(Proxies::of)
                .filter(|one| !one.is_applink())
                .map(|one| one.revision)
                .collect(),
            behind: prepull::behind(self.facts, self.target),
            probes,
            soak,
            timeout: self.orders.strategy.gate_timeout,
            limit: self.orders.strategy.max_failure_increase,
            now: self.now,
        };
        nodes
            .into_iter()
            .map(|node| judge.look(node, &self.pods, plan))
            .collect()
    }

    /// A node carries a proxy, or our mark: it is one of the mesh until nothing of ours is there, whether or not a proxy
    /// would be placed there today.
    fn carries(&self, node: &Node) -> bool {
        let has_proxy = |name: &str| self.pods.get(name).is_some_and(|(_, all)| !all.is_empty());
        let is_marked = node.labels.contains_key(names::NODE_ZTUNNEL_LABEL) || node.is_moving();
        NodeRules::can_carry(node) && (is_marked || has_proxy(&node.name))
    }

    fn forward(
        &self,
        settled: &Proxies<'a>,
        arriving: Option<&Proxies<'_>>,
        mut plan: Plan,
    ) -> Plan {
        let target = self.target;
        let way = Way::forward(target.revision.as_str(), self.is_older);
        if self.orders.rests() && arriving.is_none() {
            let message = "paused before the first node";
            return plan.waiting(Step::Nodes, wait_for_set(target, message));
        }
        if arriving.is_none() {
            // Labels and taints that an earlier rollout left would move nodes before their turn.
            let stale = tidy::clean(self.facts);
            if !stale.is_empty() {
                if let Some(wait) = settled.unobserved(Reason::Nodes) {
                    return plan.waiting(Step::Nodes, wait);
                }
                let names: Vec<&str> = (stale.iter().take(MAX_ROLLOUT_NODES))
                    .filter_map(Act::marked)
                    .collect();
                let message = format!(
                    "labels and taints that are of no rollout are removed first: {}",
                    names.join(", ")
                );
                plan.acts.extend(stale);
                return plan.waiting(Step::Nodes, wait_for_set(target, &message));
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
        let soak = watched(soak, strategy);
        let probes = Probes::of(self.facts, settled);
        let mut passages = self.look(
            &way,
            Some(&target.agent_hash),
            soak,
            Some(&probes),
            &mut plan,
        );
        if self.orders.stops {
            safe::stop(&mut passages, &way, canary_passed);
        }
        if let Some(wanted) = agent_of(target) {
            let settled = settled.agent().map(Object::of).filter(|_| !canary_passed);
            let templates = Templates {
                wanted,
                settled: settled.as_ref(),
            };
            agent::replace(self.facts, templates, &passages, &self.pods, &mut plan);
        }
        marks(&passages, &mut plan);
        tidy::strangers(self.facts, &mut plan);
        self.tend(&probes, &passages, &mut plan);
        plan.wave = Some(wave::number(&passages, strategy, canary_passed));
        if !self.finishing {
            plan.failed = passages.iter().find_map(|one| one.failed.clone());
        }
        if plan.failed.is_some() || self.orders.rests() {
            return self.waits(passages, plan);
        }
        if let Some(wait) = self.short.clone() {
            if passages.iter().any(|one| one.flight == Flight::Moving) {
                return self.waits(passages, plan);
            }
            plan.nodes = Some(self.summary(&passages));
            return plan.waiting(Step::ControlPlane, wait);
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
            return self.finish(&passages, plan);
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
        let mut passages = self.look(&way, hash, SignedDuration::ZERO, None, &mut plan);
        if let Some(wanted) = &agent {
            let templates = Templates {
                wanted,
                settled: None,
            };
            agent::replace(self.facts, templates, &passages, &self.pods, &mut plan);
        }
        marks(&passages, &mut plan);
        tidy::strangers(self.facts, &mut plan);
        // What a gate said holds nobody who goes back from it.
        if !self.orders.paused && self.short.is_none() {
            let wave = wave::back(&passages, &self.orders.strategy);
            self.begin(&way, &wave, &mut passages, &mut plan);
        }
        let is_back = passages.iter().all(|one| match one.flight {
            Flight::Done => true,
            // It comes back with what its label says.
            Flight::Aside(_) if one.place == Place::End => true,
            Flight::Aside(NOT_COVERED) => self.is_vacant(one, &mut plan),
            _ => false,
        });
        if is_back && plan.acts.is_empty() {
            plan.nodes = Some(self.summary(&passages));
            if let Some(arriving) = arriving {
                plan.acts.push(Act::delete(arriving.key, arriving.live));
            } else {
                plan.wait = tidy::tidy(self.facts, &mut plan);
                plan.step = Step::Verify;
                plan.done = plan.acts.is_empty() && plan.wait.is_none();
            }
            return plan;
        }
        self.waits(passages, plan)
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
    if !settled.kept_off().contains(target.revision.as_str()) {
        plan.acts.push(Act::Exclude {
            key: settled.key.clone(),
            revisions: vec![target.revision.to_string()],
            resource_version: settled.live.resource_version.clone(),
        });
        return Some(Wait {
            reason: Reason::Nodes,
            object: settled.key.to_string(),
            message: "it is being kept off the nodes that move".to_owned(),
        });
    }
    settled.unobserved(Reason::Nodes)
}
