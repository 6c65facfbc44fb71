//! What keeps the daemon from running: said once, with what to do, and nothing left behind.

use std::fs;
use std::process::Command;

use crate::support::{Daemon, Network, Side, run_until_refused};

/// Runs `command` on host A, which must end with one message that holds all of `says`.
fn refuses(network: &Network, command: Command, says: &[&str]) {
    let before = traces(network);
    let said = run_until_refused(&network.hosts.a, command);
    let messages = said.lines().filter(|line| line.starts_with("shimq: "));
    assert_eq!(messages.count(), 1, "{said}");
    for part in says {
        assert!(said.contains(part), "no {part:?} in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(traces(network), before, "{said}");
}

/// All that a daemon could leave behind.
fn traces(network: &Network) -> [String; 5] {
    [
        ("nft", "list ruleset"),
        ("ip", "-6 address"),
        ("ip", "-6 rule"),
        ("ip", "-6 route show table all"),
        ("ip", "addrlabel"),
    ]
    .map(|(program, arguments)| network.run(Side::A, program, arguments))
}

/// `command` without a capability.
fn without(network: &Network, capability: &str, command: &Command) -> Command {
    let mut limited = network.hosts.a.command("setpriv").unwrap();
    limited
        .arg(format!("--inh-caps=-{capability}"))
        .arg(format!("--bounding-set=-{capability}"))
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args());
    limited
}

#[test]
fn a_configuration_that_cannot_be_read_is_refused_with_its_name() {
    let Some(network) = Network::new() else {
        return;
    };
    let command = Daemon::command(&network, Side::A, "");
    fs::remove_file(network.path("A.toml")).unwrap();
    refuses(&network, command, &["A.toml", "No such file", "--config"]);
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_with_its_place() {
    let Some(network) = Network::new() else {
        return;
    };
    for (config, says) in [
        ("sec = 1\n[reap]\nsend-timeuot = 3\n", "line 3"),
        ("sec = one\n", "line 1"),
        ("sec = 7\n", "sec = 7: 0, 1 or 2"),
        (
            "[exclude]\npeers = ['fe80::/200']\n",
            "exclude.peers = fe80::/200",
        ),
        ("[exclude]\nmarks = [0]\n", "exclude.marks = 0x0"),
        (
            "[exclude]\nusers = ['nobody-of-this-name']\n",
            "this host has no user \"nobody-of-this-name\"",
        ),
    ] {
        let command = Daemon::command(&network, Side::A, config);
        refuses(&network, command, &[says]);
    }
}

#[test]
fn an_interface_that_is_not_there_is_refused() {
    let Some(network) = Network::new() else {
        return;
    };
    let command = Daemon::command(&network, Side::A, "interfaces = ['a9']\n");
    refuses(&network, command, &["interface a9 is not there", "ip link"]);
}

#[test]
fn a_key_that_is_damaged_or_unreadable_is_refused_and_kept() {
    let Some(network) = Network::new() else {
        return;
    };
    let key = Daemon::state(&network, Side::A).join("key.pem");
    fs::create_dir(key.parent().unwrap()).unwrap();
    fs::write(&key, "not a key").unwrap();
    let says = ["key.pem", "restore it, or move it away"];
    refuses(&network, Daemon::command(&network, Side::A, ""), &says);
    assert_eq!(fs::read(&key).unwrap(), b"not a key");

    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    refuses(&network, Daemon::command(&network, Side::A, ""), &says);
}

#[test]
fn a_state_directory_that_cannot_be_made_is_refused() {
    let Some(network) = Network::new() else {
        return;
    };
    fs::write(Daemon::state(&network, Side::A), "in the way").unwrap();
    let command = Daemon::command(&network, Side::A, "");
    refuses(&network, command, &["state directory", "state-A"]);
}

#[test]
fn a_host_without_ipv6_is_refused() {
    let Some(network) = Network::new() else {
        return;
    };
    let host = &network.hosts.a;
    host.set_sysctl("ipv6/conf/all/disable_ipv6", "1").unwrap();
    let command = Daemon::command(&network, Side::A, "");
    let says = [
        "IPv6 is switched off",
        "sysctl net.ipv6.conf.all.disable_ipv6=0",
    ];
    refuses(&network, command, &says);
}

#[test]
fn a_missing_capability_is_named() {
    let Some(network) = Network::new() else {
        return;
    };
    let command = Daemon::command(&network, Side::A, "");
    for (capability, name) in [("net_admin", "CAP_NET_ADMIN"), ("net_raw", "CAP_NET_RAW")] {
        let limited = without(&network, capability, &command);
        refuses(&network, limited, &[name]);
    }
}

#[test]
fn a_second_daemon_is_refused_whatever_it_shares_with_the_first() {
    let Some(network) = Network::new() else {
        return;
    };
    let first = Daemon::start(&network, Side::A, "");
    // The socket.
    let command = Daemon::command(&network, Side::A, "");
    let says = ["a daemon already listens at", "A.sock", "--socket"];
    refuses(&network, command, &says);

    // With socket and state of its own, still the queue, and after that the table.
    for (config, says) in [
        (
            "",
            ["queue 5533 is taken", "configure another queue number"],
        ),
        (
            "[datapath]\nqueue-number = 100\n",
            ["table ip6 shimq is owned", "stop that program"],
        ),
    ] {
        let elsewhere = ["state-other", "other.sock"].map(|name| network.path(name));
        let command = Daemon::command_at(&network, Side::A, config, elsewhere);
        refuses(&network, command, &says);
        assert!(!fs::exists(network.path("other.sock")).unwrap());
    }
    assert!(first.stop().success());
}

#[test]
fn a_socket_that_cannot_be_made_is_refused() {
    let Some(network) = Network::new() else {
        return;
    };
    let command = Daemon::command(&network, Side::A, "");
    fs::create_dir(network.path("A.sock")).unwrap();
    refuses(&network, command, &["cannot listen at", "--socket"]);
}
