//! `shimq fork`: a context of its own for packets with a mark (RFC 5533 §4.2).

use std::io::{self, Write};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::DEFAULT_SOCKET;
use crate::control::{self, ControlError, Request};

/// How long the peer may take: one repetition of an I1 and some.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which fork.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub(crate) struct ForkName {
    /// ULID of this host.
    pub(crate) local: Ipv6Addr,
    /// ULID of the other.
    pub(crate) peer: Ipv6Addr,
    /// `SO_MARK` of the sockets; the Forked Instance Identifier as well.
    pub(crate) mark: u32,
}

/// Two locators, `LOCAL,PEER`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub(crate) struct PairArgument {
    pub(crate) local: Ipv6Addr,
    pub(crate) peer: Ipv6Addr,
}

impl FromStr for PairArgument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let both = text.split_once(',');
        let both = both.and_then(|(local, peer)| local.parse().ok().zip(peer.parse().ok()));
        let (local, peer) = both.ok_or("two IPv6 addresses with a comma between them")?;
        Ok(Self { local, peer })
    }
}

#[derive(Args, Debug)]
pub(crate) struct ForkArgs {
    /// The context's ULID of this host: the address that applications use.
    local: Ipv6Addr,
    /// Its ULID of the other host.
    peer: Ipv6Addr,
    /// Packets of sockets with this mark (`SO_MARK`) use the fork; 0x for hexadecimal.
    #[arg(long, value_name = "N", value_parser = parse_mark)]
    mark: u32,
    /// The locators that it begins on; the ULIDs themselves if there are none.
    #[arg(long, value_name = "LOCAL,PEER", conflicts_with = "remove")]
    pair: Option<PairArgument>,
    /// Take the fork back: its packets go the way of all others again.
    #[arg(long)]
    remove: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The daemon's control socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

fn parse_mark(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| error.to_string())
}

/// Makes a fork and waits until the peer has it, or takes one back. Fails if the peer does not answer.
///
/// # Errors
///
/// [`ControlError`].
pub(crate) fn run(args: &ForkArgs) -> Result<ExitCode, ControlError> {
    let name = ForkName {
        local: args.local,
        peer: args.peer,
        mark: args.mark,
    };
    if args.remove {
        control::ask(&args.socket, &Request::EndFork(name))?;
        tell(args, &Value::Null, "removed")?;
        return Ok(ExitCode::SUCCESS);
    }
    let pair = args.pair;
    control::ask(&args.socket, &Request::Fork { name, pair })?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let context = find(&control::ask(&args.socket, &Request::Contexts)?, name);
        match context["state"].as_str() {
            Some("ESTABLISHED") => {
                tell(args, &context, "established")?;
                return Ok(ExitCode::SUCCESS);
            }
            Some("I1-SENT" | "I2-SENT" | "I2BIS-SENT") if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(20));
            }
            Some(_) | None => {
                let words = "no answer on this pair; packets with the mark go as before";
                tell(args, &context, words)?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
}

/// The fork among all contexts.
fn find(contexts: &Value, name: ForkName) -> Value {
    let is_it = |context: &&Value| {
        context["fii"] == name.mark
            && context["ulids"]["local"] == name.local.to_string()
            && context["ulids"]["peer"] == name.peer.to_string()
    };
    let found = contexts.as_array().into_iter().flatten().find(is_it);
    found.cloned().unwrap_or_default()
}

fn tell(args: &ForkArgs, context: &Value, words: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        return writeln!(out, "{context}");
    }
    let (local, peer, mark) = (args.local, args.peer, args.mark);
    write!(out, "{local} - {peer} mark {mark:#x}: {words}")?;
    if let (Some(local), Some(peer)) = (
        context["locators"]["local"].as_str(),
        context["locators"]["peer"].as_str(),
    ) {
        write!(out, " on {local} > {peer}")?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_in_both_bases_and_pairs_with_a_comma() {
        assert_eq!(parse_mark("17"), Ok(17));
        assert_eq!(parse_mark("0x5533"), Ok(0x5533));
        assert!(parse_mark("five").is_err() && parse_mark("0x1ffffffff").is_err());
        let pair: PairArgument = "2001:db8::1,2001:db8::2".parse().unwrap();
        assert_eq!(pair.peer.to_string(), "2001:db8::2");
        assert!("2001:db8::1".parse::<PairArgument>().is_err());
    }
}
