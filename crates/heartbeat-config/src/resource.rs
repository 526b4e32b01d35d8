//! Bounds on what the processes of a realm use, and on the load, the memory and the disk of the host.

use std::fmt;
use std::path::{Path, PathBuf};

use heartbeat_status::{parse_size, written_size};

use crate::bounds;
use crate::code::Code;
use crate::reader::{Entry, Reader, Section, beside};
use crate::units::{self, UnitError};

/// The keys that bound the processes of the realm.
const OF_THE_TREE: [&str; 3] = ["max_cpu", "max_memory", "max_fds"];
/// The keys that bound the host.
const OF_THE_HOST: [&str; 3] = ["max_load", "min_memory_free", "min_disk_free"];

/// What a `resource` probe compares with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceBounds {
    /// Processor time of the tree in percent of one processor.
    pub max_cpu: Option<u32>,
    /// Memory of the tree in bytes.
    pub max_memory: Option<u64>,
    /// Open descriptors of the tree.
    pub max_fds: Option<u64>,
    /// Load average of the host over the last minute.
    pub max_load: Option<u32>,
    /// How much of the host's memory must be free for programs.
    pub memory_free: Option<Least>,
    /// A file system, and how much of it must be free for users other than root.
    pub disk: Option<(PathBuf, Least)>,
}

/// How much of something must be free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Least {
    /// A number of bytes.
    Bytes(u64),
    /// In percent of its size.
    Percent(u8),
}

impl fmt::Display for Least {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => f.write_str(&written_size(*bytes)),
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
            self.max_memory.map(|bytes| format!("memory up to {}", written_size(bytes))),
            self.max_fds.map(|count| format!("up to {count} descriptors")),
            self.max_load.map(|load| format!("load up to {load}")),
            self.memory_free.map(|least| format!("{least} of memory free")),
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
    let max_memory = section.get("max_memory").and_then(|entry| reader.parsed(&entry, "512MiB", parse_size));
    let max_fds = section
        .get("max_fds")
        .and_then(|entry| reader.ranged(&entry, "a number of descriptors", bounds::TREE_DESCRIPTORS));
    let max_load = section.get("max_load").and_then(|entry| reader.number::<u32>(&entry, "a load average"));
    let least = |key| section.get(key).and_then(|entry| reader.parsed(&entry, "10%", least));
    let (memory_free, disk_free) = (least("min_memory_free"), least("min_disk_free"));
    let is_none = |least| matches!(least, Some(Least::Bytes(0) | Least::Percent(0)));
    let is_nothing = [
        ("max_memory", max_memory == Some(0), "every process needs memory, so this bound fails for ever"),
        ("max_fds", max_fds == Some(0), "every process has descriptors, so this bound fails for ever"),
        ("max_load", max_load == Some(0), "every host has some load, so this bound fails for ever"),
        (
            "min_memory_free",
            is_none(memory_free),
            "a host without free memory has this much, so this bound passes for ever",
        ),
        ("min_disk_free", is_none(disk_free), "a full disk has this much, so this bound passes for ever"),
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
        refuse(
            &entry,
            Code::BadProbe,
            message,
            "an external realm has `max_load`, `min_memory_free` and `min_disk_free`",
        );
        return None;
    }
    let named = OF_THE_TREE.iter().chain(&OF_THE_HOST).any(|key| section.get(key).is_some());
    if !named {
        let message = "a `resource` probe without a bound compares with nothing".to_owned();
        refuse(probe, Code::BadProbe, message, "for example { resource = true, max_memory = \"512MiB\" }");
        return None;
    }
    let path = path.map_or_else(|| PathBuf::from("/"), |(path, _)| path);
    let disk = disk_free.map(|least| (path, least));
    Some(ResourceBounds { max_cpu, max_memory, max_fds, max_load, memory_free, disk })
}

fn least(text: &str) -> Result<Least, UnitError> {
    if text.ends_with('%') {
        units::percentage(text).map(Least::Percent)
    } else {
        Ok(Least::Bytes(parse_size(text)?))
    }
}
