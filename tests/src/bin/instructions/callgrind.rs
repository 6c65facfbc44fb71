//! Runs the trace under callgrind and reads what it wrote.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::process::Command;

use super::trace::Direction;
use super::{Error, io};

/// What was executed while the trace was mapped.
#[derive(Debug, Default)]
pub(super) struct Count {
    /// Instructions of functions of this program.
    pub(super) ours: f64,
    /// Functions that were asked for memory, or given some back.
    pub(super) allocators: BTreeSet<String>,
}

/// Maps the trace under callgrind.
pub(super) fn count(direction: Direction) -> Result<Count, Error> {
    let program = env::current_exe().map_err(io("find this program"))?;
    let folder = tempfile::tempdir().map_err(io("make a folder"))?;
    let out = folder.path().join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*map_trace*"])
        .args(["--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(&program)
        .args(["--trace", direction.name()])
        .output()
        .map_err(io("run valgrind"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::Valgrind(said));
    }
    let text = fs::read_to_string(&out).map_err(io("read callgrind's output"))?;
    let count = parse(&text, &program.to_string_lossy());
    if count.ours == 0.0 {
        return Err(Error::Valgrind(
            "nothing was counted: does it find the function map_trace?".to_owned(),
        ));
    }
    Ok(count)
}

/// Adds up what functions of `program` cost themselves. The format is that of callgrind's manual: a line
/// with the cost of a call, which follows `calls=`, is about the function that is called.
fn parse(text: &str, program: &str) -> Count {
    let mut count = Count::default();
    let mut ours = false;
    let mut is_call = false;
    for line in text.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            ours = object == program;
        } else if let Some(function) = line.strip_prefix("fn=") {
            if ALLOCATORS.contains(&function) {
                count.allocators.insert(function.to_owned());
            }
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit()) {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse().ok());
            if ours && !is_call {
                count.ours += cost.unwrap_or(0.0);
            }
            is_call = false;
        }
    }
    count
}

/// Of the C library.
const ALLOCATORS: [&str; 5] = ["malloc", "calloc", "realloc", "free", "posix_memalign"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_our_functions_cost_themselves_is_added_up() {
        let text = "\
events: Ir
ob=/here/instructions
fl=main.rs
fn=map_trace
10 7
11 3
cob=/lib/libc.so.6
cfn=memmove
calls=2 0
11 400
12 5
ob=/lib/libc.so.6
fn=memmove
0 400
fn=malloc
0 9
ob=/here/instructions
fn=FlowTable::outgoing
20 100
";
        let count = parse(text, "/here/instructions");
        assert_eq!(count.ours.to_string(), "115");
        assert_eq!(Vec::from_iter(count.allocators), ["malloc"]);
    }
}
