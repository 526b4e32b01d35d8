//! What to start: argv, environment, directory, output. And its encoding for the launcher.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;

use crate::{Limits, Readiness, User};

/// Largest specification in bytes: what the kernel takes as argv and environment, and a little more.
pub(crate) const MAX_SPEC_BYTES: usize = 4 * 1024 * 1024;

/// Kinds of [`LogTarget`] in a specification.
const LOG_NULL: u32 = 0;
const LOG_FILE: u32 = 1;
const LOG_CAPTURE: u32 = 2;
const LOG_JOURNAL: u32 = 3;

/// Room for captured output in bytes; a command that writes more gets EPERM for what does not fit.
pub(crate) const MAX_CAPTURE_BYTES: usize = 64 * 1024;

/// Where the output of a process goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogTarget {
    /// Output goes to `/dev/null`.
    #[default]
    Null,
    /// Appended to a file by the kernel itself, never through a pipe of ours.
    File {
        /// The file; made with mode 0600 when it is not there.
        path: PathBuf,
        /// Its size in bytes: heartbeatd sets older output aside (`.1`, `.2` ...) while the program writes.
        max_bytes: u64,
        /// How many files of older output heartbeatd keeps.
        keep: u32,
    },
    /// To systemd-journald, through a stream of its own.
    Journal {
        /// Where journald listens for streams.
        socket: PathBuf,
        /// `SYSLOG_IDENTIFIER` of every line.
        identifier: String,
    },
    /// Into 64 KiB of memory, of which the beginning comes with
    /// [`Notice::CommandDone`](crate::Notice::CommandDone). Only for commands: heartbeatd does not read that of a
    /// realm.
    ///
    /// It is a memory file sealed against growing, and not a pipe: the command never waits for a reader, and can take
    /// no more of our memory than this. A write beyond the end is cut short, and the next one fails with EPERM. Files
    /// opened anew through `/dev/stdout` start at its beginning again.
    Capture,
}

/// A program to start. `Debug` shows no value of the environment: secrets live there.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LaunchSpec {
    /// Program and arguments; the launcher searches the `PATH` for a program without `/`.
    pub argv: Vec<OsString>,
    /// Variables of heartbeatd's own environment, and those that follow from the user and the directory.
    /// Realms share them.
    pub inherited: Arc<[(OsString, OsString)]>,
    /// A file of variables that override `inherited`; each start reads it.
    pub env_file: Option<PathBuf>,
    /// Its own variables, which override both: [`LaunchSpec::environment`] is the whole.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory of the process.
    pub dir: PathBuf,
    /// Standard output and standard error.
    pub log: LogTarget,
    /// File mode creation mask; `None` keeps heartbeatd's.
    pub umask: Option<u32>,
    /// The user it runs as, who also owns its log file; `None`: heartbeatd's own. The launcher enters the working
    /// directory with the rights of this user.
    pub user: Option<User>,
    /// The file to which a program that makes a daemon of itself (it ends, and leaves a child behind) writes the pid of
    /// the child. The child becomes the main process, if it is in the tree. `None`: the program stays in the
    /// foreground.
    pub pidfile: Option<PathBuf>,
    /// Limits of the process and of its tree.
    pub limits: Limits,
    /// Neither the program nor anything it starts ever gains rights: set-user-id bits and file capabilities have no
    /// effect (`PR_SET_NO_NEW_PRIVS`, systemd's `NoNewPrivileges=`).
    pub no_new_privileges: bool,
    /// What a realm is asked to report of itself; nothing for a command.
    pub readiness: Readiness,
    /// What it reads from its standard input, which ends there. Empty: the standard input is `/dev/null`.
    ///
    /// It is in a memory file, so neither heartbeatd nor the program waits for the other.
    pub input: Vec<u8>,
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
            .field("input_bytes", &self.input.len())
            .finish()
    }
}

/// What the launcher gets beside the specification: heartbeatd's settings, not the program's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Soft limit of open descriptors.
    pub(crate) soft_descriptors: Option<u64>,
    /// Generation of the realm; `None` for a command.
    pub(crate) run: Option<u64>,
    /// The FIFO, and the descriptor number at which the program gets it.
    pub(crate) ready: Option<(PathBuf, u32)>,
    /// The program has a watchdog: the launcher gives it its own pid, for which the watchdog is meant.
    pub(crate) watched: bool,
    /// Only check whether the program can be used, and exit with 0 in its place.
    pub(crate) check: bool,
    /// Its log has not answered before: the output goes to memory.
    pub(crate) log_in_memory: bool,
    /// The child has a copy of the launcher's memory, and does not share it.
    pub(crate) apart: bool,
}

/// Most descriptors that heartbeatd holds for one run of a command: both ends of its socket, its pidfd, its output, and
/// its specification during the handover.
pub const COMMAND_DESCRIPTORS: u32 = 5;

/// Descriptors for a process, and for its successor, which starts while the last of the old tree are held.
const PROCESS_DESCRIPTORS: u32 = 2;

impl LaunchSpec {
    /// Descriptors that heartbeatd holds for a realm with this specification, beside its reserve for starts.
    #[must_use]
    pub fn descriptors(&self) -> u32 {
        let Readiness { notify, ready_fd, .. } = &self.readiness;
        PROCESS_DESCRIPTORS + u32::from(*notify) + u32::from(ready_fd.is_some())
    }

    /// Encodes for the launcher. Each value follows its length, so that any byte may be in it.
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
        put_u32(&mut out, u32::from(setting.log_in_memory));
        put_u32(&mut out, u32::from(setting.apart));
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
        for variables in [&*self.inherited, &*self.env] {
            put_u32(&mut out, u32::try_from(variables.len()).unwrap_or(u32::MAX));
            for (name, value) in variables {
                put(&mut out, name.as_bytes());
                put(&mut out, value.as_bytes());
            }
        }
        put(&mut out, &self.input);
        out
    }

    /// Decodes the bytes; `None` for anything that [`LaunchSpec::encode`] did not make.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, Setting)> {
        let mut reader = Reader { rest: bytes };
        let soft_descriptors = Some(reader.u64()?).filter(|limit| *limit != u64::MAX);
        let run = Some(reader.u64()?).filter(|run| *run != u64::MAX);
        let ready = Some((PathBuf::from(reader.text()?), reader.u32()?));
        let ready = ready.filter(|(fifo, _)| !fifo.as_os_str().is_empty());
        let watched = reader.u32()? != 0;
        let check = reader.u32()? != 0;
        let log_in_memory = reader.u32()? != 0;
        let apart = reader.u32()? != 0;
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
        let (inherited, env) = (reader.variables()?.into(), reader.variables()?);
        let input = reader.text()?.into_vec();
        let setting = Setting { soft_descriptors, run, ready, watched, check, log_in_memory, apart };
        // The launcher needs no pid file, and the setting has what it needs of the readiness.
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
            input,
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

/// The limits of each process; heartbeatd itself sets those of the tree.
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

    /// `Some(None)`: no user is set. `None`: the bytes are not valid.
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
            inherited: [("LANG".into(), "C".into())].into(),
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
            input: b"{}\n\0".to_vec(),
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
                log_in_memory: true,
                apart: true,
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
