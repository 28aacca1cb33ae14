//! Proxies that run and answer nobody, and nodes on which nobody does.

use super::*;
use crate::names;
use crate::plan::Gate;

fn arriving() -> Targets {
    target(LogLevel::Debug, LogLevel::Info)
}

/// Nodes that were marked so far.
fn touched(model: &Model) -> Vec<&str> {
    let mut nodes: Vec<&str> = model.acts.iter().filter_map(Act::marked).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// The first node has been left to the arriving proxy.
fn is_alone(model: &Model, targets: &Targets) -> bool {
    let label = model.facts.nodes["node-0"]
        .labels
        .get(names::NODE_ZTUNNEL_LABEL);
    let here = model.facts.pods_with("app", names::ZTUNNEL);
    label.map(String::as_str) == Some(targets.target.revision.as_str())
        && here.filter(|pod| pod.node == "node-0").count() == 1
}

#[test]
fn a_proxy_that_gets_ready_and_answers_nobody_fails_on_the_canary_and_is_taken_back() {
    // Beside the settled proxy, and when it is alone.
    for is_late in [false, true] {
        let mut model = installed(3);
        model.is_forgetful = true;
        let arriving = arriving();
        if is_late {
            work(&mut model, &arriving, 250, |model| {
                is_alone(model, &arriving)
            });
            assert!(is_alone(&model, &arriving));
            model.facts.answers.clear();
        }
        let begun = model.now;
        model.silent.insert(arriving.target.revision.to_string());
        assert!(settle_at(&mut model, &arriving, &plain(), Phase::Installed));
        let reason = model.orders.failed.clone().unwrap();
        let pod = format!("{}.node-0", arriving.target.daemon_set);
        let start = format!(
            "gate {} on node node-0, pod {pod}: no answer for ",
            Gate::Pods
        );
        assert!(reason.starts_with(&start), "{reason}");
        let beside = if is_late {
            "Pod node-node-0".to_owned()
        } else {
            format!("Pod {}.node-0", plain().target.daemon_set)
        };
        let end = format!(" s, and {beside} beside it answers: no answer within 5 s");
        assert!(reason.ends_with(&end), "{reason}");
        let seconds = reason[start.len()..reason.len() - end.len()].parse::<i64>();
        let waited = model.now.duration_since(begun).as_secs();
        assert!((240..waited).contains(&seconds.unwrap()), "{reason}");
        assert_eq!(touched(&model), ["node-0"], "the canary only");
    }
}

#[test]
fn a_node_on_which_nobody_answers_is_set_aside_and_moves_on_when_somebody_does() {
    for is_late in [false, true] {
        let mut model = installed(3);
        model.is_forgetful = true;
        let arriving = arriving();
        let is_both = |model: &Model| {
            let new = format!("{}.node-0", arriving.target.daemon_set);
            model.facts.pods.get(&new).is_some_and(|pod| pod.ready)
        };
        let is_there = |model: &Model| {
            if is_late {
                is_alone(model, &arriving)
            } else {
                is_both(model)
            }
        };
        work(&mut model, &arriving, 250, is_there);
        assert!(is_there(&model));
        model.facts.answers.clear();
        model.cut.insert("node-0".to_owned());
        assert!(!settle(&mut model, &arriving, Phase::Installed));
        assert_eq!(model.orders.failed, None, "{is_late}");
        let nodes = |model: &mut Model| {
            let plans = (0..40_u8).filter_map(|round| {
                let plan = model.operate(&arriving, Phase::Installed, usize::MAX);
                model.step(round % 7);
                plan.nodes
            });
            plans.last().unwrap()
        };
        let told = nodes(&mut model);
        assert_eq!(
            (told.updated, told.set_aside),
            (2, 1),
            "{is_late}: the others go on"
        );
        assert_eq!(
            (told.failed[0].name.as_str(), told.failed[0].reason.as_str()),
            ("node-0", "NodeUnreachable")
        );
        // The one beside it is reached again a moment before it is: that is no proof against it.
        model.cut.clear();
        assert!(settle(&mut model, &arriving, Phase::Installed), "{is_late}");
        assert_eq!(model.orders.failed, None);
    }
}

#[test]
fn a_proxy_that_leaves_and_answers_nobody_is_left_without_a_word() {
    let mut model = installed(2);
    let arriving = arriving();
    model.silent.insert(plain().target.revision.to_string());
    assert!(settle(&mut model, &arriving, Phase::Installed));
    assert_eq!(model.orders.failed, None);
}
