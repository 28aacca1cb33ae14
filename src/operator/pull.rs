//! Pull secrets, copied to where the data plane's pods need them: one Secret with the credentials of all, under a name
//! that the operator's rights are bound to.

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use tracing::info;

use super::apply::{self, limited};
use super::error::{Error, is_conflict};
use super::pass::{Operator, Seen};
use super::rendered::Rendered;
use super::world::{Copy, Keys, digest, resource};
use crate::desired::secrets;
use crate::facts::{Credentials, ObjectKey, merged};
use crate::names;

impl Operator {
    /// Copies what the spec names. A source that is missing is told by the checks; what was copied before stays then.
    pub(super) async fn copy_pull_secrets(&mut self, seen: &Seen<'_>) -> Result<(), Error> {
        let rendered = self.targets.get(&seen.name);
        let Some(blueprint) = rendered.and_then(Rendered::blueprint) else {
            return Ok(());
        };
        if blueprint.pull_secrets.is_empty() {
            return Ok(());
        }
        let home = self.world.home.all();
        let sources: Option<Vec<&Credentials>> = blueprint
            .pull_secrets
            .iter()
            .map(|name| match home.get(name).map(AsRef::as_ref) {
                Some(Keys::Pull(Ok(credentials))) => Some(credentials),
                _ => None,
            })
            .collect();
        let Some(sources) = sources else {
            return Ok(());
        };
        let text = merged(sources);
        let copy = self.copy();
        if copy
            .as_ref()
            .is_some_and(|copy| copy.is_ours && copy.digest == digest(Some(&text)))
        {
            return Ok(());
        }
        let body = secrets::pull_secret(blueprint, text);
        self.metrics.act("apply");
        let applied =
            apply_secret(&self.client, &body, copy.is_some_and(|copy| copy.is_ours)).await?;
        info!(object = %key(), "copied pull secrets");
        if let Some((name, copy)) = super::world::copy(applied) {
            self.world.pull.put(name, copy);
        }
        Ok(())
    }

    /// Removes the copy when the spec names no pull secret any more.
    pub(super) async fn drop_pull_secrets(&mut self, seen: &Seen<'_>) -> Result<(), Error> {
        let is_wanted = self
            .targets
            .get(&seen.name)
            .and_then(Rendered::blueprint)
            .is_none_or(|blueprint| !blueprint.pull_secrets.is_empty());
        if is_wanted {
            return Ok(());
        }
        self.delete_copy().await
    }

    /// Deletes the copy, if there is one of ours.
    pub(super) async fn delete_copy(&mut self) -> Result<(), Error> {
        let Some(copy) = self.copy().filter(|copy| copy.is_ours) else {
            return Ok(());
        };
        self.metrics.act("delete");
        let secrets = resource(("", "v1", "Secret", "secrets"));
        apply::delete_of(&self.client, &secrets, &key(), Some(&copy.uid)).await?;
        self.world.pull.remove(&names::PULL_SECRET.to_owned());
        info!(object = %key(), "deleted");
        Ok(())
    }

    fn copy(&self) -> Option<Copy> {
        let all = self.world.pull.all();
        all.get(names::PULL_SECRET)
            .map(|copy| copy.as_ref().clone())
    }
}

fn key() -> ObjectKey {
    ObjectKey::in_system("Secret", names::PULL_SECRET)
}

async fn apply_secret(client: &Client, body: &Secret, is_ours: bool) -> Result<Secret, Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
    let mut params = PatchParams::apply(names::FIELD_MANAGER);
    params.force = is_ours;
    let patch = Patch::Apply(body);
    let request = api.patch(names::PULL_SECRET, &params, &patch);
    match limited("apply", key(), request).await {
        Err(Error::Request { source, .. }) if is_conflict(&source) && !is_ours => {
            Err(Error::Foreign {
                object: key().to_string(),
                reason: super::chain(&source),
            })
        }
        other => other,
    }
}
