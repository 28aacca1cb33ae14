//! What was observed, as plain data: the input of every decision.
//!
//! Filled by the shell from watches; every list is bounded by what the cluster holds, and nothing is kept of an object
//! that no decision reads. Imports nothing but `names`.

mod connections;
mod credentials;
mod gaps;
mod gateway;
mod membership;
mod signal;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::Value;

pub use connections::Connections;
pub use credentials::{CREDENTIALS_KEY, CREDENTIALS_TYPE, Credentials, merged};
pub use gaps::Gaps;
pub use gateway::{GatewayFact, GatewayPod};
pub use membership::{
    GRACE, Membership, Mode, NamespaceFact, PodMeta, Replicas, membership, replicas,
};
pub use signal::{Answer, Answers, Evidence, ProbePod, Question, Tally};

use crate::names;

/// Identity of an object in the cluster: what it is, where, and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Kind.
    pub kind: String,
    /// Namespace; none for cluster-scoped objects.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// A key of these parts.
    pub fn new(kind: &str, namespace: Option<&str>, name: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    /// A key in the data plane's namespace.
    pub fn in_system(kind: &str, name: &str) -> Self {
        Self::new(kind, Some(names::SYSTEM_NAMESPACE), name)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// One object of ours as it is in the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// Its uid.
    pub uid: String,
    /// The version a write may be made conditional on.
    pub resource_version: String,
    /// Counts changes of its spec.
    pub generation: i64,
    /// It is being deleted.
    pub deleting: bool,
    /// The whole object without managed fields.
    pub body: Value,
    /// Fingerprint of everything but status and resource version.
    pub digest: u64,
}

impl Live {
    /// Value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.body.get("metadata")?.get("labels")?.get(key)?.as_str()
    }

    /// Value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.body
            .get("metadata")?
            .get("annotations")?
            .get(key)?
            .as_str()
    }
}

/// What was applied last and what the API server made of it: a second apply would change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Fingerprint of what was sent.
    pub sent: u64,
    /// [`Live::digest`] of what was answered.
    pub digest: u64,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its uid: a node made anew under its name is another one.
    pub uid: String,
    /// The version a write may be made conditional on.
    pub resource_version: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations that tell platforms apart, and the one of ours; the others are not kept.
    pub annotations: BTreeMap<String, String>,
    /// Key, value and effect of each taint.
    pub taints: Vec<(String, String, String)>,
    /// When this program changed its label or its taints last.
    pub marked: Option<Timestamp>,
    /// Condition Ready is True.
    pub ready: bool,
    /// Cordoned.
    pub unschedulable: bool,
    /// It is being deleted.
    pub deleting: bool,
    /// The kubelet's version.
    pub kubelet_version: String,
    /// `linux`, `windows`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub arch: String,
    /// Text of the distribution.
    pub os_image: String,
    /// `spec.providerID`.
    pub provider_id: String,
    /// Ranges of pod addresses.
    pub pod_cidrs: Vec<String>,
}

impl Node {
    /// It has all of these labels.
    pub fn has(&self, labels: &BTreeMap<String, String>) -> bool {
        labels
            .iter()
            .all(|(key, value)| self.labels.get(key) == Some(value))
    }

    /// It carries our taint.
    pub fn is_moving(&self) -> bool {
        self.taints
            .iter()
            .any(|(key, ..)| key == names::MOVING_TAINT)
    }
}

/// A pod of the data plane's namespace.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is told on its own, and any of them may hold with any other"
)]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The node it runs on; empty while unscheduled.
    pub node: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Hash of the template it was made from.
    pub template_hash: Option<String>,
    /// Condition Ready is True.
    pub ready: bool,
    /// Since when condition Ready has the value it has.
    pub ready_since: Option<Timestamp>,
    /// It is being deleted.
    pub deleting: bool,
    /// It has ended.
    pub finished: bool,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// What keeps it from running: the reason and message of a waiting container, or of scheduling.
    pub trouble: Option<Trouble>,
    /// How often its containers were started again.
    pub restarts: i32,
    /// The image of every container is on the node.
    pub pulled: bool,
    /// Its address: it has one as soon as it has its sandbox.
    pub address: Option<String>,
}

impl Pod {
    /// It is ready, and stays.
    pub fn runs(&self) -> bool {
        self.ready && !self.deleting
    }

    /// What tells one run of its containers from the next: an answer of the one says nothing about the other.
    pub fn incarnation(&self) -> String {
        format!("{}:{}", self.uid, self.restarts)
    }
}

/// What keeps a pod from running.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// `ImagePullBackOff`, `CrashLoopBackOff`, `Unschedulable`, `CreateContainerConfigError`.
    pub reason: String,
    /// The kubelet's or scheduler's words.
    pub message: String,
    /// The image, when it is about one.
    pub image: Option<String>,
}

impl Trouble {
    /// The image cannot be had.
    pub fn is_image(&self) -> bool {
        matches!(
            self.reason.as_str(),
            "ErrImagePull"
                | "ImagePullBackOff"
                | "InvalidImageName"
                | "ErrImageNeverPull"
                | "RegistryUnavailable"
        )
    }
}

/// A definition in the cluster: everything but its schemas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// It is being deleted.
    pub deleting: bool,
    /// The API server serves it.
    pub established: bool,
    /// The API server has accepted its names at that time, and does not serve it yet.
    pub accepted: Option<Timestamp>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Who wrote it first, by field manager.
    pub manager: Option<String>,
    /// Versions that are served.
    pub served: Vec<String>,
    /// Versions that objects are stored in.
    pub stored: Vec<String>,
    /// Counts changes of its spec.
    pub generation: i64,
}

/// A workload that may be somebody else's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Other {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// It carries our member label.
    pub is_ours: bool,
}

/// A quota on pods in the data plane's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Its name.
    pub name: String,
    /// How many pods it allows.
    pub hard: i64,
    /// How many it counts.
    pub used: i64,
}

/// A watch the API server refuses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denied {
    /// The verb.
    pub verb: String,
    /// The resource with its group: `daemonsets.apps`.
    pub resource: String,
    /// The namespace; empty for the whole cluster.
    pub namespace: String,
}

/// Everything a decision about one cluster reads.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// `gitVersion` of the API server.
    pub server_version: String,
    /// API groups that are served.
    pub api_groups: Vec<String>,
    /// The uid of namespace `kube-system`.
    pub cluster_uid: String,
    /// Our own objects.
    pub objects: BTreeMap<ObjectKey, Arc<Live>>,
    /// What was applied last, and what the API server made of it.
    pub accepted: BTreeMap<ObjectKey, Accepted>,
    /// Definitions of Istio and the Gateway API.
    pub definitions: BTreeMap<String, Arc<Definition>>,
    /// Nodes by name.
    pub nodes: BTreeMap<String, Arc<Node>>,
    /// Pods of the data plane's namespace by name.
    pub pods: BTreeMap<String, Arc<Pod>>,
    /// Pods that a marked node asks for and that are not there.
    pub gaps: Gaps,
    /// Templates that pods of node components were made from, without affinity, by the name of the controller's revision.
    pub templates: BTreeMap<String, Arc<Value>>,
    /// Pods of the operator's own probe by name.
    pub probes: BTreeMap<String, Arc<Pod>>,
    /// Pods of the probe that the API server does not take, by name, and why.
    pub refused_probes: BTreeMap<String, String>,
    /// Namespaces by name.
    pub namespaces: BTreeMap<String, Arc<NamespaceFact>>,
    /// Running pods with an own network namespace, by namespace and name.
    pub workloads: BTreeMap<(String, String), Arc<PodMeta>>,
    /// Gateways by namespace and name.
    pub gateways: BTreeMap<(String, String), Arc<GatewayFact>>,
    /// Kinds of what runs that nobody has seen yet, not even that there are none.
    pub unlisted: BTreeSet<&'static str>,
    /// Gateways are served, and nobody has seen which there are.
    pub gateways_unseen: bool,
    /// `DaemonSets`, `Deployments` and webhooks that look like a mesh, ours and others'.
    pub others: BTreeSet<Other>,
    /// `istio-ca-root-cert` of the data plane's namespace exists.
    pub root_config_map: bool,
    /// Quotas on pods in the data plane's namespace.
    pub quotas: Vec<Quota>,
    /// Network policies.
    pub policies: Vec<Arc<NetworkPolicy>>,
    /// Settings of Cilium that the mesh depends on, when that is the cluster's network.
    pub cilium: Option<BTreeMap<String, String>>,
    /// Deployments of the data plane's namespace that an autoscaler targets, and the least replicas it keeps.
    pub autoscaled: BTreeMap<String, i32>,
    /// Pull secrets in the operator's namespace, and what is wrong with each that cannot be used.
    pub pull_secrets: BTreeMap<String, Option<String>>,
    /// What the API server refuses us.
    pub denied: BTreeSet<Denied>,
    /// What components answered when asked.
    pub answers: Answers,
    /// Names of objects that istiod made at run time and that are still there.
    pub leftovers: Vec<ObjectKey>,
}

impl Facts {
    /// An object of ours.
    pub fn object(&self, key: &ObjectKey) -> Option<&Live> {
        self.objects.get(key).map(Arc::as_ref)
    }

    /// The node of a pod is there and Ready, or not known yet: otherwise nobody would tell that the pod starts or ends.
    pub fn answers(&self, pod: &Pod) -> bool {
        pod.node.is_empty() || self.nodes.get(&pod.node).is_some_and(|node| node.ready)
    }

    /// Pods with this label value, that are no ended ones.
    pub fn pods_with<'a>(
        &'a self,
        label: &'a str,
        value: &'a str,
    ) -> impl Iterator<Item = &'a Pod> + 'a {
        self.pods
            .values()
            .map(Arc::as_ref)
            .filter(move |pod| !pod.finished)
            .filter(move |pod| pod.labels.get(label).map(String::as_str) == Some(value))
    }

    /// Who names this revision of the control plane by a label that is not ours: namespaces, Gateways, then pods, sorted.
    pub fn users_of(&self, revision: &str) -> Vec<String> {
        let namespaces = self.namespaces.iter().filter(|(_, namespace)| {
            namespace
                .labels
                .get(names::ISTIO_REVISION_LABEL)
                .is_some_and(|named| named == revision)
        });
        let pods = self.workloads.iter().filter(|((namespace, _), pod)| {
            // istiod's own pods carry it, too.
            namespace != names::SYSTEM_NAMESPACE && pod.revision.as_deref() == Some(revision)
        });
        let gateways = self.gateways.iter().filter(|(_, gateway)| {
            !gateway.is_pinned() && gateway.revision.as_deref() == Some(revision)
        });
        namespaces
            .map(|(name, _)| format!("Namespace {name}"))
            .chain(gateways.map(|((namespace, name), _)| format!("Gateway {namespace}/{name}")))
            .chain(pods.map(|((namespace, name), _)| format!("Pod {namespace}/{name}")))
            .collect()
    }

    /// Every `DaemonSet` of ours with this label value, those that are being deleted included.
    pub fn daemon_sets_with<'a>(
        &'a self,
        label: &'a str,
        value: &'a str,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a Live)> + 'a {
        self.objects
            .iter()
            .map(|(key, live)| (key, live.as_ref()))
            .filter(move |(key, live)| key.kind == "DaemonSet" && live.label(label) == Some(value))
    }
}

/// Fingerprint of a JSON value, independent of the order of keys. Stable within one build of the program.
pub fn fingerprint(value: &Value) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    fn walk(value: &Value, into: &mut DefaultHasher) {
        match value {
            Value::Null => 0_u8.hash(into),
            Value::Bool(flag) => (1_u8, flag).hash(into),
            Value::Number(number) => (2_u8, number.to_string()).hash(into),
            Value::String(text) => (3_u8, text).hash(into),
            Value::Array(items) => {
                (4_u8, items.len()).hash(into);
                for item in items {
                    walk(item, into);
                }
            }
            Value::Object(map) => {
                let mut keys: Vec<_> = map.iter().collect();
                keys.sort_by_key(|(key, _)| key.as_str());
                (5_u8, keys.len()).hash(into);
                for (key, value) in keys {
                    key.hash(into);
                    walk(value, into);
                }
            }
        }
    }
    let mut hasher = DefaultHasher::new();
    walk(value, &mut hasher);
    hasher.finish()
}
