//! Steps of a rollout, forward and back.

use applink::names;
use hyper::Method;
use serde_json::Value;

use super::{Done, Phase, settles};
use crate::write_proxy::Write;

/// The step that a write of a rollout belongs to.
pub(super) fn step(phase: Phase, write: &Write, before: &Done) -> &'static str {
    let path = write.path.as_str();
    let is = |part: &str| path.contains(part);
    let is_back = before.has("Failure");
    let nodes = if is_back { "Back" } else { "Nodes" };
    if is("/apis/applink.dev/") {
        let is_member = is("/meshmembers/") && path.ends_with("/status");
        return if is_member {
            told(write, before)
        } else {
            "Status"
        };
    }
    let deletes = write.method == Method::DELETE;
    let finishes = phase == Phase::Upgrade;
    if is(names::PREPULL) {
        "Prepull"
    } else if is("/nodes/") {
        let label = label(write);
        let is_last = finishes && label.is_some_and(|label| label.is_null());
        if is_last { "Finish" } else { nodes }
    } else if is("/pods/") || is("/daemonsets/istio-cni") {
        nodes
    } else if is("/daemonsets/ztunnel") {
        if finishes && (deletes || is_for_all(write)) {
            "Finish"
        } else {
            nodes
        }
    } else if finishes && is(names::DEFAULT_VALIDATOR) {
        "Finish"
    } else if deletes {
        "Retire"
    } else {
        "ControlPlane"
    }
}

/// The step of a status of the member: what must be remembered is a step of its own.
fn told(write: &Write, before: &Done) -> &'static str {
    let body = body(write);
    let has_begun = ["Nodes", "ControlPlane", "Prepull"]
        .iter()
        .any(|step| before.has(step));
    let target = body.pointer("/status/version/target");
    let failed = body.pointer("/status/failedReleases/0/version");
    if body.pointer("/status/rollout").is_some() {
        let has_failed = failed.is_some() && failed == target;
        match (has_begun, has_failed && !before.has("Failure")) {
            (_, true) => "Failure",
            (false, false) => "Begin",
            (true, false) => "Status",
        }
    } else if has_begun && settles(&write.body) {
        "Done"
    } else {
        "Status"
    }
}

/// The node has arrived at a revision with this.
pub(super) fn is_arrival(write: &Write) -> bool {
    let label = write.path.contains("/nodes/").then(|| label(write));
    let label = label.flatten();
    let label = label.as_ref().and_then(Value::as_str);
    label.is_some_and(|label| !label.ends_with(".moving"))
}

/// What becomes of a node's label.
fn label(write: &Write) -> Option<Value> {
    let labels = body(write);
    let labels = labels.pointer("/metadata/labels")?;
    labels.get(names::NODE_ZTUNNEL_LABEL).cloned()
}

/// A `DaemonSet` that nodes need no label for: it was bound to one before.
fn is_for_all(write: &Write) -> bool {
    let body = body(write);
    body.pointer("/spec/template/spec/containers").is_some()
        && !body["spec"].to_string().contains(names::NODE_ZTUNNEL_LABEL)
}

fn body(write: &Write) -> Value {
    serde_json::from_slice(&write.body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use hyper::body::Bytes;
    use serde_json::json;

    use super::*;

    fn write(method: Method, path: &str, body: &Value) -> Write {
        Write {
            number: 1,
            method,
            path: path.to_owned(),
            body: Bytes::from(body.to_string()),
            done: None,
        }
    }

    #[test]
    fn each_write_of_an_upgrade_belongs_to_the_step_that_makes_it() {
        let apps = "/apis/apps/v1/namespaces/applink-system";
        let status = "/apis/applink.dev/v1alpha1/meshmembers/m/status";
        let node = |label: Value| json!({"metadata": {"labels": {"applink.dev/ztunnel": label}}});
        let set = |terms: Value| json!({"spec": {"template": {"spec": {"containers": [], "affinity": terms}}}});
        let rolling = json!({"status": {"rollout": {"step": "Nodes"}, "version": {"current": "1.6.0", "target": "1.7.0"}}});
        let settled = json!({"status": {"version": {"current": "1.7.0"}}});
        let empty = json!({});
        let rows = [
            ("PATCH", status.to_owned(), &settled, "Status"),
            ("PATCH", status.to_owned(), &rolling, "Begin"),
            (
                "PATCH",
                format!("{apps}/daemonsets/applink-prepull-1-7-0-a"),
                &empty,
                "Prepull",
            ),
            (
                "PATCH",
                format!("{apps}/deployments/istiod-1-7-0"),
                &empty,
                "ControlPlane",
            ),
            ("PATCH", status.to_owned(), &rolling, "Status"),
            (
                "PATCH",
                format!("{apps}/daemonsets/ztunnel-1-6-0-b"),
                &empty,
                "Nodes",
            ),
            (
                "PATCH",
                format!("{apps}/daemonsets/ztunnel-1-7-0-a"),
                &set(json!([{"key": "applink.dev/ztunnel", "operator": "In"}])),
                "Nodes",
            ),
            (
                "DELETE",
                "/api/v1/namespaces/applink-system/pods/istio-cni-node-x".to_owned(),
                &empty,
                "Nodes",
            ),
            (
                "PATCH",
                "/api/v1/nodes/n".to_owned(),
                &node(json!("1-7-0-a")),
                "Nodes",
            ),
            (
                "PATCH",
                "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/istiod-default-validator".to_owned(),
                &empty,
                "Finish",
            ),
            (
                "PATCH",
                format!("{apps}/daemonsets/ztunnel-1-7-0-a"),
                &set(json!([])),
                "Finish",
            ),
            (
                "DELETE",
                format!("{apps}/daemonsets/ztunnel-1-6-0-b"),
                &empty,
                "Finish",
            ),
            (
                "PATCH",
                "/api/v1/nodes/n".to_owned(),
                &node(Value::Null),
                "Finish",
            ),
            (
                "DELETE",
                format!("{apps}/deployments/istiod-1-6-0"),
                &empty,
                "Retire",
            ),
            ("PATCH", status.to_owned(), &settled, "Done"),
        ];
        let mut before = Done::default();
        for (method, path, body, expected) in rows {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let write = write(method, &path, body);
            let found = step(Phase::Upgrade, &write, &before);
            assert_eq!(found, expected, "{} {path}", write.method);
            assert!(super::super::STEPS.contains(&(Phase::Upgrade, found)));
            before.add(found, &write);
        }
    }

    #[test]
    fn what_follows_a_recorded_failure_goes_back() {
        let status = "/apis/applink.dev/v1alpha1/meshmembers/m/status";
        let version = json!({"current": "1.7.0", "target": "1.8.0"});
        let failed = json!({"status": {
            "rollout": {"step": "Nodes"}, "version": version, "failedReleases": [{"version": "1.8.0"}],
        }});
        let back = json!({"metadata": {"labels": {"applink.dev/ztunnel": null}}});
        let mut before = Done::default();
        let forward = write(Method::PATCH, "/api/v1/nodes/n", &json!({}));
        assert_eq!(step(Phase::Rollback, &forward, &before), "Nodes");
        before.add("Nodes", &forward);
        let failure = write(Method::PATCH, status, &failed);
        assert_eq!(step(Phase::Rollback, &failure, &before), "Failure");
        before.add("Failure", &failure);
        assert_eq!(step(Phase::Rollback, &failure, &before), "Status");
        let back = write(Method::PATCH, "/api/v1/nodes/n", &back);
        assert_eq!(step(Phase::Rollback, &back, &before), "Back");
    }

    #[test]
    fn the_last_node_to_arrive_is_known() {
        let arrives = |node: &str, label: &str| {
            let body = json!({"metadata": {"labels": {"applink.dev/ztunnel": label}}});
            write(Method::PATCH, &format!("/api/v1/nodes/{node}"), &body)
        };
        let mut before = Done::default();
        assert!(!before.is_last_arrival(&arrives("a", "r"), 2));
        before.add("Nodes", &arrives("a", "r"));
        assert!(!before.is_last_arrival(&arrives("a", "r"), 2));
        assert!(!before.is_last_arrival(&arrives("b", "r.moving"), 2));
        assert!(before.is_last_arrival(&arrives("b", "r"), 2));
    }
}
