//! The committed object is what its source says.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::process::Command;

use object::{Object, ObjectSection};

/// The compiler that the committed object is from; another one may choose other instructions.
const COMPILER: &str = "clang version 14.";

#[test]
fn the_committed_object_is_what_its_source_compiles_to() {
    let compiler = Command::new("clang").arg("--version").output();
    let version = compiler.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    if !version.as_ref().is_ok_and(|text| text.contains(COMPILER)) {
        eprintln!("SKIPPED, nothing was tested: needs {COMPILER}x, found {version:?}");
        return;
    }
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bpf");
    let folder = tempfile::tempdir().unwrap();
    let built = folder.path().join("shim.bpf.o");
    let status = Command::new(sources.join("build")).arg(&built).status();
    assert!(status.unwrap().success());

    let committed = fs::read(sources.join("shim.bpf.o")).unwrap();
    let built = fs::read(built).unwrap();
    // What the kernel is given. Type information also depends on the machine's kernel headers.
    for section in ["classifier", ".rodata", ".maps", "license"] {
        assert_eq!(
            content(&committed, section),
            content(&built, section),
            "{section} differs: run {}",
            sources.join("build").display()
        );
    }
}

#[test]
fn the_committed_object_names_no_path_of_the_machine_it_was_built_on() {
    let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bpf/shim.bpf.o");
    let octets = fs::read(object).unwrap();
    let text = String::from_utf8_lossy(&octets);
    assert!(text.contains("./shim.bpf.c"));
    for folder in ["/home", "/root", "/usr", "/tmp", "/crates"] {
        assert!(!text.contains(folder), "{folder}");
    }
}

fn content(object: &[u8], section: &str) -> Vec<u8> {
    let object = object::File::parse(object).unwrap();
    let section = object.section_by_name(section).unwrap();
    section.data().unwrap().to_vec()
}
