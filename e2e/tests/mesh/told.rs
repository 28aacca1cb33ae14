//! What the operator says of a fault: a condition, an Event, a message and a metric, and that they end with it.

use std::time::Duration;

use applink::api::v1alpha1::{MeshMember, MeshMemberStatus};
use e2e::stage::{self, Stage};
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};

use crate::fixture::MEMBER;

/// How long something may take to be told, also on a machine that is busy with much else.
const PATIENCE: Duration = Duration::from_mins(2);

/// Waits until the member is Stalled for that reason with all these words; what it says.
pub async fn until_stalled(stage: &Stage, reason: &str, words: &[&str]) -> String {
    stage::eventually(&format!("Stalled/{reason}"), PATIENCE, || async {
        let text = said(stage, "Stalled").await?;
        let found = text.as_deref().filter(|text| {
            text.starts_with(&format!("{reason}: ")) && words.iter().all(|word| text.contains(word))
        });
        found.map(str::to_owned).ok_or_else(|| format!("{text:?}"))
    })
    .await
    .unwrap()
}

/// Waits until something is found in the member's status; what is found.
pub async fn until_status<T>(
    stage: &Stage,
    what: &str,
    within: Duration,
    find: impl Fn(&MeshMemberStatus) -> Option<T>,
) -> T {
    let find = &find;
    stage::eventually(what, within, || async move {
        let member = stage.read_member(MEMBER).await;
        let status = member.map_err(|error| error.to_string())?.status;
        let status = status.unwrap_or_default();
        find(&status).ok_or_else(|| {
            let MeshMemberStatus {
                rollout, upgrade, ..
            } = &status;
            format!("{rollout:?} {upgrade:?} {:#?}", status.conditions)
        })
    })
    .await
    .unwrap()
}

/// Waits until what a condition says while it is True is so; nothing is said where it is not.
pub async fn until_said(
    stage: &Stage,
    condition: &str,
    within: Duration,
    is_so: impl Fn(&str) -> bool,
) {
    stage::eventually(&format!("{condition} is as asked"), within, || async {
        let text = said(stage, condition).await?.unwrap_or_default();
        if is_so(&text) { Ok(()) } else { Err(text) }
    })
    .await
    .unwrap();
}

/// Waits until the member is neither Stalled nor Reconciling, and Ready.
pub async fn until_healed(stage: &Stage) {
    stage::eventually("the member is healed", PATIENCE, || async {
        for condition in ["Stalled", "Reconciling"] {
            if let Some(text) = said(stage, condition).await? {
                return Err(format!("{condition} {text}"));
            }
        }
        Ok(())
    })
    .await
    .unwrap();
    stage
        .until_condition(MEMBER, "Ready", "True", PATIENCE)
        .await
        .unwrap();
}

/// Waits for an Event about the member since then, of that reason, with all these words.
pub async fn until_event(stage: &Stage, since: Timestamp, reason: &str, words: &[&str]) {
    stage::eventually(&format!("Event {reason}"), PATIENCE, || async {
        let notes = events(stage, since, reason).await?;
        let told = notes
            .iter()
            .any(|note| words.iter().all(|word| note.contains(word)));
        if told {
            Ok(())
        } else {
            Err(format!("{notes:?}"))
        }
    })
    .await
    .unwrap();
}

/// Waits until the operator's metrics, asked by way of its Service, have this line.
pub async fn until_metric(stage: &Stage, line: &str) {
    let service =
        "/api/v1/namespaces/applink-operator/services/applink-operator-metrics:http-metrics";
    let path = format!("{service}/proxy/metrics");
    stage::eventually(&format!("metric {line}"), PATIENCE, || async {
        let text = (stage.cluster)
            .kubectl(&["get", "--raw", &path])
            .map_err(|error| e2e::command::chain(&error))?;
        if text.lines().any(|one| one == line) {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await
    .unwrap();
}

/// What Events about the member say since then, of that reason.
pub async fn events(stage: &Stage, since: Timestamp, reason: &str) -> Result<Vec<String>, String> {
    let events: Api<Event> = Api::all(stage.client.clone());
    let list = events
        .list(&ListParams::default())
        .await
        .map_err(|error| error.to_string())?;
    Ok(list
        .items
        .into_iter()
        .filter(|event| {
            event.regarding.as_ref().is_some_and(|object| {
                object.kind.as_deref() == Some("MeshMember")
                    && object.name.as_deref() == Some(MEMBER)
            })
        })
        .filter(|event| event.reason.as_deref() == Some(reason))
        .filter(|event| last(event).is_some_and(|at| at >= since))
        .filter_map(|event| event.note)
        .collect())
}

/// When an Event was last seen: one that repeats is counted up.
fn last(event: &Event) -> Option<Timestamp> {
    let repeated = event
        .series
        .as_ref()
        .map(|series| series.last_observed_time.0);
    repeated.or_else(|| event.event_time.as_ref().map(|time| time.0))
}

/// `reason: message` of a condition while it is True.
pub async fn said(stage: &Stage, condition: &str) -> Result<Option<String>, String> {
    let member: MeshMember = stage
        .read_member(MEMBER)
        .await
        .map_err(|error| error.to_string())?;
    Ok(member
        .status
        .unwrap_or_default()
        .conditions
        .into_iter()
        .find(|held| held.type_ == condition && held.status == "True")
        .map(|held| format!("{}: {}", held.reason, held.message)))
}
