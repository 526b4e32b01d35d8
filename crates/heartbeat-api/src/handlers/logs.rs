//! `GET /api/logs/{realm}/`: the output of a realm, and with `follow` its new output as server-sent events.
//!
//! Threads that may block read the files. A follower is one task: it reads, sends, and reads again once the client has
//! taken that. A slow reader costs nothing but the lines that it misses, and the server reports how much that was.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use heartbeat_logs::{LogBatch, LogFollower, LogPage, LogPlace, Lost, last_lines, previous_lines};
use heartbeat_wire::{LogsDocument, LostEntry};
use http::{HeaderMap, Method, StatusCode};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{interval, sleep};

use crate::answers::answer::{ALIVE, Answer, LAST_EVENT_ID, stream};
use crate::answers::document::json;
use crate::answers::problem::ApiError;
use crate::backend::{Backend, Output};
use crate::connections::closing::{Closing, closes};
use crate::handlers::status;
use crate::limits::{COMMENT_EVERY, DEFAULT_LOG_LINES, LOG_CATCH_UP_EVERY, LOG_LOOK_EVERY, MAX_LOG_LINES};
use crate::requests::query::Query;

/// The parameters of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    lines: usize,
    follow: bool,
    previous: bool,
}

impl Wish {
    fn of(query: &Query<'_>) -> Result<Self, ApiError> {
        let (follow, previous) = (query.switch("follow")?, query.switch("previous")?);
        if follow && previous {
            return Err(ApiError::bad(
                "the generation before writes nothing any more: `follow` and `previous` exclude each other",
            ));
        }
        let lines = match query.get("lines") {
            None => DEFAULT_LOG_LINES,
            Some(text) => text.parse().ok().filter(|lines| *lines <= MAX_LOG_LINES).ok_or_else(|| {
                ApiError::bad(format!("`lines` is a number of lines up to {MAX_LOG_LINES}"))
            })?,
        };
        Ok(Self { lines, follow, previous })
    }
}

/// The last lines, or the beginning of a stream of them.
pub(crate) async fn logs(
    ecosystem: &Arc<dyn Backend>,
    name: &str,
    query: &Query<'_>,
    headers: &HeaderMap,
    method: &Method,
    closing: watch::Receiver<Closing>,
) -> Result<Answer, ApiError> {
    let wish = Wish::of(query)?;
    let snapshot = ecosystem.snapshot();
    let realm = status::find(&snapshot, name)?;
    let path = file_of(ecosystem.output(realm), name)?;
    let since = headers.get(LAST_EVENT_ID).map(|id| id.to_str().ok().and_then(|id| id.parse().ok()));
    if wish.follow
        && let Some(since) = since
    {
        let place: LogPlace = since.ok_or_else(|| ApiError::bad("`Last-Event-ID` is none of this stream"))?;
        return Ok(follow(name, path, None, place, method, closing));
    }
    let of = path.clone();
    let read =
        spawn_blocking(move || read(&of, wish)).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    let page = match read {
        Ok(Some(page)) => page,
        Ok(None) => return Err(no_previous(name)),
        Err(error) => {
            let ran = snapshot.realm(realm).is_some_and(|realm| realm.process.run.generation() > 0);
            return Err(unreadable(name, ran, &error));
        }
    };
    let place = page.next;
    let document = document(name, page);
    if wish.follow {
        return Ok(follow(name, path, Some(document), place, method, closing));
    }
    json(StatusCode::OK, &document)
}

/// The file to read, or why there is none and where to look instead.
fn file_of(output: Output, name: &str) -> Result<PathBuf, ApiError> {
    let detail = match output {
        Output::File(path) => return Ok(path),
        Output::Journal(identifier) => {
            format!("the output of {name} goes to the journal; read it with `journalctl -t {identifier}`")
        }
        Output::Nowhere => {
            format!(
                "the output of {name} is not kept (log.to = \"none\"); log.to = \"file\" keeps it from the next start on"
            )
        }
        Output::Elsewhere => {
            format!("heartbeatd does not start {name}, so it has no output of it")
        }
    };
    Err(ApiError::new(StatusCode::NOT_FOUND, "no-log", detail))
}

fn read(path: &std::path::Path, wish: Wish) -> io::Result<Option<LogPage>> {
    if wish.previous {
        previous_lines(path, wish.lines)
    } else {
        last_lines(path, wish.lines, !wish.follow).map(Some)
    }
}

fn no_previous(name: &str) -> ApiError {
    let detail = format!(
        "no generation of {name} before the newest one is remembered; without `previous` there is what it has written"
    );
    ApiError::new(StatusCode::NOT_FOUND, "no-previous", detail)
}

/// `ran`: heartbeatd has started the realm, so there was a log.
fn unreadable(name: &str, ran: bool, error: &io::Error) -> ApiError {
    if error.kind() == io::ErrorKind::NotFound {
        let detail = if ran {
            format!(
                "the log of {name} is gone: another process has removed it; heartbeatd keeps what {name} writes from now on"
            )
        } else {
            format!("{name} has no log yet: it has not been started")
        };
        return ApiError::new(StatusCode::NOT_FOUND, "no-log", detail);
    }
    let detail = format!("the log of {name} cannot be read: {error}");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "unreadable-log", detail)
}

fn document(name: &str, page: LogPage) -> LogsDocument {
    let LogPage { lines, cut, generation, lost, .. } = page;
    LogsDocument { cut, generation, lost: entry(lost), ..LogsDocument::new(name, lines) }
}

fn entry(lost: Lost) -> Option<LostEntry> {
    let Lost { truncations, cut_bytes, dropped_bytes, emptied, removed_bytes } = lost;
    let entry = || LostEntry::new(truncations, cut_bytes, dropped_bytes, emptied, removed_bytes);
    (!lost.is_nothing()).then(entry)
}

/// Begins to answer; a task sends what the realm writes.
fn follow(
    name: &str,
    path: PathBuf,
    first: Option<LogsDocument>,
    place: LogPlace,
    method: &Method,
    mut closing: watch::Receiver<Closing>,
) -> Answer {
    let (out, answer) = stream();
    if *method != Method::HEAD {
        let reader = Reader { name: name.to_owned(), out };
        let follower = LogFollower::new(path, place);
        tokio::spawn(async move {
            tokio::select! {
                // The end of the stream tells the client.
                () = closes(&mut closing) => {}
                _ = reader.run(first, place, follower) => {}
            }
        });
    }
    answer
}

/// The reader that follows.
struct Reader {
    name: String,
    out: mpsc::Sender<Bytes>,
}

impl Reader {
    /// Runs until the client has gone, or the log cannot be read.
    async fn run(
        &self,
        first: Option<LogsDocument>,
        place: LogPlace,
        mut follower: LogFollower,
    ) -> Option<()> {
        if let Some(first) = first {
            self.send(&first, place).await?;
        }
        let mut alive = interval(COMMENT_EVERY);
        alive.reset();
        loop {
            let looked;
            (follower, looked) = spawn_blocking(move || {
                let looked = follower.look();
                (follower, looked)
            })
            .await
            .ok()?;
            let LogBatch { lines, missed_bytes, more, next } = looked.ok()?;
            if !lines.is_empty() || missed_bytes > 0 {
                let document = LogsDocument { missed_bytes, ..LogsDocument::new(&self.name, lines) };
                self.send(&document, next).await?;
                alive.reset();
            }
            tokio::select! {
                () = sleep(if more { LOG_CATCH_UP_EVERY } else { LOG_LOOK_EVERY }) => {}
                _ = alive.tick() => self.out.send(ALIVE).await.ok()?,
                () = self.out.closed() => return None,
            }
        }
    }

    async fn send(&self, document: &LogsDocument, next: LogPlace) -> Option<()> {
        // JSON without spaces has no line break in it.
        let data = serde_json::to_string(document).ok()?;
        self.out.send(format!("event: lines\nid: {next}\ndata: {data}\n\n").into()).await.ok()
    }
}
