//! Live objects to readiness: rollout arithmetic and what keeps pods from running.
//!
//! "Updated" of a node component is judged by the template hash of its pods, never by a `DaemonSet`'s status: an edited
//! affinity leaves pods of strategy `OnDelete` alone but resets `updatedNumberScheduled`.

use jiff::Timestamp;
use serde_json::Value;

use crate::facts::{Live, Pod};

/// How far a Deployment is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deployment {
    /// The controller has seen the newest spec.
    pub observed: bool,
    /// Replicas asked for.
    pub desired: i64,
    /// Replicas of the newest template.
    pub updated: i64,
    /// Replicas that are available.
    pub available: i64,
    /// Replicas that are ready.
    pub ready: i64,
}

impl Deployment {
    /// Reads a Deployment's counters; what is absent is zero, as the API says.
    pub fn of(live: &Live) -> Self {
        Self {
            observed: is_observed(live),
            desired: number(&live.body, "/spec/replicas").unwrap_or(1),
            updated: number(&live.body, "/status/updatedReplicas").unwrap_or(0),
            available: number(&live.body, "/status/availableReplicas").unwrap_or(0),
            ready: number(&live.body, "/status/readyReplicas").unwrap_or(0),
        }
    }

    /// The newest spec runs: every replica is of the newest template and available.
    pub fn is_rolled_out(&self) -> bool {
        self.observed && self.updated >= self.desired && self.available >= self.desired
    }

    /// The same but for `lost` replicas on nodes that do not answer, when at least one is available: Kubernetes makes
    /// them anew elsewhere after minutes, and the others serve meanwhile.
    pub fn is_rolled_out_but(&self, lost: usize) -> bool {
        let lost = i64::try_from(lost).unwrap_or(i64::MAX);
        self.is_rolled_out()
            || (self.observed
                && self.updated >= self.desired
                && self.available > 0
                && self.available.saturating_add(lost) >= self.desired)
    }
}

/// Since when the API server takes no pod of a Deployment, and its words.
pub fn refused(live: &Live) -> Option<(Option<Timestamp>, &str)> {
    let condition = live
        .body
        .pointer("/status/conditions")?
        .as_array()?
        .iter()
        .find(|one| one["type"] == "ReplicaFailure" && one["status"] == "True")?;
    let since = condition["lastTransitionTime"]
        .as_str()
        .and_then(|time| time.parse().ok());
    Some((since, condition["message"].as_str().unwrap_or_default()))
}

/// The controller of this object has seen its newest spec.
pub fn is_observed(live: &Live) -> bool {
    number(&live.body, "/status/observedGeneration").unwrap_or(0) >= live.generation
}

fn number(body: &Value, pointer: &str) -> Option<i64> {
    body.pointer(pointer).and_then(Value::as_i64)
}

/// What is wrong with pods that do not run, worst first: an image that cannot be had before a crash before the rest.
/// `None` when nothing is known to be wrong.
pub fn trouble<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Option<(&'a Pod, String)> {
    let worst = pods
        .into_iter()
        .filter(|pod| !pod.ready && !pod.deleting)
        .filter_map(|pod| pod.trouble.as_ref().map(|trouble| (pod, trouble)))
        .min_by_key(|(pod, trouble)| {
            let rank = match trouble.reason.as_str() {
                _ if trouble.is_image() => 0,
                "CrashLoopBackOff" | "RunContainerError" | "CreateContainerConfigError" => 1,
                "Unschedulable" => 2,
                _ => 3,
            };
            (rank, pod.name.as_str())
        })?;
    let (pod, trouble) = worst;
    let mut text = trouble.reason.clone();
    if let Some(image) = trouble.image.as_deref().filter(|_| trouble.is_image()) {
        text = format!("{text} of {image}");
    }
    if !trouble.message.is_empty() {
        text = format!("{text}: {}", trouble.message);
    }
    Some((pod, text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::facts::Trouble;

    fn live(generation: i64, body: Value) -> Live {
        Live {
            generation,
            body,
            ..Live::default()
        }
    }

    #[test]
    fn a_rollout_is_done_only_when_the_newest_spec_is_seen_updated_and_available() {
        let of = |observed: i64, updated: i64, available: i64| {
            Deployment::of(&live(
                3,
                json!({"spec": {"replicas": 2}, "status": {"observedGeneration": observed, "updatedReplicas": updated, "availableReplicas": available}}),
            ))
            .is_rolled_out()
        };
        assert!(of(3, 2, 2));
        assert!(!of(2, 2, 2), "an old generation");
        assert!(!of(3, 1, 2), "an old replica");
        assert!(!of(3, 2, 1), "an unavailable replica");
        assert!(!Deployment::of(&live(1, json!({}))).is_rolled_out());
    }

    #[test]
    fn replicas_on_nodes_that_do_not_answer_are_excused_while_one_serves() {
        let of = |available: i64, updated: i64, lost: usize| {
            Deployment {
                observed: true,
                desired: 2,
                updated,
                available,
                ready: available,
            }
            .is_rolled_out_but(lost)
        };
        assert!(of(2, 2, 0) && of(1, 2, 1));
        assert!(!of(1, 2, 0), "it starts, on a node that answers");
        assert!(!of(0, 2, 2), "nobody serves");
        assert!(!of(1, 1, 1), "an old replica");
    }

    #[test]
    fn a_deployment_tells_that_its_pods_are_not_taken_and_since_when() {
        let with = |conditions: Value| live(1, json!({"status": {"conditions": conditions}}));
        let failure = |status: &str| json!({"type": "ReplicaFailure", "status": status, "lastTransitionTime": "2026-11-21T11:00:00Z", "message": "exceeded quota"});
        let available = json!({"type": "Available", "status": "True"});
        let found = with(json!([available, failure("True")]));
        let since = "2026-11-21T11:00:00Z".parse().ok();
        assert_eq!(refused(&found), Some((since, "exceeded quota")));
        assert_eq!(refused(&with(json!([available, failure("False")]))), None);
        assert_eq!(refused(&with(json!([]))), None);
        assert_eq!(refused(&Live::default()), None);
    }

    #[test]
    fn an_image_that_cannot_be_had_is_told_before_a_crash() {
        let pod = |name: &str, reason: &str| Pod {
            name: name.to_owned(),
            trouble: Some(Trouble {
                reason: reason.to_owned(),
                message: "m".to_owned(),
                image: Some("i:1".to_owned()),
            }),
            ..Pod::default()
        };
        let pods = [pod("a", "CrashLoopBackOff"), pod("b", "ImagePullBackOff")];
        let (worst, text) = trouble(&pods).unwrap();
        assert_eq!(
            (worst.name.as_str(), text.as_str()),
            ("b", "ImagePullBackOff of i:1: m")
        );
        assert_eq!(trouble(&[Pod::default()]), None);
    }
}
