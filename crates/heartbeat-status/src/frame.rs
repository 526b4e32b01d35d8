//! The frame of every file that heartbeatd writes for itself: a line with its kind, its length and its checksum.

use alloc::format;
use alloc::string::String;

/// FNV-1a: every single change of a byte changes it, which is what a file needs to be told damaged.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn head(magic: &str, body: &str) -> String {
    format!("{magic} {} {:016x}", body.len(), checksum(body.as_bytes()))
}

/// `body` with its head; `magic` names the kind and the version of the file.
#[must_use]
pub fn frame(magic: &str, body: &str) -> String {
    format!("{}\n{body}", head(magic, body))
}

/// The body that was framed under `magic`.
///
/// # Errors
/// What is wrong with the file, for a person: it was cut, changed, or is of another kind.
pub fn unframe<'a>(magic: &str, bytes: &'a [u8]) -> Result<&'a str, &'static str> {
    let text = core::str::from_utf8(bytes).map_err(|_| "not text")?;
    let (found, body) = text.split_once('\n').ok_or("no head")?;
    if found == head(magic, body) { Ok(body) } else { Err("head, length or checksum do not fit") }
}
