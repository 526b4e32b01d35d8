//! A few descriptors that are kept back: when there is none left, a realm can still be started.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;

/// What one start takes at most: two ends of a socket, a pidfd, two memory files, a timer, a record; and one more.
const SPARE_DESCRIPTORS: usize = 8;

/// Shared by whoever starts something.
#[derive(Clone, Debug)]
pub(crate) struct Spares {
    kept: Arc<Mutex<Vec<OwnedFd>>>,
}

impl Spares {
    pub(crate) fn new() -> Self {
        let spares = Self { kept: Arc::default() };
        spares.refill();
        spares
    }

    /// Does it; when there is no descriptor left for it, gives up what was kept back and does it again.
    pub(crate) fn with<T>(&self, operation: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match operation() {
            Err(error) if is_exhaustion(&error) => {
                self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
                operation()
            }
            done => done,
        }
    }

    /// Keeps back as many as there should be, as far as that is possible now.
    pub(crate) fn refill(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        while kept.len() < SPARE_DESCRIPTORS {
            match File::open("/dev/null") {
                Ok(file) => kept.push(file.into()),
                Err(_) => return,
            }
        }
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EMFILE | Errno::ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn what_was_kept_back_is_given_up_once() {
        let spares = Spares::new();
        let tries = Cell::new(0);
        let done = spares.with(|| {
            tries.set(tries.get() + 1);
            if tries.get() == 1 { Err(io::Error::from_raw_os_error(libc::EMFILE)) } else { Ok(tries.get()) }
        });
        assert_eq!(done.unwrap(), 2);
        assert!(spares.kept.lock().unwrap().is_empty());
        spares.refill();
        assert_eq!(spares.kept.lock().unwrap().len(), SPARE_DESCRIPTORS);
        let other = spares.with(|| Err::<(), _>(io::Error::from_raw_os_error(libc::ENOENT)));
        assert!(other.is_err() && spares.kept.lock().unwrap().len() == SPARE_DESCRIPTORS);
    }
}
