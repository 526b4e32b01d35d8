//! The identity of a process: what of its configuration takes a new process to change. A reload compares identities;
//! the record holds a digest for the next heartbeatd. Both report the keys that differ.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;
use std::sync::Arc;

use crate::{LaunchSpec, Limits, LogTarget, Readiness, User};

/// Version of the digests; heartbeatd ignores those of another version.
const VERSION: &str = "1";

/// What a process is made of, by the keys of the configuration. Two processes with equal identities need no restart.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    parts: Vec<(&'static str, Vec<u8>)>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bytes hold the environment, and so secrets.
        f.debug_list().entries(self.parts.iter().map(|(key, _)| key)).finish()
    }
}

impl Identity {
    /// The keys in which the two differ, in the order of the identity.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Vec<&'static str> {
        let differing = self.parts.iter().zip(&other.parts).filter(|(a, b)| a.1 != b.1);
        differing.map(|((key, _), _)| *key).collect()
    }

    /// A short form for the adoption record, the same in every build.
    #[must_use]
    pub fn digest(&self) -> IdentityDigest {
        let mut parts: Vec<_> = self.parts.iter().map(|(key, bytes)| (*key, fnv(bytes))).collect();
        parts.sort_unstable();
        let mut text = VERSION.to_owned();
        for (key, digest) in parts {
            text.push_str(&format!(" {key}={digest:08x}"));
        }
        IdentityDigest(text.into())
    }
}

/// One number for each key of an [`Identity`], as text: `1 env=... run=0a1b2c3d`. Each realm has one as long as it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityDigest(Arc<str>);

impl IdentityDigest {
    /// The keys in which the two differ. A key that only one has does not count: an older version, which did not know
    /// the key, wrote the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Vec<String> {
        let known: BTreeMap<&str, &str> = other.parts().collect();
        let differs = |(key, digest): &(&str, &str)| known.get(key).is_some_and(|known| known != digest);
        self.parts().filter(differs).map(|(key, _)| key.to_owned()).collect()
    }

    /// The keys with their numbers.
    fn parts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split(' ').skip(1).filter_map(|word| word.split_once('='))
    }
}

impl fmt::Display for IdentityDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { VERSION } else { &self.0 })
    }
}

/// The text is not a digest of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no digest of this version")]
pub struct DigestError;

impl FromStr for IdentityDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split(' ');
        if words.next() != Some(VERSION) {
            return Err(DigestError);
        }
        let is_part = |word: &str| {
            let digest = word.split_once('=').map(|(_, digest)| digest);
            digest.is_some_and(|digest| digest.len() == 8 && u32::from_str_radix(digest, 16).is_ok())
        };
        if words.all(is_part) { Ok(Self(text.into())) } else { Err(DigestError) }
    }
}

/// FNV-1a: tells whether two values are equal. Not for security.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Puts each value with its length, so that different values never give the same bytes.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn of<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut bytes = Self::default();
        values.into_iter().for_each(|value| bytes.put(value));
        bytes.0
    }

    fn put(&mut self, value: &[u8]) {
        self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.0.extend_from_slice(value);
    }

    fn number(value: Option<u64>) -> Vec<u8> {
        value.map_or_else(Vec::new, |value| value.to_le_bytes().to_vec())
    }
}

impl LaunchSpec {
    /// The identity of the process. A new field does not compile until it has a place here: a key, or the reason why a
    /// change of it needs no new process.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let Self {
            argv,
            // What heartbeatd itself was started with, and what follows from `user` and `dir`.
            inherited: _,
            // Only the path counts: each start reads the content.
            env_file,
            env,
            dir,
            log,
            umask,
            user,
            pidfile,
            limits,
            no_new_privileges,
            readiness,
            // Only commands have one, and each run has its own.
            input: _,
        } = self;
        let path = |path: &Option<std::path::PathBuf>| {
            Bytes::of(path.iter().map(|path| path.as_os_str().as_bytes()))
        };
        // The socket of heartbeatd may move without a restart: a realm keeps the path from its start.
        let mut variables: Vec<_> = env.iter().filter(|(name, _)| name != "HEARTBEAT_SOCKET").collect();
        variables.sort();
        let variables = variables.into_iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        let (account, groups) = of_user(user.as_ref());
        let mut parts = vec![
            ("run", Bytes::of(argv.iter().map(|word| word.as_bytes()))),
            ("env", Bytes::of(variables)),
            ("env_file", path(env_file)),
            ("dir", Bytes::of([dir.as_os_str().as_bytes()])),
            ("umask", Bytes::number(umask.map(u64::from))),
            ("user", account),
            ("groups", groups),
            ("pidfile", path(pidfile)),
        ];
        parts.extend(of_limits(limits));
        parts.push(("no_new_privileges", vec![u8::from(*no_new_privileges)]));
        parts.extend(of_readiness(readiness));
        parts.push(("log", of_log(log)));
        Identity { parts }
    }
}

fn of_user(user: Option<&User>) -> (Vec<u8>, Vec<u8>) {
    let Some(User { name, uid, gid, groups, home, shell }) = user else { return (Vec::new(), Vec::new()) };
    let (uid, gid) = (uid.to_le_bytes(), gid.to_le_bytes());
    let account = Bytes::of([
        name.as_bytes(),
        uid.as_slice(),
        gid.as_slice(),
        home.as_os_str().as_bytes(),
        shell.as_os_str().as_bytes(),
    ]);
    (account, groups.iter().flat_map(|group| group.to_le_bytes()).collect())
}

fn of_limits(limits: &Limits) -> [(&'static str, Vec<u8>); 10] {
    let Limits {
        memory_bytes,
        cpu_percent,
        tasks,
        nofile,
        nproc,
        core_bytes,
        memlock_bytes,
        fsize_bytes,
        nice,
        oom_score,
    } = limits;
    [
        ("limits.memory", Bytes::number(*memory_bytes)),
        ("limits.cpu", Bytes::number(cpu_percent.map(u64::from))),
        ("limits.tasks", Bytes::number(*tasks)),
        ("limits.nofile", Bytes::number(*nofile)),
        ("limits.nproc", Bytes::number(*nproc)),
        ("limits.core", Bytes::number(*core_bytes)),
        ("limits.memlock", Bytes::number(*memlock_bytes)),
        ("limits.fsize", Bytes::number(*fsize_bytes)),
        ("limits.nice", nice.to_le_bytes().to_vec()),
        ("limits.oom_score", oom_score.to_le_bytes().to_vec()),
    ]
}

/// A realm learns these at its start, so a change needs a new process.
fn of_readiness(readiness: &Readiness) -> [(&'static str, Vec<u8>); 3] {
    let Readiness { notify, watchdog, ready_fd } = readiness;
    let nanos = watchdog.map(|watchdog| u64::try_from(watchdog.as_nanos()).unwrap_or(u64::MAX));
    [
        ("health.notify", vec![u8::from(*notify)]),
        ("health.watchdog", Bytes::number(nanos)),
        ("start.ready_fd", Bytes::number(ready_fd.map(u64::from))),
    ]
}

/// Where the log goes. A change of `max_bytes` or `keep` takes effect on the current log.
fn of_log(log: &LogTarget) -> Vec<u8> {
    match log {
        LogTarget::Null => Bytes::of([b"null".as_slice()]),
        LogTarget::File { path, max_bytes: _, keep: _ } => {
            Bytes::of([b"file".as_slice(), path.as_os_str().as_bytes()])
        }
        LogTarget::Journal { socket, identifier } => {
            Bytes::of([b"journal".as_slice(), socket.as_os_str().as_bytes(), identifier.as_bytes()])
        }
        LogTarget::Capture => Bytes::of([b"capture".as_slice()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> LaunchSpec {
        LaunchSpec { argv: vec!["sleep".into(), "1".into()], dir: "/".into(), ..LaunchSpec::default() }
    }

    #[test]
    fn another_socket_of_heartbeatd_makes_no_other_process() {
        let of = |socket: &str| {
            LaunchSpec { env: vec![("HEARTBEAT_SOCKET".into(), socket.into())], ..spec() }.identity()
        };
        assert_eq!(of("/run/a.sock"), of("/run/b.sock"));
    }

    #[test]
    fn a_digest_is_the_same_in_every_build_and_comes_back_from_its_text() {
        let text = spec().identity().digest().to_string();
        assert!(text.starts_with("1 dir=") && text.contains(" run=f7f0f4f9 "), "{text}");
        assert_eq!(text.parse(), Ok(spec().identity().digest()));
        for other in ["", "1", "2 run=f7f0f4f9", "1 run", "1 run=x", "12345678901234567890"] {
            let read = other.parse::<IdentityDigest>();
            assert_eq!(read.is_ok(), other == "1", "{other}");
        }
    }

    #[test]
    fn what_an_older_version_did_not_know_differs_in_nothing() {
        let now = spec().identity().digest();
        let known = now
            .to_string()
            .split(' ')
            .filter(|word| !word.starts_with("pidfile="))
            .collect::<Vec<_>>()
            .join(" ");
        let older: IdentityDigest = known.parse().unwrap();
        let moved = LaunchSpec { pidfile: Some("/x.pid".into()), umask: Some(0o27), ..spec() };
        assert_eq!(now.difference(&moved.identity().digest()), ["pidfile", "umask"]);
        assert_eq!(older.difference(&moved.identity().digest()), ["umask"]);
        assert_eq!(older.difference(&now), Vec::<String>::new());
        assert_eq!(IdentityDigest::default().difference(&now), Vec::<String>::new());
    }

    #[test]
    fn words_do_not_run_together_and_nothing_inherited_counts() {
        let joined = LaunchSpec { argv: vec!["sleep1".into()], ..spec() };
        assert_eq!(spec().identity().difference(&joined.identity()), ["run"]);
        let inherited = vec![("LANG".into(), "C".into())];
        assert_eq!(spec().identity(), LaunchSpec { inherited: inherited.into(), ..spec() }.identity());
        assert!(!format!("{:?}", spec().identity()).contains("sleep"));
    }
}
