//! The program under test on a host of a testbed, driven as any user would: by its own commands.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use shimq_testbed::{A, B, Namespace, Process, Provider, TwoHosts};

use crate::error::BenchError;
use crate::moment::Moment;

/// The program, and what its daemons start from, so that each run does not make keys again.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    /// Holds a state directory for each host, `A` and `B`.
    states: tempfile::TempDir,
}

impl Program {
    /// Takes the program at `path`, or the one beside the running program, and has it make the keys
    /// of both hosts.
    ///
    /// # Errors
    ///
    /// [`BenchError::NoProgram`], or what keeps a daemon from starting.
    pub fn prepare(path: Option<&Path>) -> Result<Self, BenchError> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => std::env::current_exe()
                .map_err(BenchError::io("find this program"))?
                .with_file_name("shimq"),
        };
        // Absolute, for it is started from elsewhere.
        let Ok(path) = path.canonicalize() else {
            return Err(BenchError::NoProgram { path });
        };
        let states = tempfile::tempdir().map_err(BenchError::io("make a folder"))?;
        let program = Self { path, states };
        let network = TwoHosts::new()?;
        let logs = tempfile::tempdir().map_err(BenchError::io("make a folder"))?;
        for (name, host, providers) in [("A", &network.a, A), ("B", &network.b, B)] {
            let state = program.states.path().join(name);
            let mut daemon = Daemon::start_in(&program.path, host, name, logs.path(), &state, "")?;
            daemon.wait_until_ready(&providers)?;
            daemon.process.terminate(Duration::from_secs(5))?;
        }
        Ok(program)
    }
}

/// One line of `shimq monitor --json`, as far as it is read here.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    t_us: u64,
    /// What happened, as `context-established`.
    #[serde(rename = "event")]
    pub name: String,
    /// The pair that it is about, as the host sees it.
    pub locators: Option<Pair>,
    /// Why, in words.
    pub cause: Option<String>,
}

impl Event {
    /// When it happened.
    pub fn at(&self) -> Moment {
        Moment::from_micros(self.t_us)
    }
}

/// Two addresses, as the host that reports them sees them.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Pair {
    /// This host's.
    pub local: Ipv6Addr,
    /// The other host's.
    pub peer: Ipv6Addr,
}

/// A running daemon; ended when dropped.
#[derive(Debug)]
pub struct Daemon<'n> {
    name: String,
    host: &'n Namespace,
    program: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    process: Process,
}

impl<'n> Daemon<'n> {
    /// Starts a daemon on host `name`, `A` or `B`, with `config` (TOML) and all of its files in
    /// `folder`.
    pub fn start(
        program: &Program,
        host: &'n Namespace,
        name: &str,
        folder: &Path,
        config: &str,
    ) -> Result<Self, BenchError> {
        let state = folder.join(format!("state-{name}"));
        copy_folder(&program.states.path().join(name), &state)
            .map_err(BenchError::io("copy a state directory"))?;
        Self::start_in(&program.path, host, name, folder, &state, config)
    }

    fn start_in(
        program: &Path,
        host: &'n Namespace,
        name: &str,
        folder: &Path,
        state: &Path,
        config: &str,
    ) -> Result<Self, BenchError> {
        fs::create_dir_all(state).map_err(BenchError::io("make a state directory"))?;
        let config_file = folder.join(format!("{name}.toml"));
        fs::write(&config_file, config).map_err(BenchError::io("write a configuration"))?;
        let socket = folder.join(format!("{name}.sock"));
        let log = folder.join(format!("{name}.log"));
        let to_log = File::create(&log).map_err(BenchError::io("create a log"))?;
        let mut command = host.command(program)?;
        command.arg("run").arg("--config").arg(config_file);
        command.arg("--state-dir").arg(state);
        command.arg("--socket").arg(&socket);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(to_log);
        Ok(Self {
            name: name.to_owned(),
            host,
            program: program.to_owned(),
            socket,
            log,
            process: host.spawn(command)?,
        })
    }

    /// Waits until connections can use an address of each of `providers`, and returns these.
    pub fn wait_until_ready(
        &mut self,
        providers: &[Provider],
    ) -> Result<Vec<Ipv6Addr>, BenchError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found: Option<Vec<_>> = providers.iter().map(|p| self.locator(p)).collect();
            if let Some(locators) = found {
                return Ok(locators);
            }
            self.check()?;
            if Instant::now() > deadline {
                return Err(self.failure("did not become ready"));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Fails if the daemon has ended.
    pub fn check(&mut self) -> Result<(), BenchError> {
        match self.process.try_wait()? {
            Some(_) => Err(self.failure("ended")),
            None => Ok(()),
        }
    }

    fn locator(&self, provider: &Provider) -> Option<Ipv6Addr> {
        let locators: Vec<Locator> = serde_json::from_slice(&self.ask("locators").ok()?).ok()?;
        let of_provider = |locator: &&Locator| {
            provider.prefix.contains(locator.address) && locator.state == "preferred"
        };
        locators
            .iter()
            .find(of_provider)
            .map(|locator| locator.address)
    }

    fn ask(&self, command: &str) -> Result<Vec<u8>, BenchError> {
        let socket = self.socket.as_os_str();
        let args = [
            command.as_ref(),
            "--json".as_ref(),
            "--socket".as_ref(),
            socket,
        ];
        Ok(self.host.run(&self.program, args)?.stdout)
    }

    /// Gathers every event from now on.
    pub fn follow(&self) -> Result<Monitor, BenchError> {
        let mut monitor = self.host.command(&self.program)?;
        monitor
            .args(["monitor", "--json", "--socket"])
            .arg(&self.socket);
        monitor
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = self.host.spawn(monitor)?;
        let events = Arc::new(Mutex::new(Vec::new()));
        if let Some(lines) = process.child().stdout.take() {
            let events = Arc::clone(&events);
            thread::spawn(move || {
                for line in BufReader::new(lines).lines().map_while(Result::ok) {
                    // Events of later versions may look different; nothing here depends on them.
                    if let Ok(event) = serde_json::from_str::<Event>(&line) {
                        lock(&events).push(event);
                    }
                }
            });
        }
        Ok(Monitor {
            name: self.name.clone(),
            events,
            _process: process,
        })
    }

    fn failure(&self, problem: &'static str) -> BenchError {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        BenchError::Daemon {
            host: self.name.clone(),
            problem,
            log: lines[lines.len().saturating_sub(LOG_LINES)..].join("; "),
        }
    }
}

/// The events of one daemon.
#[derive(Debug)]
pub struct Monitor {
    name: String,
    events: Arc<Mutex<Vec<Event>>>,
    _process: Process,
}

impl Monitor {
    /// The host that the daemon runs on.
    pub fn host(&self) -> &str {
        &self.name
    }

    /// What has happened so far.
    pub fn events(&self) -> Vec<Event> {
        lock(&self.events).clone()
    }

    /// Whether an event of this name has happened.
    pub fn has(&self, name: &str) -> bool {
        lock(&self.events).iter().any(|event| event.name == name)
    }
}

fn lock(events: &Mutex<Vec<Event>>) -> std::sync::MutexGuard<'_, Vec<Event>> {
    // A list of events cannot be half changed.
    events.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One element of `shimq locators --json`, as far as it is read here.
#[derive(Deserialize)]
struct Locator {
    address: Ipv6Addr,
    state: String,
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if entry.file_type()?.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// How long a daemon may take to start, making a key included.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much of a log an error shows.
const LOG_LINES: usize = 10;
