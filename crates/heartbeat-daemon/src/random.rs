//! Random numbers for seeds, identifiers and names, from the kernel.

use std::fs::File;
use std::io::Read;

use crate::clock;

/// A random number. Without the kernel's source, the clock and the pid have to do.
pub(crate) fn number() -> u64 {
    let mut bytes = [0; 8];
    match File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes)) {
        Ok(()) => u64::from_ne_bytes(bytes),
        Err(_) => clock::now().as_nanos() ^ (u64::from(std::process::id()) << 32),
    }
}

/// Random bytes for an identifier.
pub(crate) fn bytes() -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&number().to_ne_bytes());
    bytes[8..].copy_from_slice(&number().to_ne_bytes()[..2]);
    bytes
}

/// A short name for one life of heartbeatd.
pub(crate) fn instance() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    const LENGTH_CHARS: u32 = 6;
    let seed = number();
    (0..LENGTH_CHARS)
        .map(|at| char::from(ALPHABET[usize::try_from(seed >> (5 * at) & 31).unwrap_or(0)]))
        .collect()
}
