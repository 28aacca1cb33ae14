//! Nodes on their way that lose something.

use super::*;
use crate::names;

/// The template of the agent on a node.
fn agent_of(model: &Model, node: &str) -> Option<String> {
    let mut agents = model.facts.pods_with("k8s-app", names::CNI_DAEMON_SET);
    agents.find(|pod| pod.node == node)?.template_hash.clone()
}

fn passes_canary(plan: &Plan) -> bool {
    let is_pass = |act: &Act| matches!(act, Act::PassCanary { .. });
    plan.acts.iter().any(is_pass)
}

#[test]
fn the_canary_does_not_pass_with_an_agent_of_the_settled_template() {
    let arriving = target(LogLevel::Info, LogLevel::Debug);
    let hash = Some(arriving.target.agent_hash.clone());
    let mut tried = 0;
    // While both proxies are there, while the new one is alone, and while it is watched.
    for (share, batch) in [(0, 1), (20, 1), (60, 2), (90, 1)] {
        let mut model = installed(3);
        model.orders.strategy = strategy(1, batch);
        let revision = arriving.target.revision.as_str();
        let has_moved = |model: &Model| {
            labels(model, |label| {
                label.is_some_and(|label| label.starts_with(revision))
            }) > 0
        };
        work(&mut model, &arriving, 250, has_moved);
        for round in 0..share {
            model.operate(&arriving, Phase::Installed, usize::MAX);
            model.step(round % 7);
        }
        let canary = "node-0";
        assert_eq!(agent_of(&model, canary), hash, "{share}");
        model.end(&format!("istio-cni-node.{canary}"));
        model.step(3);
        let settled = agent_of(&model, canary);
        if settled == hash {
            // It was replaced in the moment in which its own template was there, or others get it by now.
            continue;
        }
        tried += 1;
        until(&mut model, &arriving, passes_canary);
        assert_eq!(agent_of(&model, canary), hash, "{share}");
        assert!(settle(&mut model, &arriving, Phase::Installed));
        assert!(model.most_in_flight <= batch, "{}", model.most_in_flight);
    }
    assert!(tried > 1, "{tried}");
}
