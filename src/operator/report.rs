//! Status and Events: written only when something changed.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tracing::{info, warn};

use super::apply::limited;
use super::error::{Error, is_gone};
use super::events::{Events, Words};
use super::mirror::version;
use crate::api::conditions::Reason;
use crate::api::v1alpha1::{
    ApplicationNetwork, ApplicationNetworkStatus, MeshMember, MeshMemberStatus, MeshRelease,
    MeshReleaseStatus,
};
use crate::names;
use crate::status::{self, Outcome};

/// Progress is told at most this often; changed conditions are told at once.
const PACE: SignedDuration = SignedDuration::from_secs(1);

/// A status that was written, and the version it was answered with.
struct Written<S> {
    uid: Option<String>,
    version: u64,
    status: S,
    at: Timestamp,
}

/// Writes status and Events.
pub struct Reporter {
    events: Events,
    members: BTreeMap<String, Written<MeshMemberStatus>>,
    networks: BTreeMap<String, Written<ApplicationNetworkStatus>>,
    releases: BTreeMap<String, Written<MeshReleaseStatus>>,
}

impl Reporter {
    /// A reporter that has written nothing yet.
    pub fn new(events: Events) -> Self {
        Self {
            events,
            members: BTreeMap::new(),
            networks: BTreeMap::new(),
            releases: BTreeMap::new(),
        }
    }

    /// The member with the newest status known: what we wrote may not have come back through the watch yet.
    pub fn newest(&self, member: &MeshMember) -> MeshMember {
        let mut member = member.clone();
        if let Some(status) = newer(&self.members, &member.metadata) {
            member.status = Some(status.clone());
        }
        member
    }

    /// Tells what a pass over a member found. Returns when to tell what was held back.
    pub async fn member(
        &mut self,
        client: &Client,
        member: &MeshMember,
        outcome: &Outcome,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Error> {
        let name = member.metadata.name.clone().unwrap_or_default();
        let old = self.newest(member).status;
        let next = status::next(old.as_ref(), outcome, now);
        if old.as_ref() == Some(&next) {
            return Ok(None);
        }
        let old = old.unwrap_or_default();
        let before = old.conditions;
        let mut changes = status::changes(&before, &next.conditions);
        changes.extend(status::wave(old.rollout.as_ref(), next.rollout.as_ref()));
        let until = self
            .members
            .get(&name)
            .and_then(|written| written.at.checked_add(PACE).ok());
        if changes.is_empty()
            && before.len() == next.conditions.len()
            && let Some(until) = until.filter(|until| *until > now)
        {
            return Ok(Some(until));
        }
        let version = write(client, member, &next).await?;
        self.members.insert(
            name,
            Written {
                uid: member.metadata.uid.clone(),
                version,
                status: next,
                at: now,
            },
        );
        self.changed(member, changes).await;
        Ok(None)
    }

    /// Tells changes in the log and in Events.
    async fn changed<K>(&mut self, object: &K, changes: Vec<status::Change>)
    where
        K: Resource<DynamicType = ()>,
    {
        for change in changes {
            info!(
                kind = &*K::kind(&()),
                name = object.meta().name,
                condition = change.condition,
                reason = change.reason,
                "{}",
                change.message
            );
            let words = Words {
                is_warning: change.is_warning,
                reason: change.reason,
                note: change.message,
            };
            self.say(object, words).await;
        }
    }

    /// Tells what a leave could not wait for.
    pub async fn leftovers(&mut self, member: &MeshMember, left: &[String]) {
        let words = Words {
            is_warning: true,
            reason: "Leftovers".to_owned(),
            note: format!("left, but not clean: {}", left.join("; ")),
        };
        self.say(member, words).await;
    }

    /// Tells what somebody took away from a running mesh and what was put back.
    pub async fn restored(&mut self, member: &MeshMember, note: String) {
        let words = Words {
            is_warning: true,
            reason: Reason::CustomResources.as_str().to_owned(),
            note,
        };
        self.say(member, words).await;
    }

    async fn say<K: Resource<DynamicType = ()>>(&mut self, about: &K, words: Words) {
        let about = about.object_ref(&());
        if let Err(error) = self.events.say(&about, words, Timestamp::now()).await {
            warn!(error = %super::chain(&error), "cannot write an Event");
        }
    }

    /// Tells about a network.
    pub async fn network(
        &mut self,
        client: &Client,
        network: &ApplicationNetwork,
        next: &ApplicationNetworkStatus,
    ) -> Result<(), Error> {
        let known = newer(&self.networks, &network.metadata).or(network.status.as_ref());
        if known == Some(next) {
            return Ok(());
        }
        let old = known.map_or_else(Vec::new, |known| known.conditions.clone());
        tell(client, network, next, &mut self.networks).await?;
        let faults = status::faults(&old, &next.conditions);
        self.changed(network, faults).await;
        Ok(())
    }

    /// Tells about a release.
    pub async fn release(
        &mut self,
        client: &Client,
        release: &MeshRelease,
        next: &MeshReleaseStatus,
    ) -> Result<(), Error> {
        let known = newer(&self.releases, &release.metadata).or(release.status.as_ref());
        if known == Some(next) {
            return Ok(());
        }
        let old = known.map_or_else(Vec::new, |known| known.conditions.clone());
        tell(client, release, next, &mut self.releases).await?;
        let faults = status::faults(&old, &next.conditions);
        self.changed(release, faults).await;
        Ok(())
    }
}

fn newer<'a, S>(
    written: &'a BTreeMap<String, Written<S>>,
    meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
) -> Option<&'a S> {
    let own = written.get(meta.name.as_deref()?)?;
    let seen = version(meta.resource_version.as_deref().unwrap_or_default());
    (own.uid == meta.uid && own.version > seen).then_some(&own.status)
}

async fn tell<K, S>(
    client: &Client,
    object: &K,
    next: &S,
    written: &mut BTreeMap<String, Written<S>>,
) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    S: Serialize + Clone,
{
    let version = write(client, object, next).await?;
    written.insert(
        object.meta().name.clone().unwrap_or_default(),
        Written {
            uid: object.meta().uid.clone(),
            version,
            status: next.clone(),
            at: Timestamp::UNIX_EPOCH,
        },
    );
    Ok(())
}

async fn write<K, S>(client: &Client, object: &K, next: &S) -> Result<u64, Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    S: Serialize,
{
    let name = object.meta().name.clone().unwrap_or_default();
    let api: Api<kube::api::PartialObjectMeta<K>> = Api::all(client.clone());
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name, "uid": object.meta().uid},
        "status": next,
    });
    let params = PatchParams::apply(names::STATUS_MANAGER).force();
    let what = format!("{} {name}", K::kind(&()));
    match limited(
        "write the status of",
        what,
        api.patch_status(&name, &params, &Patch::Apply(&body)),
    )
    .await
    {
        Ok(answer) => Ok(version(
            answer
                .metadata
                .resource_version
                .as_deref()
                .unwrap_or_default(),
        )),
        // It was deleted meanwhile: there is nobody to tell.
        Err(Error::Request { source, .. }) if is_gone(&source) => Ok(0),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::super::apply::tests::server;
    use super::*;

    #[tokio::test]
    async fn what_is_told_anew_is_an_event_of_its_own_and_what_is_repeated_is_counted() {
        let (client, asked) = server(|_, _| {
            let meta = json!({"name": "e", "namespace": "default"});
            let kind = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": meta});
            (200, kind)
        });
        let mut reporter = Reporter::new(Events::new(client, "i".to_owned()));
        let mut member = MeshMember::new("east", crate::api::v1alpha1::MeshMemberSpec::default());
        member.metadata.uid = Some("u".to_owned());
        for note in ["a is back", "a is back", "b is back"] {
            reporter.restored(&member, note.to_owned()).await;
        }
        let asked = asked.lock().unwrap();
        let told: Vec<(&Method, Option<&str>)> = asked
            .iter()
            .map(|(method, _, body)| (method, body["note"].as_str()))
            .collect();
        let [first, again, second] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(*first, (&Method::POST, Some("a is back")));
        assert_eq!(again.0, Method::PATCH);
        assert_eq!(*second, (&Method::POST, Some("b is back")));
    }
}
