//! The application: curl at host A fetches a file from Python's web server at host B.
//!
//! Neither knows of the demo, and nothing about them is adapted: the providers' rate paces them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv6Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::RngCore;
use ring::digest::{Context, Digest, SHA256};
use shimq_testbed::{Namespace, Process, TwoHosts};

use super::DemoError;

/// A file on its way; ended when dropped.
pub(super) struct Transfer {
    client: Process,
    _server: Process,
    received: PathBuf,
    digest: Digest,
    log: PathBuf,
}

impl Transfer {
    /// Makes a file of `octets`, serves it at host B, and has host A fetch it from the address
    /// `to`, sending from the address `from`.
    ///
    /// Works in `folder`; what the programs say goes to `logs`.
    pub(super) fn start(
        network: &TwoHosts,
        (from, to): (Ipv6Addr, Ipv6Addr),
        octets: u64,
        random: &mut ChaCha8Rng,
        (folder, logs): (&Path, &Path),
    ) -> Result<Self, DemoError> {
        let site = folder.join("served");
        fs::create_dir(&site).map_err(DemoError::io("make a folder"))?;
        let digest = write_file(&site.join(FILE), octets, random)
            .map_err(DemoError::io("write the file to send"))?;
        let server = serve(&network.b, &site, &logs.join("server.log"))?;

        let received = folder.join("received");
        let log = logs.join("client.log");
        let mut client = network.a.command("curl")?;
        client.args(["--silent", "--show-error", "--fail", "--globoff"]);
        client.args([
            "--noproxy",
            "*",
            "--interface",
            &from.to_string(),
            "--output",
        ]);
        client
            .arg(&received)
            .arg(format!("http://[{to}]:{PORT}/{FILE}"));
        client
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(create(&log)?);
        Ok(Self {
            client: network.a.spawn(client)?,
            _server: server,
            received,
            digest,
            log,
        })
    }

    /// Octets that the client has received and written so far.
    pub(super) fn received(&self) -> u64 {
        // Not there before the first byte.
        fs::metadata(&self.received).map_or(0, |file| file.len())
    }

    /// How the client ended; `None` while it runs.
    pub(super) fn try_wait(&mut self) -> Result<Option<ExitStatus>, DemoError> {
        Ok(self.client.try_wait()?)
    }

    /// What the client has complained about.
    pub(super) fn complaint(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log).trim().to_owned()
    }

    /// The SHA-256 of the file that was served, and of what was received.
    pub(super) fn digests(&self) -> Result<(String, String), DemoError> {
        let received = digest(&self.received).map_err(DemoError::io("read the received file"))?;
        Ok((hex(&self.digest), hex(&received)))
    }
}

/// Starts the server, and returns once it accepts connections.
fn serve(host: &Namespace, folder: &Path, log: &Path) -> Result<Process, DemoError> {
    let mut server = host.command("python3")?;
    server.args(["-m", "http.server", "--bind", "::", "--directory"]);
    server.arg(folder).arg(PORT.to_string());
    server
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(create(log)?);
    let mut server = host.spawn(server)?;
    let deadline = Instant::now() + SERVER_PATIENCE;
    loop {
        let connected = host.enter(|| TcpStream::connect((Ipv6Addr::LOCALHOST, PORT)))?;
        let Err(refused) = connected else {
            return Ok(server);
        };
        if Instant::now() > deadline || server.try_wait()?.is_some() {
            return Err(DemoError::io("connect to the web server")(refused));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn create(log: &Path) -> Result<File, DemoError> {
    File::create(log).map_err(DemoError::io(format!("create {}", log.display())))
}

/// Writes random octets, which no compression could shorten, and returns their digest.
fn write_file(file: &Path, octets: u64, random: &mut ChaCha8Rng) -> io::Result<Digest> {
    let mut content = vec![0; octets as usize];
    random.fill_bytes(&mut content);
    fs::write(file, &content)?;
    Ok(ring::digest::digest(&SHA256, &content))
}

fn digest(file: &Path) -> io::Result<Digest> {
    let mut context = Context::new(&SHA256);
    let mut file = File::open(file)?;
    let mut chunk = vec![0; 1 << 16];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(context.finish()),
            read => context.update(&chunk[..read]),
        }
    }
}

fn hex(digest: &Digest) -> String {
    let octets = digest.as_ref().iter();
    octets
        .map(|octet| format!("{octet:02x}"))
        .collect::<Vec<_>>()
        .concat()
}

const FILE: &str = "file";
const PORT: u16 = 8080;

/// How long the server may take to start.
const SERVER_PATIENCE: Duration = Duration::from_secs(20);
