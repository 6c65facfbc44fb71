//! Daemons to measure: keys that are made once, and events that are kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use shimq_testbed::{A, B, Event, Namespace, Process, Shim, ShimSetup, TwoHosts};

use crate::error::BenchError;

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
        let path = find(path)?;
        let states = tempfile::tempdir().map_err(BenchError::io("make a folder"))?;
        let program = Self { path, states };
        let network = TwoHosts::new()?;
        let files = tempfile::tempdir().map_err(BenchError::io("make a folder"))?;
        for (name, host, providers) in [("A", &network.a, A), ("B", &network.b, B)] {
            let state = program.states.path().join(name);
            let mut shim = program.start_in(host, name, (files.path(), &state), "")?;
            shim.wait_until_ready(&providers)?;
            shim.stop()?;
        }
        Ok(program)
    }

    /// Starts a daemon on host `name`, `A` or `B`, with `config` (TOML) and all of its files in
    /// `folder`.
    ///
    /// # Errors
    ///
    /// A file cannot be written, or the program cannot be started.
    pub fn start<'n>(
        &self,
        host: &'n Namespace,
        name: &str,
        folder: &Path,
        config: &str,
    ) -> Result<Shim<'n>, BenchError> {
        let state = folder.join(format!("state-{name}"));
        copy_folder(&self.states.path().join(name), &state)
            .map_err(BenchError::io("copy a state directory"))?;
        self.start_in(host, name, (folder, &state), config)
    }

    fn start_in<'n>(
        &self,
        host: &'n Namespace,
        name: &str,
        (folder, state): (&Path, &Path),
        config: &str,
    ) -> Result<Shim<'n>, BenchError> {
        let setup = ShimSetup {
            program: &self.path,
            name,
            config,
            folder,
            state,
            logs: folder,
        };
        Ok(Shim::start(host, setup)?)
    }
}

/// The program at `path`, or else the one beside the running program; absolute, for it is started from
/// elsewhere.
///
/// # Errors
///
/// [`BenchError::NoProgram`].
pub fn find(path: Option<&Path>) -> Result<PathBuf, BenchError> {
    let path = match path {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()
            .map_err(BenchError::io("find this program"))?
            .with_file_name("shimq"),
    };
    let found = path.canonicalize().ok().filter(|path| path.is_file());
    found.ok_or(BenchError::NoProgram { path })
}

/// The events of one daemon, gathered from some moment on.
#[derive(Debug)]
pub struct Monitor {
    name: String,
    events: Arc<Mutex<Vec<Event>>>,
    _process: Process,
}

impl Monitor {
    /// Gathers every event of `shim` from now on.
    ///
    /// # Errors
    ///
    /// `shimq monitor` cannot be started.
    pub fn follow(shim: &Shim<'_>) -> Result<Self, BenchError> {
        let events = Arc::new(Mutex::new(Vec::new()));
        let gathered = Arc::clone(&events);
        let process = shim.follow(move |event| {
            lock(&gathered).push(event);
            true
        })?;
        Ok(Self {
            name: shim.name().to_owned(),
            events,
            _process: process,
        })
    }

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
