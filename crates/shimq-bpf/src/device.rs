//! The device pair: one end segments and merges for the stack, the other carries single packets.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use rustix::io::Errno;

use crate::BpfError;
use crate::ethtool::Ethtool;
use crate::netlink::Netlink;

/// The MAC address of shim0, locally administered. By it a later run knows the pair as its own.
pub(crate) const SHIM0_MAC: [u8; 6] = [0x02, 0x53, 0x48, 0x49, 0x4d, 0x30];

/// The MAC address of shim1; nobody asks for it, since shim0 resolves no neighbours.
const SHIM1_MAC: [u8; 6] = [0x02, 0x53, 0x48, 0x49, 0x4d, 0x31];

/// The MAC addresses of the pair, by which programs that follow the host's interfaces know that
/// these are none of the host's own.
pub const PAIR_MACS: [[u8; 6]; 2] = [SHIM0_MAC, SHIM1_MAC];

/// Octets of the largest packet: routes say what fits the path, the pair fits all.
const MTU: u32 = 65_535;

/// The two ends of the veth pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    /// Index of the end that the stack sees.
    pub(crate) shim0: u32,
    /// Index of the end that the programs see.
    pub(crate) shim1: u32,
}

impl Pair {
    /// Makes the pair under these names.
    pub(crate) fn create(netlink: &mut Netlink, names: &[String; 2]) -> Result<Self, BpfError> {
        let [stack_end, program_end] = names;
        let mut message = end(stack_end, SHIM0_MAC);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(end(program_end, SHIM1_MAC)))),
        ]));
        let created = netlink.request(
            "make the device pair",
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
        );
        match created {
            Err(BpfError::Netlink { doing, source }) => {
                return Err(match Errno::from_io_error(&source) {
                    Some(Errno::EXIST) => BpfError::NameTaken {
                        name: program_end.clone(),
                    },
                    Some(Errno::OPNOTSUPP) => BpfError::Unsupported {
                        doing,
                        source: source.into(),
                    },
                    _ => BpfError::Netlink { doing, source },
                });
            }
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        let missing = || BpfError::netlink("find the device pair", Errno::NODEV.into());
        let pair = Self {
            shim0: find(netlink, stack_end)?.ok_or_else(missing)?.header.index,
            shim1: find(netlink, program_end)?
                .ok_or_else(missing)?
                .header
                .index,
        };
        if let Err(error) = pair.configure(netlink) {
            // What was tried is told; that the clean-up fails as well would not help anyone.
            let _ = pair.remove(netlink);
            return Err(error);
        }
        Ok(pair)
    }

    fn configure(self, netlink: &mut Netlink) -> Result<(), BpfError> {
        let mut ethtool = Ethtool::open()?;
        ethtool.switch(self.shim0, shim0_feature)?;
        ethtool.switch(self.shim1, shim1_feature)?;
        for index in [self.shim0, self.shim1] {
            // No neighbours, no groups, no link-local address: nothing comes to life by itself.
            let mut message = LinkMessage::default();
            message.header.index = index;
            message.header.flags = LinkFlags::Up | LinkFlags::Noarp;
            message.header.change_mask = LinkFlags::Up | LinkFlags::Noarp | LinkFlags::Multicast;
            message.attributes = vec![LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(
                vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)],
            )])];
            let request = RouteNetlinkMessage::SetLink(message);
            netlink.request("bring the device pair up", request, 0)?;
        }
        Ok(())
    }

    /// Makes sure that packets which leave by `interface` have right checksums.
    ///
    /// The kernel leaves sums to the device, or does them at the last moment; either works where the
    /// place of the sum is given. Devices that look for TCP and UDP themselves find neither behind
    /// header 140: from the first of those on, shim0 does the sums.
    pub(crate) fn fit_checksums(self, interface: u32) -> Result<(), BpfError> {
        let mut ethtool = Ethtool::open()?;
        let features = ethtool.features(interface)?;
        if looks_for_transport(&features.active) {
            let is_checksum = |name: &str| name.starts_with("tx-checksum-");
            ethtool.switch(self.shim0, |name| is_checksum(name).then_some(false))?;
        }
        Ok(())
    }

    /// Removes both ends, and with them every route and address on them.
    pub(crate) fn remove(self, netlink: &mut Netlink) -> Result<(), BpfError> {
        let mut message = LinkMessage::default();
        message.header.index = self.shim0;
        netlink.remove(
            "remove the device pair",
            RouteNetlinkMessage::DelLink(message),
        )
    }
}

fn end(name: &str, mac: [u8; 6]) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(mac.into()),
        LinkAttribute::Mtu(MTU),
    ];
    message
}

/// Removes a pair that a killed process left; true if there was one.
pub(crate) fn remove_left_over(
    netlink: &mut Netlink,
    names: &[String; 2],
) -> Result<bool, BpfError> {
    let mut found = false;
    for (name, mac) in names.iter().zip([SHIM0_MAC, SHIM1_MAC]) {
        let Some(mut link) = find(netlink, name)? else {
            continue;
        };
        if !link
            .attributes
            .contains(&LinkAttribute::Address(mac.into()))
        {
            return Err(BpfError::NameTaken { name: name.clone() });
        }
        link.attributes.clear();
        netlink.remove(
            "remove a device pair that was left",
            RouteNetlinkMessage::DelLink(link),
        )?;
        found = true;
    }
    Ok(found)
}

/// The device of this name, if there is one.
fn find(netlink: &mut Netlink, name: &str) -> Result<Option<LinkMessage>, BpfError> {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
    get(netlink, message)
}

/// The device that `message` asks for, if there is one.
pub(crate) fn get(
    netlink: &mut Netlink,
    message: LinkMessage,
) -> Result<Option<LinkMessage>, BpfError> {
    let doing = "look for a network device";
    match netlink.request(doing, RouteNetlinkMessage::GetLink(message), 0) {
        Ok(answers) => Ok(answers.into_iter().find_map(|answer| {
            if let RouteNetlinkMessage::NewLink(link) = answer {
                Some(link)
            } else {
                None
            }
        })),
        Err(BpfError::Netlink { source, .. })
            if Errno::from_io_error(&source) == Some(Errno::NODEV) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The names of all devices.
pub(crate) fn names(netlink: &mut Netlink) -> Result<Vec<String>, BpfError> {
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let answers = netlink.dump("list network devices", request)?;
    let names = answers.into_iter().filter_map(|answer| {
        if let RouteNetlinkMessage::NewLink(link) = answer {
            name(link)
        } else {
            None
        }
    });
    Ok(names.collect())
}

/// The device's name.
pub(crate) fn name(link: LinkMessage) -> Option<String> {
    link.attributes.into_iter().find_map(|attribute| {
        if let LinkAttribute::IfName(name) = attribute {
            Some(name)
        } else {
            None
        }
    })
}

/// What becomes of a feature of shim0; `None` leaves it alone.
///
/// What the stack hands down is segmented here, by the kernel: no device could behind a header 140.
/// What comes back is merged here.
fn shim0_feature(name: &str) -> Option<bool> {
    match name {
        "tx-generic-segmentation" | "rx-gro" => Some(true),
        _ => is_segmentation(name).then_some(false),
    }
}

/// What becomes of a feature of shim1.
///
/// Merging what shim0 has just segmented would undo it; and shim0 merges only what comes from a
/// device without segmentation.
fn shim1_feature(name: &str) -> Option<bool> {
    (name == "rx-gro" || is_segmentation(name)).then_some(false)
}

/// Whether a device with these features finds transport headers by itself.
fn looks_for_transport(active: &[String]) -> bool {
    active.iter().any(|name| name == "tx-checksum-ipv6")
}

/// Whether a device with this feature takes packets that are still to be segmented. Kernels gain
/// such features, the last one for Accurate ECN.
fn is_segmentation(name: &str) -> bool {
    let is_software = name == "tx-generic-segmentation";
    name.starts_with("tx-") && name.ends_with("-segmentation") && !is_software
        || name == "tx-gso-list"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_segmentation_but_the_kernels_own_ends_at_shim0() {
        for name in [
            "tx-tcp-segmentation",
            "tx-tcp-accecn-segmentation",
            "tx-udp_tnl-segmentation",
            "tx-gso-list",
        ] {
            assert_eq!(shim0_feature(name), Some(false), "{name}");
        }
        assert_eq!(shim0_feature("tx-generic-segmentation"), Some(true));
        assert_eq!(shim0_feature("rx-gro"), Some(true));
        assert_eq!(shim0_feature("rx-gro-list"), None);
        assert_eq!(shim0_feature("tx-checksum-ip-generic"), None);
    }

    #[test]
    fn only_devices_that_are_not_told_where_the_checksum_is_get_it_done() {
        let features = |name: &str| [name.to_owned()];
        assert!(looks_for_transport(&features("tx-checksum-ipv6")));
        assert!(!looks_for_transport(&features("tx-checksum-ip-generic")));
        assert!(!looks_for_transport(&[]));
    }
}
