//! Carries out the acts of a plan, one request each.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::api::{Api, Patch};
use serde_json::{Value, json};
use tracing::{debug, info, warn};

use super::apply::{self, limited};
use super::error::{Error, is_conflict, is_gone};
use super::pass::Operator;
use super::{chain, counts, mark, pin, probe, serving, sweep};
use crate::api::v1alpha1::{ApplicationNetwork, MeshMember};
use crate::facts::{Facts, ObjectKey, Question};
use crate::names;
use crate::plan::{Act, Target, canary_patch, difference, exclusion};

/// Where a Deployment says how many replicas there are.
const REPLICAS: &str = "/spec/replicas";
/// After a write to something that has changed meanwhile.
const CONFLICT: Duration = Duration::from_secs(1);

impl Operator {
    /// Carries out one act of an install or a move.
    pub(super) async fn act(
        &mut self,
        act: &Act,
        facts: &Facts,
        target: &Arc<Target>,
    ) -> Result<(), Error> {
        match act {
            Act::Define(wanted) => self.define(wanted).await,
            Act::Ask(question) => {
                self.ask(question, target);
                Ok(())
            }
            Act::Exclude {
                key,
                revisions,
                resource_version: _,
            } => {
                let Some(body) = facts
                    .object(key)
                    .and_then(|live| exclusion(live, revisions))
                else {
                    return Ok(());
                };
                info!(object = %key, ?revisions, "keeping off nodes");
                self.metrics.act("exclude");
                self.merge(key, &body).await
            }
            Act::PassCanary { key, .. } => {
                let Some(body) = facts.object(key).map(canary_patch) else {
                    return Ok(());
                };
                info!(object = %key, "the first nodes have proved it");
                self.metrics.act("pass_canary");
                self.merge(key, &body).await
            }
            other => self.act_of_leave(other).await,
        }
    }

    /// Carries out an act that needs no target.
    pub(super) async fn act_of_leave(&mut self, act: &Act) -> Result<(), Error> {
        self.worked = true;
        match act {
            Act::Apply(object) => {
                let known = self.world.object(&object.key);
                let is_ours = known
                    .as_ref()
                    .is_some_and(|live| live.label(names::MEMBER_LABEL).is_some());
                if let Some(live) = &known {
                    let at = difference(&live.body, &object.manifest.body);
                    info!(object = %object.key, at = at.as_deref(), "differs");
                }
                if object.key.kind == "Deployment"
                    && object.manifest.body.pointer(REPLICAS).is_none()
                    && let Some(replicas) =
                        known.and_then(|live| live.body.pointer(REPLICAS)?.as_i64())
                {
                    apply::hand_over(&self.client, object, replicas).await?;
                }
                self.metrics.act("apply");
                let (live, accepted) = apply::object(&self.client, object, is_ours).await?;
                info!(object = %object.key, "applied");
                self.accepted.insert(object.key.clone(), accepted);
                self.world.put(&object.key, live);
                Ok(())
            }
            Act::Touch(name) => {
                info!(
                    definition = name,
                    "is not served yet: having the API server look again"
                );
                self.metrics.act("touch");
                // It is a help and no more: nothing else is to wait for it.
                if let Err(error) = apply::touch(&self.client, name).await {
                    warn!(
                        definition = name,
                        error = chain(&error),
                        "cannot be touched"
                    );
                }
                Ok(())
            }
            Act::Place(object) => self.place(object).await,
            Act::Delete { key, uid } => {
                info!(object = %key, "deleting");
                self.metrics.act("delete");
                apply::delete(&self.client, key, uid).await
            }
            Act::DeletePod { name, uid, node } => {
                info!(pod = name, node, "deleting a pod, so that it is made anew");
                self.metrics.act("delete_pod");
                if let Some(pod) = apply::delete_pod(&self.client, name, uid).await? {
                    self.world.end_pod(pod);
                }
                Ok(())
            }
            Act::MarkNode {
                name,
                label,
                baseline,
                taint,
                resource_version,
            } => {
                info!(node = name, ?label, ?baseline, ?taint, "marking a node");
                self.metrics.act("mark_node");
                let mark = mark::Mark {
                    label: label.as_ref().map(Option::as_deref),
                    baseline: baseline.as_deref(),
                    taint: *taint,
                };
                if !mark::node(&self.client, name, resource_version, mark).await? {
                    self.look_again_soon();
                }
                // Answers from before the last change of a node say nothing.
                self.asked.forget_node(name);
                Ok(())
            }
            Act::Unenrol {
                namespace,
                resource_version,
            } => {
                info!(namespace, "taking a namespace out of the mesh");
                self.metrics.act("unenrol");
                let body = apply::label_patch(names::DATAPLANE_MODE_LABEL, None, resource_version);
                let key = ObjectKey::new("Namespace", None, namespace);
                self.merge(&key, &body).await
            }
            Act::Pin {
                namespace,
                name,
                uid,
                resource_version,
                release,
            } => {
                info!(
                    namespace,
                    gateway = name,
                    ?release,
                    "pinning a waypoint, or giving it back"
                );
                self.metrics.act("pin");
                let seen = pin::Seen {
                    namespace,
                    name,
                    uid,
                    resource_version,
                };
                match pin::gateway(&self.client, seen, release.as_deref()).await? {
                    Some(gateway) => self.world.put_gateway(gateway),
                    None => self.look_again_soon(),
                }
                Ok(())
            }
            Act::Release(key) => {
                info!(object = %key, "letting go");
                self.metrics.act("release");
                apply::release(&self.client, key).await
            }
            Act::Forget { release } => {
                info!(release, "deleting the leases of an istiod that is gone");
                self.metrics.act("forget");
                sweep::leases(&self.client, release).await
            }
            Act::Define(_) | Act::Ask(_) | Act::Exclude { .. } | Act::PassCanary { .. } => Ok(()),
        }
    }

    /// Merges into an object as it was seen.
    async fn merge(&mut self, key: &ObjectKey, body: &Value) -> Result<(), Error> {
        match apply::merge(&self.client, key, body).await? {
            Some(live) => self.world.put(key, live),
            None => self.look_again_soon(),
        }
        Ok(())
    }

    /// Something is not as it was seen. The watch may tell of a newer version only, which wakes nobody.
    fn look_again_soon(&mut self) {
        let wake = Arc::clone(&self.world.wake);
        self.tasks.spawn(async move {
            tokio::time::sleep(CONFLICT).await;
            wake.notify_one();
        });
    }

    /// Asks in the background; the answer wakes the loop.
    pub(super) fn ask(&mut self, question: &Question, target: &Arc<Target>) {
        let asked = self.asked.clone();
        // Every answer wakes the loop, which then asks again for what had to wait.
        if !asked.begin(question) {
            return;
        }
        let signals = Arc::clone(&self.signals);
        let wake = Arc::clone(&self.world.wake);
        let metrics = self.metrics.clone();
        let world = Arc::clone(&self.world);
        let mesh = self.mesh(target);
        let question = question.clone();
        let asked_again = asked.is_bad(&question);
        if let Question::Proxy {
            node,
            pod,
            reconnect: true,
            ..
        } = &question
        {
            // It becomes the one that stays: what others of the node said about that is over. Where it is only asked again
            // after a bad answer, it has been so all the while.
            asked.forget_others(node, pod);
        }
        self.tasks.spawn(async move {
            let seen = match &question {
                Question::ControlPlane { pod, .. } => signals.control_plane(pod, &mesh).await,
                Question::Proxy {
                    node,
                    pod,
                    reconnect,
                    ..
                } => {
                    serving::serves(
                        &*signals,
                        node,
                        pod,
                        *reconnect || asked_again,
                        &mesh,
                        |name| world.namespace(name),
                    )
                    .await
                }
                Question::StandDown { pod, .. } => signals.stand_down(pod).await,
                Question::Counts { pod, .. } => counts::counts(&*signals, pod).await,
                Question::Room {
                    node,
                    millicores,
                    bytes,
                    ..
                } => signals.room(node, *millicores, *bytes).await,
                Question::Sandboxes { node, .. } => serving::sandboxes(&*signals, node).await,
                Question::Vacant { node, .. } => {
                    serving::vacant(&*signals, node, |name| world.namespace(name)).await
                }
                Question::Probe { pods, .. } => probe::probe(&*signals, pods).await,
            };
            debug!(%question, ?seen, "answered");
            metrics.answer(asked.end(&question, Timestamp::now(), seen));
            wake.notify_one();
        });
    }
}

fn finalizers(member: &MeshMember) -> Vec<String> {
    member.metadata.finalizers.clone().unwrap_or_default()
}

/// The member must not go before the cluster is clean.
pub fn has_finalizer(member: &MeshMember) -> bool {
    finalizers(member)
        .iter()
        .any(|one| one == names::MEMBER_FINALIZER)
}

pub async fn add_finalizer(client: &Client, member: &MeshMember) -> Result<(), Error> {
    if has_finalizer(member) {
        return Ok(());
    }
    let mut all = finalizers(member);
    all.push(names::MEMBER_FINALIZER.to_owned());
    set_finalizers(client, member, &all).await
}

pub async fn remove_finalizer(client: &Client, member: &MeshMember) -> Result<(), Error> {
    let mut all = finalizers(member);
    all.retain(|one| one != names::MEMBER_FINALIZER);
    set_finalizers(client, member, &all).await
}

async fn set_finalizers(client: &Client, member: &MeshMember, all: &[String]) -> Result<(), Error> {
    let name = member.metadata.name.clone().unwrap_or_default();
    let body = json!({"metadata": {"uid": member.metadata.uid, "resourceVersion": member.metadata.resource_version, "finalizers": all}});
    let api: Api<MeshMember> = Api::all(client.clone());
    match limited(
        "set the finalizer of",
        format!("MeshMember {name}"),
        api.patch(&name, &apply::merging(), &Patch::Merge(&body)),
    )
    .await
    {
        Err(Error::Request { source, .. }) if is_gone(&source) => Ok(()),
        other => other.map(|_| ()),
    }
}

/// The network that members join who name none.
pub async fn make_network(client: &Client, name: &str) -> Result<(), Error> {
    let api: Api<ApplicationNetwork> = Api::all(client.clone());
    let network = ApplicationNetwork::new(
        name,
        crate::api::v1alpha1::ApplicationNetworkSpec::default(),
    );
    let params = kube::api::PostParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..kube::api::PostParams::default()
    };
    match limited(
        "create",
        format!("ApplicationNetwork {name}"),
        api.create(&params, &network),
    )
    .await
    {
        Err(Error::Request { source, .. }) if is_conflict(&source) => Ok(()),
        other => other.map(|_| ()),
    }
}
