//! Sockets that IPsec policies do not concern.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

/// Has a socket of IPv6 pass every IPsec policy of the host, as the sockets of key exchange daemons do.
///
/// What the kernel then says of a route is true of packets that are encrypted already. Needs CAP_NET_ADMIN.
///
/// # Errors
///
/// `EPERM`, or that the kernel knows no IPsec.
pub fn exempt(socket: impl AsFd) -> io::Result<()> {
    let mut policy = Policy([0; POLICY_LEN]);
    policy.0[FAMILY..FAMILY + 2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
    policy.0[DIRECTION] = XFRM_POLICY_OUT;
    policy.0[ACTION] = XFRM_POLICY_ALLOW;
    // SAFETY: the descriptor is open, and `policy` has as many octets as is said; the kernel copies them.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_XFRM_POLICY,
            (&raw const policy).cast(),
            size_of::<Policy>() as libc::socklen_t,
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// `struct xfrm_userpolicy_info` of `linux/xfrm.h`, without templates: a selector of 56 octets, limits of 64 and 32,
/// priority and index of 4 each, then direction, action, flags and share of one.
#[repr(C, align(8))]
struct Policy([u8; POLICY_LEN]);

const POLICY_LEN: usize = 168;
/// Of the selector, behind two addresses, two ports and their masks.
const FAMILY: usize = 40;
const DIRECTION: usize = 56 + 64 + 32 + 8;
const ACTION: usize = DIRECTION + 1;
const XFRM_POLICY_OUT: u8 = 1;
const XFRM_POLICY_ALLOW: u8 = 0;
