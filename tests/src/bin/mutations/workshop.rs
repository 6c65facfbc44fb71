//! The copy in which lines are spoilt, built apart from the working tree.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use serde::Serialize;

use crate::Error;
use crate::table::{Judge, Mutation};

/// How long a test may run: a spoilt line may make it run for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// What became of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The test failed: it proves what it claims.
    Caught,
    /// The test passed all the same.
    Missed,
    /// The line is not there, or more than once.
    NoSuchLine,
    /// What the line becomes is no program.
    DoesNotCompile,
    /// The test fails, or does not exist, without any change.
    FailsUnchanged,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Missed => "MISSED",
            Self::NoSuchLine => "NO SUCH LINE",
            Self::DoesNotCompile => "NO PROGRAM",
            Self::FailsUnchanged => "NO TEST",
        }
    }
}

/// A copy of the tracked files, and a folder to build it in, which is kept for the next time.
pub(crate) struct Workshop {
    tree: PathBuf,
    build: PathBuf,
    /// Tests that passed without any change.
    sound: RefCell<BTreeSet<String>>,
}

impl Workshop {
    /// Copies what git tracks under `root`, as it stands in the working tree.
    pub(crate) fn new(root: &Path) -> Result<Self, Error> {
        let folder = root.join("target/mutations");
        let tree = folder.join("tree");
        if tree.exists() {
            fs::remove_dir_all(&tree)?;
        }
        let git = Command::new("git")
            .arg("-C")
            .arg(root)
            .args(["ls-files", "-z"])
            .output()
            .map_err(|error| Error::Git(error.to_string()))?;
        if !git.status.success() {
            let said = String::from_utf8_lossy(&git.stderr).into_owned();
            return Err(Error::Git(said));
        }
        let names = String::from_utf8_lossy(&git.stdout).into_owned();
        for name in names.split('\0').filter(|name| !name.is_empty()) {
            let from = root.join(name);
            // A file may be deleted and not yet committed.
            if !from.is_file() {
                continue;
            }
            let to = tree.join(name);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::copy(&from, &to)?;
        }
        Ok(Self {
            tree,
            build: folder.join("build"),
            sound: RefCell::default(),
        })
    }

    /// Makes one change, runs its test, and takes the change back.
    pub(crate) fn try_out(&self, mutation: &Mutation) -> Result<Outcome, Error> {
        let path = self.tree.join(&mutation.file);
        let text = fs::read_to_string(&path).map_err(|source| Error::Read {
            path: path.clone(),
            source,
        })?;
        let Some(changed) = mutation.apply(&text) else {
            return Ok(Outcome::NoSuchLine);
        };
        let Some(judge) = mutation.judge() else {
            return Ok(Outcome::FailsUnchanged);
        };
        if !self.sound.borrow().contains(&mutation.test) {
            if !self.builds(judge)? || !self.passes(judge)? {
                return Ok(Outcome::FailsUnchanged);
            }
            self.sound.borrow_mut().insert(mutation.test.clone());
        }
        fs::write(&path, changed)?;
        let outcome = if !self.builds(judge)? {
            Outcome::DoesNotCompile
        } else if self.passes(judge)? {
            Outcome::Missed
        } else {
            Outcome::Caught
        };
        fs::write(&path, text)?;
        Ok(outcome)
    }

    fn builds(&self, judge: Judge<'_>) -> io::Result<bool> {
        let mut cargo = match judge {
            Judge::Test { .. } => {
                let mut cargo = self.test(judge);
                cargo.arg("--no-run");
                cargo
            }
            Judge::Campaign { .. } => self.campaign("build"),
        };
        Ok(cargo.status()?.success())
    }

    /// Whether the judge looked, and found nothing in time.
    fn passes(&self, judge: Judge<'_>) -> io::Result<bool> {
        match judge {
            Judge::Test { name, .. } => {
                let mut cargo = self.test(judge);
                cargo.args(["--", "--exact", name]).stdout(Stdio::piped());
                let mut child = cargo.spawn()?;
                let status = wait(&mut child)?;
                let said = child.stdout.take().map(io::read_to_string).transpose()?;
                let ran = said.is_some_and(|said| said.contains("1 passed"));
                Ok(ran && status.is_some_and(|status| status.success()))
            }
            Judge::Campaign { lives } => {
                let mut cargo = self.campaign("run");
                cargo.args(["--", "--failures", "1", "--runs", lives]);
                let status = wait(&mut cargo.spawn()?)?;
                Ok(status.is_some_and(|status| status.success()))
            }
        }
    }

    fn test(&self, judge: Judge<'_>) -> Command {
        let mut cargo = self.cargo("test");
        if let Judge::Test {
            package, target, ..
        } = judge
        {
            cargo.args(["--package", package]);
            match target {
                "lib" => cargo.arg("--lib"),
                target => cargo.args(["--test", target]),
            };
        }
        cargo
    }

    fn campaign(&self, command: &str) -> Command {
        let mut cargo = self.cargo(command);
        cargo.args(["--package", "shimq-tests", "--bin", "campaign"]);
        cargo
    }

    fn cargo(&self, command: &str) -> Command {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.build)
            .env("RUST_BACKTRACE", "0")
            .args([command, "--quiet", "--locked"])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        cargo
    }
}

/// Waits for the end of a test; `None` if it had to be ended, with all that it started.
fn wait(child: &mut std::process::Child) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            let group = format!("-{}", child.id());
            Command::new("kill")
                .args(["-KILL", "--", &group])
                .status()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(20));
    }
}
