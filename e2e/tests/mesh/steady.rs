//! A mesh that is up: quiet when nothing changes, quick to repair what does.

use std::time::Duration;

use e2e::audit;
use e2e::stage;
use jiff::Timestamp;

use crate::fixture::{MEMBER, OPERATOR, SOON, installed, on_stage};

/// How long the operator is watched doing nothing.
const QUIET: Duration = Duration::from_mins(1);

#[test]
fn in_a_steady_state_the_operator_asks_for_nothing_but_its_lease() {
    on_stage(|stage| async move {
        installed(stage).await;
        let log = stage.cluster.audit_log();
        let busy_since = |since: Timestamp| -> Vec<String> {
            audit::entries(&log, OPERATOR)
                .unwrap()
                .iter()
                .filter(|entry| entry.at > since)
                // Watches end by the clock of the server and are begun again.
                .filter(|entry| entry.resource != "leases" && entry.verb != "watch")
                .map(ToString::to_string)
                .collect()
        };
        // What an install still has to say (Events, status) ends within seconds.
        let mut since = Timestamp::now();
        let settled = since + Duration::from_mins(1);
        while Timestamp::now() < since + Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if !busy_since(since).is_empty() && Timestamp::now() < settled {
                since = Timestamp::now();
            }
        }
        tokio::time::sleep(QUIET).await;
        assert_eq!(busy_since(since), Vec::<String>::new());
    });
}

#[test]
fn what_somebody_changed_or_deleted_is_repaired_within_seconds() {
    on_stage(|stage| async move {
        installed(stage).await;
        let kubectl = |arguments: &[&str]| stage.cluster.kubectl(arguments).unwrap();
        let system = ["-n", "applink-system"];
        let service = || {
            let mut arguments = vec!["get", "service", "-l", "app=istiod", "-o", "name"];
            arguments.extend(system);
            kubectl(&arguments)
        };
        let before = service();
        let name = before.lines().next().unwrap().to_owned();
        kubectl(&["delete", &name, "-n", "applink-system"]);
        let config = "configmap/istio-1-6-0";
        let mesh = || {
            kubectl(&[
                "get",
                config,
                "-n",
                "applink-system",
                "-o",
                "jsonpath={.data.mesh}",
            ])
        };
        let wanted = mesh();
        let touched = serde_json::json!({"data": {"mesh": format!("{wanted}\n# touched")}});
        kubectl(&[
            "patch",
            config,
            "-n",
            "applink-system",
            "--type=merge",
            "-p",
            &touched.to_string(),
        ]);
        stage::eventually(
            "the service and the configuration are back",
            SOON,
            || async {
                if service() == before && mesh() == wanted {
                    Ok(())
                } else {
                    Err(format!("{:?} {:?}", service(), mesh()))
                }
            },
        )
        .await
        .unwrap();
        stage
            .until_condition(MEMBER, "Ready", "True", SOON)
            .await
            .unwrap();
    });
}
