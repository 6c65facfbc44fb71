//! One host: a network namespace without a name, held open by a descriptor.
//!
//! The kernel removes a namespace once nothing refers to it. So nothing has to be cleaned up, even
//! when the process that made it is killed: the descriptor goes with the process, and every program
//! started here is tied to the thread that started it (`PR_SET_PDEATHSIG`) and goes with that, from
//! a few milliseconds after its start on.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::{fmt, io, panic};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{Process, TestbedError, find};

/// A network namespace; gone, with the programs started in it, when dropped.
pub struct Namespace {
    name: String,
    handle: OwnedFd,
    /// `None` only while dropping.
    to_starter: Option<mpsc::Sender<StartRequest>>,
    starter: Option<JoinHandle<()>>,
}

/// A command to start, and where to say what came of it.
type StartRequest = (Command, mpsc::SyncSender<io::Result<Child>>);

impl Namespace {
    /// Makes an empty namespace; `name` serves messages only.
    ///
    /// # Errors
    ///
    /// Whatever `unshare` says, if this process may not; see [`crate::gain_privilege`].
    pub fn new(name: &str) -> Result<Self, TestbedError> {
        let handle = new_network_namespace()?;
        let inside = handle.try_clone().map_err(TestbedError::io("duplicate"))?;
        let (to_starter, requests) = mpsc::channel::<StartRequest>();
        let (report, entered) = mpsc::sync_channel(1);
        let starter = thread::Builder::new()
            .name(format!("start in {name}"))
            .spawn(move || {
                let outcome = enter_thread(inside.as_fd());
                let is_inside = outcome.is_ok();
                // Sending cannot fail, here and below: who asked waits for the answer.
                let _ = report.send(outcome);
                if is_inside {
                    for (mut command, answer) in requests {
                        let _ = answer.send(command.spawn());
                    }
                }
            })
            .map_err(TestbedError::io("start a thread"))?;
        let namespace = Self {
            name: name.to_owned(),
            handle,
            to_starter: Some(to_starter),
            starter: Some(starter),
        };
        entered
            .recv()
            .unwrap_or_else(|gone| Err(io::Error::other(gone)))
            .map_err(TestbedError::io(format!("enter {name}")))?;
        Ok(namespace)
    }

    /// The name that messages use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path that names this namespace for as long as it lives, as `ip link ... netns` takes it.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", process::id(), self.handle.as_raw_fd()).into()
    }

    /// Calls `f` on a thread inside the namespace: sockets that it opens stay there, wherever they
    /// are used, and `/proc/sys/net` and `/proc/thread-self/net` are the namespace's.
    ///
    /// A panic of `f` goes on in the caller.
    ///
    /// # Errors
    ///
    /// [`TestbedError::Io`] if the thread cannot enter; `f` was not called then.
    pub fn enter<R: Send>(&self, f: impl FnOnce() -> R + Send) -> Result<R, TestbedError> {
        let inside = || enter_thread(self.handle.as_fd()).map(|()| f());
        thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|payload| panic::resume_unwind(payload))
            .map_err(TestbedError::io(format!("enter {}", self.name)))
    }

    /// A command for [`spawn`](Self::spawn) that dies with the namespace.
    ///
    /// `program` is found as [`find`] does. An interrupt from the terminal does not reach it: who
    /// started it decides when it ends.
    pub fn command(&self, program: impl AsRef<Path>) -> Result<Command, TestbedError> {
        let mut command = Command::new(find("setpriv")?);
        command.process_group(0);
        command.args(["--pdeathsig", "KILL", "--"]);
        command.arg(find(program)?);
        Ok(command)
    }

    /// Starts `command` inside the namespace.
    pub fn spawn(&self, command: Command) -> Result<Process, TestbedError> {
        let line = command_line(&command);
        self.start(command).map(|child| Process::new(child, line))
    }

    fn start(&self, command: Command) -> Result<Child, TestbedError> {
        let line = command_line(&command);
        let (answer, started) = mpsc::sync_channel(1);
        self.to_starter
            .as_ref()
            .and_then(|starter| starter.send((command, answer)).ok())
            .and_then(|()| started.recv().ok())
            .unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into()))
            .map_err(TestbedError::io(format!("start {line} in {}", self.name)))
    }

    /// Runs `program` with `args` to its end, without input, and returns what it wrote.
    ///
    /// # Errors
    ///
    /// [`TestbedError::Failed`] if it ends with anything but success.
    pub fn run<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<Path>,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Output, TestbedError> {
        let mut command = self.command(program)?;
        command.args(args);
        self.finish(command, None)
    }

    /// Runs `program` like [`run`](Self::run), with `input` as its standard input.
    pub fn feed<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<Path>,
        args: impl IntoIterator<Item = S>,
        input: &str,
    ) -> Result<Output, TestbedError> {
        let mut command = self.command(program)?;
        command.args(args);
        self.finish(command, Some(input))
    }

    fn finish(&self, mut command: Command, input: Option<&str>) -> Result<Output, TestbedError> {
        let line = command_line(&command);
        let failure = || TestbedError::io(format!("run {line} in {}", self.name));
        // A file rather than a pipe: a program that writes before it has read cannot block.
        let stdin = match input {
            Some(input) => memory_file(input).map_err(failure())?.into(),
            None => Stdio::null(),
        };
        command.stdin(stdin);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = self.start(command)?.wait_with_output();
        let output = output.map_err(failure())?;
        if output.status.success() {
            Ok(output)
        } else {
            Err(TestbedError::Failed {
                command: line,
                status: output.status,
                stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            })
        }
    }

    /// Sets `net/KEY` of `/proc/sys` in this namespace.
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<(), TestbedError> {
        let path = format!("/proc/sys/net/{key}");
        self.enter(|| std::fs::write(&path, value))?
            .map_err(TestbedError::io(format!("write {path} in {}", self.name)))
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Namespace").field(&self.name).finish()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.to_starter = None;
        // Joined, so that no thread holds the namespace any more when this returns.
        if let Some(starter) = self.starter.take() {
            let _ = starter.join();
        }
    }
}

/// Makes a namespace by having `unshare` show one for a moment; the descriptor keeps it.
///
/// Not the system call: that one is unsafe to offer to threads, and this crate has no `unsafe`.
fn new_network_namespace() -> Result<OwnedFd, TestbedError> {
    let mut show = Command::new(find("unshare")?);
    show.args(["--net", "--", "sh", "-c", "echo; read _"]);
    show.stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut show = show.spawn().map_err(TestbedError::io("start unshare"))?;
    let mut line = String::new();
    if let Some(stdout) = show.stdout.take() {
        BufReader::new(stdout)
            .read_line(&mut line)
            .map_err(TestbedError::io("read from unshare"))?;
    }
    let opened = File::open(format!("/proc/{}/ns/net", show.id()));
    // This closes its input, on which it ends.
    let output = show
        .wait_with_output()
        .map_err(TestbedError::io("wait for unshare"))?;
    if line.is_empty() {
        return Err(TestbedError::Failed {
            command: "unshare --net".to_owned(),
            status: output.status,
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    opened
        .map(OwnedFd::from)
        .map_err(TestbedError::io("open the new network namespace"))
}

fn enter_thread(namespace: BorrowedFd<'_>) -> io::Result<()> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network)).map_err(Into::into)
}

/// A file without a name that holds `content` and is read from its start.
fn memory_file(content: &str) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create(
        "input",
        rustix::fs::MemfdFlags::CLOEXEC,
    )?);
    file.write_all(content.as_bytes())?;
    io::Seek::rewind(&mut file)?;
    Ok(file)
}

/// The command as a reader would type it, without what ties it to the namespace.
fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    match words.iter().position(|word| word == "--") {
        Some(tie) => words[tie + 1..].join(" "),
        None => words.join(" "),
    }
}
