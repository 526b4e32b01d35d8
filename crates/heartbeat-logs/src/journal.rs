//! The stream to systemd-journald, as sd_journal_stream_fd(3) opens it.
//!
//! The socket is the kernel's: once it is connected nothing of ours stands between the program and journald.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// `LOG_INFO`: what a line counts as that does not say `<N>` itself.
const PRIORITY: u8 = 6;

/// A stream whose lines have that `SYSLOG_IDENTIFIER`. To be opened as whoever the program runs as: journald notes who
/// connects.
pub fn connect(socket: &Path, identifier: &str) -> io::Result<OwnedFd> {
    let mut stream = UnixStream::connect(socket)?;
    stream.shutdown(Shutdown::Read)?;
    // Identifier, unit (found by journald itself), priority, prefixes `<N>` count, and three times: not passed on to
    // syslog, the kernel's log, the console.
    stream.write_all(format!("{identifier}\n\n{PRIORITY}\n1\n0\n0\n0\n").as_bytes())?;
    Ok(stream.into())
}
