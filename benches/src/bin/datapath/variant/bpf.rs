//! Mapping by BPF programs without shimq: the rewriter that it uses, and a plain one.
//!
//! Both are told what to map from the start, and decide nothing.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use shim6_core::{LocatorPair, UlidPair};
use shim6_wire::ContextTag;
use shimq_bpf::{BpfError, Config, MappedFlow, Rewriter};
use shimq_testbed::find;

use super::{Stage, Tools};
use crate::network::{LINKS, Side};
use shimq_benches::error::BenchError;

/// Attaches a rewriter on each host; its flow is from one link's addresses to the other's.
pub(super) fn set_up_rewriters(mut stage: Stage<'_>) -> Result<Stage<'_>, BenchError> {
    for side in Side::BOTH {
        let flow = flow(side);
        let attached = stage.host(side).enter(|| {
            let mut rewriter = Rewriter::attach(&Config::default())?;
            rewriter.insert(&flow)?;
            Ok::<_, BpfError>(rewriter)
        })?;
        stage.rewriters.push(attached.map_err(complaint)?);
    }
    Ok(stage)
}

pub(super) fn complaint(error: BpfError) -> BenchError {
    BenchError::program("the rewriter", error)
}

fn flow(side: Side) -> MappedFlow {
    let peer = side.other();
    let tag = |side: Side| ContextTag::from_bits(if side == Side::A { 0xa } else { 0xb });
    MappedFlow {
        ulids: UlidPair {
            local: side.address(0),
            peer: peer.address(0),
        },
        locators: LocatorPair {
            local: side.address(1),
            peer: peer.address(1),
        },
        peer_tag: tag(peer),
        local_tag: tag(side),
        local_locators: vec![side.address(1)],
    }
}

/// Compiles the plain rewriter for each host and attaches it. TCP then sends segments one by one.
pub(super) fn set_up_single<'n>(stage: Stage<'n>, tools: &Tools) -> Result<Stage<'n>, BenchError> {
    for side in Side::BOTH {
        let host = stage.host(side);
        let out = host.enter(|| rustix::net::netdevice::name_to_index(socket()?, LINKS[1]))?;
        let out = out.map_err(BenchError::io("find a link"))?;
        let object = compile(&tools.folder, side, out)?;
        let object = object.to_string_lossy();
        let peer = side.other().address(0);
        let route = format!("route add {peer}/128 dev {} mtu 1492", LINKS[0]);
        stage.network.ip(side, &[route])?;
        host.run("ip", ["link", "set", LINKS[0], "gso_max_segs", "1"])?;
        for (link, direction, section) in [
            (LINKS[0], "egress", "classifier/send"),
            (LINKS[1], "ingress", "classifier/receive"),
        ] {
            host.run("tc", ["qdisc", "add", "dev", link, "clsact"])?;
            let filter = ["filter", "add", "dev", link, direction];
            let program = ["bpf", "da", "obj", &object, "sec", section];
            host.run("tc", filter.into_iter().chain(program))?;
        }
    }
    Ok(stage)
}

/// Any socket: interfaces are asked for by one.
fn socket() -> rustix::io::Result<rustix::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketType};
    rustix::net::socket(AddressFamily::INET6, SocketType::DGRAM, None)
}

fn compile(folder: &Path, side: Side, out: u32) -> Result<PathBuf, BenchError> {
    let source = folder.join("single.bpf.c");
    let object = folder.join(format!("single-{side:?}.bpf.o"));
    std::fs::write(&source, SOURCE).map_err(BenchError::io("write C sources"))?;
    let define = |name: &str, address: Ipv6Addr| format!("-D{name}={}", words(address));
    let peer = side.other();
    let output = Command::new(find("clang")?)
        .args(["-target", "bpf", "-mcpu=v2", "-O2", "-g"])
        .arg(format!(
            "-I/usr/include/{}-linux-gnu",
            std::env::consts::ARCH
        ))
        .arg(define("LOCAL_ULID", side.address(0)))
        .arg(define("PEER_ULID", peer.address(0)))
        .arg(define("LOCAL_LOCATOR", side.address(1)))
        .arg(define("PEER_LOCATOR", peer.address(1)))
        .arg(format!("-DLINK={out}"))
        .arg("-c")
        .arg(&source)
        .arg("-o")
        .arg(&object)
        .output()
        .map_err(BenchError::io("run clang"))?;
    if output.status.success() {
        Ok(object)
    } else {
        Err(BenchError::program(
            "clang",
            String::from_utf8_lossy(&output.stderr),
        ))
    }
}

/// Four words of 32 bits, as C has them in a list.
fn words(address: Ipv6Addr) -> String {
    let bits = address.to_bits();
    let words = [96, 64, 32, 0].map(|shift| format!("{:#x}", (bits >> shift) as u32));
    words.join(",")
}

const SOURCE: &str = include_str!("../../../../floor/single.bpf.c");
