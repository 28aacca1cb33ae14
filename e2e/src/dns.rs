//! The cluster's DNS: `CoreDNS` as a Deployment behind the service `kube-dns`. Pure, but for
//! [`answers`].

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};

use crate::images::Image;

const COREFILE: &str = ".:53 {
    errors
    health :8080 {
        lameduck 2s
    }
    ready :8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 5
    }
    cache 5
}
";

/// The objects, in the order to apply them.
pub fn objects(address: Ipv4Addr) -> Vec<Value> {
    let labels = json!({"k8s-app": "kube-dns"});
    let meta = |name: &str| json!({"name": name, "namespace": "kube-system", "labels": labels});
    let probe = |path: &str, port: u16| json!({"httpGet": {"path": path, "port": port}, "periodSeconds": 1, "failureThreshold": 30});
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("coredns")}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "system:coredns"},
            "rules": [
                {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "system:coredns"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
            "subjects": [{"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}],
        }),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("coredns"), "data": {"Corefile": COREFILE}}),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta("kube-dns"),
            "spec": {
                "clusterIP": address,
                "selector": labels,
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                ],
            },
        }),
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta("coredns"),
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "serviceAccountName": "coredns",
                        "priorityClassName": "system-cluster-critical",
                        "dnsPolicy": "Default",
                        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
                            "weight": 100,
                            "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}},
                        }]}},
                        "tolerations": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}],
                        "containers": [{
                            "name": "coredns",
                            "image": Image::Coredns.reference(),
                            "imagePullPolicy": "Never",
                            "args": ["-conf", "/etc/coredns/Corefile"],
                            "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}},
                            "readinessProbe": probe("/ready", 8181),
                            "livenessProbe": probe("/health", 8080),
                            "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
                        }],
                        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
                    },
                },
            },
        }),
    ]
}

/// Whether the server at `address` gives an address for `kubernetes.default.svc.cluster.local`.
pub fn answers(address: Ipv4Addr) -> bool {
    ask(address).is_ok_and(|answer| is_answered(&answer))
}

fn ask(address: Ipv4Addr) -> std::io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    socket.connect(SocketAddr::from((address, 53)))?;
    socket.send(&question(&[
        "kubernetes",
        "default",
        "svc",
        "cluster",
        "local",
    ]))?;
    let mut answer = vec![0; 512];
    let read = socket.recv(&mut answer)?;
    answer.truncate(read);
    Ok(answer)
}

/// A query for an A record (RFC 1035, 4.1): id, recursion desired, one question.
fn question(labels: &[&str]) -> Vec<u8> {
    let mut message = vec![0xa1, 0x1c, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in labels {
        message.push(u8::try_from(label.len()).unwrap_or(63));
        message.extend(label.bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// Response, no error, at least one answer.
fn is_answered(message: &[u8]) -> bool {
    matches!(message, [0xa1, 0x1c, flags, code, _, _, high, low, ..]
        if flags & 0x80 != 0 && code % 16 == 0 && (*high, *low) != (0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_without_error_counts() {
        let question = question(&["a"]);
        assert!(!is_answered(&question));
        let mut answer = question;
        answer[2] |= 0x80;
        assert!(!is_answered(&answer));
        answer[7] = 1;
        assert!(is_answered(&answer));
        answer[3] = 3;
        assert!(!is_answered(&answer) && !is_answered(&[0xa1]));
    }

    #[test]
    fn the_service_has_the_address_that_pods_are_told() {
        let address = Ipv4Addr::new(10, 200, 128, 10);
        let service = &objects(address)[4];
        assert_eq!(service["kind"], "Service");
        assert_eq!(service["spec"]["clusterIP"], "10.200.128.10");
    }
}
