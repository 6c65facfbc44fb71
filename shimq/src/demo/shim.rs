//! The daemons of both hosts, driven as any user would: by the program's own commands.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use shimq_testbed::{Namespace, Process, Provider};

use super::DemoError;
use super::datapath::{self, Datapath, Taken};
use super::timeline::Moment;

/// One of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Host {
    /// The client.
    A,
    /// The server.
    B,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// One line of `shimq monitor --json`, as far as the demo reads it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Event {
    t_us: u64,
    #[serde(rename = "event")]
    pub(super) name: String,
    pub(super) locators: Option<Pair>,
    pub(super) cause: Option<String>,
}

impl Event {
    pub(super) fn at(&self) -> Moment {
        Moment::from_micros(self.t_us)
    }
}

/// Two addresses, as the host that reports them sees them.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Pair {
    pub(super) local: Ipv6Addr,
    pub(super) peer: Ipv6Addr,
}

/// A running daemon; ended when dropped.
pub(super) struct Daemon<'a> {
    host: Host,
    namespace: &'a Namespace,
    program: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    process: Process,
}

impl<'a> Daemon<'a> {
    /// Starts `shimq run` with a state of its own under `folder`; it logs to `logs`.
    pub(super) fn start(
        host: Host,
        namespace: &'a Namespace,
        datapath: Datapath,
        (folder, logs): (&Path, &Path),
    ) -> Result<Self, DemoError> {
        let program = env::current_exe().map_err(DemoError::io("find this program"))?;
        let state = folder.join(format!("state-{host}"));
        fs::create_dir(&state).map_err(DemoError::io("make a folder"))?;
        let config = folder.join(format!("{host}.toml"));
        fs::write(&config, datapath.config()).map_err(DemoError::io("write a configuration"))?;
        let socket = folder.join(format!("{host}.sock"));
        let log = logs.join(format!("shimq-{host}.log"));
        let to_log = File::create(&log).map_err(DemoError::io("create a log"))?;
        let mut command = namespace.command(&program)?;
        command.arg("run").arg("--config").arg(config);
        command.arg("--state-dir").arg(state);
        command.arg("--socket").arg(&socket);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(to_log);
        let process = namespace.spawn(command)?;
        Ok(Self {
            host,
            namespace,
            program,
            socket,
            log,
            process,
        })
    }

    /// Waits until the daemon has an address of each of `providers` that connections can use, and
    /// returns these. The first start makes a key, which takes seconds.
    pub(super) fn wait_until_ready(
        &mut self,
        providers: &[Provider; 2],
        interrupted: &AtomicBool,
    ) -> Result<[Ipv6Addr; 2], DemoError> {
        let deadline = Instant::now() + READY_PATIENCE;
        loop {
            if let [Some(first), Some(second)] = providers.each_ref().map(|p| self.locator(p)) {
                return Ok([first, second]);
            }
            if interrupted.load(Ordering::Relaxed) {
                return Err(DemoError::Interrupted);
            }
            self.check()?;
            if Instant::now() > deadline {
                return Err(self.failure("did not become ready"));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Fails if the daemon has ended.
    pub(super) fn check(&mut self) -> Result<(), DemoError> {
        match self.process.try_wait()? {
            Some(_) => Err(self.failure("ended")),
            None => Ok(()),
        }
    }

    /// The address that the daemon has formed from the prefix of `provider`, once it can be used.
    fn locator(&self, provider: &Provider) -> Option<Ipv6Addr> {
        let locators: Vec<Locator> = serde_json::from_slice(&self.ask("locators").ok()?).ok()?;
        locators
            .into_iter()
            .find(|locator| {
                provider.prefix.contains(locator.address) && locator.state == "preferred"
            })
            .map(|locator| locator.address)
    }

    /// Sends every event to `listener` from now on, until the returned process is dropped.
    pub(super) fn follow(&self, listener: Sender<(Host, Event)>) -> Result<Process, DemoError> {
        let mut monitor = self.namespace.command(&self.program)?;
        monitor
            .args(["monitor", "--json", "--socket"])
            .arg(&self.socket);
        monitor
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut monitor = self.namespace.spawn(monitor)?;
        if let Some(events) = monitor.child().stdout.take() {
            let host = self.host;
            thread::spawn(move || {
                for line in BufReader::new(events).lines().map_while(Result::ok) {
                    // Events of later versions may look different; they are not of the demo.
                    if let Ok(event) = serde_json::from_str(&line)
                        && listener.send((host, event)).is_err()
                    {
                        break;
                    }
                }
            });
        }
        Ok(monitor)
    }

    /// The data path that is in force.
    pub(super) fn datapath(&self) -> Result<Taken, DemoError> {
        let answer = self.ask("status")?;
        let Status { datapath } = serde_json::from_slice(&answer)
            .map_err(|_| self.failure("gave a status that is none"))?;
        Ok(Taken {
            host: self.host,
            datapath,
        })
    }

    fn ask(&self, command: &str) -> Result<Vec<u8>, DemoError> {
        let socket = self.socket.as_os_str();
        let args = [
            command.as_ref(),
            "--json".as_ref(),
            "--socket".as_ref(),
            socket,
        ];
        Ok(self.namespace.run(&self.program, args)?.stdout)
    }

    fn failure(&self, problem: &'static str) -> DemoError {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        DemoError::Daemon {
            host: self.host,
            problem,
            log: lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"),
        }
    }
}

/// `shimq status --json`, as far as the demo reads it.
#[derive(Deserialize)]
struct Status {
    datapath: datapath::Status,
}

/// One element of `shimq locators --json`, as far as the demo reads it.
#[derive(Deserialize)]
struct Locator {
    address: Ipv6Addr,
    state: String,
}

/// How long a daemon may take to start, making a key included.
const READY_PATIENCE: Duration = Duration::from_secs(60);

/// How much of a log an error shows.
const LOG_LINES: usize = 10;
