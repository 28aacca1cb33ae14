//! A node held in the overlap of two proxies, so that things can happen in it.

use std::collections::{BTreeMap, BTreeSet};

use e2e::cluster::Error;
use e2e::stage::{self, Stage};
use serde_json::{Value, json};

use crate::fixture::{INSTALL, MEMBER, SOON};

const NAME: &str = "held-overlap";
/// What the operator is told meanwhile: it tries again.
const REFUSED: &str = "failed calling webhook";
/// Where the network agent says of a pod that it has captured it.
const CAPTURED: &str = "/metadata/annotations/ambient.istio.io~1redirection";

/// A webhook that nobody answers, asked whenever a node would leave the overlap. Gone when dropped.
pub struct Hold(&'static Stage);

impl Hold {
    /// Returns when it holds.
    pub async fn new(stage: &'static Stage) -> Self {
        let hold = Self(stage);
        let webhook = |name: &str, resource: &str, operation: &str, condition: &str| {
            json!({
                "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "failurePolicy": "Fail", "timeoutSeconds": 1,
                "clientConfig": {"url": "https://127.0.0.1:1/"},
                "rules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": [operation],
                    "resources": [resource], "scope": "*",
                }],
                "matchConditions": [{"name": "held", "expression": condition}],
            })
        };
        let leaves = "has(oldObject.metadata.labels) && 'applink.dev/ztunnel' in oldObject.metadata.labels \
            && oldObject.metadata.labels['applink.dev/ztunnel'].endsWith('.moving') \
            && !('applink.dev/ztunnel' in object.metadata.labels \
            && object.metadata.labels['applink.dev/ztunnel'].endsWith('.moving'))";
        let probe = format!("object.metadata.name == '{NAME}'");
        let object = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": NAME},
            "webhooks": [
                webhook("overlap.held.test", "nodes", "UPDATE", leaves),
                webhook("probe.held.test", "configmaps", "CREATE", &probe),
            ],
        });
        stage.apply(&object).unwrap();
        stage::eventually("the hold is in force", SOON, || async {
            let create = ["create", "configmap", NAME, "--dry-run=server"];
            match stage.cluster.kubectl(&create) {
                Ok(_) => Err("not yet".to_owned()),
                Err(_) => Ok(()),
            }
        })
        .await
        .unwrap();
        hold
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let delete = ["delete", "validatingwebhookconfiguration", NAME];
        if let Err(error) = self.0.cluster.kubectl(&delete) {
            eprintln!("the hold stays: {error}");
        }
    }
}

pub fn get(stage: &Stage, what: &[&str]) -> Value {
    let mut words = vec!["get"];
    words.extend(what);
    words.extend(["-o", "json"]);
    serde_json::from_str(&stage.cluster.kubectl(&words).unwrap()).unwrap()
}

/// Name, container and restarts of a pod of the data plane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Component {
    pub created: String,
    pub name: String,
    pub container: String,
    pub restarts: i64,
    pub ready: bool,
}

/// Pods of the data plane on a node; those that end are left out.
pub fn pods(stage: &Stage, node: &str, label: &str) -> Vec<Value> {
    let on_node = format!("spec.nodeName={node}");
    let list = [
        "pods",
        "-n",
        "applink-system",
        "-l",
        label,
        "--field-selector",
        &on_node,
    ];
    let list = get(stage, &list);
    let all = list["items"].as_array().into_iter().flatten();
    all.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .cloned()
        .collect()
}

/// What matters of them, the oldest first.
pub fn components(stage: &Stage, node: &str, label: &str) -> Vec<Component> {
    let mut all: Vec<Component> = pods(stage, node, label)
        .iter()
        .map(|pod| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let status = &pod["status"]["containerStatuses"][0];
            Component {
                created: text(&pod["metadata"]["creationTimestamp"]),
                name: text(&pod["metadata"]["name"]),
                container: text(&status["containerID"]),
                restarts: status["restartCount"].as_i64().unwrap_or_default(),
                ready: status["ready"] == true,
            }
        })
        .collect();
    all.sort();
    all
}

pub fn proxies(stage: &Stage, node: &str) -> Vec<Component> {
    components(stage, node, "app=ztunnel")
}

/// Waits until the operator would end the overlap on a node, and cannot: both proxies serve, the one that stays has
/// shown that it serves everything. The node.
pub async fn until_held(stage: &Stage) -> String {
    stage::eventually("a node is held in the overlap", INSTALL, || async {
        let member = stage.read_member(MEMBER).await;
        let member = member.map_err(|error| error.to_string())?;
        let generation = member.metadata.generation;
        let status = member.status.unwrap_or_default();
        let is_new = status.observed_generation == generation;
        let told = serde_json::to_string(&status).unwrap_or_default();
        let nodes = get(stage, &["nodes"]);
        let label = |node: &Value| {
            let label = node["metadata"]["labels"]["applink.dev/ztunnel"].as_str();
            label.is_some_and(|label| label.ends_with(".moving"))
        };
        let held = nodes["items"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|node| label(node));
        match held.and_then(|node| node["metadata"]["name"].as_str()) {
            Some(node) if is_new && told.contains(REFUSED) => {
                let both = proxies(stage, node);
                match &both[..] {
                    [old, new] if old.ready && new.ready => Ok(node.to_owned()),
                    _ => Err(format!("{both:?}")),
                }
            }
            held => Err(format!("{held:?}, {told}")),
        }
    })
    .await
    .unwrap()
}

/// Sends a signal to a container's process; the container is named as a pod's status names it.
pub fn signal(stage: &Stage, node: &str, container: &str, signal: &str) -> Result<(), Error> {
    let id = container.trim_start_matches("containerd://");
    let kill = [
        "ctr", "-n", "k8s.io", "tasks", "kill", "--signal", signal, id,
    ];
    stage.cluster.run_on(node, &kill).map(|_| ())
}

/// Ends a container's process as the kernel would, and waits until it runs again.
pub async fn kill(stage: &Stage, node: &str, victim: &Component) {
    signal(stage, node, &victim.container, "SIGKILL").unwrap();
    stage::eventually(&format!("{} runs again", victim.name), SOON, || async {
        let all = proxies(stage, node);
        let again = |one: &&Component| one.name == victim.name && one.restarts > victim.restarts;
        match all.iter().find(again) {
            Some(one) if one.ready => Ok(()),
            _ => Err(format!("{all:?}")),
        }
    })
    .await
    .unwrap();
}

/// Enrolled pods of a node by uid, whatever namespace they are of: name and address.
pub fn enrolled(stage: &Stage, node: &str) -> BTreeMap<String, (String, String)> {
    let on_node = format!("spec.nodeName={node}");
    let list = get(stage, &["pods", "-A", "--field-selector", &on_node]);
    let text = |pod: &Value, at: &str| {
        let text = pod.pointer(at).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    (list["items"].as_array().into_iter().flatten())
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .filter(|pod| text(pod, CAPTURED) == "enabled")
        .map(|pod| {
            let name = text(pod, "/metadata/name");
            (
                text(pod, "/metadata/uid"),
                (name, text(pod, "/status/podIP")),
            )
        })
        .collect()
}

/// Uids of the pods that the one proxy of a node says it serves.
pub async fn served(stage: &Stage, node: &str) -> Result<BTreeSet<String>, String> {
    let proxies = proxies(stage, node);
    let [proxy] = &proxies[..] else {
        return Err(format!("not one proxy on {node}: {proxies:?}"));
    };
    e2e::served::served(stage, &proxy.name).await
}
