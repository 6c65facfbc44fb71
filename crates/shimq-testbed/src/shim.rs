//! The daemon of `shimq` on a host of a testbed, driven as any user would: by the program's own
//! commands. All else here is the same whatever the hosts run.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{Moment, Namespace, Process, Provider, TestbedError};

/// How a daemon is started.
#[derive(Clone, Copy, Debug)]
pub struct ShimSetup<'a> {
    /// The program.
    pub program: &'a Path,
    /// What the host is called, in the names of files and in errors.
    pub name: &'a str,
    /// The configuration file's text.
    pub config: &'a str,
    /// Where configuration file and control socket go.
    pub folder: &'a Path,
    /// Where the daemon keeps keys and addresses; made if it is not there.
    pub state: &'a Path,
    /// Where its log goes.
    pub logs: &'a Path,
}

/// A running daemon; ended when dropped.
#[derive(Debug)]
pub struct Shim<'n> {
    name: String,
    host: &'n Namespace,
    program: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    process: Process,
}

impl<'n> Shim<'n> {
    /// Starts `shimq run` on `host`.
    ///
    /// # Errors
    ///
    /// A file cannot be written, or the program cannot be started.
    pub fn start(host: &'n Namespace, setup: ShimSetup<'_>) -> Result<Self, TestbedError> {
        let ShimSetup { name, folder, .. } = setup;
        fs::create_dir_all(setup.state).map_err(TestbedError::io("make a state directory"))?;
        let config = folder.join(format!("{name}.toml"));
        fs::write(&config, setup.config).map_err(TestbedError::io("write a configuration"))?;
        let socket = folder.join(format!("{name}.sock"));
        let log = setup.logs.join(format!("shimq-{name}.log"));
        let to_log = File::create(&log).map_err(TestbedError::io("create a log"))?;
        let mut command = host.command(setup.program)?;
        command.arg("run").arg("--config").arg(config);
        command.arg("--state-dir").arg(setup.state);
        command.arg("--socket").arg(&socket);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(to_log);
        Ok(Self {
            name: name.to_owned(),
            host,
            program: setup.program.to_owned(),
            socket,
            log,
            process: host.spawn(command)?,
        })
    }

    /// What the host is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The daemon's process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The daemon's process alone, when nobody will ask it anything more.
    #[must_use]
    pub fn into_process(self) -> Process {
        self.process
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    ///
    /// It cannot be signalled or waited for.
    pub fn stop(self) -> Result<(), TestbedError> {
        self.process.terminate(STOP_PATIENCE).map(drop)
    }

    /// The addresses of `providers` that the daemon has formed, once connections can use all of them. Its
    /// first start makes a key, which takes seconds.
    ///
    /// # Errors
    ///
    /// The daemon has ended.
    pub fn locators(
        &mut self,
        providers: &[Provider],
    ) -> Result<Option<Vec<Ipv6Addr>>, TestbedError> {
        self.check()?;
        Ok(providers.iter().map(|p| self.locator(p)).collect())
    }

    /// Waits for [`Self::locators`].
    ///
    /// # Errors
    ///
    /// The daemon has ended, or takes too long.
    pub fn wait_until_ready(
        &mut self,
        providers: &[Provider],
    ) -> Result<Vec<Ipv6Addr>, TestbedError> {
        self.wait_until_ready_while(providers, || Ok(()))
    }

    /// Waits for [`Self::locators`] as long as `go_on` has no objection.
    ///
    /// # Errors
    ///
    /// The objection; or the daemon has ended, or takes too long.
    pub fn wait_until_ready_while<E: From<TestbedError>>(
        &mut self,
        providers: &[Provider],
        go_on: impl Fn() -> Result<(), E>,
    ) -> Result<Vec<Ipv6Addr>, E> {
        let deadline = Instant::now() + READY_PATIENCE;
        loop {
            if let Some(locators) = self.locators(providers)? {
                return Ok(locators);
            }
            if Instant::now() > deadline {
                return Err(self.failure("did not become ready").into());
            }
            go_on()?;
            thread::sleep(POLL);
        }
    }

    /// Fails if the daemon has ended.
    ///
    /// # Errors
    ///
    /// [`TestbedError::Shim`], with the end of its log.
    pub fn check(&mut self) -> Result<(), TestbedError> {
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

    /// What the program answers to a command, with its arguments if it has any, in JSON.
    ///
    /// # Errors
    ///
    /// The command fails.
    pub fn ask(&self, command: &str) -> Result<Vec<u8>, TestbedError> {
        let words = command.split_whitespace().chain(["--json", "--socket"]);
        let args = words.map(OsStr::new).chain([self.socket.as_os_str()]);
        Ok(self.host.run(&self.program, args)?.stdout)
    }

    /// Passes every event from now on to `listener`, from a thread of its own, until that returns
    /// false or the returned process is dropped.
    ///
    /// # Errors
    ///
    /// `shimq monitor` cannot be started.
    pub fn follow(
        &self,
        mut listener: impl FnMut(Event) -> bool + Send + 'static,
    ) -> Result<Process, TestbedError> {
        let mut command = self.host.command(&self.program)?;
        command.args(["monitor", "--json", "--socket"]);
        command.arg(&self.socket);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut monitor = self.host.spawn(command)?;
        if let Some(lines) = monitor.child().stdout.take() {
            thread::spawn(move || {
                let lines = BufReader::new(lines).lines().map_while(Result::ok);
                // Events of later versions may look different; nobody here waits for them.
                let mut events = lines.filter_map(|line| serde_json::from_str(&line).ok());
                while events.next().is_some_and(&mut listener) {}
            });
        }
        Ok(monitor)
    }

    /// An error that shows the end of the daemon's log.
    #[must_use]
    pub fn failure(&self, problem: &'static str) -> TestbedError {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        TestbedError::Shim {
            host: self.name.clone(),
            problem,
            log: lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"),
        }
    }
}

/// One line of `shimq monitor --json`, as far as it is read here.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    t_us: u64,
    /// What happened, as `context-established`.
    #[serde(rename = "event")]
    pub name: String,
    /// The pair that it is about.
    pub locators: Option<Pair>,
    /// Why, in words.
    pub cause: Option<String>,
}

impl Event {
    /// When it happened.
    #[must_use]
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

/// One element of `shimq locators --json`, as far as it is read here.
#[derive(Deserialize)]
struct Locator {
    address: Ipv6Addr,
    state: String,
}

/// How long a daemon may take to start, making a key included.
const READY_PATIENCE: Duration = Duration::from_secs(60);

/// How long it may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks.
const POLL: Duration = Duration::from_millis(50);

/// How much of a log an error shows.
const LOG_LINES: usize = 10;
