//! What runs on each node of a mesh that is being installed, and whether it serves.

use jiff::Timestamp;

use super::act::Plan;
use super::target::{NodeRules, Target};
use crate::api::conditions::Reason;
use crate::api::v1alpha1::{MAX_ROLLOUT_NODES, NodeFailure, RolloutNodes};
use crate::facts::{Facts, Node, Pod, Question};
use crate::health;
use crate::names;
use crate::status::Wait;

/// How far a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Its network agent does not run.
    Agent,
    /// Its agent runs, its proxy does not.
    Proxy,
    /// Both run; the proxy has not shown yet that it serves every pod.
    Verifying,
    /// It carries what it should, and serves.
    Done,
}

/// One supported node.
#[derive(Clone, Debug)]
pub struct NodeView<'a> {
    /// The node.
    pub node: &'a Node,
    /// How far it is.
    pub stage: Stage,
    /// Why it is left alone for now.
    pub set_aside: Option<&'static str>,
    /// Agents made from another template, not being deleted.
    pub stale_agents: Vec<&'a Pod>,
    /// What keeps a pod of it from running.
    pub trouble: Option<(&'a Pod, String)>,
    /// What is asked to pass its gate.
    pub question: Option<Question>,
    /// What the last answer said.
    pub told: Option<String>,
}

impl NodeView<'_> {
    /// What this node lacks.
    pub fn wait(&self, target: &Target) -> Wait {
        if let Some((pod, text)) = &self.trouble {
            return super::trouble(pod, text.clone(), Reason::Nodes);
        }
        let told = self.told.as_deref().unwrap_or("it has not been asked yet");
        Wait {
            reason: if self.stage == Stage::Verifying {
                Reason::Verify
            } else {
                Reason::Nodes
            },
            object: format!("Node {}", self.node.name),
            message: match self.stage {
                Stage::Agent => format!("its {} is not ready", names::CNI_DAEMON_SET),
                Stage::Proxy => format!("its {} is not ready", target.daemon_set),
                Stage::Verifying => {
                    format!("its proxy has not shown yet that it serves every pod: {told}")
                }
                Stage::Done => "it is done".to_owned(),
            },
        }
    }
}

/// Supported nodes by name.
pub fn views<'a>(facts: &'a Facts, target: &Target) -> Vec<NodeView<'a>> {
    let pods = super::passage::pods(facts);
    facts
        .nodes
        .values()
        .filter(|node| target.rules.supports(node))
        .map(|node| {
            let (agents, proxies) = pods.get(node.name.as_str()).cloned().unwrap_or_default();
            view(target, node, &agents, &proxies)
        })
        .collect()
}

fn view<'a>(
    target: &Target,
    node: &'a Node,
    agents: &[&'a Pod],
    proxies: &[&'a Pod],
) -> NodeView<'a> {
    let is_new_agent = |pod: &Pod| pod.template_hash.as_deref() == Some(&target.agent_hash);
    let agent = agents
        .iter()
        .find(|pod| pod.runs() && is_new_agent(pod))
        .copied();
    let mut others = 0_usize;
    let mut proxy = None;
    for pod in proxies {
        if pod.labels.get(names::REVISION_LABEL).map(String::as_str)
            != Some(target.revision.as_str())
        {
            others += 1;
        } else if pod.runs() {
            proxy = Some(*pod);
        }
    }
    let stage = if agent.is_none() {
        Stage::Agent
    } else if proxy.is_none() || others > 0 {
        Stage::Proxy
    } else {
        Stage::Verifying
    };
    NodeView {
        node,
        stage,
        set_aside: NodeRules::set_aside(node),
        stale_agents: agents
            .iter()
            .filter(|pod| !pod.deleting && !is_new_agent(pod))
            .copied()
            .collect(),
        trouble: health::trouble(agents.iter().chain(proxies).copied()),
        question: proxy.zip(agent).map(|(pod, agent)| Question::Proxy {
            node: node.name.clone(),
            pod: pod.name.clone(),
            uid: pod.incarnation(),
            agent: agent.incarnation(),
            leavers: Vec::new(),
            reconnect: false,
        }),
        told: None,
    }
}

/// Asks the proxy of a node whose pods run; a good answer finishes the node.
pub(super) fn judge(facts: &Facts, view: &mut NodeView<'_>, plan: &mut Plan, now: Timestamp) {
    if view.stage != Stage::Verifying || view.set_aside.is_some() {
        return;
    }
    let Some(question) = view.question.clone() else {
        return;
    };
    let good = plan.ask(facts, &question, now);
    view.told = facts
        .answers
        .get(&question)
        .map(|answer| answer.text().to_owned());
    if good {
        view.stage = Stage::Done;
    }
}

/// Nodes that cannot carry the mesh.
fn unsupported(facts: &Facts, target: &Target) -> i32 {
    let found = facts
        .nodes
        .values()
        .filter(|node| !target.rules.supports(node))
        .count();
    i32::try_from(found).unwrap_or(i32::MAX)
}

/// How far the nodes are, for status.
pub(super) fn summary(facts: &Facts, target: &Target, views: &[NodeView<'_>]) -> RolloutNodes {
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let aside = || views.iter().filter(|view| view.set_aside.is_some());
    let active = views
        .iter()
        .filter(|view| view.set_aside.is_none() && view.stage != Stage::Done);
    RolloutNodes {
        total: count(views.len()),
        updated: count(
            views
                .iter()
                .filter(|view| view.stage == Stage::Done)
                .count(),
        ),
        set_aside: count(aside().count()),
        unsupported: unsupported(facts, target),
        current: active
            .map(|view| view.node.name.clone())
            .take(MAX_ROLLOUT_NODES)
            .collect(),
        failed: aside()
            .take(MAX_ROLLOUT_NODES)
            .map(|view| NodeFailure {
                name: view.node.name.clone(),
                reason: view.set_aside.unwrap_or_default().to_owned(),
            })
            .collect(),
    }
}
