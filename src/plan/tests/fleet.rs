//! Nodes on their way that lose something, or that the mesh does not cover any longer.

use super::*;
use crate::api::conditions::{Reason, Step};
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
        model.step(OBSERVE);
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

/// A release with tolerations of its own, as a member lists them: none for anybody's taints.
fn strict(log_level: LogLevel) -> Targets {
    strict_of(log_level, LogLevel::Info)
}

fn strict_of(proxy: LogLevel, agent: LogLevel) -> Targets {
    let mut blueprint = blueprint(proxy, agent);
    blueprint.tolerations.clear();
    Targets::one(Target::of(&blueprint).unwrap().into())
}

fn serves(model: &Model, node: &str) -> bool {
    let mut proxies = model.facts.pods_with("app", names::ZTUNNEL);
    proxies.any(|pod| pod.node == node && pod.ready)
}

const TAINT: &str = "example.com/batch";

/// Works until Finish is held by a node, and long enough to see that it stays so.
fn held(model: &mut Model, targets: &Targets) -> String {
    until(model, targets, |plan| {
        plan.step == Step::Finish && plan.wait.is_some()
    });
    for round in 0..60 {
        model.operate(targets, Phase::Installed, usize::MAX);
        model.step(round % 7);
        assert_eq!(model.silent(), Vec::<&str>::new(), "after {round} rounds");
    }
    let plan = until(model, targets, |plan| plan.wait.is_some());
    let nodes = plan.nodes.unwrap();
    assert_eq!((nodes.set_aside, nodes.unsupported), (1, 0));
    assert_eq!(nodes.failed[0].reason, "NodeNotCovered");
    let wait = plan.wait.unwrap();
    assert_eq!(wait.reason, Reason::WaitingForNodes);
    wait.message
}

#[test]
fn a_node_whose_taint_is_tolerated_no_longer_keeps_its_proxy_and_holds_the_end() {
    let mut model = installed(3);
    model.taint("node-1", TAINT, "NoSchedule");
    model.mesh.create("node-1");
    let targets = strict(LogLevel::Info);
    let told = held(&mut model, &targets);
    assert!(
        told.contains("node-1") && told.contains("example.com/batch:NoSchedule"),
        "{told}"
    );
    assert!(serves(&model, "node-1"));
    assert_eq!(model.mesh.orphans(), 0);
    // The node is covered again.
    let mut covered = model.clone();
    covered.untaint("node-1", TAINT);
    assert!(settle(&mut covered, &targets, Phase::Installed));
    assert!(covered.most_silent <= 1, "one agent at a time");
    // The spec covers it again: what has moved goes back first.
    assert!(settle(&mut model.clone(), &plain(), Phase::Installed));
    // Its pods go: nobody needs its proxy any longer.
    while !model.mesh.is_vacant("node-1") {
        model.mesh.delete("node-1");
    }
    model.now += SignedDuration::from_mins(1);
    for round in 0..200 {
        model.operate(&targets, Phase::Installed, usize::MAX);
        model.step(round % 7);
    }
    let plan = model.operate(&targets, Phase::Installed, usize::MAX);
    assert!(plan.done && !plan.is_rolling, "{:?}", plan.wait);
    assert!(!serves(&model, "node-1"), "it is no node of the mesh now");
    assert!(serves(&model, "node-0") && serves(&model, "node-2"));
}

#[test]
fn a_node_that_is_tainted_between_both_proxies_goes_on_with_what_it_has() {
    for effect in ["NoSchedule", "NoExecute"] {
        let mut model = installed(3);
        let first = strict(LogLevel::Info);
        assert!(settle(&mut model, &first, Phase::Installed));
        model.acts.clear();
        model.most_silent = 0;
        let second = strict(LogLevel::Debug);
        let canary = "node-0";
        let survivor = format!("{}.{canary}", second.target.daemon_set);
        work(&mut model, &second, 250, |model| {
            model.facts.pods.get(&survivor).is_some_and(|pod| pod.ready)
        });
        assert!(labels(&model, is_moving) == 1 && labels(&model, |label| !is_moving(label)) == 0);
        model.taint(canary, TAINT, effect);
        model.mesh.create(canary);
        if effect == "NoSchedule" {
            let is_finishing = |plan: &Plan| plan.step == Step::Finish && plan.wait.is_none();
            until(&mut model, &second, is_finishing);
            assert_eq!(labels(&model, is_moving), 3);
            assert!(settle(&mut model, &second, Phase::Installed));
            assert!(serves(&model, canary));
            assert_eq!(model.most_silent, 0);
        } else {
            // The API server takes all of its pods away: that is told, and no other node begins at the cost of it.
            for round in 0..40 {
                model.operate(&second, Phase::Installed, usize::MAX);
                model.step(round % 7);
            }
            let plan = model.operate(&second, Phase::Installed, 0);
            let nodes = plan.nodes.unwrap();
            assert_eq!(nodes.failed[0].reason, "NodeNotCovered");
            assert!(!plan.done && model.orders.failed.is_none());
            model.untaint(canary, TAINT);
            assert!(settle(&mut model, &second, Phase::Installed));
        }
    }
}

#[test]
fn on_the_way_back_a_node_keeps_the_proxy_it_has_until_the_settled_one_has_a_place() {
    let mut model = installed(3);
    let first = strict(LogLevel::Info);
    assert!(settle(&mut model, &first, Phase::Installed));
    model.acts.clear();
    let second = strict(LogLevel::Debug);
    let canary = "node-0";
    let is_done = |plan: &Plan| plan.nodes.as_ref().is_some_and(|nodes| nodes.updated == 1);
    until(&mut model, &second, is_done);
    model.taint(canary, TAINT, "NoSchedule");
    model.mesh.create(canary);
    model.orders.failed = Some("aborted".to_owned());
    for round in 0..200 {
        model.operate(&second, Phase::Installed, usize::MAX);
        model.step(round % 7);
        assert_eq!(model.silent(), Vec::<&str>::new(), "after {round} rounds");
    }
    let plan = model.operate(&second, Phase::Installed, 0);
    let wait = plan.wait.unwrap();
    assert!(
        wait.object.contains(canary) && wait.message.contains("example.com/batch:NoSchedule"),
        "{wait:?}"
    );
    model.untaint(canary, TAINT);
    assert!(settle_at(&mut model, &second, &first, Phase::Installed));
}

#[test]
fn a_node_that_is_covered_no_longer_does_not_keep_our_taint() {
    let mut model = installed(3);
    assert!(settle(
        &mut model,
        &strict(LogLevel::Info),
        Phase::Installed
    ));
    model.acts.clear();
    let second = strict_of(LogLevel::Info, LogLevel::Debug);
    let is_ours = |model: &Model| model.facts.nodes["node-0"].is_moving();
    work(&mut model, &second, 60, is_ours);
    assert!(is_ours(&model));
    model.taint("node-0", TAINT, "NoExecute");
    for round in 0..40 {
        model.operate(&second, Phase::Installed, usize::MAX);
        model.step(round % 7);
    }
    assert!(!is_ours(&model));
}
