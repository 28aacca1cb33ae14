//! The waves in which nodes would move, as far as that can be told before anything has begun.

use super::wave::{most_at_once, selects, zone};
use crate::blueprint::{Canary, Strategy};
use crate::facts::Node;

/// Names of the nodes of each wave, the canary first, when every one of these nodes moves and none is set aside on the
/// way. Empty when the canary's selector matches none of them: then nothing would begin.
pub fn waves(nodes: &[&Node], strategy: &Strategy) -> Vec<Vec<String>> {
    let mut left: Vec<&Node> = nodes.to_vec();
    left.sort_by_key(|node| (zone(node), &node.name));
    let size = strategy.batch.of(nodes.len());
    let mut waves: Vec<Vec<&Node>> = Vec::new();
    match &strategy.canary {
        Canary::Count(count) => {
            let rest = left.split_off((*count).min(left.len()));
            waves.push(std::mem::replace(&mut left, rest));
        }
        Canary::Selector(selector) => {
            let (first, rest): (Vec<&Node>, Vec<&Node>) =
                left.into_iter().partition(|node| selects(selector, node));
            if first.is_empty() {
                return Vec::new();
            }
            waves.extend(first.chunks(size).map(<[&Node]>::to_vec));
            left = rest;
        }
    }
    while !left.is_empty() {
        let (wave, rest) = batch(nodes, left, size);
        waves.push(wave);
        left = rest;
    }
    let names = |wave: &Vec<&Node>| wave.iter().map(|node| node.name.clone()).collect();
    waves
        .iter()
        .filter(|wave| !wave.is_empty())
        .map(names)
        .collect()
}

/// As many as fit a wave, but not all nodes of a zone that has more than one; and those that are left.
fn batch<'a>(all: &[&Node], left: Vec<&'a Node>, size: usize) -> (Vec<&'a Node>, Vec<&'a Node>) {
    let mut free = most_at_once(all.iter().copied());
    let (mut wave, mut rest) = (Vec::new(), Vec::new());
    for node in left {
        match free.get_mut(zone(node)) {
            Some(free) if *free > 0 && wave.len() < size => {
                *free -= 1;
                wave.push(node);
            }
            _ => rest.push(node),
        }
    }
    (wave, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::Selector;
    use crate::blueprint::Size;

    fn node(name: &str, zone: &str) -> Node {
        Node {
            name: name.to_owned(),
            labels: [("topology.kubernetes.io/zone".to_owned(), zone.to_owned())].into(),
            ..Node::default()
        }
    }

    fn told(nodes: &[Node], strategy: &Strategy) -> Vec<String> {
        let nodes: Vec<&Node> = nodes.iter().collect();
        waves(&nodes, strategy)
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
        assert_eq!(told(&nodes, &strategy), ["a b c d e"]);
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
}
