//! Calls that a machine that stands still for a moment must not end.

use std::io;

/// What `call` returns once nothing interrupts it.
///
/// A socket that has a timeout ends its wait with `Interrupted` when its process is stopped or frozen and
/// goes on again, even where no signal is handled: signal(7). On a shared machine this happens.
///
/// # Errors
///
/// Those of `call` but `Interrupted`.
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_interrupted_call_is_made_again() {
        let outcomes = [
            Err(io::ErrorKind::Interrupted),
            Err(io::ErrorKind::Interrupted),
            Err(io::ErrorKind::WouldBlock),
            Ok(()),
        ];
        let mut outcomes = outcomes.into_iter();
        let mut call = || outcomes.next().unwrap().map_err(io::Error::from);
        let error = uninterrupted(&mut call).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        uninterrupted(call).unwrap();
    }
}
