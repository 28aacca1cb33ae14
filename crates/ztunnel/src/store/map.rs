//! A persistent hash map: a clone costs one reference count, a change copies one path of a few small nodes.
//!
//! A snapshot of 100 000 workloads is thus changed without copying 100 000 entries, and a batch copies each node at
//! most once, because a node that nobody else holds is changed in place.

use std::borrow::Borrow;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// Bits of the hash that one level uses.
const BITS: u32 = 5;
/// First shift at which a 64-bit hash is used up.
const END: u32 = 65;

/// The map.
pub struct Map<K, V> {
    root: Node<K, V>,
    length: usize,
    hasher: RandomState,
}

#[derive(Clone)]
struct Node<K, V> {
    /// Which of the 32 places are taken.
    taken: u32,
    /// The taken places in order.
    slots: Vec<Slot<K, V>>,
}

#[derive(Clone)]
enum Slot<K, V> {
    Entry(K, V),
    Deeper(Arc<Node<K, V>>),
    /// Keys whose hashes are equal.
    Collision(Arc<Vec<(K, V)>>),
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self {
            root: Node::empty(),
            length: 0,
            hasher: RandomState::new(),
        }
    }
}

impl<K: Clone, V: Clone> Clone for Map<K, V> {
    fn clone(&self) -> Self {
        Self {
            root: self.root.clone(),
            length: self.length,
            hasher: self.hasher.clone(),
        }
    }
}

impl<K, V> Node<K, V> {
    const fn empty() -> Self {
        Self {
            taken: 0,
            slots: Vec::new(),
        }
    }

    /// The bit of a hash at a level, and where its slot is or would be.
    fn place(&self, hash: u64, shift: u32) -> (u32, usize) {
        let bit = bit(hash, shift);
        let before = (self.taken & (bit - 1)).count_ones();
        (bit, before as usize)
    }
}

/// The bit that a hash takes at a level.
fn bit(hash: u64, shift: u32) -> u32 {
    let digit = hash.checked_shr(shift).unwrap_or(0) & 31;
    1 << digit
}

impl<K, V> Map<K, V> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Every entry, in no order.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter {
            open: vec![self.root.slots.iter()],
            collision: [].iter(),
        }
    }

    /// Every value, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Hash + Eq, V> Map<K, V> {
    /// The value of a key.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let (mut node, mut shift) = (&self.root, 0);
        loop {
            let (bit, at) = node.place(hash, shift);
            if node.taken & bit == 0 {
                return None;
            }
            match node.slots.get(at)? {
                Slot::Entry(k, v) => return (k.borrow() == key).then_some(v),
                Slot::Deeper(next) => (node, shift) = (next, shift + BITS),
                Slot::Collision(all) => {
                    return all.iter().find(|(k, _)| k.borrow() == key).map(|(_, v)| v);
                }
            }
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Map<K, V> {
    /// Puts a value, and returns the one it takes the place of.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let hash = self.hasher.hash_one(&key);
        let old = insert(&mut self.root, &self.hasher, hash, 0, key, value);
        self.length += usize::from(old.is_none());
        old
    }

    /// Takes a key away.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        // Looking first spares the copy of a path for a key that is not there.
        self.get(key)?;
        let hash = self.hasher.hash_one(key);
        let old = remove(&mut self.root, hash, 0, key);
        self.length -= usize::from(old.is_some());
        old
    }
}

fn insert<K: Hash + Eq + Clone, V: Clone>(
    node: &mut Node<K, V>,
    hasher: &RandomState,
    hash: u64,
    shift: u32,
    key: K,
    value: V,
) -> Option<V> {
    let (bit, at) = node.place(hash, shift);
    if node.taken & bit == 0 {
        node.slots.insert(at, Slot::Entry(key, value));
        node.taken |= bit;
        return None;
    }
    let slot = node.slots.get_mut(at)?;
    match slot {
        Slot::Entry(k, v) if *k == key => return Some(std::mem::replace(v, value)),
        Slot::Entry(k, v) => {
            let both = pair(
                shift + BITS,
                (hasher.hash_one(&*k), k.clone(), v.clone()),
                (hash, key, value),
            );
            *slot = both;
        }
        Slot::Deeper(next) => {
            return insert(Arc::make_mut(next), hasher, hash, shift + BITS, key, value);
        }
        Slot::Collision(all) => {
            let all = Arc::make_mut(all);
            match all.iter_mut().find(|(k, _)| *k == key) {
                Some((_, v)) => return Some(std::mem::replace(v, value)),
                None => all.push((key, value)),
            }
        }
    }
    None
}

/// A slot that holds two entries whose keys differ.
fn pair<K, V>(shift: u32, one: (u64, K, V), two: (u64, K, V)) -> Slot<K, V> {
    if shift >= END {
        return Slot::Collision(Arc::new(vec![(one.1, one.2), (two.1, two.2)]));
    }
    let (bit_one, bit_two) = (bit(one.0, shift), bit(two.0, shift));
    let slots = match bit_one.cmp(&bit_two) {
        std::cmp::Ordering::Equal => vec![pair(shift + BITS, one, two)],
        std::cmp::Ordering::Less => vec![Slot::Entry(one.1, one.2), Slot::Entry(two.1, two.2)],
        std::cmp::Ordering::Greater => vec![Slot::Entry(two.1, two.2), Slot::Entry(one.1, one.2)],
    };
    Slot::Deeper(Arc::new(Node {
        taken: bit_one | bit_two,
        slots,
    }))
}

fn remove<K: Hash + Eq + Clone + Borrow<Q>, V: Clone, Q: Eq + ?Sized>(
    node: &mut Node<K, V>,
    hash: u64,
    shift: u32,
    key: &Q,
) -> Option<V> {
    let (bit, at) = node.place(hash, shift);
    if node.taken & bit == 0 {
        return None;
    }
    let slot = node.slots.get_mut(at)?;
    match slot {
        Slot::Entry(k, _) if Borrow::<Q>::borrow(k) != key => None,
        Slot::Entry(..) => {
            node.taken &= !bit;
            match node.slots.remove(at) {
                Slot::Entry(_, v) => Some(v),
                Slot::Deeper(_) | Slot::Collision(_) => None,
            }
        }
        Slot::Deeper(next) => {
            let next = Arc::make_mut(next);
            let old = remove(next, hash, shift + BITS, key);
            // A single entry moves up, so that the shape depends on the content only.
            if let [Slot::Entry(..) | Slot::Collision(_)] = next.slots.as_slice()
                && let Some(last) = next.slots.pop()
            {
                *slot = last;
            }
            old
        }
        Slot::Collision(all) => {
            let entries = Arc::make_mut(all);
            let found = entries
                .iter()
                .position(|(k, _)| Borrow::<Q>::borrow(k) == key)?;
            let (_, old) = entries.swap_remove(found);
            if entries.len() == 1
                && let Some((k, v)) = entries.pop()
            {
                *slot = Slot::Entry(k, v);
            }
            Some(old)
        }
    }
}

/// Every entry of a [`Map`].
pub struct Iter<'a, K, V> {
    open: Vec<std::slice::Iter<'a, Slot<K, V>>>,
    collision: std::slice::Iter<'a, (K, V)>,
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.collision.next() {
                return Some((key, value));
            }
            match self.open.last_mut()?.next() {
                None => drop(self.open.pop()),
                Some(Slot::Entry(key, value)) => return Some((key, value)),
                Some(Slot::Deeper(node)) => self.open.push(node.slots.iter()),
                Some(Slot::Collision(all)) => self.collision = all.iter(),
            }
        }
    }
}

impl<'a, K, V> IntoIterator for &'a Map<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// A key whose hash is one of few, so that collisions are common.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Clumsy(u16);

    impl Hash for Clumsy {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            (self.0 % 7).hash(state);
        }
    }

    fn same<K: Hash + Eq + Copy + fmt::Debug>(
        keys: impl Fn(u16) -> K,
        changes: &[(bool, u16, u32)],
    ) {
        let (mut map, mut model) = (Map::default(), HashMap::new());
        let mut earlier = Vec::new();
        for (put, key, value) in changes {
            let key = keys(*key);
            if *put {
                assert_eq!(map.insert(key, *value), model.insert(key, *value));
            } else {
                assert_eq!(map.remove(&key), model.remove(&key));
            }
            earlier.push((map.clone(), model.clone()));
        }
        // Later changes left every earlier clone alone.
        for (map, model) in earlier.iter().step_by(16).chain([&(map, model)]) {
            assert_eq!(map.len(), model.len());
            assert_eq!(
                map.iter().map(|(k, v)| (*k, *v)).collect::<HashMap<_, _>>(),
                *model
            );
            for key in model.keys() {
                assert_eq!(map.get(key), model.get(key));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_changes_give_what_a_plain_map_gives(
            changes in prop::collection::vec((any::<bool>(), 0..200u16, any::<u32>()), 0..300),
        ) {
            same(|key| key, &changes);
            same(Clumsy, &changes);
        }
    }

    #[test]
    fn a_large_map_empties_again() {
        let mut map = Map::default();
        for key in 0..20_000_u32 {
            map.insert(key, key);
        }
        assert_eq!(map.len(), 20_000);
        assert!((0..20_000).all(|key| map.get(&key) == Some(&key)));
        for key in 0..20_000_u32 {
            assert_eq!(map.remove(&key), Some(key));
        }
        assert!(map.is_empty() && map.iter().next().is_none() && map.root.slots.is_empty());
    }
}
