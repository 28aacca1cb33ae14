//! Names, labels and hashes by which objects are told apart.

use std::collections::{BTreeMap, BTreeSet};

use applink::desired;

use crate::case::Case;
use crate::{BASE, case, objects, revision};

#[test]
fn an_object_is_there_once_and_says_whose_it_is() {
    for name in case::folders().into_keys() {
        let mut seen = BTreeSet::new();
        for object in objects(&name) {
            assert!(
                seen.insert(object.display_name()),
                "{name}: {} twice",
                object.display_name()
            );
            let meta = &object.body["metadata"];
            assert_eq!(
                meta["labels"]["app.kubernetes.io/managed-by"],
                "applink",
                "{}",
                object.display_name()
            );
            assert_eq!(
                meta["labels"]["applink.dev/member"],
                "edge-1",
                "{}",
                object.display_name()
            );
            assert_eq!(
                meta["annotations"]["applink.dev/member-uid"],
                "6f1d6f0e-2a55-4f5e-9a8e-4f0c1b7c9d11"
            );
            assert!(
                meta.get("ownerReferences").is_none(),
                "{}",
                object.display_name()
            );
            assert!(object.body.get("status").is_none() && meta.get("resourceVersion").is_none());
        }
    }
}

#[test]
fn workloads_carry_their_template_hash_on_themselves_and_on_their_pods() {
    for name in case::folders().into_keys() {
        let workloads = objects(&name)
            .into_iter()
            .filter(|object| ["DaemonSet", "Deployment"].contains(&object.resource.kind.as_str()));
        for workload in workloads {
            let hash = workload.annotation("applink.dev/template-hash").unwrap();
            assert_eq!(hash.len(), 16);
            assert_eq!(
                workload.body["spec"]["template"]["metadata"]["annotations"]["applink.dev/template-hash"],
                hash
            );
        }
    }
}

#[test]
fn label_values_and_names_fit_where_they_are_written() {
    for name in case::folders().into_keys() {
        for object in objects(&name) {
            assert!(object.name.len() <= 63, "{}", object.display_name());
            for (key, value) in object.body["metadata"]["labels"].as_object().unwrap() {
                assert!(value.as_str().unwrap().len() <= 63, "{key}");
            }
        }
    }
}

#[test]
fn a_revision_is_the_release_and_a_hash_of_what_runs_on_nodes() {
    let base = revision(BASE);
    assert!(base.starts_with("1-6-0-") && base.len() == 12, "{base}");
    // What does not run on nodes, or is where and not what.
    for same in [
        "strict",
        "one-replica",
        "node-selector",
        "arriving",
        "beside",
        "waypoints",
        "dual-stack",
        "ipv6",
    ] {
        assert_eq!(revision(same), base, "{same}");
    }
    let mut seen = BTreeMap::from([(base.clone(), BASE)]);
    for different in [
        "istio-1.29",
        "istio-1.30",
        "tuned",
        "upstream-ztunnel",
        "registry",
        "k3s",
        "openshift",
    ] {
        let before = seen.insert(revision(different), different);
        assert_eq!(before, None, "{different}");
    }
}

/// One field at a time, so that none of them hides behind another.
#[test]
fn every_field_of_what_runs_on_nodes_is_another_revision_and_no_other_field_is() {
    let base = revision(BASE);
    let of = |member: &str| {
        let case: Case = serde_saphyr::from_str(&format!("member: {member}")).unwrap();
        desired::revision(&case.blueprint()).unwrap().to_string()
    };
    assert_eq!(of("{}"), base);
    let mut seen = BTreeMap::from([(base.clone(), "{}")]);
    for different in [
        "{upgrade: {strategy: {drain: {timeout: 5s}}}}",
        "{dataPlane: {ztunnel: {logLevel: Debug}}}",
        "{dataPlane: {ztunnel: {implementation: Istio}}}",
        "{dataPlane: {ztunnel: {resources: {requests: {cpu: 70m}}}}}",
        "{dataPlane: {ztunnel: {resources: {limits: {memory: 900Mi}}}}}",
        "{dataPlane: {cni: {logLevel: Debug}}}",
        "{dataPlane: {cni: {resources: {requests: {cpu: 70m}}}}}",
        "{dataPlane: {platform: K3s}}",
        "{images: {registry: mirror.example}}",
        "{network: west}",
    ] {
        let before = seen.insert(of(different), different);
        assert_eq!(before, None, "{different}");
    }
    for same in [
        "{upgrade: {strategy: {onFailure: Pause, onFullNode: Preempt, batch: {size: 3, soak: 1s}}}}",
        "{upgrade: {strategy: {gates: {timeout: 1m}, canary: {type: Count, count: 2}}}}",
        "{upgrade: {paused: true, version: \"1.6\"}}",
        "{dataPlane: {nodeSelector: {pool: mesh}}}",
        // istiod takes the taint off.
        "{dataPlane: {cni: {startupTaint: true}}}",
        "{controlPlane: {replicas: 3}}",
        "{waypoints: {replicas: 3}}",
        "{leavePolicy: UnenrolNamespaces}",
    ] {
        assert_eq!(of(same), base, "{same}");
    }
}
