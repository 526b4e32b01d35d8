//! A message as far as it is written.

use std::io;

/// Longest rendered message, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// A message as far as it is written. It ends where it is full, however much the template would still write.
#[derive(Default)]
pub(crate) struct Message {
    bytes: Vec<u8>,
    /// The template would write more than a message may have.
    pub(crate) is_full: bool,
}

impl Message {
    /// The text, without a letter that the bound has cut.
    pub(crate) fn into_text(mut self) -> String {
        if let Err(error) = std::str::from_utf8(&self.bytes) {
            self.bytes.truncate(error.valid_up_to());
        }
        String::from_utf8(self.bytes).unwrap_or_default()
    }
}

impl io::Write for Message {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(MAX_MESSAGE_BYTES - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..count]);
        self.is_full |= count < bytes.len();
        if self.is_full { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(count) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
