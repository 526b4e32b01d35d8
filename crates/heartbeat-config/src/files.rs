//! Finding and reading files: within bounds, whatever the file system does.
//!
//! `glob` walks the directories of an `include` itself; globset only compares names.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use figment::value::Value;
use glob::{GlobError, MatchOptions, Pattern, PatternError, glob_with};
use heartbeat_process::{TrustError, read_trusted};
use thiserror::Error;

use crate::code::Code;
use crate::defaults;
use crate::diagnostic::{Diagnostic, Source};
use crate::document::Parsed;

/// heartbeatd gives up a file or database that has not answered by then: a network mount whose server is away.
const SILENCE: Duration = Duration::from_secs(5);
/// Most files an `include` may bring in.
const MAX_INCLUDED_FILES: usize = 1_000;
/// Most readings that were given up and still wait, each in a thread of its own.
const MAX_ABANDONED_THREADS: usize = 8;

static ABANDONED: AtomicUsize = AtomicUsize::new(0);

/// As in a shell: a wildcard matches neither a leading dot nor a `/`.
const AS_IN_A_SHELL: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// How often a question has to be found unanswered before it is given up.
const LOOKS: u32 = 4;

/// What the reading thread does, for the thread that waits for it. The reading thread wakes that thread only when it ends.
struct Progress<T> {
    /// The question that waits for its answer.
    asked: Option<String>,
    /// How many questions there were.
    questions: u64,
    ended: bool,
    done: Option<T>,
    /// The one that waits has given up.
    abandoned: bool,
}

/// Shared by the two threads.
struct Watch<T> {
    progress: Mutex<Progress<T>>,
    end: Condvar,
}

impl<T> Watch<T> {
    fn new() -> Arc<Self> {
        let progress = Progress { asked: None, questions: 0, ended: false, done: None, abandoned: false };
        Arc::new(Self { progress: Mutex::new(progress), end: Condvar::new() })
    }

    fn progress(&self) -> MutexGuard<'_, Progress<T>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, what: Option<String>) {
        let mut progress = self.progress();
        progress.questions += u64::from(what.is_some());
        progress.asked = what;
    }

    /// Waits for the end, and gives up a question before `silence` is over.
    fn wait(&self, silence: Duration) -> Result<Option<T>, Silent> {
        let (mut question, mut looks) = (0, 0);
        let mut progress = self.progress();
        loop {
            let waited = self.end.wait_timeout_while(progress, silence / (LOOKS + 1), |now| !now.ended);
            progress = waited.unwrap_or_else(PoisonError::into_inner).0;
            if progress.ended {
                return Ok(progress.done.take());
            }
            let is_same = progress.asked.is_some() && progress.questions == question;
            (question, looks) = (progress.questions, if is_same { looks + 1 } else { 0 });
            if looks >= LOOKS {
                progress.abandoned = true;
                ABANDONED.fetch_add(1, Ordering::Relaxed);
                return Err(Silent(progress.asked.take().unwrap_or_default()));
            }
        }
    }
}

/// Marks the end of a reading, by a panic too, and perhaps long after it was given up.
struct End<T>(Arc<Watch<T>>);

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        let mut progress = self.0.progress();
        progress.ended = true;
        if progress.abandoned {
            ABANDONED.fetch_sub(1, Ordering::Relaxed);
        }
        self.0.end.notify_one();
    }
}

/// Asks the file system, and reports the question to the thread that waits.
pub(crate) struct Files<'a> {
    told: Option<&'a dyn Fn(Option<String>)>,
}

impl Files<'_> {
    /// Answers are not bounded in time.
    pub(crate) const fn unwatched() -> Self {
        Self { told: None }
    }

    /// Reads a file that only root and heartbeatd's own user can have written.
    pub(crate) fn read(&self, path: &Path) -> Result<String, TrustError> {
        self.ask(path.display().to_string(), || read_trusted(path))
    }

    /// Asks a question that may never be answered; `what` names it in the error.
    pub(crate) fn ask<T>(&self, what: String, ask: impl FnOnce() -> T) -> T {
        if let Some(told) = self.told {
            told(Some(what));
        }
        let answer = ask();
        if let Some(told) = self.told {
            told(None);
        }
        answer
    }
}

/// What does not answer.
pub(crate) struct Silent(pub(crate) String);

/// Does `work` in a thread of its own, and gives it up when one of its questions is not answered within [`SILENCE`].
/// However long it computes is its own affair.
///
/// # Errors
/// [`Silent`]: what was asked last.
pub(crate) fn within_silence<T: Send + 'static>(
    work: impl FnOnce(&Files<'_>) -> T + Send + 'static,
) -> Result<T, Silent> {
    within(SILENCE, work)
}

fn within<T: Send + 'static>(
    silence: Duration,
    work: impl FnOnce(&Files<'_>) -> T + Send + 'static,
) -> Result<T, Silent> {
    if ABANDONED.load(Ordering::Relaxed) >= MAX_ABANDONED_THREADS {
        return Err(Silent("the files of several earlier attempts".to_owned()));
    }
    let watch = Watch::new();
    let end = End(Arc::clone(&watch));
    let worker = thread::Builder::new().name("hb-load".to_owned()).spawn(move || {
        let done = work(&Files { told: Some(&|what| end.0.ask(what)) });
        end.0.progress().done = Some(done);
    });
    let worker =
        worker.map_err(|error| Silent(format!("this machine, which starts no thread ({error}),")))?;
    match watch.wait(silence)? {
        Some(done) => Ok(done),
        // Only a panic ends the work without a result.
        None => match worker.join() {
            Err(panic) => resume_unwind(panic),
            Ok(()) => Err(Silent(String::new())),
        },
    }
}

/// Reads a file of the configuration; `None` where it is reported.
pub(crate) fn read_one(
    file: &Path,
    files: &Files<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Option<Arc<Source>> {
    let name = file.display().to_string();
    match files.read(file) {
        Ok(text) => Some(Arc::new(Source::new(name, text))),
        Err(error) => {
            problems.push(unreadable(Code::UnreadableFile, &error).said_by(&name));
            None
        }
    }
}

/// A file that is not read, and what to type.
pub(crate) fn unreadable(code: Code, error: &TrustError) -> Diagnostic {
    let diagnostic = Diagnostic::new(code_of(code, error), error.to_string());
    match error.help() {
        Some(command) => diagnostic.help(command),
        None => diagnostic,
    }
}

/// A file that others could have written has a code of its own.
pub(crate) fn code_of(code: Code, error: &TrustError) -> Code {
    if error.help().is_some() { Code::Unfit } else { code }
}

/// The files that `include` names, in the order of its patterns, each once.
pub(crate) fn included(
    first: &Parsed<'_>,
    file: &Path,
    files: &Files<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Vec<PathBuf> {
    let dir = file.parent().unwrap_or(Path::new("."));
    let mut found: Vec<PathBuf> = Vec::new();
    let mut known: BTreeSet<PathBuf> = identity(file).into_iter().collect();
    for (pattern, path) in patterns(first) {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        if !pattern.contains(['*', '?', '[']) {
            let named = dir.join(&pattern);
            if identity(&named).is_none_or(|identity| known.insert(identity)) {
                found.push(named);
            }
            continue;
        }
        let is_written = !path.is_empty();
        let whole = if Path::new(&pattern).is_absolute() {
            pattern.clone()
        } else {
            format!("{}/{pattern}", Pattern::escape(&dir.to_string_lossy()))
        };
        let at = |diagnostic: Diagnostic, label: &str| diagnostic.at(first.place(&path), label);
        let matching = files.ask(whole.clone(), || matching(&whole));
        let matching = match matching {
            Ok(matching) => matching,
            Err(why) => {
                problems.push(at(Diagnostic::new(Code::BadInclude, why.to_string()), "in this pattern"));
                continue;
            }
        };
        if matching.is_empty() && is_written {
            problems.push(
                at(Diagnostic::new(Code::NoMatch, format!("`{pattern}` matches no file")), "brings in nothing")
                    .help("`*` and `?` match within one name, `**` any number of directories; none of them a leading dot"),
            );
        }
        found.extend(
            matching.into_iter().filter(|path| identity(path).is_none_or(|identity| known.insert(identity))),
        );
    }
    if found.len() > MAX_INCLUDED_FILES {
        let message =
            format!("`include` brings in {} files; at most {MAX_INCLUDED_FILES} are read", found.len());
        problems.push(
            Diagnostic::new(Code::BadInclude, message).at(first.place(&["heartbeat", "include"]), "here"),
        );
        found.clear();
    }
    found
}

/// What is written, each with the way to it; an empty way for the default pattern.
fn patterns(first: &Parsed<'_>) -> Vec<(String, Vec<String>)> {
    let way = || vec!["heartbeat".to_owned(), "include".to_owned()];
    match first.peek("heartbeat", "include") {
        None => vec![(defaults::INCLUDE.to_owned(), Vec::new())],
        Some(Value::Array(_, items)) => items
            .iter()
            .enumerate()
            .filter_map(|(at, item)| {
                let way = way().into_iter().chain([at.to_string()]).collect();
                Some((item.as_str()?.to_owned(), way))
            })
            .collect(),
        Some(value) => value.as_str().map(|text| (text.to_owned(), way())).into_iter().collect(),
    }
}

/// The reason why the files of a pattern are not known.
#[derive(Debug, Error)]
enum MatchError {
    #[error("`{0}`: {error}", error = .1.msg)]
    Pattern(String, #[source] PatternError),
    #[error("cannot look into {}: {}", .0.path().display(), .0.error())]
    Unreadable(#[from] GlobError),
}

/// Files that match, by name; directories are passed over.
fn matching(pattern: &str) -> Result<Vec<PathBuf>, MatchError> {
    let paths = glob_with(pattern, AS_IN_A_SHELL);
    let mut found = Vec::new();
    for path in paths.map_err(|error| MatchError::Pattern(pattern.to_owned(), error))? {
        let path = path?;
        if !path.is_dir() {
            found.push(path);
        }
        // One more than is read, so that the bound is noticed.
        if found.len() > MAX_INCLUDED_FILES {
            break;
        }
    }
    Ok(found)
}

/// The file itself, under whatever name; `None` where nothing is there, which reading it will say.
fn identity(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn what_does_not_answer_is_given_up_and_named() {
        assert_eq!(SILENCE, Duration::from_secs(5), "what the page on configuration promises");
        let (go_on, wait) = sync_channel::<()>(1);
        let (ended, end) = sync_channel::<()>(1);
        let silent = within(Duration::from_millis(20), move |files| {
            files.ask("/mnt/away".to_owned(), || wait.recv()).unwrap();
            ended.send(()).unwrap();
        });
        assert_eq!(silent.err().map(|Silent(what)| what).as_deref(), Some("/mnt/away"));
        // The thread ends when it is answered after all.
        go_on.send(()).unwrap();
        end.recv().unwrap();
    }

    #[test]
    fn computing_has_no_bound_and_answers_count_one_by_one() {
        let done = within(Duration::from_secs(60), |files| {
            (0..100).map(|number| files.ask(format!("file {number}"), || number)).sum::<u32>()
        });
        assert_eq!(done.ok(), Some(4_950));
    }
}
