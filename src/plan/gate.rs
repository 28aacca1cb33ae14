//! What a node must prove, and when it has failed to.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::act::Plan;
use crate::facts::{Facts, Node, Pod, Question};
use crate::names;

/// Restarts of a new pod after which it is not waited for any longer.
const MOST_RESTARTS: i32 = 3;

/// How old what was proved may be at the point of no return.
const FRESH: SignedDuration = SignedDuration::from_mins(2);

/// How long a pod may be missing because another one is made in its place.
const REPLACED: SignedDuration = SignedDuration::from_mins(1);

/// What the kubelet calls a container that ended again and again.
const CRASHES: &str = "CrashLoopBackOff";

/// A gate on a node's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// The new images can be pulled.
    Prepull,
    /// The new control plane runs, serves and signs.
    ControlPlane,
    /// The new network agent runs.
    Agent,
    /// The new proxy runs.
    Proxy,
    /// The proxy serves exactly the enrolled pods.
    Pods,
    /// New connections of the operator's own probe go through it.
    Probe,
    /// It fails no larger part of the node's connections than the one before.
    Failures,
    /// Both stay up for a while.
    Soak,
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepull => "Prepull",
            Self::ControlPlane => "ControlPlane",
            Self::Agent => "Agent",
            Self::Proxy => "Proxy",
            Self::Pods => "Pods",
            Self::Probe => "Probe",
            Self::Failures => "Failures",
            Self::Soak => "Soak",
        })
    }
}

/// A gate that was not passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Which.
    pub gate: Gate,
    /// On which node; empty where that is not known.
    pub node: String,
    /// The pod it is about; empty where there is none.
    pub pod: String,
    /// What was seen, with numbers.
    pub message: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            gate,
            node,
            pod,
            message,
        } = self;
        write!(f, "gate {gate}")?;
        if !node.is_empty() {
            write!(f, " on node {node}")?;
        }
        if !pod.is_empty() {
            write!(f, ", pod {pod}")?;
        }
        write!(f, ": {message}")
    }
}

/// What a question came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// It is as it should be.
    Good,
    /// It is not, and has not been for this long, asked this often.
    Bad(SignedDuration, u32),
    /// Nobody has answered for this long.
    Unknown(SignedDuration),
}

/// Asks, if there is no good answer, and says what is known.
pub(super) fn prove(
    facts: &Facts,
    question: &Question,
    plan: &mut Plan,
    now: Timestamp,
) -> (Proof, String) {
    let good = plan.ask(facts, question, now);
    let Some(answer) = facts.answers.get(question) else {
        let told = "it has not been asked yet".to_owned();
        return (Proof::Unknown(SignedDuration::ZERO), told);
    };
    let lasts = now.duration_since(plan.counts_from(answer.since));
    let proof = if good {
        Proof::Good
    } else if answer.is_unknown() {
        Proof::Unknown(lasts)
    } else {
        Proof::Bad(lasts, answer.failures)
    };
    (proof, answer.text().to_owned())
}

/// What was asked too long ago for the point of no return, if it was asked at all.
pub(super) fn is_stale(facts: &Facts, question: &Question, now: Timestamp) -> bool {
    facts
        .answers
        .get(question)
        .is_none_or(|answer| now.duration_since(answer.at) >= FRESH)
}

/// Why a pod that nobody stands in for has failed: the kubelet has given up starting it again at once.
pub(super) fn crashed(pod: &Pod, gate: Gate, plan: &Plan) -> Option<Failed> {
    let trouble = pod.trouble.as_ref()?;
    (trouble.reason == CRASHES && !plan.is_forgiven(pod)).then(|| Failed {
        gate,
        node: pod.node.clone(),
        pod: pod.name.clone(),
        message: format!(
            "restarted {} times, alone on its node: {} {}",
            pod.restarts, trouble.reason, trouble.message
        ),
    })
}

/// Why a pod has failed that the controller should have made by now: the gate's clock runs from when the node was marked, as
/// the node itself tells. Where it does not, from when this process saw first that the pod is missing.
pub(super) fn unmade(
    facts: &Facts,
    node: &Node,
    daemon_set: &str,
    (gate, timeout): (Gate, SignedDuration),
    plan: &mut Plan,
    now: Timestamp,
) -> Option<Failed> {
    let gap = facts.gaps.since(&node.name, daemon_set)?;
    let since = plan.counts_from(node.marked.unwrap_or(gap));
    // One that is replaced is missing for a moment.
    let due = since.checked_add(timeout).ok()?;
    let due = due.max(gap.checked_add(REPLACED).ok()?);
    if due > now {
        plan.again_by(due);
        return None;
    }
    Some(Failed {
        gate,
        node: node.name.clone(),
        pod: String::new(),
        message: format!(
            "DaemonSet {daemon_set} has made no pod there for {} s: {}",
            now.duration_since(since).as_secs(),
            refusal(facts, daemon_set)
        ),
    })
}

/// What is known to refuse pods of the data plane, or where it is told.
fn refusal(facts: &Facts, daemon_set: &str) -> String {
    let namespace = names::SYSTEM_NAMESPACE;
    if let Some(quota) = facts.quotas.iter().find(|quota| quota.used >= quota.hard) {
        return format!(
            "ResourceQuota {namespace}/{} allows {} pods and counts {}: raise it or delete it",
            quota.name, quota.hard, quota.used
        );
    }
    let level = (facts.namespaces.get(namespace))
        .and_then(|labels| labels.labels.get(names::POD_SECURITY_LABEL))
        .filter(|level| *level != "privileged");
    match level {
        Some(level) => {
            format!("Namespace {namespace} has the Pod Security level {level}, which refuses it")
        }
        None => {
            format!("its Events tell why: kubectl -n {namespace} describe daemonset {daemon_set}")
        }
    }
}

/// Why a pod that should run by now has failed; the plan looks again when its time is up.
pub(super) fn overdue(
    pod: &Pod,
    gate: Gate,
    timeout: SignedDuration,
    plan: &mut Plan,
    now: Timestamp,
) -> Option<Failed> {
    let failed = |message: String| Failed {
        gate,
        node: pod.node.clone(),
        pod: pod.name.clone(),
        message,
    };
    let told = pod.trouble.as_ref().map_or_else(String::new, |trouble| {
        format!(": {} {}", trouble.reason, trouble.message)
    });
    if pod.restarts >= MOST_RESTARTS && !plan.is_forgiven(pod) {
        return Some(failed(format!("restarted {} times{told}", pod.restarts)));
    }
    if pod.ready {
        return None;
    }
    let since = plan.counts_from(pod.created.max(pod.ready_since)?);
    let due = since.checked_add(timeout).ok()?;
    if due > now {
        plan.again_by(due);
        return None;
    }
    let seconds = now.duration_since(since).as_secs();
    Some(failed(format!("not ready for {seconds} s{told}")))
}
