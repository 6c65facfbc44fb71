//! Offload features of network devices, over generic netlink.
//!
//! Three requests are all that is needed: the number of the family "ethtool", the features of a
//! device, and a change of them (`Documentation/networking/ethtool-netlink.rst` of the kernel).

use std::io;

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NLA_F_NESTED, NLM_F_ACK, NetlinkDeserializable,
    NetlinkHeader, NetlinkSerializable, NlasIterator,
};
use netlink_sys::protocols::NETLINK_GENERIC;

use crate::BpfError;
use crate::netlink::Netlink;

/// Offload features of one device, by the names that `ethtool --show-features` uses.
#[derive(Debug)]
pub(crate) struct Features {
    /// That this kernel can switch on this device.
    pub(crate) switchable: Vec<String>,
    /// That are on.
    pub(crate) active: Vec<String>,
}

/// A socket for requests about offload features.
pub(crate) struct Ethtool {
    netlink: Netlink,
    /// The number that this kernel gave to the family "ethtool".
    family: u16,
}

impl Ethtool {
    pub(crate) fn open() -> Result<Self, BpfError> {
        let mut netlink = Netlink::open(NETLINK_GENERIC).map_err(unsupported)?;
        let family = resolve(&mut netlink).map_err(unsupported)?;
        Ok(Self { netlink, family })
    }

    /// The features of the device `index`.
    pub(crate) fn features(&mut self, index: u32) -> Result<Features, BpfError> {
        let request = Generic::new(self.family, FEATURES_GET, &[device(index)]);
        let answers = self.netlink.exchange(request, NLM_F_ACK);
        let answers =
            answers.map_err(|source| BpfError::netlink("read offload features", source))?;
        let names = |set| answers.iter().flat_map(move |answer| names_in(answer, set));
        Ok(Features {
            switchable: names(FEATURES_HW).collect(),
            active: names(FEATURES_ACTIVE).collect(),
        })
    }

    /// Switches features of the device `index` on (true) or off; `wanted` decides by name.
    pub(crate) fn switch(
        &mut self,
        index: u32,
        wanted: impl Fn(&str) -> Option<bool>,
    ) -> Result<(), BpfError> {
        let features = self.features(index)?;
        let bits = features.switchable.iter().filter_map(|name| {
            let on = wanted(name)?;
            let mut bit = vec![text(BIT_NAME, name)];
            bit.extend(on.then(|| DefaultNla::new(BIT_VALUE, Vec::new())));
            Some(nest(BITS_BIT, &bit))
        });
        let bits: Vec<_> = bits.collect();
        let features = nest(FEATURES_WANTED, &[nest(BITSET_BITS, &bits)]);
        let request = Generic::new(self.family, FEATURES_SET, &[device(index), features]);
        let outcome = self.netlink.exchange(request, NLM_F_ACK);
        outcome
            .map(drop)
            .map_err(|source| BpfError::netlink("switch offload features", source))
    }
}

/// The part of a request that says which device it is about.
fn device(index: u32) -> DefaultNla {
    let index = DefaultNla::new(HEADER_DEV_INDEX, index.to_ne_bytes().into());
    nest(FEATURES_HEADER, &[index])
}

/// The names in one of the answer's bit sets.
fn names_in(answer: &Generic, set: u16) -> Vec<String> {
    let sets = attributes(&answer.attributes, set);
    let lists = sets.iter().flat_map(|set| attributes(set, BITSET_BITS));
    let bits: Vec<_> = lists.flat_map(|list| attributes(&list, BITS_BIT)).collect();
    let names = bits.iter().flat_map(|bit| attributes(bit, BIT_NAME));
    names
        .map(|name| {
            String::from_utf8_lossy(&name)
                .trim_end_matches('\0')
                .to_owned()
        })
        .collect()
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
const FEATURES_ACTIVE: u16 = 4;
const HEADER_DEV_INDEX: u16 = 1;
const BITSET_BITS: u16 = 3;
const BITS_BIT: u16 = 1;
const BIT_NAME: u16 = 2;
const BIT_VALUE: u16 = 3;
