//! The ports of an endpoint, and the services it belongs to: sorted slices, because there is one of each per workload
//! and most have one entry.

use crate::addr::NamespacedHostname;

/// Ports of an endpoint: service port to target port, sorted by service port. Target 0 never appears.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PortMap(Box<[(u16, u16)]>);

impl PortMap {
    /// The target of a service port.
    pub fn target(&self, service_port: u16) -> Option<u16> {
        let at = self
            .0
            .binary_search_by_key(&service_port, |(service, _)| *service);
        at.ok().map(|at| self.0[at].1)
    }

    /// Every pair, by service port.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        self.0.iter().copied()
    }

    /// Whether no port is mapped.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(u16, u16)> for PortMap {
    fn from_iter<I: IntoIterator<Item = (u16, u16)>>(pairs: I) -> Self {
        let mut sorted: Vec<_> = pairs
            .into_iter()
            .filter(|(_, target)| *target != 0)
            .collect();
        // Of a port that is named twice the last entry counts.
        sorted.reverse();
        sorted.sort_by_key(|(service, _)| *service);
        sorted.dedup_by_key(|(service, _)| *service);
        Self(sorted.into())
    }
}

/// The services a workload belongs to and its ports in each, sorted by service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memberships(Box<[(NamespacedHostname, PortMap)]>);

impl Memberships {
    /// The ports in a service.
    pub fn get(&self, service: &NamespacedHostname) -> Option<&PortMap> {
        let at = self.0.binary_search_by(|(key, _)| key.cmp(service));
        at.ok().map(|at| &self.0[at].1)
    }

    /// Whether the workload belongs to a service.
    pub fn contains_key(&self, service: &NamespacedHostname) -> bool {
        self.get(service).is_some()
    }

    /// The services, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &NamespacedHostname> {
        self.0.iter().map(|(key, _)| key)
    }

    /// The services and the ports in each, sorted by service.
    pub fn iter(&self) -> impl Iterator<Item = (&NamespacedHostname, &PortMap)> {
        self.0.iter().map(|(key, ports)| (key, ports))
    }

    /// The services, to be replaced by equal ones that share their text.
    pub(crate) fn keys_mut(&mut self) -> impl Iterator<Item = &mut NamespacedHostname> {
        self.0.iter_mut().map(|(key, _)| key)
    }
}

impl FromIterator<(NamespacedHostname, PortMap)> for Memberships {
    fn from_iter<I: IntoIterator<Item = (NamespacedHostname, PortMap)>>(entries: I) -> Self {
        let mut sorted: Vec<_> = entries.into_iter().collect();
        sorted.sort_by(|(one, _), (two, _)| one.cmp(two));
        sorted.dedup_by(|(one, _), (two, _)| one == two);
        Self(sorted.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_by_service_port_and_zero_is_no_target() {
        let ports: PortMap = [(443, 8443), (80, 1), (90, 0), (80, 8080)]
            .into_iter()
            .collect();
        let all: Vec<_> = ports.iter().collect();
        assert_eq!(
            all,
            [(80, 8080), (443, 8443)],
            "sorted, the last of two counts"
        );
        assert_eq!(
            (ports.target(80), ports.target(443), ports.target(90)),
            (Some(8080), Some(8443), None)
        );
        assert!(PortMap::default().is_empty());
    }

    #[test]
    fn services_are_found_by_key() {
        let key = |host: &str| NamespacedHostname::new("shop", host);
        let ports: PortMap = [(80, 8080)].into_iter().collect();
        let all: Memberships = [
            (key("web"), ports.clone()),
            (key("api"), PortMap::default()),
        ]
        .into_iter()
        .collect();
        assert_eq!(all.get(&key("web")), Some(&ports));
        assert!(all.contains_key(&key("api")) && !all.contains_key(&key("other")));
        assert_eq!(all.keys().collect::<Vec<_>>(), [&key("api"), &key("web")]);
        assert_eq!(all.iter().count(), 2);
    }
}
