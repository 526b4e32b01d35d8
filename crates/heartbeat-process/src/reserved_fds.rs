//! A reserve of descriptors: when no other is left, heartbeatd can still start a realm.
//!
//! Descriptors belong to the whole process, and so does the reserve.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;

/// What one start takes at most: two ends of a socket, a pidfd, two memory files, a timer, a record; and one more.
const RESERVED_DESCRIPTORS: usize = 8;

static KEPT: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

/// Runs `operation`. While it fails for lack of a descriptor, gives up one of the reserve and runs it again.
pub(crate) fn with<T>(operation: impl Fn() -> io::Result<T>) -> io::Result<T> {
    loop {
        match operation() {
            Err(error) if is_exhaustion(&error) => {
                // Another thread may take the freed descriptor first; then the loop frees the next.
                if KEPT.lock().unwrap_or_else(PoisonError::into_inner).pop().is_none() {
                    return Err(error);
                }
            }
            done => return done,
        }
    }
}

/// Fills the reserve, as far as that is possible now.
pub(crate) fn refill() {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    while kept.len() < RESERVED_DESCRIPTORS {
        match File::open("/dev/null") {
            Ok(file) => kept.push(file.into()),
            Err(_) => return,
        }
    }
}

/// No descriptor is left.
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EMFILE | Errno::ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn what_was_kept_back_is_given_up_one_by_one() {
        refill();
        let exhausted = || io::Error::from_raw_os_error(libc::EMFILE);
        let tries = Cell::new(0);
        let done = with(|| {
            tries.set(tries.get() + 1);
            if tries.get() <= 3 { Err(exhausted()) } else { Ok(tries.get()) }
        });
        assert_eq!(done.unwrap(), 4);
        assert!(with(|| Err::<(), _>(exhausted())).is_err(), "there is an end");
        let tries = Cell::new(0);
        let other = with(|| {
            tries.set(tries.get() + 1);
            Err::<(), _>(io::Error::from_raw_os_error(libc::ENOENT))
        });
        assert!(other.is_err() && tries.get() == 1);
    }
}
