//! What tests make wrong in a cluster, and put right again.

use e2e::stage::Stage;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

/// The namespace of whoever is not us.
pub const SOMEBODY: &str = "somebody";

/// What is made wrong, and put right again.
pub enum Fault {
    /// An object that is there.
    There(Value),
    /// A node that nobody runs.
    Node(Value),
    /// Command lines of kubectl that make it and mend it.
    Kubectl(&'static str, &'static str),
    /// Two that belong together.
    Both(Box<Self>, Box<Self>),
    /// Every node says that this is its operating system. Its kubelet puts that right within seconds.
    System(&'static str),
}

impl Fault {
    pub async fn make(&self, stage: &Stage) {
        match self {
            Self::There(object) => stage.apply(object).unwrap(),
            Self::Node(node) => {
                let nodes: Api<Node> = Api::all(stage.client.clone());
                let node = serde_json::from_value(node.clone()).unwrap();
                // The status is taken when a node is created, and not when it is applied.
                nodes.create(&PostParams::default(), &node).await.unwrap();
            }
            Self::Kubectl(make, _) => kubectl(stage, make),
            Self::Both(one, other) => {
                Box::pin(one.make(stage)).await;
                Box::pin(other.make(stage)).await;
            }
            Self::System(_) => self.hold(stage).await,
        }
    }

    /// Makes it once more, where others mend it meanwhile.
    pub async fn hold(&self, stage: &Stage) {
        if let Self::System(name) = self {
            system(stage, name).await;
        }
    }

    pub async fn mend(&self, stage: &Stage) {
        match self {
            Self::There(object) | Self::Node(object) => delete(stage, object),
            Self::Kubectl(_, mend) => kubectl(stage, mend),
            Self::Both(one, other) => {
                Box::pin(one.mend(stage)).await;
                Box::pin(other.mend(stage)).await;
            }
            Self::System(_) => system(stage, "linux").await,
        }
    }
}

fn kubectl(stage: &Stage, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    stage.cluster.kubectl(&words).unwrap();
}

/// Deletes an object by its kind and name, and waits until it is gone.
pub fn delete(stage: &Stage, object: &Value) {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let kind = text("/kind").unwrap();
    let name = text("/metadata/name").unwrap();
    let mut words = vec!["delete", kind, name, "--ignore-not-found"];
    if let Some(namespace) = text("/metadata/namespace") {
        words.extend(["-n", namespace]);
    }
    stage.cluster.kubectl(&words).unwrap();
}

/// The same with each of them.
pub fn delete_all(stage: &Stage, objects: &[Value]) {
    for object in objects {
        delete(stage, object);
    }
}

async fn system(stage: &Stage, name: &str) {
    let nodes: Api<Node> = Api::all(stage.client.clone());
    let patch = Patch::Merge(json!({"status": {"nodeInfo": {"operatingSystem": name}}}));
    for node in nodes.list(&ListParams::default()).await.unwrap() {
        nodes
            .patch_status(&node.name_any(), &PatchParams::default(), &patch)
            .await
            .unwrap();
    }
}

/// A `DaemonSet` of somebody else that runs nowhere.
pub fn daemon_set(name: &str) -> Value {
    let labels = json!({"of": name});
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": SOMEBODY},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "nodeSelector": {"no": "where"},
                    "containers": [{"name": "none", "image": "none"}],
                },
            },
        },
    })
}
