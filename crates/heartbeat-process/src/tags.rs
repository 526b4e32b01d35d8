//! The variables by which heartbeatd finds the processes of a run again: the instance tag, the word of the run, and the
//! tag of a command.

use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};

use heartbeat_status::RealmName;

use crate::notice::CommandRunId;
use crate::notify::NotifyListener;
use crate::{LaunchSpec, LogTarget};

/// The environment variable that identifies the processes of a command.
pub(crate) const COMMAND_TAG: &str = "HEARTBEAT_COMMAND";

/// The end of a hook's tag: a hook may leave daemons behind on purpose, and heartbeatd leaves them alone as long as the
/// run of their realm lasts.
pub(crate) const HOOK_SUFFIX: &str = "/hook";

/// The environment variable that holds the word of a run.
pub(crate) const RUN_TAG: &str = "HEARTBEAT_RUN";

/// Entries in the environment of all processes of a run of a realm. No other realm can know `word`; a run that an
/// earlier version started has none.
pub(crate) fn realm_tags(realm: &RealmName, instance_tag: &str, word: Option<&str>) -> Vec<String> {
    let word = word.map(|word| format!("{RUN_TAG}={word}"));
    [format!("HEARTBEAT_REALM={realm}"), format!("HEARTBEAT_STATE={instance_tag}")]
        .into_iter()
        .chain(word)
        .collect()
}

/// A word that no other process can guess: the standard library keys its hashes by random numbers of the kernel, with
/// another key for every hasher. It costs no descriptor, of which there may be none.
pub(crate) fn random_word() -> String {
    format!("{:016x}", RandomState::new().hash_one(()))
}

/// Adds to a realm's environment the tag by which heartbeatd finds its processes again.
pub(crate) fn tagged(spec: &LaunchSpec, realm: &RealmName, instance_tag: &str, word: &str) -> LaunchSpec {
    let mut spec = spec.clone();
    for entry in realm_tags(realm, instance_tag, Some(word)) {
        let Some((name, value)) = entry.split_once('=') else { continue };
        spec.env.retain(|(known, _)| known != name);
        spec.env.push((OsString::from(name), OsString::from(value)));
    }
    spec
}

/// Adds the variables that tell a realm where to report, and how often.
pub(crate) fn tell_where(spec: &mut LaunchSpec, notify_listener: Option<&NotifyListener>) {
    let Some(socket) = notify_listener.and_then(|notify_listener| notify_listener.socket.as_ref()) else {
        return;
    };
    let watchdog = spec.readiness.watchdog.map(|time| time.as_micros().to_string());
    let told = [("NOTIFY_SOCKET", Some(socket.address())), ("WATCHDOG_USEC", watchdog.map(OsString::from))];
    // The launcher sets `WATCHDOG_PID`, since only the launcher knows the pid.
    spec.env.retain(|(name, _)| name != "WATCHDOG_PID" && told.iter().all(|(known, _)| name != known));
    for (name, value) in told {
        spec.env.extend(value.map(|value| (OsString::from(name), value)));
    }
}

/// Adds to a command's environment the tag by which heartbeatd finds it again: what an exec probe leaves behind
/// anywhere, and a hook that has outlived its heartbeatd.
pub(crate) fn command_tagged(spec: &LaunchSpec, id: CommandRunId, instance_tag: &str) -> LaunchSpec {
    let mut spec = spec.clone();
    let suffix = if spec.log == LogTarget::Capture { "" } else { HOOK_SUFFIX };
    spec.env.retain(|(known, _)| known != COMMAND_TAG);
    let value = format!("{}{suffix}", command_tag(id, instance_tag));
    spec.env.push((OsString::from(COMMAND_TAG), OsString::from(value)));
    spec
}

/// The heartbeatd that ran a hook, by its pid, and the number of the hook, from the tag of its processes. `None`: no hook,
/// or one of another state directory.
pub(crate) fn hook_of(tag: &str, instance_tag: &str) -> Option<(u32, u64)> {
    let tag = tag.strip_prefix(instance_tag)?.strip_prefix('/')?.strip_suffix(HOOK_SUFFIX)?;
    let (pid, id) = tag.split_once('/')?;
    Some((pid.parse().ok()?, id.parse().ok()?))
}

/// The tag of one run of one command of this very heartbeatd.
pub(crate) fn command_tag(id: CommandRunId, instance_tag: &str) -> String {
    format!("{instance_tag}/{}/{}", std::process::id(), id.0)
}
