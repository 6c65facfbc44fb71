//! Who may open a queue, and what the others are told.

use std::io;

use super::{BACKENDS, REWRITE};
use crate::support::{close, enter_namespace};
use shimq_netfilter::queue::{QueueConfig, QueueError, statistics};

#[test]
fn a_taken_number_names_its_holder() {
    if !enter_namespace() {
        return;
    }
    for (_, open) in BACKENDS {
        let first = open(&QueueConfig::rewrite(REWRITE)).unwrap();
        let holder = statistics().unwrap()[0].port_id;
        for (name, open) in BACKENDS {
            match open(&QueueConfig::rewrite(REWRITE)) {
                Err(QueueError::Taken { number, port_id }) => {
                    assert_eq!((number, port_id), (REWRITE, holder), "{name}");
                }
                Err(other) => panic!("{name}: {other:?}"),
                Ok(_) => panic!("{name}: two holders"),
            }
        }
        close(first);
    }
}

#[test]
fn a_queue_without_the_capability_says_so() {
    if !enter_namespace() {
        return;
    }
    // An ordinary user's children in this namespace; the test itself keeps its privilege.
    let program = std::env::current_exe().unwrap();
    let attempt = std::process::Command::new("setpriv")
        .args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"])
        .arg(program)
        .args([
            "--ignored",
            "--exact",
            "queue::opening::opens_a_queue_without_privilege",
            "--nocapture",
        ])
        .output();
    match attempt {
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: needs setpriv");
        }
        finished => {
            let finished = finished.unwrap();
            let text = String::from_utf8_lossy(&finished.stdout);
            assert!(finished.status.success(), "{text}");
            assert!(text.contains("1 passed"), "{text}");
        }
    }
}

#[test]
#[ignore = "run by a_queue_without_the_capability_says_so"]
fn opens_a_queue_without_privilege() {
    for (name, open) in BACKENDS {
        let refused = open(&QueueConfig::rewrite(REWRITE)).err();
        assert!(
            matches!(refused, Some(QueueError::Capability { number: REWRITE })),
            "{name}: {refused:?}"
        );
    }
}
