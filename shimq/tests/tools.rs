//! `shimq keygen`, `shimq cga` and `shimq hba` as a user runs them.

#![allow(
    clippy::unwrap_used,
    reason = "a test file as a whole; clippy.toml covers test functions"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Runs in `directory`, so that file names in the arguments are relative to it.
fn shimq(directory: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shimq"));
    command.args(arguments).current_dir(directory);
    command
}

fn output(directory: &TempDir, arguments: &[&str]) -> Output {
    shimq(directory, arguments).output().unwrap()
}

/// What a command that succeeds prints with `--json`.
fn json(directory: &TempDir, arguments: &[&str]) -> Value {
    let output = shimq(directory, arguments).arg("--json").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a command that fails says.
fn complaint(directory: &TempDir, arguments: &[&str]) -> String {
    let output = output(directory, arguments);
    assert!(!output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A directory with a short key in `key.pem`.
fn with_key() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    json(&directory, &["keygen", "--bits", "1024", "-o", "key.pem"]);
    directory
}

#[test]
fn a_new_key_is_pkcs8_for_its_owner_alone_and_is_never_overwritten() {
    let directory = with_key();
    let path = directory.path().join("key.pem");
    assert_eq!(mode(&path), 0o600);
    let pem = fs::read_to_string(&path).unwrap();
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    let complaint = complaint(&directory, &["keygen", "-o", "key.pem"]);
    assert!(complaint.contains("key.pem exists") && complaint.contains("-o"));
    assert_eq!(fs::read_to_string(&path).unwrap(), pem);
    assert_eq!(names(directory.path()), ["key.pem"]);
}

#[test]
fn a_new_cga_verifies_under_its_prefix_and_no_other_address_does() {
    let directory = with_key();
    let new = ["cga", "new", "--key", "key.pem", "-o", "a.cga"];
    let prefix = [
        "--prefix",
        "2001:db8:1:2::/64",
        "--sec",
        "1",
        "--threads",
        "2",
    ];
    let made = json(&directory, &[&new[..], &prefix].concat());
    assert_eq!(names(directory.path()), ["a.cga", "key.pem"]);
    assert_eq!((&made["kind"], &made["sec"]), (&"cga".into(), &1.into()));
    let address = made["addresses"][0]["address"].as_str().unwrap();
    assert!(address.starts_with("2001:db8:1:2:"));

    let verified = json(&directory, &["cga", "verify", address, "a.cga"]);
    assert_eq!(verified["valid"], true);
    let shown = json(&directory, &["cga", "show", "a.cga"]);
    assert_eq!(shown["address"], address);
    assert_eq!(shown["subnet_prefix"], "2001:db8:1:2::/64");
    assert_eq!(shown["rsa_bits"], 1024);
    assert_eq!(shown["prefixes"], Value::Array(Vec::new()));

    let refused = output(
        &directory,
        &["cga", "verify", "2001:db8:1:2::1", "a.cga", "--json"],
    );
    assert_eq!(refused.status.code(), Some(1));
    let refused: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(refused["valid"], false);
    assert!(refused["reason"].as_str().unwrap().contains("Hash1"));
    // A CGA is in no set.
    assert!(
        !output(&directory, &["hba", "verify", address, "a.cga"])
            .status
            .success()
    );
}

#[test]
fn without_a_key_one_is_made_beside_the_parameters() {
    let directory = tempfile::tempdir().unwrap();
    let new = [
        "cga",
        "new",
        "--prefix",
        "2001:db8::",
        "--sec",
        "0",
        "-o",
        ".",
    ];
    let made = json(&directory, &new);
    let file = directory
        .path()
        .join(made["addresses"][0]["file"].as_str().unwrap());
    let key = directory.path().join(made["key_file"].as_str().unwrap());
    assert_eq!(mode(&key), 0o600);
    assert_ne!(mode(&file) & 0o400, 0);
    let address = made["addresses"][0]["address"].as_str().unwrap();
    assert_eq!(
        names(directory.path()),
        [format!("{address}.cga"), format!("{address}.cga.pem")]
    );
    // The key is the one of the parameters: with it, the same field is made again.
    let key = key.to_str().unwrap();
    json(
        &directory,
        &[
            "cga",
            "new",
            "--key",
            key,
            "--prefix",
            "2001:db8::",
            "-o",
            "again.cga",
        ],
    );
    let again = fs::read(directory.path().join("again.cga")).unwrap();
    assert_eq!(fs::read(&file).unwrap()[25..], again[25..]);
}

#[test]
fn every_member_of_a_new_set_verifies_by_the_parameters_of_every_other() {
    let directory = with_key();
    for (key, kind, bits) in [
        (&[][..], "hba", Value::Null),
        (&["--key", "key.pem"], "cga-compatible-hba", 1024.into()),
    ] {
        let new = [
            "hba",
            "new",
            "--prefix",
            "2001:db8:1::/64",
            "--prefix",
            "2001:db8:2::/64",
        ];
        let made = json(&directory, &[&new[..], key, &["-o", kind]].concat());
        assert_eq!(made["kind"], kind);
        let members = made["addresses"].as_array().unwrap();
        assert_eq!(members.len(), 2);
        for member in members {
            let address = member["address"].as_str().unwrap();
            for other in members {
                let file = other["file"].as_str().unwrap();
                assert_eq!(
                    file,
                    format!("{kind}/{}.cga", other["address"].as_str().unwrap())
                );
                assert_eq!(
                    json(&directory, &["hba", "verify", address, file])["valid"],
                    true
                );
                let shown = json(&directory, &["cga", "show", file]);
                assert_eq!((&shown["kind"], &shown["rsa_bits"]), (&kind.into(), &bits));
                assert_eq!(shown["prefixes"].as_array().unwrap().len(), 2);
            }
        }
        let outside = json(
            &directory,
            &[
                &["hba", "new", "--prefix", "2001:db8:3::"][..],
                &["-o", "."],
            ]
            .concat(),
        );
        let outsider = outside["addresses"][0]["address"].as_str().unwrap();
        let file = members[0]["file"].as_str().unwrap();
        let refused = output(&directory, &["hba", "verify", outsider, file]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            String::from_utf8(refused.stdout)
                .unwrap()
                .contains("prefix is not in")
        );
    }
}

#[test]
fn mistakes_are_told_before_the_work() {
    let directory = with_key();
    fs::write(directory.path().join("junk"), "junk").unwrap();
    // Sec 2 would take minutes.
    for (arguments, expected) in [
        (
            "cga new --sec 2 --prefix 2001:db8::/64 --key key.pem -o junk",
            "junk exists",
        ),
        (
            "cga new --sec 2 --prefix 2001:db8::/64 --key key.pem -o no/x",
            "cannot write into no",
        ),
        (
            "cga new --sec 2 --prefix 2001:db8::/64 --key junk -o x",
            "shimq keygen",
        ),
        (
            "cga new --sec 2 --prefix 2001:db8::/64 --key none -o x",
            "cannot read none",
        ),
        (
            "cga new --sec 2 --prefix 2001:db8::/48 --key key.pem -o x",
            "64 bits",
        ),
        (
            "cga new --sec 3 --prefix 2001:db8::/64 --key key.pem -o x",
            "3 is not in 0..=2",
        ),
        (
            "hba new --sec 2 --prefix 2001:db8:: --prefix 2001:db8:: -o x",
            "given twice",
        ),
        (
            "hba new --sec 2 --prefix 2001:db8:: -o junk",
            "cannot write into junk",
        ),
        ("hba new --sec 2 -o x", "--prefix"),
        ("keygen --bits 512 -o x", "512 is not in 1024..=3072"),
        ("keygen --bits 4096 -o x", "4096 is not in 1024..=3072"),
        ("cga show junk", "junk holds no parameters"),
    ] {
        let words: Vec<&str> = arguments.split(' ').collect();
        let complaint = complaint(&directory, &words);
        assert!(complaint.contains(expected), "{arguments}: {complaint}");
        assert_eq!(names(directory.path()), ["junk", "key.pem"], "{arguments}");
    }
}

/// Ends a search of minutes and returns how long that took.
fn interrupt_a_search(directory: &TempDir, signal: Signal, arguments: &[&str]) -> Duration {
    let child = shimq(directory, arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    await_threads(&child, 2);
    let told = Instant::now();
    kill_process(Pid::from_child(&child), signal).unwrap();
    let output = child.wait_with_output().unwrap();
    let took = told.elapsed();
    assert!(!output.status.success());
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(complaint, "shimq: interrupted; nothing was written\n");
    took
}

/// Waits until a process has so many threads beside the one that watches and the one that waits.
fn await_threads(child: &Child, searching: usize) {
    let tasks = PathBuf::from(format!("/proc/{}/task", child.id()));
    let deadline = Instant::now() + Duration::from_secs(20);
    while fs::read_dir(&tasks).unwrap().count() < 2 + searching {
        assert!(Instant::now() < deadline, "no search within 20 s");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_interrupted_search_ends_at_once_and_leaves_nothing() {
    let directory = with_key();
    let cga = [
        "cga",
        "new",
        "--key",
        "key.pem",
        "--prefix",
        "2001:db8::",
        "-o",
        "x",
    ];
    let hba = ["hba", "new", "--prefix", "2001:db8::", "-o", "x"];
    let hard = ["--sec", "2", "--threads", "2"];
    for (signal, command) in [(Signal::INT, &cga[..]), (Signal::TERM, &hba[..])] {
        let took = interrupt_a_search(&directory, signal, &[command, &hard].concat());
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert_eq!(names(directory.path()), ["key.pem"]);
    }
}
