//! Gateways of users, as the API server keeps them: whose label is whose, and which release has a Gateway.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Model;
use crate::facts::GatewayFact;
use crate::names;
use crate::plan::{Act, planes};

/// What users have written.
#[derive(Clone, Debug, Default)]
pub struct Gateways {
    labels: BTreeMap<(String, String), Option<String>>,
    /// How often users wrote on each.
    pub written: BTreeMap<(String, String), usize>,
    /// How often each was pinned.
    pub pinned: BTreeMap<(String, String), usize>,
}

fn place(name: &str) -> (String, String) {
    ("shop".to_owned(), name.to_owned())
}

impl Model {
    /// A user makes a Gateway in namespace `shop`.
    pub fn add_gateway(&mut self, name: &str, class: &str, label: Option<&str>) {
        let gateway = GatewayFact {
            uid: self.next(),
            class: class.to_owned(),
            ..GatewayFact::default()
        };
        self.facts.gateways.insert(place(name), Arc::new(gateway));
        self.label_gateway(name, label);
    }

    /// A user writes the label of a Gateway, or removes it.
    pub fn label_gateway(&mut self, name: &str, label: Option<&str>) {
        let label = label.map(str::to_owned);
        let version = self.next();
        let Some(gateway) = self.facts.gateways.get_mut(&place(name)) else {
            return;
        };
        let gateway = Arc::make_mut(gateway);
        gateway.revision.clone_from(&label);
        gateway.resource_version = version;
        self.gateways.labels.insert(place(name), label);
        *self.gateways.written.entry(place(name)).or_default() += 1;
    }

    pub fn gateway(&self, name: &str) -> &GatewayFact {
        &self.facts.gateways[&place(name)]
    }

    /// Which release has a Gateway.
    pub fn holder(&self, name: &str) -> Option<&str> {
        self.holder_at(&place(name))
    }

    fn holder_at(&self, place: &(String, String)) -> Option<&str> {
        let namespace = || {
            let labels = &self.facts.namespaces.get(&place.0)?.labels;
            labels.get(names::ISTIO_REVISION_LABEL)
        };
        let named = self.facts.gateways[place].revision.as_ref();
        named
            .or_else(namespace)
            .filter(|release| !release.is_empty())
            .map_or_else(|| planes::default_release(&self.facts), |one| Some(one))
    }

    /// Nobody is left with an istiod that goes.
    pub(super) fn check_gateways(&self, release: &str) {
        for (place, gateway) in &self.facts.gateways {
            let is_left = gateway.is_waypoint() && self.holder_at(place) == Some(release);
            assert!(!is_left, "{place:?} is still of {release}: {gateway:?}");
        }
    }

    /// The label is applied by a manager of its own; what a user has written stays his.
    pub(super) fn pin(&mut self, act: &Act) {
        let Act::Pin {
            namespace,
            name,
            uid,
            resource_version,
            release,
        } = act
        else {
            return;
        };
        let place = (namespace.clone(), name.clone());
        let version = self.next();
        let before = self.holder_at(&place).map(str::to_owned);
        let user = self.gateways.labels.get(&place).cloned().flatten();
        let mut gateway = self.facts.gateways[&place].as_ref().clone();
        assert_eq!(
            (&gateway.uid, &gateway.resource_version),
            (uid, resource_version),
            "a pin is fenced"
        );
        if let Some(release) = release {
            assert_eq!((&gateway.revision, &gateway.pinned), (&None, &None));
            assert!(gateway.is_waypoint());
            *self.gateways.pinned.entry(place.clone()).or_default() += 1;
            gateway.revision = Some(release.clone());
        } else {
            assert!(gateway.pinned.is_some(), "nothing of it is ours");
            gateway.revision.clone_from(&user);
        }
        gateway.pinned.clone_from(release);
        gateway.pinned_at = Some(self.now);
        gateway.resource_version = version;
        assert!(user.is_none() || gateway.revision == user, "{gateway:?}");
        self.facts.gateways.insert(place.clone(), gateway.into());
        if release.is_some() {
            let after = self.holder_at(&place).map(str::to_owned);
            assert_eq!(before, after, "a pin changes nobody's hands");
        }
    }
}
