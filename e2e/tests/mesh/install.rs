//! From one member to a running mesh.

use std::time::Instant;

use jiff::Timestamp;
use serde_json::json;

use crate::fixture::{MEMBER, installed, installed_with, left, on_stage, operator};
use crate::told::until_event;

#[test]
fn one_member_brings_up_the_mesh_and_its_status_tells_what_runs() {
    on_stage(|stage| async move {
        operator(stage).await;
        left(stage).await;
        let (since, clock) = (Timestamp::now(), Instant::now());
        installed(stage).await;
        eprintln!("installed in {:.1} s", clock.elapsed().as_secs_f64());
        for (reason, words) in [
            ("Installing", "Ready is False: "),
            ("Progressing", "UpToDate is False: "),
            ("Serving", "Ready is True: every component serves"),
            ("Current", "UpToDate is True: "),
        ] {
            until_event(stage, since, reason, &[words]).await;
        }
        let member = stage.read_member(MEMBER).await.unwrap();
        let status = member.status.unwrap();
        let version = status.version.unwrap();
        assert_eq!(version.current.as_deref(), Some("1.6.0"));
        assert_eq!(status.istio_version.as_deref(), Some("1.31.0"));
        let ready: Vec<(String, i32, i32)> = status
            .components
            .iter()
            .map(|component| (component.name.clone(), component.desired, component.ready))
            .collect();
        assert!(
            !ready.is_empty() && ready.iter().all(|(_, desired, ready)| desired == ready),
            "{ready:?}"
        );
        assert!(
            status.certificates.len() >= 2,
            "root and intermediate are listed: {:?}",
            status.certificates
        );
        let platform = status.platform.unwrap();
        assert_eq!(platform.name, "Vanilla");
        let server = format!("server version \"v{}\"", e2e::programs::KUBERNETES);
        assert!(platform.evidence.contains(&server), "{platform:?}");
        let table = stage.cluster.kubectl(&["get", "mm", MEMBER]).unwrap();
        for word in ["MODE", "SelfManaged", "1.6.0", "True"] {
            assert!(table.contains(word), "{word} is missing:\n{table}");
        }
        let tree = stage.applink(&["status"]).unwrap();
        for word in [MEMBER, "istiod", "ztunnel", "node-1", "node-2"] {
            assert!(tree.contains(word), "{word} is missing:\n{tree}");
        }
    });
}

#[test]
fn the_same_objects_applied_again_move_nothing() {
    on_stage(|stage| async move {
        installed(stage).await;
        let pods = || {
            stage
                .cluster
                .kubectl(&[
                    "get",
                    "pods",
                    "-n",
                    "applink-system",
                    "-o",
                    "jsonpath={range .items[*]}{.metadata.uid}{\"\\n\"}{end}",
                ])
                .unwrap()
        };
        let before = pods();
        installed(stage).await;
        assert_eq!(before, pods());
        // Nor does the platform that was found by itself, when somebody says it.
        let said = json!({"dataPlane": {"platform": "Vanilla"}});
        installed_with(stage, said).await;
        let status = stage.read_member(MEMBER).await.unwrap().status.unwrap();
        let platform = status.platform.unwrap();
        let evidence = "set by spec.dataPlane.platform; detected would be Vanilla (server version";
        assert!(
            platform.name == "Vanilla" && platform.evidence.starts_with(evidence),
            "{platform:?}"
        );
        assert_eq!(before, pods());
        installed(stage).await;
    });
}
