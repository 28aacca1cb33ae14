//! What watches told, and what did not hold meanwhile. Pure: objects in, findings out.
//!
//! Each finding comes from one watch: the server tells the changes of one kind in order, those of two kinds not.

use std::collections::{BTreeMap, BTreeSet};

use applink::names;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;

/// How the label of a node ends that carries both proxies.
const MOVING: &str = ".moving";

/// One pod of the data plane, by what was seen of it.
#[derive(Clone, Debug)]
pub struct Life {
    /// The node it is on.
    pub node: String,
    /// A proxy, or else a network agent.
    pub is_proxy: bool,
    /// How often its containers were started again.
    pub restarts: i32,
    /// When it was seen to be told to end.
    pub leaving: Option<Timestamp>,
    /// When it was seen to be gone.
    pub gone: Option<Timestamp>,
    /// It runs and has been ready since it was started.
    serves: bool,
    /// It was told of since the list that is being made began.
    is_listed: bool,
}

/// What was seen of a node.
#[derive(Clone, Debug, Default)]
pub struct Way {
    /// Every value of its label, in order; absent is empty.
    pub labels: Vec<String>,
    /// How often it was tainted.
    pub tainted: usize,
    /// It carries the taint.
    pub is_tainted: bool,
    /// Changes may have been missed since the last look.
    is_uncertain: bool,
}

impl Way {
    /// Something was done to it.
    pub fn is_touched(&self) -> bool {
        self.labels.len() > 1 || self.tainted > 0
    }

    /// It carries no mark of a rollout.
    pub fn is_clean(&self) -> bool {
        !self.is_tainted && self.labels.last().is_none_or(String::is_empty)
    }

    /// It is on its way from one proxy to the other.
    pub fn is_moving(&self) -> bool {
        self.is_tainted
            || self
                .labels
                .last()
                .is_some_and(|last| last.ends_with(MOVING))
    }
}

/// Everything that was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Nodes by name.
    pub ways: BTreeMap<String, Way>,
    /// Pods by uid.
    pub lives: BTreeMap<String, Life>,
    /// The most nodes that were on their way at once.
    pub most_moving: usize,
    /// The most nodes that lacked a component at once.
    pub most_lacking: usize,
    /// Nodes that were without a proxy, which in a rollout that goes well none ever is.
    pub silent: BTreeSet<String>,
    /// What must never be and was, each once.
    pub broken: BTreeSet<String>,
    /// Nodes that have had both components.
    whole: BTreeSet<String>,
    excused: BTreeSet<String>,
    lists: usize,
}

impl Seen {
    /// Every proxy there was.
    pub fn proxies(&self) -> impl Iterator<Item = &Life> {
        self.lives.values().filter(|life| life.is_proxy)
    }

    /// What ended on a node: agents or proxies.
    pub fn ended(&self, node: &str, proxies: bool) -> usize {
        (self.lives.values())
            .filter(|life| life.node == node && life.is_proxy == proxies && life.gone.is_some())
            .count()
    }

    /// What was lost on nodes that nothing was to be done to, one line each.
    pub fn disturbed(&self) -> Vec<String> {
        let untouched = self.ways.iter().filter(|(_, way)| !way.is_touched());
        let lost = untouched.filter_map(|(node, _)| {
            let lost = [false, true].map(|proxies| self.ended(node, proxies));
            (lost != [0, 0]).then(|| {
                let [agents, proxies] = lost;
                format!("{node} lost {agents} agents and {proxies} proxies without a mark")
            })
        });
        lost.collect()
    }

    /// Lists that were completed.
    pub(super) fn lists(&self) -> usize {
        self.lists
    }

    pub(super) fn excuse(&mut self, node: &str) {
        self.excused.insert(node.to_owned());
    }

    pub(super) fn is_excused(&self, node: &str) -> bool {
        self.excused.contains(node)
    }

    pub(super) fn pods_are_listed(&mut self) {
        for life in self.lives.values_mut() {
            life.is_listed = false;
        }
    }

    pub(super) fn pods_were_listed(&mut self) {
        self.lists += 1;
        let now = Timestamp::now();
        for life in self.lives.values_mut().filter(|life| !life.is_listed) {
            life.leaving.get_or_insert(now);
            life.gone.get_or_insert(now);
        }
        self.weigh();
    }

    pub(super) fn nodes_are_listed(&mut self) {
        for way in self.ways.values_mut() {
            way.is_uncertain = true;
        }
    }

    pub(super) fn nodes_were_listed(&mut self) {
        self.lists += 1;
    }

    pub(super) fn put(&mut self, pod: &Pod) {
        let labels = pod.labels();
        let is_proxy = labels.get("app").is_some_and(|app| app == names::ZTUNNEL);
        let is_agent = (labels.get("k8s-app")).is_some_and(|app| app == names::CNI_DAEMON_SET);
        let (Some(node), Some(uid), true) = (
            pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            pod.uid(),
            is_proxy || is_agent,
        ) else {
            return;
        };
        let life = self.lives.entry(uid).or_insert_with(|| Life {
            node,
            is_proxy,
            restarts: 0,
            leaving: None,
            gone: None,
            serves: false,
            is_listed: true,
        });
        life.is_listed = true;
        let containers: Vec<_> = (pod.status.iter())
            .flat_map(|one| one.container_statuses.iter().flatten())
            .collect();
        let restarts = containers.iter().map(|one| one.restart_count).sum();
        let runs = !containers.is_empty()
            && (containers.iter()).all(|one| {
                let state = one.state.as_ref();
                state.is_some_and(|state| state.running.is_some())
            });
        let is_ready = containers.iter().all(|one| one.ready);
        // A probe that comes late on a busy machine is no loss: what was ready and runs, serves.
        let served = life.serves && life.restarts == restarts;
        life.serves = runs && (is_ready || served);
        life.restarts = restarts;
        if pod.metadata.deletion_timestamp.is_some() {
            life.leaving.get_or_insert_with(Timestamp::now);
        }
        self.weigh();
    }

    pub(super) fn end(&mut self, pod: &Pod) {
        self.put(pod);
        if let Some(life) = pod.uid().and_then(|uid| self.lives.get_mut(&uid)) {
            let now = Timestamp::now();
            life.leaving.get_or_insert(now);
            life.gone = Some(now);
        }
        self.weigh();
    }

    pub(super) fn look(&mut self, node: &Node) {
        let name = node.name_any();
        let way = self.ways.entry(name.clone()).or_default();
        let label = node.labels().get(names::NODE_ZTUNNEL_LABEL).cloned();
        let label = label.unwrap_or_default();
        match way.labels.last() {
            Some(last) if *last == label => {}
            Some(last) if !way.is_uncertain && !is_step(last, &label) => {
                let jump = format!("{name} went from label {last:?} to {label:?}");
                self.broken.insert(jump);
                way.labels.push(label);
            }
            _ => way.labels.push(label),
        }
        way.is_uncertain = false;
        let spec = node.spec.as_ref();
        let taints = spec.and_then(|spec| spec.taints.as_deref());
        let is_tainted =
            taints.is_some_and(|all| all.iter().any(|one| one.key == names::MOVING_TAINT));
        if is_tainted && !way.is_tainted {
            way.tainted += 1;
        }
        way.is_tainted = is_tainted;
        let moving = (self.ways.iter())
            .filter(|(name, way)| way.is_moving() && !self.excused.contains(*name))
            .count();
        self.most_moving = self.most_moving.max(moving);
    }

    /// Who lacks what now.
    fn weigh(&mut self) {
        let mut serving: BTreeMap<&str, [bool; 2]> = BTreeMap::new();
        for life in self.lives.values() {
            let of = serving.entry(&life.node).or_default();
            of[usize::from(life.is_proxy)] |= life.serves && life.leaving.is_none();
        }
        let mut lacking = 0;
        for (node, serving) in serving {
            if self.excused.contains(node) {
                continue;
            }
            if serving == [true; 2] {
                self.whole.insert(node.to_owned());
                continue;
            }
            if !self.whole.contains(node) {
                continue;
            }
            lacking += 1;
            if !serving[1] {
                self.silent.insert(node.to_owned());
            }
            if serving == [false; 2] {
                let both = format!("{node} was without its agent and its proxy at once");
                self.broken.insert(both);
            }
        }
        self.most_lacking = self.most_lacking.max(lacking);
    }
}

/// One patch of a node's label takes it one place further, or back: never past the place where it has both proxies. The
/// label of a node that has arrived goes when the arriving revision becomes the one for all.
fn is_step(from: &str, to: &str) -> bool {
    match (from.strip_suffix(MOVING), to.strip_suffix(MOVING)) {
        (None, Some(revision)) => from.is_empty() || from == revision,
        (Some(revision), None) => to.is_empty() || to == revision,
        (None, None) => to.is_empty(),
        (Some(_), Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(of: &str, node: &str, status: &str) -> Pod {
        let labels = if of.starts_with("agent") {
            json!({"k8s-app": "istio-cni-node"})
        } else {
            json!({"app": "ztunnel"})
        };
        let ends = (status == "ends").then_some("2026-01-01T00:00:00Z");
        let state = if status == "crashed" {
            json!({"waiting": {"reason": "CrashLoopBackOff"}})
        } else {
            json!({"running": {}})
        };
        serde_json::from_value(json!({
            "metadata": {"name": of, "uid": format!("{of}-{node}"), "labels": labels, "deletionTimestamp": ends},
            "spec": {"nodeName": node, "containers": []},
            "status": {"containerStatuses": [{
                "name": "c", "image": "", "imageID": "", "ready": status == "ready", "restartCount": i32::from(status == "crashed"),
                "state": state,
            }]},
        }))
        .unwrap()
    }

    fn node(name: &str, label: &str, taints: &Value) -> Node {
        let mut labels = json!({});
        if !label.is_empty() {
            labels["applink.dev/ztunnel"] = json!(label);
        }
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": labels}, "spec": {"taints": taints},
        }))
        .unwrap()
    }

    fn two_nodes() -> Seen {
        let mut seen = Seen::default();
        for node in ["a", "b"] {
            seen.put(&pod("agent", node, "ready"));
            seen.put(&pod("proxy", node, "ready"));
        }
        seen
    }

    #[test]
    fn a_node_that_lacks_both_components_is_told_and_one_that_lacks_one_is_counted() {
        let mut seen = two_nodes();
        seen.put(&pod("agent", "a", "running"));
        assert_eq!(seen.most_lacking, 0, "a late probe is no loss");
        seen.put(&pod("agent", "a", "ends"));
        seen.put(&pod("proxy-2", "a", "running"));
        seen.put(&pod("proxy", "b", "crashed"));
        assert_eq!((seen.most_lacking, seen.broken.len()), (2, 0));
        assert_eq!(seen.silent, BTreeSet::from(["b".to_owned()]));
        seen.end(&pod("proxy", "a", "ends"));
        assert_eq!(seen.broken.len(), 1, "the other proxy was never ready");

        let mut seen = two_nodes();
        seen.put(&pod("proxy-2", "a", "ready"));
        seen.put(&pod("proxy", "a", "ends"));
        seen.put(&pod("agent", "a", "ends"));
        assert_eq!((seen.most_lacking, seen.broken.len()), (1, 0));
        seen.excuse("a");
        seen.put(&pod("proxy-2", "a", "crashed"));
        assert_eq!((seen.most_lacking, seen.broken.len()), (1, 0));
    }

    #[test]
    fn what_ends_on_a_node_without_a_mark_is_told() {
        let mut seen = two_nodes();
        let taint = json!([{"key": "applink.dev/moving", "effect": "NoSchedule"}]);
        seen.look(&node("a", "", &taint));
        seen.look(&node("b", "", &json!([])));
        seen.end(&pod("agent", "a", "ends"));
        assert_eq!(seen.disturbed(), [""; 0]);
        seen.end(&pod("agent", "b", "ends"));
        assert_eq!(seen.disturbed().len(), 1, "{seen:?}");
    }

    #[test]
    fn pods_that_a_new_list_lacks_are_gone() {
        let mut seen = two_nodes();
        seen.pods_are_listed();
        for (of, node) in [("agent", "a"), ("agent", "b"), ("proxy", "b")] {
            seen.put(&pod(of, node, "ready"));
        }
        seen.pods_were_listed();
        assert_eq!((seen.ended("a", true), seen.ended("b", true)), (1, 0));
        assert_eq!(seen.most_lacking, 1);
    }

    #[test]
    fn a_label_goes_one_place_at_a_time() {
        let rows = [
            ("", "r.moving", true),
            ("r.moving", "r", true),
            ("r", "", true),
            ("r", "r.moving", true),
            ("r.moving", "", true),
            ("", "r", false),
            ("r.moving", "s", false),
            ("r.moving", "s.moving", false),
            ("r", "s", false),
            ("r", "s.moving", false),
        ];
        for (from, to, expected) in rows {
            let mut seen = Seen::default();
            seen.look(&node("a", from, &json!([])));
            seen.look(&node("a", to, &json!([])));
            assert_eq!(seen.broken.is_empty(), expected, "{from:?} to {to:?}");
            assert!(seen.ways["a"].is_touched());
        }
        let mut seen = Seen::default();
        seen.look(&node("a", "", &json!([])));
        seen.nodes_are_listed();
        seen.look(&node("a", "r", &json!([])));
        assert!(seen.broken.is_empty(), "what was between may be missed");
    }

    #[test]
    fn nodes_on_their_way_are_counted_by_label_and_by_taint() {
        let taint = json!([{"key": "applink.dev/moving", "effect": "NoSchedule"}]);
        let mut seen = Seen::default();
        seen.look(&node("a", "", &taint));
        seen.look(&node("b", "r.moving", &json!([])));
        seen.look(&node("c", "r", &json!([])));
        assert_eq!((seen.most_moving, seen.ways["a"].tainted), (2, 1));
    }
}
