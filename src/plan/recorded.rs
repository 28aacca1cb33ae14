//! A target as the cluster has it. What an operator rendered for a rollout that has reached the nodes stays what it goes to,
//! whatever a later operator would render: the arriving `DaemonSet` is the record.

use k8s_openapi::api::core::v1::ResourceRequirements;
use serde_json::{Value, json};

use super::agent;
use super::fleet::{Proxies, daemon_set, daemon_sets, without_label};
use super::planes;
use super::target::{APPLIED_ANNOTATION, Object, Target, room};
use crate::facts::{Facts, Live};
use crate::names;

impl Target {
    /// This target with the components on nodes as they are in the cluster under this revision; `None` when nothing of it is
    /// there: then nothing depends on how it was rendered.
    #[must_use]
    pub fn recorded(&self, facts: &Facts, revision: &str) -> Option<Self> {
        let proxies = daemon_sets(facts)
            .filter(|(_, live)| !live.deleting)
            .map(Proxies::of)
            .find(|one| one.revision == revision)?;
        if planes::release_of(revision) != planes::slug(self) {
            return None;
        }
        let live = proxies.live;
        let agent = Object::of(proxies.agent()?);
        let mut target = self.clone();
        target.revision = revision.parse().ok()?;
        target.daemon_set.clone_from(&proxies.key.name);
        target.prepull.key.name = format!("{}-{revision}", names::PREPULL);
        live.annotation(names::TEMPLATE_HASH_ANNOTATION)?
            .clone_into(&mut target.proxy_hash);
        agent.template_hash()?.clone_into(&mut target.agent_hash);
        target.room = proxies.requests().as_ref().map_or(self.room, room);
        target.agent.retain(|one| one.key != agent::key());
        target.agent.push(agent);
        let is_set = |one: &Object| one.key.kind == "DaemonSet";
        let rendered = self.proxy.iter().find(|one| is_set(one))?;
        let everywhere = (!proxies.is_default()).then(|| everywhere(live, rendered));
        // As it is in the cluster, it is as it should be.
        target.arriving.retain(|one| !is_set(one));
        target.proxy.retain(|one| !is_set(one));
        target.proxy.extend(everywhere.flatten());
        Some(target)
    }
}

/// The `DaemonSet` as it is, on every node. Nothing is kept of what others have noted on it.
fn everywhere(live: &Live, rendered: &Object) -> Option<Object> {
    let metadata = live.body.get("metadata")?;
    let ours = rendered.manifest.body.pointer("/metadata/annotations")?;
    let annotations: serde_json::Map<String, Value> = metadata
        .get("annotations")?
        .as_object()?
        .iter()
        .filter(|(key, _)| *key != APPLIED_ANNOTATION && ours.get(key.as_str()).is_some())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut spec = live.body.get("spec")?.clone();
    without_label(&mut spec);
    let name = metadata.get("name")?.as_str()?;
    let body = json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "name": name,
            "namespace": names::SYSTEM_NAMESPACE,
            "labels": metadata.get("labels"),
            "annotations": annotations,
        },
        "spec": spec,
    });
    Some(Object::of(daemon_set(name, body)))
}

impl Proxies<'_> {
    /// What a pod of it asks of its node.
    fn requests(&self) -> Option<ResourceRequirements> {
        let field = "/spec/template/spec/containers/0/resources";
        serde_json::from_value(self.live.body.pointer(field)?.clone()).ok()
    }
}
