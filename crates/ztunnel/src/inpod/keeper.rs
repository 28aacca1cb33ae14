//! Which pods are served: what each request of the agent does to the set. Sync; starting a pod is behind a trait.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::Pods;
use crate::drain::Drain;
use crate::proxy::Info;
use crate::proxy::connections::Connections;
use crate::socket::Netns;

/// Starts the proxy of a pod.
pub(super) trait Start {
    /// Opens the listeners and returns what ends the proxy, and its connections.
    ///
    /// # Errors
    /// What kept a listener from opening. Tried again later.
    fn start(&self, info: &Info, netns: &Netns) -> io::Result<(Drain, Connections)>;
}

/// The set. Outlives every connection to the agent.
pub(super) struct Keeper<S> {
    start: S,
    pods: Pods,
    known: BTreeMap<Arc<str>, Known>,
}

struct Known {
    info: Info,
    netns: Netns,
    /// Absent while pending.
    running: Option<Drain>,
}

impl<S: Start> Keeper<S> {
    pub(super) fn new(start: S, pods: Pods) -> Self {
        Self {
            start,
            pods,
            known: BTreeMap::new(),
        }
    }

    /// Serves a pod. The same namespace again changes nothing; another one under the same uid takes its place.
    ///
    /// # Errors
    /// Why it could not be started; it stays pending.
    pub(super) fn add(&mut self, uid: &Arc<str>, info: Info, netns: Netns) -> Result<(), String> {
        if let Some(known) = self.known.get(uid) {
            if known.netns.id() == netns.id() && known.info == info && known.running.is_some() {
                return Ok(());
            }
            known.stop();
        }
        self.pods.wait(Arc::clone(uid), info.clone());
        self.known.insert(
            Arc::clone(uid),
            Known {
                info,
                netns,
                running: None,
            },
        );
        self.try_start(uid)
    }

    /// Stops serving a pod at once.
    pub(super) fn delete(&mut self, uid: &str) {
        if let Some(known) = self.known.remove(uid) {
            known.stop();
            self.pods.remove(uid);
        }
    }

    /// Stops every pod that is not named.
    pub(super) fn retain(&mut self, named: &BTreeSet<Arc<str>>) {
        let gone: Vec<_> = self
            .known
            .keys()
            .filter(|uid| !named.contains(*uid))
            .cloned()
            .collect();
        for uid in gone {
            self.delete(&uid);
        }
    }

    /// Tries to start what is pending, and says whether nothing is left.
    pub(super) fn retry(&mut self) -> bool {
        let pending: Vec<_> = self
            .known
            .iter()
            .filter(|(_, known)| known.running.is_none())
            .map(|(uid, _)| Arc::clone(uid))
            .collect();
        for uid in pending {
            if let Err(error) = self.try_start(&uid) {
                tracing::warn!(pod = %uid, error, "pod is still not served");
            }
        }
        !self.is_pending()
    }

    /// Whether some pod waits.
    pub(super) fn is_pending(&self) -> bool {
        self.known.values().any(|known| known.running.is_none())
    }

    fn try_start(&mut self, uid: &Arc<str>) -> Result<(), String> {
        let Some(known) = self.known.get_mut(uid) else {
            return Ok(());
        };
        let started = self.start.start(&known.info, &known.netns);
        let (drain, connections) = started.map_err(|error| {
            format!(
                "cannot serve pod {}/{}: {error}",
                known.info.namespace, known.info.name
            )
        })?;
        known.running = Some(drain);
        self.pods
            .serve(Arc::clone(uid), known.info.clone(), connections);
        tracing::info!(uid = %uid, name = %known.info.name, namespace = %known.info.namespace, "pod is served");
        Ok(())
    }
}

impl Known {
    fn stop(&self) {
        if let Some(drain) = &self.running {
            drain.cut_now();
            tracing::info!(name = %self.info.name, namespace = %self.info.namespace, "pod is no longer served");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::fs::File;
    use std::rc::Rc;

    use super::*;

    /// Names and drains, in the order of their starts.
    type Started = Vec<(Arc<str>, Drain)>;

    /// Starts nothing; fails while told to.
    #[derive(Clone, Default)]
    struct Fake {
        fails: Rc<Cell<bool>>,
        started: Rc<RefCell<Started>>,
    }

    impl Start for Fake {
        fn start(&self, info: &Info, _: &Netns) -> io::Result<(Drain, Connections)> {
            if self.fails.get() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            let drain = Drain::new();
            self.started
                .borrow_mut()
                .push((Arc::clone(&info.name), drain.clone()));
            Ok((drain, Connections::default()))
        }
    }

    impl Fake {
        fn cuts(&self) -> Vec<bool> {
            self.started
                .borrow()
                .iter()
                .map(|(_, drain)| drain.is_cut())
                .collect()
        }
    }

    fn info(name: &str) -> Info {
        Info {
            name: name.into(),
            namespace: "shop".into(),
            service_account: "cart".into(),
        }
    }

    /// Any file has a device and an inode.
    fn netns(path: &str) -> Netns {
        Netns::new(File::open(path).unwrap().into()).unwrap()
    }

    fn keeper() -> (Keeper<Fake>, Fake, Pods) {
        let (fake, pods) = (Fake::default(), Pods::default());
        (Keeper::new(fake.clone(), pods.clone()), fake, pods)
    }

    #[test]
    fn the_same_namespace_again_changes_nothing() {
        let (mut keeper, fake, _) = keeper();
        let uid: Arc<str> = "u1".into();
        keeper.add(&uid, info("one"), netns("/dev/null")).unwrap();
        keeper.add(&uid, info("one"), netns("/dev/null")).unwrap();
        assert_eq!(fake.cuts(), [false]);
    }

    #[test]
    fn another_namespace_under_the_same_uid_takes_its_place() {
        let (mut keeper, fake, pods) = keeper();
        let uid: Arc<str> = "u1".into();
        keeper.add(&uid, info("one"), netns("/dev/null")).unwrap();
        keeper.add(&uid, info("one"), netns("/dev/zero")).unwrap();
        assert_eq!(fake.cuts(), [true, false]);
        assert_eq!(
            (
                pods.counters().active,
                pods.counters().started,
                pods.counters().stopped
            ),
            (1, 2, 1)
        );
    }

    #[test]
    fn a_pod_that_cannot_start_is_pending_and_tried_again() {
        let (mut keeper, fake, pods) = keeper();
        fake.fails.set(true);
        let refused = keeper
            .add(&"u1".into(), info("one"), netns("/dev/null"))
            .unwrap_err();
        assert!(refused.contains("shop/one"), "{refused}");
        assert!(keeper.is_pending() && !keeper.retry());
        assert_eq!(pods.counters().pending, 1);
        fake.fails.set(false);
        assert!(keeper.retry());
        assert_eq!((pods.counters().pending, pods.counters().active), (0, 1));
    }

    #[test]
    fn a_deletion_cuts_at_once_and_an_unknown_one_is_fine() {
        let (mut keeper, fake, pods) = keeper();
        keeper
            .add(&"u1".into(), info("one"), netns("/dev/null"))
            .unwrap();
        keeper.delete("u2");
        keeper.delete("u1");
        keeper.delete("u1");
        assert_eq!(fake.cuts(), [true]);
        assert!(pods.list().is_empty());
    }

    #[test]
    fn after_a_snapshot_only_what_was_named_is_left() {
        let (mut keeper, fake, pods) = keeper();
        for (uid, name) in [("u1", "one"), ("u2", "two"), ("u3", "three")] {
            keeper
                .add(&uid.into(), info(name), netns("/dev/null"))
                .unwrap();
        }
        keeper.retain(&["u2".into(), "u9".into()].into());
        assert_eq!(fake.cuts(), [true, false, true]);
        assert_eq!(pods.list().len(), 1);
    }
}
