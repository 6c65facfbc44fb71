//! Elements of sets: what the daemon adds and removes while it runs.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

use super::design::SetName;
use super::transaction::Transaction;
use super::{Prefix, RulesError, text, wire};
use crate::netlink::{Builder, Socket};

/// A local and a peer address: two ULIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressPair {
    /// This host's.
    pub local: Ipv6Addr,
    /// The other host's.
    pub peer: Ipv6Addr,
}

/// A change of the sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Packets from this address may get a context.
    AddIdentity(Ipv6Addr),
    /// They no longer may.
    RemoveIdentity(Ipv6Addr),
    /// Packets of this pair go to a rewriting queue.
    Map(AddressPair),
    /// They no longer do.
    Unmap(AddressPair),
    /// Packets of this pair with this mark go to a rewriting queue.
    Fork(u32, AddressPair),
    /// They no longer do.
    Unfork(u32, AddressPair),
    /// Packets of this pair and direction are counted from 0, and tell by coming and by not coming whether the
    /// peer is alive: of what is sent into its silence some goes to a keeping queue. What is sent by a mapped
    /// pair must not be counted: it would pass unmapped. Does nothing where every packet is queued.
    Count(AddressPair, Direction),
    /// Packets of this pair and direction, which were not counted until now, are counted from 0 and nothing else.
    CountOnly(AddressPair, Direction),
    /// They no longer are.
    StopCounting(AddressPair, Direction),
    /// Packets of this pair ask for nothing for so long. Does not prolong an earlier time that still runs, and
    /// does nothing where the ruleset asks for nothing.
    Decline(AddressPair, Duration),
}

/// Which way packets of a context go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Sent by this host.
    Out,
    /// Received by it.
    In,
}

impl Direction {
    /// The set with the counters.
    pub(super) fn set(self) -> SetName {
        match self {
            Self::Out => SetName::ContextsOut,
            Self::In => SetName::ContextsIn,
        }
    }
}

/// One element of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Address(Ipv6Addr),
    Prefix(Prefix),
    Port(u16),
    Mark(u32),
    User(u32),
    Pair(AddressPair),
    MarkedPair(u32, AddressPair),
    Temporary(AddressPair, Duration),
    /// A pair whose packets are accepted by the rule that finds it.
    Accepted(AddressPair),
    /// A pair with which the rule that finds it goes on.
    Continued(AddressPair),
}

impl Element {
    /// The prefixes as elements of an interval set, which must not overlap.
    pub(super) fn prefixes(prefixes: &[Prefix]) -> Vec<Self> {
        let disjoint = Prefix::disjoint(prefixes);
        disjoint.into_iter().map(Self::Prefix).collect()
    }

    /// The values as elements, each once and in order.
    pub(super) fn all<T: Copy + Ord>(values: &[T], element: fn(T) -> Self) -> Vec<Self> {
        let values: BTreeSet<T> = values.iter().copied().collect();
        values.into_iter().map(element).collect()
    }

    /// Appends the element to NFTA_SET_ELEM_LIST_ELEMENTS; a prefix becomes a first address and an end.
    pub(super) fn write(&self, list: &mut Builder<'_>) {
        match self {
            Self::Address(address) => write_element(list, &address.octets(), |_| {}),
            Self::Prefix(prefix) => {
                write_element(list, &prefix.first().octets(), |_| {});
                if let Some(end) = prefix.end() {
                    write_element(list, &end.octets(), |element| {
                        let flags = wire::NFT_SET_ELEM_INTERVAL_END.to_be_bytes();
                        element.attr(wire::NFTA_SET_ELEM_FLAGS, &flags);
                    });
                }
            }
            Self::Port(port) => write_element(list, &port.to_be_bytes(), |_| {}),
            // As the registers have them, unlike what is read from a header.
            Self::Mark(number) | Self::User(number) => {
                write_element(list, &number.to_ne_bytes(), |_| {});
            }
            Self::Pair(pair) => write_element(list, &pair.key(), |_| {}),
            Self::MarkedPair(mark, pair) => {
                let key = [&mark.to_ne_bytes()[..], &pair.key()].concat();
                write_element(list, &key, |_| {});
            }
            Self::Temporary(pair, age) => write_element(list, &pair.key(), |element| {
                // 0 would mean for ever.
                let milliseconds = age.as_millis().clamp(1, MAX_MILLISECONDS) as u64;
                element.attr(wire::NFTA_SET_ELEM_TIMEOUT, &milliseconds.to_be_bytes());
            }),
            // Neither names a chain: for such elements the kernel would look through the whole map at each change.
            Self::Accepted(pair) => write_verdict(list, *pair, wire::NF_ACCEPT),
            Self::Continued(pair) => write_verdict(list, *pair, wire::NFT_CONTINUE),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Prefix(prefix) => write!(f, "{prefix}"),
            Self::Port(port) => write!(f, "{port}"),
            Self::Mark(mark) => write!(f, "{mark:#010x}"),
            Self::User(uid) => write!(f, "{uid}"),
            Self::Pair(pair) => write!(f, "{} . {}", pair.local, pair.peer),
            Self::MarkedPair(mark, pair) => {
                write!(f, "{mark:#010x} . {} . {}", pair.local, pair.peer)
            }
            Self::Temporary(pair, age) => {
                let age = text::duration(*age);
                write!(f, "{} . {} timeout {age}", pair.local, pair.peer)
            }
            Self::Accepted(pair) => write!(f, "{} . {} : accept", pair.local, pair.peer),
            Self::Continued(pair) => write!(f, "{} . {} : continue", pair.local, pair.peer),
        }
    }
}

fn write_element(list: &mut Builder<'_>, key: &[u8], fill: impl FnOnce(&mut Builder<'_>)) {
    list.nest(wire::NFTA_LIST_ELEM, |element| {
        element.nest(wire::NFTA_SET_ELEM_KEY, |data| {
            data.attr(wire::NFTA_DATA_VALUE, key);
        });
        fill(element);
    });
}

fn write_verdict(list: &mut Builder<'_>, pair: AddressPair, code: u32) {
    write_element(list, &pair.key(), |element| {
        element.nest(wire::NFTA_SET_ELEM_DATA, |data| {
            data.nest(wire::NFTA_DATA_VERDICT, |verdict| {
                verdict.attr(wire::NFTA_VERDICT_CODE, &code.to_be_bytes());
            });
        });
    });
}

impl AddressPair {
    /// The pair as the key of a set.
    fn key(self) -> [u8; 32] {
        let mut key = [0; 32];
        key[..16].copy_from_slice(&self.local.octets());
        key[16..].copy_from_slice(&self.peer.octets());
        key
    }

    pub(super) fn from_key(key: &[u8]) -> Option<Self> {
        let (local, peer): (&[u8; 16], _) = key.split_first_chunk()?;
        let peer: [u8; 16] = peer.try_into().ok()?;
        Some(Self {
            local: Ipv6Addr::from(*local),
            peer: Ipv6Addr::from(peer),
        })
    }
}

impl Change {
    /// The set that changes, and the element that comes or goes.
    fn element(self) -> (SetName, Element) {
        match self {
            Self::AddIdentity(address) | Self::RemoveIdentity(address) => {
                (SetName::Identities, Element::Address(address))
            }
            Self::Map(pair) | Self::Unmap(pair) => (SetName::Mapped, Element::Pair(pair)),
            Self::Fork(mark, pair) | Self::Unfork(mark, pair) => {
                (SetName::Forks, Element::MarkedPair(mark, pair))
            }
            Self::Count(pair, direction) => (direction.set(), Element::Continued(pair)),
            Self::CountOnly(pair, direction) => (direction.set(), Element::Accepted(pair)),
            Self::StopCounting(pair, direction) => (direction.set(), Element::Pair(pair)),
            Self::Decline(pair, age) => (SetName::Declined, Element::Temporary(pair, age)),
        }
    }

    fn adds(self) -> bool {
        match self {
            Self::AddIdentity(_)
            | Self::Map(_)
            | Self::Fork(..)
            | Self::Count(..)
            | Self::CountOnly(..)
            | Self::Decline(..) => true,
            Self::RemoveIdentity(_)
            | Self::Unmap(_)
            | Self::Unfork(..)
            | Self::StopCounting(..) => false,
        }
    }
}

/// Elements that come to or go from one set with one message.
struct Step {
    adds: bool,
    set: SetName,
    elements: Vec<Element>,
}

impl Step {
    fn add_to(&self, transaction: &mut Transaction) {
        if self.adds {
            transaction.add_elements(self.set, &self.elements);
        } else {
            transaction.remove_elements(self.set, &self.elements);
        }
    }
}

/// The steps of `changes`, with one element each.
fn single_steps(changes: &[Change]) -> impl Iterator<Item = Step> {
    changes.iter().map(|change| {
        let (set, element) = change.element();
        Step {
            adds: change.adds(),
            set,
            elements: vec![element],
        }
    })
}

/// The steps of `changes`, as few as keep the order within each set.
fn steps(changes: &[Change]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for mut single in single_steps(changes) {
        match steps.iter_mut().rev().find(|step| step.set == single.set) {
            Some(last) if last.adds == single.adds => last.elements.append(&mut single.elements),
            _ => steps.push(single),
        }
    }
    steps
}

/// See [`Ruleset::apply`](super::Ruleset::apply).
pub(super) fn apply(socket: &Socket, buf: &mut [u8], changes: &[Change]) -> Result<(), RulesError> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut transaction = Transaction::new();
    for step in steps(changes) {
        step.add_to(&mut transaction);
    }
    match transaction.commit(socket, buf) {
        Err(RulesError::Refused { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => {}
        result => return result,
    }
    // An element to remove is not there, and the kernel does not say which of the elements of a message it is. A
    // message for each finds out; few of them at a time, since each is answered.
    for changes in changes.chunks(CHANGES_ONE_BY_ONE) {
        apply_one_by_one(socket, buf, changes)?;
    }
    Ok(())
}

/// Applies `changes` in one transaction without those that remove what is not there.
fn apply_one_by_one(socket: &Socket, buf: &mut [u8], changes: &[Change]) -> Result<(), RulesError> {
    let mut steps: Vec<_> = single_steps(changes).collect();
    while !steps.is_empty() {
        let mut transaction = Transaction::new();
        for step in &steps {
            step.add_to(&mut transaction);
        }
        let refusals = transaction.seal().send(socket, buf)?;
        if refusals.is_empty() {
            break;
        }
        let mut missing = BTreeSet::new();
        for refusal in refusals {
            if steps[refusal.index].adds || refusal.answer.errno != libc::ENOENT {
                return Err(refusal.into());
            }
            missing.insert(refusal.index);
        }
        let mut indices = 0..;
        steps.retain(|_| {
            indices
                .next()
                .is_some_and(|index| !missing.contains(&index))
        });
    }
    Ok(())
}

/// Changes in a transaction that finds out which elements are missing.
const CHANGES_ONE_BY_ONE: usize = 64;
/// The kernel keeps times in jiffies; this is some 50 days, in the range of all its tick rates.
const MAX_MILLISECONDS: u128 = u32::MAX as u128;

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(last: u16) -> AddressPair {
        AddressPair {
            local: "2001:db8::1".parse().unwrap(),
            peer: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, last),
        }
    }

    #[test]
    fn many_contexts_take_one_step_for_each_set() {
        let changes: Vec<_> = (0..100)
            .flat_map(|last| {
                [Direction::Out, Direction::In]
                    .map(|direction| Change::Count(pair(last), direction))
            })
            .collect();
        let steps = steps(&changes);
        let sets: Vec<_> = steps
            .iter()
            .map(|step| (step.set, step.elements.len()))
            .collect();
        assert_eq!(
            sets,
            [(SetName::ContextsOut, 100), (SetName::ContextsIn, 100)]
        );
    }

    #[test]
    fn a_pair_that_comes_goes_and_comes_keeps_this_order() {
        let changes = [
            Change::Map(pair(1)),
            Change::Unmap(pair(1)),
            Change::Map(pair(1)),
        ];
        let adds: Vec<_> = steps(&changes).iter().map(|step| step.adds).collect();
        assert_eq!(adds, [true, false, true]);
    }
}
