//! What istiod, the node agent and people see and change.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::eventually;
use crate::mesh::{Mesh, WEB};
use crate::traffic::{Talk, ask};

fn identities(dump: &Value) -> BTreeSet<String> {
    let all = dump["certificates"].as_array().unwrap().iter();
    all.filter(|entry| entry["state"] == "Available")
        .map(|entry| entry["identity"].as_str().unwrap().to_owned())
        .collect()
}

pub fn certificates(mesh: &mut Mesh) {
    let client = mesh.pod("client");
    let proxy = mesh.proxy_of(&client);
    let mut brief = client.workload();
    brief.uid = "Kubernetes//Pod/shop/brief".into();
    brief.name = "brief".into();
    brief.service_account = "brief".into();
    brief.addresses = vec![vec![10, 1, 1, 200]];
    let identity = "spiffe://cluster.local/ns/shop/sa/brief".to_owned();
    mesh.istiod.workload(brief);
    eventually(
        "a certificate is fetched before anybody connects",
        Duration::from_secs(10),
        || {
            let held = identities(&proxy.admin("/config_dump"));
            if held.contains(&identity) {
                Ok(())
            } else {
                Err(format!("{held:?}"))
            }
        },
    );
    assert!(mesh.istiod.signed().contains(&identity));
    assert!(
        !identities(&mesh.nodes[1].proxy.admin("/config_dump")).contains(&identity),
        "only on its own node"
    );
    mesh.istiod.remove_address("Kubernetes//Pod/shop/brief");
    eventually(
        "it is forgotten with its last workload",
        Duration::from_secs(10),
        || {
            let held = identities(&proxy.admin("/config_dump"));
            if held.contains(&identity) {
                Err(format!("{held:?}"))
            } else {
                Ok(())
            }
        },
    );
    assert!(
        identities(&proxy.admin("/config_dump")).contains(&client.identity()),
        "the others stay"
    );
}

pub fn dump(mesh: &mut Mesh) {
    let (client, web) = (mesh.pod("client"), mesh.pod("web-1"));
    let mut talk = Talk::open(&client.netns, web.server()).unwrap();
    talk.say("listed").unwrap();
    let name = "ztunnel-1.applink-system~applink-system.svc.cluster.local";
    let nodes = mesh.istiod.nodes();
    assert!(
        nodes
            .iter()
            .any(|id| id.starts_with("ztunnel~") && id.ends_with(name)),
        "{nodes:?}"
    );
    let dump = mesh.proxy_of(&client).admin("/config_dump");
    let find = |list: &str, key: &str, value: &str| {
        let all = dump[list].as_array().unwrap();
        all.iter()
            .find(|entry| entry[key] == value)
            .unwrap_or_else(|| panic!("no {value} in {list}"))
            .clone()
    };
    let workload = find("workloads", "uid", &web.resource());
    assert_eq!(
        workload["workloadIps"],
        serde_json::json!([web.ip.to_string(), web.ip6.to_string()])
    );
    assert_eq!(
        (&workload["protocol"], &workload["serviceAccount"]),
        (&"HBONE".into(), &"web".into())
    );
    let service = find("services", "hostname", WEB);
    let endpoints: BTreeSet<&String> = service["endpoints"].as_object().unwrap().keys().collect();
    assert_eq!(endpoints.len(), 2, "{service}");
    let certificate = find("certificates", "identity", &client.identity());
    assert_eq!(certificate["state"], "Available");
    for key in ["pem", "serialNumber", "validFrom", "expirationTime"] {
        assert!(
            certificate["certChain"][0][key].is_string(),
            "{key}: {certificate}"
        );
        assert!(
            certificate["rootCerts"][0][key].is_string(),
            "{key}: {certificate}"
        );
    }
    let state = &dump["workloadState"][client.uid()];
    assert_eq!(
        (&state["state"], &state["info"]["name"]),
        (&"Up".into(), &"client".into())
    );
    let outbound = state["connections"]["outbound"].as_array().unwrap();
    let target = web.server().to_string();
    assert!(
        outbound
            .iter()
            .any(|c| c["originalDst"] == *target && c["protocol"] == "HBONE"),
        "{state}"
    );
    assert!(
        !dump.to_string().contains("token-of-the-test"),
        "no secret is shown"
    );
}

pub fn logging(mesh: &mut Mesh) {
    let proxy = &mesh.nodes[0].proxy;
    let (status, text) = proxy.http("POST", 15000, "/logging?level=debug").unwrap();
    assert_eq!(status, 200, "{text}");
    let (client, neighbour) = (mesh.pod("client"), mesh.pod("neighbour"));
    ask(&client.netns, neighbour.server(), "seen").unwrap();
    proxy.wait_for_access(&[("level", "debug"), ("message", "connection opened")]);
    let (status, _) = proxy.http("POST", 15000, "/logging?reset").unwrap();
    assert_eq!(status, 200);
    assert_eq!(
        proxy.http("POST", 15000, "/logging?level=loud").unwrap().0,
        400
    );
}

pub fn new_pod(mesh: &mut Mesh) {
    let pod = mesh.pod("neighbour");
    let agent = &mesh.nodes[0].agent;
    agent.remove(&pod.uid());
    assert!(
        ask(&pod.netns, mesh.pod("web-1").server(), "not served").is_err(),
        "captured, but nobody listens"
    );
    agent.add(pod.entry());
    // The agent has its answer, so the pod is served now: no waiting.
    assert!(ask(&pod.netns, mesh.pod("web-1").server(), "served").is_ok());
}
