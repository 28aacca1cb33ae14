//! What runs on each node of the mesh, and whether it serves.

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
    /// It carries something else than it should, and serves.
    Old,
    /// Its network agent is being replaced, or does not run.
    Agent,
    /// Its agent is the new one, its proxy is not.
    AgentDone,
    /// Its proxy is being replaced, or does not run.
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
    /// It carries the label it should carry.
    pub moved: bool,
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
        let name = &self.node.name;
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
            object: format!("Node {name}"),
            message: match self.stage {
                Stage::Old => "it waits for its turn".to_owned(),
                Stage::Agent => format!("its {} is not ready", names::CNI_DAEMON_SET),
                Stage::AgentDone => {
                    format!(
                        "its {} is replaced; the proxy follows: {told}",
                        names::CNI_DAEMON_SET
                    )
                }
                Stage::Proxy => format!("its {} is not ready", target.daemon_set),
                Stage::Verifying => {
                    format!("its proxy has not shown yet that it serves every pod: {told}")
                }
                Stage::Done => "it is done".to_owned(),
            },
        }
    }
}

/// What a node must be like to be done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected<'a> {
    /// The label it must carry while another revision is settled: `Some(None)` means that it must carry none.
    pub label: Option<Option<&'a str>>,
    /// Proxies of other revisions may run beside: they are about to be deleted everywhere.
    pub beside_others: bool,
}

/// Supported nodes by name.
pub fn views<'a>(facts: &'a Facts, target: &Target, expected: Expected<'_>) -> Vec<NodeView<'a>> {
    facts
        .nodes
        .values()
        .filter(|node| target.rules.supports(node))
        .map(|node| view(facts, target, node, expected))
        .collect()
}

fn view<'a>(
    facts: &'a Facts,
    target: &Target,
    node: &'a Node,
    expected: Expected<'_>,
) -> NodeView<'a> {
    let on = |label: &'static str, value: &'static str| {
        facts
            .pods_with(label, value)
            .filter(|pod| pod.node == node.name)
            .collect::<Vec<_>>()
    };
    let agents = on("k8s-app", names::CNI_DAEMON_SET);
    let proxies = on("app", names::ZTUNNEL);
    let is_new_agent = |pod: &&&Pod| pod.template_hash.as_deref() == Some(&target.agent_hash);
    let is_new_proxy = |pod: &&&Pod| {
        pod.labels.get(names::REVISION_LABEL).map(String::as_str) == Some(target.revision.as_str())
    };
    let runs = |pod: &&&Pod| pod.ready && !pod.deleting;
    let carried = node
        .labels
        .get(names::NODE_ZTUNNEL_LABEL)
        .map(String::as_str);
    let moved = expected.label.is_none_or(|label| label == carried);
    let agent_runs = agents.iter().any(|pod| runs(&pod));
    let agent_is_new = agents.iter().filter(is_new_agent).any(|pod| runs(&pod));
    let stale_agents: Vec<&Pod> = agents
        .iter()
        .filter(|pod| !pod.deleting && !is_new_agent(pod))
        .copied()
        .collect();
    let proxy_is_new = proxies.iter().filter(is_new_proxy).any(|pod| runs(&pod));
    let other_proxies = proxies.iter().filter(|pod| !is_new_proxy(pod)).count();
    let stage = if !agent_runs {
        Stage::Agent
    } else if !proxies.iter().any(|pod| runs(&pod)) {
        Stage::Proxy
    } else if !agent_is_new {
        Stage::Old
    } else if !moved {
        Stage::AgentDone
    } else if !proxy_is_new || (other_proxies > 0 && !expected.beside_others) {
        Stage::Proxy
    } else {
        Stage::Verifying
    };
    let asked = proxies
        .iter()
        .filter(runs)
        .find(|pod| !moved || is_new_proxy(pod));
    let agent = agents.iter().find(runs);
    NodeView {
        node,
        stage,
        moved,
        set_aside: NodeRules::set_aside(node),
        stale_agents,
        trouble: health::trouble(agents.iter().chain(&proxies).copied()),
        question: asked.zip(agent).map(|(pod, agent)| Question::Proxy {
            node: node.name.clone(),
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            agent: agent.uid.clone(),
        }),
        told: None,
    }
}

/// Asks the proxy of a node whose pods run; a good answer finishes the node. Whether the answer is good is returned.
pub(super) fn judge(
    facts: &Facts,
    view: &mut NodeView<'_>,
    plan: &mut Plan,
    now: Timestamp,
) -> bool {
    if !matches!(view.stage, Stage::Verifying | Stage::AgentDone) || view.set_aside.is_some() {
        return false;
    }
    let Some(question) = view.question.clone() else {
        return false;
    };
    let good = if view.stage == Stage::AgentDone {
        plan.ask_anew(facts, &question, now)
    } else {
        plan.ask(facts, &question, now)
    };
    view.told = facts
        .answers
        .get(&question)
        .map(|answer| answer.text().to_owned());
    if good && view.stage == Stage::Verifying {
        view.stage = Stage::Done;
    }
    good
}

/// How far the nodes are, for status.
pub(super) fn summary(facts: &Facts, target: &Target, views: &[NodeView<'_>]) -> RolloutNodes {
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let aside = || views.iter().filter(|view| view.set_aside.is_some());
    let active = views
        .iter()
        .filter(|view| view.set_aside.is_none() && !matches!(view.stage, Stage::Old | Stage::Done));
    RolloutNodes {
        total: count(views.len()),
        updated: count(
            views
                .iter()
                .filter(|view| view.stage == Stage::Done)
                .count(),
        ),
        set_aside: count(aside().count()),
        unsupported: count(
            facts
                .nodes
                .values()
                .filter(|node| !target.rules.supports(node))
                .count(),
        ),
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
