//! Where a configuration comes from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// Keys of `[heartbeat]` that are needed before files are layered, so that only the first file can say them.
pub(crate) const EARLY_KEYS: [&str; 2] = ["include", "env_file"];

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// A file that was named; otherwise it is searched ([`find_file`](crate::find_file)).
    pub file: Option<PathBuf>,
    /// The environment: `HEARTBEAT__*` set keys, all of it feeds `${}` and is inherited by realms.
    pub env: BTreeMap<String, String>,
    /// Variables that are not UTF-8: realms inherit them, and no other use is made of them.
    pub bytes: Vec<(OsString, OsString)>,
    /// Keys set on the command line, as `section.key` and value.
    pub overrides: Vec<(String, String)>,
    /// Where relative paths of the search start.
    pub cwd: PathBuf,
}

impl Sources {
    /// The environment and directory of this process.
    #[must_use]
    pub fn from_process(file: Option<PathBuf>) -> Self {
        let (mut env, mut bytes) = (BTreeMap::new(), Vec::new());
        for (name, value) in std::env::vars_os() {
            match (name.to_str(), value.to_str()) {
                (Some(name), Some(value)) => drop(env.insert(name.to_owned(), value.to_owned())),
                _ => bytes.push((name, value)),
            }
        }
        Self {
            file,
            env,
            bytes,
            overrides: Vec::new(),
            cwd: std::env::current_dir().unwrap_or_else(|_| "/".into()),
        }
    }
}
