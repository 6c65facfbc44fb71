//! What a ruleset is asked to do.

use std::fmt;
use std::net::Ipv6Addr;
use std::ops::Range;
use std::time::Duration;

use super::RulesError;

/// Which packets of unmapped flows reach userspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only those that say that a flow is worth a context; the kernel counts the others.
    Queue,
    /// All packets between this host's identities and anybody, in both directions.
    QueueAll,
}

/// Where arriving packets are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputHook {
    /// After routing and connection tracking: for hosts without a stateful firewall.
    Input,
    /// Before defragmentation and connection tracking (priority -450), which then see the packets of the ULIDs.
    Prerouting,
}

/// Which pairs of addresses without a context an observation queue hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Those that the kernel finds worth one: they have sent `octets`, or still send at this age. One packet
    /// of such a pair is shown, and after a second another.
    Counted {
        /// Octets that a pair may send unnoticed, at least 1.
        octets: u64,
        /// Age at which a pair that still sends is shown in any case.
        age: Duration,
    },
    /// All of them, by every packet that they send and receive: somebody else decides.
    Everything,
    /// None: contexts are the peers' wish alone.
    Never,
}

/// What a ruleset is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesetConfig {
    /// Which packets of unmapped flows reach userspace.
    pub mode: Mode,
    /// Where arriving packets are met.
    pub input_hook: InputHook,
    /// SO_MARK of the daemon's own packets, which no rule may queue.
    pub own_mark: u32,
    /// Numbers of the queues whose packets are looked at and go on unchanged.
    pub observe: Range<u16>,
    /// Numbers of the queues whose packets are rewritten.
    pub rewrite: Range<u16>,
    /// Numbers of the queues whose packets are kept whole and go on unchanged.
    pub keep: Range<u16>,
    /// Which pairs without a context an observation queue hears of.
    pub trigger: Trigger,
    /// Silence of a context's peer after which some of what is sent to it goes to a keeping queue.
    pub suspicious_silence: Duration,
    /// Whether what a rewriting queue is to give locators passes with its ULIDs while nobody serves the queue, instead of
    /// being dropped. Of other packets there is no such choice.
    pub bypass: bool,
    /// What is left alone.
    pub excluded: Exclusions,
}

/// What is left alone: it leaves this host as if nobody looked, and never begins a context. What arrives tagged is
/// queued all the same, unless it comes from one of `peers`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exclusions {
    /// Peers, by their addresses.
    pub peers: Vec<Prefix>,
    /// TCP and UDP ports, at either end.
    pub ports: Vec<u16>,
    /// SO_MARK of this host's packets, with all its bits. What arrives tells of none.
    pub marks: Vec<u32>,
    /// Users (uid) whose sockets send, as the user namespace that the network namespace belongs to numbers them. What
    /// arrives tells of none.
    pub users: Vec<u32>,
}

impl Default for RulesetConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Queue,
            input_hook: InputHook::Input,
            own_mark: 0x5533,
            observe: 5533..5534,
            rewrite: 5534..5535,
            keep: 5535..5536,
            trigger: Trigger::Counted {
                octets: 2048,
                age: Duration::from_secs(60),
            },
            suspicious_silence: Duration::from_millis(60),
            bypass: true,
            excluded: Exclusions::default(),
        }
    }
}

impl RulesetConfig {
    /// Which pairs without a context are shown in this mode.
    pub(super) fn trigger(&self) -> Trigger {
        match self.mode {
            Mode::Queue => self.trigger,
            Mode::QueueAll => Trigger::Everything,
        }
    }

    /// Whether there are pairs about which nothing is to be asked for a while.
    pub(super) fn declines(&self) -> bool {
        self.mode == Mode::Queue && self.trigger != Trigger::Never
    }

    /// Refuses what no ruleset can do.
    pub(super) fn validate(&self) -> Result<(), RulesError> {
        let refuse = |why: &str| Err(RulesError::Config(why.to_owned()));
        let kinds = [&self.observe, &self.rewrite, &self.keep];
        for (index, numbers) in kinds.into_iter().enumerate() {
            if numbers.is_empty() {
                return refuse("a range of queue numbers is empty");
            }
            let overlaps =
                |other: &&Range<u16>| numbers.start < other.end && other.start < numbers.end;
            if kinds[..index].iter().any(overlaps) {
                return refuse("queues of different kinds share a number");
            }
        }
        if self.own_mark == 0 {
            return refuse("mark 0 is that of everybody's packets");
        }
        if self.excluded.marks.contains(&0) {
            return refuse("mark 0, that of everybody's packets, cannot be excluded");
        }
        if self.excluded.marks.contains(&self.own_mark) {
            return refuse("the daemon's own mark cannot be excluded");
        }
        if let Trigger::Counted { octets, age } = self.trigger {
            if octets == 0 || octets > i64::MAX as u64 {
                return refuse("the kernel counts from 1 to 2^63 - 1 octets");
            }
            if age < Duration::from_millis(100) {
                return refuse("a flow's age is told in steps of about 10 ms");
            }
        }
        let millis = self.suspicious_silence.as_millis();
        if millis == 0 || !millis.is_multiple_of(20) {
            return refuse("kernels count silence in ticks; 20 ms are whole ticks for all of them");
        }
        Ok(())
    }
}

/// An IPv6 prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    address: Ipv6Addr,
    len: u8,
}

impl Prefix {
    /// The prefix of `address` with `len` bits; the other bits are cleared. `None` if there are no so many.
    #[must_use]
    pub fn new(address: Ipv6Addr, len: u8) -> Option<Self> {
        let host_bits = 128_u32.checked_sub(len.into())?;
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        Some(Self {
            address: Ipv6Addr::from_bits(address.to_bits() & mask),
            len,
        })
    }

    /// The first address in the prefix.
    pub(super) fn first(self) -> Ipv6Addr {
        self.address
    }

    /// The first address behind the prefix; `None` if the prefix ends the address space.
    pub(super) fn end(self) -> Option<Ipv6Addr> {
        let size = 1_u128.checked_shl(128 - u32::from(self.len))?;
        let end = self.address.to_bits().checked_add(size)?;
        Some(Ipv6Addr::from_bits(end))
    }

    fn contains(self, other: Self) -> bool {
        self.len <= other.len && Self::new(other.address, self.len) == Some(self)
    }

    /// The prefixes in order, without those that another one contains: intervals in a set must not overlap.
    pub(super) fn disjoint(prefixes: &[Self]) -> Vec<Self> {
        let mut sorted = prefixes.to_vec();
        sorted.sort_unstable();
        sorted.dedup_by(|later, earlier| earlier.contains(*later));
        sorted
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (address, len) = text.split_once('/').unwrap();
        Prefix::new(address.parse().unwrap(), len.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_prefix_covers_from_its_first_address_up_to_its_end() {
        assert_eq!(
            prefix("2001:db8::1/32").first(),
            prefix("2001:db8::/32").first()
        );
        assert_eq!(prefix("2001:db8::/32").end(), "2001:db9::".parse().ok());
        assert_eq!(prefix("2001:db8::1/128").end(), "2001:db8::2".parse().ok());
        assert_eq!(prefix("ff00::/8").end(), None);
        assert_eq!(prefix("::/0").end(), None);
        assert_eq!(Prefix::new(Ipv6Addr::UNSPECIFIED, 129), None);
    }

    #[test]
    fn nested_prefixes_are_left_to_the_widest() {
        let given = [
            "2001:db8:1::/48",
            "2001:db8::/32",
            "2001:db8::/48",
            "2001:db9::/32",
        ];
        assert_eq!(
            Prefix::disjoint(&given.map(prefix)),
            ["2001:db8::/32", "2001:db9::/32"].map(prefix)
        );
    }

    #[test]
    fn no_mark_and_the_daemons_own_cannot_be_excluded() {
        let mut config = RulesetConfig::default();
        config.excluded.marks = vec![1, u32::MAX];
        assert!(config.validate().is_ok());
        for mark in [0, config.own_mark] {
            config.excluded.marks = vec![1, mark];
            assert!(matches!(config.validate(), Err(RulesError::Config(_))));
        }
    }

    #[test]
    fn queue_ranges_must_be_apart() {
        let mut config = RulesetConfig::default();
        assert!(config.validate().is_ok());
        config.observe = 5533..5535;
        assert!(matches!(config.validate(), Err(RulesError::Config(_))));
        config.observe = 5533..5533;
        assert!(matches!(config.validate(), Err(RulesError::Config(_))));
        config.observe = 5533..5534;
        config.keep = 5534..5536;
        assert!(matches!(config.validate(), Err(RulesError::Config(_))));
    }
}
