//! The contexts and the indexes by which messages find them (RFC 5533 §12.4).

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::net::Ipv6Addr;
use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Slot;
use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use shim6_cga::VerifiedLocator;
use shim6_wire::{ContextTag, Fii, InitiatorNonce, Preference};

use crate::account::Account;
use crate::context::{Context, State};
use crate::flow::Flow;
use crate::pair::{LocatorPair, UlidPair};
use crate::reap;
use crate::time::Instant;

/// Which context. Never reused while the endpoint lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ContextId(u64);

/// A context and how it is indexed at present: what changes is compared with this.
#[derive(Debug)]
struct Entry {
    context: Context,
    published: Option<Arc<Flow>>,
    /// Of CT(peer) with each of Ls(peer), while the context is found by them.
    peer: Box<[PeerKey]>,
    nonce: Option<InitiatorNonce>,
    is_unanswered: bool,
    deadline: Instant,
}

type Hasher = foldhash::quality::FixedState;

#[derive(Debug)]
pub(crate) struct Table {
    next_id: u64,
    entries: HashMap<ContextId, Box<Entry>, Hasher>,
    by_ulids: HashMap<(UlidPair, Fii), ContextId, Hasher>,
    by_local_tag: HashMap<ContextTag, ContextId, Hasher>,
    /// How many forks there are between two ULIDs, where there are any.
    forks: HashMap<UlidPair, usize, Hasher>,
    /// Contexts that wait for R1 or R2.
    by_nonce: HashMap<InitiatorNonce, ContextId, Hasher>,
    /// By CT(peer) and each of Ls(peer). Several peers may have chosen the same tag, as many as like; but
    /// of those with a common locator only one context is kept (RFC 5533 §7.15).
    by_peer: HashMap<PeerKey, ContextId, Hasher>,
    peer_keys: Hasher,
    deadlines: BTreeSet<(Instant, ContextId)>,
    /// Contexts whose peer has not answered, or has declined.
    unanswered: usize,
}

/// A context taken out of the table to be worked on; [`Table::put`] brings it back.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) id: ContextId,
    entry: Box<Entry>,
}

impl std::ops::Deref for Taken {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.entry.context
    }
}

impl std::ops::DerefMut for Taken {
    fn deref_mut(&mut self) -> &mut Context {
        &mut self.entry.context
    }
}

impl Table {
    /// `rng` keys the hashers: addresses and tags are chosen by peers.
    pub(crate) fn new(rng: &mut ChaCha20Rng) -> Self {
        let mut hasher = || Hasher::with_seed(rng.next_u64());
        Self {
            next_id: 0,
            entries: HashMap::with_hasher(hasher()),
            by_ulids: HashMap::with_hasher(hasher()),
            by_local_tag: HashMap::with_hasher(hasher()),
            forks: HashMap::with_hasher(hasher()),
            by_nonce: HashMap::with_hasher(hasher()),
            by_peer: HashMap::with_hasher(hasher()),
            peer_keys: hasher(),
            deadlines: BTreeSet::new(),
            unanswered: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_local_tag.len()
    }

    /// Contexts in I1-SENT, I2-SENT, E-FAILED and NO-SUPPORT.
    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Adds a context; it stays taken until [`Self::put`].
    pub(crate) fn insert(&mut self, context: Context, now: Instant) -> Taken {
        let id = ContextId(self.next_id);
        self.next_id += 1;
        self.by_ulids.insert((context.ulids, context.fii), id);
        self.by_local_tag.insert(context.local_tag, id);
        if context.fii != Fii::DEFAULT {
            *self.forks.entry(context.ulids).or_default() += 1;
        }
        self.deadlines.insert((now, id));
        let entry = Box::new(Entry {
            context,
            published: None,
            peer: Box::default(),
            nonce: None,
            is_unanswered: false,
            deadline: now,
        });
        Taken { id, entry }
    }

    pub(crate) fn take(&mut self, id: ContextId) -> Option<Taken> {
        self.entries.remove(&id).map(|entry| Taken { id, entry })
    }

    /// Brings a context back, indexed by what it has become; returns its flow if that changed.
    pub(crate) fn put(&mut self, mut taken: Taken, now: Instant) -> Option<Arc<Flow>> {
        let id = taken.id;
        let entry = &mut taken.entry;
        let context = &entry.context;

        let peer_tag = context.peer_tag.filter(|_| context.state.has_peer());
        let hasher = &self.peer_keys;
        let keys = || {
            peer_tag.into_iter().flat_map(|tag| {
                let locators = context.peer.iter().map(VerifiedLocator::address);
                locators.map(move |locator| PeerKey(hasher.hash_one((tag, locator))))
            })
        };
        if !keys().eq(entry.peer.iter().copied()) {
            let keys = keys().collect();
            forget_peer(&mut self.by_peer, &entry.peer, id);
            entry.peer = keys;
            for &key in &entry.peer {
                self.by_peer.insert(key, id);
            }
        }
        let nonce = match context.state {
            State::I1Sent | State::I2Sent | State::I2bisSent => Some(context.initiator_nonce),
            State::Established | State::EFailed | State::NoSupport => None,
        };
        if entry.nonce != nonce {
            entry.nonce.map(|nonce| self.by_nonce.remove(&nonce));
            nonce.map(|nonce| self.by_nonce.insert(nonce, id));
            entry.nonce = nonce;
        }
        let is_unanswered = !context.state.has_peer();
        self.unanswered -= usize::from(entry.is_unanswered);
        self.unanswered += usize::from(is_unanswered);
        entry.is_unanswered = is_unanswered;
        let deadline = context.deadline(now);
        if entry.deadline != deadline {
            self.deadlines.remove(&(entry.deadline, id));
            self.deadlines.insert((deadline, id));
            entry.deadline = deadline;
        }

        let flow = context.flow();
        let changed = !entry
            .published
            .as_ref()
            .is_some_and(|known| known.is_like(&flow));
        if changed {
            entry.published = Some(Arc::new(flow));
        }
        let published = entry.published.clone().filter(|_| changed);
        self.entries.insert(id, taken.entry);
        published
    }

    /// Ends a context that was taken; returns the flow that queue threads know of, if any.
    pub(crate) fn remove(&mut self, taken: Taken) -> (Context, Option<Arc<Flow>>) {
        let Taken { id, entry } = taken;
        self.by_ulids
            .remove(&(entry.context.ulids, entry.context.fii));
        self.by_local_tag.remove(&entry.context.local_tag);
        if entry.context.fii != Fii::DEFAULT
            && let Slot::Occupied(mut forks) = self.forks.entry(entry.context.ulids)
        {
            *forks.get_mut() -= 1;
            if *forks.get() == 0 {
                forks.remove();
            }
        }
        self.unanswered -= usize::from(entry.is_unanswered);
        entry.nonce.map(|nonce| self.by_nonce.remove(&nonce));
        forget_peer(&mut self.by_peer, &entry.peer, id);
        self.deadlines.remove(&(entry.deadline, id));
        (entry.context, entry.published)
    }

    pub(crate) fn by_ulids(&self, ulids: UlidPair, fii: Fii) -> Option<ContextId> {
        self.by_ulids.get(&(ulids, fii)).copied()
    }

    /// How many forks there are between these ULIDs, whoever began them.
    pub(crate) fn forks(&self, ulids: UlidPair) -> usize {
        self.forks.get(&ulids).copied().unwrap_or(0)
    }

    pub(crate) fn by_local_tag(&self, tag: ContextTag) -> Option<ContextId> {
        self.by_local_tag.get(&tag).copied()
    }

    /// Takes the context with this tag of ours out, as [`Self::take`] does.
    pub(crate) fn take_by_local_tag(&mut self, tag: ContextTag) -> Option<Taken> {
        self.take(self.by_local_tag(tag)?)
    }

    pub(crate) fn by_nonce(&self, nonce: InitiatorNonce) -> Option<ContextId> {
        self.by_nonce.get(&nonce).copied()
    }

    /// The context in ESTABLISHED or I2BIS-SENT whose CT(peer) is `tag` and whose peer has `locator`.
    pub(crate) fn by_peer(&self, tag: ContextTag, locator: Ipv6Addr) -> Option<ContextId> {
        let key = PeerKey(self.peer_keys.hash_one((tag, locator)));
        let found = self.by_peer.get(&key).copied();
        // One that is taken is not here to be asked.
        found.filter(|&id| {
            self.get(id).is_none_or(|context| {
                context.peer_tag == Some(tag) && context.peer.contains(locator)
            })
        })
    }

    pub(crate) fn get(&self, id: ContextId) -> Option<&Context> {
        self.entries.get(&id).map(|entry| &entry.context)
    }

    /// The next moment at which a context has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(due, _)| due)
    }

    /// A context whose moment has come.
    pub(crate) fn due(&self, now: Instant) -> Option<ContextId> {
        self.deadlines
            .first()
            .filter(|(due, _)| *due <= now)
            .map(|&(_, id)| id)
    }

    /// Every context, in the order of their deadlines: the same for the same history.
    pub(crate) fn ids(&self) -> Vec<ContextId> {
        let mut ids: Vec<_> = self.deadlines.iter().map(|&(_, id)| id).collect();
        ids.sort_unstable();
        ids
    }

    /// How many contexts there are, by what becomes of them.
    pub(crate) fn census(&self) -> Census {
        let mut census = Census::default();
        for context in self.deadlines.iter().filter_map(|&(_, id)| self.get(id)) {
            let moved = context.current.pair() != context.ulids.into();
            census.contexts += 1;
            census.established += usize::from(context.state == State::Established);
            census.exploring += usize::from(context.reap.state() != reap::State::Operational);
            census.mapped += usize::from(moved);
        }
        census
    }

    /// A context as operators see it.
    pub(crate) fn view(&self, id: ContextId) -> Option<ContextView> {
        self.get(id).map(ContextView::of)
    }
}

/// CT(peer) and one of Ls(peer), in a third of the room: there are two for most contexts. No peer knows
/// how they are hashed, so that two never meet but by a chance of one in 2^64; then one context is not
/// found by this one of its peer's locators.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct PeerKey(u64);

/// Removes what `id` is found by, unless another context took it over.
fn forget_peer(by_peer: &mut HashMap<PeerKey, ContextId, Hasher>, peer: &[PeerKey], id: ContextId) {
    for key in peer {
        if by_peer.get(key) == Some(&id) {
            by_peer.remove(key);
        }
    }
}

/// How many contexts there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Census {
    /// In any STATE.
    pub contexts: usize,
    /// In ESTABLISHED.
    pub established: usize,
    /// Of which REAP does not know whether the current pair works.
    pub exploring: usize,
    /// On other locators than their ULIDs.
    pub mapped: usize,
}

/// A context as operators see it.
#[derive(Clone, Debug)]
pub struct ContextView {
    /// ULID(local) and ULID(peer).
    pub ulids: UlidPair,
    /// Forked Instance Identifier.
    pub fii: Fii,
    /// The mark of packets that are sent on it, if this host forked it.
    pub mark: Option<u32>,
    /// STATE.
    pub state: State,
    /// REAP's state.
    pub reap: reap::State,
    /// CT(local).
    pub local_tag: ContextTag,
    /// CT(peer), once known.
    pub peer_tag: Option<ContextTag>,
    /// Lp(local) and Lp(peer).
    pub current: LocatorPair,
    /// Ls(local).
    pub local_locators: Vec<Ipv6Addr>,
    /// Ls(peer), all verified.
    pub peer_locators: Vec<Ipv6Addr>,
    /// How gladly this host is reached at each of `local_locators`.
    pub local_preferences: Vec<Preference>,
    /// How gladly the peer is reached at each of `peer_locators`, as it told.
    pub peer_preferences: Vec<Preference>,
    /// What passed.
    pub account: Arc<Account>,
    /// Whether this host began it.
    pub initiated: bool,
    /// When the context came to be.
    pub created: Instant,
}

impl ContextView {
    fn of(context: &Context) -> Self {
        Self {
            ulids: context.ulids,
            fii: context.fii,
            mark: context.mark,
            state: context.state,
            reap: context.reap.state(),
            local_tag: context.local_tag,
            peer_tag: context.peer_tag,
            current: context.current.pair(),
            local_locators: context.announcement.addresses().collect(),
            peer_locators: context.peer.iter().map(VerifiedLocator::address).collect(),
            local_preferences: context
                .announcement
                .addresses()
                .map(|address| context.announcement.preference(address))
                .collect(),
            peer_preferences: context
                .peer
                .iter()
                .map(|locator| context.peer.preference(locator.address()))
                .collect(),
            account: Arc::clone(&context.account),
            initiated: context.site.is_none(),
            created: context.created,
        }
    }
}
