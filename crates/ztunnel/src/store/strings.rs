//! One copy of every text: thousands of workloads share their namespace, node, service and identity.

use std::collections::HashSet;
use std::sync::Arc;

use crate::addr::NamespacedHostname;
use crate::identity::Identity;
use crate::workload::Workload;

/// Below this many entries nothing is swept.
const FIRST_SWEEP: usize = 4096;

/// The texts in use.
#[derive(Debug)]
pub(super) struct Strings {
    texts: HashSet<Arc<str>>,
    identities: HashSet<Identity>,
    sweep_at: usize,
}

impl Default for Strings {
    fn default() -> Self {
        Self {
            texts: HashSet::new(),
            identities: HashSet::new(),
            sweep_at: FIRST_SWEEP,
        }
    }
}

impl Strings {
    /// Replaces the texts that workloads have in common by shared ones.
    pub(super) fn share(&mut self, workload: &mut Workload) {
        let locality = &mut workload.locality;
        for text in [
            &mut workload.namespace,
            &mut workload.network,
            &mut workload.node,
            &mut workload.canonical_name,
            &mut workload.canonical_revision,
            &mut workload.workload_name,
            &mut workload.cluster_id,
            &mut workload.hostname,
            &mut locality.region,
            &mut locality.zone,
            &mut locality.subzone,
        ] {
            self.text(text);
        }
        workload
            .authorization_policies
            .iter_mut()
            .for_each(|policy| self.text(policy));
        for service in workload.services.keys_mut() {
            self.name(service);
        }
        if let Some(shared) = self.identities.get(&workload.identity) {
            workload.identity = shared.clone();
        } else {
            self.identities.insert(workload.identity.clone());
        }
    }

    fn name(&mut self, name: &mut NamespacedHostname) {
        self.text(&mut name.namespace);
        self.text(&mut name.hostname);
    }

    fn text(&mut self, text: &mut Arc<str>) {
        if let Some(shared) = self.texts.get(text) {
            *text = Arc::clone(shared);
        } else {
            self.texts.insert(Arc::clone(text));
        }
    }

    /// Drops what nobody else holds, once the number of entries has doubled since the last time.
    pub(super) fn sweep(&mut self) {
        if self.texts.len() + self.identities.len() < self.sweep_at {
            return;
        }
        self.texts.retain(|text| Arc::strong_count(text) > 1);
        self.identities.retain(Identity::is_shared);
        self.sweep_at = (2 * (self.texts.len() + self.identities.len())).max(FIRST_SWEEP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::workload as proto;

    fn workload(node: &str) -> Workload {
        let source = proto::Workload {
            uid: node.to_owned(),
            namespace: "shop".to_owned(),
            node: node.to_owned(),
            ..proto::Workload::default()
        };
        Workload::try_from(source).unwrap()
    }

    #[test]
    fn equal_texts_are_one_and_unused_ones_are_swept() {
        let mut strings = Strings::default();
        let (mut one, mut two) = (workload("n1"), workload("n1"));
        strings.share(&mut one);
        strings.share(&mut two);
        assert_eq!((&one.node, &one.identity), (&two.node, &two.identity));
        assert!(Arc::ptr_eq(&one.node, &two.node) && Arc::ptr_eq(&one.namespace, &two.namespace));
        for number in 0..2 * FIRST_SWEEP {
            strings.share(&mut workload(&number.to_string()));
        }
        strings.sweep();
        let (texts, identities) = (strings.texts.len(), strings.identities.len());
        assert!(strings.texts.contains("n1") && texts < 10, "{texts}");
        assert_eq!(identities, 1);
    }
}
