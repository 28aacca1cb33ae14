//! The order in which a member leaves its cluster. Pure: facts and `now` in, acts out.
//!
//! Un-enrol, wait until nothing is redirected, proxies, the network agent (its pods clean their node up as they end, and
//! need their rights for it), every node checked for what the agent wrote, then everything else of ours, istiod last,
//! then what istiod made at run time. Each stage ends when what it waits for is gone, or at its time limit: then what is
//! left is told, and the leave goes on. A cluster or node that is gone counts as left.

mod progress;

use jiff::{SignedDuration, Timestamp};

use crate::api::conditions::{Reason, Step};
use crate::api::v1alpha1::LeavePolicy;
use crate::facts::{Facts, Live, Membership, ObjectKey, Pod};
use crate::health;
use crate::names;
use crate::plan::{Act, Object, Plan, clean_nodes, pins, remains_of_probe};
use crate::status::{Problem, Wait};
pub use progress::{Progress, Stage};

/// The longest a stage may wait.
pub const LIMIT: SignedDuration = SignedDuration::from_secs(180);

/// `app` of the pods that check nodes.
pub const CHECK: &str = "applink-leave-check";

/// What to do about a member that is being deleted.
#[derive(Clone, Debug, PartialEq)]
pub enum Leave {
    /// It may not leave yet: normal care goes on.
    Blocked(Problem),
    /// It leaves.
    Going(Box<Plan>),
    /// What istiod made is to be swept.
    Sweep,
    /// Nothing is left.
    Done,
}

/// What the member says about leaving.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Whether namespaces may be un-enrolled.
    pub policy: LeavePolicy,
    /// The check of nodes; none when no image for it is known.
    pub check: Option<Object>,
}

/// What to do now.
pub fn plan(
    facts: &Facts,
    terms: &Terms,
    membership: &Membership,
    progress: &mut Progress,
    now: Timestamp,
) -> Leave {
    let stands = facts.objects.values().any(|live| is_ours(live));
    // Where nothing stands nobody is served, so nobody holds the leave.
    if stands && let Some(problem) = blocked(terms, membership) {
        // A label that comes back starts the clocks anew.
        *progress = Progress::default();
        return Leave::Blocked(problem);
    }
    let mut leave = Course {
        facts,
        progress,
        now,
        plan: Plan::new(Step::Leave),
    };
    leave.plan.acts.extend(remains_of_probe(facts));
    let wait = if stands {
        leave.stages(terms, membership)
    } else {
        // An operator before this one came so far, or nothing was ever installed.
        leave.rest()
    };
    match wait {
        Some(wait) => Leave::Going(Box::new(leave.plan.waiting(Step::Leave, wait))),
        None if !leave.plan.acts.is_empty() => Leave::Going(Box::new(leave.plan)),
        None if !progress.swept => Leave::Sweep,
        None => Leave::Done,
    }
}

fn blocked(terms: &Terms, membership: &Membership) -> Option<Problem> {
    let named = |names: &[String]| {
        let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        if names.len() > 5 {
            format!("{shown} and {} more", names.len() - 5)
        } else {
            shown
        }
    };
    let key = names::DATAPLANE_MODE_LABEL;
    if !membership.by_pod.is_empty() {
        return Some(Problem {
            reason: Reason::NamespacesEnrolled,
            message: format!(
                "pods in {} are enrolled by their own label; remove {key} from them: a pod is never changed from here",
                named(&membership.by_pod)
            ),
        });
    }
    (terms.policy == LeavePolicy::RefuseWhileEnrolled && !membership.namespaces.is_empty()).then(
        || Problem {
            reason: Reason::NamespacesEnrolled,
            message: format!(
                "enrolled namespaces: {}; remove the label {key} from them, or set spec.leavePolicy to UnenrolNamespaces",
                named(&membership.namespaces)
            ),
        },
    )
}

struct Course<'a> {
    facts: &'a Facts,
    progress: &'a mut Progress,
    now: Timestamp,
    plan: Plan,
}

impl Course<'_> {
    fn stages(&mut self, terms: &Terms, membership: &Membership) -> Option<Wait> {
        for name in &membership.namespaces {
            if let Some(namespace) = self.facts.namespaces.get(name) {
                self.plan.acts.push(Act::Unenrol {
                    namespace: name.clone(),
                    resource_version: namespace.resource_version.clone(),
                });
            }
        }
        self.wait(
            Stage::Unenrol,
            "Namespace",
            &membership.namespaces,
            "enrolled",
        )
        .or_else(|| {
            self.wait(
                Stage::Redirection,
                "Pod",
                &membership.redirected,
                "still redirected by the network agent",
            )
        })
        .or_else(|| self.workload(Stage::Proxies, "app", names::ZTUNNEL))
        .or_else(|| self.workload(Stage::Agents, "k8s-app", names::CNI_DAEMON_SET))
        .or_else(|| self.check(terms))
        .or_else(|| self.rest())
    }

    /// Waits while something is left, but not longer than the limit.
    fn wait(&mut self, stage: Stage, kind: &str, left: &[String], what: &str) -> Option<Wait> {
        let first = left.first()?;
        let since = *self.progress.since.entry(stage).or_insert(self.now);
        let until = since.checked_add(LIMIT).unwrap_or(since);
        if until <= self.now {
            let note = format!("{kind} {} {what}", some(left));
            if !self.progress.left.contains(&note) {
                self.progress.left.push(note);
            }
            return None;
        }
        self.plan.again_by(until);
        Some(Wait {
            reason: Reason::Leaving,
            object: format!("{kind} {first}"),
            message: format!("{} of them {what}", left.len()),
        })
    }

    /// Deletes the `DaemonSets` of a component, then waits for its pods on nodes that answer.
    fn workload(&mut self, stage: Stage, label: &str, value: &str) -> Option<Wait> {
        let sets: Vec<(&ObjectKey, &Live)> = self.facts.daemon_sets_with(label, value).collect();
        for (key, live) in sets.iter().filter(|(_, live)| !live.deleting) {
            self.plan.acts.push(Act::delete(key, live));
        }
        let mut left: Vec<String> = sets
            .iter()
            .map(|(key, _)| format!("{}/{}", names::SYSTEM_NAMESPACE, key.name))
            .collect();
        left.extend(
            self.facts
                .pods_with(label, value)
                .filter(|pod| self.facts.answers(pod))
                .map(|pod| format!("{}/{} on {}", names::SYSTEM_NAMESPACE, pod.name, pod.node)),
        );
        self.wait(stage, "Pod", &left, "are ending")
    }

    /// A pod on every node is ready when nothing of the agent is left there.
    fn check(&mut self, terms: &Terms) -> Option<Wait> {
        let object = terms.check.as_ref()?;
        let key = &object.key;
        let over = self.progress.since.contains_key(&Stage::CheckGone);
        if over {
            return self.workload(Stage::CheckGone, "app", CHECK);
        }
        let Some(live) = self.facts.object(key) else {
            if self.progress.since.contains_key(&Stage::Check) || self.rest_has_begun() {
                // It was there and somebody took it away, or an operator before this one was past it: no reason to stay.
                self.progress.since.insert(Stage::CheckGone, self.now);
                return None;
            }
            self.plan.acts.push(Act::Apply(Box::new(object.clone())));
            return self.wait(
                Stage::Check,
                "DaemonSet",
                std::slice::from_ref(&key.name),
                "are being made",
            );
        };
        let number = |pointer: &str| {
            live.body
                .pointer(pointer)
                .and_then(serde_json::Value::as_i64)
        };
        let scheduled = number("/status/desiredNumberScheduled").unwrap_or(0);
        let seen = health::is_observed(live) && live.generation > 0;
        let unready: Vec<&Pod> = self
            .facts
            .pods_with("app", CHECK)
            .filter(|pod| !pod.ready && !pod.deleting && self.facts.answers(pod))
            .collect();
        let (blind, dirty): (Vec<&Pod>, Vec<&Pod>) =
            unready.iter().partition(|pod| pod.trouble.is_some());
        let on =
            |pods: &[&Pod]| -> Vec<String> { pods.iter().map(|pod| pod.node.clone()).collect() };
        let started = self.facts.pods_with("app", CHECK).count();
        let wait = if !seen || i64::try_from(started).unwrap_or(0) < scheduled {
            self.wait(
                Stage::Check,
                "DaemonSet",
                std::slice::from_ref(&key.name),
                "have not looked at every node yet",
            )
        } else if let Some((_, text)) = health::trouble(blind.iter().copied()) {
            self.wait(
                Stage::Check,
                "Node",
                &on(&blind),
                &format!("cannot be looked at: {text}"),
            )
        } else {
            None
        };
        let wait = wait.or_else(|| {
            self.wait(
                Stage::Check,
                "Node",
                &on(&dirty),
                "still hold configuration or programs of istio-cni",
            )
        });
        if wait.is_some() {
            return wait;
        }
        self.note_silent();
        self.progress.since.insert(Stage::CheckGone, self.now);
        self.workload(Stage::CheckGone, "app", CHECK)
    }

    /// Nodes that do not answer are not waited for, and nobody has looked at them: that is told, with what to do when
    /// they are back. A node that was cut off has had no chance to clean up.
    fn note_silent(&mut self) {
        let silent: Vec<String> = self
            .facts
            .nodes
            .values()
            .filter(|node| !node.ready && node.os == "linux")
            .map(|node| node.name.clone())
            .collect();
        if silent.is_empty() {
            return;
        }
        self.progress.left.push(format!(
            "Node {} not Ready, so not looked at: when it is back, remove what `applink verify-node-clean` names on it, else no pod starts there",
            some(&silent)
        ));
    }

    /// The first that goes with the rest is gone: nodes were found clean before.
    fn rest_has_begun(&self) -> bool {
        let kinds = ["Deployment", "ValidatingWebhookConfiguration"];
        let mut objects = self.facts.objects.iter();
        !objects.any(|(key, live)| kinds.contains(&key.kind.as_str()) && is_ours(live))
    }

    /// Webhooks before who answers them, rights last; then what is not ours to delete is let go.
    fn rest(&mut self) -> Option<Wait> {
        let mut keys: Vec<(&ObjectKey, &Live)> = self
            .facts
            .objects
            .iter()
            .map(|(key, live)| (key, live.as_ref()))
            .filter(|(_, live)| is_ours(live))
            .collect();
        keys.sort_by_key(|(key, _)| (rank(&key.kind), (*key).clone()));
        for (key, live) in &keys {
            if key.kind == "Namespace" {
                self.plan.acts.push(Act::Release((*key).clone()));
            } else if !live.deleting {
                self.plan.acts.push(Act::delete(key, live));
            }
        }
        self.plan.acts.extend(clean_nodes(self.facts));
        let mut left: Vec<String> = keys.iter().map(|(key, _)| key.to_string()).collect();
        let since = self.progress.since.get(&Stage::Rest);
        let is_late = since.is_some_and(|since| self.now.duration_since(*since) >= LIMIT);
        for (place, gateway) in pins(self.facts) {
            if !is_late {
                self.plan.acts.push(Act::pin(place, gateway, None));
            }
            left.push(format!("Gateway {}/{}", place.0, place.1));
        }
        left.extend(
            self.facts
                .pods_with("app", names::ISTIOD)
                .filter(|pod| pod.labels.contains_key(names::MEMBER_LABEL))
                .filter(|pod| self.facts.answers(pod))
                .map(|pod| format!("Pod {}/{}", names::SYSTEM_NAMESPACE, pod.name)),
        );
        self.wait(Stage::Rest, "object", &left, "are ending")
    }
}

fn is_ours(live: &Live) -> bool {
    live.label(names::MEMBER_LABEL).is_some()
}

fn rank(kind: &str) -> u8 {
    match kind {
        "ValidatingWebhookConfiguration" | "PeerAuthentication" => 0,
        "DaemonSet" | "Deployment" => 1,
        "Service" | "PodDisruptionBudget" | "ConfigMap" | "ResourceQuota" => 2,
        "RoleBinding" | "ClusterRoleBinding" => 3,
        "ServiceAccount" => 4,
        _ => 5,
    }
}

fn some(names: &[String]) -> String {
    let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    match names.len() {
        0..=5 => shown,
        count => format!("{shown} and {} more", count - 5),
    }
}

#[cfg(test)]
mod tests;
