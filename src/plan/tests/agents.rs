//! Agents that go and come while another one is being replaced, and what upstream's proxy needs of them.

use super::*;
use crate::api::v1alpha1::ZtunnelImplementation;
use crate::facts::Pod;
use crate::names;
use crate::plan::agent;

fn agent_of<'a>(model: &'a Model, node: &str) -> Option<&'a Pod> {
    let mut agents = model.facts.pods_with("k8s-app", names::CNI_DAEMON_SET);
    agents.find(|pod| pod.node == node)
}

#[test]
fn an_agent_that_another_node_gets_in_the_moment_of_a_replacement_is_replaced_at_once() {
    let mut model = installed(3);
    let arriving = target(LogLevel::Info, LogLevel::Debug);
    let hash = arriving.target.agent_hash.as_str();
    let is_in_place = |model: &Model| agent::live_hash(&model.facts) == Some(hash);
    work(&mut model, &arriving, 60, is_in_place);
    assert!(is_in_place(&model));
    // Somebody deletes the agent of a node that has not begun; its controller makes it from what is in place.
    model.end("istio-cni-node.node-1");
    model.step(OBSERVE);
    model.step(3);
    let stray = agent_of(&model, "node-1").unwrap().clone();
    assert_eq!(stray.template_hash.as_deref(), Some(hash));
    model.acts.clear();
    let is_gone = |model: &Model| agent_of(model, "node-1").is_none_or(|pod| pod.uid != stray.uid);
    work(&mut model, &arriving, 60, is_gone);
    assert!(is_gone(&model), "it stays");
    for act in &model.acts {
        // The agent of the node in flight is made, the settled template put back: nothing else comes first.
        match act {
            Act::DeletePod { node, .. } => assert!(node == "node-0" || node == "node-1"),
            Act::Apply(object) => assert_eq!(object.key, agent::key()),
            Act::MarkNode { name, .. } => assert_eq!(name, "node-0", "another one begins before"),
            _ => {}
        }
    }
    assert!(settle(&mut model, &arriving, Phase::Installed));
    assert_eq!(model.most_in_flight, 1);
}

fn upstream(agent: LogLevel) -> Targets {
    let mut blueprint = blueprint(LogLevel::Info, agent);
    blueprint.ztunnel.implementation = ZtunnelImplementation::Istio;
    Targets::one(Target::of(&blueprint).unwrap().into())
}

#[test]
fn to_upstreams_proxy_and_from_it_no_pod_is_left_without_one() {
    let theirs = || upstream(LogLevel::Info);
    for (first, second) in [(plain(), theirs()), (theirs(), plain())] {
        let mut model = Model::new(3);
        assert!(settle(&mut model, &first, Phase::Installing));
        model.orders.strategy = strategy(1, 1);
        assert!(settle(&mut model, &second, Phase::Installed));
        assert_eq!(model.most_in_flight, 1);
    }
}

/// Works until the node that comes first has both proxies, of which the one that leaves is heard of last: a pod that comes
/// then is announced to it only.
fn until_missed(model: &mut Model, arriving: &Targets) {
    work(model, arriving, 90, |model| proxies(model) == 2);
    assert_eq!(proxies(model), 2);
    let leaver = format!("{}.node-0", plain().target.daemon_set);
    model.mesh.connect("node-0", &leaver);
    model.mesh.create("node-0");
    let survivor = format!("{}.node-0", arriving.target.daemon_set);
    assert_eq!(model.mesh.missing("node-0", &survivor), 1);
    model.acts.clear();
}

fn proxies(model: &Model) -> usize {
    let here = model.facts.pods_with("app", names::ZTUNNEL);
    here.filter(|pod| pod.node == "node-0" && pod.ready).count()
}

#[test]
fn upstreams_proxy_gets_the_full_list_from_an_agent_that_is_started_again_beside_the_one_that_leaves()
 {
    for agent in [LogLevel::Info, LogLevel::Debug] {
        let mut model = installed(2);
        let arriving = upstream(agent);
        until_missed(&mut model, &arriving);
        let is_replaced = |model: &Model| {
            let mut acts = model.acts.iter();
            acts.any(|act| matches!(act, Act::DeletePod { node, .. } if node == "node-0"))
        };
        work(&mut model, &arriving, 120, is_replaced);
        assert!(is_replaced(&model), "the pod stays without a proxy");
        let leaver = format!("{}.node-0", plain().target.daemon_set);
        assert!(!model.facts.pods[&leaver].deleting, "nobody is exposed");
        let taints = &model.facts.nodes["node-0"].taints;
        assert!(taints.iter().any(|(key, ..)| key == names::MOVING_TAINT));
        assert_eq!(model.orders.failed, None);
        assert!(settle(&mut model, &arriving, Phase::Installed));
    }
}

#[test]
fn our_own_proxy_takes_a_new_connection_and_no_agent_is_started_again() {
    let mut model = installed(2);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    until_missed(&mut model, &arriving);
    assert!(settle(&mut model, &arriving, Phase::Installed));
    let is_deletion = |act: &Act| matches!(act, Act::DeletePod { .. });
    assert!(!model.acts.iter().any(is_deletion));
}
