//! What the workspace may depend on, and which way its arrows point.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Licences under which a dependency may come; of alternatives one suffices.
const LICENCES: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that know an operating system's sockets, clocks or threads: nothing for the protocol.
const OPERATING_SYSTEM: [&str; 11] = [
    "tokio",
    "nfq",
    "nftnl",
    "mnl",
    "rtnetlink",
    "netlink-packet-route",
    "socket2",
    "rustix",
    "nix",
    "libc",
    "mio",
];

/// Crates in which `unsafe` is allowed, each block with its reason.
const MAY_BE_UNSAFE: [&str; 2] = ["shimq-netfilter", "shim6-cga"];

/// What `cargo metadata` says of the workspace as it is locked.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

fn packages(metadata: &Value) -> &[Value] {
    metadata["packages"].as_array().expect("a list of packages")
}

fn name(package: &Value) -> &str {
    package["name"].as_str().expect("a name")
}

fn is_ours(package: &Value) -> bool {
    package["source"].is_null()
}

/// Whether a licence expression leaves a choice that is allowed.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace(['(', ')'], "").replace('/', " OR ");
    let every = |terms: &str| {
        terms
            .split(" AND ")
            .all(|term| LICENCES.contains(&term.trim()))
    };
    expression.split(" OR ").any(every)
        // "(A OR B) AND C" without its parentheses reads "A OR B AND C".
        || expression.split(" AND ").all(|part| part.split(" OR ").any(every))
}

#[test]
fn every_dependency_comes_from_the_registry_under_a_licence_that_we_may_use() {
    let metadata = metadata();
    let foreign: Vec<_> = packages(&metadata)
        .iter()
        .filter(|package| !is_ours(package))
        .collect();
    assert!(foreign.len() > 50, "cargo metadata lists the dependencies");
    for package in foreign {
        let source = package["source"].as_str().unwrap_or_default();
        assert!(
            source.starts_with("registry+"),
            "{} comes from {source}",
            name(package)
        );
        let licence = package["license"].as_str().unwrap_or("(a file of its own)");
        assert!(is_allowed(licence), "{} is under {licence}", name(package));
    }
}

#[test]
fn licence_expressions_are_read_as_written() {
    assert!(is_allowed("MIT OR Apache-2.0"));
    assert!(is_allowed("GPL-3.0 OR MIT"));
    assert!(is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(!is_allowed("GPL-3.0-only"));
    assert!(!is_allowed("MIT AND GPL-3.0-only"));
}

#[test]
fn the_protocol_crates_know_no_operating_system_and_none_of_ours_that_does() {
    let metadata = metadata();
    let mut checked = BTreeSet::new();
    for package in packages(&metadata)
        .iter()
        .filter(|package| is_ours(package))
    {
        if !name(package).starts_with("shim6-") {
            continue;
        }
        checked.insert(name(package));
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let depends_on = dependency["name"].as_str().unwrap_or_default();
            let forbidden =
                OPERATING_SYSTEM.contains(&depends_on) || depends_on.starts_with("shimq");
            assert!(
                !forbidden,
                "{} must not depend on {depends_on}",
                name(package)
            );
        }
    }
    assert_eq!(checked.len(), 4, "{checked:?}");
}

#[test]
fn one_version_of_each_cryptographic_crate_is_built() {
    let metadata = metadata();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages(&metadata) {
        let version = package["version"].as_str().unwrap_or_default();
        versions.entry(name(package)).or_default().insert(version);
    }
    for crypto in ["ring", "rsa", "sha1", "rand_chacha", "zeroize"] {
        let built = versions.get(crypto).map_or(0, BTreeSet::len);
        // A second rand_chacha comes with proptest, which never ships.
        let most = if crypto == "rand_chacha" { 2 } else { 1 };
        assert!(
            (1..=most).contains(&built),
            "{crypto}: {:?}",
            versions.get(crypto)
        );
    }
}

#[test]
fn unsafe_code_is_forbidden_but_where_it_is_needed() {
    let metadata = metadata();
    for package in packages(&metadata)
        .iter()
        .filter(|package| is_ours(package))
    {
        let manifest = package["manifest_path"].as_str().expect("a path");
        let manifest = std::fs::read_to_string(manifest).expect("a manifest");
        let inherits = manifest.contains("[lints]\nworkspace = true");
        assert!(
            inherits != MAY_BE_UNSAFE.contains(&name(package)),
            "{}: the workspace's lints forbid unsafe code",
            name(package)
        );
    }
}
