//! Subnet prefixes as users write them.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use shim6_cga::SubnetPrefix;

/// The 64 bits before an interface identifier, written `2001:db8:1:2::/64` or without the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix(pub(super) SubnetPrefix);

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, length) = text.split_once('/').unwrap_or((text, "64"));
        if length != "64" {
            return Err(
                "an address is formed in a prefix of 64 bits, as in 2001:db8:1:2::/64".into(),
            );
        }
        let address: Ipv6Addr = address
            .parse()
            .map_err(|_| "not an IPv6 prefix such as 2001:db8:1:2::/64")?;
        let bits = address.to_bits();
        if bits as u64 != 0 {
            return Err("bits after the first 64 are set; the prefix ends with ::".into());
        }
        Ok(Self(((bits >> 64) as u64).to_be_bytes()))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from(u64::from_be_bytes(self.0)) << 64;
        write!(f, "{}/64", Ipv6Addr::from_bits(bits))
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_read_with_and_without_its_length_and_written_with_it() {
        for text in ["2001:db8:1:2::/64", "2001:db8:1:2::"] {
            let prefix: Prefix = text.parse().unwrap();
            assert_eq!(prefix.0, [0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 2]);
            assert_eq!(prefix.to_string(), "2001:db8:1:2::/64");
        }
    }

    #[test]
    fn what_is_no_prefix_of_64_bits_is_refused() {
        for text in [
            "2001:db8::/48",
            "2001:db8::1/64",
            "2001:db8::1",
            "192.0.2.0/64",
            "",
            "/64",
        ] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
