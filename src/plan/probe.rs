//! The operator's own probe: whether new connections go through the proxy that has just become the only one of its node,
//! without any user's traffic.
//!
//! A pod is placed on a node when the arriving proxy is the newest there, before the settled one is told to go: so it is
//! enrolled by the arriving components, and starts while connections drain. Its being there is the record that the node
//! still owes the proof, whoever the operator is by then; it goes when the node is done. Two peers on nodes that do not
//! move ask and are asked, and ask each other: where nobody is let through at all the release is not to blame.
//!
//! What keeps a pod of the probe from running, and is not the mesh, is told, and the other gates decide.

use jiff::{SignedDuration, Timestamp};

use super::act::{Act, Plan};
use super::fleet::Proxies;
use super::gate::{Proof, prove};
use super::passage::{Flight, Passage};
use super::rollout::Tour;
use super::target::Object;
use super::way::Place;
use crate::desired::probe::{Role, pod};
use crate::facts::{Facts, Node, ObjectKey, Pod, ProbePod, Question};
use crate::names;

/// How many peers there are.
const PEERS: usize = 2;
/// How long the probe is waited for when something else than the mesh keeps it from telling anything.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);
/// How often a node that is watched is asked again.
const AGAIN: SignedDuration = SignedDuration::from_secs(15);

/// Whether a node's probe is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is.
    There,
    /// It is to be placed.
    Lacking,
    /// There will be none.
    None(String),
}

/// What the probe says of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Connections go through; asked by this.
    Passed(Box<Question>),
    /// Nothing yet.
    Waits(String),
    /// They do not, and have not for too long.
    Failed(String),
    /// It cannot tell anything.
    Blind(String),
}

/// The probe as it is.
pub(super) struct Probes<'a> {
    facts: &'a Facts,
    /// What its pods are made of: the image of what runs, which every node has.
    image: Option<&'a str>,
    /// Peers that run on nodes that do not move; on others where there are none.
    peers: Vec<&'a Pod>,
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("Pod", Some(names::PROBE_NAMESPACE), name)
}

fn deletion(pod: &Pod) -> Act {
    Act::Delete {
        key: key(&pod.name),
        uid: pod.uid.clone(),
    }
}

/// Takes every pod of the probe away: no node is on its way to an arriving revision.
pub(super) fn clear(facts: &Facts, plan: &mut Plan) {
    plan.acts.extend(remains(facts));
}

/// Deletions of every pod of the probe.
pub fn remains(facts: &Facts) -> Vec<Act> {
    let left = facts.probes.values().filter(|pod| !pod.deleting);
    left.map(|pod| deletion(pod)).collect()
}

impl<'a> Probes<'a> {
    /// Beside what runs.
    pub fn of(facts: &'a Facts, settled: &Proxies<'a>) -> Self {
        let mut peers: Vec<&Pod> = facts
            .probes
            .values()
            .map(AsRef::as_ref)
            .filter(|pod| pod.runs() && pod.address.is_some() && is_peer(pod))
            .collect();
        let moves = |pod: &Pod| {
            let node = facts.nodes.get(&pod.node);
            node.is_none_or(|node| node.is_moving() || is_between(node))
                || facts.probes.contains_key(&Role::Node.pod(&pod.node))
        };
        peers.sort_by_key(|pod| moves(pod));
        Self {
            facts,
            image: settled.image().filter(|_| settled.is_applink()),
            peers,
        }
    }

    /// The probe of a node, unless it is going.
    pub fn of_node(&self, node: &Node) -> Option<&'a Pod> {
        let pod = self.facts.probes.get(&Role::Node.pod(&node.name))?;
        (!pod.deleting).then_some(pod.as_ref())
    }

    /// Whether a node's probe is there.
    pub fn standing(&self, node: &Node) -> Standing {
        if self.of_node(node).is_some() {
            return Standing::There;
        }
        let namespace = self.facts.namespaces.get(names::PROBE_NAMESPACE);
        let name = Role::Node.pod(&node.name);
        if !namespace.is_some_and(|space| space.is_enrolled() && !space.deleting) {
            let space = names::PROBE_NAMESPACE;
            Standing::None(format!("namespace {space} is not there, or not enrolled"))
        } else if self.image.is_none() {
            Standing::None("the proxy that runs is not ours".to_owned())
        } else if let Some(why) = self.facts.refused_probes.get(&name) {
            Standing::None(why.clone())
        } else {
            Standing::Lacking
        }
    }

    /// Whether new connections go through a node's proxy both ways; nothing where its probe is not there: it has told
    /// before, or was never placed.
    pub fn judge(
        &self,
        node: &Node,
        proxy: &Pod,
        timeout: SignedDuration,
        plan: &mut Plan,
        now: Timestamp,
    ) -> Option<Verdict> {
        let own = self.of_node(node)?;
        let since = plan.counts_from(own.created.unwrap_or(now));
        let lasts = now.duration_since(since);
        let mut until = |limit: SignedDuration| {
            let due = since.checked_add(limit).unwrap_or(since);
            let is_over = due <= now;
            if !is_over {
                plan.again_by(due);
            }
            is_over
        };
        let peers = self.peers.get(..PEERS);
        let is_outside = !own.ready && own.trouble.is_none() && own.address.is_none();
        if let (true, Some(peers)) = (is_outside && !own.node.is_empty(), peers) {
            // Whoever cannot be enrolled gets no sandbox.
            let told = format!(
                "{} has not been let into the mesh for {} s, {} on node {} has",
                own.name,
                lasts.as_secs(),
                peers[0].name,
                peers[0].node
            );
            return Some(if until(timeout) {
                Verdict::Failed(told)
            } else {
                Verdict::Waits(told)
            });
        }
        let Some(question) = self.question(node, proxy) else {
            let told = match &own.trouble {
                _ if own.runs() => "its peers do not run".to_owned(),
                Some(trouble) => format!("{}: {} {}", own.name, trouble.reason, trouble.message),
                None => format!("{} does not run", own.name),
            };
            return Some(if until(PATIENCE) {
                Verdict::Blind(told)
            } else {
                Verdict::Waits(told)
            });
        };
        let (proof, told) = prove(self.facts, &question, plan, now);
        Some(match proof {
            Proof::Good => Verdict::Passed(Box::new(question)),
            Proof::Bad(lasts, _) if lasts >= timeout => Verdict::Failed(told),
            Proof::Unknown(lasts) if lasts >= PATIENCE => Verdict::Blind(told),
            Proof::Bad(..) | Proof::Unknown(_) => Verdict::Waits(told),
        })
    }

    /// What the probe of a node is asked; nothing while it, or one of its peers, does not run.
    pub fn question(&self, node: &Node, proxy: &Pod) -> Option<Question> {
        let pods = who(self.of_node(node)?, self.peers.get(..PEERS))?;
        Some(Question::Probe {
            node: node.name.clone(),
            proxy: proxy.incarnation(),
            pods: Box::new(pods),
        })
    }

    /// Asks again, now and then, while a node is watched.
    pub fn watch(&self, question: Question, plan: &mut Plan, now: Timestamp) {
        let Some(answer) = self.facts.answers.get(&question) else {
            return;
        };
        let due = answer.at.checked_add(AGAIN).unwrap_or(answer.at);
        if due <= now {
            plan.acts.push(Act::Ask(question));
        } else {
            plan.again_by(due);
        }
    }
}

fn who(own: &Pod, peers: Option<&[&Pod]>) -> Option<[ProbePod; PEERS + 1]> {
    let of = |pod: &Pod| {
        Some(ProbePod {
            pod: pod.name.clone(),
            uid: pod.incarnation(),
            address: pod.address.clone().filter(|_| pod.runs())?,
            node: pod.node.clone(),
        })
    };
    let [first, second] = peers? else {
        return None;
    };
    Some([of(own)?, of(first)?, of(second)?])
}

fn is_peer(pod: &Pod) -> bool {
    (0..PEERS).any(|number| Role::Peer(number).pod(&pod.node) == pod.name)
}

/// It carries both proxies.
fn is_between(node: &Node) -> bool {
    node.labels
        .get(names::NODE_ZTUNNEL_LABEL)
        .is_some_and(|label| label.ends_with(names::MOVING_SUFFIX))
}

impl Tour<'_> {
    /// Places what the nodes on their way need of the probe, and takes away what none needs any longer.
    pub(super) fn tend(&self, probes: &Probes<'_>, passages: &[Passage<'_>], plan: &mut Plan) {
        let facts = self.facts;
        let mut kept: Vec<String> = passages
            .iter()
            .filter(|one| one.place != Place::Start && one.flight != Flight::Done)
            .map(|one| Role::Node.pod(&one.node.name))
            .collect();
        let is_needed = passages.iter().any(|one| one.lacks_probe)
            || (kept.iter()).any(|name| facts.probes.contains_key(name));
        let is_open = passages
            .iter()
            .any(|one| matches!(one.flight, Flight::Waiting | Flight::Moving));
        let peers = if is_open {
            seats(facts, passages)
        } else {
            Vec::new()
        };
        if let Some(image) = probes.image.filter(|_| is_needed) {
            let own = passages.iter().filter(|one| one.lacks_probe);
            let own = own.map(|one| (Role::Node, one.node.name.as_str()));
            let peers = peers.iter().map(|(role, node)| (*role, *node));
            for (role, node) in own.chain(peers) {
                let name = role.pod(node);
                let is_there = facts.probes.contains_key(&name);
                if is_there || facts.refused_probes.contains_key(&name) {
                    continue;
                }
                // Builders never meet an object that does not serialise.
                if let Ok(manifest) = pod(&self.target.owner, image, role, node) {
                    plan.acts.push(Act::Place(Box::new(Object::of(manifest))));
                }
            }
        }
        kept.extend(peers.iter().map(|(role, node)| role.pod(node)));
        let left = (facts.probes.values())
            .filter(|pod| !pod.deleting && !kept.iter().any(|name| *name == pod.name));
        plan.acts.extend(left.map(|pod| deletion(pod)));
    }
}

/// Where the peers are to be, on nodes that do not move: each where it is already, or else where it may stay for long, and
/// the other is not.
fn seats<'a>(facts: &Facts, passages: &[Passage<'a>]) -> Vec<(Role, &'a str)> {
    let mut nodes: Vec<&Passage<'a>> = passages
        .iter()
        .filter(|one| !matches!(one.flight, Flight::Aside(_)))
        .collect();
    if nodes.iter().any(|one| one.flight != Flight::Moving) {
        nodes.retain(|one| one.flight != Flight::Moving);
    }
    nodes.sort_by_key(|one| {
        let name = one.node.name.as_str();
        (one.flight != Flight::Done, std::cmp::Reverse(name))
    });
    let nodes: Vec<&'a str> = nodes.iter().map(|one| one.node.name.as_str()).collect();
    let host = |number| {
        let is_there = |node: &&str| {
            let pod = facts.probes.get(&Role::Peer(number).pod(node));
            pod.is_some_and(|pod| !pod.deleting)
        };
        nodes.iter().copied().find(is_there)
    };
    let hosts: [Option<&str>; PEERS] = std::array::from_fn(host);
    let all = || nodes.iter().copied();
    // Those that have none first.
    let mut others = all()
        .filter(|node| !hosts.contains(&Some(node)))
        .chain(all());
    let seats = hosts.iter().enumerate();
    seats
        .filter_map(|(number, host)| Some((Role::Peer(number), host.or_else(|| others.next())?)))
        .collect()
}
