//! Looks at one node: what it lacks, what has to be asked, and what is due on it now.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::act::Plan;
use super::gate::{Failed, Gate, Proof, crashed, overdue, prove, unmade};
use super::passage::{Flight, Mark, NOT_COVERED, Passage, Pods, Stage};
use super::probe::{Probes, Standing, Verdict};
use super::target::NodeRules;
use super::way::{Place, Way};
use crate::blueprint::Permille;
use crate::facts::{Facts, Node, Pod, Question};
use crate::names;

/// How often a proxy that leaves is asked to stand down before it leaves without.
const MOST_CALLS: u32 = 3;
/// How long pods that wait for their sandbox hold the replacement of their node's agent.
const SANDBOXES: SignedDuration = SignedDuration::from_secs(30);

/// What every node is judged by.
pub(super) struct Judge<'a, 'p> {
    pub facts: &'a Facts,
    pub way: &'p Way,
    /// Template hash of the agents to be; none leaves them as they are.
    pub agent: Option<&'p str>,
    /// Revisions whose program is not ours.
    pub foreign: Vec<&'p str>,
    /// Where the proxies that stay are placed.
    pub rules: NodeRules,
    /// Nodes that have not pulled the images yet.
    pub behind: BTreeSet<&'p str>,
    /// The operator's own probe; none on the way back, which must depend on as little as possible.
    pub probes: Option<&'p Probes<'a>>,
    pub soak: SignedDuration,
    pub timeout: SignedDuration,
    /// How much larger the part of connections that fail may get.
    pub limit: Permille,
    pub now: Timestamp,
}

impl<'a> Judge<'a, '_> {
    /// Looks at one node, and asks what has to be asked.
    pub fn look(&self, node: &'a Node, pods: &Pods<'a>, plan: &mut Plan) -> Passage<'a> {
        let (agents, proxies) = pods.get(node.name.as_str()).cloned().unwrap_or_default();
        let is_wanted =
            |pod: &&Pod| self.agent.is_none() || pod.template_hash.as_deref() == self.agent;
        let mut passage = Passage {
            other_agents: agents
                .iter()
                .filter(|pod| !pod.deleting && !is_wanted(pod))
                .copied()
                .collect(),
            lacks_agent: !agents.iter().any(|pod| !pod.deleting && is_wanted(pod)),
            trouble: crate::health::trouble(agents.iter().chain(&proxies).copied()),
            ..Passage::waiting(node, self.way.place(node))
        };
        if let Some(why) = NodeRules::set_aside(node) {
            passage.flight = Flight::Aside(why);
            why.clone_into(&mut passage.told);
            return passage;
        }
        let is_behind = self.behind.contains(node.name.as_str());
        if is_behind && self.way.is_forward && passage.place == Place::Start && !passage.tainted {
            passage.flight = Flight::Aside("ImagesMissing");
            "it has not pulled the images yet".clone_into(&mut passage.told);
            return passage;
        }
        let here = Here {
            agent: agents.iter().copied().find(|pod| pod.runs()),
            new_agent: agents
                .iter()
                .copied()
                .find(|pod| !pod.deleting && is_wanted(pod)),
            survivor: proxies
                .iter()
                .copied()
                .filter(|pod| !pod.deleting)
                .find(|pod| revision(pod) == Some(&self.way.survivor)),
            leavers: proxies
                .iter()
                .copied()
                .filter(|pod| revision(pod) != Some(&self.way.survivor))
                .collect(),
        };
        // Pods that are there stay, and a node on its way with all it needs goes on. None is taken from it that would not come
        // again.
        if let Some(lack) = self.rules.lack(node)
            && (here.new_agent.is_none() || here.survivor.is_none())
        {
            passage.flight = Flight::Aside(NOT_COVERED);
            passage.mark = passage.tainted.then(untaint);
            passage.told = lack;
            return passage;
        }
        let drains = here.leavers.iter().any(|pod| pod.deleting);
        let is_lost = here.agent.is_none() && !passage.other_agents.is_empty() && !drains;
        if is_lost && !self.way.is_forward {
            // An agent that does not run is no loss, and no proxy gets ready beside it.
            passage.flight = Flight::Moving;
            passage.stage = Stage::Agent;
            passage.stale = std::mem::take(&mut passage.other_agents);
            "its network agent does not run and is replaced".clone_into(&mut passage.told);
            return passage;
        }
        match passage.place {
            Place::Start => self.start(&mut passage, &here, plan),
            Place::Middle => self.middle(&mut passage, &here, plan),
            Place::End => self.end(&mut passage, &here, plan),
        }
        passage
    }

    /// The agent goes first; its replacement is under way as soon as the node carries the taint.
    fn start(&self, passage: &mut Passage<'a>, here: &Here<'a>, plan: &mut Plan) {
        if !passage.tainted {
            return;
        }
        if !self.way.agent_first {
            passage.mark = Some(untaint());
            return;
        }
        passage.flight = Flight::Moving;
        passage.stage = Stage::Agent;
        if !passage.other_agents.is_empty() {
            self.replace_agent(passage, plan);
            return;
        }
        let Some(agent) = here.new_agent.filter(|pod| pod.runs()) else {
            self.agent_is_awaited(passage, here, plan);
            return;
        };
        let go_on = Mark {
            label: Some(self.way.label(Place::Middle)),
            taint: Some(false),
            ..Mark::default()
        };
        match here.leavers.iter().find(|pod| pod.runs()) {
            Some(proxy) => {
                if self.serves(passage, proxy, agent, &[], plan) {
                    passage.mark = Some(go_on);
                }
            }
            // Nobody serves there: nothing can get worse.
            None => passage.mark = Some(go_on),
        }
    }

    /// The taint keeps new pods away; those that were there before it have their sandbox first, within bounds.
    fn replace_agent(&self, passage: &mut Passage<'a>, plan: &mut Plan) {
        let question = Question::Sandboxes {
            node: passage.node.name.clone(),
            uid: passage.node.uid.clone(),
        };
        let (proof, told) = prove(self.facts, &question, plan, self.now);
        match proof {
            Proof::Bad(lasts, _) | Proof::Unknown(lasts) if lasts < SANDBOXES => {
                passage.told = format!("its network agent is replaced soon: {told}");
            }
            _ => {
                passage.stale = std::mem::take(&mut passage.other_agents);
                "its network agent is about to be replaced".clone_into(&mut passage.told);
            }
        }
    }

    fn agent_is_awaited(&self, passage: &mut Passage<'a>, here: &Here<'a>, plan: &mut Plan) {
        passage.stage = Stage::Agent;
        "its network agent is not ready".clone_into(&mut passage.told);
        passage.failed = match here.new_agent {
            Some(pod) => overdue(pod, Gate::Agent, self.timeout, plan, self.now),
            None => self.unmade(passage, names::CNI_DAEMON_SET, Gate::Agent, plan),
        };
    }

    /// Both proxies: the survivor starts, the leaver stands down, the survivor takes a new connection and shows that it
    /// serves every pod.
    fn middle(&self, passage: &mut Passage<'a>, here: &Here<'a>, plan: &mut Plan) {
        passage.flight = Flight::Moving;
        // Where its agent is started again for it, the taint stays until that has helped.
        if passage.tainted && !here.survivor.is_some_and(|pod| self.is_foreign(pod)) {
            passage.mark = Some(untaint());
        }
        let Some(survivor) = here.survivor.filter(|pod| pod.runs()) else {
            self.proxy_is_awaited(passage, here, plan);
            if let (false, Some(lost), Some(agent)) =
                (self.way.is_forward, here.survivor, here.agent)
            {
                // It had been told to stand down, and has lost its connection since.
                self.serves(passage, lost, agent, &[], plan);
            }
            return;
        };
        let Some(agent) = here.agent else {
            self.agent_is_awaited(passage, here, plan);
            return;
        };
        passage.stage = Stage::Overlap;
        let leavers: Vec<&Pod> = here
            .leavers
            .iter()
            .filter(|pod| pod.runs())
            .copied()
            .collect();
        for leaver in &leavers {
            if self.is_foreign(leaver) {
                continue;
            }
            let question = Question::StandDown {
                node: passage.node.name.clone(),
                pod: leaver.name.clone(),
                uid: leaver.incarnation(),
            };
            let (proof, told) = prove(self.facts, &question, plan, self.now);
            let gave_up = self
                .facts
                .answers
                .get(&question)
                .is_some_and(|answer| answer.failures >= MOST_CALLS);
            if proof != Proof::Good && !gave_up {
                passage.told = format!("{} is told to stand down: {told}", leaver.name);
                // It is told so again whenever the one that stays has been asked: meanwhile that one is as silent as before.
                let asked = self::question(passage, survivor, agent, &leavers);
                self.falls_silent(passage, survivor, &asked, &leavers, plan);
                return;
            }
        }
        // On the way back the one that stays may have been told to stand down, also by an operator before this one, and
        // whoever was to take its place may have died since.
        let is_told = !leavers.is_empty() || !self.way.is_forward;
        let is_whole = !is_told || self.serves(passage, survivor, agent, &leavers, plan);
        if !is_whole {
            self.restart_agent(passage, survivor, agent, &leavers);
        }
        if is_whole {
            let baseline = self.baseline(passage.node, &leavers, plan);
            match self.probes.map(|probes| probes.standing(passage.node)) {
                Some(Standing::Lacking) => {
                    passage.lacks_probe = true;
                    "its probe is being placed".clone_into(&mut passage.told);
                    return;
                }
                Some(Standing::None(why)) => {
                    plan.unproved.insert(passage.node.name.clone(), why);
                }
                Some(Standing::There) | None => {}
            }
            match baseline {
                Ok(baseline) => {
                    let mark = passage.mark.get_or_insert_default();
                    mark.label = Some(self.way.label(Place::End));
                    mark.baseline = baseline;
                    mark.taint = passage.tainted.then_some(false);
                }
                Err(told) => passage.told = told,
            }
        }
    }

    fn proxy_is_awaited(&self, passage: &mut Passage<'a>, here: &Here<'a>, plan: &mut Plan) {
        passage.stage = Stage::Proxy;
        "its proxy is not ready".clone_into(&mut passage.told);
        let daemon_set = names::proxies(&self.way.survivor);
        passage.failed = match here.survivor {
            Some(pod) => overdue(pod, Gate::Proxy, self.timeout, plan, self.now),
            None => self.unmade(passage, &daemon_set, Gate::Proxy, plan),
        };
    }

    fn unmade(
        &self,
        passage: &Passage<'a>,
        daemon_set: &str,
        gate: Gate,
        plan: &mut Plan,
    ) -> Option<Failed> {
        let gate = (gate, self.timeout);
        unmade(self.facts, passage.node, daemon_set, gate, plan, self.now)
    }

    /// The leaver ends, the survivor shows again that it serves every pod. Back, and to an older release, the agent goes
    /// last.
    fn end(&self, passage: &mut Passage<'a>, here: &Here<'a>, plan: &mut Plan) {
        let own_work = self.way.is_forward || passage.tainted || !here.leavers.is_empty();
        passage.flight = if own_work {
            Flight::Moving
        } else {
            Flight::Ailing
        };
        let Some(survivor) = here.survivor.filter(|pod| pod.runs()) else {
            self.proxy_is_awaited(passage, here, plan);
            // Nobody serves there meanwhile: every second of patience is an outage.
            if self.way.is_forward && passage.failed.is_none() {
                passage.failed = here
                    .survivor
                    .and_then(|pod| crashed(pod, Gate::Proxy, plan));
            }
            return;
        };
        if !here.leavers.is_empty() {
            passage.stage = Stage::Leaving;
            "the proxy that leaves lets its connections end".clone_into(&mut passage.told);
            return;
        }
        if !passage.other_agents.is_empty() {
            passage.stage = Stage::Agent;
            "its network agent is about to be replaced".clone_into(&mut passage.told);
            if passage.tainted {
                self.replace_agent(passage, plan);
            } else if self.way.is_forward && !self.way.agent_first {
                passage.mark = Some(Mark {
                    taint: Some(true),
                    ..Mark::default()
                });
            } else {
                // On the way back it is its turn; on the way forward it was lost since, and made anew from the template
                // that others still get: it proves nothing.
                passage.flight = Flight::Waiting;
                "its network agent waits for its turn".clone_into(&mut passage.told);
            }
            return;
        }
        let Some(agent) = here.agent else {
            self.agent_is_awaited(passage, here, plan);
            return;
        };
        passage.stage = Stage::Verifying;
        if !self.serves(passage, survivor, agent, &[], plan) {
            self.restart_agent(passage, survivor, agent, &[]);
            return;
        }
        if passage.tainted {
            passage.stage = Stage::Agent;
            passage.mark = Some(untaint());
            return;
        }
        // The probe is placed right before the proxy of before is told to go, however long it took to come to that.
        let probe = self.probes.and_then(|one| one.of_node(passage.node));
        let placed = probe.and_then(|pod| pod.created);
        let since = survivor.ready_since.max(agent.ready_since).max(placed);
        let until = since.and_then(|since| since.checked_add(self.soak).ok());
        // Before the probe, which may fail for long before it fails the gate: users see what it sees.
        let end = until.unwrap_or(self.now);
        let compared = self.compare(passage.node, survivor, end, plan);
        if let Some(failed) = compared.as_ref().and_then(|one| one.failed.clone()) {
            passage.told.clone_from(&failed.message);
            passage.failed = Some(failed);
            return;
        }
        let Some(probed) = self.probed(passage, survivor, plan) else {
            return;
        };
        let seen = compared.as_ref().map(|one| format!("; {}", one.text));
        let seen = seen.unwrap_or_default();
        if let Some(until) = until.filter(|until| self.way.is_forward && *until > self.now) {
            plan.again_by(until);
            plan.watched_until = plan.watched_until.max(Some(until));
            passage.stage = Stage::Soaking;
            passage.told = format!("it is watched until {until:.0}{seen}");
            passage.failed = overdue(survivor, Gate::Soak, self.timeout, plan, self.now);
            if let (Some(probes), Some(question)) = (self.probes, probed) {
                probes.watch(question, plan, self.now);
            }
            return;
        }
        if compared.as_ref().is_some_and(|one| one.is_open) {
            passage.stage = Stage::Soaking;
            passage.told = format!("its connections are looked at once more{seen}");
            return;
        }
        passage.stage = Stage::Done;
        passage.flight = Flight::Done;
        passage.proof = Some(alone(passage.node, survivor, agent, &[]));
        "it is done".clone_into(&mut passage.told);
    }

    /// Whether the probe lets a node go on, and what it was asked: nothing where there is none, or none that can tell.
    fn probed(
        &self,
        passage: &mut Passage<'a>,
        survivor: &Pod,
        plan: &mut Plan,
    ) -> Option<Option<Question>> {
        let verdict = self
            .probes
            .and_then(|one| one.judge(passage.node, survivor, self.timeout, plan, self.now));
        match verdict {
            None => return Some(None),
            Some(Verdict::Passed(question)) => return Some(Some(*question)),
            Some(Verdict::Blind(why)) => {
                plan.unproved.insert(passage.node.name.clone(), why);
                return Some(None);
            }
            Some(Verdict::Waits(told)) => passage.told = format!("probe: {told}"),
            Some(Verdict::Failed(told)) => {
                passage.told = format!("probe: {told}");
                passage.failed = Some(Failed {
                    gate: Gate::Probe,
                    node: passage.node.name.clone(),
                    pod: survivor.name.clone(),
                    message: format!("probe: {told}"),
                });
            }
        }
        None
    }

    /// Whether a proxy serves every enrolled pod of its node. A bad answer for too long fails the gate; what becomes of none
    /// is told by who else is there.
    fn serves(
        &self,
        passage: &mut Passage<'a>,
        proxy: &Pod,
        agent: &Pod,
        leavers: &[&Pod],
        plan: &mut Plan,
    ) -> bool {
        let question = question(passage, proxy, agent, leavers);
        let (proof, told) = prove(self.facts, &question, plan, self.now);
        passage.told = format!("{}: {told}", proxy.name);
        match proof {
            Proof::Good => return true,
            Proof::Bad(lasts, _) if lasts >= self.timeout => {
                passage.failed = Some(Failed {
                    gate: Gate::Pods,
                    node: passage.node.name.clone(),
                    pod: proxy.name.clone(),
                    message: told,
                });
            }
            Proof::Unknown(_) => self.falls_silent(passage, proxy, &question, leavers, plan),
            Proof::Bad(..) => {}
        }
        false
    }
}

/// Pods of a node that matter on its way.
struct Here<'a> {
    /// An agent that runs, of whatever template.
    agent: Option<&'a Pod>,
    /// The agent of the wanted template, running or not.
    new_agent: Option<&'a Pod>,
    /// The proxy that stays, running or not.
    survivor: Option<&'a Pod>,
    /// Every other proxy, ending ones included.
    leavers: Vec<&'a Pod>,
}

/// What a proxy is asked beside those that leave, or alone.
pub(super) fn question(
    passage: &Passage<'_>,
    proxy: &Pod,
    agent: &Pod,
    leavers: &[&Pod],
) -> Question {
    let mut question = alone(passage.node, proxy, agent, leavers);
    if let (Place::Middle, Question::Proxy { reconnect, .. }) = (passage.place, &mut question) {
        *reconnect = true;
    }
    question
}

fn alone(node: &Node, proxy: &Pod, agent: &Pod, leavers: &[&Pod]) -> Question {
    let mut leavers: Vec<String> = leavers.iter().map(|pod| pod.incarnation()).collect();
    leavers.sort();
    Question::Proxy {
        node: node.name.clone(),
        pod: proxy.name.clone(),
        uid: proxy.incarnation(),
        agent: agent.incarnation(),
        reconnect: !leavers.is_empty() || !proxy.ready,
        leavers,
    }
}

fn untaint() -> Mark {
    Mark {
        taint: Some(false),
        ..Mark::default()
    }
}

pub(super) fn revision(pod: &Pod) -> Option<&String> {
    pod.labels.get(names::REVISION_LABEL)
}
