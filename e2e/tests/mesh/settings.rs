//! A member with settings of its own, in a network with a trust domain of its own that is strict: what was asked for is what
//! runs, and it leaves with its namespaces.

use e2e::stage::{self, Stage};
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};

use crate::fixture::{
    INSTALL, MEMBER, PATIENT, SOON, left, on_stage, operator, quick, remove_namespace, shop_pods,
    until_left,
};
use crate::running::{assert_nodes_clean, assert_nothing_left, data_plane, talks};
use crate::told::{until_healed, until_said};
use crate::traffic::{until_answer, until_both_proxies_saw};

const NETWORK: &str = "guarded";
const TRUST: &str = "shop.example";
/// The Istio network of the cluster's pods, in place of the member's name.
const CAMPUS: &str = "campus";
const NODES: [&str; 2] = ["node-1", "node-2"];
/// The taint that istiod takes off a node whose agent runs.
const STARTUP: &str = "cni.istio.io/not-ready";

fn kubectl(stage: &Stage, arguments: &[&str]) -> String {
    stage.cluster.kubectl(arguments).unwrap()
}

fn get(stage: &Stage, what: &[&str]) -> Value {
    let arguments = [&["get", "-o", "json"], what].concat();
    serde_json::from_str(&kubectl(stage, &arguments)).unwrap()
}

fn in_system(stage: &Stage, what: &[&str]) -> Value {
    get(stage, &[what, &["-n", "applink-system"]].concat())
}

fn network(mtls: &str) -> Value {
    json!({
        "apiVersion": "applink.dev/v1alpha1", "kind": "ApplicationNetwork",
        "metadata": {"name": NETWORK}, "spec": {"trustDomain": TRUST, "mtls": mtls},
    })
}

/// Requests that no default has.
fn requests(memory: &str) -> Value {
    json!({"requests": {"cpu": "13m", "memory": memory}})
}

fn spec() -> Value {
    json!({
        "applicationNetwork": NETWORK,
        "network": CAMPUS,
        "leavePolicy": "UnenrolNamespaces",
        "upgrade": {"version": "1.6", "strategy": quick()},
        "controlPlane": {"replicas": 1, "resources": requests("141Mi")},
        "images": {"pullSecrets": [{"name": "mine"}]},
        "dataPlane": {
            "nodeSelector": {"pool": "mesh"},
            "tolerations": [{"key": "dedicated", "operator": "Exists"}],
            "ztunnel": {"resources": requests("71Mi")},
            "cni": {"startupTaint": true, "resources": requests("72Mi")},
        },
    })
}

/// The same without secrets to pull with.
fn without_secrets() -> Value {
    let mut spec = spec();
    spec.as_object_mut().unwrap().remove("images");
    spec
}

/// Nodes as the spec wants them: both in the pool, one of them for the few, one that waits for its agent.
struct Pool(&'static Stage);

impl Pool {
    fn new(stage: &'static Stage) -> Self {
        kubectl(
            stage,
            &[
                "label",
                "node",
                "node-1",
                "node-2",
                "pool=mesh",
                "--overwrite",
            ],
        );
        for (node, taint) in [("node-1", STARTUP), ("node-2", "dedicated")] {
            let taint = format!("{taint}=yes:NoSchedule");
            kubectl(stage, &["taint", "node", node, &taint, "--overwrite"]);
        }
        Self(stage)
    }

    /// Whether the one taint is still there.
    fn is_tainted(&self, node: &str, key: &str) -> bool {
        let taints = get(self.0, &["node", node])["spec"]["taints"].clone();
        (taints.as_array().into_iter().flatten()).any(|one| one["key"] == key)
    }

    fn open(&self) {
        kubectl(self.0, &["taint", "node", "node-2", "dedicated-"]);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for node in NODES {
            // A taint that is not there any more is no failure of a test.
            for key in [STARTUP, "dedicated"] {
                let _ = self
                    .0
                    .cluster
                    .kubectl(&["taint", "node", node, &format!("{key}-")]);
            }
            let _ = self.0.cluster.kubectl(&["label", "node", node, "pool-"]);
        }
    }
}

async fn installed(stage: &Stage) {
    stage.apply(&Stage::release("1.6.0", &["Rapid"])).unwrap();
    let login = json!({"auths": {"registry.example": {"auth": "bmFtZTpwYXNzd29yZA=="}}});
    stage
        .apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
            "metadata": {"name": "mine", "namespace": "applink-operator"},
            "stringData": {".dockerconfigjson": login.to_string()},
        }))
        .unwrap();
    stage.apply(&network("Strict")).unwrap();
    stage.apply(&Stage::member(MEMBER, &spec())).unwrap();
    for condition in ["Ready", "UpToDate"] {
        (stage
            .until_condition(MEMBER, condition, "True", INSTALL)
            .await)
            .unwrap();
    }
}

/// What the spec asked for is what runs.
fn assert_as_asked(stage: &Stage) {
    let istiod = in_system(stage, &["deployment", "istiod-1-6-0"]);
    assert_eq!(istiod["spec"]["replicas"], 1);
    let pods = in_system(stage, &["pods"]);
    let mut seen = Vec::new();
    for pod in pods["items"].as_array().unwrap() {
        let container = &pod["spec"]["containers"][0];
        let memory = match container["name"].as_str().unwrap() {
            "discovery" => "141Mi",
            "istio-proxy" => "71Mi",
            "install-cni" => "72Mi",
            _ => continue,
        };
        assert_eq!(
            container["resources"]["requests"],
            requests(memory)["requests"]
        );
        assert_eq!(
            pod["spec"]["imagePullSecrets"],
            json!([{"name": "applink-pull"}])
        );
        if memory == "71Mi" {
            let mut set = container["env"].as_array().into_iter().flatten();
            let network = set.find(|one| one["name"] == "NETWORK");
            assert_eq!(network.unwrap()["value"], CAMPUS);
        }
        if memory != "141Mi" {
            seen.push(format!("{} {}", pod["spec"]["nodeName"], container["name"]));
        }
    }
    seen.sort();
    assert_eq!(seen.len(), 4, "both on both nodes: {seen:?}");
    let copy = in_system(stage, &["secret", "applink-pull"]);
    assert_eq!(copy["type"], "kubernetes.io/dockerconfigjson");
    // Where istiod reads it.
    let system = get(stage, &["namespace", "applink-system"]);
    let label = &system["metadata"]["labels"]["topology.istio.io/network"];
    assert_eq!(label, CAMPUS);
}

/// Nothing is to be pulled with credentials any more: every node gets pods without, and then the copy goes.
async fn pull_secrets_go(stage: &Stage) {
    let spec = without_secrets();
    stage.apply(&Stage::member(MEMBER, &spec)).unwrap();
    (stage
        .until_condition(MEMBER, "UpToDate", "True", INSTALL)
        .await)
        .unwrap();
    stage::eventually("the copy of pull secrets is gone", SOON, || async {
        let secrets = ["get", "secrets", "-n", "applink-system", "-o", "name"];
        let left = stage.cluster.kubectl(&secrets);
        let left = left.map_err(|error| error.to_string())?;
        if left.lines().any(|one| one == "secret/applink-pull") {
            Err(left)
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
    let pods = in_system(stage, &["pods", "-l", "app=ztunnel"]);
    let pods = pods["items"].as_array().unwrap();
    let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    let asking: Vec<&Value> = (pods.iter().filter(stays))
        .map(|pod| &pod["spec"]["imagePullSecrets"])
        .filter(|secrets| !secrets.is_null())
        .collect();
    assert!(asking.is_empty(), "{asking:?}");
}

/// A network that has a member is kept. Somebody insists, and its owner makes it again: the mesh runs on, and nothing is made
/// anew.
async fn network_comes_and_goes(stage: &Stage, namespace: &str) {
    let before = data_plane(stage);
    let root = || {
        get(
            stage,
            &["secret", "-n", "applink-operator", "applink-root-guarded"],
        )["data"]
            .clone()
    };
    let held = root();
    let status = stage.read_member(MEMBER).await.unwrap().status.unwrap();
    let delete = || (stage.cluster).kubectl(&["delete", "applicationnetwork", NETWORK]);
    let refused = delete().unwrap_err().to_string();
    assert!(
        refused.contains("The network guarded is in use by MeshMember local"),
        "{refused}"
    );
    let binding = "validatingadmissionpolicybinding";
    kubectl(stage, &["delete", binding, "applink-keep-networks"]);
    stage::eventually("nothing keeps the network", SOON, || async {
        delete().map_err(|error| error.to_string())
    })
    .await
    .unwrap();
    stage::eventually("the network is asked for", SOON, || async {
        let member = stage
            .read_member(MEMBER)
            .await
            .map_err(|error| error.to_string())?;
        let conditions = member.status.unwrap_or_default().conditions;
        let is_told = conditions.iter().any(|one| {
            one.type_ == "Accepted"
                && one.reason == "ReferenceNotResolved"
                && one
                    .message
                    .contains("ApplicationNetwork guarded does not exist: create it")
        });
        if is_told {
            Ok(())
        } else {
            Err(format!("{conditions:#?}"))
        }
    })
    .await
    .unwrap();
    talks(stage, namespace, "web").await;
    stage.apply(&network("Strict")).unwrap();
    (stage
        .until_condition(MEMBER, "Accepted", "True", SOON)
        .await)
        .unwrap();
    until_healed(stage).await;
    let after = stage.read_member(MEMBER).await.unwrap().status.unwrap();
    assert_eq!(
        (after.rollout, after.history),
        (None, status.history),
        "nothing began meanwhile"
    );
    assert_eq!(root(), held, "the root is the same");
    assert_eq!(data_plane(stage), before, "nobody was disturbed");
    // With what keeps it.
    operator(stage).await;
}

/// A selector that leaves out a node with an enrolled pod counts once that pod has gone.
async fn selector_waits_for_pods(stage: &Stage, namespace: &str) {
    let ours = |changed: Option<&str>| {
        let mut spec = without_secrets();
        if let Some(node) = changed {
            spec["dataPlane"]["nodeSelector"]["kubernetes.io/hostname"] = json!(node);
        }
        Stage::member(MEMBER, &spec)
    };
    let before = data_plane(stage);
    stage.apply(&ours(Some("node-1"))).unwrap();
    let words = format!(
        "NodesInUse: spec.dataPlane.nodeSelector: it leaves out 1 of the nodes that carry the mesh, which stays where it is: on node-2, an enrolled pod is there: {namespace}/cart"
    );
    until_said(stage, "Accepted", SOON, |text| text.contains(&words)).await;
    talks(stage, namespace, "web").await;
    assert_eq!(data_plane(stage), before, "nobody was disturbed");
    kubectl(stage, &["delete", "pod", "cart", "-n", namespace]);
    stage::eventually("node-2 carries the mesh no longer", SOON, || async {
        let on_node = ["get", "pods", "-n", "applink-system", "-o", "name"];
        let on_node = [&on_node[..], &["--field-selector", "spec.nodeName=node-2"]].concat();
        for component in ["app=ztunnel", "k8s-app=istio-cni-node"] {
            let left = (stage.cluster).kubectl(&[&on_node[..], &["-l", component]].concat());
            let left = left.map_err(|error| error.to_string())?;
            if !left.is_empty() {
                return Err(left);
            }
        }
        Ok(())
    })
    .await
    .unwrap();
    let is_over = |text: &str| !text.contains("NodesInUse");
    until_said(stage, "Accepted", SOON, is_over).await;
    // Back again: the node is served as before.
    stage.apply(&ours(None)).unwrap();
    let stock = Some("http://stock:8080");
    stage
        .apply(&stage::shop(namespace, "cart", "node-2", stock))
        .unwrap();
    (stage.until_pods_ready(namespace, "app=cart", SOON).await).unwrap();
    until_healed(stage).await;
}

fn policies(stage: &Stage) -> usize {
    let found = in_system(stage, &["peerauthentications"]);
    found["items"].as_array().map_or(0, Vec::len)
}

#[test]
fn what_a_member_and_its_strict_network_ask_for_is_what_runs_and_it_leaves_with_its_namespaces() {
    on_stage(|stage| async move {
        let (inside, outside) = ("guarded-shop", "guarded-outside");
        // The operator itself tolerates none of these taints.
        operator(stage).await;
        left(stage).await;
        let pool = Pool::new(stage);
        installed(stage).await;
        assert_as_asked(stage);
        stage::eventually("the startup taint is gone", SOON, || async {
            let is_there = pool.is_tainted("node-1", STARTUP);
            (!is_there)
                .then_some(())
                .ok_or_else(|| "it is there".to_owned())
        })
        .await
        .unwrap();
        assert!(
            pool.is_tainted("node-2", "dedicated"),
            "it was installed past it"
        );
        pool.open();

        shop_pods(stage, inside).await;
        stage.apply(&stage::namespace(outside, &json!({}))).unwrap();
        stage
            .apply(&stage::shop(outside, "stranger", "node-1", None))
            .unwrap();
        stage
            .until_pods_ready(outside, "app", PATIENT)
            .await
            .unwrap();
        let url = format!("http://cart.{inside}:8080/");
        until_answer(stage, inside, "web", &url, |success, _| success).await;
        until_answer(stage, outside, "stranger", &url, |success, _| !success).await;
        until_both_proxies_saw(stage, TRUST, inside).await;
        assert_eq!(policies(stage), 1);
        network_comes_and_goes(stage, inside).await;
        stage.apply(&network("Permissive")).unwrap();
        until_answer(stage, outside, "stranger", &url, |success, _| success).await;
        assert_eq!(policies(stage), 0);
        pull_secrets_go(stage).await;
        talks(stage, inside, "web").await;
        selector_waits_for_pods(stage, inside).await;
        talks(stage, inside, "web").await;

        let members: Api<applink::api::v1alpha1::MeshMember> = Api::all(stage.client.clone());
        members
            .delete(MEMBER, &DeleteParams::default())
            .await
            .unwrap();
        until_left(stage).await;
        assert_nodes_clean(stage);
        assert_nothing_left(stage);
        let labels = get(stage, &["namespace", inside])["metadata"]["labels"].to_string();
        assert!(!labels.contains("dataplane-mode"), "{labels}");
        // Those who were enrolled talk on, plainly, and new pods start.
        talks(stage, inside, "web").await;
        stage
            .apply(&stage::shop(inside, "late", "node-2", None))
            .unwrap();
        stage
            .until_pods_ready(inside, "app=late", SOON)
            .await
            .unwrap();
        talks(stage, inside, "late").await;
        for namespace in [inside, outside] {
            remove_namespace(stage, namespace).await;
        }
        kubectl(stage, &["delete", "applicationnetwork", NETWORK]);
        kubectl(
            stage,
            &["delete", "secret", "mine", "-n", "applink-operator"],
        );
    });
}
