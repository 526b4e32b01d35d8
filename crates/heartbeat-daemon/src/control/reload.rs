//! A new configuration on its way from its files to the core.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_config::{Changed, Changes, Sources, load_beside};
use heartbeat_http::TlsServer;
use heartbeat_status::{RealmKind, RealmName};
use heartbeat_wire::{RELOAD_SCHEMA, ReloadDocument, ReloadedRealm};
use serde_json::Value;
use tokio::sync::{Mutex, oneshot, watch};
use tokio::time::timeout;

use crate::clock;
use crate::control::config_listings::ConfigListings;
use crate::control::registrations;
use crate::control::reload_error::ReloadError;
use crate::inbox::{Inbox, Request};
use crate::reporting::status_store::StatusStore;
use crate::start::prepared;
use crate::storage::intent::IntentWriter;

/// Reading the configuration takes at most this, so that the turn always ends. A single file that does not answer is
/// given up earlier.
const READ_LIMIT: Duration = Duration::from_secs(25);

/// Reads configurations again, and registers realms beside them.
#[derive(Debug)]
pub(crate) struct Reloader {
    sources: Option<Sources>,
    /// The certificate of the TCP listener, where it speaks TLS.
    tls: Option<watch::Sender<TlsServer>>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) statuses: Arc<StatusStore>,
    pub(crate) intent: IntentWriter,
    /// One after the other: a configuration that was read first must not take effect last.
    pub(crate) turn: Mutex<Turn>,
    /// The configuration in force and the one before, as evidence.
    pub(crate) listings: Arc<ConfigListings>,
}

/// The state that the task with the turn may change.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// All registrations on disk: those in force, and those that are set aside.
    pub(crate) registered: BTreeMap<String, Value>,
}

impl Reloader {
    /// `sources` is where the configuration came from; `None` for one that a program made.
    pub(crate) fn new(
        sources: Option<Sources>,
        tls: Option<watch::Sender<TlsServer>>,
        inbox: Arc<Inbox>,
        statuses: Arc<StatusStore>,
        intent: IntentWriter,
        registered: BTreeMap<String, Value>,
    ) -> Self {
        let (turn, listings) = (Mutex::new(Turn { registered }), Arc::default());
        Self { sources, tls, inbox, statuses, intent, turn, listings }
    }

    /// Whether there is a configuration on disk that can be read again.
    pub(crate) fn has_files(&self) -> bool {
        self.sources.is_some()
    }

    /// Reads everything, and then applies all of it or nothing. `None` when heartbeatd is ending.
    pub(crate) async fn reload(&self, dry_run: bool) -> Option<Result<ReloadDocument, ReloadError>> {
        let turn = self.turn.lock().await;
        let reloaded = self.read_and_apply(&turn, dry_run).await?;
        self.statuses.set_config_problem(reloaded.as_ref().err().and_then(ReloadError::problem));
        if let Ok(reloaded) = &reloaded
            && !dry_run
        {
            self.list(reloaded.config_revision);
        }
        Some(reloaded)
    }

    /// Lists the configuration that is in force now, on a thread that may wait for files.
    pub(crate) fn list(&self, revision: u64) {
        let (Some(sources), listings) = (self.sources.clone(), Arc::clone(&self.listings)) else { return };
        let since = clock::now();
        tokio::task::spawn_blocking(move || listings.list(&sources, revision, since));
    }

    async fn read_and_apply(
        &self,
        turn: &Turn,
        dry_run: bool,
    ) -> Option<Result<ReloadDocument, ReloadError>> {
        let Some(sources) = self.sources.clone() else { return Some(Err(ReloadError::NoFiles)) };
        let registered = turn.registered.clone();
        let snapshot = self.statuses.snapshot();
        // Files may be slow, so they are read on a thread that answers no requests.
        let read = move || {
            let names: Vec<String> = registered.keys().cloned().collect();
            load_beside(&sources, &names).map(|loaded| {
                let busy = |name: &str| {
                    snapshot.find(name).is_some_and(|realm| realm.info.kind != RealmKind::External)
                };
                let (config, aside) = registrations::beside(loaded.config, &registered, busy);
                (config, loaded.warnings, aside)
            })
        };
        let Ok(read) = timeout(READ_LIMIT, tokio::task::spawn_blocking(read)).await else {
            return Some(Err(ReloadError::NotRead { limit: READ_LIMIT }));
        };
        let (config, warnings, aside) = match read.ok()? {
            Ok(read) => read,
            Err(report) => return Some(Err(ReloadError::Invalid(report))),
        };
        // The files of the certificate may have changed although the configuration has not.
        let certificate = match prepared::tls(&config.heartbeat) {
            Ok(certificate) => certificate,
            Err(source) => return Some(Err(ReloadError::Tls { source })),
        };
        for aside in aside.iter().filter(|_| !dry_run) {
            tracing::warn!("{aside}");
        }
        let warnings = warnings.iter().map(ToString::to_string).chain(aside).collect();
        let (reply, answer) = oneshot::channel();
        if !self.inbox.request(Request::Reload { config: Box::new(config), dry_run, reply }) {
            return None;
        }
        let applied = answer.await.ok()?;
        if let (Ok(_), false, Some(tls), Some(certificate)) = (&applied, dry_run, &self.tls, certificate) {
            tls.send_replace(certificate);
        }
        Some(applied.map(|(changes, revision)| document(changes, revision, dry_run, warnings)))
    }

    /// The same for a signal: no client waits, so the result goes to the log.
    pub(crate) async fn reload_and_log(&self) {
        match self.reload(false).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                for mistake in error.mistakes() {
                    tracing::error!("SIGHUP: nothing was changed: {mistake}");
                }
            }
            None => tracing::warn!("SIGHUP: heartbeatd is ending; nothing was changed"),
        }
    }
}

fn document(changes: Changes, config_revision: u64, dry_run: bool, warnings: Vec<String>) -> ReloadDocument {
    let names = |names: Vec<RealmName>| names.iter().map(ToString::to_string).collect();
    let because = |realms: Vec<Changed>| {
        let entry = |(realm, keys): Changed| ReloadedRealm {
            realm: realm.to_string(),
            because: keys.into_iter().map(ToOwned::to_owned).collect(),
        };
        realms.into_iter().map(entry).collect()
    };
    ReloadDocument {
        schema: RELOAD_SCHEMA.to_owned(),
        dry_run,
        config_revision,
        added: names(changes.added),
        removed: names(changes.removed),
        restarted: because(changes.restarted),
        changed: because(changes.changed),
        settings: changes.settings,
        warnings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::{Batch, ReloadAnswer};
    use crate::sample::sample;
    use crate::storage::intent::IntentFile;
    use crate::storage::stored::StoredIntent;
    use heartbeat_config::MergeError;
    use std::path::Path;
    use std::time::Duration;

    const GOOD: &str = "[heartbeat]\nlisten = \"off\"\nsocket = \"hb.sock\"\nstate_dir = \"state\"\nruntime_dir = \"run\"\n[realm.db]\nrun = \"true\"\n";

    fn reloader(file: Option<&Path>, dir: &Path) -> (Arc<Reloader>, Arc<Inbox>) {
        let sample = sample("[realm.db]\nrun = \"true\"\n");
        let intent = IntentFile::open(dir, StoredIntent::default(), |_, _| {}).unwrap();
        let sources = file.map(|file| Sources {
            file: Some(file.to_owned()),
            env: BTreeMap::new(),
            bytes: Vec::new(),
            overrides: Vec::new(),
            cwd: dir.to_owned(),
        });
        let inbox = Arc::clone(&sample.inbox);
        let reloader = Reloader::new(
            sources,
            None,
            Arc::clone(&inbox),
            Arc::clone(&sample.statuses),
            intent.writer(),
            BTreeMap::new(),
        );
        (Arc::new(reloader), inbox)
    }

    /// Answers one reload as the driver would; returns whether that was a dry run.
    fn answers(inbox: Arc<Inbox>, answer: Option<ReloadAnswer>) -> std::thread::JoinHandle<(usize, bool)> {
        std::thread::spawn(move || {
            let mut batch = Batch::default();
            inbox.take(&mut batch, Duration::from_secs(20));
            match batch.requests.pop_front() {
                Some(Request::Reload { config, dry_run, reply }) => {
                    if let Some(answer) = answer {
                        reply.send(answer).unwrap();
                    }
                    (config.plan.realms().len(), dry_run)
                }
                other => panic!("{other:?}"),
            }
        })
    }

    #[tokio::test]
    async fn a_configuration_without_files_cannot_be_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (reloader, _) = reloader(None, dir.path());
        assert!(!reloader.has_files());
        let error = reloader.reload(false).await.unwrap().unwrap_err();
        assert!(matches!(error, ReloadError::NoFiles), "{error:?}");
    }

    #[tokio::test]
    async fn a_wrong_configuration_is_reported_whole_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("heartbeat.toml");
        std::fs::write(&file, GOOD.replace("run = \"true\"", "rum = \"true\"\nhealth = \"gopher://x\""))
            .unwrap();
        let (reloader, inbox) = reloader(Some(&file), dir.path());
        let problems = reloader.reload(false).await.unwrap().unwrap_err().mistakes();
        assert!(problems.len() >= 2, "every mistake at once: {problems:#?}");
        let mut batch = Batch::default();
        inbox.take(&mut batch, Duration::ZERO);
        let reloads = batch.requests.iter().filter(|request| matches!(request, Request::Reload { .. }));
        assert_eq!(reloads.count(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_driver_is_given_all_of_it_and_its_answer_is_the_document() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("heartbeat.toml");
        std::fs::write(&file, format!("{GOOD}[realm.web]\nrun = \"true\"\n")).unwrap();
        for dry_run in [true, false] {
            let (reloader, inbox) = reloader(Some(&file), dir.path());
            let added = vec![RealmName::new("web").unwrap()];
            let changes = Changes { added, ..Changes::default() };
            let driver = answers(inbox, Some(Ok((changes, 4))));
            let document = reloader.reload(dry_run).await.unwrap().unwrap();
            assert_eq!(driver.join().unwrap(), (2, dry_run));
            assert_eq!(
                (document.dry_run, document.config_revision, document.added),
                (dry_run, 4, vec!["web".to_owned()])
            );
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_does_not_fit_is_refused_and_an_end_is_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("heartbeat.toml");
        std::fs::write(&file, GOOD).unwrap();
        let (reloader, inbox) = reloader(Some(&file), dir.path());
        let unfit = ReloadError::Unmerged(vec![MergeError::Fixed { key: "socket" }]);
        let driver = answers(Arc::clone(&inbox), Some(Err(unfit)));
        let refused = reloader.reload(false).await.unwrap().unwrap_err();
        assert!(refused.mistakes()[0].starts_with("`socket` of [heartbeat] cannot change"), "{refused}");
        driver.join().unwrap();
        let (problem, _) = reloader.statuses.about().config_problem.expect("the status says so");
        assert!(problem.text(false).starts_with("`socket` of [heartbeat]"), "{problem:?}");
        assert!(!problem.text(true).contains("socket"), "{problem:?}");
        let driver = answers(inbox, None);
        assert!(reloader.reload(false).await.is_none(), "heartbeatd is ending");
        driver.join().unwrap();
    }
}
