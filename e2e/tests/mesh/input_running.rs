//! What a member that runs is asked for and cannot be done: it is told, and what runs stays as it is.

use std::collections::BTreeMap;

use applink::names;
use e2e::stage::{self, Stage};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fixture::{INSTALL, MEMBER, PATIENT, installed, on_stage, quick};
use crate::input_fault::Fault;
use crate::input_rows::{Row, release, told, untouched};
use crate::running::data_plane;
use crate::told::{said, until_said};

/// That release is in the catalogue.
fn there(version: &str, change: &Value) -> Option<Fault> {
    Some(Fault::There(release(version, change)))
}

/// What a member that runs 1.6.0 is asked for: more of `upgrade` than a version, and what is in the catalogue besides.
fn refused(
    version: &str,
    more: &Value,
    fault: Option<Fault>,
    reason: &'static str,
    words: &'static [&'static str],
) -> Row {
    let upgrade = stage::with(json!({"version": version, "strategy": quick()}), more);
    Row {
        name: MEMBER,
        fault,
        spec: json!({"upgrade": upgrade}),
        told: ("Accepted", reason),
        words,
    }
}

fn rows() -> Vec<Row> {
    let none = json!({});
    let withdrawn = json!({"withdrawn": {"reason": "it loses policies"}});
    let younger = json!({"kubernetes": {"min": "1.90", "max": "1.99"}});
    let nowhere = json!([{"start": "22:00", "duration": "1h", "timeZone": "Europe/Atlantis"}]);
    let windows = json!({"maintenanceWindows": nowhere});
    vec![
        refused(
            "1.9",
            &none,
            None,
            "UnknownVersion",
            &["1.9", "known versions"],
        ),
        refused("1.6.77", &none, None, "UnknownVersion", &["1.6.77"]),
        refused(
            "1.6.66",
            &none,
            there("1.6.66", &withdrawn),
            "ReleaseWithdrawn",
            &["1.6.66 was withdrawn: it loses policies"],
        ),
        refused(
            "1.6.65",
            &none,
            there("1.6.65", &younger),
            "KubernetesOutOfRange",
            &[
                "1.6.65 supports Kubernetes 1.90 to 1.99",
                "this cluster runs 1.34",
            ],
        ),
        refused(
            "1.4",
            &none,
            None,
            "TooFarBack",
            &["pin 1.5 or a later one"],
        ),
        refused(
            "1.8",
            &none,
            there("1.8.0", &none),
            "NoUpgradePath",
            &["leads through 1.7"],
        ),
        refused("1.6", &windows, None, "InvalidSpec", &["Europe/Atlantis"]),
    ]
}

#[test]
fn what_cannot_be_done_is_told_and_a_running_mesh_stays_as_it_is() {
    on_stage(|stage| async move {
        installed(stage).await;
        let before = data_plane(stage);
        let since = Timestamp::now();
        for row in rows() {
            told(stage, &row).await;
            let ready = said(stage, "Ready").await.unwrap();
            assert!(ready.is_some(), "{:?}: it serves", row.words);
            if let Some(fault) = &row.fault {
                fault.mend(stage).await;
            }
        }
        untouched(stage, since);
        assert_eq!(data_plane(stage), before);
        installed(stage).await;
        assert_eq!(data_plane(stage), before);
    });
}

/// Agents and proxies by uid; what pulls images comes and goes.
fn components(stage: &Stage) -> BTreeMap<String, String> {
    let all = data_plane(stage);
    let pods = all.lines().map(|line| line.split_once(' ').unwrap());
    let of_node = |name: &str| name.starts_with("ztunnel-") || name.starts_with("istio-cni-node-");
    pods.filter(|(name, _)| of_node(name))
        .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        .collect()
}

#[test]
fn a_canary_that_matches_no_node_holds_a_rollout_which_goes_on_when_it_is_mended_whatever_marks_a_node_has()
 {
    on_stage(|stage| async move {
        installed(stage).await;
        let before = components(stage);
        let member = |level: &str, strategy: &Value| {
            let spec = json!({
                "upgrade": {"version": "1.6", "strategy": strategy},
                "dataPlane": {"ztunnel": {"logLevel": level}},
            });
            Stage::member(MEMBER, &spec)
        };
        let mut strategy = quick();
        let pool = json!({"matchLabels": {"pool": "canary"}});
        strategy["canary"] = json!({"type": "Selector", "selector": pool, "soak": "0s"});
        stage.apply(&member("Debug", &strategy)).unwrap();
        let words = "upgrade.strategy.canary.selector matches no node of the mesh";
        until_said(stage, "Reconciling", PATIENT, |text| text.contains(words)).await;
        let ready = said(stage, "Ready").await.unwrap();
        assert!(ready.is_some(), "it serves");
        assert_eq!(components(stage), before, "no node has begun");
        // Somebody has left a mark of another rollout on a node.
        let label = format!("{}=1-5-0-abcdef", names::NODE_ZTUNNEL_LABEL);
        let mark = ["label", "node", "node-2", &label];
        stage.cluster.kubectl(&mark).unwrap();
        // What is asked for is the same; how it is gone about is mended.
        stage.apply(&member("Debug", &quick())).unwrap();
        (stage.until_runs(MEMBER, "1.6.0", INSTALL).await).unwrap();
        let after = components(stage);
        assert_eq!(after.len(), before.len(), "{after:#?}");
        assert!(
            after
                .keys()
                .all(|name| !name.starts_with("ztunnel-") || !before.contains_key(name))
        );
        let labels = ["get", "node", "node-2", "-o", "jsonpath={.metadata.labels}"];
        let labels = stage.cluster.kubectl(&labels).unwrap();
        assert!(!labels.contains(names::NODE_ZTUNNEL_LABEL), "{labels}");
        installed(stage).await;
        (stage.until_runs(MEMBER, "1.6.0", INSTALL).await).unwrap();
    });
}
