//! An agent that is replaced while it cannot ask the API server.

use e2e::load;
use e2e::stage::{self, Stage};
use serde_json::{Value, json};

use super::{AGENT, NAMESPACE, components, get, levels, spec, text, until_done};
use crate::fixture::{INSTALL, MEMBER, PATIENT, installed_with, on_stage, remove_namespace};
use crate::upgrades::watched::Watched;

/// Keeps the pods of a node from the API server, but for those of the control planes. Ends when dropped.
struct Cut {
    stage: &'static Stage,
    node: &'static str,
}

const CHAIN: &str = "CUT";

impl Cut {
    fn new(stage: &'static Stage, node: &'static str) -> Self {
        let cut = Self { stage, node };
        let on_node = format!("spec.nodeName={node}");
        let pods = get(stage, &["pods", "-A", "--field-selector", &on_node]);
        let is_agent = |pod: &&Value| pod["metadata"]["labels"]["k8s-app"] == "istio-cni-node";
        let others = pods["items"].as_array().into_iter().flatten();
        let others = others.filter(|pod| !is_agent(pod));
        cut.filter(&["-N", CHAIN]);
        for address in others.map(|pod| text(&pod["status"]["podIP"])) {
            if !address.is_empty() {
                cut.filter(&["-A", CHAIN, "-s", &address, "-j", "RETURN"]);
            }
        }
        let server = stage.cluster.network().control_plane().to_string();
        let end = ["-A", CHAIN, "-d", &server, "-p", "tcp", "-j", "REJECT"];
        cut.filter(&[&end[..], &["--reject-with", "tcp-reset"]].concat());
        cut.filter(&["-I", "FORWARD", "-j", CHAIN]);
        cut
    }

    fn filter(&self, rule: &[&str]) {
        let program = [&["iptables", "-w"], rule].concat();
        self.stage.cluster.run_on(self.node, &program).unwrap();
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        for rule in [
            &["-D", "FORWARD", "-j", CHAIN][..],
            &["-F", CHAIN],
            &["-X", CHAIN],
        ] {
            let program = [&["iptables", "-w"], rule].concat();
            if let Err(error) = self.stage.cluster.run_on(self.node, &program) {
                eprintln!("{} stays cut off: {error}", self.node);
            }
        }
    }
}

/// Whether a pod runs, and whether the agent has captured it.
fn state(stage: &Stage, pod: &str) -> (bool, bool) {
    let pod = get(stage, &["pod", pod, "-n", NAMESPACE]);
    let captured = &pod["metadata"]["annotations"]["ambient.istio.io/redirection"];
    (pod["status"]["phase"] == "Running", captured == "enabled")
}

#[test]
fn no_pod_starts_in_plain_text_unnoticed_while_an_agent_that_is_replaced_cannot_ask_the_api_server()
{
    on_stage(|stage| async move {
        remove_namespace(stage, NAMESPACE).await;
        let (level, _) = levels(stage).await;
        installed_with(stage, spec(level, "0s")).await;
        let ambient = json!({"istio.io/dataplane-mode": "ambient"});
        stage.apply(&stage::namespace(NAMESPACE, &ambient)).unwrap();
        let users = Watched::some(stage, "cut-users").await;
        // The first in the order of zones and names.
        let node = "node-1";
        let before = components(stage, AGENT, node);
        let cut = Cut::new(stage, node);
        let mut next = spec(level, "0s");
        next["dataPlane"]["cni"] = json!({"logLevel": "Debug"});
        stage.apply(&Stage::member(MEMBER, &next)).unwrap();
        stage::eventually("the agent is replaced", INSTALL, || async {
            match &components(stage, AGENT, node)[..] {
                [one] if one.uid != before[0].uid => Ok(()),
                all => Err(format!("{all:?}")),
            }
        })
        .await
        .unwrap();
        // Past the scheduler, which keeps pods away from a node whose agent is replaced.
        let pod = load::echo(
            NAMESPACE,
            "late",
            &json!({"app": "late"}),
            &json!({"nodeName": node}),
        );
        stage.apply(&pod).unwrap();
        let noticed = stage::eventually(
            "the pod waits, is in the mesh or is named",
            PATIENT,
            || async {
                let member = stage.read_member(MEMBER).await;
                let status = member.map_err(|error| error.to_string())?.status;
                let broken = status
                    .unwrap_or_default()
                    .membership
                    .unwrap_or_default()
                    .broken;
                let about = "involvedObject.name=late,reason=FailedCreatePodSandBox";
                let refused = get(
                    stage,
                    &["events", "-n", NAMESPACE, "--field-selector", about],
                );
                let is_refused = refused["items"]
                    .as_array()
                    .is_some_and(|all| !all.is_empty());
                match state(stage, "late") {
                    (true, true) => Ok("is in the mesh"),
                    (true, false) if broken.contains(&format!("{NAMESPACE}/late")) => {
                        Ok("is named")
                    }
                    (false, _) if is_refused => Ok("waits"),
                    state => Err(format!("{state:?}, named: {broken:?}")),
                }
            },
        )
        .await
        .unwrap();
        eprintln!("a pod that came while the agent could not ask {noticed}");
        drop(cut);
        stage::eventually("the pod is in the mesh", INSTALL, || async {
            match state(stage, "late") {
                (true, true) => Ok(()),
                state => Err(format!("{state:?}")),
            }
        })
        .await
        .unwrap();
        until_done(stage).await;
        (stage
            .until_condition(MEMBER, "MembershipHealthy", "True", PATIENT)
            .await)
            .unwrap();
        users.end().await;
        remove_namespace(stage, NAMESPACE).await;
    });
}
