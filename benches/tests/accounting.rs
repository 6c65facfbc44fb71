//! The short form of `make accounting`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{self, Write};
use std::process::Command;

use serde_json::Value;

#[test]
fn every_packet_is_delivered_or_counted_and_none_comes_twice() {
    match shimq_testbed::gain_privilege() {
        Ok(()) => {}
        Err(error) => {
            // Not by a macro, whose output the test harness would keep to itself.
            let skipped = format!("SKIPPED: {error}\n");
            io::stderr().write_all(skipped.as_bytes()).unwrap();
            return;
        }
    }
    let mut accounting = Command::new(env!("CARGO_BIN_EXE_accounting"));
    let output = accounting.args(["--packets", "100000", "--json"]).output();
    let output = output.unwrap();
    let [said, complaint] =
        [&output.stdout, &output.stderr].map(|octets| String::from_utf8_lossy(octets));
    assert!(output.status.success(), "{said}{complaint}");
    let results: Value = serde_json::from_str(&said).unwrap();
    let phases = results["phases"].as_array().unwrap();
    assert!(phases.len() >= 3, "{said}{complaint}");
    // The bursts did overflow queues and buffers.
    let drops = phases[0]["drops"].as_object().unwrap();
    for reason in ["A, kernel: queue", "B, kernel: queue", "B, kernel: socket"] {
        assert!(drops.keys().any(|drop| drop.starts_with(reason)), "{said}");
    }
}
