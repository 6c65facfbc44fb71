//! The kernel edge of shimq: NFQUEUE and nf_tables over netlink, and no Shim6.
//!
//! [`queue`] takes packets out of the kernel and gives them back, changed or not. [`rules`] tells the kernel which
//! packets those are, and reads what it counted about the others; [`ipsec`] asks about routes as packets that are
//! encrypted already take them. What a packet means is decided elsewhere: here it is octets with a mark and a hook.
//!
//! This is the only crate of the workspace with `unsafe`. It is confined to the few calls that the safe wrappers of
//! the netlink libraries do not offer: `recvmmsg`, three socket options, borrowing descriptors that foreign types own,
//! and building nf_tables expressions in libnftnl.

pub mod ipsec;
mod netlink;
pub mod queue;
pub mod rules;
