//! A file: that it is there, how old it is, and what it says.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use heartbeat_status::{FailReason, InconclusiveReason, Outcome, ProbeKind, span_words};

use crate::broken::{Broken, seconds};
use crate::clock;
use crate::kind::Kind;
use crate::measure::Seen;
use crate::progress::Progress;
use crate::tcp::contains;

/// Largest file in which text is looked for, in bytes.
const MAX_TEXT_BYTES: u64 = 64 * 1024;
/// What is known of a file at which a look does not return.
const SILENT: &str = "a look at the file does not return: its file system does not answer";

/// Passes when the file or directory is there, and, if set, is young enough and contains a text.
#[derive(Clone, Debug)]
pub struct FileProbe {
    look: Arc<Look>,
}

#[derive(Debug, Default)]
struct Look {
    path: PathBuf,
    max_age: Option<Duration>,
    contains: Option<String>,
    /// A look at a file system that does not answer never returns: there is one at a time.
    under_way: AtomicBool,
}

impl PartialEq for FileProbe {
    fn eq(&self, other: &Self) -> bool {
        let of = |probe: &Self| {
            let look = &probe.look;
            (look.path.clone(), look.max_age, look.contains.clone())
        };
        of(self) == of(other)
    }
}

impl FileProbe {
    /// A probe of the file or directory at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { look: Arc::new(Look { path: path.into(), ..Look::default() }) }
    }

    fn with(&self, change: impl FnOnce(&mut Look)) -> Self {
        let old = &self.look;
        let mut look = Look {
            path: old.path.clone(),
            max_age: old.max_age,
            contains: old.contains.clone(),
            under_way: AtomicBool::new(false),
        };
        change(&mut look);
        Self { look: Arc::new(look) }
    }

    /// Fails when the last change is longer ago.
    #[must_use]
    pub fn with_max_age(self, max_age: Duration) -> Self {
        self.with(|look| look.max_age = Some(max_age))
    }

    /// Fails when the file does not contain `text`. At most 64 KiB are read.
    #[must_use]
    pub fn with_contains(self, text: &str) -> Self {
        self.with(|look| look.contains = Some(text.to_owned()))
    }
}

impl Kind for FileProbe {
    fn kind(&self) -> ProbeKind {
        ProbeKind::File
    }

    fn target(&self) -> String {
        self.look.path.display().to_string()
    }

    async fn observe(&self, progress: &mut Progress<'_>) -> Seen {
        let silent = Broken { outcome: fail(FailReason::Unreachable), detail: SILENT.to_owned() };
        if self.look.under_way.swap(true, Ordering::AcqRel) {
            return Err(silent);
        }
        progress.settle(silent);
        let look = Arc::clone(&self.look);
        let looked = tokio::task::spawn_blocking(move || {
            let seen = look.look();
            look.under_way.store(false, Ordering::Release);
            seen
        });
        looked.await.unwrap_or_else(|error| {
            Err(Broken::inconclusive(InconclusiveReason::Cancelled, format!("the look was lost: {error}")))
        })
    }
}

impl Look {
    fn look(&self) -> Seen {
        let meta = std::fs::metadata(&self.path).map_err(|error| unseen(&error))?;
        let changed_s = u64::try_from(meta.mtime()).unwrap_or(0);
        // One from the future has just been changed, as far as anyone can tell.
        let age = Duration::from_secs(clock::unix_s().saturating_sub(changed_s));
        let words = format!("changed {} ago, {} bytes", aged(age), meta.len());
        if let Some(max) = self.max_age.filter(|max| age > *max) {
            let detail = format!("changed {} ago, more than {} ago", aged(age), aged(max));
            return Err(Broken { outcome: fail(FailReason::TooOld), detail });
        }
        if let Some(text) = &self.contains {
            if !meta.is_file() {
                let detail = "not a regular file, so nothing can be looked for in it".to_owned();
                return Err(Broken { outcome: fail(FailReason::ConditionMissing), detail });
            }
            let body = self.read().map_err(|error| unseen(&error))?;
            if body.len() as u64 > MAX_TEXT_BYTES {
                let detail = format!("longer than {} KiB, and text is looked for", MAX_TEXT_BYTES / 1024);
                return Err(Broken { outcome: fail(FailReason::BodyTooLarge), detail });
            }
            if !contains(&body, text.as_bytes()) {
                let detail = format!("does not contain {}", crate::expected(text));
                return Err(Broken { outcome: fail(FailReason::ConditionFailed), detail });
            }
        }
        Ok((Outcome::Pass, words))
    }

    /// One byte more than may be there.
    fn read(&self) -> io::Result<Vec<u8>> {
        // A pipe that has taken the file's place meanwhile does not block the look.
        let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file: File = OpenOptions::new().read(true).custom_flags(nonblock).open(&self.path)?;
        let mut body = Vec::new();
        file.take(MAX_TEXT_BYTES + 1).read_to_end(&mut body)?;
        Ok(body)
    }
}

const fn fail(reason: FailReason) -> Outcome {
    Outcome::Fail { reason, phase: None }
}

fn unseen(error: &io::Error) -> Broken {
    if heartbeat_http::is_shortage(error) {
        return Broken::inconclusive(InconclusiveReason::MonitorResources, error.to_string());
    }
    let (reason, detail) = match error.kind() {
        io::ErrorKind::NotFound => (FailReason::ConditionMissing, "there is no such file".to_owned()),
        io::ErrorKind::NotADirectory => {
            (FailReason::ConditionMissing, "a part of its path is not a directory".to_owned())
        }
        io::ErrorKind::PermissionDenied => {
            (FailReason::Unreachable, "heartbeatd has no permission to look at it".to_owned())
        }
        _ => (FailReason::Unreachable, error.to_string()),
    };
    Broken { outcome: fail(reason), detail }
}

/// `3 days`, `2 h`, `90 s`, `1.5 s`
fn aged(age: Duration) -> String {
    const MINUTES_FROM: Duration = Duration::from_secs(120);
    if age < MINUTES_FROM { seconds(age) } else { span_words(age) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Probe;

    async fn measured(probe: FileProbe) -> (Outcome, String) {
        let result = Probe::from(probe).measure(Duration::from_secs(5)).await;
        (result.outcome, result.detail)
    }

    fn set_age(path: &std::path::Path, age_s: u64) {
        let changed = std::time::UNIX_EPOCH + Duration::from_secs(clock::unix_s() - age_s);
        File::options().write(true).open(path).unwrap().set_modified(changed).unwrap();
    }

    #[tokio::test]
    async fn a_file_is_there_young_and_says_what_it_should() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("last-run");
        let probe = || FileProbe::new(&path);
        assert_eq!(
            measured(probe()).await,
            (fail(FailReason::ConditionMissing), "there is no such file".to_owned())
        );
        std::fs::write(&path, "status: ok\n").unwrap();
        let (outcome, words) =
            measured(probe().with_max_age(Duration::from_secs(3600)).with_contains("ok")).await;
        assert_eq!(outcome, Outcome::Pass);
        assert!(words.ends_with("ago, 11 bytes"), "{words}");
        set_age(&path, 3 * 60 * 60);
        let old = measured(probe().with_max_age(Duration::from_secs(3600))).await;
        assert_eq!(old, (fail(FailReason::TooOld), "changed 3 h ago, more than 60 min ago".to_owned()));
        let other = measured(probe().with_contains("failed")).await;
        assert_eq!(other, (fail(FailReason::ConditionFailed), "does not contain \"failed\"".to_owned()));
        assert_eq!(measured(FileProbe::new(dir.path())).await.0, Outcome::Pass, "a directory is there, too");
        assert_eq!(measured(FileProbe::new(path.join("x"))).await.0, fail(FailReason::ConditionMissing));
    }

    #[tokio::test]
    async fn what_is_no_file_or_has_no_end_holds_nothing_up() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .unwrap();
        for path in [pipe.as_path(), std::path::Path::new("/dev/zero"), dir.path()] {
            let found = measured(FileProbe::new(path).with_contains("ok")).await;
            assert_eq!(found.0, fail(FailReason::ConditionMissing), "{}: {}", path.display(), found.1);
        }
        let long = dir.path().join("long");
        std::fs::write(&long, vec![b'x'; 70_000]).unwrap();
        assert_eq!(
            measured(FileProbe::new(&long).with_contains("ok")).await.0,
            fail(FailReason::BodyTooLarge)
        );
        let looping = dir.path().join("loop");
        std::os::unix::fs::symlink(&looping, &looping).unwrap();
        assert_eq!(measured(FileProbe::new(&looping)).await.0, fail(FailReason::Unreachable));
    }

    #[tokio::test]
    async fn a_look_that_does_not_return_is_not_joined_by_another() {
        let probe = FileProbe::new("/");
        probe.look.under_way.store(true, Ordering::Release);
        let (outcome, words) = measured(probe).await;
        assert_eq!(outcome, fail(FailReason::Unreachable));
        assert!(words.contains("does not answer"), "{words}");
    }
}
