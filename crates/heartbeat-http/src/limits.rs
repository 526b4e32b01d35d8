//! How much of an answer is read before its body.

/// Largest head of an answer, in bytes.
pub const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Most header lines of an answer.
pub const MAX_HEADER_COUNT: usize = 256;
