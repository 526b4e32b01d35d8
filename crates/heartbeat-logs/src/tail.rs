//! The end of a log file, for an operator who wants to know what a program wrote last.

use std::io;
use std::path::Path;

use heartbeat_status::sanitise_line;

use crate::chain::Chain;

/// The last lines of a log, oldest first, also from files that were set aside. Reads at most `max_bytes` bytes. Makes
/// each line safe to show ([`sanitise_line`]): no control characters, replacement characters for what is no UTF-8, cut
/// at its bound. Leaves out blank lines, and a first line whose beginning lies before what is read. If that line is the
/// only one, its end is better than nothing, and marked with `…`.
///
/// # Errors
/// The file is not there or cannot be read, or is no ordinary file.
pub fn tail(path: &Path, max_lines: usize, max_bytes: u64) -> io::Result<Vec<String>> {
    let chain = Chain::open(path)?;
    let (first, end) = (chain.first(), chain.end());
    let from = end.saturating_sub(max_bytes).max(first);
    // One byte before what was asked for tells whether a line begins there.
    let before = from.saturating_sub(1).max(first);
    let bytes = chain.read(before, end)?;
    let cut = from > first;
    let text = if cut { bytes.get(1..).unwrap_or_default() } else { &bytes };
    let partial = cut && bytes.first() != Some(&b'\n');
    let (head, rest) = match text.iter().position(|byte| *byte == b'\n') {
        Some(end) if partial => (&text[..end], &text[end + 1..]),
        None if partial => (text, &[][..]),
        _ => (&[][..], text),
    };
    let mut lines: Vec<String> = rest
        .rsplit(|byte| *byte == b'\n')
        .map(|line| sanitise_line(&String::from_utf8_lossy(line)))
        .filter(|line| !line.is_empty())
        .take(max_lines)
        .collect();
    lines.reverse();
    let head = sanitise_line(&String::from_utf8_lossy(head));
    if lines.is_empty() && !head.is_empty() && max_lines > 0 {
        lines.push(sanitise_line(&format!("…{head}")));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail_of(content: &[u8], max_lines: usize, max_bytes: u64) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.log");
        std::fs::write(&path, content).unwrap();
        tail(&path, max_lines, max_bytes).unwrap()
    }

    #[test]
    fn the_last_lines_come_in_order() {
        let text = b"one\ntwo\n\nthree\n";
        assert_eq!(tail_of(text, 2, 1_000), ["two", "three"]);
        assert_eq!(tail_of(text, 9, 1_000), ["one", "two", "three"]);
        assert_eq!(tail_of(b"one\ntwo", 9, 1_000), ["one", "two"], "no newline at the end");
        assert!(tail_of(text, 0, 1_000).is_empty() && tail_of(text, 9, 0).is_empty());
        assert!(tail_of(b"", 9, 1_000).is_empty() && tail_of(b"\n\n", 9, 1_000).is_empty());
    }

    #[test]
    fn only_the_end_is_read_and_no_half_line_is_shown() {
        let text = b"first\nsecond\nthird\n";
        assert_eq!(tail_of(text, 9, 8), ["third"]);
        assert_eq!(tail_of(text, 9, 6), ["third"], "a line that begins exactly there is whole");
        assert_eq!(tail_of(text, 9, 5), ["…hird"], "better than nothing");
        assert_eq!(tail_of(text, 9, 13), ["second", "third"]);
    }

    #[test]
    fn it_goes_on_in_what_was_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.log");
        std::fs::write(&path, "two\n").unwrap();
        std::fs::write(dir.path().join("out.log.1"), "zero\none ").unwrap();
        assert_eq!(tail(&path, 9, 1_000).unwrap(), ["zero", "one two"]);
        assert_eq!(tail(&path, 9, 8).unwrap(), ["one two"]);
        assert_eq!(tail(&path, 9, 7).unwrap(), ["…ne two"]);
    }

    #[test]
    fn long_lines_and_binary_are_made_safe() {
        let long = [b"y".repeat(10_000), b"\nend\n".to_vec()].concat();
        let lines = tail_of(&long, 9, 20_000);
        assert_eq!((lines.len(), lines[1].as_str()), (2, "end"));
        assert!(lines[0].chars().count() <= 301, "{}", lines[0]);
        assert_eq!(tail_of(&b"y".repeat(10_000), 9, 50), [format!("…{}", "y".repeat(50))]);
        assert_eq!(tail_of(b"\x1b[31mred\0\xff\xfe\r\n", 9, 100), ["?[31mred?\u{fffd}\u{fffd}"]);
    }

    #[test]
    fn what_is_no_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let missing = tail(&dir.path().join("none.log"), 1, 10).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(tail(&fifo, 1, 10).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
