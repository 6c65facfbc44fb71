//! A running program that does not outlive its guard.

use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::TestbedError;

/// A program started in a [`Namespace`](crate::Namespace); killed, with what it started, and reaped
/// when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    command: String,
}

impl Process {
    pub(crate) fn new(child: Child, command: String) -> Self {
        Self { child, command }
    }

    /// The process with its pipes, as the standard library has it.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// How the program ended; `None` while it runs.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, TestbedError> {
        self.child.try_wait().map_err(self.failure("wait for"))
    }

    /// Stops the program (SIGSTOP) until [`Self::resume`].
    pub fn pause(&mut self) -> Result<(), TestbedError> {
        self.signal(Signal::STOP)
    }

    /// Lets a program that was stopped go on (SIGCONT).
    pub fn resume(&mut self) -> Result<(), TestbedError> {
        self.signal(Signal::CONT)
    }

    fn signal(&mut self, signal: Signal) -> Result<(), TestbedError> {
        // Not yet reaped, so the number is still this child's.
        if self.try_wait()?.is_none() {
            let pid = Pid::from_child(&self.child);
            kill_process(pid, signal).map_err(self.failure("signal"))?;
        }
        Ok(())
    }

    /// Asks the program to end (SIGTERM), and kills it if it has not after `patience`.
    pub fn terminate(mut self, patience: Duration) -> Result<ExitStatus, TestbedError> {
        let deadline = Instant::now() + patience;
        let pid = Pid::from_child(&self.child);
        // Not yet reaped, so the number is still this child's.
        if self.try_wait()?.is_none() {
            kill_process(pid, Signal::TERM).map_err(self.failure("terminate"))?;
        }
        while Instant::now() < deadline {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            thread::sleep(POLL);
        }
        self.child.kill().map_err(self.failure("kill"))?;
        self.child.wait().map_err(self.failure("wait for"))
    }

    fn failure<E: Into<std::io::Error>>(&self, verb: &str) -> impl FnOnce(E) -> TestbedError {
        TestbedError::io(format!("{verb} {}", self.command))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Only a process that is not yet reaped is sure to own its number, and with it its group.
        if let Ok(None) = self.child.try_wait() {
            // With what it started; a plain command has no group of its own, and goes alone.
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// How often a condition that the kernel does not announce is looked at.
const POLL: Duration = Duration::from_millis(10);
