//! Bounds on what the processes of a realm use, and on the disk of the host.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::code::Code;
use crate::defaults;
use crate::reader::{Entry, Reader, Section, beside};
use crate::units;

/// The keys that bound the processes of the realm.
const OF_THE_TREE: [&str; 3] = ["max_cpu", "max_memory", "max_fds"];

/// What a `resource` probe compares with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceBounds {
    /// Processor time of the tree in percent of one processor.
    pub max_cpu: Option<u32>,
    /// Memory of the tree in bytes.
    pub max_memory: Option<u64>,
    /// Open descriptors of the tree.
    pub max_fds: Option<u64>,
    /// A file system, and how much of it must be free.
    pub disk: Option<(PathBuf, DiskFree)>,
}

/// Free space of a file system, for those who are not root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFree {
    /// A number of bytes.
    Bytes(u64),
    /// In percent of its size.
    Percent(u8),
}

impl fmt::Display for DiskFree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => f.write_str(defaults::size(*bytes).trim_matches('"')),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl ResourceBounds {
    /// It needs the processes of the realm.
    #[must_use]
    pub fn is_of_the_tree(&self) -> bool {
        self.max_cpu.is_some() || self.max_memory.is_some() || self.max_fds.is_some()
    }
}

impl fmt::Display for ResourceBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds = [
            self.max_cpu.map(|percent| format!("cpu up to {percent}%")),
            self.max_memory.map(|bytes| format!("memory up to {}", defaults::size(bytes).trim_matches('"'))),
            self.max_fds.map(|count| format!("up to {count} descriptors")),
            self.disk.as_ref().map(|(path, free)| format!("{free} free at {}", path.display())),
        ];
        f.write_str(&bounds.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// What the keys say; `None` when the probe is refused.
pub(crate) fn read(
    reader: &Reader<'_>,
    probe: &Entry<'_>,
    section: &Section<'_>,
    dir: &Path,
    runs: bool,
) -> Option<ResourceBounds> {
    let refuse = |entry: &Entry<'_>, code, message: String, help: &str| {
        reader.value_problem(entry, code, message, "here", help);
    };
    let entry = section.get("resource")?;
    let max_cpu = section.get("max_cpu").and_then(|entry| reader.parsed(&entry, "80%", units::processors));
    let max_memory = section.get("max_memory").and_then(|entry| reader.parsed(&entry, "512MiB", units::size));
    let max_fds =
        section.get("max_fds").and_then(|entry| reader.number::<u64>(&entry, "a number of descriptors"));
    let free = section.get("min_disk_free").and_then(|entry| reader.parsed(&entry, "10%", disk_free));
    let is_nothing = [
        ("max_memory", max_memory == Some(0), "every process needs memory, so this bound fails for ever"),
        ("max_fds", max_fds == Some(0), "every process has descriptors, so this bound fails for ever"),
        (
            "min_disk_free",
            matches!(free, Some(DiskFree::Bytes(0) | DiskFree::Percent(0))),
            "a full disk has this much, so this bound passes for ever",
        ),
    ];
    for (key, _, why) in is_nothing.iter().filter(|(_, is_nothing, _)| *is_nothing) {
        if let Some(entry) = section.get(key) {
            refuse(&entry, Code::BadProbe, format!("`{key}` is nothing: {why}"), "leave it out for no bound");
        }
    }
    let path = section
        .get("path")
        .and_then(|entry| Some((beside(reader, &entry, dir, &reader.text(&entry)?), entry)));
    if let (Some((_, entry)), None) = (&path, section.get("min_disk_free")) {
        let help = "add min_disk_free = \"10%\", or remove `path`";
        refuse(entry, Code::MisplacedKey, "`path` goes with `min_disk_free`".to_owned(), help);
    }
    if !reader.boolean(&entry)? {
        refuse(&entry, Code::BadProbe, "`resource` takes true".to_owned(), "leave it out for none");
        return None;
    }
    if let Some(entry) = OF_THE_TREE.iter().find_map(|key| section.get(key)).filter(|_| !runs) {
        let key = entry.path.last().cloned().unwrap_or_default();
        let message = format!("`{key}` needs a service with `run`, whose processes heartbeatd knows");
        refuse(&entry, Code::BadProbe, message, "an external realm has `min_disk_free` only");
        return None;
    }
    let named = OF_THE_TREE.iter().chain(&["min_disk_free"]).any(|key| section.get(key).is_some());
    if !named {
        let message = "a `resource` probe without a bound compares with nothing".to_owned();
        refuse(probe, Code::BadProbe, message, "for example { resource = true, max_memory = \"512MiB\" }");
        return None;
    }
    let path = path.map_or_else(|| PathBuf::from("/"), |(path, _)| path);
    Some(ResourceBounds { max_cpu, max_memory, max_fds, disk: free.map(|free| (path, free)) })
}

fn disk_free(text: &str) -> Result<DiskFree, String> {
    if text.ends_with('%') {
        units::percentage(text).map(DiskFree::Percent)
    } else {
        units::size(text).map(DiskFree::Bytes)
    }
}
