//! Rollouts as tests ask for them, and waiting for their ends.

use std::time::Duration;

use applink::api::v1alpha1::{FailedRelease, MeshMember, MeshMemberStatus};
use applink::names;
use serde_json::{Value, json};

use crate::command;
use crate::stage::{Error, Stage, eventually};

/// A strategy of waves without a soak, and of a short drain.
pub fn swift() -> Value {
    json!({
        "canary": {"type": "Count", "count": 1, "soak": "0s"},
        "batch": {"size": 1, "soak": "0s"},
        "drain": {"timeout": "5s"},
    })
}

/// The same with gates that fail soon.
pub fn strict() -> Value {
    let mut strategy = swift();
    strategy["gates"] = json!({"timeout": "20s"});
    strategy
}

/// What a member needs beside a version so that whatever is broken is seen: what grows has to be watched for a while, and to
/// meet a limit.
pub fn watchful(version: &str, mut strategy: Value) -> Value {
    strategy["canary"]["soak"] = json!("15s");
    let resources = json!({"limits": {"memory": "160Mi"}});
    json!({
        "upgrade": {"version": version, "strategy": strategy},
        "dataPlane": {"ztunnel": {"resources": resources}},
    })
}

/// Whether condition `UpToDate` of the newest spec is that.
fn is_up_to_date(member: &MeshMember, status: &str, reason: Option<&str>) -> bool {
    let conditions = member.status.iter().flat_map(|status| &status.conditions);
    conditions
        .filter(|one| one.type_ == "UpToDate" && one.status == status)
        .any(|one| {
            one.observed_generation == member.metadata.generation
                && reason.is_none_or(|reason| one.reason == reason)
        })
}

fn told(status: &MeshMemberStatus) -> String {
    format!("{:?} {:#?}", status.rollout, status.conditions)
}

impl Stage {
    /// Waits until a version runs everywhere and nothing is left to do.
    ///
    /// # Errors
    /// [`Error::Deadline`] with the rollout and the conditions that were there instead.
    pub async fn until_runs(
        &self,
        member: &str,
        version: &str,
        within: Duration,
    ) -> Result<MeshMember, Error> {
        eventually(&format!("{version} runs"), within, || async {
            let found = self.read_member(member).await;
            let found = found.map_err(|error| command::chain(&error))?;
            let status = found.status.clone().unwrap_or_default();
            let versions = status.version.as_ref();
            let current = versions.and_then(|versions| versions.current.clone());
            if current.as_deref() == Some(version) && is_up_to_date(&found, "True", None) {
                Ok(found)
            } else {
                Err(format!("{current:?}: {}", told(&status)))
            }
        })
        .await
    }

    /// Waits until the member says that a version is the last one that failed here, and that what ran before runs everywhere
    /// again; what is recorded of it.
    ///
    /// # Errors
    /// [`Error::Deadline`] with the rollout and the conditions that were there instead.
    pub async fn until_taken_back(
        &self,
        member: &str,
        version: &str,
        within: Duration,
    ) -> Result<FailedRelease, Error> {
        eventually(&format!("{version} is taken back"), within, || async {
            let found = self.read_member(member).await;
            let found = found.map_err(|error| command::chain(&error))?;
            let status = found.status.clone().unwrap_or_default();
            let newest = (status.failed_releases.iter())
                .max_by_key(|failed| &failed.at)
                .filter(|failed| failed.version == version);
            let is_told = is_up_to_date(&found, "False", Some("ReleaseFailed"));
            match newest {
                Some(failed) if is_told && status.rollout.is_none() => Ok(failed.clone()),
                failed => Err(format!("{failed:?}: {}", told(&status))),
            }
        })
        .await
    }

    /// What a release has left in the data plane, by name; empty when nothing.
    ///
    /// # Errors
    /// When the cluster cannot be asked.
    pub fn left_of(&self, version: &str) -> Result<Vec<String>, Error> {
        let kinds = "deployments,daemonsets,services";
        let list = ["get", kinds, "-n", names::SYSTEM_NAMESPACE, "-o", "name"];
        let all = self.cluster.kubectl(&list)?;
        let name = version.replace('.', "-");
        let left = all.lines().filter(|line| line.contains(&name));
        Ok(left.map(str::to_owned).collect())
    }

    /// Waits until no pod of the operator's probe is left.
    ///
    /// # Errors
    /// [`Error::Deadline`] with those that are.
    pub async fn until_probe_gone(&self, within: Duration) -> Result<(), Error> {
        let list = ["get", "pods", "-n", names::PROBE_NAMESPACE, "-o", "name"];
        eventually("nothing of the probe is left", within, || async {
            match self.cluster.kubectl(&list) {
                Ok(left) if left.trim().is_empty() => Ok(()),
                Ok(left) => Err(left),
                Err(error) => Err(command::chain(&error)),
            }
        })
        .await
    }
}
