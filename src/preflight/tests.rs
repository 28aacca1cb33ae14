//! One row a code: the facts that bring it out, and those next to it that must not.

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::api::v1alpha1::{DataPlane, MeshMemberSpec, Toleration, TolerationOperator};
use crate::catalogue::{Catalogue, Version};

fn node(name: &str) -> Node {
    Node {
        name: name.into(),
        os: "linux".into(),
        arch: "amd64".into(),
        labels: [("disk".to_owned(), "ssd".to_owned())].into(),
        ready: true,
        unschedulable: false,
        taints: Vec::new(),
        kubelet_version: "v1.33.4".into(),
        is_virtual: false,
    }
}

/// A cluster in which nothing is wrong.
fn cluster() -> Cluster {
    Cluster {
        server_version: "v1.33.4".into(),
        uid: "b7a0".into(),
        nodes: vec![
            node("one"),
            Node {
                arch: "arm64".into(),
                ..node("two")
            },
        ],
        system_labels: Some([(POD_SECURITY_LABEL.to_owned(), "privileged".to_owned())].into()),
        ..Cluster::default()
    }
}

fn member(name: &str, created: &str) -> MeshMember {
    let mut member = MeshMember::new(name, MeshMemberSpec::default());
    member.metadata.creation_timestamp = Some(Time(created.parse().unwrap()));
    member
}

fn here() -> MeshMember {
    member("here", "2026-11-01T00:00:00Z")
}

fn findings(cluster: &Cluster, member: &MeshMember) -> Vec<Finding> {
    let catalogue = Catalogue::embedded();
    check(cluster, member, catalogue.get(Version::new(1, 6, 0)))
}

/// The codes found, those that block marked.
fn codes(cluster: &Cluster) -> Vec<String> {
    findings(cluster, &here())
        .into_iter()
        .map(|finding| match finding.severity {
            Severity::Block => format!("{}!", finding.code),
            Severity::Warn => finding.code.to_string(),
        })
        .collect()
}

fn set(namespace: &str, name: &str, is_ours: bool) -> Workload {
    Workload {
        namespace: namespace.into(),
        name: name.into(),
        is_ours,
    }
}

fn crd(name: &str, owner: Option<&str>, bundle: Option<&str>, channel: Option<&str>) -> Crd {
    let text = |text: Option<&str>| text.map(str::to_owned);
    Crd {
        name: name.into(),
        owner: text(owner),
        bundle_version: text(bundle),
        channel: text(channel),
    }
}

fn right(verb: &str, resource: &str, namespace: &str) -> Right {
    Right {
        verb: verb.into(),
        resource: resource.into(),
        namespace: namespace.into(),
    }
}

#[test]
fn a_sound_cluster_has_no_findings() {
    assert_eq!(codes(&cluster()), [""; 0]);
}

#[test]
fn every_fault_has_its_code() {
    type Row = (&'static str, fn(&mut Cluster), &'static [&'static str]);
    #[rustfmt::skip]
    let table: &[Row] = &[
        ("a missing right", |c| c.missing_rights = vec![right("create", "daemonsets.apps", "applink-system")], &["MissingRights!"]),
        ("an older member", |c| c.rivals = vec![Rival { name: "other".into(), created: "2026-10-01T00:00:00Z".parse().unwrap() }], &["ClusterAlreadyMember!"]),
        ("a younger member", |c| c.rivals = vec![Rival { name: "other".into(), created: "2026-12-01T00:00:00Z".parse().unwrap() }], &[]),
        ("an equally old member with a smaller name", |c| c.rivals = vec![Rival { name: "a".into(), created: "2026-11-01T00:00:00Z".parse().unwrap() }], &["ClusterAlreadyMember!"]),
        ("an equally old member with a greater name", |c| c.rivals = vec![Rival { name: "z".into(), created: "2026-11-01T00:00:00Z".parse().unwrap() }], &[]),
        ("itself", |c| c.rivals = vec![Rival { name: "here".into(), created: "2026-10-01T00:00:00Z".parse().unwrap() }], &[]),
        ("Kubernetes too old", |c| c.server_version = "v1.31.9".into(), &["KubernetesUnsupported!"]),
        ("Kubernetes too new", |c| c.server_version = "v1.37.0".into(), &["KubernetesUnsupported!", "KubeletTooOld"]),
        ("Kubernetes unknown", |c| c.server_version = "main".into(), &["KubernetesUnsupported!"]),
        ("a distribution's suffix", |c| c.server_version = "v1.33.4-eks-1234".into(), &[]),
        ("no node", |c| c.nodes.clear(), &["NoLinuxNode!"]),
        ("only Windows", |c| c.nodes.iter_mut().for_each(|node| node.os = "windows".into()), &["NoLinuxNode!", "NodesNotLinux"]),
        ("some Windows", |c| c.nodes[0].os = "windows".into(), &["NodesNotLinux"]),
        ("only virtual", |c| c.nodes.iter_mut().for_each(|node| node.is_virtual = true), &["NoLinuxNode!", "NodesVirtual"]),
        ("some virtual", |c| c.nodes[1].is_virtual = true, &["NodesVirtual"]),
        ("an architecture without image", |c| c.nodes[1].arch = "s390x".into(), &["ArchitectureUnsupported"]),
        ("no architecture with an image", |c| c.nodes.iter_mut().for_each(|node| node.arch = "ppc64le".into()), &["NoLinuxNode!", "ArchitectureUnsupported"]),
        ("a node not Ready", |c| c.nodes[0].ready = false, &["NodesNotReady"]),
        ("a cordoned node", |c| c.nodes[0].unschedulable = true, &["NodesCordoned"]),
        ("a taint while everything is tolerated", |c| c.nodes[0].taints = vec![Taint { key: "gpu".into(), value: String::new(), effect: "NoSchedule".into() }], &[]),
        ("an old kubelet", |c| c.nodes[0].kubelet_version = "v1.29.1".into(), &["KubeletTooOld"]),
        ("a kubelet three behind", |c| c.nodes[0].kubelet_version = "v1.30.1".into(), &[]),
        ("somebody else's agent", |c| c.daemon_sets = vec![set("istio-system", "istio-cni-node", false)], &["ForeignCniAgent!"]),
        ("somebody else's proxy", |c| c.daemon_sets = vec![set("kube-system", "ztunnel", false)], &["ForeignZtunnel!"]),
        ("somebody else's proxy in our namespace", |c| c.daemon_sets = vec![set("applink-system", "ztunnel", false)], &["ForeignZtunnel!"]),
        ("our own", |c| c.daemon_sets = vec![set("applink-system", "istio-cni-node", true), set("applink-system", "ztunnel", true)], &[]),
        ("istiod elsewhere", |c| c.control_planes = vec![set("istio-system", "istiod", false)], &["SidecarMesh!"]),
        ("our istiod", |c| c.control_planes = vec![set("applink-system", "istiod-1-6-0", true)], &[]),
        ("somebody else's injector", |c| c.injectors = vec![Injector { name: "istio-sidecar-injector".into(), is_ours: false }], &["SidecarMesh!"]),
        ("our injector", |c| c.injectors = vec![Injector { name: "istio-sidecar-injector".into(), is_ours: true }], &[]),
        ("a label nobody answers", |c| c.sidecar_namespaces = vec!["shop".into()], &["SidecarLabels"]),
        ("a label somebody answers", |c| { c.sidecar_namespaces = vec!["shop".into()]; c.control_planes = vec![set("istio-system", "istiod", false)]; }, &["SidecarMesh!"]),
        ("Cilium alone", |c| c.cilium = Some(Cilium::default()), &[]),
        ("Cilium exclusive", |c| c.cilium = Some(Cilium { exclusive: true, ..Cilium::default() }), &["CiliumExclusive!"]),
        ("Cilium masquerading", |c| c.cilium = Some(Cilium { bpf_masquerade: true, ..Cilium::default() }), &["CiliumMasquerade"]),
        ("Cilium before the mesh", |c| c.cilium = Some(Cilium { socket_lb: true, ..Cilium::default() }), &["CiliumSocketLb"]),
        ("a namespace that refuses the data plane", |c| c.system_labels = Some([(POD_SECURITY_LABEL.to_owned(), "restricted".to_owned())].into()), &["PodSecurity!"]),
        ("a namespace without a level", |c| c.system_labels = Some([].into()), &[]),
        ("no namespace yet", |c| c.system_labels = None, &[]),
        ("the system namespace enrolled", |c| c.system_labels = Some([(DATAPLANE_MODE_LABEL.to_owned(), "ambient".to_owned())].into()), &["SystemNamespaceEnrolled!"]),
        ("the system namespace kept out", |c| c.system_labels = Some([(DATAPLANE_MODE_LABEL.to_owned(), "none".to_owned())].into()), &[]),
        ("a quota one short", |c| c.quotas = vec![Quota { name: "q".into(), hard: 7, used: 2 }], &["QuotaTooSmall!"]),
        ("a quota that fits", |c| c.quotas = vec![Quota { name: "q".into(), hard: 8, used: 2 }], &[]),
        ("a full quota when we are already there", |c| { c.quotas = vec![Quota { name: "q".into(), hard: 6, used: 6 }]; c.daemon_sets = vec![set("applink-system", "istio-cni-node", true)]; }, &[]),
        ("foreign Gateway API, recent", |c| c.crds = vec![crd("gateways.gateway.networking.k8s.io", Some("helm"), Some("v1.6.0"), Some("standard"))], &["GatewayApiForeign"]),
        ("foreign Gateway API, older", |c| c.crds = vec![crd("gateways.gateway.networking.k8s.io", Some("helm"), Some("v1.2.1"), Some("standard"))], &["GatewayApiForeign", "GatewayApiTooOld"]),
        ("foreign Gateway API, before v1", |c| c.crds = vec![crd("gateways.gateway.networking.k8s.io", Some("helm"), Some("v0.8.1"), Some("standard"))], &["GatewayApiTooOld!", "GatewayApiForeign"]),
        ("experimental Gateway API", |c| c.crds = vec![crd("gateways.gateway.networking.k8s.io", None, Some("v1.6.0"), Some("experimental"))], &["GatewayApiExperimental"]),
        ("our Gateway API, older: it is updated", |c| c.crds = vec![crd("gateways.gateway.networking.k8s.io", None, Some("v1.2.1"), Some("standard"))], &[]),
        ("an unreadable bundle", |c| c.crds = vec![crd("gateways.gateway.networking.k8s.io", Some("helm"), Some("main"), None)], &["GatewayApiForeign"]),
        ("foreign Istio CRDs", |c| c.crds = vec![crd("sidecars.networking.istio.io", Some("helm"), None, None)], &["IstioCrdsForeign"]),
        ("our Istio CRDs", |c| c.crds = vec![crd("sidecars.networking.istio.io", None, None, None)], &[]),
    ];
    for (name, change, expected) in table {
        let mut cluster = cluster();
        change(&mut cluster);
        assert_eq!(codes(&cluster), *expected, "{name}");
    }
}

#[test]
fn a_taint_counts_only_when_the_spec_names_tolerations() {
    use TolerationOperator::{Equal, Exists};
    let mut cluster = cluster();
    let taint = |key: &str, effect: &str| Taint {
        key: key.into(),
        value: "yes".into(),
        effect: effect.into(),
    };
    let toleration = |key: Option<&str>, operator, value: Option<&str>| Toleration {
        key: key.map(str::to_owned),
        operator: Some(operator),
        value: value.map(str::to_owned),
        ..Toleration::default()
    };
    let mut member = here();
    let table = [
        (taint("gpu", "NoSchedule"), vec![], true),
        (
            taint("gpu", "NoExecute"),
            vec![toleration(Some("gpu"), Equal, Some("no"))],
            true,
        ),
        (
            taint("gpu", "NoSchedule"),
            vec![toleration(Some("gpu"), Equal, Some("yes"))],
            false,
        ),
        (
            taint("gpu", "NoSchedule"),
            vec![toleration(Some("gpu"), Exists, None)],
            false,
        ),
        (
            taint("gpu", "NoSchedule"),
            vec![toleration(None, Exists, None)],
            false,
        ),
        (
            taint("gpu", "NoSchedule"),
            vec![toleration(Some("cpu"), Exists, None)],
            true,
        ),
        (taint("gpu", "PreferNoSchedule"), vec![], false),
        (taint("applink.dev/moving", "NoSchedule"), vec![], false),
        (taint("cni.istio.io/not-ready", "NoSchedule"), vec![], true),
        (
            taint("node.kubernetes.io/unschedulable", "NoSchedule"),
            vec![],
            false,
        ),
    ];
    for (taint, tolerations, expected) in table {
        cluster.nodes[0].taints = vec![taint.clone()];
        member.spec.data_plane = Some(DataPlane {
            tolerations: Some(tolerations.clone()),
            ..DataPlane::default()
        });
        let found = findings(&cluster, &member)
            .iter()
            .any(|finding| finding.code == Code::TaintNotTolerated);
        assert_eq!(found, expected, "{taint:?} {tolerations:?}");
    }
}

#[test]
fn a_selector_that_chooses_no_node_stops_a_running_mesh_too() {
    type Row = (
        &'static [(&'static str, &'static str)],
        fn(&mut Cluster),
        bool,
    );
    let table: [Row; 6] = [
        (&[], |_| (), false),
        (&[("disk", "ssd")], |_| (), false),
        (&[("disk", "tape")], |_| (), true),
        (&[("disk", "ssd"), ("zone", "a")], |_| (), true),
        (
            &[("disk", "ssd")],
            |cluster| cluster.nodes[0].labels.clear(),
            false,
        ),
        // Nodes that cannot carry the mesh do not count.
        (
            &[("disk", "ssd")],
            |cluster| {
                cluster.nodes[0].labels.clear();
                cluster.nodes[1].os = "windows".into();
            },
            true,
        ),
    ];
    for (selector, change, expected) in table {
        let mut cluster = cluster();
        change(&mut cluster);
        let mut member = here();
        member.spec.data_plane = Some(DataPlane {
            node_selector: selector
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..DataPlane::default()
        });
        let found = findings(&cluster, &member);
        let is_found = found
            .iter()
            .any(|finding| finding.code == Code::NoNodeSelected);
        assert_eq!(is_found, expected, "{selector:?}");
        assert_eq!(stops(&found, false), expected, "{selector:?}");
        assert_eq!(stops(&found, true), expected, "{selector:?}");
    }
}

#[test]
fn what_blocks_an_install_does_not_stop_what_runs() {
    let mut cluster = cluster();
    cluster.daemon_sets = vec![set("istio-system", "ztunnel", false)];
    let found = findings(&cluster, &here());
    assert!(stops(&found, false));
    assert!(!stops(&found, true));
}

fn policy(namespace: &str, name: &str, spec: &Value) -> NetworkPolicy {
    serde_json::from_value(
        json!({ "metadata": { "namespace": namespace, "name": name }, "spec": spec }),
    )
    .unwrap()
}

#[test]
fn network_policies_are_judged_together() {
    let all = json!({});
    let web = json!({ "matchLabels": { "app": "web" } });
    let probe = json!([{ "ipBlock": { "cidr": "169.254.7.127/32" } }]);
    let tunnel = json!([{ "port": 15008, "protocol": "TCP" }]);
    #[rustfmt::skip]
    let table: Vec<(&str, Vec<Value>, &[&str])> = vec![
        ("nothing comes in", vec![json!({ "podSelector": all, "policyTypes": ["Ingress"] })], &["NetworkPolicyBlocksTunnel", "NetworkPolicyBlocksProbes"]),
        ("policyTypes left out means ingress", vec![json!({ "podSelector": all })], &["NetworkPolicyBlocksTunnel", "NetworkPolicyBlocksProbes"]),
        ("everything comes in", vec![json!({ "podSelector": all, "ingress": [{}] })], &[]),
        ("only port 80 from anywhere", vec![json!({ "podSelector": web, "ingress": [{ "ports": [{ "port": 80 }] }] })], &["NetworkPolicyBlocksTunnel"]),
        ("the tunnel from anywhere", vec![json!({ "podSelector": web, "ingress": [{ "ports": tunnel }] })], &[]),
        ("the tunnel from a namespace only", vec![json!({ "podSelector": web, "ingress": [{ "ports": tunnel, "from": [{ "namespaceSelector": {} }] }] })], &["NetworkPolicyBlocksProbes"]),
        ("the tunnel and the probes", vec![json!({ "podSelector": web, "ingress": [{ "ports": tunnel, "from": [{ "namespaceSelector": {} }] }, { "from": probe }] })], &[]),
        ("a wide range holds the probes", vec![json!({ "podSelector": web, "ingress": [{ "from": [{ "ipBlock": { "cidr": "169.254.0.0/16" } }] }] })], &[]),
        ("unless it is excepted", vec![json!({ "podSelector": web, "ingress": [{ "from": [{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"] } }] }] })], &["NetworkPolicyBlocksProbes"]),
        ("a port range holds the tunnel", vec![json!({ "podSelector": web, "ingress": [{ "ports": [{ "port": 15000, "endPort": 15100 }] }] })], &[]),
        ("UDP is not the tunnel", vec![json!({ "podSelector": web, "ingress": [{ "ports": [{ "port": 15008, "protocol": "UDP" }] }] })], &["NetworkPolicyBlocksTunnel"]),
        ("a second policy for all pods lets it in", vec![json!({ "podSelector": web, "policyTypes": ["Ingress"] }), json!({ "podSelector": all, "ingress": [{}] })], &[]),
        ("a second policy for the same pods lets it in", vec![json!({ "podSelector": web, "policyTypes": ["Ingress"] }), json!({ "podSelector": web, "ingress": [{}] })], &[]),
        ("a second policy for other pods does not", vec![json!({ "podSelector": web, "policyTypes": ["Ingress"] }), json!({ "podSelector": { "matchLabels": { "app": "db" } }, "ingress": [{}] })], &["NetworkPolicyBlocksTunnel", "NetworkPolicyBlocksProbes"]),
        ("nothing goes out", vec![json!({ "podSelector": all, "policyTypes": ["Egress"] })], &["NetworkPolicyBlocksTunnel"]),
        ("the tunnel goes out", vec![json!({ "podSelector": all, "policyTypes": ["Egress"], "egress": [{ "ports": tunnel }] })], &[]),
        ("DNS alone goes out", vec![json!({ "podSelector": all, "policyTypes": ["Egress"], "egress": [{ "ports": [{ "port": 53, "protocol": "UDP" }] }] })], &["NetworkPolicyBlocksTunnel"]),
    ];
    for (name, specs, expected) in table {
        let mut cluster = cluster();
        cluster.enrolled_namespaces = vec!["shop".into()];
        cluster.network_policies = specs
            .iter()
            .enumerate()
            .map(|(number, spec)| policy("shop", &format!("p{number}"), spec))
            .collect();
        assert_eq!(codes(&cluster), expected, "{name}");
    }
}

#[test]
fn policies_of_namespaces_outside_the_mesh_do_not_count() {
    let mut cluster = cluster();
    cluster.enrolled_namespaces = vec!["shop".into()];
    cluster.network_policies = vec![policy("bank", "deny", &json!({ "podSelector": {} }))];
    assert_eq!(codes(&cluster), [""; 0]);
}

#[test]
fn a_finding_names_code_object_fault_and_remedy() {
    let mut cluster = cluster();
    cluster.missing_rights = vec![
        right("create", "daemonsets.apps", "applink-system"),
        right("list", "nodes", ""),
    ];
    cluster.daemon_sets = vec![set("istio-system", "ztunnel", false)];
    let texts: Vec<String> = findings(&cluster, &here())
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        texts,
        [
            "MissingRights: ServiceAccount applink-operator/applink-operator: the operator may not create \
             daemonsets.apps in namespace applink-system, list nodes; apply the operator's manifests of this version \
             again; they contain the roles",
            "ForeignZtunnel: DaemonSet istio-system/ztunnel: a node proxy of somebody else uses the same socket on \
             every node; uninstall that mesh first; nothing of it is touched",
        ]
    );
    assert!(blocks(&findings(&cluster, &here())));
    assert!(!blocks(&findings(&super::tests::cluster(), &here())));
}

#[test]
fn many_objects_are_counted_and_a_few_named() {
    let mut cluster = cluster();
    cluster.nodes = (0..200)
        .map(|number| Node {
            ready: false,
            ..node(&format!("n{number:03}"))
        })
        .collect();
    let found = findings(&cluster, &here());
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].object,
        "Node n000, n001, n002, n003, n004 and 195 more"
    );
    assert_eq!(
        found[0].message,
        "200 nodes are not Ready; they are served when they return"
    );
}

#[test]
fn findings_are_bounded_and_what_blocks_comes_first() {
    let mut cluster = cluster();
    cluster.nodes[0].ready = false;
    cluster.daemon_sets = (0..200)
        .map(|number| set(&format!("n{number}"), "ztunnel", false))
        .collect();
    let found = findings(&cluster, &here());
    assert_eq!(found.len(), MAX_FINDINGS);
    assert!(
        found
            .iter()
            .all(|finding| finding.severity == Severity::Block)
    );
}

#[test]
fn without_a_release_what_depends_on_it_is_left_out() {
    let mut cluster = cluster();
    cluster.server_version = "v1.20.0".into();
    cluster
        .nodes
        .iter_mut()
        .for_each(|node| node.kubelet_version = "v1.20.0".into());
    assert_eq!(check(&cluster, &here(), None), []);
}

#[test]
fn the_member_itself_needs_a_creation_time_to_lose() {
    let mut cluster = cluster();
    cluster.rivals = vec![Rival {
        name: "other".into(),
        created: Timestamp::UNIX_EPOCH,
    }];
    let unsaved = MeshMember::new("here", MeshMemberSpec::default());
    assert!(findings(&cluster, &unsaved).is_empty());
}
