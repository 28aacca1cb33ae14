//! What a leave deletes at its end without having watched it. An operator that was started during the leave finds it all
//! the same.

use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};

use super::apply::{self, limited};
use super::error::{Error, is_gone};
use super::world::resource;
use crate::desired;
use crate::facts::{Facts, ObjectKey};
use crate::names;

/// Group, version, kind and plural.
type Kind = (&'static str, &'static str, &'static str, &'static str);

/// How the names of istiod's elections begin.
const ELECTED: &str = "istio-";
const MAPS: Kind = ("", "v1", "ConfigMap", "configmaps");
/// The kind of what istiod elects its leaders with.
const LEASES: Kind = ("coordination.k8s.io", "v1", "Lease", "leases");

/// Deletes what istiod made at run time: leases and locks of its elections, the root certificate and the revoked
/// ones in every namespace, its gateway classes; and what is ours but is not watched: `cacerts`, and the mesh-wide policy
/// where the operator was started during the leave.
pub async fn sweep(client: &Client, facts: &Facts) -> Result<(), Error> {
    for kind in [LEASES, MAPS] {
        delete_where(client, kind, |name| name.starts_with(ELECTED)).await?;
    }
    let maps = resource(MAPS);
    for namespace in facts.namespaces.keys() {
        for name in [names::ROOT_CONFIG_MAP, names::REVOKED_CONFIG_MAP] {
            let key = ObjectKey::new("ConfigMap", Some(namespace), name);
            apply::delete_of(client, &maps, &key, None).await?;
        }
    }
    if facts
        .definitions
        .contains_key("gatewayclasses.gateway.networking.k8s.io")
    {
        sweep_classes(client).await?;
    }
    if facts
        .definitions
        .contains_key("peerauthentications.security.istio.io")
    {
        sweep_policies(client).await?;
    }
    let secrets = resource(("", "v1", "Secret", "secrets"));
    let key = ObjectKey::in_system("Secret", names::CACERTS_SECRET);
    apply::delete_of(client, &secrets, &key, None).await
}

/// Deletes the leases that the istiod of a release took: they end in its name. Those of an istiod that runs on do not.
pub async fn leases(client: &Client, release: &str) -> Result<(), Error> {
    let tail = format!("-{release}");
    delete_where(client, LEASES, |name| {
        name.starts_with(ELECTED) && name.ends_with(&tail)
    })
    .await
}

/// Deletes the objects of a kind in the data plane's namespace whose names are meant.
async fn delete_where(
    client: &Client,
    kind: Kind,
    is_meant: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    let system = names::SYSTEM_NAMESPACE;
    let resource = resource(kind);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), system, &resource);
    let what = format!("{} in {system}", kind.3);
    let list = limited("list", what, api.list_metadata(&ListParams::default())).await?;
    for object in list.items {
        let Some(name) = object.metadata.name.filter(|name| is_meant(name)) else {
            continue;
        };
        let key = ObjectKey::in_system(kind.2, &name);
        apply::delete_of(client, &resource, &key, object.metadata.uid.as_deref()).await?;
    }
    Ok(())
}

async fn sweep_policies(client: &Client) -> Result<(), Error> {
    let policies = desired::mesh::peer_authentication();
    let system = names::SYSTEM_NAMESPACE;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), system, &policies);
    let ours = ListParams::default().labels(names::MEMBER_LABEL);
    let what = format!("PeerAuthentications in {system}");
    let list = match limited("list", what, api.list_metadata(&ours)).await {
        // Its definition went meanwhile, and took its objects along.
        Err(Error::Request { source, .. }) if is_gone(&source) => return Ok(()),
        other => other?,
    };
    for object in list.items {
        let key = ObjectKey::in_system(
            "PeerAuthentication",
            object.metadata.name.as_deref().unwrap_or_default(),
        );
        apply::delete_of(client, &policies, &key, object.metadata.uid.as_deref()).await?;
    }
    Ok(())
}

async fn sweep_classes(client: &Client) -> Result<(), Error> {
    let classes = resource((
        "gateway.networking.k8s.io",
        "v1",
        "GatewayClass",
        "gatewayclasses",
    ));
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &classes);
    for name in names::GATEWAY_CLASSES {
        let key = ObjectKey::new("GatewayClass", None, name);
        let Some(class) = limited("read", &key, api.get_opt(name)).await? else {
            continue;
        };
        let by_istio = class
            .data
            .pointer("/spec/controllerName")
            .and_then(serde_json::Value::as_str)
            .is_some_and(|controller| controller.starts_with("istio.io/"));
        if by_istio {
            apply::delete_of(client, &classes, &key, class.metadata.uid.as_deref()).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::Method;
    use serde_json::{Value, json};

    use super::super::apply::tests::{Asked, server};
    use super::*;
    use crate::facts::{Definition, NamespaceFact};

    /// Paths of what was deleted.
    async fn deleted(facts: &Facts) -> Vec<String> {
        let (client, asked) = istio();
        sweep(&client, facts).await.unwrap();
        paths(&asked.lock().unwrap())
    }

    fn paths(asked: &[Asked]) -> Vec<String> {
        asked
            .iter()
            .filter(|(method, _, _)| *method == Method::DELETE)
            .map(|(_, path, _)| path.split('?').next().unwrap_or_default().to_owned())
            .collect()
    }

    #[tokio::test]
    async fn the_leases_of_a_release_go_and_no_others() {
        let (client, asked) = istio();
        leases(&client, "1-6-0").await.unwrap();
        let lease = "/apis/coordination.k8s.io/v1/namespaces/applink-system/leases/istio-gateway-status-1-6-0";
        assert_eq!(paths(&asked.lock().unwrap()), [lease]);
    }

    /// An API server with what istiods leave behind.
    fn istio() -> (Client, Arc<Mutex<Vec<Asked>>>) {
        server(|method, path| {
            let list = |kind: &str, names: &[&str]| {
                let items: Vec<Value> = names
                    .iter()
                    .map(|name| json!({"metadata": {"name": name, "uid": format!("uid-{name}")}}))
                    .collect();
                json!({"kind": format!("{kind}List"), "apiVersion": "v1", "metadata": {}, "items": items})
            };
            let reply = match (method, path) {
                (&Method::GET, path) if path.contains("/leases") => {
                    let leases = [
                        "istio-leader",
                        "istio-gateway-status-1-6-0",
                        "istio-gateway-status-11-6-0",
                        "other",
                    ];
                    list("Lease", &leases)
                }
                (&Method::GET, path) if path.contains("/configmaps") => list("ConfigMap", &[]),
                (&Method::GET, path) if path.contains("/peerauthentications") => {
                    assert!(
                        path.contains("labelSelector=applink.dev%2Fmember"),
                        "{path}"
                    );
                    list("PeerAuthentication", &["default"])
                }
                (&Method::GET, _) => return (404, json!({"kind": "Status", "code": 404})),
                _ => json!({"kind": "Status", "status": "Success"}),
            };
            (200, reply)
        })
    }

    #[tokio::test]
    async fn what_istiod_made_goes_and_what_is_ours_though_it_was_never_watched() {
        let mut facts = Facts::default();
        facts
            .namespaces
            .insert("shop".to_owned(), Arc::new(NamespaceFact::default()));
        let own = [
            "/apis/coordination.k8s.io/v1/namespaces/applink-system/leases/istio-leader",
            "/apis/coordination.k8s.io/v1/namespaces/applink-system/leases/istio-gateway-status-1-6-0",
            "/apis/coordination.k8s.io/v1/namespaces/applink-system/leases/istio-gateway-status-11-6-0",
            "/api/v1/namespaces/shop/configmaps/istio-ca-root-cert",
            "/api/v1/namespaces/shop/configmaps/istio-ca-crl",
        ];
        let cacerts = "/api/v1/namespaces/applink-system/secrets/cacerts";
        assert_eq!(deleted(&facts).await, [&own[..], &[cacerts]].concat());
        facts.definitions.insert(
            "peerauthentications.security.istio.io".to_owned(),
            Arc::new(Definition::default()),
        );
        let policy =
            "/apis/security.istio.io/v1/namespaces/applink-system/peerauthentications/default";
        assert_eq!(
            deleted(&facts).await,
            [&own[..], &[policy, cacerts]].concat()
        );
    }
}
