//! What a node's proxies have counted: asked, kept on the node beside its label, and taken off with it.

use super::*;
use crate::api::v1alpha1::LogLevel;
use crate::facts::{Facts, Question};
use crate::names;
use crate::plan::{Act, Target, model};

const NODE: &str = "/api/v1/nodes/a";

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_baseline_comes_with_its_label_is_seen_again_and_goes_with_it() {
    let mut bench = Bench::new(json!({})).await;
    let text = r#"{"to":"1-6-0-abcdef","tried":9120,"failed":9}"#;
    for (label, baseline) in [(Some("1-6-0-abcdef"), Some(text)), (None, None)] {
        bench.fake.asked();
        let act = Act::MarkNode {
            name: "a".to_owned(),
            label: Some(label.map(str::to_owned)),
            baseline: baseline.map(str::to_owned),
            taint: None,
            resource_version: "7".to_owned(),
        };
        bench.operator.act_of_leave(&act).await.unwrap();
        assert_eq!(bench.fake.asked().len(), 1, "one request for both");
        let node = bench.fake.get(NODE).unwrap();
        let carried = |part: &str, key: &str| node["metadata"][part][key].as_str();
        assert_eq!(carried("labels", names::NODE_ZTUNNEL_LABEL), label);
        assert_eq!(carried("annotations", names::BASELINE_ANNOTATION), baseline);
        until("the node is seen as it is", || {
            let facts = bench.operator.world.facts();
            let seen = facts.nodes["a"].annotations.get(names::BASELINE_ANNOTATION);
            seen.map(String::as_str) == baseline
        })
        .await;
    }
}

#[tokio::test]
async fn what_a_proxy_has_counted_is_in_the_answer_until_the_node_changes() {
    let mut bench = Bench::new(json!({})).await;
    let blueprint = model::blueprint(LogLevel::Info, LogLevel::Info);
    let target = Arc::new(Target::of(&blueprint).unwrap());
    let question = Question::Counts {
        node: "a".to_owned(),
        pod: "ztunnel-a".to_owned(),
        uid: "u:0".to_owned(),
    };
    let act = Act::Ask(question.clone());
    bench
        .operator
        .act(&act, &Facts::default(), &target)
        .await
        .unwrap();
    let asked = bench.operator.asked.clone();
    let answer = || asked.answers().get(&question).cloned();
    until("it is answered", || answer().is_some()).await;
    let answer = answer().unwrap();
    assert!(answer.is_good());
    assert_eq!(answer.counted(), Some(Connections::new(9_120, 9)));
    assert_eq!(answer.text(), "9 of 9120 (0.1%) connections failed");
    asked.forget_node("a");
    assert!(asked.answers().is_empty());
}
