//! Objects of the config dump, by upstream's keys.

use std::fmt::Write as _;
use std::time::SystemTime;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::addr::NamespacedHostname;
use crate::ca::State as CertificateState;
use crate::identity::Identity;
use crate::inpod::{Pod, State};
use crate::metrics::Reporter;
use crate::policy::{Action, Match, Policy, Scope as PolicyScope, StringMatch, Values};
use crate::proxy::connections::{Live, Protocol};
use crate::service::{IpFamilies, Mode, Scope, Service, Visibility};
use crate::store::Snapshot;
use crate::workload::{
    ApplicationProtocol, Destination, GatewayAddress, NetworkMode, PortMap, Status, TunnelProtocol,
    Workload,
};

fn gateway(gateway: &GatewayAddress) -> Value {
    let destination = match &gateway.destination {
        Destination::Hostname(name) => name.to_string(),
        Destination::Address(address) => address.to_string(),
    };
    json!({ "destination": destination, "hboneMtlsPort": gateway.hbone_mtls_port })
}

fn ports(ports: &PortMap) -> Value {
    ports
        .iter()
        .map(|(service, target)| (service.to_string(), json!(target)))
        .collect::<Map<_, _>>()
        .into()
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Healthy => "Healthy",
        Status::Unhealthy => "Unhealthy",
    }
}

pub(super) fn workload(workload: &Workload) -> Value {
    let mut all = json!({
        "uid": workload.uid,
        "workloadIps": workload.addresses,
        "protocol": match workload.tunnel_protocol {
            TunnelProtocol::None => "TCP",
            TunnelProtocol::Hbone => "HBONE",
        },
        "name": workload.name,
        "namespace": workload.namespace,
        "serviceAccount": workload.service_account(),
        "workloadName": workload.workload_name,
        "workloadType": workload.workload_type.as_str(),
        "canonicalName": workload.canonical_name,
        "canonicalRevision": workload.canonical_revision,
        "clusterId": workload.cluster_id,
        "trustDomain": workload.trust_domain(),
        "locality": {
            "region": workload.locality.region,
            "zone": workload.locality.zone,
            "subzone": workload.locality.subzone,
        },
        "node": workload.node,
        "network": workload.network,
        "status": status(workload.status),
        "hostname": workload.hostname,
        "capacity": workload.capacity,
        "authorizationPolicies": workload.authorization_policies,
        "nativeTunnel": workload.native_tunnel,
        "networkMode": match workload.network_mode {
            NetworkMode::Standard => "Standard",
            NetworkMode::HostNetwork => "HostNetwork",
        },
        "services": workload.services.keys().map(ToString::to_string).collect::<Vec<_>>(),
    });
    put(
        &mut all,
        "waypoint",
        workload.waypoint.as_ref().map(gateway),
    );
    put(
        &mut all,
        "networkGateway",
        workload.network_gateway.as_ref().map(gateway),
    );
    put(
        &mut all,
        "applicationTunnel",
        workload.application_tunnel.map(|tunnel| {
            let protocol = match tunnel.protocol {
                ApplicationProtocol::None => "NONE",
                ApplicationProtocol::Proxy => "PROXY",
            };
            json!({ "protocol": protocol, "port": tunnel.port })
        }),
    );
    all
}

fn put(object: &mut Value, key: &str, value: Option<Value>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(key.to_owned(), value);
    }
}

pub(super) fn endpoint(workload: &Workload, service: &NamespacedHostname) -> Value {
    let address = workload
        .addresses
        .first()
        .map(|ip| format!("{}/{ip}", workload.network));
    json!({
        "workloadUid": workload.uid,
        "service": service.to_string(),
        "address": address,
        "port": workload.services.get(service).map_or_else(|| json!({}), ports),
        "status": status(workload.status),
    })
}

pub(super) fn service(service: &Service, snapshot: &Snapshot) -> Value {
    let key = service.key();
    let endpoints: Map<String, Value> = snapshot
        .endpoints(&key)
        .map(|all| {
            all.workloads()
                .map(|w| (w.uid.to_string(), endpoint(w, &key)))
                .collect()
        })
        .unwrap_or_default();
    let served: Map<String, Value> = service
        .ports
        .iter()
        .map(|port| (port.service_port.to_string(), json!(port.target_port)))
        .collect();
    let balancing = &service.load_balancing;
    let mut all = json!({
        "name": service.name,
        "namespace": service.namespace,
        "hostname": service.hostname,
        "vips": service.vips.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "cidrVips": service.cidr_vips.iter().map(|vip| format!("{}/{}", vip.network, vip.block)).collect::<Vec<_>>(),
        "ports": served,
        "endpoints": endpoints,
        "subjectAltNames": service.subject_alt_names,
        "canonical": service.canonical,
        "visibility": match service.visibility {
            Visibility::Public => "Public",
            Visibility::Namespace => "Namespace",
        },
        "loadBalancer": {
            "mode": match balancing.mode {
                Mode::Standard => "Standard",
                Mode::Strict => "Strict",
                Mode::Failover => "Failover",
                Mode::Passthrough => "Passthrough",
            },
            "routingPreferences": balancing.routing_preference.iter().map(|s| scope(*s)).collect::<Vec<_>>(),
            "healthPolicy": if balancing.allow_unhealthy { "AllowAll" } else { "OnlyHealthy" },
        },
    });
    let families = match service.ip_families {
        IpFamilies::Automatic => None,
        IpFamilies::Ipv4Only => Some("IPv4"),
        IpFamilies::Ipv6Only => Some("IPv6"),
        IpFamilies::Dual => Some("Dual"),
    };
    put(&mut all, "ipFamilies", families.map(Value::from));
    put(&mut all, "waypoint", service.waypoint.as_ref().map(gateway));
    let weighted: Vec<Value> = service
        .weighted_waypoints
        .iter()
        .map(|way| json!({ "destination": gateway(&way.destination), "weight": way.weight }))
        .collect();
    put(
        &mut all,
        "weightedWaypoints",
        (!weighted.is_empty()).then(|| weighted.into()),
    );
    all
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Region => "Region",
        Scope::Zone => "Zone",
        Scope::Subzone => "Subzone",
        Scope::Node => "Node",
        Scope::Cluster => "Cluster",
        Scope::Network => "Network",
    }
}

pub(super) fn policy(policy: &Policy) -> Value {
    let clause = |clause: &Vec<Match>| clause.iter().map(rule_match).collect::<Vec<_>>();
    let rules: Vec<Vec<Vec<Value>>> = policy
        .rules
        .iter()
        .map(|rule| rule.iter().map(clause).collect())
        .collect();
    json!({
        "name": policy.name,
        "namespace": policy.namespace,
        "scope": match policy.scope {
            PolicyScope::Global => "Global",
            PolicyScope::Namespace => "Namespace",
            PolicyScope::WorkloadSelector => "WorkloadSelector",
        },
        "action": match policy.action {
            Action::Allow => "Allow",
            Action::Deny => "Deny",
        },
        "dryRun": policy.dry_run,
        "rules": rules,
    })
}

fn rule_match(one: &Match) -> Value {
    let mut all = json!({});
    lists(
        &mut all,
        "namespaces",
        "notNamespaces",
        &one.namespaces,
        text_match,
    );
    lists(
        &mut all,
        "principals",
        "notPrincipals",
        &one.principals,
        text_match,
    );
    lists(
        &mut all,
        "serviceAccounts",
        "notServiceAccounts",
        &one.service_accounts,
        |account| json!({ "namespace": account.namespace, "serviceAccount": account.name }),
    );
    lists(
        &mut all,
        "sourceIps",
        "notSourceIps",
        &one.source_ips,
        |ip| json!(ip.to_string()),
    );
    lists(
        &mut all,
        "destinationIps",
        "notDestinationIps",
        &one.destination_ips,
        |ip| json!(ip.to_string()),
    );
    lists(
        &mut all,
        "destinationPorts",
        "notDestinationPorts",
        &one.destination_ports,
        |port| json!(port),
    );
    all
}

fn lists<T>(
    object: &mut Value,
    any: &str,
    none: &str,
    values: &Values<T>,
    show: impl Fn(&T) -> Value,
) {
    for (key, list) in [(any, &values.any), (none, &values.none)] {
        let shown: Vec<Value> = list.iter().map(&show).collect();
        put(object, key, (!shown.is_empty()).then(|| shown.into()));
    }
}

fn text_match(one: &StringMatch) -> Value {
    match one {
        StringMatch::Exact(text) => json!({ "Exact": text }),
        StringMatch::Prefix(text) => json!({ "Prefix": text }),
        StringMatch::Suffix(text) => json!({ "Suffix": text }),
        StringMatch::Presence => json!("Presence"),
    }
}

pub(super) fn pod(pod: &Pod, trust_domain: &str) -> Value {
    let side = |wanted: Reporter| {
        pod.connections
            .iter()
            .filter(|live| live.reporter == wanted)
            .map(connection)
            .collect::<Vec<_>>()
    };
    json!({
        "state": match pod.state {
            State::Pending => "Pending",
            State::Up => "Up",
        },
        "connections": { "inbound": side(Reporter::Destination), "outbound": side(Reporter::Source) },
        "info": {
            "name": pod.info.name,
            "namespace": pod.info.namespace,
            "trustDomain": trust_domain,
            "serviceAccount": pod.info.service_account,
        },
    })
}

fn connection(live: &Live) -> Value {
    json!({
        "src": live.src,
        "originalDst": live.original_dst,
        "actualDst": live.actual_dst,
        "protocol": match live.protocol {
            Protocol::Tcp => "TCP",
            Protocol::Hbone => "HBONE",
            Protocol::DoubleHbone => "DOUBLEHBONE",
        },
    })
}

pub(super) fn certificate(identity: &Identity, state: &CertificateState) -> Value {
    let (chain, roots) = match state {
        CertificateState::Available(certificate) => (
            certificate.chain().iter().map(|der| x509(der)).collect(),
            certificate.roots().iter().map(|der| x509(der)).collect(),
        ),
        _ => (Vec::new(), Vec::new()),
    };
    json!({ "identity": identity.to_string(), "state": state.to_string(), "certChain": chain, "rootCerts": roots })
}

/// The state of an identity's certificate, its end, and the SHA-256 of the root it is under, in hexadecimal: null when it is
/// under none of those that came with it.
pub(super) fn certified(identity: &Identity, state: &CertificateState, now: SystemTime) -> Value {
    let mut entry = json!({ "identity": identity.to_string(), "state": state.to_string() });
    if let CertificateState::Available(certificate) = state {
        let end = jiff::Timestamp::try_from(certificate.not_after()).ok();
        put(
            &mut entry,
            "notAfter",
            end.map(|end| end.to_string().into()),
        );
        let hex = |root: &[u8]| {
            let hash = digest::digest(&digest::SHA256, root);
            let mut text = String::with_capacity(64);
            for byte in hash.as_ref() {
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02x}");
            }
            text
        };
        entry["root"] = certificate.root(now).map(|root| hex(root)).into();
    }
    entry
}

fn x509(der: &[u8]) -> Value {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = (0..body.len())
        .step_by(64)
        .map(|at| &body[at..body.len().min(at + 64)])
        .collect();
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    );
    let mut all = json!({ "pem": STANDARD.encode(pem) });
    if let Ok((_, parsed)) = X509Certificate::from_der(der) {
        let time = |seconds: i64| {
            jiff::Timestamp::from_second(seconds)
                .ok()
                .map(|t| t.to_string())
        };
        put(
            &mut all,
            "serialNumber",
            Some(format!("{:x}", parsed.tbs_certificate.serial).into()),
        );
        put(
            &mut all,
            "validFrom",
            time(parsed.validity().not_before.timestamp()).map(Value::from),
        );
        put(
            &mut all,
            "expirationTime",
            time(parsed.validity().not_after.timestamp()).map(Value::from),
        );
    }
    all
}
