//! The waves in which nodes would move, as far as that can be told before anything has begun: the real ones, played
//! through.

use std::collections::BTreeMap;

use super::passage::{Flight, Passage};
use super::wave;
use super::way::Place;
use crate::blueprint::Strategy;
use crate::facts::{Node, Replicas};

/// Names of the nodes of each wave, the canary first, when every one of these nodes moves and none is set aside on the
/// way. `replicas` are the enrolled pods of each node by their controller. Empty when the canary's selector matches none
/// of the nodes: then nothing would begin.
pub fn waves(
    nodes: &[&Node],
    replicas: &BTreeMap<String, Replicas>,
    strategy: &Strategy,
) -> Vec<Vec<String>> {
    let mut all = Replicas::new();
    for (controller, count) in replicas.values().flatten() {
        *all.entry(*controller).or_default() += count;
    }
    let mut passages: Vec<Passage<'_>> = nodes
        .iter()
        .map(|node| Passage::waiting(node, Place::Start))
        .collect();
    let nothing = Replicas::new();
    let mut waves = Vec::new();
    let mut canary_passed = false;
    loop {
        let wave = wave::forward(&passages, strategy, canary_passed);
        if wave.canary_passed {
            canary_passed = true;
            continue;
        }
        let mut share = wave.share(&all);
        let mut names = Vec::new();
        for &at in &wave.candidates {
            let node = passages[at].node;
            let on_node = replicas.get(&node.name).unwrap_or(&nothing);
            if !share.is_full() && share.has_place(node) && share.take(node, on_node) {
                passages[at].flight = Flight::Done;
                names.push(node.name.clone());
            }
        }
        if names.is_empty() {
            return waves;
        }
        waves.push(names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::Selector;
    use crate::blueprint::{Canary, Size};

    fn node(name: &str, zone: &str) -> Node {
        Node {
            name: name.to_owned(),
            labels: [("topology.kubernetes.io/zone".to_owned(), zone.to_owned())].into(),
            ..Node::default()
        }
    }

    fn told(nodes: &[Node], strategy: &Strategy) -> Vec<String> {
        told_with(nodes, BTreeMap::new(), strategy)
    }

    fn told_with(
        nodes: &[Node],
        replicas: BTreeMap<String, Replicas>,
        strategy: &Strategy,
    ) -> Vec<String> {
        let nodes: Vec<&Node> = nodes.iter().collect();
        waves(&nodes, &replicas, strategy)
            .iter()
            .map(|wave| wave.join(" "))
            .collect()
    }

    #[test]
    fn the_canary_goes_first_and_no_wave_takes_a_whole_zone() {
        let nodes = [
            node("e", "2"),
            node("a", "1"),
            node("b", "1"),
            node("c", "1"),
            node("d", "2"),
        ];
        let mut strategy = Strategy {
            batch: Size::Number(4),
            ..Strategy::default()
        };
        assert_eq!(told(&nodes, &strategy), ["a", "b c d", "e"]);
        strategy.batch = Size::Number(1);
        assert_eq!(told(&nodes, &strategy), ["a", "b", "c", "d", "e"]);
        strategy.canary = Canary::Count(9);
        assert_eq!(told(&nodes, &strategy), ["a b d", "c e"]);
        assert!(told(&[], &strategy).is_empty());
    }

    #[test]
    fn a_canary_that_is_selected_goes_in_batches_and_one_that_selects_nobody_begins_nothing() {
        let nodes = [node("a", "1"), node("b", "2"), node("c", "2")];
        let in_zone = |zone: &str| Strategy {
            canary: Canary::Selector(Selector {
                match_labels: [("topology.kubernetes.io/zone".to_owned(), zone.to_owned())].into(),
                ..Selector::default()
            }),
            batch: Size::Number(1),
            ..Strategy::default()
        };
        assert_eq!(told(&nodes, &in_zone("2")), ["b", "c", "a"]);
        assert!(told(&nodes, &in_zone("3")).is_empty());
    }

    #[test]
    fn no_wave_takes_both_replicas_of_a_pair_that_two_nodes_carry() {
        let nodes: Vec<Node> = "abcdefghij"
            .chars()
            .map(|name| node(&name.to_string(), "1"))
            .collect();
        let strategy = Strategy {
            batch: Size::Number(2),
            ..Strategy::default()
        };
        let on = |name: &str, pods: &[u64]| {
            let pods = pods.iter().map(|controller| (*controller, 1)).collect();
            (name.to_owned(), pods)
        };
        let pairs = BTreeMap::from([on("b", &[1]), on("c", &[1, 2]), on("d", &[2])]);
        assert_eq!(
            told(&nodes, &strategy),
            ["a", "b c", "d e", "f g", "h i", "j"]
        );
        assert_eq!(
            told_with(&nodes, pairs, &strategy),
            ["a", "b d", "c e", "f g", "h i", "j"]
        );
        // Of more canaries than one, too.
        let strategy = Strategy {
            canary: Canary::Count(2),
            ..strategy
        };
        let pair = BTreeMap::from([on("a", &[1]), on("b", &[1])]);
        assert_eq!(told_with(&nodes[..3], pair, &strategy), ["a c", "b"]);
    }
}
