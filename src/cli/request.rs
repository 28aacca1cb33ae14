//! `pause`, `resume`, `abort`, `retry`: annotations on a member, written by a field manager of their own, so that whoever
//! owns the spec goes on owning it.

use std::process::ExitCode;

use jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::failure::{MAKE_MEMBER, NO_MEMBER};
use super::{Failure, block_on, connect, print};
use crate::api::v1alpha1::MeshMember;
use crate::names::{ABORT_ANNOTATION, CLI_MANAGER, PAUSED_ANNOTATION, RETRY_ANNOTATION};

/// Arguments of `pause`, `resume`, `abort` and `retry`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The member [default: the only one there is]
    member: Option<String>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Begin nothing new.
    Pause,
    /// Go on.
    Resume,
    /// Take the rollout back.
    Abort,
    /// Try again what failed.
    Retry,
}

impl Verb {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Retry => "retry",
        }
    }

    /// The annotation and its value; null removes it.
    fn annotation(self, nonce: &str) -> (&'static str, Value) {
        match self {
            Self::Pause => (PAUSED_ANNOTATION, json!(nonce)),
            Self::Resume => (PAUSED_ANNOTATION, Value::Null),
            Self::Abort => (ABORT_ANNOTATION, json!(nonce)),
            Self::Retry => (RETRY_ANNOTATION, json!(nonce)),
        }
    }

    /// What it comes to for a member as it is, in one sentence.
    fn outcome(self, member: &MeshMember) -> String {
        let status = member.status.as_ref();
        let rollout = status.and_then(|status| status.rollout.as_ref());
        let spec_pauses = member
            .spec
            .upgrade
            .as_ref()
            .is_some_and(|upgrade| upgrade.paused == Some(true));
        match (self, rollout) {
            (Self::Pause, Some(_)) => {
                "paused: what has begun is brought to a safe point, nothing new begins".to_owned()
            }
            (Self::Pause, None) => "paused: nothing new begins".to_owned(),
            (Self::Resume, _) if spec_pauses => {
                "the annotation is gone, but spec.upgrade.paused still pauses it".to_owned()
            }
            (Self::Resume, _) => "resumed".to_owned(),
            (Self::Abort, Some(rollout)) if rollout.revertible == Some(false) => {
                "the rollout is past the point of no return and is finished first; go back by spec.upgrade".to_owned()
            }
            (Self::Abort, Some(rollout)) => format!(
                "asked to take back the rollout to {}; it is not tried again before the version or channel changes, or applink retry",
                rollout.to.as_deref().unwrap_or("its target")
            ),
            (Self::Abort, None) => "nothing is on its way: there is nothing to take back".to_owned(),
            (Self::Retry, _) => {
                let failed = status.map_or(0, |status| status.failed_releases.len());
                if failed == 0 {
                    "no release is marked as failed: there is nothing to try again".to_owned()
                } else {
                    "asked to try again what failed".to_owned()
                }
            }
        }
    }
}

/// Writes the annotation and says what it comes to.
///
/// # Errors
/// The member does not exist, is not the only one, or cannot be written.
pub fn run(verb: Verb, args: &Args, cluster: &connect::Flags) -> Result<ExitCode, Failure> {
    let nonce = Timestamp::now().to_string();
    let text = block_on(async {
        let client = connect::client(cluster).await?;
        let member = one(&client, verb.as_str(), args.member.as_deref()).await?;
        let name = member.name_any();
        let (key, value) = verb.annotation(&nonce);
        let params = PatchParams {
            field_manager: Some(CLI_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(json!({"metadata": {"annotations": {key: value}}}));
        Api::<MeshMember>::all(client)
            .patch(&name, &params, &patch)
            .await
            .map_err(|error| {
                Failure::of_kube(&format!("{} meshmember {name}", verb.as_str()), &error)
            })?;
        Ok(format!("meshmember {name}: {}\n", verb.outcome(&member)))
    })?;
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The member of that name, or the only one.
///
/// # Errors
/// There is none, or there are several and none was named.
pub(super) async fn one(
    client: &Client,
    what: &str,
    name: Option<&str>,
) -> Result<MeshMember, Failure> {
    let api = Api::<MeshMember>::all(client.clone());
    if let Some(name) = name {
        return api
            .get(name)
            .await
            .map_err(|error| Failure::of_kube(&format!("get meshmember {name}"), &error));
    }
    let members = api
        .list(&ListParams::default())
        .await
        .map_err(|error| Failure::of_kube("list meshmembers.applink.dev", &error))?
        .items;
    only(what, members)
}

fn only(what: &str, mut members: Vec<MeshMember>) -> Result<MeshMember, Failure> {
    match (members.pop(), members.is_empty()) {
        (Some(member), true) => Ok(member),
        (None, _) => Err(Failure::new(
            format!("cannot {what}"),
            NO_MEMBER,
            MAKE_MEMBER,
        )),
        (Some(_), false) => Err(Failure::new(
            format!("cannot {what}"),
            "there is more than one MeshMember",
            format!("name one: applink {what} MEMBER"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(status: Value) -> MeshMember {
        let object = json!({"apiVersion": "applink.dev/v1alpha1", "kind": "MeshMember", "metadata": {"name": "east"}, "spec": {}, "status": status});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn each_verb_writes_its_own_annotation_and_says_what_it_comes_to() {
        let quiet = member(json!({}));
        let moving = member(json!({"rollout": {"id": "1", "to": "1.6.0", "step": "Nodes"}}));
        let finishing = member(
            json!({"rollout": {"id": "1", "to": "1.6.0", "step": "Finish", "revertible": false}}),
        );
        let failed =
            member(json!({"failedReleases": [{"version": "1.6.0", "hash": "a", "reason": "b"}]}));
        let table = [
            (Verb::Pause, &quiet, PAUSED_ANNOTATION, "nothing new begins"),
            (Verb::Pause, &moving, PAUSED_ANNOTATION, "a safe point"),
            (Verb::Resume, &quiet, PAUSED_ANNOTATION, "resumed"),
            (
                Verb::Abort,
                &moving,
                ABORT_ANNOTATION,
                "the rollout to 1.6.0",
            ),
            (Verb::Abort, &finishing, ABORT_ANNOTATION, "no return"),
            (
                Verb::Abort,
                &quiet,
                ABORT_ANNOTATION,
                "nothing to take back",
            ),
            (Verb::Retry, &failed, RETRY_ANNOTATION, "asked to try again"),
            (
                Verb::Retry,
                &quiet,
                RETRY_ANNOTATION,
                "nothing to try again",
            ),
        ];
        for (verb, member, annotation, words) in table {
            let (key, value) = verb.annotation("n");
            assert_eq!(key, annotation);
            assert_eq!(value.is_null(), verb == Verb::Resume);
            let told = verb.outcome(member);
            assert!(told.contains(words), "{verb:?}: {told}");
        }
    }

    #[test]
    fn a_member_is_named_unless_it_is_the_only_one() {
        let all = |count: usize| vec![member(json!({})); count];
        assert_eq!(only("abort", all(1)).unwrap().name_any(), "east");
        assert!(only("abort", all(0)).is_err());
        let failure = only("abort", all(2)).unwrap_err();
        assert!(failure.remedy.contains("applink abort MEMBER"));
    }
}
