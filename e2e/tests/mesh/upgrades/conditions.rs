//! What the member says all the while, by a watch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use applink::api::v1alpha1::MeshMember;
use futures::StreamExt as _;
use kube::api::Api;
use kube::runtime::watcher::{self, Event, watcher};

use crate::fixture::MEMBER;

/// `status reason` of each condition, whatever was said at some time.
type Said = BTreeMap<String, BTreeSet<String>>;

/// Watches until it is dropped.
pub struct Conditions {
    said: Arc<Mutex<Said>>,
    task: tokio::task::JoinHandle<()>,
}

impl Conditions {
    /// Begins with what the member says now.
    pub async fn start(client: kube::Client) -> Self {
        let said: Arc<Mutex<Said>> = Arc::default();
        let only = watcher::Config::default().fields(&format!("metadata.name={MEMBER}"));
        let seen = Arc::clone(&said);
        let (listed, is_listed) = tokio::sync::oneshot::channel();
        let mut listed = Some(listed);
        let task = tokio::spawn(async move {
            let mut events = watcher(Api::<MeshMember>::all(client), only).boxed();
            while let Some(event) = events.next().await {
                let member = match event {
                    Ok(Event::Apply(member) | Event::InitApply(member)) => member,
                    Ok(Event::InitDone) => {
                        listed.take().map(|listed| listed.send(()));
                        continue;
                    }
                    _ => continue,
                };
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                for one in member.status.unwrap_or_default().conditions {
                    let told = format!("{} {}", one.status, one.reason);
                    seen.entry(one.type_).or_default().insert(told);
                }
            }
        });
        is_listed.await.unwrap();
        Self { said, task }
    }

    /// What a condition has said.
    pub fn of(&self, condition: &str) -> BTreeSet<String> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.get(condition).cloned().unwrap_or_default()
    }

    /// The mesh served all the while, by its own account.
    pub fn assert_ready(&self) {
        let ready = self.of("Ready");
        let all_true = ready.iter().all(|one| one.starts_with("True "));
        assert!(!ready.is_empty() && all_true, "{ready:?}");
    }
}

impl Drop for Conditions {
    fn drop(&mut self) {
        self.task.abort();
    }
}
