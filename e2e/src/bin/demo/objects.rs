//! What the demo applies: one release, one member, the shop, two policies and a caller outside the mesh.

use e2e::images::broken::Broken;
use e2e::programs::ISTIO;
use e2e::releases::labelled;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::ground::References;

/// The member's name.
pub const MEMBER: &str = "demo";
/// The namespace of the shop.
pub const SHOP: &str = "demo";
/// A namespace outside the mesh.
pub const OUTSIDE: &str = "outside";
/// The namespace of the traffic of the second act.
pub const TRAFFIC: &str = "traffic";
/// How long connections may live on in a proxy that leaves.
pub const DRAIN: SignedDuration = SignedDuration::from_secs(5);
/// The port of every service of the shop.
pub const PORT: u16 = 8080;
/// In every request and answer of the shop.
pub const MARKER: &str = "applink-shop-plain-text-marker";

/// An object as YAML, for the screen.
pub fn yaml(object: &Value) -> String {
    serde_saphyr::to_string(object).unwrap_or_else(|_| object.to_string())
}

/// Release 1.6.0 with the images of this cluster in place of the catalogue's.
pub fn release(references: &References) -> Value {
    described(
        "1.6.0",
        "2026-08-31",
        "2026-08-31T00:00:00Z",
        images(references, None),
    )
}

/// A release that Rapid lists from now on, with images of its own by name.
pub fn next_release(references: &References, version: &str) -> Value {
    let now = jiff::Timestamp::now();
    let today = now.strftime("%Y-%m-%d").to_string();
    // Whole seconds, as the API server keeps them.
    let since = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut release = described(version, &today, &since, images(references, Some(version)));
    release["metadata"]["annotations"] = labelled(version);
    release
}

/// The same, but for the node proxy.
pub fn bad_release(references: &References, version: &str) -> Value {
    let mut release = next_release(references, version);
    let (component, reference) = Broken::MuteProxy.image();
    release["spec"]["images"][component] = image(&reference, None);
    release
}

fn described(version: &str, released: &str, since: &str, images: Value) -> Value {
    let mut release = json!({
        "apiVersion": "applink.dev/v1alpha1",
        "kind": "MeshRelease",
        "metadata": {"name": version},
        "spec": {
            "istioVersion": ISTIO,
            "kubernetes": {"min": "1.32", "max": "1.36"},
            "released": released,
            "channels": [{"name": "Rapid", "since": since}],
        },
    });
    release["spec"]["images"] = images;
    release
}

fn images(references: &References, tag: Option<&str>) -> Value {
    let mut images = json!({"applink": image(&references.applink, tag)});
    for (component, repository, of_istio) in &references.istio {
        images[component] = json!({"repository": repository, "tag": tag.unwrap_or(of_istio)});
    }
    images
}

fn image(reference: &str, tag: Option<&str>) -> Value {
    let (repository, own) = reference.rsplit_once(':').unwrap_or((reference, "dev"));
    json!({"repository": repository, "tag": tag.unwrap_or(own)})
}

/// The member: everything that a user has to write, and how fast its nodes move in the second act.
pub fn member() -> Value {
    described_member(json!({"version": "1.6"}))
}

/// The same member, which follows a channel.
pub fn follower() -> Value {
    described_member(json!({"mode": "FullyManaged", "releaseChannel": "Rapid"}))
}

fn described_member(mut upgrade: Value) -> Value {
    upgrade["strategy"] = json!({
        "canary": {"type": "Count", "count": 1, "soak": "0s"},
        "batch": {"size": 1, "soak": "0s"},
        "drain": {"timeout": format!("{}s", DRAIN.as_secs())},
        "gates": {"timeout": "30s"},
    });
    json!({
        "apiVersion": "applink.dev/v1alpha1",
        "kind": "MeshMember",
        "metadata": {"name": MEMBER},
        "spec": {"upgrade": upgrade},
    })
}

/// A namespace without labels.
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// Several objects as one.
pub fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// The shop: web asks cart, cart asks stock; cart keeps away from both, so that every request crosses the nodes.
pub fn shop(image: &str) -> Value {
    let on = |topology: &str, apps: &[&str]| {
        json!({topology: {"requiredDuringSchedulingIgnoredDuringExecution": [{
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": apps}]},
        }]}})
    };
    let services = [
        ("web", Some("http://cart:8080"), json!({})),
        (
            "cart",
            Some("http://stock:8080"),
            on("podAntiAffinity", &["web", "stock"]),
        ),
        ("stock", None, on("podAffinity", &["web"])),
    ];
    let items: Vec<Value> = services
        .into_iter()
        .flat_map(|(name, next, affinity)| service(SHOP, name, image, next, &affinity))
        .collect();
    list(&items)
}

/// Somebody who is not in the mesh.
pub fn outsider(image: &str) -> Value {
    let mut items = vec![namespace(OUTSIDE)];
    items.extend(service(OUTSIDE, "caller", image, None, &json!({})));
    list(&items)
}

fn service(
    namespace: &str,
    name: &str,
    image: &str,
    next: Option<&str>,
    affinity: &Value,
) -> Vec<Value> {
    let mut environment = vec![
        json!({"name": "SHOP_NAME", "value": name}),
        json!({"name": "SHOP_PORT", "value": PORT.to_string()}),
        json!({"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}),
    ];
    environment.extend(next.map(|next| json!({"name": "SHOP_NEXT", "value": next})));
    let metadata = json!({"name": name, "namespace": namespace, "labels": {"app": name}});
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": PORT, "targetPort": PORT, "protocol": "TCP"}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {
                "serviceAccountName": name,
                "terminationGracePeriodSeconds": 1,
                "affinity": affinity,
                "containers": [{
                    "name": "shop",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["/usr/local/bin/shop"],
                    "args": ["serve"],
                    "env": environment,
                    "ports": [{"containerPort": PORT, "protocol": "TCP"}],
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 1},
                    "resources": {"requests": {"cpu": "5m", "memory": "8Mi"}},
                }],
            }},
        }}),
    ]
}

/// Only cart may ask stock.
pub fn only_cart() -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "stock-for-cart", "namespace": SHOP},
        "spec": {
            "selector": {"matchLabels": {"app": "stock"}},
            "action": "ALLOW",
            "rules": [{"from": [{"source": {"principals": [format!("cluster.local/ns/{SHOP}/sa/cart")]}}]}],
        },
    })
}

/// Plain text is refused in the shop's namespace.
pub fn strict() -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "strict", "namespace": SHOP},
        "spec": {"mtls": {"mode": "STRICT"}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_under_a_test_label_says_which_istio_it_is() {
        let references = References {
            applink: "localhost/applink/applink:dev".to_owned(),
            shop: "localhost/applink/shop:dev".to_owned(),
            istio: Vec::new(),
        };
        for release in [
            next_release(&references, "1.6.4"),
            bad_release(&references, "1.6.4"),
        ] {
            assert_eq!(
                release["metadata"]["annotations"],
                json!({"e2e.applink.dev/note": format!("Istio {ISTIO} under the test label 1.6.4")})
            );
        }
    }
}
