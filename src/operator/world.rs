//! Every watch of the operator, and the facts they add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, Node as K8sNode, Pod as K8sPod, ResourceQuota, Secret,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Config;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::definition::{self, Lean};
use super::mirror::{Fact, Mirror, Place, follow};
use super::project;
use crate::api::v1alpha1::{ApplicationNetwork, MeshMember, MeshRelease};
use crate::facts::{
    Definition, Denied, Facts, Live, NamespaceFact, Node, ObjectKey, Other, Pod, PodMeta, Quota,
};
use crate::names;
use crate::trust::{Authority, Certificate, Defect, Intermediate};

/// Objects a page of a list has at most: bounds what is in memory at once.
const PAGE: u32 = 200;
/// Definitions a page has at most: each may be hundreds of kilobytes.
const DEFINITIONS_PAGE: u32 = 20;

/// What is kept of an object of our own kinds.
#[derive(Clone, Debug)]
pub struct Own<K>(pub Result<K, String>, pub u64);

impl<K: Send + Sync + 'static> PartialEq for Own<K> {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}

impl<K: Send + Sync + 'static> Fact for Own<K> {
    fn version(&self) -> u64 {
        self.1
    }
}

macro_rules! facts {
    ($($kind:ty),+) => { $(impl Fact for $kind {})+ };
}

/// What a Secret holds: a root, or an intermediate and its root.
#[derive(Clone, Debug, PartialEq)]
pub enum Keys {
    /// The network's root.
    Root(Result<Certificate, Defect>),
    /// The member's intermediate, the root beside it, and that root's PEM text.
    Pair(Result<(Certificate, Certificate, Vec<u8>), Defect>),
}

/// Rules of a network policy; the rest is not kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy(pub Arc<NetworkPolicy>);

/// How many pods a quota allows and counts.
#[derive(Clone, Debug, PartialEq)]
pub struct QuotaFact(pub Quota);

/// Something that looks like a mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct OtherFact(pub Other);

/// Nothing but that it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present;

facts!(
    Definition, Pod, PodMeta, Keys, Policy, QuotaFact, OtherFact, Present
);

type M<Key, V> = Arc<Mirror<Key, V>>;

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
    policy: OnceLock<M<ObjectKey, Live>>,
    definitions: M<String, Definition>,
    nodes: M<String, Node>,
    pods: M<String, Pod>,
    namespaces: M<String, NamespaceFact>,
    workloads: M<(String, String), PodMeta>,
    others: Vec<M<(String, String), OtherFact>>,
    policies: M<(String, String), Policy>,
    quotas: M<String, QuotaFact>,
    root_map: M<String, Present>,
    /// Root Secrets by name.
    pub roots: M<String, Keys>,
    /// `cacerts`.
    pub cacerts: M<String, Keys>,
    /// `gitVersion` of the API server.
    pub server_version: String,
    /// API groups that were served at the start.
    pub api_groups: Vec<String>,
    /// Wakes the loop.
    pub wake: Arc<Notify>,
}

/// Kinds in the data plane's namespace whose objects are ours by label.
pub const SYSTEM_KINDS: [(&str, &str, &str, &str); 8] = [
    ("", "v1", "ServiceAccount", "serviceaccounts"),
    ("", "v1", "ConfigMap", "configmaps"),
    ("", "v1", "Service", "services"),
    ("", "v1", "ResourceQuota", "resourcequotas"),
    ("apps", "v1", "Deployment", "deployments"),
    ("apps", "v1", "DaemonSet", "daemonsets"),
    (
        "policy",
        "v1",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "RoleBinding",
        "rolebindings",
    ),
];

/// Cluster-scoped kinds whose objects are ours by label.
pub const CLUSTER_KINDS: [(&str, &str, &str, &str); 2] = [
    (
        "rbac.authorization.k8s.io",
        "v1",
        "ClusterRoleBinding",
        "clusterrolebindings",
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
    ),
];

/// The kind of the mesh-wide policy: watched once its definition is served.
pub const POLICY_KIND: (&str, &str, &str, &str) = (
    "security.istio.io",
    "v1",
    "PeerAuthentication",
    "peerauthentications",
);

/// The resource of a kind.
pub fn resource((group, version, kind, plural): (&str, &str, &str, &str)) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: if group.is_empty() {
            version.to_owned()
        } else {
            format!("{group}/{version}")
        },
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// Every kind that we own objects of, except definitions.
pub fn resource_of(kind: &str) -> Option<ApiResource> {
    SYSTEM_KINDS
        .into_iter()
        .chain(CLUSTER_KINDS)
        .chain([
            POLICY_KIND,
            ("", "v1", "Namespace", "namespaces"),
            ("", "v1", "Secret", "secrets"),
        ])
        .find(|one| one.2 == kind)
        .map(resource)
}

fn name_of<K: DeserializeOwned + Resource>(guard: DeserializeGuard<K>) -> Option<(String, Own<K>)> {
    match guard.0 {
        Ok(object) => {
            let meta = object.meta();
            let version =
                super::mirror::version(meta.resource_version.as_deref().unwrap_or_default());
            Some((meta.name.clone()?, Own(Ok(object), version)))
        }
        Err(invalid) => {
            let version = super::mirror::version(
                invalid
                    .metadata
                    .resource_version
                    .as_deref()
                    .unwrap_or_default(),
            );
            Some((invalid.metadata.name?, Own(Err(invalid.error), version)))
        }
    }
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
            policy: OnceLock::new(),
            definitions: watch.all::<Lean, _, _>(
                Config::default().page_size(DEFINITIONS_PAGE),
                definition::project,
            ),
            nodes: watch.all::<K8sNode, _, _>(Config::default().page_size(PAGE), project::node),
            pods: watch.system::<K8sPod, _, _>(Config::default().page_size(PAGE), project::pod),
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
            policies: watch.all::<NetworkPolicy, _, _>(
                Config::default().page_size(PAGE),
                |mut policy: NetworkPolicy| {
                    policy.metadata.managed_fields = None;
                    policy.metadata.annotations = None;
                    Some((project::place(&policy.metadata), Policy(Arc::new(policy))))
                },
            ),
            quotas: watch.system::<ResourceQuota, _, _>(Config::default(), quota),
            root_map: watch.system::<PartialObjectMeta<ConfigMap>, _, _>(
                Config::default().fields(&format!("metadata.name={}", names::ROOT_CONFIG_MAP)),
                |map: PartialObjectMeta<ConfigMap>| Some((map.metadata.name?, Present)),
            ),
            roots: watch.namespaced::<Secret, _, _>(
                names::OPERATOR_NAMESPACE,
                Config::default(),
                |secret: Secret| {
                    let name = secret.metadata.name.clone()?;
                    if !name.starts_with(names::ROOT_SECRET_PREFIX) {
                        return None;
                    }
                    let read = Authority::read(&bytes(secret), Timestamp::now());
                    Some((name, Keys::Root(read.map(|root| root.certificate))))
                },
            ),
            cacerts: watch.namespaced::<Secret, _, _>(
                names::SYSTEM_NAMESPACE,
                Config::default().fields(&format!("metadata.name={}", names::CACERTS_SECRET)),
                |secret: Secret| {
                    let name = secret.metadata.name.clone()?;
                    let mut data = bytes(secret);
                    let read = Intermediate::read(&data, Timestamp::now());
                    let root = data.remove("root-cert.pem").unwrap_or_default();
                    Some((
                        name,
                        Keys::Pair(read.map(|own| (own.certificate, own.root, root))),
                    ))
                },
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

    fn states(&self) -> Vec<(bool, Option<Denied>)> {
        let mut all = vec![
            state(&self.members),
            state(&self.networks),
            state(&self.releases),
            state(&self.definitions),
            state(&self.nodes),
            state(&self.pods),
            state(&self.namespaces),
            state(&self.workloads),
            state(&self.policies),
            state(&self.quotas),
            state(&self.root_map),
            state(&self.roots),
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

    fn own_of(&self, kind: &str) -> Option<&M<ObjectKey, Live>> {
        self.own
            .iter()
            .find(|(own, _)| *own == kind)
            .map(|(_, mirror)| mirror)
            .or_else(|| self.policy.get().filter(|_| kind == POLICY_KIND.2))
    }

    /// Watches the mesh-wide policy from now on; a second call changes nothing. Only for when its kind is served: a watch
    /// of a kind that is not would be refused again and again.
    pub fn watch_policy(&self, client: &Client, tasks: &mut JoinSet<()>) {
        self.policy.get_or_init(|| {
            let mut watch = Watch {
                client,
                tasks,
                wake: &self.wake,
            };
            watch.own(
                POLICY_KIND,
                Some(names::SYSTEM_NAMESPACE),
                Config::default().labels(names::MEMBER_LABEL),
            )
        });
    }

    /// The facts as of now, without what is not watched: answers and what was applied last.
    pub fn facts(&self) -> Facts {
        let namespaces = self.namespaces.all();
        let mut objects: BTreeMap<ObjectKey, Arc<Live>> = BTreeMap::new();
        for (_, mirror) in &self.own {
            objects.extend(mirror.all());
        }
        if let Some(policy) = self.policy.get() {
            objects.extend(policy.all());
        }
        Facts {
            server_version: self.server_version.clone(),
            api_groups: self.api_groups.clone(),
            cluster_uid: namespaces
                .get("kube-system")
                .map(|namespace| namespace.uid.clone())
                .unwrap_or_default(),
            objects,
            definitions: self.definitions.all(),
            nodes: self.nodes.all(),
            pods: self.pods.all(),
            namespaces,
            workloads: self.workloads.all(),
            others: self
                .others
                .iter()
                .flat_map(|mirror| mirror.all().into_values())
                .map(|other| other.0.clone())
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
                .collect::<BTreeSet<_>>(),
            ..Facts::default()
        }
    }
}

fn state<Key: Ord + Clone + Send + 'static, V: Fact>(mirror: &M<Key, V>) -> (bool, Option<Denied>) {
    (mirror.is_synced(), mirror.denied())
}

fn bytes(secret: Secret) -> BTreeMap<String, Vec<u8>> {
    secret
        .data
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| (key, value.0))
        .collect()
}

fn quota(quota: ResourceQuota) -> Option<(String, QuotaFact)> {
    let name = quota.metadata.name?;
    let status = quota.status.unwrap_or_default();
    let number =
        |map: Option<BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>| {
            map.and_then(|map| map.get("pods").and_then(|quantity| quantity.0.parse().ok()))
        };
    let hard: i64 = number(status.hard)?;
    let used = number(status.used).unwrap_or(0);
    Some((name.clone(), QuotaFact(Quota { name, hard, used })))
}

struct Watch<'a> {
    client: &'a Client,
    tasks: &'a mut JoinSet<()>,
    wake: &'a Arc<Notify>,
}

impl Watch<'_> {
    fn spawn<K, Key, V>(
        &mut self,
        api: Api<K>,
        config: Config,
        place: Place,
        project: impl Fn(K) -> Option<(Key, V)> + Send + 'static,
    ) -> M<Key, V>
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        Key: Ord + Clone + Debug + Send + Sync + 'static,
        V: Fact,
    {
        let mirror = Mirror::new();
        self.tasks.spawn(follow(
            api,
            config,
            place,
            Arc::clone(&mirror),
            Arc::clone(self.wake),
            project,
        ));
        mirror
    }

    fn place<K: Resource<DynamicType = ()>>(namespace: &str) -> Place {
        let group = K::group(&());
        let plural = K::plural(&());
        Place {
            resource: if group.is_empty() {
                plural.into_owned()
            } else {
                format!("{plural}.{group}")
            },
            namespace: namespace.to_owned(),
        }
    }

    fn all<K, Key, V>(
        &mut self,
        config: Config,
        project: impl Fn(K) -> Option<(Key, V)> + Send + 'static,
    ) -> M<Key, V>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        Key: Ord + Clone + Debug + Send + Sync + 'static,
        V: Fact,
    {
        let api = Api::<K>::all(self.client.clone());
        self.spawn(api, config, Self::place::<K>(""), project)
    }

    fn system<K, Key, V>(
        &mut self,
        config: Config,
        project: impl Fn(K) -> Option<(Key, V)> + Send + 'static,
    ) -> M<Key, V>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + Sync
            + 'static,
        Key: Ord + Clone + Debug + Send + Sync + 'static,
        V: Fact,
    {
        self.namespaced(names::SYSTEM_NAMESPACE, config, project)
    }

    fn namespaced<K, Key, V>(
        &mut self,
        namespace: &str,
        config: Config,
        project: impl Fn(K) -> Option<(Key, V)> + Send + 'static,
    ) -> M<Key, V>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + Sync
            + 'static,
        Key: Ord + Clone + Debug + Send + Sync + 'static,
        V: Fact,
    {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        self.spawn(api, config, Self::place::<K>(namespace), project)
    }

    fn guarded<K>(&mut self) -> M<String, Own<K>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let api = Api::<DeserializeGuard<K>>::all(self.client.clone());
        self.spawn(
            api,
            Config::default().page_size(PAGE),
            Self::place::<K>(""),
            name_of::<K>,
        )
    }

    fn own(
        &mut self,
        kind: (&'static str, &str, &'static str, &'static str),
        namespace: Option<&str>,
        config: Config,
    ) -> M<ObjectKey, Live> {
        let resource = resource(kind);
        let place = Place {
            resource: if kind.0.is_empty() {
                kind.3.to_owned()
            } else {
                format!("{}.{}", kind.3, kind.0)
            },
            namespace: namespace.unwrap_or_default().to_owned(),
        };
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        // The watcher asks dynamic objects for their kind, which the list of a kind does not repeat on each item.
        self.spawn(api, config, place, move |object| {
            project::live(kind.2, &object)
        })
    }

    fn others<K>(
        &mut self,
        kind: &'static str,
        config: Config,
        wanted: fn(&PartialObjectMeta<K>) -> bool,
    ) -> M<(String, String), OtherFact>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        PartialObjectMeta<K>: Resource<DynamicType = ()>,
    {
        self.all::<PartialObjectMeta<K>, _, _>(config, move |object| {
            if !wanted(&object) {
                return None;
            }
            let is_ours = object
                .metadata
                .labels
                .as_ref()
                .is_some_and(|labels| labels.contains_key(names::MEMBER_LABEL));
            let place = project::place(&object.metadata);
            let other = Other {
                kind,
                namespace: place.0.clone(),
                name: place.1.clone(),
                is_ours,
            };
            Some((place, OtherFact(other)))
        })
    }
}
