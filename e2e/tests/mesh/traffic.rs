//! What the mesh does to traffic.

mod upstream;

use e2e::network;
use e2e::sniff::{Seen, Tap};
use e2e::stage::{self, Stage};
use serde_json::json;

use crate::fixture::{SOON, cluster, on_stage, remove_namespace, shop};

/// Asks a URL from a pod until `wanted` holds of the answer.
pub async fn until_answer(
    stage: &Stage,
    namespace: &str,
    pod: &str,
    url: &str,
    wanted: impl Fn(bool, &str) -> bool,
) -> String {
    let wanted = &wanted;
    stage::eventually(&format!("{pod} asks {url}"), SOON, || async move {
        let (success, text) = stage.exec(namespace, pod, &["/usr/local/bin/shop", "get", url]);
        if wanted(success, &text) {
            Ok(text)
        } else {
            Err(text)
        }
    })
    .await
    .unwrap()
}

/// What all node proxies have logged.
fn proxy_logs(stage: &Stage) -> String {
    stage
        .cluster
        .kubectl(&[
            "logs",
            "-n",
            "applink-system",
            "-l",
            "app=ztunnel",
            "--tail=-1",
            "--prefix",
        ])
        .unwrap()
}

/// Waits until the proxies of both nodes have logged a request of `web` to `cart` with both identities.
pub async fn until_both_proxies_saw(stage: &Stage, trust: &str, namespace: &str) {
    let identity = |name: &str| format!("spiffe://{trust}/ns/{namespace}/sa/{name}");
    let (from, to) = (identity("web"), identity("cart"));
    stage::eventually("both proxies logged both identities", SOON, || async {
        let logs = proxy_logs(stage);
        let seen = |direction: &str| {
            logs.lines()
                .any(|line| line.contains(direction) && line.contains(&from) && line.contains(&to))
        };
        if seen("inbound") && seen("outbound") {
            Ok(())
        } else {
            Err(logs.lines().rev().take(20).collect::<Vec<_>>().join("\n"))
        }
    })
    .await
    .unwrap();
}

/// Lets only `cart` into `stock`, and waits until that holds.
async fn only_cart_is_let_in(stage: &Stage, namespace: &str) {
    stage
        .apply(&json!({
            "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
            "metadata": {"name": "stock-only-for-cart", "namespace": namespace},
            "spec": {
                "selector": {"matchLabels": {"app": "stock"}},
                "action": "ALLOW",
                "rules": [{"from": [{"source": {
                    "principals": [format!("cluster.local/ns/{namespace}/sa/cart")],
                }}]}],
            },
        }))
        .unwrap();
    let url = "http://stock:8080/";
    until_answer(stage, namespace, "web", url, |success, _| !success).await;
    until_answer(stage, namespace, "cart", url, |success, _| success).await;
}

#[test]
fn enrolled_services_on_two_nodes_talk_and_both_proxies_saw_both_identities() {
    on_stage(|stage| async move {
        let namespace = "identities";
        shop(stage, namespace).await;
        let get = ["/usr/local/bin/shop", "get", "http://cart:8080/", "20"];
        let (success, text) = stage.exec(namespace, "web", &get);
        assert!(success, "{text}");
        assert_eq!(text.matches("200 ").count(), 20, "{text}");
        until_both_proxies_saw(stage, "cluster.local", namespace).await;
        remove_namespace(stage, namespace).await;
    });
}

#[test]
fn an_authorization_policy_denies_one_caller_and_no_other() {
    on_stage(|stage| async move {
        let namespace = "denied";
        shop(stage, namespace).await;
        only_cart_is_let_in(stage, namespace).await;
        remove_namespace(stage, namespace).await;
    });
}

/// What crossed the links of the nodes until a pod's request was answered in the way that is wanted; the words are in its path.
async fn on_the_wire(
    stage: &Stage,
    (namespace, pod): (&str, &str),
    url: &str,
    is_wanted: impl Fn(bool, &str) -> bool,
) -> Seen {
    const WORDS: &str = "anybody-may-read-this";
    let cluster = cluster();
    let nodes = cluster.state().nodes.iter();
    let taps: Vec<Tap> = nodes
        .map(|node| {
            let namespace = network::namespace(node.init().unwrap());
            Tap::open(&namespace, "eth0", 8080, WORDS).unwrap()
        })
        .collect();
    until_answer(stage, namespace, pod, &format!("{url}{WORDS}"), is_wanted).await;
    taps.into_iter().map(|tap| tap.close().unwrap()).sum()
}

#[test]
fn strict_mode_refuses_plain_text_from_outside_the_mesh() {
    on_stage(|stage| async move {
        let (inside, outside) = ("strict", "outside");
        shop(stage, inside).await;
        stage.apply(&stage::namespace(outside, &json!({}))).unwrap();
        stage
            .apply(&stage::shop(outside, "stranger", "node-1", None))
            .unwrap();
        stage.until_pods_ready(outside, "app", SOON).await.unwrap();
        let url = format!("http://cart.{inside}:8080/");
        // From outside anybody between the nodes can read it, in the mesh nobody can.
        let open = on_the_wire(stage, (outside, "stranger"), &url, |success, _| success).await;
        assert!(open.plain > 0 && open.marker > 0, "{open:?}");
        let closed = on_the_wire(stage, (inside, "web"), &url, |success, _| success).await;
        assert!(closed.tunnel > 0, "{closed:?}");
        assert_eq!((closed.plain, closed.marker), (0, 0), "{closed:?}");
        stage
            .apply(&json!({
                "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
                "metadata": {"name": "default", "namespace": inside},
                "spec": {"mtls": {"mode": "STRICT"}},
            }))
            .unwrap();
        until_answer(stage, outside, "stranger", &url, |success, _| !success).await;
        until_answer(stage, inside, "web", &url, |success, _| success).await;
        remove_namespace(stage, outside).await;
        remove_namespace(stage, inside).await;
    });
}
