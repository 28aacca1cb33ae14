//! Specs that are accepted and specs that are refused, with a part of the message that refuses them.
//!
//! Judged by a real API server here, and, as far as CEL rules go, by kube's interpreter in the tests of `applink`.

use serde_json::{Value, json};

/// Which kind a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Network,
    Member,
    Release,
}

/// Who refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A CEL rule; the message is ours.
    Rule,
    /// The schema: pattern, enum, bound, required field.
    Schema,
}

/// One spec, and what becomes of it.
#[derive(Clone, Debug)]
pub struct Row {
    pub what: &'static str,
    pub kind: Kind,
    /// `metadata.name`; `None` takes any valid one.
    pub name: Option<&'static str>,
    /// The spec before, for an update.
    pub old: Option<Value>,
    /// The status before, for an update.
    pub status: Option<Value>,
    pub spec: Value,
    /// Who refuses it, and a part of the message; `None` when it is accepted.
    pub refused: Option<(By, &'static str)>,
}

fn row(what: &'static str, kind: Kind, spec: Value, refused: Option<(By, &'static str)>) -> Row {
    Row {
        what,
        kind,
        name: None,
        old: None,
        status: None,
        spec,
        refused,
    }
}

fn update(
    what: &'static str,
    kind: Kind,
    old: Value,
    spec: Value,
    refused: Option<(By, &'static str)>,
) -> Row {
    Row {
        old: Some(old),
        ..row(what, kind, spec, refused)
    }
}

fn running(
    what: &'static str,
    old: Value,
    spec: Value,
    refused: Option<(By, &'static str)>,
) -> Row {
    let status = json!({ "version": { "current": "1.6.0", "target": "1.6.0" } });
    Row {
        status: Some(status),
        ..update(what, Kind::Member, old, spec, refused)
    }
}

fn named(
    what: &'static str,
    kind: Kind,
    name: &'static str,
    refused: Option<(By, &'static str)>,
) -> Row {
    let spec = if kind == Kind::Release {
        release(json!({}))
    } else {
        json!({})
    };
    Row {
        name: Some(name),
        ..row(what, kind, spec, refused)
    }
}

/// A valid release spec with some fields replaced.
fn release(change: Value) -> Value {
    let mut spec =
        json!({ "istioVersion": "1.31.0", "kubernetes": { "min": "1.32", "max": "1.36" } });
    if let (Some(spec), Value::Object(change)) = (spec.as_object_mut(), change) {
        spec.extend(change);
    }
    spec
}

/// Every row.
pub fn rows() -> Vec<Row> {
    let mut rows = members();
    rows.extend(member_updates());
    rows.extend(networks());
    rows.extend(releases());
    rows
}

#[rustfmt::skip]
fn members() -> Vec<Row> {
    use By::{Rule, Schema};
    use Kind::Member;
    let upgrade = |upgrade: Value| json!({ "upgrade": upgrade });
    let full = json!({
        "applicationNetwork": "shop", "cluster": { "type": "Local" }, "network": "campus",
        "upgrade": { "mode": "SelfManaged", "version": "1.6" }, "leavePolicy": "UnenrolNamespaces",
        "controlPlane": { "type": "Managed", "replicas": 1, "resources": { "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "cpu": 1 } } },
        "dataPlane": {
            "ztunnel": { "implementation": "Applink", "resources": { "requests": { "cpu": "50m" } }, "logLevel": "Debug" },
            "cni": { "startupTaint": true, "logLevel": "Warn" }, "platform": "K3s", "nodeSelector": { "mesh": "yes" },
            "tolerations": [{ "key": "gpu", "operator": "Exists", "effect": "NoSchedule" }, { "operator": "Exists" }],
        },
        "waypoints": { "replicas": 3, "resources": { "requests": { "memory": "64Mi" } } },
        "images": { "registry": "registry.example.com:5000/mesh/istio", "pullSecrets": [{ "name": "pull" }] },
    });
    vec![
        row("an empty spec", Member, json!({}), None),
        row("every live field", Member, full, None),
        named("a name with a dot", Member, "a.b", Some((Rule, "a member's name is its cluster id"))),
        named("a name that is too long", Member, "a123456789b123456789c123456789d123456789e123456789f123456789g123", Some((Rule, "a member's name is its cluster id"))),
        // upgrade
        row("a minor", Member, upgrade(json!({ "version": "1.6" })), None),
        row("an exact version", Member, upgrade(json!({ "version": "1.6.10" })), None),
        row("a version with a v", Member, upgrade(json!({ "version": "v1.6" })), Some((Schema, "spec.upgrade.version"))),
        row("a version with a suffix", Member, upgrade(json!({ "version": "1.6.0-rc.1" })), Some((Schema, "spec.upgrade.version"))),
        row("a major alone", Member, upgrade(json!({ "version": "1" })), Some((Schema, "spec.upgrade.version"))),
        row("an empty version", Member, upgrade(json!({ "version": "" })), Some((Schema, "spec.upgrade.version"))),
        row("a version that is a number", Member, upgrade(json!({ "version": 1.6 })), Some((Schema, "spec.upgrade.version"))),
        row("a channel", Member, upgrade(json!({ "mode": "FullyManaged", "releaseChannel": "Rapid" })), None),
        row("the oldest channel", Member, upgrade(json!({ "mode": "FullyManaged", "releaseChannel": "Extended" })), None),
        row("FullyManaged alone", Member, upgrade(json!({ "mode": "FullyManaged" })), None),
        row("an unknown channel", Member, upgrade(json!({ "mode": "FullyManaged", "releaseChannel": "Beta" })), Some((Schema, "Unsupported value: \"Beta\""))),
        row("an unknown mode", Member, upgrade(json!({ "mode": "Auto" })), Some((Schema, "Unsupported value: \"Auto\""))),
        row("a channel without FullyManaged", Member, upgrade(json!({ "releaseChannel": "Stable" })), Some((Rule, "upgrade.releaseChannel needs upgrade.mode FullyManaged"))),
        row("a channel with SelfManaged", Member, upgrade(json!({ "mode": "SelfManaged", "releaseChannel": "Stable" })), Some((Rule, "upgrade.releaseChannel needs upgrade.mode FullyManaged"))),
        row("a version with FullyManaged", Member, upgrade(json!({ "mode": "FullyManaged", "version": "1.6" })), Some((Rule, "upgrade.version needs upgrade.mode SelfManaged"))),
        row("windows", Member, upgrade(json!({ "maintenanceWindows": [{ "days": ["Sunday"], "start": "22:30", "duration": "4h", "timeZone": "Europe/Berlin" }] })), None),
        row("exclusions", Member, upgrade(json!({ "exclusions": [{ "name": "sale", "from": "2026-11-20T00:00:00Z", "to": "2026-12-01T00:00:00Z", "scope": "NoMinorUpgrades" }] })), None),
        row("security fixes", Member, upgrade(json!({ "allowSecurityFixes": true })), None),
        row("what a closing window does", Member, upgrade(json!({ "onWindowClose": "PauseNow" })), None),
        row("a strategy", Member, upgrade(json!({ "strategy": { "canary": { "type": "Count", "count": 1, "soak": "5m" }, "batch": { "size": "10%" }, "gates": { "timeout": "2m" }, "drain": { "timeout": "60s" }, "maxUnreachable": 1, "onFullNode": "Skip", "onFailure": "Pause" } })), None),
        row("an empty strategy", Member, upgrade(json!({ "strategy": {} })), None),
        row("a limit of failed connections", Member, upgrade(json!({ "strategy": { "gates": { "maxFailureIncrease": "1%" } } })), None),
        row("no more failed connections", Member, upgrade(json!({ "strategy": { "gates": { "maxFailureIncrease": "0%" } } })), None),
        row("a few more failed connections", Member, upgrade(json!({ "strategy": { "gates": { "maxFailureIncrease": "12.5%" } } })), None),
        row("any number of failed connections", Member, upgrade(json!({ "strategy": { "gates": { "maxFailureIncrease": "100%" } } })), None),
        row("paused", Member, upgrade(json!({ "paused": true })), None),
        // not yet
        row("another cluster", Member, json!({ "cluster": { "type": "Kubeconfig", "kubeconfig": { "secretRef": { "name": "east" } } } }), Some((Rule, "cluster.type Kubeconfig is not available yet"))),
        row("a foreign control plane", Member, json!({ "controlPlane": { "type": "External" } }), Some((Rule, "controlPlane.type External is not available yet"))),
        row("an east-west gateway", Member, json!({ "eastWestGateway": { "visibility": "Internal", "replicas": 2, "annotations": { "a": "b" } } }), Some((Rule, "eastWestGateway is not available yet"))),
        row("an empty east-west gateway", Member, json!({ "eastWestGateway": {} }), Some((Rule, "eastWestGateway is not available yet"))),
        // shapes of what is not live are judged too
        row("a window at a time that does not exist", Member, upgrade(json!({ "maintenanceWindows": [{ "start": "25:00", "duration": "4h" }] })), Some((Schema, "start"))),
        row("a window on no day", Member, upgrade(json!({ "maintenanceWindows": [{ "days": [], "start": "22:30", "duration": "4h" }] })), Some((Schema, "days"))),
        row("a window on an unknown day", Member, upgrade(json!({ "maintenanceWindows": [{ "days": ["Caturday"], "start": "22:30", "duration": "4h" }] })), Some((Schema, "Unsupported value: \"Caturday\""))),
        row("a window of four days, in a unit that does not exist", Member, upgrade(json!({ "maintenanceWindows": [{ "start": "22:30", "duration": "4d" }] })), Some((Schema, "duration"))),
        row("a window shorter than a minute", Member, upgrade(json!({ "maintenanceWindows": [{ "start": "22:30", "duration": "59s" }] })), Some((Rule, "a maintenance window shorter than a minute"))),
        row("a window that never opens", Member, upgrade(json!({ "maintenanceWindows": [{ "start": "22:30", "duration": "0h" }] })), Some((Rule, "a maintenance window shorter than a minute"))),
        row("a window that never closes", Member, upgrade(json!({ "maintenanceWindows": [{ "start": "22:30", "duration": "169h" }] })), Some((Rule, "a maintenance window longer than a week"))),
        row("an exclusion that ends before it starts", Member, upgrade(json!({ "exclusions": [{ "name": "x", "from": "2026-12-01T00:00:00Z", "to": "2026-11-20T00:00:00Z" }] })), Some((Rule, "an exclusion's from must be before its to"))),
        row("a limit of failed connections without its unit", Member, upgrade(json!({ "strategy": { "gates": { "maxFailureIncrease": 1 } } })), Some((Schema, "maxFailureIncrease"))),
        row("more failed connections than there are", Member, upgrade(json!({ "strategy": { "gates": { "maxFailureIncrease": "101%" } } })), Some((Schema, "maxFailureIncrease"))),
        row("a negative limit of failed connections", Member, upgrade(json!({ "strategy": { "gates": { "maxFailureIncrease": "-1%" } } })), Some((Schema, "maxFailureIncrease"))),
        row("two decimals of failed connections", Member, upgrade(json!({ "strategy": { "gates": { "maxFailureIncrease": "0.25%" } } })), Some((Schema, "maxFailureIncrease"))),
        row("a batch of nothing", Member, upgrade(json!({ "strategy": { "batch": { "size": "0%" } } })), Some((Schema, "size"))),
        row("a batch of 0", Member, upgrade(json!({ "strategy": { "batch": { "size": 0 } } })), Some((Schema, "size"))),
        row("a canary of no node", Member, upgrade(json!({ "strategy": { "canary": { "type": "Count", "count": 0 } } })), Some((Schema, "count"))),
        row("a canary of no type", Member, upgrade(json!({ "strategy": { "canary": { "count": 1 } } })), Some((Schema, "type"))),
        row("a canary of type Count without count", Member, upgrade(json!({ "strategy": { "canary": { "type": "Count" } } })), Some((Rule, "count is required for type Count"))),
        row("a canary of type Count with a selector", Member, upgrade(json!({ "strategy": { "canary": { "type": "Count", "count": 1, "selector": { "matchLabels": { "a": "b" } } } } })), Some((Rule, "selector is required for type Selector, and only there"))),
        row("a canary selector with values for Exists", Member, upgrade(json!({ "strategy": { "canary": { "type": "Selector", "selector": { "matchExpressions": [{ "key": "a", "operator": "Exists", "values": ["b"] }] } } } })), Some((Rule, "values must be given for In and NotIn"))),
        // unions
        row("a cluster without a type", Member, json!({ "cluster": {} }), Some((Schema, "spec.cluster.type"))),
        row("an unknown cluster type", Member, json!({ "cluster": { "type": "Remote" } }), Some((Schema, "Unsupported value: \"Remote\""))),
        row("Local with a kubeconfig", Member, json!({ "cluster": { "type": "Local", "kubeconfig": { "secretRef": { "name": "east" } } } }), Some((Rule, "kubeconfig is required for type Kubeconfig, and only there"))),
        row("Kubeconfig without one", Member, json!({ "cluster": { "type": "Kubeconfig" } }), Some((Rule, "kubeconfig is required for type Kubeconfig, and only there"))),
        // bounds
        row("no istiod", Member, json!({ "controlPlane": { "replicas": 0 } }), Some((Schema, "spec.controlPlane.replicas"))),
        row("too many istiods", Member, json!({ "controlPlane": { "replicas": 11 } }), Some((Schema, "spec.controlPlane.replicas"))),
        row("a quantity with a letter", Member, json!({ "controlPlane": { "resources": { "requests": { "memory": "1 GB" } } } }), Some((Schema, "memory"))),
        row("a negative quantity", Member, json!({ "dataPlane": { "ztunnel": { "resources": { "limits": { "cpu": "-1" } } } } }), Some((Schema, "cpu"))),
        row("a quantity that is true", Member, json!({ "dataPlane": { "cni": { "resources": { "limits": { "cpu": true } } } } }), Some((Schema, "cpu"))),
        row("an unknown implementation", Member, json!({ "dataPlane": { "ztunnel": { "implementation": "Envoy" } } }), Some((Schema, "Unsupported value: \"Envoy\""))),
        row("upstream's proxy", Member, json!({ "dataPlane": { "ztunnel": { "implementation": "Istio" } } }), None),
        row("a log level in lower case", Member, json!({ "dataPlane": { "ztunnel": { "logLevel": "debug" } } }), Some((Schema, "Unsupported value: \"debug\""))),
        row("an unknown platform", Member, json!({ "dataPlane": { "platform": "Nomad" } }), Some((Schema, "Unsupported value: \"Nomad\""))),
        row("every platform that is spelled in capitals", Member, json!({ "dataPlane": { "platform": "GKE" } }), None),
        row("a toleration with a value for Exists", Member, json!({ "dataPlane": { "tolerations": [{ "key": "a", "operator": "Exists", "value": "b" }] } }), Some((Rule, "value must be absent when operator is Exists"))),
        row("seventeen tolerations", Member, json!({ "dataPlane": { "tolerations": vec![json!({ "operator": "Exists" }); 17] } }), Some((Schema, "Too many"))),
        row("a registry with a scheme", Member, json!({ "images": { "registry": "https://registry.example.com" } }), Some((Schema, "spec.images.registry"))),
        row("a registry with a slash at the end", Member, json!({ "images": { "registry": "registry.example.com/" } }), Some((Schema, "spec.images.registry"))),
        row("nine pull secrets", Member, json!({ "images": { "pullSecrets": vec![json!({ "name": "a" }); 9] } }), Some((Schema, "Too many"))),
        row("an unknown leave policy", Member, json!({ "leavePolicy": "Force" }), Some((Schema, "Unsupported value: \"Force\""))),
        row("a network name with capitals", Member, json!({ "applicationNetwork": "Shop" }), Some((Schema, "spec.applicationNetwork"))),
        row("null means absent", Member, json!({ "applicationNetwork": null, "cluster": null, "upgrade": null }), None),
        row("no waypoint pod", Member, json!({ "waypoints": { "replicas": 0 } }), Some((Schema, "spec.waypoints.replicas"))),
    ]
}

#[rustfmt::skip]
fn member_updates() -> Vec<Row> {
    use By::Rule;
    use Kind::Member;
    let immutable = Some((Rule, "applicationNetwork is immutable"));
    let fixed = Some((Rule, "cluster is immutable"));
    let network = |name: &str| json!({ "applicationNetwork": name });
    let local = json!({ "cluster": { "type": "Local" } });
    let upgrade = |upgrade: Value| json!({ "upgrade": upgrade });
    vec![
        update("the network: set to other", Member, network("a"), network("b"), immutable),
        update("the network: unset to set", Member, json!({}), network("default"), immutable),
        update("the network: set to unset", Member, network("a"), json!({}), immutable),
        update("the network: set to null", Member, network("a"), json!({ "applicationNetwork": null }), immutable),
        update("the network: unchanged", Member, network("a"), json!({ "applicationNetwork": "a", "network": "x" }), None),
        update("the cluster: unset to set", Member, json!({}), local.clone(), fixed),
        update("the cluster: set to unset", Member, local.clone(), json!({}), fixed),
        update("the cluster: set to null", Member, local.clone(), json!({ "cluster": null }), fixed),
        update("the cluster: set to other", Member, local.clone(), json!({ "cluster": { "type": "Kubeconfig", "kubeconfig": { "secretRef": { "name": "east" } } } }), fixed),
        update("the cluster: unchanged", Member, local.clone(), json!({ "cluster": { "type": "Local" }, "network": "x" }), None),
        update("everything else may change", Member, json!({ "network": "a" }), json!({ "network": "b", "leavePolicy": "UnenrolNamespaces", "controlPlane": { "replicas": 3 } }), None),
        update("the version while nothing runs", Member, upgrade(json!({ "version": "1.5" })), upgrade(json!({ "version": "1.6" })), None),
        update("the mode while nothing runs", Member, json!({}), upgrade(json!({ "mode": "FullyManaged" })), None),
        running("a running member: set to other", upgrade(json!({ "version": "1.6" })), upgrade(json!({ "version": "1.5" })), None),
        running("a running member: unset to set, parent absent", json!({}), upgrade(json!({ "version": "1.6" })), None),
        running("a running member: unset to set", upgrade(json!({})), upgrade(json!({ "version": "1.6" })), None),
        running("a running member: set to unset", upgrade(json!({ "version": "1.6" })), upgrade(json!({})), None),
        running("a running member: set to unset, parent absent", upgrade(json!({ "version": "1.6" })), json!({}), None),
        running("a running member: minor to exact", upgrade(json!({ "version": "1.6" })), upgrade(json!({ "version": "1.6.0" })), None),
        running("a running member: another mode", json!({}), upgrade(json!({ "mode": "FullyManaged" })), None),
        running("a running member: another channel", upgrade(json!({ "mode": "FullyManaged", "releaseChannel": "Rapid" })), upgrade(json!({ "mode": "FullyManaged", "releaseChannel": "Stable" })), None),
        running("a running member: the default spelled out", json!({}), upgrade(json!({ "mode": "SelfManaged" })), None),
        running("a running member: the default channel spelled out", upgrade(json!({ "mode": "FullyManaged" })), upgrade(json!({ "mode": "FullyManaged", "releaseChannel": "Stable" })), None),
        running("a running member: an empty parent", json!({}), upgrade(json!({})), None),
        running("a running member: nothing changed", upgrade(json!({ "version": "1.6" })), upgrade(json!({ "version": "1.6" })), None),
        running("a running member: other fields", upgrade(json!({ "version": "1.6" })), json!({ "upgrade": { "version": "1.6" }, "dataPlane": { "ztunnel": { "logLevel": "Debug" } } }), None),
        Row {
            status: Some(json!({ "version": { "target": "1.6.0" } })),
            ..update("a member that is being installed", Member, upgrade(json!({ "version": "1.6" })), upgrade(json!({ "version": "1.5" })), None)
        },
    ]
}

#[rustfmt::skip]
fn networks() -> Vec<Row> {
    use By::{Rule, Schema};
    use Kind::Network;
    let immutable = Some((Rule, "trustDomain is immutable"));
    let domain = |name: &str| json!({ "trustDomain": name });
    vec![
        row("an empty spec", Network, json!({}), None),
        row("every live field", Network, json!({ "trustDomain": "shop.example", "certificateAuthority": { "type": "Managed" }, "mtls": "Strict" }), None),
        named("a name with a dot", Network, "a.b", Some((Rule, "a network's name"))),
        update("the trust domain: set to other", Network, domain("a"), domain("b"), immutable),
        update("the trust domain: unset to set", Network, json!({}), domain("cluster.local"), immutable),
        update("the trust domain: set to unset", Network, domain("a"), json!({}), immutable),
        update("the trust domain: set to null", Network, domain("a"), json!({ "trustDomain": null }), immutable),
        update("mTLS may change", Network, domain("a"), json!({ "trustDomain": "a", "mtls": "Strict" }), None),
        row("a trust domain with capitals", Network, domain("Shop"), Some((Schema, "spec.trustDomain"))),
        row("a trust domain with a slash", Network, domain("a/b"), Some((Schema, "spec.trustDomain"))),
        row("unknown mTLS", Network, json!({ "mtls": "Disabled" }), Some((Schema, "Unsupported value: \"Disabled\""))),
        row("an own root", Network, json!({ "certificateAuthority": { "type": "Secret", "secret": { "name": "root" } } }), Some((Rule, "certificateAuthority.type Secret is not available yet"))),
        row("an own root without Secret", Network, json!({ "certificateAuthority": { "type": "Secret" } }), Some((Rule, "secret is required for type Secret, and only there"))),
        row("Managed with a Secret", Network, json!({ "certificateAuthority": { "type": "Managed", "secret": { "name": "root" } } }), Some((Rule, "secret is required for type Secret, and only there"))),
        row("no type", Network, json!({ "certificateAuthority": {} }), Some((Schema, "spec.certificateAuthority.type"))),
        row("stages", Network, json!({ "rollout": { "stages": [{ "name": "first", "memberSelector": { "matchLabels": { "ring": "one" } }, "soak": "24h", "approval": "Required", "maxConcurrency": "50%", "maxFailures": 0 }] } }), Some((Rule, "rollout is not available yet"))),
        row("no stages", Network, json!({ "rollout": {} }), Some((Rule, "rollout is not available yet"))),
    ]
}

#[rustfmt::skip]
fn releases() -> Vec<Row> {
    use By::{Rule, Schema};
    use Kind::Release;
    let digest = format!("sha256:{}", "0".repeat(64));
    vec![
        row("the least", Release, release(json!({})), None),
        row("every field", Release, release(json!({
            "gatewayAPI": "1.6.0", "released": "2026-08-31", "endOfLife": "2027-03-01",
            "channels": [{ "name": "Rapid", "since": "2026-09-01T00:00:00Z" }, { "name": "Stable", "since": "2026-10-01T00:00:00Z" }],
            "images": { "pilot": { "repository": "registry.example.com/pilot", "tag": "1.31.0", "digest": digest } },
            "fixes": [{ "id": "CVE-2026-31837", "cvss": 8.7, "components": ["pilot"] }, { "id": "X", "cvss": 9 }],
            "withdrawn": { "reason": "it loses connections" },
        })), None),
        named("a version", Release, "10.20.30", None),
        named("a name that is no version", Release, "latest", Some((Rule, "a release's name is its version"))),
        named("a minor", Release, "1.6", Some((Rule, "a release's name is its version"))),
        named("a leading zero", Release, "1.06.0", Some((Rule, "a release's name is its version"))),
        named("a suffix", Release, "1.6.0-rc.1", Some((Rule, "a release's name is its version"))),
        row("nothing", Release, json!({}), Some((Schema, "spec.istioVersion"))),
        row("no Kubernetes range", Release, json!({ "istioVersion": "1.31.0" }), Some((Schema, "spec.kubernetes"))),
        row("an Istio minor", Release, release(json!({ "istioVersion": "1.31" })), Some((Schema, "spec.istioVersion"))),
        row("a Kubernetes patch", Release, release(json!({ "kubernetes": { "min": "1.32.1", "max": "1.36" } })), Some((Schema, "spec.kubernetes.min"))),
        row("an unknown channel", Release, release(json!({ "channels": [{ "name": "Beta", "since": "2026-09-01T00:00:00Z" }] })), Some((Schema, "Unsupported value: \"Beta\""))),
        row("a channel without a date", Release, release(json!({ "channels": [{ "name": "Rapid" }] })), Some((Schema, "since"))),
        row("a channel with a day only", Release, release(json!({ "channels": [{ "name": "Rapid", "since": "2026-09-01" }] })), Some((Schema, "since"))),
        row("a channel twice", Release, release(json!({ "channels": [{ "name": "Rapid", "since": "2026-09-01T00:00:00Z" }, { "name": "Rapid", "since": "2026-10-01T00:00:00Z" }] })), Some((Schema, "Duplicate value"))),
        row("a day that is no day", Release, release(json!({ "released": "yesterday" })), Some((Schema, "spec.released"))),
        row("an image without tag and digest", Release, release(json!({ "images": { "pilot": { "repository": "a" } } })), Some((Rule, "an image needs a tag, a digest, or both"))),
        row("a short digest", Release, release(json!({ "images": { "pilot": { "repository": "a", "digest": "sha256:00" } } })), Some((Schema, "digest"))),
        row("a score above ten", Release, release(json!({ "fixes": [{ "id": "X", "cvss": 10.1 }] })), Some((Schema, "cvss"))),
        row("a withdrawal without a reason", Release, release(json!({ "withdrawn": {} })), Some((Schema, "reason"))),
        row("sixty-five fixes", Release, release(json!({ "fixes": vec![json!({ "id": "X" }); 65] })), Some((Schema, "Too many"))),
        update("a release may be withdrawn", Release, release(json!({})), release(json!({ "withdrawn": { "reason": "it loses connections" } })), None),
    ]
}
