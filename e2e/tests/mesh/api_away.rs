//! The API server away for a minute.

use std::time::{Duration, Instant};

use e2e::audit;
use e2e::stage::{self, Stage};
use jiff::Timestamp;

use crate::fixture::{INSTALL, MEMBER, OPERATOR, SOON, cluster, on_stage, remove_namespace};
use crate::running::{GET, data_plane, talking_shop};
use crate::told::until_healed;

/// How long it is away.
const AWAY: Duration = Duration::from_mins(1);
/// How often the shop is asked meanwhile.
const PACE: Duration = Duration::from_secs(2);
/// How long the operator is watched after it has resumed.
const WATCHED: Duration = Duration::from_secs(10);

/// The container of a pod, as its node's runtime knows it: the API server is not needed to run something in it.
fn container(stage: &Stage, namespace: &str, pod: &str) -> String {
    let id = "jsonpath={.status.containerStatuses[0].containerID}";
    let text = stage
        .cluster
        .kubectl(&["get", "pod", pod, "-n", namespace, "-o", id])
        .unwrap();
    text.trim_start_matches("containerd://").to_owned()
}

/// What the operator wrote since then, but for its Lease and what it says (status, Events).
fn written_since(stage: &Stage, since: Timestamp) -> Vec<String> {
    audit::entries(&stage.cluster.audit_log(), OPERATOR)
        .unwrap()
        .iter()
        .filter(|entry| entry.at > since && !["get", "list", "watch"].contains(&&*entry.verb))
        .filter(|entry| {
            let says = entry.resource == "events" || entry.resource.ends_with("/status");
            entry.resource != "leases" && !says
        })
        .map(ToString::to_string)
        .collect()
}

#[test]
fn traffic_runs_on_without_the_api_server_and_the_operator_resumes_by_itself_and_applies_nothing() {
    on_stage(|stage| async move {
        let namespace = "away";
        talking_shop(stage, namespace).await;
        until_healed(stage).await;
        let before = data_plane(stage);
        let web = container(stage, namespace, "web");
        let mut cluster = cluster();

        cluster.halt_api_server().unwrap();
        let clock = Instant::now();
        let mut asked = 0;
        while clock.elapsed() < AWAY {
            let id = format!("asked-{asked}");
            let mut program = vec!["ctr", "-n", "k8s.io", "tasks", "exec", "--exec-id", &id];
            program.extend([&web, GET[0], GET[1], "http://cart:8080/"]);
            let answer = stage.cluster.run_on("node-1", &program).unwrap();
            assert!(answer.contains("200 "), "{answer}");
            asked += 1;
            tokio::time::sleep(PACE).await;
        }
        let back = Timestamp::now();
        cluster.start_api_server().await.unwrap();

        stage::eventually("the operator leads again", INSTALL, || async {
            let entries = audit::entries(&stage.cluster.audit_log(), OPERATOR)
                .map_err(|error| error.to_string())?;
            entries
                .iter()
                .any(|entry| entry.at > back && entry.resource == "leases" && entry.code < 300)
                .then_some(())
                .ok_or_else(|| "no Lease was written".to_owned())
        })
        .await
        .unwrap();
        // Nodes that could not report for a minute count as lost for a moment.
        stage
            .until_condition(MEMBER, "Ready", "True", SOON)
            .await
            .unwrap();
        until_healed(stage).await;
        tokio::time::sleep(WATCHED).await;
        assert_eq!(written_since(stage, back), [""; 0]);
        assert_eq!(data_plane(stage), before, "nobody was disturbed");

        let budget = [
            "pdb",
            "-l",
            "app=istiod",
            "-n",
            "applink-system",
            "-o",
            "name",
        ];
        let get = || {
            let mut arguments = vec!["get"];
            arguments.extend(budget);
            stage.cluster.kubectl(&arguments).unwrap()
        };
        let wanted = get();
        assert!(wanted.contains("poddisruptionbudget"), "{wanted}");
        let mut arguments = vec!["delete"];
        arguments.extend(budget);
        stage.cluster.kubectl(&arguments).unwrap();
        stage::eventually("what is missing is made anew", INSTALL, || async {
            let found = get();
            (found == wanted).then_some(()).ok_or(found)
        })
        .await
        .unwrap();
        assert!(!written_since(stage, back).is_empty(), "the log shows it");
        remove_namespace(stage, namespace).await;
    });
}
