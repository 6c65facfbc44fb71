//! An application that chooses paths: two connections to one server, each with a mark of its own.
//!
//! With a fork for each mark (`shimq fork LOCAL PEER --mark 17 --pair A,B`, and another for 18 on another
//! pair) the two connections leave over two pairs of locators at the same time; without forks the marks
//! mean nothing. `SO_MARK` needs CAP_NET_ADMIN.
//!
//! Try it against anything that reads: `nc -6 -lk 5000 >/dev/null` on the other host, then
//! `cargo run --example marked -- LOCAL [PEER]:5000 17 18`, and watch `shimq contexts`.

use std::env;
use std::io::{self, Write};
use std::net::{Ipv6Addr, SocketAddrV6, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// How long both connections send.
const SPAN: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let Some((local, server, marks)) = arguments() else {
        let _ = writeln!(io::stderr(), "marked LOCAL [PEER]:PORT MARK MARK");
        return ExitCode::FAILURE;
    };
    match run(local, server, marks) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "marked: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Option<(Ipv6Addr, SocketAddrV6, [u32; 2])> {
    let mut words = env::args().skip(1);
    let (local, server) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let marks = [words.next()?.parse().ok()?, words.next()?.parse().ok()?];
    Some((local, server, marks))
}

fn run(local: Ipv6Addr, server: SocketAddrV6, marks: [u32; 2]) -> io::Result<()> {
    let mut connections = Vec::new();
    for mark in marks {
        connections.push((mark, connect(local, server, mark)?, 0_u64));
    }
    let chunk = [0x61; 4096];
    let start = Instant::now();
    while start.elapsed() < SPAN {
        for (_, connection, sent) in &mut connections {
            connection.write_all(&chunk)?;
            *sent += chunk.len() as u64;
        }
    }
    for (mark, _, sent) in connections {
        writeln!(io::stdout(), "mark {mark}: {sent} octets")?;
    }
    Ok(())
}

/// The mark has to be there before the first packet, so that the whole connection takes one way.
fn connect(local: Ipv6Addr, server: SocketAddrV6, mark: u32) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_mark(mark)?;
    socket.bind(&SocketAddrV6::new(local, 0, 0, 0).into())?;
    socket.connect(&server.into())?;
    Ok(socket.into())
}
