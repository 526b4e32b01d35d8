//! Follows a log as it grows, look by look, whatever happens to its files meanwhile.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use crate::chain::{self, Chain, fill};
use crate::index::{FileId, id};
use crate::page::{readable, split};
use crate::place::LogPlace;

/// Bytes read per look.
const MAX_LOOK_BYTES: u64 = 128 * 1024;
/// A follower that is further behind than this, in bytes, goes on near the end, and learns how much it has missed.
const MAX_BEHIND_BYTES: u64 = 1024 * 1024;
/// After so many looks without new bytes, the follower shows an unfinished line as it is.
const MAX_UNFINISHED_LOOKS: u32 = 5;

/// What has come since the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogBatch {
    /// The oldest first; safe to show.
    pub lines: Vec<String>,
    /// Bytes before them that are not shown: they were lost, rotated away, or too many.
    pub missed_bytes: u64,
    /// More lines wait: look again at once.
    pub more: bool,
    /// Where to go on after these.
    pub next: LogPlace,
}

/// Follows one log.
#[derive(Debug)]
pub struct LogFollower {
    path: PathBuf,
    place: LogPlace,
    /// The live file at the last look, held open: if another process moves or removes it, it still has the last lines.
    live: Option<(FileId, File)>,
    /// The size of the unfinished line, and how many looks have found it so.
    unfinished: (usize, u32),
}

impl LogFollower {
    /// Follows the log at `path` from `place` on.
    #[must_use]
    pub fn new(path: PathBuf, place: LogPlace) -> Self {
        Self { path, place, live: None, unfinished: (0, 0) }
    }

    /// What has come since the last look; nothing while there is no log. Waits for the disk.
    ///
    /// # Errors
    /// The log cannot be read, or is no ordinary file.
    pub fn look(&mut self) -> io::Result<LogBatch> {
        let nothing = LogBatch { lines: Vec::new(), missed_bytes: 0, more: false, next: self.place };
        let chain = match Chain::open(&self.path) {
            Ok(chain) => chain,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(nothing),
            Err(error) => return Err(error),
        };
        if chain.is_waiting(self.place.position) {
            return Ok(nothing);
        }
        let before = self.place.position;
        let mut missed_bytes = self.find_place(&chain);
        let rest = self.rest_of_moved(&chain, before, missed_bytes);
        missed_bytes -= rest.len() as u64;
        let mut behind = chain.end() - self.place.position;
        if behind > MAX_BEHIND_BYTES {
            missed_bytes += self.skip(&chain)?;
            behind = chain.end() - self.place.position;
        }
        let count = behind.min(MAX_LOOK_BYTES);
        let mut bytes = chain.read(self.place.position, self.place.position + count)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        if !self.shows_unfinished(bytes.len() - whole, whole, count) {
            bytes.truncate(whole);
        }
        self.place.position += bytes.len() as u64;
        let bytes = [rest, bytes].concat();
        let lines = split(&bytes).into_iter().map(readable).collect();
        Ok(LogBatch { lines, missed_bytes, more: behind > count, next: self.place })
    }

    /// Finds the place again after changes of the files. Returns how many bytes before it cannot be shown any more.
    fn find_place(&mut self, chain: &Chain) -> u64 {
        let index = &chain.index;
        let dropped = index.dropped_heads.saturating_sub(self.place.dropped_heads);
        let mut missed = 0;
        let at = &mut self.place.position;
        if dropped > 0 {
            let beyond = at.saturating_sub(index.moved);
            missed += dropped.saturating_sub(beyond);
            *at = (*at).min(index.moved + beyond.saturating_sub(dropped));
        }
        // heartbeatd or another process has truncated the log: what is in the live file is new.
        if index.lost.truncations > self.place.truncations || *at > chain.end() {
            *at = (*at).min(index.moved);
        }
        if *at < chain.first() {
            missed += chain.first() - *at;
            *at = chain.first();
        }
        self.place = LogPlace::at(index, self.place.position);
        missed
    }

    /// The bytes from `position` on that the log has lost with a file that was moved or removed, where that is the file
    /// that was followed; the newest of them.
    fn rest_of_moved(&mut self, chain: &Chain, position: u64, missed_bytes: u64) -> Vec<u8> {
        let mut rest = Vec::new();
        if let Some((_, file)) = self.live.as_ref().filter(|(id, _)| chain.live != Some(*id)) {
            let count = missed_bytes.min(MAX_BEHIND_BYTES);
            if let Some(at) = position.checked_sub(chain.index.moved).filter(|_| count > 0) {
                // What cannot be read is missed.
                let _ = fill(file, at + (missed_bytes - count), count, &mut rest);
            }
        }
        let is_followed = self.live.as_ref().is_some_and(|(id, _)| chain.live == Some(*id));
        if !is_followed && !chain.is_incomplete && chain.live.is_some() {
            let opened = chain::open(&self.path).ok();
            self.live = opened.and_then(|file| Some((id(&file.metadata().ok()?), file)));
        }
        rest
    }

    /// Goes on near the end, where a line begins. Returns how many bytes it leaves out.
    fn skip(&mut self, chain: &Chain) -> io::Result<u64> {
        let from = chain.end() - MAX_LOOK_BYTES;
        let bytes = chain.read(from, chain.end())?;
        let begins = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let to = from + begins as u64;
        let left_out = to - self.place.position;
        self.place.position = to;
        Ok(left_out)
    }

    /// Whether to show what follows the last line end: it fills a whole look, or has not grown for a while.
    fn shows_unfinished(&mut self, size: usize, whole: usize, looked_bytes: u64) -> bool {
        if size == 0 || whole > 0 || size != self.unfinished.0 {
            self.unfinished = (if whole > 0 { 0 } else { size }, 0);
        } else {
            self.unfinished.1 += 1;
        }
        let shown =
            whole == 0 && (looked_bytes >= MAX_LOOK_BYTES || self.unfinished.1 >= MAX_UNFINISHED_LOOKS);
        if shown {
            self.unfinished = (0, 0);
        }
        shown
    }
}
