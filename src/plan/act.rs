//! A plan: acts in order, and what is waited for.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::gate::Failed;
use super::target::Object;
use crate::api::conditions::Step;
use crate::api::v1alpha1::RolloutNodes;
use crate::facts::{Connections, Facts, GatewayFact, Live, ObjectKey, Pod, Question};
use crate::status::Wait;

/// One thing to do. Each may be the last before the operator dies: the plan made next finds out what is left.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Apply an object.
    Apply(Box<Object>),
    /// Apply these definitions from the folder.
    Define(Vec<String>),
    /// Write to a definition for no other reason than that the API server looks at it again.
    Touch(String),
    /// Create a pod of the operator's own probe. What the API server does not take fails nothing.
    Place(Box<Object>),
    /// Delete an object of ours, if it is still this one.
    Delete {
        /// Which.
        key: ObjectKey,
        /// Its uid.
        uid: String,
    },
    /// Delete a pod of the data plane, if it is still this one.
    DeletePod {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
        /// The node it is on.
        node: String,
    },
    /// Change the label that decides which proxies a node carries, with what belongs to it, and our taint, if the node is
    /// as it was seen.
    MarkNode {
        /// The node.
        name: String,
        /// The label to carry; `Some(None)` removes it.
        label: Option<Option<String>>,
        /// What the proxy that leaves with this label has counted. Every label without it removes it.
        baseline: Option<String>,
        /// Whether to carry the taint.
        taint: Option<bool>,
        /// The node's resource version.
        resource_version: String,
    },
    /// Record on an arriving `DaemonSet` that the first nodes have proved it, if it is as it was seen.
    PassCanary {
        /// The `DaemonSet`.
        key: ObjectKey,
        /// Its resource version.
        resource_version: String,
    },
    /// Keep a `DaemonSet` off nodes that carry one of these revisions, if it is as it was seen.
    Exclude {
        /// The `DaemonSet`.
        key: ObjectKey,
        /// Revisions, sorted.
        revisions: Vec<String>,
        /// Its resource version.
        resource_version: String,
    },
    /// Remove the label that enrols from a namespace.
    Unenrol {
        /// The namespace.
        namespace: String,
        /// Its resource version.
        resource_version: String,
    },
    /// Name a release on a waypoint by our label, or give it back, if it is as it was seen.
    Pin {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
        /// Its resource version.
        resource_version: String,
        /// The release: `1-6-0`. `None` takes off what is ours.
        release: Option<String>,
    },
    /// Give up what we own of an object that is not ours to delete.
    Release(ObjectKey),
    /// Delete the leases of a release's istiod, which is gone.
    Forget {
        /// The release as it is in names: `1-6-0`.
        release: String,
    },
    /// Ask a component.
    Ask(Question),
}

impl Act {
    /// The node whose label or taint it changes.
    pub fn marked(&self) -> Option<&str> {
        match self {
            Self::MarkNode { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Deletion of an object as it was seen.
    pub fn delete(key: &ObjectKey, live: &Live) -> Self {
        Self::Delete {
            key: key.clone(),
            uid: live.uid.clone(),
        }
    }

    /// A Gateway as it was seen is pinned, or given back.
    pub fn pin(
        (namespace, name): &(String, String),
        seen: &GatewayFact,
        release: Option<&str>,
    ) -> Self {
        Self::Pin {
            namespace: namespace.clone(),
            name: name.clone(),
            uid: seen.uid.clone(),
            resource_version: seen.resource_version.clone(),
            release: release.map(str::to_owned),
        }
    }

    /// Deletion of a pod as it was seen.
    pub fn delete_pod(pod: &Pod) -> Self {
        Self::DeletePod {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            node: pod.node.clone(),
        }
    }
}

/// What to do now, and what is waited for.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is told on its own, and any of them may hold with any other"
)]
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The step.
    pub step: Step,
    /// What to do, in order.
    pub acts: Vec<Act>,
    /// What is waited for.
    pub wait: Option<Wait>,
    /// How far the nodes are.
    pub nodes: Option<RolloutNodes>,
    /// Everything runs as asked once the acts are done.
    pub done: bool,
    /// What runs on nodes is being changed, although the mesh is installed.
    pub is_rolling: bool,
    /// The target failed here: what was settled before runs, and stays. Of two releases it is the settled one that runs,
    /// see [`Targets::left`](super::Targets::left).
    pub is_held: bool,
    /// What is being changed can still be taken back.
    pub is_revertible: bool,
    /// The wave of nodes, from 1.
    pub wave: Option<i32>,
    /// The gate that a node has failed to pass.
    pub failed: Option<Failed>,
    /// When to look again although nothing changes.
    pub again_at: Option<Timestamp>,
    /// Nodes that the operator's own probe, or their connections, do not prove, and why: for the log.
    pub unproved: BTreeMap<String, String>,
    /// Connections of nodes that have moved, as far as they were looked at: the baseline, and what was counted since.
    pub compared: Vec<(Connections, Connections)>,
    /// Until when nodes are watched that do all they should.
    pub watched_until: Option<Timestamp>,
    /// When somebody asked to try again what had failed: nothing of before counts against a gate.
    pub retried: Option<Timestamp>,
}

impl Plan {
    /// An empty plan.
    pub fn new(step: Step) -> Self {
        Self {
            step,
            acts: Vec::new(),
            wait: None,
            nodes: None,
            done: false,
            is_rolling: false,
            is_held: false,
            is_revertible: false,
            wave: None,
            failed: None,
            again_at: None,
            unproved: BTreeMap::new(),
            compared: Vec::new(),
            watched_until: None,
            retried: None,
        }
    }

    /// Since when something counts that is as it is since that time.
    pub fn counts_from(&self, since: Timestamp) -> Timestamp {
        self.retried.map_or(since, |retried| retried.max(since))
    }

    /// The pod is of before somebody asked to try again: what it has been through does not count.
    pub fn is_forgiven(&self, pod: &Pod) -> bool {
        self.retried
            .is_some_and(|retried| pod.created.is_none_or(|created| created < retried))
    }

    /// The plan stops here.
    #[must_use]
    pub fn waiting(mut self, step: Step, wait: Wait) -> Self {
        self.step = step;
        self.wait = Some(wait);
        self
    }

    /// The plan stops here; a gate that has failed is told instead of what was waited for.
    #[must_use]
    pub fn waiting_or_failed(self, step: Step, mut wait: Wait) -> Self {
        if let Some(failed) = &self.failed {
            wait.message = failed.to_string();
        }
        self.waiting(step, wait)
    }

    /// Whether the answer is a good one; asks when there is none, or not a good one for a while.
    pub fn ask(&mut self, facts: &Facts, question: &Question, now: Timestamp) -> bool {
        let Some(answer) = facts.answers.get(question) else {
            self.acts.push(Act::Ask(question.clone()));
            return false;
        };
        if answer.is_good() {
            return true;
        }
        let due = answer.ask_again();
        if due <= now {
            self.acts.push(Act::Ask(question.clone()));
        } else {
            self.again_by(due);
        }
        false
    }

    /// Looks again at this time at the latest.
    pub fn again_by(&mut self, at: Timestamp) {
        self.again_at = Some(self.again_at.map_or(at, |known| known.min(at)));
    }
}
