//! Router advertisements (RFC 4861 §4.2), as a provider's router sends them.
//!
//! Decides nothing about what hosts make of them, and repeats nothing: each is sent once, when the
//! caller says so, to all nodes on a link.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::sockopt::{set_ipv6_multicast_hops, set_ipv6_multicast_if};
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with,
};

use crate::{Namespace, Prefix, TestbedError};

/// What a router says of itself and of the prefixes on a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouterAdvertisement {
    /// Seconds for which hosts may use it as a default router; 0 if they may not.
    pub router_lifetime: u16,
    /// On-link prefixes from which hosts may form addresses.
    pub prefixes: Vec<AdvertisedPrefix>,
}

/// One Prefix Information option (RFC 4861 §4.6.2), both of its flags set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvertisedPrefix {
    /// The prefix.
    pub prefix: Prefix,
    /// Seconds for which addresses are valid; all ones for ever.
    pub valid: u32,
    /// Seconds for which new connections may have them; all ones for ever.
    pub preferred: u32,
}

impl RouterAdvertisement {
    /// Sends it from `router` to all nodes on the link of this name.
    ///
    /// # Errors
    ///
    /// [`TestbedError::Io`] if there is no such link, or no link-local address on it yet.
    pub fn send(&self, router: &Namespace, link: &str) -> Result<(), TestbedError> {
        router
            .enter(|| self.send_here(link))?
            .map_err(TestbedError::io(format!("advertise a prefix on {link}")))
    }

    /// The same from the network namespace of the calling thread.
    ///
    /// Tries again for a while: kernels (6.18) refuse now and then, for seconds on end, to send to all
    /// nodes, and say EINVAL.
    pub fn send_here(&self, link: &str) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_send(link) {
                Err(Errno::INVAL) if Instant::now() < deadline => thread::sleep(PAUSE),
                sent => return Ok(sent?),
            }
        }
    }

    fn try_send(&self, link: &str) -> rustix::io::Result<()> {
        let socket = socket_with(
            AddressFamily::INET6,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(ipproto::ICMPV6),
        )?;
        let interface = name_to_index(&socket, link)?;
        // RFC 4861 §6.1.2: anything less came from beyond the link, and is ignored.
        set_ipv6_multicast_hops(&socket, 255)?;
        set_ipv6_multicast_if(&socket, interface)?;
        let to = SocketAddrV6::new(ALL_NODES, 0, 0, interface);
        // The kernel fills in the checksum of what an ICMPv6 socket sends.
        sendto(&socket, &self.octets(), SendFlags::empty(), &to)?;
        Ok(())
    }

    fn octets(&self) -> Vec<u8> {
        let mut octets = vec![0; HEADER];
        octets[0] = ROUTER_ADVERTISEMENT;
        octets[4] = HOP_LIMIT;
        octets[6..8].copy_from_slice(&self.router_lifetime.to_be_bytes());
        for advertised in &self.prefixes {
            octets.extend([
                PREFIX_INFORMATION,
                PREFIX_INFORMATION_UNITS,
                advertised.prefix.length,
                ON_LINK | AUTONOMOUS,
            ]);
            octets.extend(advertised.valid.to_be_bytes());
            octets.extend(advertised.preferred.to_be_bytes());
            octets.extend([0; 4]);
            octets.extend(advertised.prefix.address.octets());
        }
        octets
    }
}

/// How long sending is tried, and how often.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(20);

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Octets before the options: type to Retrans Timer.
const HEADER: usize = 16;
const ROUTER_ADVERTISEMENT: u8 = 134;
const HOP_LIMIT: u8 = 64;

const PREFIX_INFORMATION: u8 = 3;
/// Of eight octets each.
const PREFIX_INFORMATION_UNITS: u8 = 4;
const ON_LINK: u8 = 0x80;
const AUTONOMOUS: u8 = 0x40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertisement_is_laid_out_as_rfc_4861_draws_it() {
        let advertisement = RouterAdvertisement {
            router_lifetime: 0x0102,
            prefixes: vec![AdvertisedPrefix {
                prefix: crate::A[0].prefix,
                valid: 0x0304_0506,
                preferred: 0x0708_090a,
            }],
        };
        let octets = advertisement.octets();
        assert_eq!(octets[..8], [134, 0, 0, 0, 64, 0, 1, 2]);
        assert_eq!(
            octets[8..16],
            [0; 8],
            "no reachable time, no retransmission timer"
        );
        assert_eq!(
            octets[16..32],
            [3, 4, 64, 0xc0, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0, 0, 0]
        );
        assert_eq!(octets[32..], crate::A[0].prefix.address.octets());
    }
}
