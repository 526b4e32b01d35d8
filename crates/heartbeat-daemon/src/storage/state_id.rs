//! The id of a state directory, made once: it marks the processes of one ecosystem.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::DaemonError;
use crate::random;
use crate::storage::files;

/// First words of the file.
const MAGIC: &str = "heartbeat-id/1";
/// Hexadecimal digits of an id.
const ID_DIGITS: usize = 16;

pub(crate) fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("id")
}

fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The id of a state directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateId {
    pub(crate) id: String,
    /// There was none before.
    pub(crate) is_new: bool,
    /// The damage of the file: the id is another one then, and heartbeatd no longer recognises processes of the old
    /// one.
    pub(crate) lost: Option<String>,
}

/// The id of `state_dir`, made and written when there is none. On a disk that cannot be written to it is the same at
/// every start until the host boots, so that heartbeatd recognises what it marks with it.
///
/// # Errors
/// [`DaemonError::Prepare`] when a new id cannot be written, and that is no fault of the disk.
pub(crate) fn of(state_dir: &Path) -> Result<StateId, DaemonError> {
    let damage = match files::read(&path(state_dir), MAGIC) {
        Ok(Some(id)) if is_id(id.trim()) => {
            return Ok(StateId { id: id.trim().to_owned(), is_new: false, lost: None });
        }
        Ok(Some(_)) => Some(files::damaged(&path(state_dir), "no id").to_string()),
        Ok(None) => None,
        Err(error) => match unframed(state_dir) {
            Some(id) => {
                write(state_dir, &id)?;
                return Ok(StateId { id, is_new: false, lost: None });
            }
            None => Some(error.to_string()),
        },
    };
    let number = if damage.is_some() { random::number() } else { number_of(state_dir) };
    let id = format!("{number:016x}");
    write(state_dir, &id)?;
    let lost = damage.map(|damage| {
        format!("{damage}; a new id is made, and realms that still run under the old one are taken for those of another heartbeatd")
    });
    Ok(StateId { id, is_new: true, lost })
}

/// The same for a directory during a boot of the host. Containers may have the same path, and another root.
fn number_of(state_dir: &Path) -> u64 {
    let root = std::fs::metadata("/").map(|root| (root.dev(), root.ino())).ok();
    let mut hasher = DefaultHasher::new();
    (heartbeat_process::boot_id(), root, std::path::absolute(state_dir).ok()).hash(&mut hasher);
    hasher.finish()
}

/// Writes the id again when its file has disappeared, or could not be written before.
pub(crate) fn restore(state_dir: &Path, id: &str) -> Result<(), DaemonError> {
    let written = files::look(&path(state_dir), MAGIC);
    let is_there = written.is_ok_and(|text| text.is_some_and(|text| text.trim() == id));
    if is_there { Ok(()) } else { write(state_dir, id) }
}

/// A disk that refuses it is a problem that the caretaker reports, and the next round tries again.
fn write(state_dir: &Path, id: &str) -> Result<(), DaemonError> {
    // Until the host boots, it need not be on disk: no process with its mark survives that.
    let written = files::write(&path(state_dir), MAGIC, &format!("{id}\n"), false);
    match written {
        Err(error) if files::is_of_disk(&error) || !state_dir.is_dir() => Ok(()),
        Err(source) => Err(DaemonError::Prepare { what: "state id", path: path(state_dir), source }),
        Ok(()) => {
            files::sync_later(path(state_dir));
            Ok(())
        }
    }
}

/// An id as it was written before it had a checksum: [`files::read`] has set it aside.
fn unframed(state_dir: &Path) -> Option<String> {
    let aside = state_dir.join("id.damaged");
    let text = String::from_utf8(files::bytes_of(&aside).ok()??).ok()?;
    let id = text.strip_suffix('\n').filter(|text| is_id(text))?.to_owned();
    // The file was readable, so it was not damaged.
    let _ = std::fs::remove_file(aside);
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The id, and the damage.
    fn of(state_dir: &Path) -> Result<(String, Option<String>), DaemonError> {
        super::of(state_dir).map(|StateId { id, lost, .. }| (id, lost))
    }

    #[test]
    fn an_id_stays_and_damage_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let (id, damage) = of(dir.path()).unwrap();
        assert!(is_id(&id) && damage.is_none());
        assert_eq!(of(dir.path()).unwrap(), (id.clone(), None));
        let whole = std::fs::read(path(dir.path())).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(path(dir.path()), &flipped).unwrap();
            let (other, damage) = of(dir.path()).unwrap();
            assert!(other != id && damage.is_some(), "byte {at}");
            std::fs::write(path(dir.path()), &whole[..at]).unwrap();
            let (other, damage) = of(dir.path()).unwrap();
            assert!(other != id && damage.is_some(), "cut at {at}");
        }
        std::fs::write(path(dir.path()), &whole).unwrap();
        assert_eq!(of(dir.path()).unwrap(), (id.clone(), None));
        std::fs::remove_file(path(dir.path())).unwrap();
        restore(dir.path(), &id).unwrap();
        assert_eq!(of(dir.path()).unwrap(), (id, None), "another process has removed it");
    }

    #[test]
    fn an_id_that_cannot_be_written_is_the_same_at_every_start() {
        let base = tempfile::tempdir().unwrap();
        let (dir, other) = (base.path().join("state"), base.path().join("other"));
        let first = super::of(&dir).unwrap();
        assert!(first.is_new && is_id(&first.id) && !dir.exists());
        assert_eq!(super::of(&dir).unwrap(), first);
        assert_ne!(super::of(&other).unwrap().id, first.id);
        std::fs::create_dir(&dir).unwrap();
        restore(&dir, &first.id).unwrap();
        assert_eq!(super::of(&dir).unwrap(), StateId { is_new: false, ..first.clone() });
        // Damage that could not be set aside.
        std::fs::write(path(&dir), "damage").unwrap();
        restore(&dir, &first.id).unwrap();
        assert_eq!(super::of(&dir).unwrap(), StateId { is_new: false, ..first });
    }

    #[test]
    fn what_is_no_file_is_set_aside_and_told() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            std::fs::create_dir(path(dir.path())).unwrap();
            std::fs::write(path(dir.path()).join("inner"), "").unwrap();
            let (id, damage) = of(dir.path()).unwrap();
            let damage = damage.unwrap();
            assert!(damage.contains("no regular file") && damage.contains("id.damaged"), "{damage}");
            assert_eq!(of(dir.path()).unwrap(), (id, None));
            assert!(dir.path().join("id.damaged/inner").exists(), "nothing is lost");
            std::fs::remove_file(path(dir.path())).unwrap();
        }
    }

    #[test]
    fn what_was_set_aside_is_read_only_if_it_is_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let (id, aside) = (path(dir.path()), dir.path().join("id.damaged"));
        nix::unistd::mkfifo(&id, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(of(dir.path()).unwrap().1.is_some() && aside.exists(), "a FIFO is set aside, not read");
        std::fs::remove_file(&id).unwrap();
        std::fs::write(dir.path().join("other"), "0123456789abcdef\n").unwrap();
        for target in ["other", "/dev/zero"] {
            let _ = std::fs::remove_file(&id);
            std::os::unix::fs::symlink(target, &id).unwrap();
            let (made, damage) = of(dir.path()).unwrap();
            assert!(made != "0123456789abcdef" && damage.is_some(), "a link to {target}");
        }
    }

    #[test]
    fn an_id_of_an_earlier_version_is_kept_and_gets_its_checksum() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(path(dir.path()), "0123456789abcdef\n").unwrap();
        for _ in 0..2 {
            assert_eq!(of(dir.path()).unwrap(), ("0123456789abcdef".to_owned(), None));
        }
        assert!(std::fs::read_to_string(path(dir.path())).unwrap().starts_with(MAGIC));
        assert!(!dir.path().join("id.damaged").exists());
    }

    #[test]
    fn what_is_no_id_is_damage_with_and_without_a_checksum() {
        for no_id in ["", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeg"] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(path(dir.path()), format!("{no_id}\n")).unwrap();
            assert!(of(dir.path()).unwrap().1.is_some(), "{no_id:?} without one");
            write(dir.path(), no_id).unwrap();
            assert!(of(dir.path()).unwrap().1.is_some(), "{no_id:?} with one");
        }
    }
}
