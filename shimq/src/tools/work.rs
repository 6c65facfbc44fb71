//! Long work that an interrupt ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::ToolError;

/// How long interrupted work may take to clean up. What cannot end itself ends with the program.
const PATIENCE: Duration = Duration::from_millis(500);

/// Does `work` on another thread until it is done, or the user ends the program.
///
/// The work is told by its argument, which becomes true. From then on signals no longer kill this
/// program by themselves: what is written after the work is written to its end.
///
/// # Errors
///
/// [`ToolError::Interrupted`] on SIGINT, SIGTERM or SIGHUP, and what `work` returns.
pub(super) fn run<T: Send + 'static>(
    work: impl FnOnce(&AtomicBool) -> Result<T, ToolError> + Send + 'static,
) -> Result<T, ToolError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let interrupted = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&interrupted);
        let mut working = tokio::task::spawn_blocking(move || work(&flag));
        tokio::select! {
            done = &mut working => return done.map_err(io::Error::other)?,
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
            _ = hang_up.recv() => (),
        }
        interrupted.store(true, Ordering::Relaxed);
        // Its result does not matter any more.
        let _ = tokio::time::timeout(PATIENCE, working).await;
        Err(ToolError::Interrupted)
    });
    runtime.shutdown_background();
    done
}
