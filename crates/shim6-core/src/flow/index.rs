//! Flows, found by something that each of them carries.
//!
//! The key is not kept beside the flow: with many contexts nearly every packet of a table finds its flow
//! outside of the processor's caches, and is then read from there anyway.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use shim6_wire::ContextTag;

use super::{Flow, Path};
use crate::pair::{LocatorPair, UlidPair};

/// By what a flow is found.
pub(super) trait Key: Sized + Hash + Eq {
    /// The key of `flow`; `None` if it is not to be found by one.
    fn of(flow: &Flow) -> Option<Self>;
}

/// What the local stack sends without a mark, and what arrives untagged.
impl Key for UlidPair {
    fn of(flow: &Flow) -> Option<Self> {
        flow.is_default.then_some(flow.ulids)
    }
}

/// What the local stack sends with the mark of a fork that this host made.
impl Key for (UlidPair, u32) {
    fn of(flow: &Flow) -> Option<Self> {
        flow.mark.map(|mark| (flow.ulids, mark))
    }
}

/// CT(local), which is in what arrives tagged.
impl Key for ContextTag {
    fn of(flow: &Flow) -> Option<Self> {
        Some(flow.local_tag)
    }
}

/// CT(peer) and the locators, which an ICMPv6 error about a mapped packet quotes (RFC 5533 §12.4).
impl Key for (ContextTag, LocatorPair) {
    fn of(flow: &Flow) -> Option<Self> {
        match flow.path {
            Path::Untouched => None,
            Path::Mapped { locators, peer_tag } => Some((peer_tag, locators)),
        }
    }
}

type Hasher = foldhash::quality::FixedState;

/// Flows by one kind of key. Of two flows with the same key the later one is found.
pub(super) struct Index<K> {
    flows: HashTable<Arc<Flow>>,
    hasher: Hasher,
    keys: PhantomData<K>,
}

impl<K: Key> Index<K> {
    /// An empty index. Peers choose addresses, so it is `seed` that decides which of them collide.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            flows: HashTable::new(),
            hasher: Hasher::with_seed(seed),
            keys: PhantomData,
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&Flow> {
        let hash = self.hasher.hash_one(key);
        let flow = self.flows.find(hash, |flow| has(flow, key));
        flow.map(Arc::as_ref)
    }

    /// Adds `flow`, if it has a key of this kind, in the place of whoever has the same one.
    pub(super) fn insert(&mut self, flow: &Arc<Flow>) {
        let Some(key) = K::of(flow) else {
            return;
        };
        let hasher = &self.hasher;
        let entry = self.flows.entry(
            hasher.hash_one(&key),
            |flow| has(flow, &key),
            // Every flow in here has one.
            |flow| K::of(flow).map_or(0, |key| hasher.hash_one(key)),
        );
        match entry {
            Entry::Occupied(mut entry) => *entry.get_mut() = Arc::clone(flow),
            Entry::Vacant(entry) => {
                entry.insert(Arc::clone(flow));
            }
        }
    }

    /// Removes the flow with this key.
    pub(super) fn take(&mut self, key: &K) -> Option<Arc<Flow>> {
        let hash = self.hasher.hash_one(key);
        let entry = self.flows.find_entry(hash, |flow| has(flow, key)).ok()?;
        Some(entry.remove().0)
    }

    /// Removes the flow of this context, unless another one has taken its place.
    pub(super) fn remove(&mut self, flow: &Flow) {
        let Some(key) = K::of(flow) else {
            return;
        };
        let same = |other: &Arc<Flow>| has(other, &key) && other.local_tag == flow.local_tag;
        if let Ok(entry) = self.flows.find_entry(self.hasher.hash_one(&key), same) {
            entry.remove();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }
}

fn has<K: Key>(flow: &Flow, key: &K) -> bool {
    K::of(flow).is_some_and(|own| own == *key)
}

impl<K> fmt::Debug for Index<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.flows).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Exploring, Tagged};

    fn flow(local_tag: u64, peer: u16) -> Arc<Flow> {
        Arc::new(Flow {
            ulids: UlidPair {
                local: "2001:db8::1".parse().unwrap(),
                peer: [0x2001, 0xdb8, 1, 0, 0, 0, 0, peer].into(),
            },
            is_default: true,
            mark: None,
            local_tag: ContextTag::from_bits(local_tag),
            path: Path::Untouched,
            tagged: Tagged::Delivered,
            exploring: Exploring::No,
            kernel_maps: false,
            account: Arc::default(),
        })
    }

    #[test]
    fn thousands_are_found_each_by_its_own_key_until_they_go() {
        let flows: Vec<_> = (0..5_000).map(|n| flow(u64::from(n) << 20, n)).collect();
        let mut index = Index::<UlidPair>::new(3);
        for flow in &flows {
            index.insert(flow);
        }
        for (n, flow) in flows.iter().enumerate() {
            assert_eq!(index.get(&flow.ulids).unwrap().local_tag, flow.local_tag);
            if n % 2 == 0 {
                index.remove(flow);
            }
        }
        assert_eq!(index.len(), 2_500);
        let gone = |flow: &Arc<Flow>| index.get(&flow.ulids).is_none();
        assert!(flows.iter().step_by(2).all(gone));
        assert!(!flows.iter().skip(1).step_by(2).any(gone));
    }

    #[test]
    fn a_context_goes_without_those_who_took_its_place() {
        let [former, later] = [1, 2].map(|tag| flow(tag, 1));
        let mut index = Index::<UlidPair>::new(3);
        index.insert(&former);
        index.insert(&later);
        index.remove(&former);
        assert_eq!(index.get(&later.ulids).unwrap().local_tag, later.local_tag);
        index.remove(&later);
        assert_eq!(index.len(), 0);
    }
}
