//! What kwok does in place of kubelets: nodes become Ready, pods start, run and end.
//!
//! A stage is chosen by expressions on the object as it is, waits, and patches status with what a template makes of the
//! object. Written for what is read of it here; kwok's own stages are not used.

use serde_json::{Value, json};

use super::{LEASE, MANAGED};

/// Milliseconds a pod takes until it runs: its image is there or pulled, its sandbox made, its containers ready.
const START: (u32, u32) = (300, 1500);
/// Milliseconds a pod takes to end: nobody holds a connection to a simulated proxy, so none drains for longer.
const END: (u32, u32) = (200, 1000);

/// A running pod: every image is there, nothing was started again.
const RUNNING: &str = r#"
{{ $now := Now }}
phase: Running
startTime: {{ $now | Quote }}
conditions:
{{ range $type := list "PodReadyToStartContainers" "Initialized" "ContainersReady" "Ready" }}
- {type: {{ $type }}, status: "True", lastTransitionTime: {{ $now | Quote }}}
{{ end }}
{{ with NodeIPWith .spec.nodeName }}
hostIP: {{ . | Quote }}
{{ end }}
{{ with PodIPWith .spec.nodeName (or .spec.hostNetwork false) .metadata.uid .metadata.name .metadata.namespace }}
podIP: {{ . | Quote }}
podIPs: [{ip: {{ . | Quote }}}]
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: {{ .image | Quote }}
  containerID: {{ printf "simulated://%s" $.metadata.uid | Quote }}
  ready: true
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
{{ with .spec.initContainers }}
initContainerStatuses:
{{ range . }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: {{ .image | Quote }}
  containerID: {{ printf "simulated://%s" $.metadata.uid | Quote }}
  ready: true
  restartCount: 0
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}
{{ end }}
{{ end }}
"#;

/// A node whose kubelet has just said that it is there.
const READY: &str = r#"
{{ $now := Now }}
conditions:
- {type: Ready, status: "True", reason: KubeletReady, message: simulated, lastHeartbeatTime: {{ $now | Quote }}, lastTransitionTime: {{ $now | Quote }}}
"#;

/// kwok's configuration: its own settings, and the stages, one document each.
pub fn configuration() -> String {
    let deletion = ".metadata.deletionTimestamp";
    let ready = r#".status.conditions[]? | select(.type == "Ready") | .status"#;
    let documents = [
        json!({
            "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
            "kind": "KwokConfiguration",
            "metadata": {"name": "simulated"},
            "options": {
                "manageNodesWithAnnotationSelector": format!("{}={}", MANAGED.0, MANAGED.1),
                // A quarter of it lies between two beats of a node.
                "nodeLeaseDurationSeconds": LEASE,
                "nodeLeaseParallelism": 8,
                "nodePlayStageParallelism": 8,
                "podPlayStageParallelism": 16,
                "podsOnNodeSyncParallelism": 8,
            },
        }),
        stage(
            "node-ready",
            "Node",
            &[select(ready, "NotIn", &["True"])],
            None,
            &patch(READY),
        ),
        stage(
            "pod-runs",
            "Pod",
            &[
                select(deletion, "DoesNotExist", &[]),
                select(".status.phase", "In", &["Pending"]),
            ],
            Some(START),
            &patch(RUNNING),
        ),
        stage(
            "pod-ends",
            "Pod",
            &[select(deletion, "Exists", &[])],
            Some(END),
            &json!({"delete": true}),
        ),
    ];
    documents
        .map(|document| document.to_string())
        .join("\n---\n")
}

fn select(expression: &str, operator: &str, values: &[&str]) -> Value {
    json!({"jq": {"key": expression, "operator": operator, "values": values}})
}

fn patch(template: &str) -> Value {
    json!({"patch": {"subresource": "status", "root": "status", "template": template}})
}

fn stage(name: &str, kind: &str, when: &[Value], delay: Option<(u32, u32)>, step: &Value) -> Value {
    let mut spec = json!({
        "resourceRef": {"apiGroup": "v1", "kind": kind},
        "selector": {"matchExpressions": when},
        "steps": [step],
    });
    if let Some((least, most)) = delay {
        spec["delay"] = json!({
            "durationMilliseconds": least,
            "jitterDurationMilliseconds": most,
        });
    }
    json!({
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": spec,
    })
}
