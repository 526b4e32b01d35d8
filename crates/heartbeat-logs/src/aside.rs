//! The files that were set aside: `.1` is the newest, and no more than `keep` of them stay.

use std::path::{Path, PathBuf};

/// The path of a log with `ending` after it.
pub(crate) fn beside(log: &Path, ending: &str) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// The file with that number.
pub(crate) fn numbered(log: &Path, number: u32) -> PathBuf {
    beside(log, &format!(".{number}"))
}

/// Makes room for a new `.1`: every number goes up by one, and the last one goes.
pub(crate) fn shift(log: &Path, keep: u32) {
    // An earlier configuration may have kept more.
    clear_from(log, keep.saturating_add(1));
    // Counts the files that exist: `keep` may be any number.
    let used = (1..=keep).take_while(|number| std::fs::symlink_metadata(numbered(log, *number)).is_ok());
    let used = u32::try_from(used.count()).unwrap_or(keep);
    for number in (1..=used.min(keep.saturating_sub(1))).rev() {
        // The next file overwrites one that cannot be renamed: its time was over anyway.
        let _ = std::fs::rename(numbered(log, number), numbered(log, number + 1));
    }
}

/// Removes the oldest file, if there is one; its number and its size in bytes.
pub(crate) fn drop_oldest(log: &Path) -> Option<(u32, u64)> {
    let sizes = (1..).map_while(|number| std::fs::symlink_metadata(numbered(log, number)).ok());
    let (number, meta) = (1..).zip(sizes).last()?;
    std::fs::remove_file(numbered(log, number)).ok().map(|()| (number, meta.len()))
}

/// Removes everything that was set aside.
pub(crate) fn clear(log: &Path) {
    clear_from(log, 1);
}

fn clear_from(log: &Path, first: u32) {
    for number in first.. {
        if std::fs::remove_file(numbered(log, number)).is_err() {
            return;
        }
    }
}
