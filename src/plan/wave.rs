//! Which nodes begin now: the canary, then batches, zone by zone; back as many as a batch allows.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::passage::{Flight, Passage, Stage};
use super::share::Share;
use super::way::Place;
use crate::api::v1alpha1::{Selector, SelectorOperator};
use crate::blueprint::{Canary, Strategy};
use crate::facts::{Node, Replicas};

/// Label with a node's zone. The name is Kubernetes'.
const ZONE: &str = "topology.kubernetes.io/zone";
/// Reasons to set a node aside that mean that it does not answer.
const UNREACHABLE: [&str; 2] = ["NodeNotReady", super::silence::UNREACHABLE];

/// What begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wave<'a> {
    /// Places in the list of passages, in the order in which they begin.
    pub candidates: Vec<usize>,
    /// How many of them.
    pub size: usize,
    /// How many of each zone; as many as there are of a zone that is not named.
    pub zones: BTreeMap<&'a str, usize>,
    /// The canary has proved the revision, which is not recorded yet.
    pub canary_passed: bool,
    /// Why nothing begins.
    pub held: Option<String>,
}

impl<'a> Wave<'a> {
    /// What it may take of a mesh with these replicas.
    pub fn share(&self, replicas: &'a Replicas) -> Share<'a> {
        Share::new(self.size, self.zones.clone(), replicas)
    }

    fn held(why: String) -> Self {
        Self {
            held: Some(why),
            ..Self::default()
        }
    }
}

/// The wave that begins on the way to an arriving revision. One wave is done before the next begins.
pub(super) fn forward<'a>(
    passages: &[Passage<'a>],
    strategy: &Strategy,
    canary_passed: bool,
) -> Wave<'a> {
    let total = passages.len();
    let aside = passages
        .iter()
        .filter(|one| matches!(one.flight, Flight::Aside(why) if UNREACHABLE.contains(&why)))
        .count();
    let most = strategy.max_unreachable.of(total);
    if aside > most {
        return Wave::held(format!(
            "{aside} of {total} nodes do not answer, upgrade.strategy.maxUnreachable is {most}"
        ));
    }
    if passages.iter().any(|one| one.flight == Flight::Moving) {
        return Wave::default();
    }
    let waiting = |chosen: &dyn Fn(&Node) -> bool| -> Vec<usize> {
        let mut places: Vec<usize> = (0..total)
            .filter(|&at| passages[at].flight == Flight::Waiting && chosen(passages[at].node))
            .collect();
        // A node that has to prove its agent once more comes before any that has not begun.
        places.sort_by_key(|&at| {
            let one = &passages[at];
            (one.place != Place::End, zone(one.node), &one.node.name)
        });
        places
    };
    let everyone = |_: &Node| true;
    let zones = || most_at_once(passages.iter().map(|one| one.node));
    if canary_passed {
        return Wave {
            candidates: waiting(&everyone),
            size: strategy.batch.of(total),
            zones: zones(),
            ..Wave::default()
        };
    }
    let done = passages
        .iter()
        .filter(|one| one.flight == Flight::Done)
        .count();
    match &strategy.canary {
        Canary::Count(count) => {
            let candidates = waiting(&everyone);
            let size = count.saturating_sub(done);
            Wave {
                canary_passed: done > 0 && (size == 0 || candidates.is_empty()),
                candidates,
                size,
                zones: zones(),
                ..Wave::default()
            }
        }
        Canary::Selector(selector) => {
            if !passages.iter().any(|one| selects(selector, one.node)) {
                return Wave::held(
                    "upgrade.strategy.canary.selector matches no node of the mesh".to_owned(),
                );
            }
            let candidates = waiting(&|node| selects(selector, node));
            if done == 0 && candidates.is_empty() {
                return Wave::held(
                    "every node that upgrade.strategy.canary.selector matches is set aside"
                        .to_owned(),
                );
            }
            Wave {
                canary_passed: candidates.is_empty(),
                candidates,
                size: strategy.batch.of(total),
                zones: zones(),
                ..Wave::default()
            }
        }
    }
}

/// Nodes that begin on the way back: those whose proxy is back and whose agent is not first, then what is in trouble, then
/// those that moved last. They begin as others end, so those in flight count.
pub(super) fn back<'a>(passages: &[Passage<'a>], strategy: &Strategy) -> Wave<'a> {
    let mut zones = most_at_once(passages.iter().map(|one| one.node));
    let mut in_flight = 0_usize;
    for one in passages.iter().filter(|one| one.flight == Flight::Moving) {
        in_flight += 1;
        if let Some(left) = zones.get_mut(zone(one.node)) {
            *left = left.saturating_sub(1);
        }
    }
    let mut candidates: Vec<usize> = (0..passages.len())
        .filter(|&at| passages[at].flight == Flight::Waiting)
        .collect();
    candidates.sort_by_key(|&at| {
        let one = &passages[at];
        (
            one.place != Place::End,
            one.trouble.is_none(),
            Reverse((zone(one.node), &one.node.name)),
        )
    });
    Wave {
        candidates,
        size: strategy.batch.of(passages.len()).saturating_sub(in_flight),
        zones,
        ..Wave::default()
    }
}

/// The wave that is under way, from 1; 1 is the canary.
pub(super) fn number(passages: &[Passage<'_>], strategy: &Strategy, canary_passed: bool) -> i32 {
    if !canary_passed {
        return 1;
    }
    let total = passages.len();
    let first = match &strategy.canary {
        Canary::Count(count) => *count,
        Canary::Selector(selector) => passages
            .iter()
            .filter(|one| selects(selector, one.node))
            .count(),
    };
    let done = passages
        .iter()
        .filter(|one| one.stage == Stage::Done)
        .count();
    // While the last nodes are done and the end is not, no further wave is under way.
    let is_over =
        (passages.iter()).all(|one| matches!(one.flight, Flight::Done | Flight::Aside(_)));
    let begun = done.saturating_sub(first);
    if is_over && begun == 0 {
        return 1;
    }
    let waves = begun.saturating_sub(usize::from(is_over)) / strategy.batch.of(total);
    i32::try_from(waves.saturating_add(2)).unwrap_or(i32::MAX)
}

/// How many nodes of each zone a wave may take: not all of them, where a zone has more than one.
fn most_at_once<'a>(nodes: impl Iterator<Item = &'a Node>) -> BTreeMap<&'a str, usize> {
    let mut most: BTreeMap<&str, usize> = BTreeMap::new();
    for node in nodes {
        *most.entry(zone(node)).or_default() += 1;
    }
    for count in most.values_mut() {
        *count = count.saturating_sub(1).max(1);
    }
    most
}

pub(super) fn zone(node: &Node) -> &str {
    node.labels.get(ZONE).map_or("", String::as_str)
}

/// The node has the labels asked for.
fn selects(selector: &Selector, node: &Node) -> bool {
    let label = |key: &str| node.labels.get(key);
    node.has(&selector.match_labels)
        && selector.match_expressions.iter().all(|one| {
            let carried = label(&one.key);
            match one.operator {
                SelectorOperator::In => carried.is_some_and(|value| one.values.contains(value)),
                SelectorOperator::NotIn => !carried.is_some_and(|value| one.values.contains(value)),
                SelectorOperator::Exists => carried.is_some(),
                SelectorOperator::DoesNotExist => carried.is_none(),
            }
        })
}
