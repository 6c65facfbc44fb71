//! The C programs: compiled once, then one on each host.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use shimq_testbed::{Process, find};

use super::{Stage, Tools};
use crate::network::{LINKS, Side};
use shimq_benches::error::BenchError;

/// The compiled programs.
#[derive(Debug)]
pub(crate) struct Floors {
    accept: PathBuf,
    rewrite: PathBuf,
}

/// Which loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Accept,
    RewritePacked,
    RewriteBuffered,
    RewriteNaive,
}

/// The sources, `floor.h` first.
const SOURCES: [(&str, &str); 5] = [
    ("floor.h", include_str!("../../../../floor/floor.h")),
    ("queue.c", include_str!("../../../../floor/queue.c")),
    ("rule.c", include_str!("../../../../floor/rule.c")),
    ("accept.c", include_str!("../../../../floor/accept.c")),
    ("rewrite.c", include_str!("../../../../floor/rewrite.c")),
];

/// Compiles the programs into `folder`.
///
/// # Errors
///
/// No compiler, no libraries: without these programs everything else can still be measured.
pub(crate) fn compile(folder: &Path) -> Result<Floors, BenchError> {
    for (name, text) in SOURCES {
        std::fs::write(folder.join(name), text).map_err(BenchError::io("write C sources"))?;
    }
    Ok(Floors {
        accept: compile_one(folder, "accept")?,
        rewrite: compile_one(folder, "rewrite")?,
    })
}

fn compile_one(folder: &Path, name: &str) -> Result<PathBuf, BenchError> {
    let main = format!("{name}.c");
    let output = Command::new(find("cc")?)
        .current_dir(folder)
        .args(["-O2", "-o", name, &main, "queue.c", "rule.c"])
        .args(["-lnftnl", "-lmnl"])
        .output()
        .map_err(BenchError::io("run cc"))?;
    if output.status.success() {
        Ok(folder.join(name))
    } else {
        Err(BenchError::program(
            "cc",
            String::from_utf8_lossy(&output.stderr),
        ))
    }
}

/// Starts the loop on both hosts.
pub(super) fn set_up<'n>(
    mut stage: Stage<'n>,
    tools: &Tools,
    kind: Kind,
) -> Result<Stage<'n>, BenchError> {
    let Some(floors) = &tools.floors else {
        return Err(BenchError::program("cc", "the C programs are not compiled"));
    };
    for side in Side::BOTH {
        let peer = side.other();
        let ulids = [side.address(0), peer.address(0)];
        let locators = [side.address(1), peer.address(1)];
        let (program, how) = match kind {
            Kind::Accept => (&floors.accept, None),
            Kind::RewritePacked => (&floors.rewrite, Some("packed")),
            Kind::RewriteBuffered => (&floors.rewrite, Some("buffered")),
            Kind::RewriteNaive => (&floors.rewrite, Some("naive")),
        };
        let mut command = stage.host(side).command(program)?;
        command.args(how).args(ulids.map(|ulid| ulid.to_string()));
        if kind != Kind::Accept {
            command.args(locators.map(|locator| locator.to_string()));
            // Rewritten packets are longer by 8 octets, and nobody here translates complaints.
            let route = format!("route add {}/128 dev {} mtu 1492", ulids[1], LINKS[0]);
            stage.network.ip(side, &[route])?;
        }
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut server = stage.host(side).spawn(command)?;
        wait_until_ready(&mut server, program)?;
        stage.servers.push(server);
    }
    Ok(stage)
}

/// The programs say so once their rules are loaded.
fn wait_until_ready(server: &mut Process, program: &Path) -> Result<(), BenchError> {
    let mut line = String::new();
    if let Some(stdout) = &mut server.child().stdout {
        BufReader::new(stdout)
            .read_line(&mut line)
            .map_err(BenchError::io("read from a C program"))?;
    }
    if line == "ready\n" {
        Ok(())
    } else {
        Err(BenchError::program(
            program.display().to_string(),
            "ended before it was ready",
        ))
    }
}
