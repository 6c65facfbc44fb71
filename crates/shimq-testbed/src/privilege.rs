//! Decides whether this process may make network namespaces, and gets it there if not.

use std::env;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::thread::{CapabilitySet, capabilities};

use crate::{TestbedError, find};

/// Makes sure that this process may create and configure network namespaces.
///
/// With the capabilities of root this returns at once. Otherwise it replaces the process by the
/// same program with the same arguments as root of a new user namespace, where whatever it makes
/// belongs to the user who called; so it must come before anything that should happen only once.
/// Replacing the whole process is what the kernel asks for: a process with threads, as every test
/// is, cannot enter a user namespace.
///
/// # Errors
///
/// [`TestbedError::NoPrivilege`] if the system forbids user namespaces.
pub fn gain_privilege() -> Result<(), TestbedError> {
    let need = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
    let have = capabilities(None).map_err(TestbedError::io("read own capabilities"))?;
    if have.effective.contains(need) {
        return Ok(());
    }
    let attempt = as_namespace_root()?
        .arg("true")
        .stdin(Stdio::null())
        .output()
        .map_err(TestbedError::io("start unshare"))?;
    if !attempt.status.success() {
        let reason = String::from_utf8_lossy(&attempt.stderr).trim().to_owned();
        return Err(TestbedError::NoPrivilege { reason });
    }
    let program = env::current_exe().map_err(TestbedError::io("find this program"))?;
    let failure: io::Error = as_namespace_root()?
        .arg(program)
        .args(env::args_os().skip(1))
        .exec();
    Err(TestbedError::io("start this program again")(failure))
}

/// `unshare`, up to the command that it shall start.
fn as_namespace_root() -> Result<Command, TestbedError> {
    let mut command = Command::new(find("unshare")?);
    command.args(["--user", "--map-root-user", "--"]);
    Ok(command)
}
