//! What is to run, rendered once for a blueprint and kept while it stays the same.

use k8s_openapi::api::core::v1::ResourceRequirements;
use serde_json::json;

use crate::api::quantity::thousandths;
use crate::blueprint::{Blueprint, Owner, Revision};
use crate::catalogue::Version;
use crate::desired::{self, Manifest, Placement, affinity};
use crate::facts::{Live, Node, ObjectKey, fingerprint};
use crate::names;

/// Annotation with the fingerprint of what was applied: tells that a field was taken out, which a comparison of the
/// fields that are left cannot show.
pub const APPLIED_ANNOTATION: &str = "applink.dev/applied";

/// One object to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Which.
    pub key: ObjectKey,
    /// What is applied.
    pub manifest: Manifest,
    /// Fingerprint of the body.
    pub sent: u64,
}

impl Object {
    /// Marks a manifest with the fingerprint of its body.
    pub fn of(mut manifest: Manifest) -> Self {
        let mark = format!("{:016x}", fingerprint(&manifest.body));
        annotate(&mut manifest, APPLIED_ANNOTATION, &mark);
        Self {
            key: ObjectKey::new(
                &manifest.resource.kind,
                manifest.namespace.as_deref(),
                &manifest.name,
            ),
            sent: fingerprint(&manifest.body),
            manifest,
        }
    }

    /// Hash of the template it was made from, where it has one.
    pub fn template_hash(&self) -> Option<&str> {
        self.manifest.annotation(names::TEMPLATE_HASH_ANNOTATION)
    }
}

fn annotate(manifest: &mut Manifest, key: &str, value: &str) {
    let metadata = manifest.body.get_mut("metadata");
    let Some(metadata) = metadata.and_then(serde_json::Value::as_object_mut) else {
        return;
    };
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(key.to_owned(), json!(value));
    }
}

/// What a pod with these requests needs of a node.
pub(super) fn room(resources: &ResourceRequirements) -> (u64, u64) {
    let amount = |name: &str| {
        resources
            .requests
            .as_ref()
            .and_then(|requests| requests.get(name))
            .map_or(0, |quantity| thousandths(&quantity.0))
    };
    (amount("cpu"), amount("memory") / 1000)
}

/// Which nodes carry the mesh.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeRules {
    /// Labels a node must carry.
    pub selector: Vec<(String, String)>,
    /// Key, value and effect that are tolerated; an empty key with operator Exists tolerates everything.
    pub tolerations: Vec<k8s_openapi::api::core::v1::Toleration>,
}

/// Architectures the images are built for.
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

/// Taints of nodes that are being taken away: they are left alone.
const LEAVING: [&str; 3] = [
    "ToBeDeletedByClusterAutoscaler",
    "karpenter.sh/disrupted",
    "node.kubernetes.io/out-of-service",
];

impl NodeRules {
    /// What a `DaemonSet` of node components goes by in the cluster, whatever the spec says by now.
    pub fn of(live: &Live) -> Option<Self> {
        let field = "/spec/template/spec/tolerations";
        let tolerations = live.body.pointer(field).cloned();
        Some(Self {
            selector: affinity::node_selector(&live.body)?.into_iter().collect(),
            tolerations: tolerations
                .and_then(|list| serde_json::from_value(list).ok())
                .unwrap_or_default(),
        })
    }

    /// The mesh can run there at all.
    pub fn supports(&self, node: &Node) -> bool {
        Self::can_carry(node) && self.lack(node).is_none()
    }

    /// The images run there, and somebody runs them.
    pub fn can_carry(node: &Node) -> bool {
        let label = |key: &str| node.labels.get(key).map(String::as_str);
        node.os == "linux"
            && ARCHITECTURES.contains(&node.arch.as_str())
            && label("type") != Some("virtual-kubelet")
            && label("eks.amazonaws.com/compute-type") != Some("fargate")
    }

    /// Why no pod is placed on a node that could carry one, and what mends it.
    pub fn lack(&self, node: &Node) -> Option<String> {
        let is_missing = |one: &&(String, String)| node.labels.get(&one.0) != Some(&one.1);
        if let Some((key, value)) = self.selector.iter().find(is_missing) {
            return Some(format!(
                "it lacks the label {key}={value} of spec.dataPlane.nodeSelector: label it"
            ));
        }
        let is_refused = |one: &&(String, String, String)| !self.tolerates(&one.0, &one.1, &one.2);
        let (key, value, effect) = node.taints.iter().find(is_refused)?;
        let value = if value.is_empty() {
            String::new()
        } else {
            format!("={value}")
        };
        Some(format!(
            "spec.dataPlane.tolerations has none for its taint {key}{value}:{effect}: add it, or remove the taint"
        ))
    }

    /// Why a supported node is left alone for now; `None` when it is not.
    pub fn set_aside(node: &Node) -> Option<&'static str> {
        if node.deleting
            || node
                .taints
                .iter()
                .any(|(key, ..)| LEAVING.contains(&key.as_str()))
        {
            Some("NodeLeaving")
        } else if node.ready {
            None
        } else {
            Some("NodeNotReady")
        }
    }

    fn tolerates(&self, key: &str, value: &str, effect: &str) -> bool {
        // What a DaemonSet tolerates by itself.
        // Source: kubernetes `pkg/controller/daemon/util`, `AddOrUpdateDaemonPodTolerations`.
        if effect == "PreferNoSchedule"
            || key.starts_with("node.kubernetes.io/")
            || key == names::MOVING_TAINT
        {
            return true;
        }
        self.tolerations.iter().any(|one| {
            let of_effect = one
                .effect
                .as_deref()
                .is_none_or(|own| own.is_empty() || own == effect);
            let of_key = one
                .key
                .as_deref()
                .is_none_or(|own| own.is_empty() || own == key);
            let of_value = one.operator.as_deref() == Some("Exists")
                || one.value.as_deref().unwrap_or_default() == value;
            of_effect && of_key && of_value
        })
    }
}

/// Everything that is to run for one member.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The member.
    pub owner: Owner,
    /// Our version.
    pub version: Version,
    /// The Istio version in it.
    pub istio: Version,
    /// The revision of the node components.
    pub revision: Revision,
    /// What the others stand on.
    pub foundation: Vec<Object>,
    /// istiod and all it needs.
    pub control_plane: Vec<Object>,
    /// The network agent.
    pub agent: Vec<Object>,
    /// The proxy on every node.
    pub proxy: Vec<Object>,
    /// The proxy on nodes that carry its revision only: while another one is settled.
    pub arriving: Vec<Object>,
    /// What pulls the images of proxy and agent on every node.
    pub prepull: Object,
    /// Mesh-wide policy.
    pub policy: Vec<Object>,
    /// Name of istiod's Deployment and Service.
    pub istiod: String,
    /// Name of the proxy's `DaemonSet`.
    pub daemon_set: String,
    /// Template hash of the agent's pods.
    pub agent_hash: String,
    /// Template hash of the proxy's pods.
    pub proxy_hash: String,
    /// Thousandths of a processor and bytes of memory that one more proxy needs on a node.
    pub room: (u64, u64),
    /// Which nodes carry the mesh.
    pub rules: NodeRules,
}

impl Target {
    /// Renders a blueprint.
    ///
    /// # Errors
    /// When an object does not serialise; builders never meet that.
    pub fn of(blueprint: &Blueprint) -> Result<Self, desired::Error> {
        let objects =
            |manifests: Vec<Manifest>| manifests.into_iter().map(Object::of).collect::<Vec<_>>();
        let revision = desired::revision(blueprint)?;
        let agent = desired::agent(blueprint)?;
        let carried = agent
            .iter()
            .find(|manifest| manifest.name == names::CNI_DAEMON_SET)
            .map(|manifest| manifest.body.to_string())
            .unwrap_or_default();
        // Who goes back to this revision finds the agent that belongs to it, whatever the spec says then.
        let with_agent = |mut manifests: Vec<Manifest>| {
            for manifest in &mut manifests {
                if manifest.resource.kind == "DaemonSet" {
                    annotate(manifest, names::AGENT_ANNOTATION, &carried);
                }
            }
            objects(manifests)
        };
        let agent = objects(agent);
        let proxy = with_agent(desired::proxy(blueprint, &Placement::Everywhere)?);
        let hash = |objects: &[Object]| {
            objects
                .iter()
                .filter(|object| object.key.kind == "DaemonSet")
                .find_map(Object::template_hash)
                .unwrap_or_default()
                .to_owned()
        };
        Ok(Self {
            owner: blueprint.owner.clone(),
            version: blueprint.release.version,
            istio: blueprint.release.istio,
            foundation: objects(desired::foundation(blueprint)?),
            control_plane: objects(desired::control_plane(blueprint)?),
            agent_hash: hash(&agent),
            agent,
            proxy_hash: hash(&proxy),
            proxy,
            arriving: with_agent(desired::proxy(
                blueprint,
                &Placement::Only(revision.clone()),
            )?),
            prepull: Object::of(desired::prepull(blueprint)?),
            policy: objects(desired::mesh_policy(blueprint)?),
            istiod: desired::istiod::name(blueprint),
            daemon_set: desired::ztunnel::daemon_set_name(&revision),
            revision,
            room: room(&blueprint.ztunnel.resources),
            rules: NodeRules {
                selector: blueprint
                    .node_selector
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
                tolerations: blueprint.tolerations.clone(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node {
            os: "linux".to_owned(),
            arch: "arm64".to_owned(),
            ready: true,
            ..Node::default()
        }
    }

    fn tainted(key: &str, effect: &str) -> Node {
        Node {
            taints: vec![(key.to_owned(), String::new(), effect.to_owned())],
            ..node()
        }
    }

    fn labelled(key: &str, value: &str) -> Node {
        Node {
            labels: [(key.to_owned(), value.to_owned())].into(),
            ..node()
        }
    }

    #[test]
    fn a_node_that_is_being_taken_away_is_left_alone_and_one_that_is_cordoned_is_not() {
        let deleting = Node {
            deleting: true,
            ..node()
        };
        let cordoned = Node {
            unschedulable: true,
            ..tainted("node.kubernetes.io/unschedulable", "NoSchedule")
        };
        let lost = Node {
            ready: false,
            ..node()
        };
        let table = [
            (node(), None),
            (cordoned, None),
            (tainted("dedicated", "NoSchedule"), None),
            (lost, Some("NodeNotReady")),
            (deleting, Some("NodeLeaving")),
            (
                tainted("ToBeDeletedByClusterAutoscaler", "NoSchedule"),
                Some("NodeLeaving"),
            ),
            (
                tainted("karpenter.sh/disrupted", "NoSchedule"),
                Some("NodeLeaving"),
            ),
            (
                tainted("node.kubernetes.io/out-of-service", "NoExecute"),
                Some("NodeLeaving"),
            ),
        ];
        for (node, why) in table {
            assert_eq!(NodeRules::set_aside(&node), why, "{:?}", node.taints);
        }
    }

    #[test]
    fn nodes_that_no_pod_of_the_mesh_can_run_on_are_not_supported() {
        let rules = NodeRules {
            selector: vec![("pool".to_owned(), "mesh".to_owned())],
            tolerations: vec![k8s_openapi::api::core::v1::Toleration {
                key: Some("mine".to_owned()),
                operator: Some("Exists".to_owned()),
                ..Default::default()
            }],
        };
        let in_pool = |mut node: Node| {
            node.labels.insert("pool".to_owned(), "mesh".to_owned());
            node
        };
        let of = |os: &str, arch: &str| Node {
            os: os.to_owned(),
            arch: arch.to_owned(),
            ..node()
        };
        let table = [
            (in_pool(node()), true),
            (node(), false),
            (in_pool(of("linux", "amd64")), true),
            (in_pool(of("windows", "amd64")), false),
            (in_pool(of("linux", "riscv64")), false),
            (in_pool(labelled("type", "virtual-kubelet")), false),
            (
                in_pool(labelled("eks.amazonaws.com/compute-type", "fargate")),
                false,
            ),
            (in_pool(tainted("mine", "NoExecute")), true),
            (in_pool(tainted("other", "NoSchedule")), false),
            (in_pool(tainted("other", "PreferNoSchedule")), true),
            (in_pool(tainted(names::MOVING_TAINT, "NoSchedule")), true),
        ];
        for (node, is_supported) in table {
            assert_eq!(rules.supports(&node), is_supported, "{node:?}");
        }
    }
}
