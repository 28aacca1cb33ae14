//! One fault, a member that meets it, and what the operator must say: the form that the tables of bad input share.

use std::collections::BTreeSet;

use applink::api::v1alpha1::MeshMember;
use e2e::audit;
use e2e::stage::{self, Stage};
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::fixture::{OPERATOR, PATIENT, left, operator};
use crate::input_fault::{Fault, SOMEBODY, daemon_set, delete};

/// One row: what is wrong, and what a member made then is told.
pub struct Row {
    /// Name of the member.
    pub name: &'static str,
    /// What is wrong besides its spec.
    pub fault: Option<Fault>,
    /// Its spec.
    pub spec: Value,
    /// The condition that tells it, and its reason.
    pub told: (&'static str, &'static str),
    /// What its message and an Event must say; the first is the code, which goes when the fault is mended.
    pub words: &'static [&'static str],
}

impl Row {
    /// A blocking finding: `Stalled` with reason `PreflightFailed`.
    pub fn blocks(name: &'static str, fault: Fault, words: &'static [&'static str]) -> Self {
        Self {
            name,
            fault: Some(fault),
            spec: pinned(),
            told: ("Stalled", "PreflightFailed"),
            words,
        }
    }

    /// A warning: it is told with `Accepted`, and blocks nothing.
    pub fn warns(name: &'static str, fault: Fault, words: &'static [&'static str]) -> Self {
        Self {
            told: ("Accepted", "ValidWithWarnings"),
            ..Self::blocks(name, fault, words)
        }
    }

    /// The same with another spec.
    pub fn with(self, spec: Value) -> Self {
        Self { spec, ..self }
    }
}

/// The spec of a member that could be installed.
pub fn pinned() -> Value {
    json!({"upgrade": {"version": "1.6"}})
}

/// A release of that version, changed.
pub fn release(version: &str, change: &Value) -> Value {
    let mut release = Stage::release(version, &[]);
    release["spec"] = stage::with(release["spec"].take(), change);
    release
}

/// The operator runs, and nobody is a member.
pub async fn without_member(stage: &Stage) {
    operator(stage).await;
    left(stage).await;
    stage.apply(&Stage::release("1.6.0", &["Rapid"])).unwrap();
    stage
        .apply(&stage::namespace(SOMEBODY, &json!({})))
        .unwrap();
}

/// Goes through rows that nothing is installed for: while somebody else's proxy is there, a member that is mended is
/// not installed either, so one stage serves all of them.
pub async fn behind_a_blocker(stage: &Stage, rows: &[Row]) {
    without_member(stage).await;
    let blocker = daemon_set("ztunnel");
    stage.apply(&blocker).unwrap();
    let since = Timestamp::now();
    for row in rows {
        let uid = told(stage, row).await;
        if let Some(fault) = &row.fault {
            fault.mend(stage).await;
            mended(stage, row).await;
        }
        forget(stage, row.name, &uid).await;
    }
    untouched(stage, since);
    delete(stage, &blocker);
}

/// Goes through rows whose members could not be installed anyway; each goes before its fault is mended.
pub async fn alone(stage: &Stage, rows: &[Row]) {
    without_member(stage).await;
    let since = Timestamp::now();
    for row in rows {
        let uid = told(stage, row).await;
        forget(stage, row.name, &uid).await;
        if let Some(fault) = &row.fault {
            fault.mend(stage).await;
        }
    }
    untouched(stage, since);
}

/// Makes the fault and the member, and waits until condition and Event tell it. The member's uid.
pub async fn told(stage: &Stage, row: &Row) -> String {
    if let Some(fault) = &row.fault {
        fault.make(stage).await;
    }
    stage.apply(&Stage::member(row.name, &row.spec)).unwrap();
    let (condition, reason) = row.told;
    let uid = stage::eventually(&format!("{}: {condition}", row.name), PATIENT, || async {
        if let Some(fault) = &row.fault {
            fault.hold(stage).await;
        }
        let member = stage
            .read_member(row.name)
            .await
            .map_err(|error| error.to_string())?;
        let held = member.status.clone().unwrap_or_default().conditions;
        let is_told = held.iter().any(|one| {
            one.type_ == condition
                && one.reason == reason
                && row.words.iter().all(|word| one.message.contains(word))
        });
        if is_told {
            Ok(member.uid().unwrap_or_default())
        } else {
            Err(format!("{held:#?}"))
        }
    })
    .await
    .unwrap();
    event(stage, row.name, &uid, reason, row.words).await;
    uid
}

/// Waits for an Event on the object of that name and uid that says all the words.
pub async fn event(stage: &Stage, name: &str, uid: &str, reason: &str, words: &[&str]) {
    let events: Api<Event> = Api::namespaced(stage.client.clone(), "default");
    stage::eventually(&format!("{name}: an Event {reason}"), PATIENT, || async {
        let list = events
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        let notes: Vec<(String, String)> = list
            .into_iter()
            .filter(|event| {
                (event.regarding.as_ref()).is_some_and(|about| about.uid.as_deref() == Some(uid))
            })
            .map(|event| {
                (
                    event.reason.unwrap_or_default(),
                    event.note.unwrap_or_default(),
                )
            })
            .collect();
        let is_told = notes
            .iter()
            .any(|(said, note)| said == reason && words.iter().all(|word| note.contains(word)));
        if is_told {
            Ok(())
        } else {
            Err(format!("{notes:#?}"))
        }
    })
    .await
    .unwrap();
}

/// Waits until no condition speaks of the fault any more.
pub async fn mended(stage: &Stage, row: &Row) {
    let code = row.words[0];
    stage::eventually(
        &format!("{}: {code} is mended", row.name),
        PATIENT,
        || async {
            let member = stage
                .read_member(row.name)
                .await
                .map_err(|error| error.to_string())?;
            let held = member.status.unwrap_or_default().conditions;
            if held.iter().any(|one| one.message.contains(code)) {
                Err(format!("{held:#?}"))
            } else {
                Ok(())
            }
        },
    )
    .await
    .unwrap();
}

/// Deletes a member that was never installed. It may take a moment until nobody counts as enrolled any more.
pub async fn forget(stage: &Stage, name: &str, uid: &str) {
    let members: Api<MeshMember> = Api::all(stage.client.clone());
    stage::eventually(&format!("{name} is gone"), PATIENT, || async {
        match members.get_opt(name).await {
            Ok(None) => Ok(()),
            Ok(Some(member)) if member.uid().as_deref() != Some(uid) => Ok(()),
            Ok(Some(_)) => match members.delete(name, &DeleteParams::default()).await {
                Ok(_) => Err("still there".to_owned()),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .unwrap();
}

/// Since then the operator wrote nothing but what it has to say.
pub fn untouched(stage: &Stage, since: Timestamp) {
    const SAID: [&str; 6] = [
        "leases",
        // A question that is asked by creating.
        "selfsubjectrulesreviews",
        "events",
        "meshmembers/status",
        "applicationnetworks/status",
        "meshreleases/status",
    ];
    const READ: [&str; 3] = ["get", "list", "watch"];
    let written: BTreeSet<String> = audit::entries(&stage.cluster.audit_log(), OPERATOR)
        .unwrap()
        .iter()
        .filter(|entry| entry.at > since && !READ.contains(&entry.verb.as_str()))
        .filter(|entry| !SAID.contains(&entry.resource.as_str()))
        .map(ToString::to_string)
        .collect();
    assert_eq!(written, BTreeSet::new());
}
