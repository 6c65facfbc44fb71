//! What a rewriter does not take, or does not take away from others.

use std::env;
use std::process::Command;

use shimq_bpf::{BpfError, Config, Rewriter};

use crate::support::{attach, flow_of_a, ip, run, two_hosts};

#[test]
fn a_renewal_notices_that_somebody_removed_the_device_pair() {
    let hosts = two_hosts();
    let Some(mut a) = attach(&hosts.a) else {
        return;
    };
    hosts.a.enter(|| a.insert(&flow_of_a()).unwrap()).unwrap();
    hosts.a.enter(|| a.renew(1).unwrap()).unwrap();
    run(&hosts.a, "ip", "link del shim0");
    let outcome = hosts.a.enter(|| a.renew(1)).unwrap();
    assert!(
        matches!(outcome, Err(BpfError::Netlink { .. })),
        "{outcome:?}"
    );
}

#[test]
fn somebody_elses_device_is_left_alone() {
    let hosts = two_hosts();
    ip(&hosts.a, "link add shim1 type veth peer name other");
    let outcome = hosts.a.enter(|| Rewriter::attach(&Config::default()));
    let error = outcome.unwrap().unwrap_err();
    assert!(
        matches!(&error, BpfError::NameTaken { name } if name == "shim1"),
        "{error}"
    );
    let links = ip(&hosts.a, "link show");
    assert!(
        links.contains("shim1@other") && !links.contains("shim0"),
        "{links}"
    );
}

#[test]
fn a_flow_without_a_path_is_refused_and_leaves_nothing() {
    let hosts = two_hosts();
    let Some(mut a) = attach(&hosts.a) else {
        return;
    };
    let before = ip(&hosts.a, "rule show");
    for table in ["main", "2"] {
        ip(&hosts.a, &format!("route del default dev a2 table {table}"));
    }
    ip(&hosts.a, "route del default dev a1 table main");
    let outcome = hosts.a.enter(|| a.insert(&flow_of_a())).unwrap();
    assert!(
        matches!(outcome, Err(BpfError::NoRoute { .. })),
        "{outcome:?}"
    );
    assert_eq!(ip(&hosts.a, "rule show"), before);
    assert!(a.counters().unwrap().is_empty());
}

#[test]
fn in_a_user_namespace_attach_says_that_it_is_not_permitted() {
    let Some(kind) = env::var_os(INSIDE) else {
        let mut again = Command::new("unshare");
        again.args(["--user", "--map-root-user", "--net", "--"]);
        again.arg(env::current_exe().unwrap());
        again.args([
            "--exact",
            "refusals::in_a_user_namespace_attach_says_that_it_is_not_permitted",
        ]);
        let output = again.env(INSIDE, "yes").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
        return;
    };
    assert_eq!(kind, "yes");
    let error = Rewriter::attach(&Config::default()).unwrap_err();
    assert!(
        matches!(error, BpfError::NotPermitted),
        "{error}: {error:?}"
    );
    let links = Command::new("ip").args(["link", "show"]).output().unwrap();
    let links = String::from_utf8_lossy(&links.stdout).into_owned();
    assert!(links.contains("lo") && !links.contains("shim"), "{links}");
}

/// Set for the test that starts itself again inside a user namespace.
const INSIDE: &str = "SHIMQ_BPF_TEST_INSIDE";
