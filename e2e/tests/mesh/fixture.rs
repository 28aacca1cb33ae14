//! The one stage that all tests share, and the states they start from.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use applink::api::v1alpha1::MeshMember;
use applink::names;
use e2e::cluster::{Cluster, Options};
use e2e::progress::Progress;
pub use e2e::stage::quick;
use e2e::stage::{self, Stage};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};

pub const MEMBER: &str = "local";
/// Whom the audit log names for what the operator asks.
pub const OPERATOR: &str = "system:serviceaccount:applink-operator:applink-operator";
pub const INSTALL: Duration = Duration::from_mins(3);
pub const LEAVE: Duration = Duration::from_mins(3);
pub const SOON: Duration = Duration::from_secs(30);
/// For what takes seconds, on a machine that does much else.
pub const PATIENT: Duration = Duration::from_secs(90);

/// One runtime for all tests: a client belongs to the runtime that made it.
static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Runtime::new().unwrap());

static STAGE: Mutex<Option<&'static Stage>> = Mutex::new(None);

fn options() -> Options {
    let name = std::env::var("APPLINK_E2E_NAME");
    Options::new(name.as_deref().unwrap_or("mesh-test"))
}

/// Where the API servers wrote what was asked: that of the stage, and that of another cluster that mesh tests
/// ran on beside it, where one is named.
pub fn audit_logs(stage: &Stage) -> Vec<PathBuf> {
    let beside = std::env::var("APPLINK_E2E_BESIDE").ok();
    let beside = beside.map(|name| Cluster::open(&Options::new(&name), Progress::new()).unwrap());
    let mut logs = vec![stage.cluster.audit_log()];
    logs.extend(beside.map(|cluster| cluster.audit_log()));
    logs
}

/// A handle of one's own on the stage's cluster, for those who take parts of it away and bring them back.
pub fn cluster() -> Cluster {
    Cluster::open(&options(), Progress::new()).unwrap()
}

/// Runs a test on the stage; the first one sets it up.
pub fn on_stage<F: Future<Output = ()>>(test: impl FnOnce(&'static Stage) -> F) {
    // A test that failed has poisoned the lock; the cluster is still there for the others.
    let mut slot = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    RUNTIME.block_on(async {
        let stage = if let Some(stage) = *slot {
            stage
        } else {
            let made = Stage::up(&options(), Progress::new()).await.unwrap();
            // It lives as long as the process.
            *slot.insert(Box::leak(Box::new(made)))
        };
        quiet(stage).await;
        test(stage).await;
    });
}

/// Takes away the traffic of tests that have failed: the others need what it would take of the machine.
async fn quiet(stage: &Stage) {
    let pods: Api<Pod> = Api::all(stage.client.clone());
    let asking = pods.list(&ListParams::default().labels("app=asks")).await;
    let left = asking.map(|list| list.items).unwrap_or_default();
    let left: BTreeSet<String> = left
        .into_iter()
        .filter_map(|pod| pod.metadata.namespace)
        .collect();
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    for namespace in left {
        let deleted = namespaces
            .delete(&namespace, &DeleteParams::default())
            .await
            .map(|_| "goes");
        eprintln!("the traffic of a test that failed, in {namespace}: {deleted:?}");
    }
}

/// The operator runs.
pub async fn operator(stage: &Stage) {
    stage.install_operator().unwrap();
    until_operator(stage).await;
}

/// Waits until the operator is ready.
pub async fn until_operator(stage: &Stage) {
    stage
        .until_pods_ready(
            "applink-operator",
            "app.kubernetes.io/name=applink",
            INSTALL,
        )
        .await
        .unwrap();
}

/// The operator runs and one member, pinned to the minor that can be run here, is up to date.
pub async fn installed(stage: &Stage) {
    installed_with(stage, json!({})).await;
}

/// The same with more in the member's spec.
pub async fn installed_with(stage: &Stage, more: Value) {
    operator(stage).await;
    stage.apply(&Stage::release("1.6.0", &["Rapid"])).unwrap();
    let spec = json!({"upgrade": {"version": "1.6", "strategy": quick()}});
    let spec = stage::with(spec, &more);
    // One of another network, which a test that failed has left, cannot be changed into this one.
    let wanted = spec.get("applicationNetwork").and_then(Value::as_str);
    let found = stage.read_member(MEMBER).await;
    if found.is_ok_and(|member| member.spec.application_network.as_deref() != wanted) {
        left(stage).await;
    }
    stage.apply(&Stage::member(MEMBER, &spec)).unwrap();
    for condition in ["Ready", "UpToDate"] {
        stage
            .until_condition(MEMBER, condition, "True", INSTALL)
            .await
            .unwrap();
    }
}

/// An enrolled namespace with the shop spread over both nodes: web on the first asks cart on the second.
pub async fn shop(stage: &Stage, namespace: &str) {
    installed(stage).await;
    shop_pods(stage, namespace).await;
}

/// The same beside a member that is there already.
pub async fn shop_pods(stage: &Stage, namespace: &str) {
    stage
        .apply(&stage::namespace(
            namespace,
            &json!({"istio.io/dataplane-mode": "ambient"}),
        ))
        .unwrap();
    for (name, node, next) in [
        ("stock", "node-1", None),
        ("cart", "node-2", Some("http://stock:8080")),
        ("web", "node-1", Some("http://cart:8080")),
    ] {
        stage
            .apply(&stage::shop(namespace, name, node, next))
            .unwrap();
    }
    stage
        .until_pods_ready(namespace, "app", INSTALL)
        .await
        .unwrap();
}

/// Removes a namespace and waits until it is gone.
pub async fn remove_namespace(stage: &Stage, name: &str) {
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    stage::eventually(&format!("namespace {name} gone"), LEAVE, || async {
        let found = namespaces.get_opt(name).await;
        match found.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(found) if found.metadata.deletion_timestamp.is_some() => {
                Err(format!("it ends: {:?}", found.status))
            }
            // Asked again until it is heard: after a loss of the API server the first request may be lost as well.
            Some(_) => match namespaces.delete(name, &DeleteParams::default()).await {
                Ok(_) => Err("it has been told to end".to_owned()),
                Err(error) => Err(error.to_string()),
            },
        }
    })
    .await
    .unwrap();
}

/// Removes the member, if there is one, and waits until it has left. Namespaces that a test which failed has left enrolled
/// are let go before.
pub async fn left(stage: &Stage) {
    let key = names::DATAPLANE_MODE_LABEL;
    let users = format!("{key}=ambient,app.kubernetes.io/part-of!=applink");
    let unlabel = ["label", "namespaces", "-l", &users, &format!("{key}-")];
    stage.cluster.kubectl(&unlabel).unwrap();
    // Until the member says that nobody is enrolled, it may not go.
    let members: Api<MeshMember> = Api::all(stage.client.clone());
    stage::eventually("the member may be deleted", SOON, || async {
        match members.delete(MEMBER, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .unwrap();
    until_left(stage).await;
}

/// Waits until the member, which is being deleted, has left.
pub async fn until_left(stage: &Stage) {
    let members: Api<MeshMember> = Api::all(stage.client.clone());
    stage::eventually("the member has left", LEAVE, || async {
        match members.get_opt(MEMBER).await {
            Ok(None) => Ok(()),
            Ok(Some(member)) => Err(format!("{:?}", member.status)),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .unwrap();
}
