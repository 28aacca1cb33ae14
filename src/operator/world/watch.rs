//! Makes watches, each into a mirror of its own.

use std::fmt::Debug;
use std::sync::Arc;

use kube::api::{DynamicObject, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Config;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::kind::resource;
use super::seen::{OtherFact, Own, own};
use crate::facts::{Live, ObjectKey, Other};
use crate::names;
use crate::operator::mirror::{Fact, Mirror, Place, follow};
use crate::operator::project;

/// Objects a page of a list has at most: bounds what is in memory at once.
pub const PAGE: u32 = 200;

/// A shared mirror.
pub type M<Key, V> = Arc<Mirror<Key, V>>;

/// Makes watches.
pub struct Watch<'a> {
    pub client: &'a Client,
    pub tasks: &'a mut JoinSet<()>,
    pub wake: &'a Arc<Notify>,
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

    pub fn all<K, Key, V>(
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

    pub fn system<K, Key, V>(
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

    pub fn namespaced<K, Key, V>(
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

    pub fn guarded<K>(&mut self) -> M<String, Own<K>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let api = Api::<DeserializeGuard<K>>::all(self.client.clone());
        self.spawn(
            api,
            Config::default().page_size(PAGE),
            Self::place::<K>(""),
            own::<K>,
        )
    }

    pub fn own(
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

    pub fn others<K>(
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
