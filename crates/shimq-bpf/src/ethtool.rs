//! Offload features of network devices, over generic netlink.
//!
//! Three requests are all that is needed: the number of the family "ethtool", the features of a
//! device, and a change of them (`Documentation/networking/ethtool-netlink.rst` of the kernel).

use std::{io, slice};

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NLA_F_NESTED, NLM_F_ACK, NetlinkDeserializable,
    NetlinkHeader, NetlinkSerializable, NlasIterator,
};
use netlink_sys::protocols::NETLINK_GENERIC;

use crate::BpfError;
use crate::netlink::Netlink;

/// Switches features of the device `index` on (true) or off, as `wanted` says by their names.
///
/// The names are those that `ethtool --show-features` knows; it is asked for all that this kernel
/// can switch on this device.
pub(crate) fn set_features(
    index: u32,
    wanted: impl Fn(&str) -> Option<bool>,
) -> Result<(), BpfError> {
    let mut netlink = Netlink::open(NETLINK_GENERIC).map_err(unsupported)?;
    let family = resolve(&mut netlink).map_err(unsupported)?;
    let device = [DefaultNla::new(
        HEADER_DEV_INDEX,
        index.to_ne_bytes().into(),
    )];
    let device = nest(FEATURES_HEADER, &device);
    let failure = |source| BpfError::netlink("set offload features of the device pair", source);

    let request = Generic::new(family, FEATURES_GET, slice::from_ref(&device));
    let answers = netlink.exchange(request, NLM_F_ACK).map_err(failure)?;
    let names = answers.iter().flat_map(switchable);
    let bits = names.filter_map(|name| {
        let on = wanted(&name)?;
        let mut bit = vec![text(BIT_NAME, &name)];
        bit.extend(on.then(|| DefaultNla::new(BIT_VALUE, Vec::new())));
        Some(nest(BITS_BIT, &bit))
    });
    let bits: Vec<_> = bits.collect();
    let features = nest(FEATURES_WANTED, &[nest(BITSET_BITS, &bits)]);
    let request = Generic::new(family, FEATURES_SET, &[device, features]);
    netlink
        .exchange(request, NLM_F_ACK)
        .map(drop)
        .map_err(failure)
}

/// The names in the answer's bit set of features that can be switched.
fn switchable(answer: &Generic) -> Vec<String> {
    let mut names = Vec::new();
    for set in attributes(&answer.attributes, FEATURES_HW) {
        for bits in attributes(&set, BITSET_BITS) {
            for bit in attributes(&bits, BITS_BIT) {
                let name = attributes(&bit, BIT_NAME);
                let name = name.iter().map(|name| String::from_utf8_lossy(name));
                names.extend(name.map(|name| name.trim_end_matches('\0').to_owned()));
            }
        }
    }
    names
}

/// The values of all attributes of this kind.
fn attributes(octets: &[u8], kind: u16) -> Vec<Vec<u8>> {
    NlasIterator::new(octets)
        .flatten()
        .filter(|attribute| attribute.kind() == kind)
        .map(|attribute| attribute.value().to_vec())
        .collect()
}

fn unsupported(source: io::Error) -> BpfError {
    BpfError::Unsupported {
        doing: "ask for ethtool over generic netlink",
        source: source.into(),
    }
}

/// The number that this kernel gave to the family "ethtool".
fn resolve(netlink: &mut Netlink) -> io::Result<u16> {
    let request = Generic::new(CONTROLLER, GET_FAMILY, &[text(FAMILY_NAME, "ethtool")]);
    let answers = netlink.exchange(request, NLM_F_ACK)?;
    let mut ids = answers
        .iter()
        .flat_map(|answer| attributes(&answer.attributes, FAMILY_ID));
    ids.find_map(|id| Some(u16::from_ne_bytes(id.try_into().ok()?)))
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn text(kind: u16, text: &str) -> DefaultNla {
    DefaultNla::new(kind, [text.as_bytes(), &[0]].concat())
}

fn nest(kind: u16, attributes: &[DefaultNla]) -> DefaultNla {
    DefaultNla::new(kind | NLA_F_NESTED, emit(attributes))
}

fn emit(attributes: &[DefaultNla]) -> Vec<u8> {
    let mut octets = vec![0; attributes.buffer_len()];
    attributes.emit(&mut octets);
    octets
}

/// A message of any family: the four octets of its own header and its attributes.
#[derive(Debug)]
struct Generic {
    family: u16,
    command: u8,
    attributes: Vec<u8>,
}

impl Generic {
    fn new(family: u16, command: u8, attributes: &[DefaultNla]) -> Self {
        Self {
            family,
            command,
            attributes: emit(attributes),
        }
    }
}

impl NetlinkSerializable for Generic {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        HEADER_LEN + self.attributes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (header, attributes) = buffer.split_at_mut(HEADER_LEN);
        header.copy_from_slice(&[self.command, VERSION, 0, 0]);
        attributes.copy_from_slice(&self.attributes);
    }
}

impl NetlinkDeserializable for Generic {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let (&[command, ..], attributes) = payload
            .split_first_chunk::<HEADER_LEN>()
            .ok_or("generic netlink message without header")?;
        Ok(Self {
            family: header.message_type,
            command,
            attributes: attributes.into(),
        })
    }
}

/// Octets of the header: command, version, reserved.
const HEADER_LEN: usize = 4;
const VERSION: u8 = 1;

// linux/genetlink.h
const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

// linux/ethtool_netlink.h
const FEATURES_GET: u8 = 11;
const FEATURES_SET: u8 = 12;
const FEATURES_HEADER: u16 = 1;
const FEATURES_HW: u16 = 2;
const FEATURES_WANTED: u16 = 3;
const HEADER_DEV_INDEX: u16 = 1;
const BITSET_BITS: u16 = 3;
const BITS_BIT: u16 = 1;
const BIT_NAME: u16 = 2;
const BIT_VALUE: u16 = 3;
