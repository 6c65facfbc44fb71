//! A host loses a link or its addresses, and sees it for itself; connections go on.

use crate::support::{Daemon, FAST, Network, Side, Stream};

/// What happens to the link of the connection's ULID at one host.
fn survives(side: Side, command: &str) {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, ..) = Stream::with_context(&network, &a, &b);
    let mut events = match side {
        Side::A => a.events(),
        Side::B => b.events(),
    };
    let link = side.providers()[0].link;
    network.run(side, "ip", &command.replace("LINK", link));
    let changed = events.wait_for("pair-changed");
    assert_eq!(changed["cause"], "local-locator-lost", "{changed}");
    stream.wait_for_more();
    stream.finish();
}

#[test]
fn a_connection_survives_the_loss_of_its_link_at_the_receiver() {
    survives(Side::A, "link set LINK down");
}

#[test]
fn a_connection_survives_the_loss_of_its_link_at_the_sender() {
    survives(Side::B, "link set LINK down");
}

#[test]
fn a_connection_survives_the_removal_of_all_addresses_of_its_link() {
    survives(Side::A, "-6 address flush dev LINK scope global");
    survives(Side::B, "-6 address flush dev LINK scope global");
}

#[test]
fn a_connection_survives_the_end_of_the_interface_itself() {
    survives(Side::A, "link delete LINK");
}
