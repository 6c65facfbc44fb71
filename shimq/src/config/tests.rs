//! What a configuration may say, and what it then means.

use std::time::Duration;

use shimq_netfilter::rules::{Mode, Trigger};

use super::Config;

fn parse(text: &str) -> Result<Config, String> {
    let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
    config.validate().map_err(|error| error.to_string())?;
    Ok(config)
}

#[test]
fn an_empty_file_is_the_defaults_and_these_are_the_papers_and_the_rfcs() {
    let config = parse("").unwrap();
    assert_eq!(config.core().send_timeout, Duration::from_secs(15));
    let rules = config.rules().unwrap();
    let trigger = Trigger::Counted {
        octets: 2048,
        age: Duration::from_mins(1),
    };
    assert_eq!(rules.trigger, trigger);
    assert!(config.warnings().is_empty());
}

#[test]
fn a_heuristic_that_the_kernel_does_not_know_has_every_packet_queued() {
    for (text, mode) in [
        ("", Mode::Queue),
        ("[datapath]\nmode = 'queue-all'", Mode::QueueAll),
        ("[datapath]\nmode = 'bpf'", Mode::Queue),
        ("[trigger]\nheuristic = 'packet-count'", Mode::QueueAll),
        ("[trigger]\nheuristic = 'respond-only'", Mode::Queue),
    ] {
        assert_eq!(parse(text).unwrap().rules().unwrap().mode, mode, "{text}");
    }
}

#[test]
fn who_only_responds_has_the_kernel_ask_nothing() {
    let config = parse("[trigger]\nheuristic = 'respond-only'").unwrap();
    assert_eq!(config.rules().unwrap().trigger, Trigger::Never);
    assert!(config.kernel_decides());
}

#[test]
fn a_misspelt_key_is_refused_with_its_line() {
    let error = parse("sec = 1\n[reap]\nsend-timeuot = 3\n").unwrap_err();
    assert!(
        error.contains("line 3") && error.contains("send-timeuot"),
        "{error}"
    );
}

#[test]
fn values_that_cannot_be_are_refused_with_what_can() {
    for (text, what) in [
        ("sec = 3", "0, 1 or 2"),
        ("key-bits = 512", "1024"),
        ("key-bits = 4096", "1024 to 3072"),
        ("[exclude]\npeers = ['2001:db8::/129']", "prefix"),
        ("[exclude]\nmarks = [0x10, 0]", "0 marks no packet"),
        (
            "[exclude]\nmarks = [0x5533]",
            "exclude.marks = 0x5533: any other number: this marks the daemon's own packets",
        ),
        (
            "[datapath]\nmark = 7\n[exclude]\nmarks = [7]",
            "datapath.mark",
        ),
        ("[exclude]\nmarks = [-1]", "line 2"),
        (
            "[exclude]\nusers = [0, 'nobody-of-this-name']",
            "line 2, column 13",
        ),
        (
            "[exclude]\nusers = [0, 'nobody-of-this-name']",
            "no user \"nobody-of-this-name\": correct the name, or give a number (uid)",
        ),
        (
            "[exclude]\nusers = [4294967295]",
            "the name of a user, or a uid of 0 to 4294967294",
        ),
        ("[exclude]\nusers = [-1]", "0 to 4294967294"),
        ("[exclude]\nusers = [1.5]", "the name of a user"),
        (
            "[datapath]\nmode = 'bpf'\n[trigger]\nheuristic = 'packet-count'",
            "packet-count",
        ),
        ("[datapath]\nqueue-number = 65535", "65535"),
        ("[reap]\nsend-timeout = 0", "1 to 65535"),
        ("[[locators]]\nprefix = '2001:db8::1/64'", "line 2"),
        ("[[locators]]\npriority = 1", "a prefix or an interface"),
        ("[[locators]]\ninterface = 'e*0'", "line 2"),
        (
            "[[locators]]\ninterface = 'eth*'\n[[locators]]\ninterface = 'eth*'",
            "once",
        ),
        (
            "[[locators]]\nprefix = '::/0'\n[[locators]]\nprefix = '::/0'",
            "once",
        ),
        ("[limits]\ncontexts = 3", "at least 4"),
        ("[limits]\ncontexts-per-site = 0", "at least 1"),
        ("[reap]\ninitial-burst = 0", "1 to 16"),
        ("[reap]\nreturn-interval = 0", "1 to 86400"),
        (
            "[[locators]]\nprefix = '::/0'\npriority = 1\nrole = 'backup'",
            "which is a priority",
        ),
        (
            "[[locators]]\nprefix = '::/0'\nrole = 'cheap'",
            "expected `backup` or `metered`",
        ),
        ("[reap]\ninitial-probes = 17", "1 to 16"),
        ("[reap]\nexploration = 'best'", "disjoint-first"),
        ("[[interface]]\nsec = 1", "name"),
        ("[[interface]]\nname = ''", "eth*"),
        ("[[interface]]\nname = 'e*0'", "eth*"),
        ("[[interface]]\nname = 'eth0'\nsec = 3", "0, 1 or 2"),
        (
            "[[interface]]\nname = 'eth0'\nkey = '../a.pem'",
            "isp-a.pem",
        ),
        ("[[interface]]\nname = 'eth0'\nkey = 'a.cga'", "isp-a.pem"),
        (
            "[[interface]]\nname = 'eth0'\nkind = 'rsa'",
            "line 3, column 8",
        ),
        (
            "[[interface]]\nname = 'eth0'\nkind = 'rsa'",
            "expected one of `cga`, `hba`, `cga-hba`",
        ),
        (
            "[[interface]]\nname = 'eth0'\nkind = 'hba'\nkey = 'a.pem'",
            "\"cga-hba\" have one",
        ),
        (
            "[[interface]]\nname = 'eth*'\n[[interface]]\nname = 'eth0'",
            "first that matches",
        ),
        (
            "addresses = 'as-configured'\n[[interface]]\nname = 'eth0'",
            "addresses that shimq forms",
        ),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(what), "{text}: {error}");
    }
}

#[test]
fn what_fails_open_is_the_operators_choice() {
    let config = parse("").unwrap();
    assert!(config.rules().unwrap().bypass && config.fail_open());
    let config = parse("[datapath]\nbypass = false").unwrap();
    assert!(!config.rules().unwrap().bypass && config.fail_open());
    let config = parse("[datapath]\nfail-open = false").unwrap();
    assert!(config.rules().unwrap().bypass && !config.fail_open());
}

#[test]
fn users_are_excluded_by_name_or_number_and_marks_by_number() {
    let config = parse("[exclude]\nusers = ['root', 1001]\nmarks = [0x10, 17]").unwrap();
    let excluded = config.rules().unwrap().excluded;
    assert_eq!(excluded.users, [0, 1001]);
    assert_eq!(excluded.marks, [16, 17]);
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-7
//= type=test
//= id=R-056,R-057
//# As a result, it is RECOMMENDED that an alternate Send
//# Timeout value not be under 10 seconds.
#[test]
fn a_send_timeout_that_the_rfc_advises_against_is_warned_about() {
    assert_eq!(
        parse("[reap]\nsend-timeout = 9").unwrap().warnings().len(),
        1
    );
    assert_eq!(
        parse("[reap]\nsend-timeout = 101")
            .unwrap()
            .warnings()
            .len(),
        1
    );
    assert!(
        parse("[reap]\nsend-timeout = 10")
            .unwrap()
            .warnings()
            .is_empty()
    );
}

#[test]
fn a_value_that_cannot_be_is_refused_with_its_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shimq.toml");
    for (text, line) in [
        ("# ours\nsec = 3\n", 2),
        ("sec = 0\n\n[reap]\nsend-timeout = 0\n", 4),
        ("reap.send-timeout = 0\n", 1),
        (
            "[[interface]]\nname = 'eth0'\nsec = 0\n[[interface]] # B\nname = 'eth1'\nsec = 3\n",
            6,
        ),
        ("sec = 1\ninterface = [{ name = 'eth0', sec = 3 }]\n", 2),
        (
            "[[interface]]\nname = 'eth0'\nkind = 'hba'\nkey = 'a.pem'\n",
            4,
        ),
        (
            "[[locators]]\nprefix = '::/1'\n[[locators]]\nprefix = '::/0'\nrole = 'metered'\npriority = 3\n",
            6,
        ),
        (
            "[[locators]]\nprefix = '::/1'\n[[locators]]\ninterface = 'eth0'\nprefix = '::/0'\n",
            3,
        ),
        ("sec = 1\n[[locators]]\nrole = 'backup'\n", 2),
        (
            "interfaces = ['eth*']\n[[locators]]\nrole = 'backup'\ninterface = 'wwan0'\n",
            4,
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Config::read(Some(&path)).unwrap_err().to_string();
        let place = format!("{}:{line}: ", path.display());
        assert!(error.starts_with(&place), "{error}");
    }
}

#[test]
fn a_file_read_again_changes_what_can_change_and_leaves_the_rest_to_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shimq.toml");
    std::fs::write(&path, "sec = 0\n").unwrap();
    let config = Config::read(Some(&path)).unwrap();
    assert_eq!(config.reread().unwrap().applied, Vec::<&str>::new());
    let changed = "sec = 1\n[exclude]\nports = [53]\n\
                   [reap]\nexploration = 'random'\nsend-timeout = 20\n\
                   [[interface]]\nname = 'eth0'\nsec = 0\n";
    std::fs::write(&path, changed).unwrap();
    let reread = config.reread().unwrap();
    assert_eq!(reread.applied, ["exclude", "reap.exploration"]);
    assert_eq!(reread.next_start, ["sec", "reap", "interface"]);
    assert_eq!(reread.config.rules().unwrap().excluded.ports, [53]);
    assert_eq!(reread.config.host().sec, 0, "as it runs");
    assert_eq!(reread.config.host().rules, []);
    assert_eq!(reread.config.core().send_timeout, Duration::from_secs(15));
    for refused in [
        "sec = 9\n",
        "[exclude]\nusers = ['nobody-of-this-name']\n",
        // The daemon's packets have their former mark until the next start.
        "[datapath]\nmark = 7\n[exclude]\nmarks = [0x5533]\n",
    ] {
        std::fs::write(&path, refused).unwrap();
        assert!(reread.config.reread().is_err(), "{refused}");
    }
}
