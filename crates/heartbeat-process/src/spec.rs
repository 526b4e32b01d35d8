//! What is to be started: argv, environment, directory, output. And how it travels to the launcher.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// Largest specification in bytes: what the kernel would take as argv and environment, and a little more.
pub(crate) const MAX_SPEC_BYTES: usize = 4 * 1024 * 1024;

/// Where the output of a process goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Nowhere.
    Null,
    /// Appended to a file by the kernel itself, never through a pipe of ours.
    File {
        /// The file; made with mode 0600 when it is not there.
        path: PathBuf,
        /// A file at least this large is set aside before the next start (`.1`, `.2` ...).
        max_bytes: u64,
        /// How many set-aside files are kept.
        keep: u32,
    },
}

/// A program to start. `Debug` shows no value of the environment: secrets live there.
#[derive(Clone, PartialEq, Eq)]
pub struct LaunchSpec {
    /// Program and arguments; a program without `/` is searched in the `PATH` of `env`.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory.
    pub dir: PathBuf,
    /// Standard output and standard error.
    pub log: LogTarget,
    /// File mode creation mask; `None` leaves ours.
    pub umask: Option<u32>,
}

impl fmt::Debug for LaunchSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("LaunchSpec")
            .field("argv", &self.argv)
            .field("env", &names)
            .field("dir", &self.dir)
            .field("log", &self.log)
            .field("umask", &self.umask)
            .finish()
    }
}

impl LaunchSpec {
    /// As bytes for the launcher. Lengths go first, so that any byte may be in a value.
    pub(crate) fn encode(&self, soft_descriptors: Option<u64>) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(&soft_descriptors.unwrap_or(u64::MAX).to_le_bytes());
        put_u32(&mut out, self.umask.unwrap_or(u32::MAX));
        put(&mut out, self.dir.as_os_str().as_bytes());
        match &self.log {
            LogTarget::Null => put(&mut out, b""),
            LogTarget::File { path, max_bytes, keep } => {
                put(&mut out, path.as_os_str().as_bytes());
                out.extend_from_slice(&max_bytes.to_le_bytes());
                put_u32(&mut out, *keep);
            }
        }
        put_u32(&mut out, u32::try_from(self.argv.len()).unwrap_or(u32::MAX));
        for word in &self.argv {
            put(&mut out, word.as_bytes());
        }
        put_u32(&mut out, u32::try_from(self.env.len()).unwrap_or(u32::MAX));
        for (name, value) in &self.env {
            put(&mut out, name.as_bytes());
            put(&mut out, value.as_bytes());
        }
        out
    }

    /// Back from bytes, with the soft limit of descriptors; `None` for anything that [`LaunchSpec::encode`] did
    /// not make.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, Option<u64>)> {
        let mut reader = Reader { rest: bytes };
        let soft_descriptors = Some(reader.u64()?).filter(|limit| *limit != u64::MAX);
        let umask = Some(reader.u32()?).filter(|mask| *mask != u32::MAX);
        let dir = PathBuf::from(reader.text()?);
        let path = reader.text()?;
        let log = if path.is_empty() {
            LogTarget::Null
        } else {
            LogTarget::File { path: path.into(), max_bytes: reader.u64()?, keep: reader.u32()? }
        };
        let argv = (0..reader.u32()?).map(|_| reader.text()).collect::<Option<_>>()?;
        let env =
            (0..reader.u32()?).map(|_| Some((reader.text()?, reader.text()?))).collect::<Option<_>>()?;
        reader.rest.is_empty().then_some((Self { argv, env, dir, log, umask }, soft_descriptors))
    }
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
            env: vec![("PATH".into(), "/bin".into()), ("KEY".into(), OsString::from_vec(vec![0xff, b'=']))],
            dir: "/".into(),
            log: LogTarget::File { path: "/x.log".into(), max_bytes: 10, keep: 2 },
            umask: Some(0o27),
        }
    }

    #[test]
    fn what_is_encoded_comes_back_and_every_truncation_is_refused() {
        for spec in [spec(), LaunchSpec { log: LogTarget::Null, umask: None, ..spec() }] {
            let bytes = spec.encode(Some(1_024));
            assert_eq!(LaunchSpec::decode(&bytes), Some((spec, Some(1_024))));
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
