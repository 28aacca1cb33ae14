//! Every watch of the operator, and the facts they add up to.

mod gateways;
mod kind;
mod seen;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, Node as K8sNode, Pod as K8sPod, ResourceQuota, Secret,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Client;
use kube::api::PartialObjectMeta;
use kube::runtime::watcher::Config;
use tokio::sync::Notify;
use tokio::task::JoinSet;

pub use gateways::Lean as Gateway;
pub use kind::{ATTACHMENT_KIND, resource, resource_of};
pub use seen::{Copy, Keys, copy, digest};

use super::definition::{self, Lean};
use super::mirror::Fact;
use super::project;
use crate::api::v1alpha1::{ApplicationNetwork, MeshMember, MeshRelease};
use crate::facts::{Definition, Denied, Facts, Live, NamespaceFact, Node, ObjectKey, Pod, PodMeta};
use crate::names;
use gateways::Gateways;
use kind::{CLUSTER_KINDS, POLICY_KIND, SYSTEM_KINDS};
use seen::{Least, OtherFact, Own, Policy, Present, QuotaFact, Settings, Template};
use watch::{M, PAGE, Watch};

/// Definitions a page has at most: each may be hundreds of kilobytes.
const DEFINITIONS_PAGE: u32 = 20;

/// Every watch of the operator.
#[derive(Debug)]
pub struct World {
    /// Members.
    pub members: M<String, Own<MeshMember>>,
    /// Networks.
    pub networks: M<String, Own<ApplicationNetwork>>,
    /// Releases.
    pub releases: M<String, Own<MeshRelease>>,
    own: Vec<(&'static str, M<ObjectKey, Live>)>,
    late: Mutex<BTreeMap<&'static str, M<ObjectKey, Live>>>,
    gateways: Gateways,
    definitions: M<String, Definition>,
    nodes: M<String, Node>,
    pods: M<String, Pod>,
    templates: M<String, Template>,
    /// Pods of the operator's own probe.
    pub probes: M<String, Pod>,
    namespaces: M<String, NamespaceFact>,
    workloads: M<(String, String), PodMeta>,
    others: Vec<M<(String, String), OtherFact>>,
    policies: M<(String, String), Policy>,
    quotas: M<String, QuotaFact>,
    root_map: M<String, Present>,
    autoscalers: M<String, Least>,
    cilium: M<String, Settings>,
    /// Secrets of the operator's namespace by name: roots and pull secrets.
    pub home: M<String, Keys>,
    /// The copy of the pull secrets.
    pub pull: M<String, Copy>,
    /// `cacerts`.
    pub cacerts: M<String, Keys>,
    /// `gitVersion` of the API server.
    pub server_version: String,
    /// API groups that were served at the start.
    pub api_groups: Vec<String>,
    /// Wakes the loop.
    pub wake: Arc<Notify>,
}

/// Kinds that not every cluster serves.
#[derive(Clone, Copy, Debug)]
pub enum Late {
    /// The mesh-wide policy: once its definition is served.
    Policy,
    /// What Multus reads: on OpenShift.
    Attachment,
}

impl World {
    /// Starts every watch. They end when `tasks` is dropped.
    ///
    /// # Errors
    /// When the API server does not tell its version.
    pub async fn start(client: &Client, tasks: &mut JoinSet<()>) -> Result<Self, kube::Error> {
        let server_version = client.apiserver_version().await?.git_version;
        let api_groups = client
            .list_api_groups()
            .await?
            .groups
            .into_iter()
            .map(|group| group.name)
            .collect();
        let wake = Arc::new(Notify::new());
        let mut watch = Watch {
            client,
            tasks,
            wake: &wake,
        };
        let ours = Config::default()
            .labels(names::MEMBER_LABEL)
            .page_size(PAGE);
        let mut own = Vec::new();
        for kind in SYSTEM_KINDS {
            own.push((
                kind.2,
                watch.own(kind, Some(names::SYSTEM_NAMESPACE), ours.clone()),
            ));
        }
        for kind in CLUSTER_KINDS {
            own.push((kind.2, watch.own(kind, None, ours.clone())));
        }
        own.push((
            "Namespace",
            watch.own(
                ("", "v1", "Namespace", "namespaces"),
                None,
                Config::default().fields(&format!("metadata.name={}", names::SYSTEM_NAMESPACE)),
            ),
        ));
        let others = vec![
            watch.others::<DaemonSet>(
                "DaemonSet",
                Config::default().fields(&format!("metadata.name={}", names::CNI_DAEMON_SET)),
                |_| true,
            ),
            watch.others::<DaemonSet>(
                "DaemonSet",
                Config::default().fields(&format!("metadata.name={}", names::ZTUNNEL)),
                |_| true,
            ),
            watch.others::<Deployment>(
                "Deployment",
                Config::default().labels("app=istiod"),
                |_| true,
            ),
            watch.others::<MutatingWebhookConfiguration>(
                "MutatingWebhookConfiguration",
                Config::default().labels("app=sidecar-injector"),
                |_| true,
            ),
        ];
        let world = Self {
            members: watch.guarded(),
            networks: watch.guarded(),
            releases: watch.guarded(),
            own,
            late: Mutex::default(),
            gateways: Gateways::default(),
            definitions: watch.all::<Lean, _, _>(
                Config::default().page_size(DEFINITIONS_PAGE),
                definition::project,
            ),
            nodes: watch.all::<K8sNode, _, _>(Config::default().page_size(PAGE), project::node),
            pods: watch.system::<K8sPod, _, _>(Config::default().page_size(PAGE), project::pod),
            templates: watch.system::<ControllerRevision, _, _>(
                Config::default().page_size(PAGE),
                seen::template,
            ),
            probes: watch.namespaced::<K8sPod, _, _>(names::PROBE_NAMESPACE, ours, project::pod),
            namespaces: watch.all::<PartialObjectMeta<Namespace>, _, _>(
                Config::default().page_size(PAGE),
                project::namespace,
            ),
            workloads: watch.all::<PartialObjectMeta<K8sPod>, _, _>(
                Config::default()
                    .fields("status.phase=Running,spec.hostNetwork=false")
                    .page_size(PAGE),
                |pod: PartialObjectMeta<K8sPod>| Some(project::workload(pod)),
            ),
            others,
            policies: watch
                .all::<NetworkPolicy, _, _>(Config::default().page_size(PAGE), seen::policy),
            quotas: watch.system::<ResourceQuota, _, _>(Config::default(), seen::quota),
            root_map: watch.system::<PartialObjectMeta<ConfigMap>, _, _>(
                Config::default().fields(&format!("metadata.name={}", names::ROOT_CONFIG_MAP)),
                |map: PartialObjectMeta<ConfigMap>| Some((map.metadata.name?, Present)),
            ),
            autoscalers: watch
                .system::<HorizontalPodAutoscaler, _, _>(Config::default(), seen::autoscaler),
            cilium: watch.namespaced::<ConfigMap, _, _>(
                "kube-system",
                Config::default().fields("metadata.name=cilium-config"),
                seen::cilium,
            ),
            pull: watch.system::<Secret, _, _>(
                Config::default().fields(&format!("metadata.name={}", names::PULL_SECRET)),
                seen::copy,
            ),
            home: watch.namespaced::<Secret, _, _>(
                names::OPERATOR_NAMESPACE,
                Config::default(),
                seen::at_home,
            ),
            cacerts: watch.namespaced::<Secret, _, _>(
                names::SYSTEM_NAMESPACE,
                Config::default().fields(&format!("metadata.name={}", names::CACERTS_SECRET)),
                seen::pair,
            ),
            server_version,
            api_groups,
            wake: Arc::clone(&wake),
        };
        Ok(world)
    }

    /// Every first list is complete, or refused.
    pub fn is_synced(&self) -> bool {
        self.states().iter().all(|(synced, _)| *synced)
    }

    /// Kinds that have not been listed once, of those that tell what runs.
    fn unlisted(&self) -> BTreeSet<&'static str> {
        let own = (self.own.iter()).map(|(kind, mirror)| (*kind, mirror.has_listed()));
        let others = [
            ("Node", self.nodes.has_listed()),
            ("Pod", self.pods.has_listed() && self.workloads.has_listed()),
            ("Namespace", self.namespaces.has_listed()),
        ];
        own.chain(others)
            .filter(|(_, is_listed)| !is_listed)
            .map(|(kind, _)| kind)
            .collect()
    }

    fn states(&self) -> Vec<(bool, Option<Denied>)> {
        let mut all = vec![
            state(&self.members),
            state(&self.networks),
            state(&self.releases),
            state(&self.definitions),
            state(&self.nodes),
            state(&self.pods),
            state(&self.templates),
            state(&self.probes),
            state(&self.namespaces),
            state(&self.workloads),
            state(&self.policies),
            state(&self.quotas),
            state(&self.root_map),
            state(&self.autoscalers),
            state(&self.cilium),
            state(&self.home),
            state(&self.pull),
            state(&self.cacerts),
        ];
        all.extend(self.own.iter().map(|(_, mirror)| state(mirror)));
        all.extend(self.others.iter().map(state));
        all
    }

    /// Takes the answer to a write as a fact, so that the next pass does not write again.
    pub fn put(&self, key: &ObjectKey, live: Live) {
        if let Some(mirror) = self.own_of(&key.kind) {
            mirror.put(key.clone(), live);
        }
    }

    /// An object of ours as of now.
    pub fn object(&self, key: &ObjectKey) -> Option<Arc<Live>> {
        self.own_of(&key.kind)?.get(key)
    }

    /// A namespace as of now.
    pub fn namespace(&self, name: &str) -> Option<Arc<NamespaceFact>> {
        self.namespaces.get(&name.to_owned())
    }

    fn own_of(&self, kind: &str) -> Option<M<ObjectKey, Live>> {
        self.own
            .iter()
            .find(|(own, _)| *own == kind)
            .map(|(_, mirror)| Arc::clone(mirror))
            .or_else(|| self.late().get(kind).map(Arc::clone))
    }

    fn late(&self) -> MutexGuard<'_, BTreeMap<&'static str, M<ObjectKey, Live>>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches objects of a kind that not every cluster serves, from now on; a second call changes nothing. Returns
    /// whether what is there has been seen, or cannot be.
    pub fn watch_late(&self, late: Late, client: &Client, tasks: &mut JoinSet<()>) -> bool {
        let (kind, namespace) = match late {
            Late::Policy => (POLICY_KIND, names::SYSTEM_NAMESPACE),
            Late::Attachment => (ATTACHMENT_KIND, "default"),
        };
        let mut all = self.late();
        let mirror = all.entry(kind.2).or_insert_with(|| {
            let mut watch = Watch {
                client,
                tasks,
                wake: &self.wake,
            };
            let config = match late {
                Late::Policy => Config::default().labels(names::MEMBER_LABEL),
                // The right to see it is bound to its name.
                Late::Attachment => Config::default().fields("metadata.name=istio-cni"),
            };
            watch.own(kind, Some(namespace), config)
        });
        mirror.was_tried()
    }

    /// Watches Gateways as long as they are served.
    pub fn follow_gateways(&self, client: &Client, tasks: &mut JoinSet<()>) {
        let are_served = gateways::are_served(&self.definitions.all());
        self.gateways.follow(are_served, client, tasks, &self.wake);
    }

    /// Takes the answer to a write as a fact, so that the next pass does not write again. What the watch tells later
    /// changes nothing then, so the loop is woken here.
    pub fn put_gateway(&self, gateway: Gateway) {
        if self.gateways.put(gateway) {
            self.wake.notify_one();
        }
    }

    /// Takes the answer to the deletion of a pod of the data plane as a fact, as [`Self::put_gateway`] does: it is not deleted
    /// again before the watch tells that it ends.
    pub fn end_pod(&self, pod: K8sPod) {
        let is_changed = project::pod(pod).is_some_and(|(name, pod)| self.pods.amend(&name, pod));
        if is_changed {
            self.wake.notify_one();
        }
    }

    /// The facts as of now, without what is not watched: answers and what was applied last.
    pub fn facts(&self) -> Facts {
        let namespaces = self.namespaces.all();
        let definitions = self.definitions.all();
        let gateways = self.gateways.all();
        let mut objects: BTreeMap<ObjectKey, Arc<Live>> = BTreeMap::new();
        for (_, mirror) in &self.own {
            objects.extend(mirror.all());
        }
        for mirror in self.late().values() {
            objects.extend(mirror.all());
        }
        Facts {
            server_version: self.server_version.clone(),
            api_groups: self.api_groups.clone(),
            cluster_uid: namespaces
                .get("kube-system")
                .map(|namespace| namespace.uid.clone())
                .unwrap_or_default(),
            objects,
            unlisted: self.unlisted(),
            gateways_unseen: gateways.is_none() && gateways::are_served(&definitions),
            gateways: gateways.unwrap_or_default(),
            definitions,
            nodes: self.nodes.all(),
            pods: self.pods.all(),
            templates: self
                .templates
                .all()
                .into_iter()
                .map(|(name, made)| (name, Arc::clone(&made.0)))
                .collect(),
            probes: self.probes.all(),
            namespaces,
            workloads: self.workloads.all(),
            others: self
                .others
                .iter()
                .flat_map(|mirror| mirror.all().into_values())
                .map(|other| other.0.clone())
                .collect(),
            cilium: self
                .cilium
                .all()
                .into_values()
                .next()
                .map(|settings| settings.0.clone()),
            autoscaled: self
                .autoscalers
                .all()
                .into_iter()
                .map(|(name, least)| (name, least.0))
                .collect(),
            pull_secrets: self
                .home
                .all()
                .into_iter()
                .filter_map(|(name, keys)| match keys.as_ref() {
                    Keys::Pull(read) => Some((name, read.as_ref().err().cloned())),
                    _ => None,
                })
                .collect(),
            root_config_map: !self.root_map.all().is_empty(),
            quotas: self
                .quotas
                .all()
                .into_values()
                .map(|quota| quota.0.clone())
                .collect(),
            policies: self
                .policies
                .all()
                .into_values()
                .map(|policy| Arc::clone(&policy.0))
                .collect(),
            denied: self
                .states()
                .into_iter()
                .filter_map(|(_, denied)| denied)
                .chain(self.gateways.denied())
                .collect::<BTreeSet<_>>(),
            ..Facts::default()
        }
    }
}

fn state<Key: Ord + Clone + Send + 'static, V: Fact>(mirror: &M<Key, V>) -> (bool, Option<Denied>) {
    (mirror.is_synced(), mirror.denied())
}
