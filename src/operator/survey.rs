//! Facts in the form in which checks, platform detection and status want them. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::v1alpha1::{
    CertificateStatus, ComponentStatus, MAX_MEMBERSHIP_NAMES, MembershipStatus, MeshMember,
};
use crate::blueprint::IpFamilies;
use crate::facts::{Facts, Membership, ObjectKey};
use crate::health::{self, Deployment};
use crate::names;
use crate::plan::{NodeRules, Target};
use crate::platform;
use crate::preflight::{
    Cilium, Cluster, Crd, Injector, Node, Quota, Right, Rival, Taint, Workload,
};
use crate::status::Component;
use crate::trust::Certificate;

/// Nodes that platform detection looks at: a few are enough.
const SAMPLE: usize = 8;

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

/// What the checks before the first act look at.
pub fn cluster(facts: &Facts, membership: &Membership, rivals: Vec<Rival>) -> Cluster {
    let workloads = |kind: &str| {
        facts
            .others
            .iter()
            .filter(|other| other.kind == kind)
            .map(|other| Workload {
                namespace: other.namespace.clone(),
                name: other.name.clone(),
                is_ours: other.is_ours,
            })
            .collect()
    };
    Cluster {
        server_version: facts.server_version.clone(),
        uid: facts.cluster_uid.clone(),
        nodes: facts.nodes.values().map(|node| checked(node)).collect(),
        daemon_sets: workloads("DaemonSet"),
        control_planes: workloads("Deployment"),
        injectors: facts
            .others
            .iter()
            .filter(|other| other.kind == "MutatingWebhookConfiguration")
            .map(|other| Injector {
                name: other.name.clone(),
                is_ours: other.is_ours,
            })
            .collect(),
        sidecar_namespaces: facts
            .namespaces
            .iter()
            .filter(|(_, namespace)| namespace.wants_sidecars())
            .map(|(name, _)| name.clone())
            .collect(),
        crds: facts
            .definitions
            .iter()
            .map(|(name, definition)| {
                let ours = definition
                    .labels
                    .get(names::MANAGED_BY_LABEL)
                    .is_some_and(|by| by == names::MANAGED_BY);
                let owner = definition
                    .labels
                    .get(names::MANAGED_BY_LABEL)
                    .or(definition.manager.as_ref())
                    .cloned()
                    .unwrap_or_else(|| "somebody else".to_owned());
                Crd {
                    name: name.clone(),
                    owner: (!ours).then_some(owner),
                    bundle_version: definition
                        .annotations
                        .get(names::GATEWAY_API_BUNDLE_ANNOTATION)
                        .cloned(),
                    channel: definition
                        .annotations
                        .get(names::GATEWAY_API_CHANNEL_ANNOTATION)
                        .cloned(),
                }
            })
            .collect(),
        system_labels: facts
            .namespaces
            .get(names::SYSTEM_NAMESPACE)
            .map(|namespace| namespace.labels.clone()),
        quotas: facts
            .quotas
            .iter()
            .map(|quota| Quota {
                name: quota.name.clone(),
                hard: quota.hard,
                used: quota.used,
            })
            .collect(),
        enrolled_namespaces: membership.namespaces.clone(),
        network_policies: facts
            .policies
            .iter()
            .filter(|policy| {
                policy
                    .metadata
                    .namespace
                    .as_ref()
                    .is_some_and(|namespace| membership.namespaces.contains(namespace))
            })
            .map(|policy| policy.as_ref().clone())
            .collect(),
        rivals,
        missing_rights: facts
            .denied
            .iter()
            .map(|denied| Right {
                verb: denied.verb.to_owned(),
                resource: denied.resource.clone(),
                namespace: denied.namespace.clone(),
            })
            .collect(),
        pull_secrets: facts.pull_secrets.clone(),
        cilium: facts.cilium.as_ref().map(cilium),
    }
}

/// Cilium as its `ConfigMap` sets it up: its chart writes every one of these keys.
fn cilium(data: &BTreeMap<String, String>) -> Cilium {
    let is = |key: &str, value: &str| data.get(key).is_some_and(|text| text == value);
    Cilium {
        exclusive: is("cni-exclusive", "true"),
        bpf_masquerade: is("enable-bpf-masquerade", "true"),
        socket_lb: (is("kube-proxy-replacement", "true")
            || is("kube-proxy-replacement", "strict")
            || is("bpf-lb-sock", "true"))
            && !is("bpf-lb-sock-hostns-only", "true"),
    }
}

fn checked(node: &crate::facts::Node) -> Node {
    let label = |key: &str| node.labels.get(key).map(String::as_str);
    Node {
        name: node.name.clone(),
        os: node.os.clone(),
        arch: node.arch.clone(),
        labels: node.labels.clone(),
        ready: node.ready,
        unschedulable: node.unschedulable,
        taints: node
            .taints
            .iter()
            .map(|(key, value, effect)| Taint {
                key: key.clone(),
                value: value.clone(),
                effect: effect.clone(),
            })
            .collect(),
        kubelet_version: node.kubelet_version.clone(),
        is_virtual: label("type") == Some("virtual-kubelet")
            || label("eks.amazonaws.com/compute-type") == Some("fargate"),
    }
}

/// What platforms are told apart by.
pub fn evidence(facts: &Facts) -> platform::Evidence {
    platform::Evidence {
        git_version: facts.server_version.clone(),
        api_groups: facts.api_groups.clone(),
        nodes: facts
            .nodes
            .values()
            .take(SAMPLE)
            .map(|node| platform::NodeEvidence {
                name: node.name.clone(),
                provider_id: node.provider_id.clone(),
                os_image: node.os_image.clone(),
                labels: node.labels.clone(),
                annotations: node.annotations.clone(),
            })
            .collect(),
    }
}

/// Address families of pods.
pub fn families(facts: &Facts) -> IpFamilies {
    IpFamilies::of(
        facts
            .nodes
            .values()
            .flat_map(|node| node.pod_cidrs.iter().map(String::as_str)),
    )
}

/// Members that stand for the same cluster: this version knows the local one only, so all others.
pub fn rivals<'a>(
    member: &MeshMember,
    members: impl Iterator<Item = &'a MeshMember>,
) -> Vec<Rival> {
    members
        .filter(|other| other.metadata.uid != member.metadata.uid)
        .filter_map(|other| {
            Some(Rival {
                name: other.metadata.name.clone()?,
                created: other.metadata.creation_timestamp.as_ref()?.0,
            })
        })
        .collect()
}

/// Components as they are, and whether each does its work.
pub fn components(
    facts: &Facts,
    target: &Target,
    absences: &mut Absences,
    now: Timestamp,
) -> Vec<Component> {
    absences.look();
    vec![
        istiod(facts, target),
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
    ]
}

fn istiod(facts: &Facts, target: &Target) -> Component {
    let key = ObjectKey::in_system("Deployment", &target.istiod);
    let state = facts.object(&key).map(Deployment::of).unwrap_or_default();
    let count = |number: i64| i32::try_from(number).unwrap_or(i32::MAX);
    let trouble = health::trouble(facts.pods_with("app", names::ISTIOD));
    Component {
        status: ComponentStatus {
            name: names::ISTIOD.to_owned(),
            version: Some(target.version.to_string()),
            desired: count(state.desired),
            updated: count(state.updated),
            ready: count(state.ready),
            message: trouble.map(|(pod, text)| format!("{}: {text}", pod.name)),
        },
        serves: state.ready > 0,
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

/// Who is in the mesh, for status.
pub fn membership(found: &Membership) -> MembershipStatus {
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let first = |names: &[String]| {
        names
            .iter()
            .take(MAX_MEMBERSHIP_NAMES)
            .cloned()
            .collect::<Vec<_>>()
    };
    MembershipStatus {
        namespaces: count(found.namespaces.len()),
        enrolled: count(found.enrolled),
        meshed: count(found.meshed),
        enrolled_names: first(&found.namespaces),
        broken: first(&found.broken),
    }
}

/// Fingerprint of what may make an act possible that was refused: our objects, definitions, the namespace's labels,
/// quotas and rights.
pub fn fingerprint(facts: &Facts) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for (key, live) in &facts.objects {
        (key, live.digest, live.deleting).hash(&mut hasher);
    }
    for (name, definition) in &facts.definitions {
        (name, definition.generation, definition.established).hash(&mut hasher);
    }
    if let Some(namespace) = facts.namespaces.get(names::SYSTEM_NAMESPACE) {
        (&namespace.labels, namespace.deleting).hash(&mut hasher);
    }
    for quota in &facts.quotas {
        (&quota.name, quota.hard, quota.used).hash(&mut hasher);
    }
    for denied in &facts.denied {
        (denied.verb, &denied.resource, &denied.namespace).hash(&mut hasher);
    }
    hasher.finish()
}

/// A certificate, for status.
pub fn certificate(what: &str, certificate: &Certificate) -> CertificateStatus {
    CertificateStatus {
        what: what.to_owned(),
        fingerprint: certificate.fingerprint.as_str().to_owned(),
        not_after: Some(Time(certificate.not_after)),
    }
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
