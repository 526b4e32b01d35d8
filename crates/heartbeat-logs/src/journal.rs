//! The stream to systemd-journald, as sd_journal_stream_fd(3) opens it.
//!
//! Once the socket is connected, only the kernel is between the program and journald.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// `LOG_INFO`: the priority of a line that does not begin with `<N>` itself.
const PRIORITY: u8 = 6;

/// Opens a stream whose lines have that `SYSLOG_IDENTIFIER`. The caller runs as the user of the program: journald notes
/// which user connects.
pub fn connect(socket: &Path, identifier: &str) -> io::Result<OwnedFd> {
    let mut stream = UnixStream::connect(socket)?;
    stream.shutdown(Shutdown::Read)?;
    // Identifier, unit (found by journald itself), priority, prefixes `<N>` count, and three times: not passed on to
    // syslog, the kernel's log, the console.
    stream.write_all(format!("{identifier}\n\n{PRIORITY}\n1\n0\n0\n0\n").as_bytes())?;
    Ok(stream.into())
}
