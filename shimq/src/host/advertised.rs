//! Prefixes that routers advertise: where the addresses of ours come from in place of the kernel's.
//!
//! Decides how long addresses in them live (RFC 4862 §5.5.3), when routers are asked, and that the
//! kernel forms no addresses of its own meanwhile ([`super::autoconf`]). The kernel goes on receiving
//! the advertisements, checks them (RFC 4861 §6.1.2), adds their routes, and tells of each prefix.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::{Duration, Instant};

use netlink_packet_route::AddressFamily;
use netlink_packet_route::prefix::{PrefixAttribute, PrefixMessage};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::autoconf::Autoconf;
use super::lifetime::{Lifetime, Lifetimes};
use super::prefixes::{PREFIX_LEN, PrefixState, can_have_locators};
use super::watch::{Interface, News, Snapshot, prefix_of};
use super::{InterfaceChoice, SubnetPrefix};

/// No unsigned advertisement shortens a lifetime below this (RFC 4862 §5.5.3 e).
const TWO_HOURS: Duration = Duration::from_secs(7200);

/// A prefix that is preferred for no longer than this is worth no new address.
const SHORTEST: Duration = Duration::from_secs(3);

/// How often routers are asked that do not answer (`MAX_RTR_SOLICITATIONS`, RFC 4861 §10).
const SOLICITATIONS_MAX: u8 = 3;

/// How long they have to answer (`RTR_SOLICITATION_INTERVAL`, RFC 4861 §10).
const SOLICITATION_INTERVAL: Duration = Duration::from_secs(4);

/// Hosts may form addresses: the flag A of the Prefix Information option (RFC 4861 §4.6.2) as recent
/// kernels tell it, octet for octet, or as earlier ones did (`IF_PREFIX_AUTOCONF`). The first never
/// set a bit that means this to the others: theirs is a reserved one of the option.
const AUTONOMOUS: u8 = 0x40 | 0x02;

/// One Prefix Information option of an advertisement (RFC 4861 §4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AdvertisedPrefix {
    /// Index of the interface that it arrived on.
    interface: u32,
    prefix: SubnetPrefix,
    /// Valid Lifetime, in seconds; all ones for ever.
    valid: u32,
    /// Preferred Lifetime, in seconds; all ones for ever.
    preferred: u32,
}

impl AdvertisedPrefix {
    /// Reads a message; `None` if no address of ours can be formed from the prefix.
    pub(super) fn parse(message: &PrefixMessage) -> Option<Self> {
        let header = &message.header;
        if header.prefix_family != u8::from(AddressFamily::Inet6)
            || header.flags & AUTONOMOUS == 0
            || header.prefix_len != PREFIX_LEN
        {
            return None;
        }
        let mut prefix = None;
        let mut lifetimes = None;
        for attribute in &message.attributes {
            if let PrefixAttribute::Address(address) = attribute {
                prefix = Some(*address).filter(|&address| can_have_locators(address));
            } else if let PrefixAttribute::CacheInfo(info) = attribute {
                lifetimes = Some((info.valid_time, info.preferred_time));
            }
        }
        let (valid, preferred) = lifetimes?;
        Some(Self {
            interface: u32::try_from(header.ifindex).ok()?,
            prefix: prefix_of(prefix?),
            valid,
            preferred,
        })
        // RFC 4862 §5.5.3 c.
        .filter(|advertised| advertised.preferred <= advertised.valid)
    }

    /// What becomes of an address that has the lifetimes `known`, or of a new one.
    ///
    /// Source: RFC 4862 §5.5.3, d and e.
    fn lifetimes(&self, known: Option<Lifetimes>, now: Instant) -> Lifetimes {
        let valid = Duration::from_secs(self.valid.into());
        let offered = Lifetimes {
            valid: Lifetime::from_seconds(self.valid, now),
            preferred: Lifetime::from_seconds(self.preferred, now),
        };
        let Some(known) = known else {
            return offered;
        };
        let shortest = Lifetime::Until(now + TWO_HOURS);
        let valid = if valid > TWO_HOURS || offered.valid > known.valid {
            offered.valid
        } else {
            known.valid.min(shortest)
        };
        Lifetimes { valid, ..offered }
    }
}

/// The prefixes that routers advertise.
pub(super) struct Advertised {
    /// By interface index and prefix, with the lifetimes that addresses have.
    prefixes: BTreeMap<(u32, SubnetPrefix), Lifetimes>,
    autoconf: Autoconf,
    /// Interfaces, by index, on which routers have been asked.
    asked: BTreeSet<u32>,
    /// Those that did not answer, with how often they will be asked again.
    unanswered: BTreeMap<u32, u8>,
    /// When that is.
    due: Option<Instant>,
}

impl Advertised {
    /// Knows no prefix yet.
    pub(super) fn new(autoconf: Autoconf) -> Self {
        Self {
            prefixes: BTreeMap::new(),
            autoconf,
            asked: BTreeSet::new(),
            unanswered: BTreeMap::new(),
            due: None,
        }
    }

    /// Takes over the lifetimes of an address that an earlier run of the daemon left.
    pub(super) fn adopt(&mut self, place: (u32, SubnetPrefix), lifetimes: Lifetimes) {
        self.prefixes.entry(place).or_insert(lifetimes);
    }

    /// Takes in what was advertised, and switches off what the kernel would make of it.
    pub(super) fn handle(
        &mut self,
        news: &News,
        snapshot: &Snapshot,
        choice: &InterfaceChoice,
        now: Instant,
    ) {
        self.prefixes.retain(|(interface, _), lifetimes| {
            snapshot.interfaces.contains_key(interface) && lifetimes.valid > Lifetime::Until(now)
        });
        for (&index, interface) in &snapshot.interfaces {
            if !is_chosen(interface, choice) {
                continue;
            }
            self.autoconf.switch_off(index, &interface.name);
            // What was advertised may be lost as well, and the kernel does not keep it.
            if interface.up && (self.asked.insert(index) || news.lost) {
                self.unanswered.insert(index, SOLICITATIONS_MAX);
                self.due = Some(now);
            }
        }
        for advertised in &news.prefixes {
            self.unanswered.remove(&advertised.interface);
            let place = (advertised.interface, advertised.prefix);
            let known = self.prefixes.get(&place).copied();
            if known.is_some() || advertised.valid > 0 {
                self.prefixes
                    .insert(place, advertised.lifetimes(known, now));
            }
        }
        self.solicit(now);
    }

    /// The prefixes of the chosen interfaces, by interface index.
    pub(super) fn prefixes(
        &self,
        snapshot: &Snapshot,
        choice: &InterfaceChoice,
        now: Instant,
    ) -> BTreeMap<(u32, SubnetPrefix), PrefixState> {
        let worth_it = Lifetime::Until(now + SHORTEST);
        let known = self.prefixes.iter().filter_map(|(&place, &lifetimes)| {
            let interface = snapshot.interfaces.get(&place.0)?;
            let state = PrefixState {
                lifetimes,
                settled: interface.up && lifetimes.preferred > worth_it,
            };
            is_chosen(interface, choice).then_some((place, state))
        });
        known.collect()
    }

    /// Forgets what was advertised on links that went down and took the address along: they may
    /// come back elsewhere, and then routers advertise again.
    pub(super) fn forget(&mut self, place: (u32, SubnetPrefix)) {
        self.prefixes.remove(&place);
    }

    /// When [`Self::handle`] wants to be called again in any case.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Asks routers, if that is due.
    fn solicit(&mut self, now: Instant) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        for (&interface, left) in &mut self.unanswered {
            *left -= 1;
            if let Err(error) = solicit(interface) {
                // No link-local address yet, perhaps: there is a next time.
                tracing::debug!(interface, %error, "cannot ask routers for prefixes");
            }
        }
        self.unanswered.retain(|_, left| *left > 0);
        self.due = (!self.unanswered.is_empty()).then_some(now + SOLICITATION_INTERVAL);
    }
}

fn is_chosen(interface: &Interface, choice: &InterfaceChoice) -> bool {
    !interface.loopback && choice.allows(&interface.name)
}

/// Sends a Router Solicitation (RFC 4861 §4.1); the kernel fills in its checksum.
fn solicit(interface: u32) -> std::io::Result<()> {
    const MESSAGE: [u8; 8] = [133, 0, 0, 0, 0, 0, 0, 0];
    const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.set_nonblocking(true)?;
    socket.set_multicast_hops_v6(255)?;
    let routers = SockAddr::from(SocketAddrV6::new(ALL_ROUTERS, 0, 0, interface));
    socket.send_to(&MESSAGE, &routers).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u32 = 3600;

    /// The seconds that an address has left, of `remaining`, after an advertisement of `valid` and
    /// `preferred` seconds.
    fn renewed(remaining: u32, valid: u32, preferred: u32) -> (u32, u32) {
        let now = Instant::now();
        let advertised = AdvertisedPrefix {
            interface: 1,
            prefix: [0; 8],
            valid,
            preferred,
        };
        let known = Lifetimes {
            valid: Lifetime::from_seconds(remaining, now),
            preferred: Lifetime::from_seconds(remaining.min(100), now),
        };
        let lifetimes = advertised.lifetimes(Some(known), now);
        (
            lifetimes.valid.seconds(now),
            lifetimes.preferred.seconds(now),
        )
    }

    #[test]
    fn an_advertisement_lengthens_a_lifetime_at_once() {
        assert_eq!(renewed(10, 60, 30), (60, 30));
        assert_eq!(renewed(10, u32::MAX, u32::MAX), (u32::MAX, u32::MAX));
        assert_eq!(renewed(9 * HOUR, 3 * HOUR, HOUR), (3 * HOUR, HOUR));
    }

    #[test]
    fn an_advertisement_shortens_a_valid_lifetime_to_two_hours_at_the_least() {
        assert_eq!(renewed(9 * HOUR, 0, 0), (2 * HOUR, 0));
        assert_eq!(renewed(u32::MAX, 60, 60), (2 * HOUR, 60));
        assert_eq!(renewed(HOUR, 60, 60), (HOUR, 60), "short already");
    }

    #[test]
    fn a_prefix_counts_if_hosts_may_form_addresses_of_64_bits_in_it() {
        let message = |flags, prefix_len, prefix: &str, [preferred, valid]: [u32; 2]| {
            let mut message = PrefixMessage::default();
            message.header.prefix_family = u8::from(AddressFamily::Inet6);
            message.header.ifindex = 7;
            message.header.flags = flags;
            message.header.prefix_len = prefix_len;
            let mut info = netlink_packet_route::prefix::CacheInfo::default();
            (info.preferred_time, info.valid_time) = (preferred, valid);
            message.attributes = vec![
                PrefixAttribute::Address(prefix.parse().unwrap()),
                PrefixAttribute::CacheInfo(info),
            ];
            AdvertisedPrefix::parse(&message)
        };
        // Linux 6.1, and 6.18.
        for flags in [0x03, 0xc0] {
            let good = message(flags, 64, "2001:db8:1::", [10, 20]).unwrap();
            assert_eq!((good.interface, good.valid, good.preferred), (7, 20, 10));
        }
        for flags in [0x01, 0x80] {
            assert_eq!(message(flags, 64, "2001:db8:1::", [10, 20]), None, "no A");
        }
        assert_eq!(message(3, 56, "2001:db8:1::", [10, 20]), None);
        assert_eq!(message(3, 64, "fe80::", [10, 20]), None);
        assert_eq!(message(3, 64, "2001:db8:1::", [30, 20]), None, "nonsense");
    }
}
