//! The proxy `DaemonSets` of the cluster: which one is settled, which one arrives, and what follows from that.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::api::conditions::Reason;
use crate::desired::affinity::TERMS;
use crate::desired::{Manifest, affinity};
use crate::facts::{Facts, Live, ObjectKey};
use crate::health;
use crate::names;
use crate::status::Wait;

/// Every proxy `DaemonSet` of ours, those that are being deleted included.
pub(super) fn daemon_sets(facts: &Facts) -> impl Iterator<Item = (&ObjectKey, &Live)> {
    facts.daemon_sets_with("app", names::ZTUNNEL)
}

/// The node selectors of the components on nodes, agent first; `None` where one has none of ours to read.
fn selectors(facts: &Facts) -> impl Iterator<Item = Option<BTreeMap<String, String>>> {
    let agents = facts.daemon_sets_with("k8s-app", names::CNI_DAEMON_SET);
    agents
        .chain(daemon_sets(facts))
        .filter(|(_, live)| !live.deleting)
        .map(|(_, live)| affinity::node_selector(&live.body))
}

/// The node selector that the components on nodes run by, whatever the spec says by now; `None` while none of them is there.
pub fn placement(facts: &Facts) -> Option<BTreeMap<String, String>> {
    selectors(facts).flatten().next()
}

/// The node selector that all components on nodes run by. Where they differ somebody has changed one, or a changed spec was
/// on its way to them: it counts.
pub(super) fn agreed(facts: &Facts) -> Option<BTreeMap<String, String>> {
    let mut all = selectors(facts);
    let first = all.next()??;
    all.all(|other| other.as_ref() == Some(&first))
        .then_some(first)
}

/// The proxies of one revision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proxies<'a> {
    /// The `DaemonSet`.
    pub key: &'a ObjectKey,
    /// As it is.
    pub live: &'a Live,
    /// Its revision.
    pub revision: &'a str,
}

impl<'a> Proxies<'a> {
    pub fn of((key, live): (&'a ObjectKey, &'a Live)) -> Self {
        let revision = live.label(names::REVISION_LABEL).unwrap_or_default();
        Self {
            key,
            live,
            revision,
        }
    }

    /// It runs on nodes that carry no label.
    pub fn is_default(&self) -> bool {
        values(self.live, "In").is_empty()
    }

    /// Labels of nodes it is kept off.
    pub fn kept_off(&self) -> BTreeSet<&'a str> {
        values(self.live, "NotIn")
    }

    /// The network agent that belongs to this revision, as it was applied.
    pub fn agent(&self) -> Option<Manifest> {
        let text = self.live.annotation(names::AGENT_ANNOTATION)?;
        let body: Value = serde_json::from_str(text).ok()?;
        Some(daemon_set(names::CNI_DAEMON_SET, body))
    }

    /// The image of its program.
    pub fn image(&self) -> Option<&'a str> {
        let container = "/spec/template/spec/containers/0/image";
        self.live.body.pointer(container)?.as_str()
    }

    /// Its program is ours: it knows what upstream's does not.
    pub fn is_applink(&self) -> bool {
        self.live
            .body
            .pointer("/spec/template/spec/containers/0/args/0")
            .and_then(Value::as_str)
            == Some(names::ZTUNNEL)
    }

    /// What is waited for while its controller has not observed it as it is. It takes pods from nodes by what it knows of
    /// the set and by what nodes carry now, and learns of either by a watch of its own: what depends on both is written
    /// one after the other.
    pub fn unobserved(&self, reason: Reason) -> Option<Wait> {
        (!health::is_observed(self.live)).then(|| Wait {
            reason,
            object: self.key.to_string(),
            message: "its controller has not observed yet on which nodes it is to run".to_owned(),
        })
    }

    /// The first nodes have proved it.
    pub fn has_passed_canary(&self) -> bool {
        self.live.annotation(names::CANARY_ANNOTATION).is_some()
    }
}

/// A `DaemonSet` of the data plane with this body.
pub(super) fn daemon_set(name: &str, body: Value) -> Manifest {
    Manifest {
        resource: kube::core::ApiResource {
            group: "apps".to_owned(),
            version: "v1".to_owned(),
            api_version: "apps/v1".to_owned(),
            kind: "DaemonSet".to_owned(),
            plural: "daemonsets".to_owned(),
        },
        namespace: Some(names::SYSTEM_NAMESPACE.to_owned()),
        name: name.to_owned(),
        body,
        initial: None,
    }
}

/// Takes out of a `DaemonSet`'s spec what ties it to the label of nodes.
pub(super) fn without_label(spec: &mut Value) {
    let terms = TERMS.trim_start_matches("/spec");
    if let Some(terms) = spec.pointer_mut(terms).and_then(Value::as_array_mut) {
        terms.retain(|one| one["key"] != names::NODE_ZTUNNEL_LABEL);
    }
}

/// What the proxy `DaemonSets` are about.
#[derive(Clone, Debug)]
pub(super) enum Course<'a> {
    /// Nothing runs by default.
    Nothing,
    /// One revision is settled, and no other is there.
    Settled(Proxies<'a>),
    /// Nodes go from the settled revision to the target's, which may not be there yet.
    Forward {
        settled: Proxies<'a>,
        arriving: Option<Proxies<'a>>,
    },
    /// Nodes go back to the settled revision.
    Back {
        settled: Proxies<'a>,
        arriving: Proxies<'a>,
    },
    /// The end was begun: a new revision runs everywhere, the others are still to go.
    Finish {
        winner: Proxies<'a>,
        losers: Vec<Proxies<'a>>,
    },
}

/// Reads the course out of the cluster: nothing is remembered. `target` is the revision wanted; `reverts` says that it is
/// not to be gone to after all.
pub(super) fn course<'a>(facts: &'a Facts, target: &str, reverts: bool) -> Course<'a> {
    let (settled, mut bound): (Vec<Proxies>, Vec<Proxies>) = daemon_sets(facts)
        .filter(|(_, live)| !live.deleting)
        .map(Proxies::of)
        .partition(Proxies::is_default);
    let Some(first) = settled.first().copied() else {
        return Course::Nothing;
    };
    if settled.len() > 1 {
        // The one that others are kept off for is the one that arrived.
        let arrived = settled.iter().position(|one| {
            settled
                .iter()
                .any(|other| other.kept_off().contains(one.revision))
        });
        let winner = arrived
            .or_else(|| settled.iter().position(|one| one.revision == target))
            .unwrap_or_default();
        let mut losers = settled;
        let winner = losers.remove(winner);
        return Course::Finish { winner, losers };
    }
    // What is not wanted leaves first.
    let wanted = bound
        .iter()
        .position(|one| one.revision == target && !reverts && first.revision != target)
        .map(|at| bound.remove(at));
    if let Some(arriving) = bound.first().copied() {
        return Course::Back {
            settled: first,
            arriving,
        };
    }
    if first.revision == target || (reverts && wanted.is_none()) {
        return Course::Settled(first);
    }
    Course::Forward {
        settled: first,
        arriving: wanted,
    }
}

/// Values of the node label in requirements with this operator.
fn values<'a>(live: &'a Live, operator: &str) -> BTreeSet<&'a str> {
    live.body
        .pointer(TERMS)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|one| one["key"] == names::NODE_ZTUNNEL_LABEL && one["operator"] == operator)
        .filter_map(|one| one["values"].as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// The merge patch that keeps a `DaemonSet` off nodes with these revisions; `None` when it has no such list.
pub fn exclusion(live: &Live, revisions: &[String]) -> Option<Value> {
    let mut list: Vec<Value> = live
        .body
        .pointer(TERMS)?
        .as_array()?
        .iter()
        .filter(|one| one["key"] != names::NODE_ZTUNNEL_LABEL)
        .cloned()
        .collect();
    list.push(json!({"key": names::NODE_ZTUNNEL_LABEL, "operator": "NotIn", "values": revisions}));
    Some(json!({
        "metadata": {"resourceVersion": live.resource_version},
        "spec": {"template": {"spec": {"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": list}]}
        }}}}},
    }))
}

/// The merge patch that records that the first nodes have proved a revision.
pub fn canary_patch(live: &Live) -> Value {
    json!({"metadata": {
        "resourceVersion": live.resource_version,
        "annotations": {names::CANARY_ANNOTATION: "Passed"},
    }})
}
