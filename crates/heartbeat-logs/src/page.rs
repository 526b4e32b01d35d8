//! The last lines of a log, for the operator: of the whole log, or of one generation.

use std::io;
use std::path::Path;

use heartbeat_status::sanitise;

use crate::chain::Chain;
use crate::index::Lost;
use crate::place::LogPlace;

/// How much of a log is read for its last lines, in bytes.
const MAX_PAGE_BYTES: u64 = 2 * 1024 * 1024;
/// Longest line shown, in characters; what is cut is marked with `…`.
const MAX_LINE_CHARS: usize = 4_096;
/// Read at a time, backwards, in bytes.
const BLOCK_BYTES: u64 = 64 * 1024;

/// Lines of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPage {
    /// The oldest first; safe to show ([`sanitise`]).
    pub lines: Vec<String>,
    /// The log has more lines before them.
    pub cut: bool,
    /// The generation that wrote them, where the caller asked for one.
    pub generation: Option<u64>,
    /// What of the log is missing.
    pub lost: Lost,
    /// Where to go on: behind the last whole line.
    pub next: LogPlace,
}

/// The last lines of a log, of all generations. With `unfinished`, a last line without an end counts, too.
///
/// # Errors
/// There is no log, it is no ordinary file, or it cannot be read.
pub fn last_lines(log: &Path, lines: usize, unfinished: bool) -> io::Result<LogPage> {
    let chain = Chain::open(log)?;
    page(&chain, (chain.first(), chain.end()), lines, unfinished)
}

/// The last lines of the generation before the newest one. `None`: there was none, or its beginning is unknown.
///
/// # Errors
/// As for [`last_lines`].
pub fn previous_lines(log: &Path, lines: usize) -> io::Result<Option<LogPage>> {
    let chain = Chain::open(log)?;
    let [.., (run, from), (_, to)] = *chain.index.generations.as_slice() else { return Ok(None) };
    let (first, end) = (chain.first(), chain.end());
    let mut page = page(&chain, (from.clamp(first, end), to.clamp(first, end)), lines, true)?;
    page.generation = Some(run);
    // The beginning of the generation is not kept any more.
    page.cut |= from < first;
    Ok(Some(page))
}

fn page(chain: &Chain, (from, to): (u64, u64), lines: usize, unfinished: bool) -> io::Result<LogPage> {
    let mut bytes = Vec::new();
    let (mut start, mut ends) = (to, 0);
    // One line end more than lines says where the first of them begins.
    while start > from && ends <= lines && to - start < MAX_PAGE_BYTES {
        let before = start.saturating_sub(BLOCK_BYTES).max(from);
        let mut block = chain.read(before, start)?;
        ends += block.iter().filter(|byte| **byte == b'\n').count();
        block.append(&mut bytes);
        (bytes, start) = (block, before);
    }
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let rest = bytes.split_off(if unfinished { bytes.len() } else { whole });
    let next = LogPlace::at(&chain.index, to - rest.len() as u64);
    let mut shown: Vec<&[u8]> = split(&bytes);
    let mut cut = start > from;
    if cut && !shown.is_empty() && shown.len() <= lines {
        // The first line has lost its beginning. Alone it is better than nothing.
        if shown.len() > 1 {
            shown.remove(0);
        }
    }
    let surplus = shown.len().saturating_sub(lines);
    cut |= surplus > 0;
    let lines = shown[surplus..].iter().map(|line| readable(line)).collect();
    Ok(LogPage { lines, cut, generation: None, lost: chain.index.lost, next })
}

/// Splits bytes into lines without their ends. Bytes after the last end are a line, too.
pub(crate) fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    lines.pop_if(|last| last.is_empty());
    lines
}

/// A line as it can be shown: no control characters, replacement characters for what is no UTF-8, cut at its bound.
pub(crate) fn readable(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = sanitise(&String::from_utf8_lossy(line));
    match text.char_indices().nth(MAX_LINE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aside::numbered;
    use crate::index::LogIndex;

    fn of(log: &Path, lines: usize) -> (Vec<String>, bool) {
        let page = last_lines(log, lines, true).unwrap();
        (page.lines, page.cut)
    }

    #[test]
    fn lines_go_on_over_the_files_that_were_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("db.log");
        std::fs::write(&log, "d\n\n  three\ttabs\r\nunfinis").unwrap();
        std::fs::write(numbered(&log, 1), "two\nsplit-").unwrap();
        std::fs::write(numbered(&log, 2), "one\n").unwrap();
        let all = ["one", "two", "split-d", "", "  three\ttabs", "unfinis"].map(str::to_owned).to_vec();
        assert_eq!(of(&log, 10), (all.clone(), false));
        assert_eq!(of(&log, 6), (all.clone(), false));
        assert_eq!(of(&log, 4), (all[2..].to_vec(), true));
        assert_eq!(of(&log, 0), (Vec::new(), true));
        let whole = last_lines(&log, 2, false).unwrap();
        assert_eq!((whole.lines, whole.cut), (all[3..5].to_vec(), true), "what is not finished is left");
        std::fs::remove_file(&log).unwrap();
        assert_eq!(of(&log, 1), (vec!["split-".to_owned()], true), "the live one is gone");
        std::fs::remove_file(numbered(&log, 1)).unwrap();
        assert_eq!(last_lines(&log, 1, true).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn no_more_is_read_than_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("db.log");
        let line = "y".repeat(999) + "\n";
        std::fs::write(&log, line.repeat(5_000)).unwrap();
        let page = last_lines(&log, 100_000, true).unwrap();
        assert!(page.cut && page.lines.len() < 3_000 && page.lines.len() > 2_000, "{}", page.lines.len());
        assert!(page.lines.iter().all(|line| line.len() == 999), "no half line");
        std::fs::write(&log, "z".repeat(5_000_000)).unwrap();
        let page = last_lines(&log, 10, true).unwrap();
        assert_eq!((page.lines.len(), page.cut), (1, true), "a line without an end");
        assert_eq!(page.lines[0].chars().count(), MAX_LINE_CHARS + 1);
    }

    #[test]
    fn a_generation_is_told_from_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("db.log");
        std::fs::write(&log, "old\n").unwrap();
        assert_eq!(previous_lines(&log, 9).unwrap(), None);
        let mut index = LogIndex::lock(&log).unwrap();
        index.begin(4, 4);
        index.begin(5, 20);
        index.write().unwrap();
        drop(index);
        std::fs::write(&log, "old\nfourth begins\nx\nfifth\n").unwrap();
        let previous = previous_lines(&log, 1).unwrap().unwrap();
        assert_eq!(
            (previous.generation, previous.lines, previous.cut),
            (Some(4), vec!["x".to_owned()], true)
        );
        let previous = previous_lines(&log, 9).unwrap().unwrap();
        assert_eq!((previous.lines, previous.cut), (vec!["fourth begins".to_owned(), "x".to_owned()], false));
        // Another process has cut the log: nothing is left of the generation.
        std::fs::write(&log, "a").unwrap();
        assert_eq!(previous_lines(&log, 9).unwrap().unwrap().lines, Vec::<String>::new());
    }
}
