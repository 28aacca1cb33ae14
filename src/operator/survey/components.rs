//! The components of the mesh: what is there, and whether it serves.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::api::v1alpha1::ComponentStatus;
use crate::desired::meta::RELEASE_ANNOTATION;
use crate::facts::{Facts, Live, ObjectKey};
use crate::health::{self, Deployment};
use crate::names;
use crate::plan::{self, NodeRules, Target};
use crate::status::Component;

/// How long a new pod may take before its node counts as not served.
const REPLACED: SignedDuration = SignedDuration::from_secs(60);

/// How long a node may lack a pod before it counts as not served: another one is made in a moment.
const ABSENT: SignedDuration = SignedDuration::from_secs(20);

/// Since when nodes lack a pod of a component, as far as this process has seen.
#[derive(Clone, Debug, Default)]
pub struct Absences {
    known: BTreeMap<(String, String), Timestamp>,
    seen: BTreeMap<(String, String), Timestamp>,
}

impl Absences {
    /// Begins another look; who is not absent in it is forgotten.
    fn look(&mut self) {
        self.known = std::mem::take(&mut self.seen);
    }

    fn is_new(&mut self, component: &str, node: &str, now: Timestamp) -> bool {
        let key = (component.to_owned(), node.to_owned());
        let since = self.known.get(&key).copied().unwrap_or(now);
        self.seen.insert(key, since);
        now.duration_since(since) < ABSENT
    }

    /// When the next of them begins to count, if there is one.
    pub fn next_look(&self, now: Timestamp) -> Option<Timestamp> {
        self.seen
            .values()
            .filter_map(|since| since.checked_add(ABSENT).ok())
            .filter(|at| *at > now)
            .min()
    }
}

/// Components as they are, and whether each does its work.
pub fn components(
    facts: &Facts,
    target: &Target,
    absences: &mut Absences,
    now: Timestamp,
) -> Vec<Component> {
    absences.look();
    let mut all = istiods(facts, target);
    all.extend([
        on_nodes(
            facts,
            target,
            names::CNI_DAEMON_SET,
            ("k8s-app", names::CNI_DAEMON_SET),
            &|pod| pod.template_hash.as_deref() == Some(&target.agent_hash),
            absences,
            now,
        ),
        on_nodes(
            facts,
            target,
            names::ZTUNNEL,
            ("app", names::ZTUNNEL),
            &|pod| {
                pod.labels.get(names::REVISION_LABEL).map(String::as_str)
                    == Some(target.revision.as_str())
            },
            absences,
            now,
        ),
    ]);
    all
}

/// istiod of each release that is there; the target's while there is none.
fn istiods(facts: &Facts, target: &Target) -> Vec<Component> {
    let key = ObjectKey::in_system("Deployment", &target.istiod);
    let mut all: Vec<Component> = facts
        .objects
        .iter()
        .filter(|(key, _)| key.kind == "Deployment" && key.name.starts_with(names::ISTIOD))
        .map(|(key, live)| istiod(facts, key, live))
        .collect();
    if all.is_empty() {
        let version = Some(target.version.to_string());
        all.push(istiod_of(
            facts,
            &key,
            version,
            &Deployment::default(),
            true,
        ));
    }
    all
}

fn istiod(facts: &Facts, key: &ObjectKey, live: &Live) -> Component {
    let metadata = live.body.get("metadata");
    let text = |map: &str, key: &str| Some(metadata?.get(map)?.get(key)?.as_str()?.to_owned());
    let version = text("annotations", RELEASE_ANNOTATION);
    let release = text("labels", names::ISTIO_REVISION_LABEL).unwrap_or_default();
    let is_alone = !facts.objects.keys().any(|other| {
        other.kind == key.kind && other != key && other.name.starts_with(names::ISTIOD)
    });
    // One that no node runs the release of may come or go: the mesh does not need it.
    let is_needed = is_alone || plan::is_used(facts, &release);
    istiod_of(facts, key, version, &Deployment::of(live), is_needed)
}

fn istiod_of(
    facts: &Facts,
    key: &ObjectKey,
    version: Option<String>,
    state: &Deployment,
    is_needed: bool,
) -> Component {
    let count = |number: i64| i32::try_from(number).unwrap_or(i32::MAX);
    let pods = facts.pods_with("app", names::ISTIOD);
    let trouble =
        health::trouble(pods.filter(|pod| pod.name.starts_with(&format!("{}-", key.name))));
    Component {
        status: ComponentStatus {
            name: names::ISTIOD.to_owned(),
            version,
            desired: count(state.desired),
            updated: count(state.updated),
            ready: count(state.ready),
            message: trouble.map(|(pod, text)| format!("{}: {text}", pod.name)),
        },
        serves: state.ready > 0 || !is_needed,
    }
}

fn on_nodes(
    facts: &Facts,
    target: &Target,
    name: &str,
    label: (&'static str, &'static str),
    is_new: &dyn Fn(&crate::facts::Pod) -> bool,
    absences: &mut Absences,
    now: Timestamp,
) -> Component {
    let mut by_node: BTreeMap<&str, Vec<&crate::facts::Pod>> = BTreeMap::new();
    for pod in facts.pods_with(label.0, label.1) {
        by_node.entry(pod.node.as_str()).or_default().push(pod);
    }
    let (mut desired, mut updated, mut ready) = (0, 0, 0);
    let (mut silent, mut aside) = (Vec::new(), Vec::new());
    for node in facts
        .nodes
        .values()
        .filter(|node| target.rules.supports(node))
    {
        desired += 1;
        let pods = by_node
            .get(node.name.as_str())
            .map(Vec::as_slice)
            .unwrap_or_default();
        if pods.iter().any(|pod| is_new(pod) && !pod.deleting) {
            updated += 1;
        }
        if pods.iter().any(|pod| pod.ready) {
            ready += 1;
        } else if let Some(reason) = NodeRules::set_aside(node) {
            aside.push((node.name.as_str(), reason));
        } else if pods.is_empty() {
            if !absences.is_new(name, &node.name, now) {
                silent.push(node.name.as_str());
            }
        } else if !is_replaced(pods, now) {
            silent.push(node.name.as_str());
        }
    }
    let some = |names: Vec<String>| names.into_iter().take(5).collect::<Vec<_>>().join(", ");
    let message = health::trouble(by_node.values().flatten().copied())
        .map(|(pod, text)| format!("{} on node {}: {text}", pod.name, pod.node))
        .or_else(|| {
            let names = silent.iter().map(|&name| name.to_owned()).collect();
            (!silent.is_empty()).then(|| format!("not ready on {}", some(names)))
        })
        .or_else(|| {
            let names = aside
                .iter()
                .map(|(name, reason)| format!("{name} ({reason})"))
                .collect();
            (!aside.is_empty()).then(|| format!("not waited for: {}", some(names)))
        });
    Component {
        status: ComponentStatus {
            name: name.to_owned(),
            version: Some(target.version.to_string()),
            desired,
            updated,
            ready,
            message,
        },
        serves: silent.is_empty(),
    }
}

/// The pod of a node is being replaced: the old one ends, the new one is young and nothing is wrong with it.
fn is_replaced(pods: &[&crate::facts::Pod], now: Timestamp) -> bool {
    let is_young = |pod: &&crate::facts::Pod| {
        pod.trouble.is_none()
            && pod
                .created
                .is_some_and(|created| now.duration_since(created) < REPLACED)
    };
    pods.iter().any(|pod| pod.deleting || is_young(pod))
}

/// When the readiness of a young pod begins to count, if there is one.
pub fn next_look(facts: &Facts, now: Timestamp) -> Option<Timestamp> {
    facts
        .pods
        .values()
        .filter(|pod| !pod.ready && !pod.finished)
        .filter_map(|pod| pod.created?.checked_add(REPLACED).ok())
        .filter(|at| *at > now)
        .min()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::api::v1alpha1::LogLevel;
    use crate::facts::Pod;
    use crate::plan::model::{Model, blueprint};

    #[test]
    fn a_node_that_does_not_answer_is_named_and_makes_no_component_unavailable() {
        let mut model = Model::new(2);
        model.set_ready("node-1", false);
        let proxy = Pod {
            name: "z".to_owned(),
            node: "node-0".to_owned(),
            ready: true,
            labels: BTreeMap::from([("app".to_owned(), names::ZTUNNEL.to_owned())]),
            ..Pod::default()
        };
        model.facts.pods.insert(proxy.name.clone(), proxy.into());
        let target = Target::of(&blueprint(LogLevel::Info, LogLevel::Info)).unwrap();
        let mut absences = Absences::default();
        let mut of = |model: &Model, seconds: i64| {
            let now = model.now + SignedDuration::from_secs(seconds);
            (components(&model.facts, &target, &mut absences, now).pop()).unwrap()
        };
        let proxies = of(&model, 0);
        assert_eq!((proxies.status.desired, proxies.status.ready), (2, 1));
        assert!(proxies.serves);
        assert_eq!(
            proxies.status.message.as_deref(),
            Some("not waited for: node-1 (NodeNotReady)")
        );
        model.set_ready("node-1", true);
        assert!(of(&model, 1).serves, "another pod may be on its way");
        let proxies = of(&model, 30);
        assert!(!proxies.serves);
        assert_eq!(
            proxies.status.message.as_deref(),
            Some("not ready on node-1")
        );
    }

    #[test]
    fn a_node_counts_as_not_served_when_it_has_lacked_a_pod_for_a_while() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut absences = Absences::default();
        for (second, is_new, next) in [(0, true, Some(20)), (19, true, Some(20)), (20, false, None)]
        {
            absences.look();
            assert_eq!(absences.is_new("z", "n", at(second)), is_new, "{second}");
            assert_eq!(absences.next_look(at(second)), next.map(at), "{second}");
        }
        // It was there in between.
        absences.look();
        absences.look();
        assert!(absences.is_new("z", "n", at(60)));
    }
}
