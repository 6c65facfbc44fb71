//! Parts of rules as nf_tables expressions, built in libnftnl.
//!
//! The crate `nftnl` has some of these expressions, each for its own use, and lets others join by its trait. What is
//! needed here (a second register, inverted lookups, `dynset`, `rt`, `queue`, `target`) it mostly has not, so
//! all are built the same way: a name and its fields.

#[cfg(test)]
mod tests;

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

use nftnl::nftnl_sys as sys;

use super::design::{Field, Part, QueueTarget, RuleDesign, SetName};
use super::{Statement, wire};

/// An nf_tables expression: its name and the fields of its libnftnl object.
#[derive(Debug)]
pub(super) struct Expression {
    name: &'static CStr,
    fields: Vec<(u32, Value)>,
}

/// A field of an expression.
#[derive(Debug)]
enum Value {
    U16(u16),
    U32(u32),
    U64(u64),
    Name(&'static CStr),
    /// Octets that libnftnl copies.
    Octets(Vec<u8>),
    /// Octets that libnftnl takes over and releases with `free`.
    Given(Vec<u8>),
    /// An expression that libnftnl takes over.
    Nested(Box<Expression>),
}

impl RuleDesign {
    /// The expressions of this rule, in order.
    pub(super) fn expressions(&self, statement: Statement) -> Vec<Expression> {
        let mut out = Vec::new();
        // Loading a pair costs about as much as looking it up: parts in a row that need the same share one load.
        let mut loaded = None;
        for part in &self.parts {
            let field = part.field();
            if let Some(field) = field.filter(|_| loaded != field) {
                field.add_loads(&mut out);
            }
            part.add_expressions(statement, &mut out);
            loaded = field;
        }
        out
    }
}

impl Part {
    /// What the part needs in the registers.
    fn field(&self) -> Option<Field> {
        match self {
            Self::Lookup { field, .. }
            | Self::Verdict { field, .. }
            | Self::Update { field, .. } => Some(*field),
            Self::Add { .. } => Some(Field::OutgoingPair),
            Self::Mark(_)
            | Self::Marked
            | Self::LoopbackOut
            | Self::LoopbackIn
            | Self::IpsecAhead
            | Self::IpsecBehind
            | Self::LinkLocalDestination
            | Self::MulticastDestination
            | Self::Protocol(_)
            | Self::Icmpv6Type(_)
            | Self::QuotedNextHeader(_)
            | Self::Queue(_)
            | Self::Goto(_)
            | Self::Accept => None,
        }
    }

    /// Appends what follows once [`Self::field`] is loaded.
    fn add_expressions(&self, statement: Statement, out: &mut Vec<Expression>) {
        match self {
            Self::Mark(mark) => out.extend([meta(META_MARK), equals(&mark.to_ne_bytes())]),
            Self::Marked => out.extend([meta(META_MARK), compare(CMP_NEQ, &[0; 4])]),
            Self::LoopbackOut => out.extend([meta(META_OIF), equals(&LOOPBACK.to_ne_bytes())]),
            Self::LoopbackIn => out.extend([meta(META_IIF), equals(&LOOPBACK.to_ne_bytes())]),
            Self::IpsecAhead => out.extend([route_has_ipsec(), equals(&[1])]),
            Self::IpsecBehind => out.extend([meta(META_SECPATH), equals(&[1])]),
            Self::LinkLocalDestination => {
                let mask = [[0xff, 0xc0].as_slice(), &[0; 14]].concat();
                let prefix = [[0xfe, 0x80].as_slice(), &[0; 14]].concat();
                out.extend([
                    payload(NETWORK, DESTINATION, ADDRESS_LEN, REG_1),
                    masked(mask),
                    equals(&prefix),
                ]);
            }
            Self::MulticastDestination => {
                out.extend([payload(NETWORK, DESTINATION, 1, REG_1), equals(&[0xff])]);
            }
            Self::Protocol(protocol) => out.extend(transport(*protocol)),
            Self::Icmpv6Type(types) => {
                out.extend(transport(ICMPV6));
                out.extend([
                    payload(TRANSPORT, 0, 1, REG_1),
                    compare(CMP_GTE, &[*types.start()]),
                    compare(CMP_LTE, &[*types.end()]),
                ]);
            }
            Self::QuotedNextHeader(protocol) => {
                out.extend([
                    payload(TRANSPORT, ICMPV6_LEN + NEXT_HEADER, 1, REG_1),
                    equals(&[*protocol]),
                ]);
            }
            Self::Lookup { set, found, .. } => out.push(lookup(*set, *found)),
            Self::Verdict { set, .. } => out.push(verdict_of(*set)),
            Self::Update { set, .. } => out.push(dynset(DYNSET_UPDATE, *set, None)),
            Self::Add { set, over } => {
                // A quota of 0 would be listed as used up, and so never as it was sent.
                let quota = (*over > 0).then(|| quota_over(*over));
                out.push(dynset(DYNSET_ADD, *set, quota));
            }
            Self::Queue(target) => out.push(match statement {
                Statement::Native => queue(target),
                Statement::XtCompat => nfqueue_target(target),
            }),
            Self::Goto(chain) => out.push(Expression {
                name: c"immediate",
                fields: vec![
                    (sys::NFTNL_EXPR_IMM_DREG, Value::U32(REG_VERDICT)),
                    (sys::NFTNL_EXPR_IMM_VERDICT, Value::U32(wire::NFT_GOTO)),
                    (sys::NFTNL_EXPR_IMM_CHAIN, Value::Name(chain)),
                ],
            }),
            Self::Accept => out.push(Expression {
                name: c"immediate",
                fields: vec![
                    (sys::NFTNL_EXPR_IMM_DREG, Value::U32(REG_VERDICT)),
                    (sys::NFTNL_EXPR_IMM_VERDICT, Value::U32(wire::NF_ACCEPT)),
                ],
            }),
        }
    }
}

impl Field {
    /// Loads the field into the registers from the first on; an address fills one.
    fn add_loads(self, out: &mut Vec<Expression>) {
        let address = |offset, register| payload(NETWORK, offset, ADDRESS_LEN, register);
        let mut port = |protocol, offset| {
            out.extend(transport(protocol));
            out.push(payload(TRANSPORT, offset, PORT_LEN, REG_1));
        };
        match self {
            Self::Source => out.push(address(SOURCE, REG_1)),
            Self::Destination => out.push(address(DESTINATION, REG_1)),
            // Neighbours in the header as in the registers.
            Self::OutgoingPair => out.push(payload(NETWORK, SOURCE, 2 * ADDRESS_LEN, REG_1)),
            Self::OutgoingMarkedPair => out.extend([
                meta(META_MARK),
                address(SOURCE, REG_AFTER_MARK),
                address(DESTINATION, REG_AFTER_MARK + ADDRESS_LEN / 4),
            ]),
            Self::ArrivingPair => {
                out.extend([address(DESTINATION, REG_1), address(SOURCE, REG_2)]);
            }
            Self::TcpSource => port(TCP, 0),
            Self::TcpDestination => port(TCP, PORT_LEN),
            Self::UdpSource => port(UDP, 0),
            Self::UdpDestination => port(UDP, PORT_LEN),
            Self::Mark => out.push(meta(META_MARK)),
            Self::User => out.push(meta(META_SKUID)),
        }
    }
}

fn meta(key: u32) -> Expression {
    Expression {
        name: c"meta",
        fields: vec![
            (sys::NFTNL_EXPR_META_KEY, Value::U32(key)),
            (sys::NFTNL_EXPR_META_DREG, Value::U32(REG_1)),
        ],
    }
}

fn route_has_ipsec() -> Expression {
    Expression {
        name: c"rt",
        fields: vec![
            (sys::NFTNL_EXPR_RT_KEY, Value::U32(RT_XFRM)),
            (sys::NFTNL_EXPR_RT_DREG, Value::U32(REG_1)),
        ],
    }
}

/// `offset` and `len` in octets, from the start of the `base` header.
fn payload(base: u32, offset: u32, len: u32, register: u32) -> Expression {
    Expression {
        name: c"payload",
        fields: vec![
            (sys::NFTNL_EXPR_PAYLOAD_BASE, Value::U32(base)),
            (sys::NFTNL_EXPR_PAYLOAD_OFFSET, Value::U32(offset)),
            (sys::NFTNL_EXPR_PAYLOAD_LEN, Value::U32(len)),
            (sys::NFTNL_EXPR_PAYLOAD_DREG, Value::U32(register)),
        ],
    }
}

fn equals(data: &[u8]) -> Expression {
    compare(CMP_EQ, data)
}

fn compare(operator: u32, data: &[u8]) -> Expression {
    Expression {
        name: c"cmp",
        fields: vec![
            (sys::NFTNL_EXPR_CMP_SREG, Value::U32(REG_1)),
            (sys::NFTNL_EXPR_CMP_OP, Value::U32(operator)),
            (sys::NFTNL_EXPR_CMP_DATA, Value::Octets(data.to_vec())),
        ],
    }
}

fn masked(mask: Vec<u8>) -> Expression {
    let xor = vec![0; mask.len()];
    Expression {
        name: c"bitwise",
        fields: vec![
            (sys::NFTNL_EXPR_BITWISE_SREG, Value::U32(REG_1)),
            (sys::NFTNL_EXPR_BITWISE_DREG, Value::U32(REG_1)),
            (sys::NFTNL_EXPR_BITWISE_LEN, Value::U32(mask.len() as u32)),
            (sys::NFTNL_EXPR_BITWISE_MASK, Value::Octets(mask)),
            (sys::NFTNL_EXPR_BITWISE_XOR, Value::Octets(xor)),
        ],
    }
}

/// That the transport protocol, behind all extension headers, is this one.
fn transport(protocol: u8) -> [Expression; 2] {
    [meta(META_L4PROTO), equals(&[protocol])]
}

fn lookup(set: SetName, found: bool) -> Expression {
    let mut fields = vec![
        (sys::NFTNL_EXPR_LOOKUP_SREG, Value::U32(REG_1)),
        (sys::NFTNL_EXPR_LOOKUP_SET, set_name(set)),
    ];
    if !found {
        fields.push((sys::NFTNL_EXPR_LOOKUP_FLAGS, Value::U32(LOOKUP_INVERT)));
    }
    Expression {
        name: c"lookup",
        fields,
    }
}

fn verdict_of(set: SetName) -> Expression {
    Expression {
        name: c"lookup",
        fields: vec![
            (sys::NFTNL_EXPR_LOOKUP_SREG, Value::U32(REG_1)),
            (sys::NFTNL_EXPR_LOOKUP_SET, set_name(set)),
            (sys::NFTNL_EXPR_LOOKUP_DREG, Value::U32(REG_VERDICT)),
        ],
    }
}

fn dynset(operation: u32, set: SetName, per_element: Option<Expression>) -> Expression {
    let mut fields = vec![
        (sys::NFTNL_EXPR_DYNSET_SREG_KEY, Value::U32(REG_1)),
        (sys::NFTNL_EXPR_DYNSET_OP, Value::U32(operation)),
        (sys::NFTNL_EXPR_DYNSET_SET_NAME, set_name(set)),
    ];
    if let Some(expression) = per_element {
        let nested = Value::Nested(Box::new(expression));
        fields.push((sys::NFTNL_EXPR_DYNSET_EXPR, nested));
    }
    Expression {
        name: c"dynset",
        fields,
    }
}

fn quota_over(octets: u64) -> Expression {
    Expression {
        name: c"quota",
        fields: vec![
            (sys::NFTNL_EXPR_QUOTA_BYTES, Value::U64(octets)),
            (sys::NFTNL_EXPR_QUOTA_FLAGS, Value::U32(QUOTA_OVER)),
        ],
    }
}

/// nf_tables' own queue expression.
fn queue(target: &QueueTarget) -> Expression {
    Expression {
        name: c"queue",
        fields: vec![
            (sys::NFTNL_EXPR_QUEUE_NUM, Value::U16(target.numbers.start)),
            (
                sys::NFTNL_EXPR_QUEUE_TOTAL,
                Value::U16(target.numbers.len() as u16),
            ),
            (sys::NFTNL_EXPR_QUEUE_FLAGS, Value::U16(queue_flags(target))),
        ],
    }
}

/// The xtables target NFQUEUE, revision 3, for kernels without the queue expression.
fn nfqueue_target(target: &QueueTarget) -> Expression {
    // struct xt_NFQ_info_v3 { u16 queuenum, queues_total, flags; }, filled up to 8 octets as xtables demands.
    let mut info = Vec::with_capacity(8);
    for field in [
        target.numbers.start,
        target.numbers.len() as u16,
        queue_flags(target),
        0,
    ] {
        info.extend_from_slice(&field.to_ne_bytes());
    }
    Expression {
        name: c"target",
        fields: vec![
            (sys::NFTNL_EXPR_TG_NAME, Value::Name(c"NFQUEUE")),
            (sys::NFTNL_EXPR_TG_REV, Value::U32(3)),
            (sys::NFTNL_EXPR_TG_INFO, Value::Given(info)),
        ],
    }
}

/// The same bits in both forms.
fn queue_flags(target: &QueueTarget) -> u16 {
    let bypass = if target.bypass { QUEUE_BYPASS } else { 0 };
    let fanout = if target.fanout() { QUEUE_FANOUT } else { 0 };
    bypass | fanout
}

fn set_name(set: SetName) -> Value {
    Value::Name(set.as_c_str())
}

impl Expression {
    /// Makes the libnftnl object. Like all of libnftnl's users, it takes running out of memory as the end.
    fn build(&self) -> NonNull<sys::nftnl_expr> {
        // SAFETY: the name is NUL-terminated; libnftnl copies what it needs of it.
        let expression = unsafe { sys::nftnl_expr_alloc(self.name.as_ptr()) };
        let expression = NonNull::new(expression).expect("libnftnl knows the expression");
        for (field, value) in &self.fields {
            let set = |data: *const c_void, len: usize| {
                // SAFETY: the object is alive and `data` points to `len` octets, or to what the callers below give
                // away in the form in which libnftnl takes it over.
                unsafe {
                    sys::nftnl_expr_set(expression.as_ptr(), *field as u16, data, len as u32);
                }
            };
            match value {
                Value::U16(number) => set((&raw const *number).cast(), 2),
                Value::U32(number) => set((&raw const *number).cast(), 4),
                Value::U64(number) => set((&raw const *number).cast(), 8),
                Value::Name(name) => set(name.as_ptr().cast(), name.to_bytes_with_nul().len()),
                Value::Octets(octets) => set(octets.as_ptr().cast(), octets.len()),
                Value::Given(octets) => set(give(octets), octets.len()),
                Value::Nested(nested) => set(nested.build().as_ptr().cast(), 0),
            }
        }
        expression
    }
}

impl nftnl::expr::Expression for Expression {
    fn to_expr(&self, _rule: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        self.build()
    }
}

/// A copy of `octets` that libnftnl can release with `free`.
fn give(octets: &[u8]) -> *const c_void {
    // SAFETY: `malloc` has no precondition.
    let copy = unsafe { libc::malloc(octets.len()) };
    assert!(!copy.is_null(), "out of memory");
    // SAFETY: both areas have this many octets, and the new one overlaps nothing.
    unsafe { copy.copy_from_nonoverlapping(octets.as_ptr().cast(), octets.len()) };
    copy
}

const REG_VERDICT: u32 = 0;
const REG_1: u32 = 1;
const REG_2: u32 = 2;
/// Registers of 4 octets are numbered from 8 on; the first register covers four of them, a mark one.
const REG_AFTER_MARK: u32 = 9;

const META_MARK: u32 = 3;
const META_IIF: u32 = 4;
const META_OIF: u32 = 5;
const META_SKUID: u32 = 10;
const META_L4PROTO: u32 = 16;
const META_SECPATH: u32 = 25;
const RT_XFRM: u32 = 4;
/// The loopback interface has this index in every network namespace.
const LOOPBACK: u32 = 1;

const CMP_EQ: u32 = 0;
const CMP_NEQ: u32 = 1;
const CMP_LTE: u32 = 3;
const CMP_GTE: u32 = 5;
const LOOKUP_INVERT: u32 = 1;
const DYNSET_ADD: u32 = 0;
const DYNSET_UPDATE: u32 = 1;
const QUOTA_OVER: u32 = 1;
const QUEUE_BYPASS: u16 = 1;
const QUEUE_FANOUT: u16 = 2;

const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
/// Offsets in the IPv6 header, in octets.
const NEXT_HEADER: u32 = 6;
const SOURCE: u32 = 8;
const DESTINATION: u32 = 24;
const ADDRESS_LEN: u32 = 16;
const PORT_LEN: u32 = 2;
const ICMPV6_LEN: u32 = 8;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
