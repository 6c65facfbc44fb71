//! What the kernel does by itself and costs about as much as a mapping, or saves it.

use socket2::Protocol;

use super::Stage;
use crate::network::{LINKS, Side};
use shimq_benches::error::BenchError;

/// Looks at each packet once in either direction, to no end.
pub(super) fn set_up_idle_rules(stage: Stage<'_>) -> Result<Stage<'_>, BenchError> {
    let text = "table ip6 idle {
        chain output {
            type filter hook output priority mangle;
            ip6 saddr :: drop
        }
        chain input {
            type filter hook input priority mangle;
            ip6 nexthdr 140 drop
        }
    }\n";
    for side in Side::BOTH {
        stage.network.nft(side, text)?;
    }
    Ok(stage)
}

/// Exchanges ULIDs for locators on the way out, and the reverse on the way in. The transport
/// checksum follows the addresses, there and back.
pub(super) fn set_up_nft(stage: Stage<'_>) -> Result<Stage<'_>, BenchError> {
    for side in Side::BOTH {
        let [ulid, locator] = [0, 1].map(|link| side.address(link));
        let [peer_ulid, peer_locator] = [0, 1].map(|link| side.other().address(link));
        let text = format!(
            "table ip6 exchange {{
                chain output {{
                    type route hook output priority mangle;
                    ip6 saddr {ulid} ip6 daddr {peer_ulid} \
                        ip6 saddr set {locator} ip6 daddr set {peer_locator}
                }}
                chain prerouting {{
                    type filter hook prerouting priority -450;
                    ip6 saddr {peer_locator} ip6 daddr {locator} \
                        ip6 saddr set {peer_ulid} ip6 daddr set {ulid}
                }}
            }}\n"
        );
        stage.network.nft(side, &text)?;
    }
    Ok(stage)
}

/// Inserts a segment routing header of 40 octets behind the IPv6 header, by way of a second address
/// of the peer, which takes the header's place as destination there.
pub(super) fn set_up_srv6(stage: Stage<'_>) -> Result<Stage<'_>, BenchError> {
    let link = LINKS[0];
    let segment = |side: Side| {
        let mut address = side.address(0).segments();
        address[7] += 0x100;
        std::net::Ipv6Addr::from(address)
    };
    for side in Side::BOTH {
        for scope in ["all", link] {
            let key = format!("ipv6/conf/{scope}/seg6_enabled");
            stage.host(side).set_sysctl(&key, "1")?;
        }
        let address = format!("address add {}/64 dev {link}", segment(side));
        stage.network.ip(side, &[address])?;
    }
    for side in Side::BOTH {
        let peer = side.other();
        let route = format!(
            "route add {}/128 encap seg6 mode inline segs {} dev {link} src {}",
            peer.address(0),
            segment(peer),
            side.address(0),
        );
        stage.network.ip(side, &[route])?;
    }
    Ok(stage)
}

/// Lets TCP's successor use both links: host A, who connects, learns of host B's second address.
pub(super) fn set_up_mptcp(mut stage: Stage<'_>) -> Result<Stage<'_>, BenchError> {
    for side in Side::BOTH {
        stage.host(side).set_sysctl("mptcp/enabled", "1")?;
        let limits = [
            "mptcp",
            "limits",
            "set",
            "subflow",
            "1",
            "add_addr_accepted",
            "1",
        ];
        stage.host(side).run("ip", limits)?;
    }
    let announced = Side::B.address(1).to_string();
    let endpoint = [
        "mptcp", "endpoint", "add", &announced, "dev", LINKS[1], "signal",
    ];
    stage.host(Side::B).run("ip", endpoint)?;
    stage.stream = Protocol::MPTCP;
    Ok(stage)
}
