//! Registering realms at run time: heartbeatd first checks that a registration fits, then writes it to disk, then puts
//! it in force.
//!
//! The configuration files stay as they are in force: a registration does not read them again. After a crash between
//! the disk and the core, the next heartbeatd has the registration; the client got no answer, and may ask again.

use std::collections::BTreeMap;

use heartbeat_api::{Rejection, RejectionKind};
use heartbeat_config::{Changes, Config, Misfit, Registration, with_registered};
use heartbeat_status::{RealmInfo, Snapshot, sanitise_line};
use heartbeat_wire::{REGISTRATION_SCHEMA, RegistrationDocument};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::control::registrations::readable;
use crate::control::reload::{Reloader, Turn};
use crate::control::reload_error::ReloadError;
use crate::inbox::Request;

/// Most realms that are registered, those that are set aside included.
const MAX_REGISTERED_REALMS: usize = 256;

/// The result of a registration; `None` when heartbeatd is ending.
pub(crate) type Outcome = Option<Result<RegistrationDocument, Rejection>>;

fn rejection(kind: RejectionKind, problem: impl Into<String>) -> Rejection {
    Rejection { kind, problems: vec![problem.into()] }
}

fn conflict(error: &ReloadError) -> Rejection {
    Rejection { kind: RejectionKind::Conflict, problems: error.mistakes() }
}

fn unfit(misfits: &[Misfit]) -> Rejection {
    let denied = misfits.iter().all(|misfit| misfit.denied);
    let kind = if denied { RejectionKind::Denied } else { RejectionKind::Invalid };
    Rejection {
        kind,
        problems: misfits.iter().flat_map(|misfit| misfit.report.iter().map(ToString::to_string)).collect(),
    }
}

/// Merges registrations with the files, on a thread that may wait for a slow disk.
async fn fitted(files: Config, all: Vec<Registration>) -> Option<Result<Config, Rejection>> {
    let fitted = tokio::task::spawn_blocking(move || with_registered(&files, &all)).await.ok()?;
    Some(fitted.map_err(|misfits| unfit(&misfits)))
}

/// The registered realm of that name in force.
fn in_force<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a RealmInfo> {
    snapshot.find(name).map(|realm| &*realm.info).filter(|info| info.registered)
}

/// All registrations in force except one.
fn others(snapshot: &Snapshot, kept: &BTreeMap<String, Value>, but: &str) -> Vec<Registration> {
    let known = |other: &Registration| {
        let name = other.name().as_str();
        name != but && in_force(snapshot, name).is_some()
    };
    readable(kept).into_iter().filter(known).collect()
}

/// The targets and needs of a realm, as a document writes them.
fn described(info: Option<&RealmInfo>) -> (Vec<String>, Vec<String>) {
    let Some(info) = info else { return (Vec::new(), Vec::new()) };
    let targets = info.probes.iter().map(|probe| format!("{} {}", probe.kind, probe.target));
    (targets.collect(), info.needs.iter().map(|need| need.name.to_string()).collect())
}

impl Reloader {
    /// Registers a realm, or replaces the registration of that name.
    pub(crate) async fn register(&self, name: &str, body: &[u8], dry_run: bool) -> Outcome {
        let mut turn = self.turn.lock().await;
        let wanted = match Registration::parse(name, body) {
            Ok(wanted) => wanted,
            Err(report) => {
                let problems = report.iter().map(ToString::to_string).collect();
                return Some(Err(Rejection { kind: RejectionKind::Invalid, problems }));
            }
        };
        let files = self.files().await?;
        if let Some(place) = files.registering.declared(name) {
            let problem = format!(
                "realm `{name}` is declared in {place}: change it there, or register under another name"
            );
            return Some(Err(rejection(RejectionKind::Configured, problem)));
        }
        let snapshot = self.statuses.snapshot();
        let before = in_force(&snapshot, name);
        let mut kept = turn.registered.clone();
        if before.is_some() && kept.get(name) == Some(&wanted.value()) {
            let (targets, needs) = described(before);
            let document = self.document(name, "unchanged", dry_run, &Changes::default());
            return Some(Ok(RegistrationDocument { targets, needs, ..document }));
        }
        if !kept.contains_key(name) && kept.len() >= MAX_REGISTERED_REALMS {
            let problem = format!(
                "{MAX_REGISTERED_REALMS} realms are registered, and more are not taken: `heartbeat-cli unregister` those that are gone, or declare realms in the configuration"
            );
            return Some(Err(rejection(RejectionKind::Full, problem)));
        }
        kept.insert(name.to_owned(), wanted.value());
        // With all registrations in force: a new one must not set another aside.
        let mut all = others(&snapshot, &turn.registered, name);
        all.push(wanted);
        let config = match fitted(files, all).await? {
            Ok(config) => config,
            Err(rejection) => return Some(Err(rejection)),
        };
        let result = if before.is_some() { "replaced" } else { "registered" };
        let (targets, needs) = described(config.plan.find(name).map(|ix| &*config.plan.infos()[ix.index()]));
        let taken = self.take(&mut turn, kept, Some(config), dry_run).await?;
        Some(taken.map(|(changes, message)| RegistrationDocument {
            targets,
            needs,
            message,
            ..self.document(name, result, dry_run, &changes)
        }))
    }

    /// Removes a registered realm.
    pub(crate) async fn unregister(&self, name: &str, dry_run: bool) -> Outcome {
        let mut turn = self.turn.lock().await;
        let files = self.files().await?;
        let snapshot = self.statuses.snapshot();
        let declared = files.registering.declared(name);
        let mut kept = turn.registered.clone();
        if kept.remove(name).is_none() {
            let rejected = match (declared, snapshot.find(name)) {
                (Some(place), _) => {
                    let problem =
                        format!("realm `{name}` is declared in {place}: remove it there, and reload");
                    rejection(RejectionKind::Configured, problem)
                }
                (None, Some(_)) => {
                    let problem =
                        format!("realm `{name}` is not registered, it belongs to the configuration");
                    rejection(RejectionKind::Configured, problem)
                }
                (None, None) => {
                    let problem = format!("no realm `{}` is registered", sanitise_line(name));
                    rejection(RejectionKind::Unknown, problem)
                }
            };
            return Some(Err(rejected));
        }
        let registered = in_force(&snapshot, name);
        let needed_by: Vec<String> = snapshot
            .in_start_order()
            .filter(|_| registered.is_some())
            .filter(|realm| realm.info.needs.iter().any(|need| need.name.as_str() == name))
            .map(|realm| realm.info.name.to_string())
            .collect();
        if !needed_by.is_empty() {
            let problem = format!(
                "{name} is named under `needs`, `wants` or `after` of {}: unregister or change those first",
                needed_by.join(", ")
            );
            return Some(Err(rejection(RejectionKind::Needed, problem)));
        }
        let config = if registered.is_some() {
            let all = others(&snapshot, &turn.registered, name);
            match fitted(files.clone(), all).await? {
                Ok(config) => Some(config),
                Err(rejection) => return Some(Err(rejection)),
            }
        } else {
            None
        };
        let (targets, needs) = described(registered);
        let aside = match (registered, declared) {
            (Some(_), _) => None,
            (None, Some(place)) => Some(format!("it was set aside; the realm of that name in {place} stays")),
            (None, None) => Some("it was set aside, and not in force".to_owned()),
        };
        let taken = self.take(&mut turn, kept, config, dry_run).await?;
        Some(taken.map(|(_, message)| RegistrationDocument {
            targets,
            needs,
            message: message.or(aside),
            ..self.document(name, "removed", dry_run, &Changes::default())
        }))
    }

    /// The configuration in force without registrations. `None` when heartbeatd is ending.
    async fn files(&self) -> Option<Config> {
        let (reply, answer) = oneshot::channel();
        if !self.inbox.request(Request::Files { reply }) {
            return None;
        }
        answer.await.ok().map(|config| *config)
    }

    /// Writes `kept` to disk and puts `config` in force. Returns the document, with any remark for the client.
    async fn take(
        &self,
        turn: &mut Turn,
        kept: BTreeMap<String, Value>,
        config: Option<Config>,
        dry_run: bool,
    ) -> Option<Result<(Changes, Option<String>), Rejection>> {
        if let Some(config) = &config {
            match self.enforce(config.clone(), true).await? {
                Ok(changes) if dry_run => return Some(Ok((changes, None))),
                Ok(_) => {}
                Err(error) => return Some(Err(conflict(&error))),
            }
        }
        if dry_run {
            return Some(Ok((Changes::default(), None)));
        }
        if let Err(why) = self.intent.write(kept.clone()).await? {
            // The wanted content of the file is the old one again; the next change writes it.
            let _ = self.intent.write(turn.registered.clone()).await;
            let problem = format!("nothing was changed, since it could not be remembered: {why}");
            return Some(Err(rejection(RejectionKind::NotRemembered, problem)));
        }
        let before = std::mem::replace(&mut turn.registered, kept);
        let Some(config) = config else { return Some(Ok((Changes::default(), None))) };
        match self.enforce(config, false).await {
            Some(Ok(changes)) => Some(Ok((changes, None))),
            Some(Err(error)) => {
                turn.registered = before;
                let _ = self.intent.write(turn.registered.clone()).await;
                Some(Err(conflict(&error)))
            }
            // The registration is on disk, and the next heartbeatd puts it in force.
            None => Some(Ok((
                Changes::default(),
                Some("heartbeatd is ending: it is remembered, and in force when it is back".to_owned()),
            ))),
        }
    }

    async fn enforce(&self, config: Config, dry_run: bool) -> Option<Result<Changes, ReloadError>> {
        let (reply, answer) = oneshot::channel();
        if !self.inbox.request(Request::Register { config: Box::new(config), dry_run, reply }) {
            return None;
        }
        Some(answer.await.ok()?.map(|(changes, _)| changes))
    }

    fn document(&self, name: &str, result: &str, dry_run: bool, changes: &Changes) -> RegistrationDocument {
        let because = changes.changed.iter().filter(|(realm, _)| realm.as_str() == name);
        RegistrationDocument {
            schema: REGISTRATION_SCHEMA.to_owned(),
            dry_run,
            config_revision: self.statuses.config_revision(),
            realm: name.to_owned(),
            result: result.to_owned(),
            because: because.flat_map(|(_, keys)| keys.iter().map(|key| (*key).to_owned())).collect(),
            targets: Vec::new(),
            needs: Vec::new(),
            message: None,
        }
    }
}
