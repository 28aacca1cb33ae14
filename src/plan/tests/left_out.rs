//! A selector that leaves out nodes on which the mesh runs.

use std::collections::BTreeMap;

use super::*;
use crate::desired::affinity::TERMS;
use crate::facts::{Answer, Evidence, Question};
use crate::names;
use crate::plan::{LeftOut, left_out};

/// Labels node-0 alone as one that stays.
fn pooled(nodes: usize) -> (Model, BTreeMap<String, String>) {
    let mut model = installed(nodes);
    model.change("node-0", |node| {
        node.labels.insert("pool".to_owned(), "mesh".to_owned());
    });
    (
        model,
        BTreeMap::from([("pool".to_owned(), "mesh".to_owned())]),
    )
}

/// What was seen on a node so many seconds ago.
fn answer(model: &mut Model, node: &str, seen: Result<bool, ()>, ago: i64) {
    let question = Question::vacant(&model.facts.nodes[node]);
    let seen = seen
        .map(|good| Evidence {
            good,
            text: if good { "nobody" } else { "somebody" }.to_owned(),
            ..Evidence::default()
        })
        .map_err(|()| "no answer".to_owned());
    let at = model.now - SignedDuration::from_secs(ago);
    let answer = Answer::after(None, at, seen);
    model.facts.answers.insert(question, answer);
}

fn asked(found: &LeftOut) -> Vec<&str> {
    let nodes = found.questions.iter();
    nodes.filter_map(Question::node).collect()
}

#[test]
fn who_is_left_out_is_asked_about_and_leaves_when_nobody_is_there() {
    let (mut model, wanted) = pooled(3);
    let look = |model: &Model| left_out(&model.facts, &wanted, model.now);
    let first = look(&model);
    assert!(first.kept.is_some() && first.nodes == 2 && first.in_use.is_empty());
    assert_eq!(asked(&first), ["node-1", "node-2"]);
    answer(&mut model, "node-1", Ok(true), 0);
    let second = look(&model);
    assert!(second.kept.is_some());
    assert_eq!(asked(&second), ["node-2"]);
    answer(&mut model, "node-2", Ok(true), 0);
    let third = look(&model);
    assert!(third.kept.is_none() && third.questions.is_empty() && third.again_at.is_none());
    // An answer of another day says nothing about now.
    answer(&mut model, "node-2", Ok(true), 3600);
    assert!(look(&model).kept.is_some());
    assert_eq!(asked(&look(&model)), ["node-2"]);
}

#[test]
fn one_node_in_use_keeps_all_and_nobody_else_is_asked_about_meanwhile() {
    let (mut model, wanted) = pooled(5);
    let look = |model: &Model| left_out(&model.facts, &wanted, model.now);
    answer(&mut model, "node-2", Ok(false), 10);
    answer(&mut model, "node-3", Ok(false), 20);
    let held = look(&model);
    assert!(held.kept.is_some() && held.questions.is_empty());
    let soon = model.now + SignedDuration::from_secs(5);
    assert_eq!(held.again_at, Some(soon));
    assert_eq!(held.in_use.len(), 2);
    // They are asked about again in turn, and told all the while; nobody else is.
    answer(&mut model, "node-2", Ok(false), 40);
    assert_eq!(asked(&look(&model)), ["node-2"]);
    answer(&mut model, "node-2", Ok(true), 0);
    assert_eq!(asked(&look(&model)), ["node-3"]);
    answer(&mut model, "node-3", Ok(true), 0);
    let open = look(&model);
    assert!(open.in_use.is_empty());
    assert_eq!(asked(&open), ["node-1", "node-4"]);
}

#[test]
fn a_node_whose_pods_cannot_be_listed_keeps_all_and_is_told_unless_it_was_a_moment() {
    let (mut model, wanted) = pooled(2);
    let look = |model: &Model| left_out(&model.facts, &wanted, model.now);
    answer(&mut model, "node-1", Err(()), 0);
    let found = look(&model);
    assert!(found.kept.is_some() && found.questions.is_empty() && found.silent.is_empty());
    assert!(found.again_at.is_some_and(|at| at > model.now));
    answer(&mut model, "node-1", Err(()), 11);
    let found = look(&model);
    assert_eq!(asked(&found), ["node-1"]);
    assert_eq!(found.silent["node-1"], "no answer");
    // It had enrolled pods a moment ago: there is something to tell all the while.
    answer(&mut model, "node-1", Ok(false), 1);
    let question = Question::vacant(&model.facts.nodes["node-1"]);
    let before = model.facts.answers.get(&question);
    let silence = Answer::after(before, model.now, Err("no answer".to_owned()));
    model.facts.answers.insert(question, silence);
    assert_eq!(look(&model).silent.len(), 1);
}

#[test]
fn a_selector_that_somebody_wrote_onto_one_component_keeps_nothing() {
    let (mut model, wanted) = pooled(2);
    let mut agents = model
        .facts
        .daemon_sets_with("k8s-app", names::CNI_DAEMON_SET);
    let (key, mut live) = agents
        .next()
        .map(|(key, live)| (key.clone(), live.clone()))
        .unwrap();
    drop(agents);
    let list = live.body.pointer_mut(TERMS).unwrap();
    let list = list.as_array_mut().unwrap();
    list.push(serde_json::json!({"key": "pool", "operator": "In", "values": ["x"]}));
    model.facts.objects.insert(key, live.into());
    let found = left_out(&model.facts, &wanted, model.now);
    assert_eq!(found, LeftOut::default());
}

#[test]
fn nothing_is_asked_of_many_nodes_at_once_nor_of_any_that_stays() {
    let (model, wanted) = pooled(60);
    let found = left_out(&model.facts, &wanted, model.now);
    assert_eq!((found.nodes, found.questions.len()), (59, 32));
    let everywhere = BTreeMap::new();
    let none = left_out(&model.facts, &everywhere, model.now);
    assert_eq!(none, LeftOut::default());
}
