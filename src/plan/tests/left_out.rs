//! A selector that leaves out nodes on which the mesh runs.

use std::collections::BTreeMap;

use super::*;
use crate::facts::{Answer, Evidence, Question};
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
    let question = Question::Vacant {
        node: node.to_owned(),
        uid: model.facts.nodes[node].uid.clone(),
    };
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
    assert!(first.is_kept && first.nodes == 2 && first.in_use.is_empty());
    assert_eq!(asked(&first), ["node-1", "node-2"]);
    answer(&mut model, "node-1", Ok(true), 0);
    let second = look(&model);
    assert!(second.is_kept);
    assert_eq!(asked(&second), ["node-2"]);
    answer(&mut model, "node-2", Ok(true), 0);
    let third = look(&model);
    assert!(!third.is_kept && third.questions.is_empty() && third.again_at.is_none());
    // An answer of another day says nothing about now.
    answer(&mut model, "node-2", Ok(true), 3600);
    assert!(look(&model).is_kept);
    assert_eq!(asked(&look(&model)), ["node-2"]);
}

#[test]
fn one_node_in_use_keeps_all_and_nobody_else_is_asked_about_meanwhile() {
    let (mut model, wanted) = pooled(4);
    let look = |model: &Model| left_out(&model.facts, &wanted, model.now);
    answer(&mut model, "node-2", Ok(false), 10);
    let held = look(&model);
    assert!(held.is_kept && held.questions.is_empty());
    assert_eq!(
        held.again_at,
        Some(model.now + SignedDuration::from_secs(5))
    );
    assert_eq!(held.in_use["node-2"], "somebody");
    // It is asked about again, first of all, and told all the while.
    answer(&mut model, "node-2", Ok(false), 40);
    let again = look(&model);
    assert_eq!(asked(&again), ["node-2", "node-1", "node-3"]);
    assert_eq!(again.in_use.len(), 1);
    answer(&mut model, "node-2", Ok(true), 0);
    assert!(look(&model).in_use.is_empty());
}

#[test]
fn a_node_whose_pods_cannot_be_listed_keeps_all_and_is_not_asked_about_at_once() {
    let (mut model, wanted) = pooled(2);
    answer(&mut model, "node-1", Err(()), 0);
    let found = left_out(&model.facts, &wanted, model.now);
    assert!(found.is_kept && found.questions.is_empty());
    assert!(found.again_at.is_some_and(|at| at > model.now));
    assert!(found.in_use.is_empty(), "it may have been a moment");
    for answer in model.facts.answers.values_mut() {
        answer.failures = 3;
    }
    let found = left_out(&model.facts, &wanted, model.now);
    let expected = "nobody knows which pods there are: no answer";
    assert_eq!(found.in_use["node-1"], expected);
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
