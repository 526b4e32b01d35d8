//! The variables by which the processes of a run are found again: the instance tag, the word of the run, and the tag of a command.

use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};

use heartbeat_status::RealmName;

use crate::notice::CommandRunId;
use crate::notify::NotifyListener;
use crate::{LaunchSpec, LogTarget};

/// By which the processes of a command are found, in their environment.
pub(crate) const COMMAND_TAG: &str = "HEARTBEAT_COMMAND";

/// How the tag of a hook ends: whoever it leaves behind on purpose is its own.
pub(crate) const HOOK_SUFFIX: &str = "/hook";

/// In which the word of a run stands, in the environment of its processes.
pub(crate) const RUN_TAG: &str = "HEARTBEAT_RUN";

/// What stands in the environment of all processes of a run of a realm. `word` is what no other realm can know; a run that an
/// earlier version has started has none.
pub(crate) fn realm_tags(realm: &RealmName, instance_tag: &str, word: Option<&str>) -> Vec<String> {
    let word = word.map(|word| format!("{RUN_TAG}={word}"));
    [format!("HEARTBEAT_REALM={realm}"), format!("HEARTBEAT_STATE={instance_tag}")]
        .into_iter()
        .chain(word)
        .collect()
}

/// A word that nobody can guess: the standard library keys its hashes by random numbers of the kernel, and takes another key
/// for every hasher. It costs no descriptor, of which there may be none.
pub(crate) fn random_word() -> String {
    format!("{:016x}", RandomState::new().hash_one(()))
}

/// The environment of a realm: its own, and the tag by which its processes are found again.
pub(crate) fn tagged(spec: &LaunchSpec, realm: &RealmName, instance_tag: &str, word: &str) -> LaunchSpec {
    let mut spec = spec.clone();
    for entry in realm_tags(realm, instance_tag, Some(word)) {
        let Some((name, value)) = entry.split_once('=') else { continue };
        spec.env.retain(|(known, _)| known != name);
        spec.env.push((OsString::from(name), OsString::from(value)));
    }
    spec
}

/// What a realm that is asked to say something is told: where, and how often.
pub(crate) fn tell_where(spec: &mut LaunchSpec, notify_listener: Option<&NotifyListener>) {
    let Some(socket) = notify_listener.and_then(|notify_listener| notify_listener.socket.as_ref()) else {
        return;
    };
    let watchdog = spec.readiness.watchdog.map(|time| time.as_micros().to_string());
    let told =
        [("NOTIFY_SOCKET", Some(socket.path().into())), ("WATCHDOG_USEC", watchdog.map(OsString::from))];
    // The launcher knows its pid.
    spec.env.retain(|(name, _)| name != "WATCHDOG_PID" && told.iter().all(|(known, _)| name != known));
    for (name, value) in told {
        spec.env.extend(value.map(|value| (OsString::from(name), value)));
    }
}

/// The environment of a command: its own, and the tag by which it is found again: what an exec probe leaves behind,
/// wherever that is, and a hook that has survived its heartbeatd.
pub(crate) fn command_tagged(spec: &LaunchSpec, id: CommandRunId, instance_tag: &str) -> LaunchSpec {
    let mut spec = spec.clone();
    let suffix = if spec.log == LogTarget::Capture { "" } else { HOOK_SUFFIX };
    spec.env.retain(|(known, _)| known != COMMAND_TAG);
    let value = format!("{}{suffix}", command_tag(id, instance_tag));
    spec.env.push((OsString::from(COMMAND_TAG), OsString::from(value)));
    spec
}

/// The tag of one run of one command, of this very heartbeatd.
pub(crate) fn command_tag(id: CommandRunId, instance_tag: &str) -> String {
    format!("{instance_tag}/{}/{}", std::process::id(), id.0)
}
