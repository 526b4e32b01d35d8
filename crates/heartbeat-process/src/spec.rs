//! What is to be started: argv, environment, directory, output. And how it travels to the launcher.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::{Limits, Readiness, User};

/// Largest specification in bytes: what the kernel would take as argv and environment, and a little more.
pub(crate) const MAX_SPEC_BYTES: usize = 4 * 1024 * 1024;

/// Kinds of [`LogTarget`] in a specification.
const LOG_NULL: u32 = 0;
const LOG_FILE: u32 = 1;
const LOG_CAPTURE: u32 = 2;
const LOG_JOURNAL: u32 = 3;

/// Room for captured output in bytes; a command that writes more gets EPERM for what does not fit.
pub const MAX_CAPTURE_BYTES: usize = 64 * 1024;

/// Where the output of a process goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogTarget {
    /// Nowhere.
    #[default]
    Null,
    /// Appended to a file by the kernel itself, never through a pipe of ours.
    File {
        /// The file; made with mode 0600 when it is not there.
        path: PathBuf,
        /// Its size in bytes: heartbeatd sets aside what is older (`.1`, `.2` ...) while the program writes.
        max_bytes: u64,
        /// How many of those are kept.
        keep: u32,
    },
    /// To systemd-journald, through a stream of its own.
    Journal {
        /// Where journald listens for streams.
        socket: PathBuf,
        /// `SYSLOG_IDENTIFIER` of every line.
        identifier: String,
    },
    /// Into [`MAX_CAPTURE_BYTES`] of memory, of which the beginning comes with
    /// [`Notice::CommandDone`](crate::Notice::CommandDone). For commands: of a realm nobody reads it.
    ///
    /// It is a memory file sealed against growing, and not a pipe: the command never waits for a reader, and can take
    /// no more of our memory than this. A write beyond the end is cut short, and the next one fails with EPERM. Files
    /// opened anew through `/dev/stdout` start at its beginning again.
    Capture,
}

/// A program to start. `Debug` shows no value of the environment: secrets live there.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LaunchSpec {
    /// Program and arguments; a program without `/` is searched in the `PATH` of `env`.
    pub argv: Vec<OsString>,
    /// What it has of heartbeatd's own environment, and what follows from its user and its directory.
    pub inherited: Vec<(OsString, OsString)>,
    /// A file of variables over what is inherited, read at each start ([`read_env_file`](crate::read_env_file)).
    pub env_file: Option<PathBuf>,
    /// Its own variables, over both: [`LaunchSpec::environment`] is the whole.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory.
    pub dir: PathBuf,
    /// Standard output and standard error.
    pub log: LogTarget,
    /// File mode creation mask; `None` leaves ours.
    pub umask: Option<u32>,
    /// Whom it runs as, who then also owns its log file; `None`: as ourselves. Its working directory is entered with
    /// its rights.
    pub user: Option<User>,
    /// The program makes a daemon of itself (it ends, and leaves a child behind) and writes the number of that to this
    /// file: it becomes the main process, if it is one of the tree. `None`: it stays in the foreground.
    pub pidfile: Option<PathBuf>,
    /// What it and its tree may have.
    pub limits: Limits,
    /// Neither it nor anything it starts ever has more rights than it has now: set-user-id bits and file capabilities
    /// mean nothing to it (`PR_SET_NO_NEW_PRIVS`, systemd's `NoNewPrivileges=`).
    pub no_new_privileges: bool,
    /// What it is asked to say of itself. Nothing of a command is.
    pub readiness: Readiness,
}

impl fmt::Debug for LaunchSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("LaunchSpec")
            .field("argv", &self.argv)
            .field("env", &names)
            .field("env_file", &self.env_file)
            .field("dir", &self.dir)
            .field("log", &self.log)
            .field("umask", &self.umask)
            .field("user", &self.user)
            .field("pidfile", &self.pidfile)
            .field("limits", &self.limits)
            .field("no_new_privileges", &self.no_new_privileges)
            .field("readiness", &self.readiness)
            .finish()
    }
}

/// What the launcher is told beside the specification: it is ours, and not the program's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Soft limit of open descriptors.
    pub(crate) soft_descriptors: Option<u64>,
    /// Generation of the realm that it starts; none for a command.
    pub(crate) run: Option<u64>,
    /// The FIFO that it is given as a descriptor of that number.
    pub(crate) ready: Option<(PathBuf, u32)>,
    /// It is told its own pid, for which its watchdog is meant.
    pub(crate) watched: bool,
    /// Only look whether the program can be used, and end with 0 in its place.
    pub(crate) check: bool,
}

/// Descriptors that heartbeatd holds at most for one run of a command: both ends of its socket, its process, its output, and its
/// specification while that is handed over.
pub const COMMAND_DESCRIPTORS: u32 = 5;

/// Descriptors for a process, and for its successor, which is made while the last of the old tree are held.
const PROCESS_DESCRIPTORS: u32 = 2;

impl LaunchSpec {
    /// Descriptors that heartbeatd holds for a realm that is started so, beside those that it keeps back for starts.
    #[must_use]
    pub fn descriptors(&self) -> u32 {
        let Readiness { notify, ready_fd, .. } = &self.readiness;
        PROCESS_DESCRIPTORS + u32::from(*notify) + u32::from(ready_fd.is_some())
    }

    /// As bytes for the launcher. Lengths go first, so that any byte may be in a value.
    pub(crate) fn encode(&self, setting: &Setting) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(&setting.soft_descriptors.unwrap_or(u64::MAX).to_le_bytes());
        out.extend_from_slice(&setting.run.unwrap_or(u64::MAX).to_le_bytes());
        let (fifo, number) = setting
            .ready
            .as_ref()
            .map_or((&b""[..], 0), |(fifo, number)| (fifo.as_os_str().as_bytes(), *number));
        put(&mut out, fifo);
        put_u32(&mut out, number);
        put_u32(&mut out, u32::from(setting.watched));
        put_u32(&mut out, u32::from(setting.check));
        put_u32(&mut out, self.umask.unwrap_or(u32::MAX));
        put(&mut out, self.dir.as_os_str().as_bytes());
        match &self.log {
            LogTarget::Null => put_u32(&mut out, LOG_NULL),
            LogTarget::Capture => put_u32(&mut out, LOG_CAPTURE),
            LogTarget::File { path, max_bytes, keep } => {
                put_u32(&mut out, LOG_FILE);
                put(&mut out, path.as_os_str().as_bytes());
                out.extend_from_slice(&max_bytes.to_le_bytes());
                put_u32(&mut out, *keep);
            }
            LogTarget::Journal { socket, identifier } => {
                put_u32(&mut out, LOG_JOURNAL);
                put(&mut out, socket.as_os_str().as_bytes());
                put(&mut out, identifier.as_bytes());
            }
        }
        put_user(&mut out, self.user.as_ref());
        put_limits(&mut out, &self.limits);
        put_u32(&mut out, u32::from(self.no_new_privileges));
        put_u32(&mut out, u32::try_from(self.argv.len()).unwrap_or(u32::MAX));
        for word in &self.argv {
            put(&mut out, word.as_bytes());
        }
        put(&mut out, self.env_file.as_ref().map_or(&b""[..], |path| path.as_os_str().as_bytes()));
        for variables in [&self.inherited, &self.env] {
            put_u32(&mut out, u32::try_from(variables.len()).unwrap_or(u32::MAX));
            for (name, value) in variables {
                put(&mut out, name.as_bytes());
                put(&mut out, value.as_bytes());
            }
        }
        out
    }

    /// Back from bytes; `None` for anything that [`LaunchSpec::encode`] did not make.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, Setting)> {
        let mut reader = Reader { rest: bytes };
        let soft_descriptors = Some(reader.u64()?).filter(|limit| *limit != u64::MAX);
        let run = Some(reader.u64()?).filter(|run| *run != u64::MAX);
        let ready = Some((PathBuf::from(reader.text()?), reader.u32()?));
        let ready = ready.filter(|(fifo, _)| !fifo.as_os_str().is_empty());
        let watched = reader.u32()? != 0;
        let check = reader.u32()? != 0;
        let umask = Some(reader.u32()?).filter(|mask| *mask != u32::MAX);
        let dir = PathBuf::from(reader.text()?);
        let log = match reader.u32()? {
            LOG_NULL => LogTarget::Null,
            LOG_CAPTURE => LogTarget::Capture,
            LOG_FILE => {
                LogTarget::File { path: reader.text()?.into(), max_bytes: reader.u64()?, keep: reader.u32()? }
            }
            LOG_JOURNAL => LogTarget::Journal {
                socket: reader.text()?.into(),
                identifier: reader.text()?.into_string().ok()?,
            },
            _ => return None,
        };
        let user = reader.user()?;
        let limits = reader.limits()?;
        let no_new_privileges = reader.u32()? != 0;
        let argv = (0..reader.u32()?).map(|_| reader.text()).collect::<Option<_>>()?;
        let env_file = Some(PathBuf::from(reader.text()?)).filter(|path| !path.as_os_str().is_empty());
        let (inherited, env) = (reader.variables()?, reader.variables()?);
        let setting = Setting { soft_descriptors, run, ready, watched, check };
        // Where its pid file lies is no business of the launcher, and what it is asked to say is in the setting.
        let (pidfile, readiness) = (None, Readiness::default());
        let spec = Self {
            argv,
            inherited,
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
        };
        reader.rest.is_empty().then_some((spec, setting))
    }
}

fn put_user(out: &mut Vec<u8>, user: Option<&User>) {
    put_u32(out, u32::from(user.is_some()));
    if let Some(user) = user {
        put(out, user.name.as_bytes());
        put_u32(out, user.uid);
        put_u32(out, user.gid);
        put(out, user.home.as_os_str().as_bytes());
        put(out, user.shell.as_os_str().as_bytes());
        put_u32(out, u32::try_from(user.groups.len()).unwrap_or(u32::MAX));
        for group in &user.groups {
            put_u32(out, *group);
        }
    }
}

/// What every process has; what bounds the tree is no business of the launcher.
fn put_limits(out: &mut Vec<u8>, limits: &Limits) {
    let Limits { nofile, nproc, core_bytes, memlock_bytes, fsize_bytes, nice, oom_score, .. } = limits;
    for limit in [nofile, nproc, core_bytes, memlock_bytes, fsize_bytes] {
        put_u32(out, u32::from(limit.is_some()));
        out.extend_from_slice(&limit.unwrap_or_default().to_le_bytes());
    }
    out.extend_from_slice(&nice.to_le_bytes());
    out.extend_from_slice(&oom_score.to_le_bytes());
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(bytes);
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let (head, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    /// Nobody in particular, or somebody; `None` for neither.
    fn user(&mut self) -> Option<Option<User>> {
        match self.u32()? {
            0 => Some(None),
            1 => Some(Some(User {
                name: self.text()?.into_string().ok()?,
                uid: self.u32()?,
                gid: self.u32()?,
                home: self.text()?.into(),
                shell: self.text()?.into(),
                groups: (0..self.u32()?).map(|_| self.u32()).collect::<Option<_>>()?,
            })),
            _ => None,
        }
    }

    fn variables(&mut self) -> Option<Vec<(OsString, OsString)>> {
        (0..self.u32()?).map(|_| Some((self.text()?, self.text()?))).collect()
    }

    fn limit(&mut self) -> Option<Option<u64>> {
        let (is_set, limit) = (self.u32()?, self.u64()?);
        Some((is_set != 0).then_some(limit))
    }

    fn limits(&mut self) -> Option<Limits> {
        Some(Limits {
            nofile: self.limit()?,
            nproc: self.limit()?,
            core_bytes: self.limit()?,
            memlock_bytes: self.limit()?,
            fsize_bytes: self.limit()?,
            nice: self.take(1)?.try_into().ok().map(i8::from_le_bytes)?,
            oom_score: self.take(2)?.try_into().ok().map(i16::from_le_bytes)?,
            ..Limits::default()
        })
    }

    fn text(&mut self) -> Option<OsString> {
        let count = usize::try_from(self.u32()?).ok()?;
        self.take(count).map(|bytes| OsString::from_vec(bytes.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> LaunchSpec {
        LaunchSpec {
            argv: vec!["sh".into(), "-c".into(), "exit 3".into()],
            inherited: vec![("LANG".into(), "C".into())],
            env_file: Some("/etc/db.env".into()),
            env: vec![("PATH".into(), "/bin".into()), ("KEY".into(), OsString::from_vec(vec![0xff, b'=']))],
            dir: "/".into(),
            log: LogTarget::File { path: "/x.log".into(), max_bytes: 10, keep: 2 },
            umask: Some(0o27),
            user: Some(User {
                name: "postgres".into(),
                uid: 101,
                gid: 104,
                groups: vec![103, 104],
                home: "/var/lib/postgresql".into(),
                shell: "/bin/bash".into(),
            }),
            pidfile: None,
            limits: Limits {
                nofile: Some(65_536),
                core_bytes: Some(0),
                fsize_bytes: Some(u64::MAX),
                nice: -5,
                oom_score: 500,
                ..Limits::default()
            },
            no_new_privileges: true,
            readiness: Readiness::default(),
        }
    }

    #[test]
    fn what_is_encoded_comes_back_and_every_truncation_is_refused() {
        let bare = LaunchSpec { argv: spec().argv, ..LaunchSpec::default() };
        let journal = LogTarget::Journal { socket: "/run/j".into(), identifier: "db".into() };
        let others = [LogTarget::Capture, journal].map(|log| LaunchSpec { log, ..spec() });
        for spec in [spec(), bare].into_iter().chain(others) {
            let setting = Setting {
                soft_descriptors: Some(1_024),
                run: Some(7),
                ready: Some(("/run/hb/ready/db".into(), 3)),
                watched: true,
                check: true,
            };
            let bytes = spec.encode(&setting);
            assert_eq!(LaunchSpec::decode(&bytes), Some((spec, setting)));
            for cut in 0..bytes.len() {
                assert_eq!(LaunchSpec::decode(&bytes[..cut]), None, "{cut}");
            }
        }
    }

    #[test]
    fn debug_keeps_values_to_itself() {
        let text = format!("{:?}", LaunchSpec { env: vec![("TOKEN".into(), "hunter2".into())], ..spec() });
        assert!(text.contains("TOKEN") && !text.contains("hunter2"), "{text}");
    }
}
