//! What one wave may take: so many nodes, of no zone all, and of no workload every replica.

use std::collections::BTreeMap;

use super::wave::zone;
use crate::facts::{Node, Replicas};

/// What a wave may still take. What cannot be avoided is no reason to leave a node out: the only node of a zone, and
/// replicas that are all on one node.
#[derive(Clone, Debug)]
pub(super) struct Share<'a> {
    /// How many nodes more.
    left: usize,
    /// How many more of each zone; as many as there are of a zone that is not named.
    zones: BTreeMap<&'a str, usize>,
    /// All replicas of the mesh by their controller.
    replicas: &'a Replicas,
    /// Those on the nodes that were taken.
    taken: Replicas,
}

impl<'a> Share<'a> {
    pub fn new(size: usize, zones: BTreeMap<&'a str, usize>, replicas: &'a Replicas) -> Self {
        Self {
            left: size,
            zones,
            replicas,
            taken: Replicas::new(),
        }
    }

    /// It has all it may take.
    pub fn is_full(&self) -> bool {
        self.left == 0
    }

    /// It may take another node of this one's zone.
    pub fn has_place(&self, node: &Node) -> bool {
        self.zones.get(zone(node)) != Some(&0)
    }

    /// Takes a node with these replicas on it; not where the wave would then have every replica of a workload, of which
    /// some are elsewhere.
    pub fn take(&mut self, node: &Node, on_node: &Replicas) -> bool {
        let would_be_last = |(controller, count): (&u64, &usize)| {
            let taken = self.taken.get(controller).copied().unwrap_or_default();
            let all = self.replicas.get(controller);
            taken > 0 && all.is_some_and(|all| taken + count >= *all)
        };
        if on_node.iter().any(would_be_last) {
            return false;
        }
        for (controller, count) in on_node {
            *self.taken.entry(*controller).or_default() += count;
        }
        if let Some(places) = self.zones.get_mut(zone(node)) {
            *places = places.saturating_sub(1);
        }
        self.left = self.left.saturating_sub(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_workload_on_several_nodes_a_wave_leaves_one_replica_alone() {
        let (pair, lone, wide) = (1, 2, 3);
        let all = Replicas::from([(pair, 2), (lone, 2), (wide, 3)]);
        let node = Node::default();
        let taken = |nodes: &[&[(u64, usize)]]| -> Vec<bool> {
            let mut share = Share::new(9, BTreeMap::new(), &all);
            let on = |pods: &&[(u64, usize)]| pods.iter().copied().collect::<Replicas>();
            nodes
                .iter()
                .map(|pods| share.take(&node, &on(pods)))
                .collect()
        };
        assert_eq!(
            taken(&[&[(pair, 1)], &[(pair, 1)], &[]]),
            [true, false, true]
        );
        // Both are on one node, whenever that one moves.
        assert_eq!(taken(&[&[(lone, 2)], &[(pair, 1)]]), [true, true]);
        assert_eq!(
            taken(&[&[(wide, 1)], &[(wide, 1)], &[(wide, 1)]]),
            [true, true, false]
        );
        // What is not of the mesh is nobody's loss.
        assert_eq!(taken(&[&[(9, 1)], &[(9, 1)]]), [true, true]);
    }
}
