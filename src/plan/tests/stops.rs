//! Rollouts that stand still: at a gate, or where a window closes.

use super::*;
use crate::api::v1alpha1::OnFailure;
use crate::facts::Pod;
use crate::names;

/// A rollout of three nodes whose canary has failed its gate, where a failure is to pause.
fn halted(
    proxy: LogLevel,
    agent: LogLevel,
    broken: impl Fn(&Target) -> String,
) -> (Model, Targets) {
    let mut model = installed(3);
    model.orders.strategy.on_failure = OnFailure::Pause;
    let arriving = target(proxy, agent);
    model.broken.insert(broken(&arriving.target));
    work(&mut model, &arriving, 250, |model| {
        model.orders.halted.is_some()
    });
    assert!(model.orders.halted.is_some(), "it never fails");
    (model, arriving)
}

fn of_revision(target: &Target) -> String {
    target.revision.to_string()
}

fn told(model: &Model) -> &str {
    model.orders.halted.as_deref().unwrap_or_default()
}

#[test]
fn a_failed_gate_that_is_to_pause_begins_nothing_and_takes_nothing_back() {
    let (mut model, arriving) = halted(LogLevel::Debug, LogLevel::Info, of_revision);
    assert!(
        told(&model).starts_with("gate Proxy on node node-0"),
        "{}",
        told(&model)
    );
    let (cause, before) = (told(&model).to_owned(), labels(&model, |_| true));
    let waits = |model: &mut Model| model.operate(&arriving, Phase::Installed, 0).wait;
    let first = waits(&mut model);
    work(&mut model, &arriving, 200, |_| false);
    assert_eq!(waits(&mut model), first, "status has nothing new to say");
    assert_eq!(labels(&model, |_| true), before, "nobody is touched");
    assert_eq!(told(&model), cause, "the first cause is kept");
    assert_eq!((model.most_silent, model.orders.failed.clone()), (0, None));
    // That its pod has got well meanwhile lets nobody else begin.
    model.broken.clear();
    work(&mut model, &arriving, 200, |_| false);
    assert_eq!(labels(&model, is_moving), 1);
    let moved = |label: Option<&str>| label == Some(arriving.target.revision.as_str());
    assert_eq!(labels(&model, moved), 1, "what has begun comes to its end");
    let plan = model.operate(&arriving, Phase::Installed, 0);
    assert!(plan.is_rolling && !plan.done && plan.failed.is_none());
    model.orders.halted = None;
    assert!(settle(&mut model, &arriving, Phase::Installed));
    assert_eq!(model.most_in_flight, 1);
}

#[test]
fn what_stands_still_at_a_gate_goes_back_when_somebody_asks() {
    let (mut model, arriving) = halted(LogLevel::Debug, LogLevel::Info, of_revision);
    // As status has it after `applink abort`.
    model.orders.halted = None;
    model.orders.failed = Some("somebody asked for it".to_owned());
    assert!(settle_at(&mut model, &arriving, &plain(), Phase::Installed));
    assert_eq!((labels(&model, is_moving), model.most_silent), (1, 0));
}

#[test]
fn a_release_that_fails_before_the_first_node_stands_still_there_and_is_tried_again() {
    let (first, second) = (plain(), release((1, 7, 0), LogLevel::Info));
    let targets = between(&first, &second);
    let mut model = installed(2);
    model.orders.strategy.on_failure = OnFailure::Pause;
    model.broken.insert(second.target.istiod.clone());
    work(&mut model, &targets, 250, |model| {
        model.orders.halted.is_some()
    });
    assert!(
        told(&model).starts_with("gate ControlPlane"),
        "{}",
        told(&model)
    );
    work(&mut model, &targets, 100, |_| false);
    assert_eq!(labels(&model, |_| true), 0);
    model.broken.clear();
    model.orders.halted = None;
    model.orders.retried = Some(model.now);
    assert!(settle(&mut model, &targets, Phase::Installed));
}

#[test]
fn what_is_tried_again_has_its_time_anew_and_fails_again_if_it_is_as_bad() {
    let (mut model, arriving) = halted(LogLevel::Info, LogLevel::Debug, |target| {
        target.agent_hash.clone()
    });
    assert!(
        told(&model).starts_with("gate Agent on node node-0"),
        "{}",
        told(&model)
    );
    // It has restarted more often than is waited for.
    let is_bad = |pod: &&std::sync::Arc<Pod>| {
        pod.template_hash.as_deref() == Some(arriving.target.agent_hash.as_str())
    };
    let bad = model.facts.pods.values().find(is_bad).unwrap();
    let mut bad = bad.as_ref().clone();
    bad.restarts = 7;
    model.facts.pods.insert(bad.name.clone(), bad.into());
    assert!(
        model
            .operate(&arriving, Phase::Installed, 0)
            .failed
            .is_some()
    );
    let asked = model.now;
    model.orders.halted = None;
    model.orders.retried = Some(asked);
    let plan = model.operate(&arriving, Phase::Installed, 0);
    assert_eq!(plan.failed, None, "not for what it has been through before");
    work(&mut model, &arriving, 250, |model| {
        model.orders.halted.is_some()
    });
    let lasted = model.now.duration_since(asked);
    assert!(lasted >= model.orders.strategy.gate_timeout, "{lasted:#}");
    assert!(
        told(&model).starts_with("gate Agent on node node-0"),
        "{}",
        told(&model)
    );
    model.broken.clear();
    model.orders.halted = None;
    model.orders.retried = Some(model.now);
    assert!(settle(&mut model, &arriving, Phase::Installed));
}

/// Nodes that carry our taint, and those with an agent of this template.
fn at_agents(model: &Model, hash: &str) -> (usize, usize) {
    let nodes = model.facts.nodes.values();
    let tainted = nodes.filter(|node| node.is_moving());
    let agents = model.facts.pods_with("k8s-app", names::CNI_DAEMON_SET);
    let arrived = agents.filter(|pod| pod.template_hash.as_deref() == Some(hash));
    (tainted.count(), arrived.count())
}

#[test]
fn to_finish_the_wave_brings_the_nodes_that_have_begun_to_their_end_and_to_stop_leaves_them_where_they_may_stay()
 {
    let begun = || {
        let mut model = installed(4);
        model.orders.strategy = strategy(1, 2);
        let arriving = target(LogLevel::Debug, LogLevel::Debug);
        model
            .crowded
            .extend((1..4).map(|node| format!("node-{node}")));
        let hash = arriving.target.agent_hash.clone();
        // The canary is done, and the agents of the next two are about to be replaced.
        work(&mut model, &arriving, 250, |model| {
            at_agents(model, &hash) == (2, 1)
        });
        assert_eq!(at_agents(&model, &hash), (2, 1));
        (model, arriving)
    };
    let (mut finishes, arriving) = begun();
    finishes.orders.paused = true;
    work(&mut finishes, &arriving, 200, |_| false);
    let hash = arriving.target.agent_hash.as_str();
    assert_eq!(at_agents(&finishes, hash), (0, 3), "the wave is finished");
    assert_eq!(labels(&finishes, is_moving), 3);

    let (mut stops, arriving) = begun();
    (stops.orders.paused, stops.orders.stops) = (true, true);
    work(&mut stops, &arriving, 200, |_| false);
    let hash = arriving.target.agent_hash.as_str();
    assert_eq!(at_agents(&stops, hash), (0, 1), "the canary only");
    assert_eq!(labels(&stops, is_moving), 1);
    for mut model in [finishes, stops] {
        (model.orders.paused, model.orders.stops) = (false, false);
        assert!(settle(&mut model, &arriving, Phase::Installed));
        assert!(model.most_in_flight <= 2, "{}", model.most_in_flight);
    }
}

#[test]
fn who_is_to_stop_beside_two_proxies_comes_to_the_end_and_after_its_agent_waits_with_the_new_one() {
    let hash_of = |targets: &Targets| targets.target.agent_hash.clone();
    let is_at = |model: &Model, place: fn(&str) -> bool| {
        let mut labels = (model.facts.nodes.values())
            .filter_map(|node| node.labels.get(names::NODE_ZTUNNEL_LABEL));
        labels.any(|label| place(label))
    };
    // The canary has both proxies.
    let mut model = installed(2);
    let arriving = target(LogLevel::Debug, LogLevel::Debug);
    work(&mut model, &arriving, 250, |model| {
        is_at(model, |label| label.ends_with(".moving"))
    });
    (model.orders.paused, model.orders.stops) = (true, true);
    work(&mut model, &arriving, 200, |_| false);
    assert!(
        !is_at(&model, |label| label.ends_with(".moving")),
        "it stays between"
    );
    assert_eq!(at_agents(&model, &hash_of(&arriving)), (0, 1));
    // The next one has its new agent; the canary has passed.
    (model.orders.paused, model.orders.stops) = (false, false);
    work(&mut model, &arriving, 250, |model| {
        at_agents(model, &hash_of(&arriving)) == (1, 2)
    });
    assert_eq!(at_agents(&model, &hash_of(&arriving)), (1, 2));
    (model.orders.paused, model.orders.stops) = (true, true);
    work(&mut model, &arriving, 200, |_| false);
    assert_eq!(at_agents(&model, &hash_of(&arriving)), (0, 2));
    assert_eq!(labels(&model, is_moving), 1, "its proxy is not begun");
    (model.orders.paused, model.orders.stops) = (false, false);
    assert!(settle(&mut model, &arriving, Phase::Installed));
    assert!(model.most_silent <= 1, "{}", model.most_silent);
}
