//! The resource usage of a realm's processes, and the load, the memory and the disk of the host, compared with the
//! bounds of a `resource` probe.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;

use heartbeat_config::{Least, ResourceBounds};
use heartbeat_probe::{Observe, Observing, Probe};
use heartbeat_process::Usage;
use heartbeat_status::{FailReason, InconclusiveReason, Outcome, ProbeKind, RealmName};

use crate::realms::host;
use crate::realms::usage::Sampler;

const MIB: u64 = 1024 * 1024;

/// The probe of one realm.
#[derive(Debug)]
struct Watch {
    realm: RealmName,
    sampler: Arc<Sampler>,
    bounds: ResourceBounds,
    /// Where the kernel shows the figures of the host.
    proc: PathBuf,
}

/// The probe of one realm.
pub(crate) fn probe(realm: &RealmName, sampler: &Arc<Sampler>, bounds: &ResourceBounds) -> Probe {
    let (realm, sampler, bounds) = (realm.clone(), Arc::clone(sampler), bounds.clone());
    let watch = Watch { realm, sampler, bounds, proc: host::PROC.into() };
    Probe::from(Arc::new(Watched(Arc::new(watch))) as Arc<dyn Observe>)
}

#[derive(Debug)]
struct Watched(Arc<Watch>);

impl Observe for Watched {
    fn kind(&self) -> ProbeKind {
        ProbeKind::Resource
    }

    fn target(&self) -> String {
        self.0.bounds.to_string()
    }

    fn observe(&self) -> Observing<'_> {
        let watch = Arc::clone(&self.0);
        Box::pin(async move {
            // Reading /proc takes a while on a busy host.
            let looked = tokio::task::spawn_blocking(move || watch.look()).await;
            looked.unwrap_or_else(|error| {
                (Outcome::Inconclusive(InconclusiveReason::Cancelled), format!("the look was lost: {error}"))
            })
        })
    }
}

impl Watch {
    fn look(&self) -> (Outcome, String) {
        let mut seen = Vec::new();
        if self.bounds.is_of_the_tree() {
            let most = self.bounds.max_memory.unwrap_or(u64::MAX);
            let Some((usage, cpu)) = self.sampler.look_at(&self.realm, most) else {
                let fail = Outcome::Fail { reason: FailReason::ProcessExited, phase: None };
                return (fail, "its process is not there".to_owned());
            };
            seen.extend(self.of_the_tree(&usage, cpu));
        }
        match self.of_the_host() {
            Ok(of_the_host) => seen.extend(of_the_host),
            Err(unreadable) => return unreadable,
        }
        let over: Vec<&str> =
            seen.iter().filter(|(is_over, _)| *is_over).map(|(_, words)| words.as_str()).collect();
        if over.is_empty() {
            let words: Vec<&str> = seen.iter().map(|(_, words)| words.as_str()).collect();
            return (Outcome::Pass, words.join(", "));
        }
        (Outcome::Fail { reason: FailReason::OverLimit, phase: None }, over.join(", "))
    }

    /// Each bound of the host: whether it is exceeded, in words. A figure that cannot be read fails the probe.
    fn of_the_host(&self) -> Result<Vec<(bool, String)>, (Outcome, String)> {
        let unreadable = |figure: &str, error: &dyn Display| {
            let detail = format!("the {figure} cannot be read: {error}");
            (Outcome::Fail { reason: FailReason::Unreachable, phase: None }, detail)
        };
        let mut seen = Vec::new();
        if let Some(max) = self.bounds.max_load {
            let load = host::load(&self.proc).map_err(|error| unreadable("load of the host", &error))?;
            seen.push((load > f64::from(max), format!("load {load:.2} of {max}")));
        }
        if let Some(least) = self.bounds.memory_free {
            let memory = host::memory(&self.proc);
            let memory = memory.map_err(|error| unreadable("free memory of the host", &error))?;
            let (is_over, free) = of_what_is_free(least, memory);
            seen.push((is_over, format!("{free} of memory free, {least} wanted")));
        }
        if let Some((path, least)) = &self.bounds.disk {
            let figure = || format!("free space at {}", path.display());
            let space = host::space(path).map_err(|error| unreadable(&figure(), &error))?;
            let (is_over, free) = of_what_is_free(*least, space);
            seen.push((is_over, format!("{free} free at {}, {least} wanted", path.display())));
        }
        Ok(seen)
    }

    /// Each bound: whether it is exceeded, in words. `cpu` is a percentage, unknown at the first look.
    fn of_the_tree(&self, usage: &Usage, cpu: Option<f64>) -> Vec<(bool, String)> {
        let mut seen = Vec::new();
        if let (Some(max), Some(percent)) = (self.bounds.max_cpu, cpu) {
            seen.push((percent > f64::from(max), format!("cpu {percent:.0}% of {max}%")));
        }
        if let Some(max) = self.bounds.max_memory {
            let is_over = usage.memory_bytes > max;
            seen.push((is_over, format!("memory {} of {} MiB", usage.memory_bytes / MIB, max / MIB)));
        }
        if let Some(max) = self.bounds.max_fds {
            seen.push((usage.descriptors > max, format!("{} of {max} descriptors", usage.descriptors)));
        }
        seen
    }
}

/// Whether less than `least` is free, and how much is, in words.
fn of_what_is_free(least: Least, (free, size): (u64, u64)) -> (bool, String) {
    let percent = u64::try_from(u128::from(free) * 100 / u128::from(size.max(1))).unwrap_or(100);
    let is_over = match least {
        Least::Bytes(bytes) => free < bytes,
        // A file system without blocks, such as /proc, cannot be full.
        Least::Percent(least) => size > 0 && percent < u64::from(least),
    };
    (is_over, format!("{} MiB ({percent}%)", free / MIB))
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_process::UsageReader;
    use heartbeat_status::RunId;

    fn watch(bounds: ResourceBounds) -> Watch {
        let reader = UsageReader::new(None, "no-such-mark".to_owned());
        let sampler = Arc::new(Sampler::new(reader));
        Watch { realm: RealmName::new("a").unwrap(), sampler, bounds, proc: host::PROC.into() }
    }

    #[test]
    fn each_bound_is_compared_with_the_tree() {
        let watch = watch(ResourceBounds {
            max_cpu: Some(80),
            max_memory: Some(64 * MIB),
            max_fds: Some(10),
            ..ResourceBounds::default()
        });
        let usage = |memory_bytes, descriptors| Usage { memory_bytes, descriptors, ..Usage::default() };
        let over = |seen: Vec<(bool, String)>| {
            seen.into_iter().filter(|(is_over, _)| *is_over).map(|(_, words)| words).collect::<Vec<_>>()
        };
        let first = watch.of_the_tree(&usage(64 * MIB, 10), None);
        assert_eq!(first.len(), 2, "processor time has nothing to be compared with: {first:?}");
        assert!(over(first).is_empty());
        assert!(over(watch.of_the_tree(&usage(0, 0), Some(80.0))).is_empty(), "80% is not more");
        let busy = over(watch.of_the_tree(&usage(65 * MIB, 11), Some(100.0)));
        assert_eq!(busy, ["cpu 100% of 80%", "memory 65 of 64 MiB", "11 of 10 descriptors"]);
    }

    #[test]
    fn a_disk_is_full_for_users_other_than_root() {
        let is_over = |least, space| of_what_is_free(least, space).0;
        assert!(is_over(Least::Percent(10), (9, 100)) && !is_over(Least::Percent(10), (10, 100)));
        assert!(is_over(Least::Bytes(10), (9, 100)) && !is_over(Least::Bytes(10), (10, 100)));
        assert!(!is_over(Least::Percent(10), (0, 0)), "a file system without blocks");
        assert!(!is_over(Least::Percent(99), (u64::MAX, u64::MAX)), "no arithmetic overflows");
        assert_eq!(of_what_is_free(Least::Percent(10), (5 * MIB, 100 * MIB)).1, "5 MiB (5%)");
    }

    #[test]
    fn the_load_and_the_memory_of_the_host_are_compared() {
        let proc = tempfile::tempdir().unwrap();
        let mut host = watch(ResourceBounds {
            max_load: Some(4),
            memory_free: Some(Least::Percent(10)),
            ..ResourceBounds::default()
        });
        host.proc = proc.path().to_owned();
        let unreadable = Outcome::Fail { reason: FailReason::Unreachable, phase: None };
        let (outcome, words) = host.look();
        assert_eq!(outcome, unreadable);
        assert!(words.starts_with("the load of the host cannot be read: "), "{words}");
        let over = Outcome::Fail { reason: FailReason::OverLimit, phase: None };
        for (load, available, outcome, words) in [
            ("4.00", 1_024, Outcome::Pass, "load 4.00 of 4, 1 MiB (10%) of memory free, 10% wanted"),
            ("4.01", 1_024, over, "load 4.01 of 4"),
            ("0.10", 1_023, over, "0 MiB (9%) of memory free, 10% wanted"),
            ("9.99", 0, over, "load 9.99 of 4, 0 MiB (0%) of memory free, 10% wanted"),
        ] {
            let write = |name, text: String| std::fs::write(proc.path().join(name), text).unwrap();
            write("loadavg", format!("{load} 0.00 0.00 1/2 3\n"));
            write("meminfo", format!("MemTotal: 10240 kB\nMemAvailable: {available} kB\n"));
            assert_eq!(host.look(), (outcome, words.to_owned()));
        }
    }

    #[test]
    fn this_process_and_this_disk_can_be_looked_at() {
        let disk = Some((PathBuf::from("/"), Least::Bytes(0)));
        let own = watch(ResourceBounds {
            max_memory: Some(u64::MAX),
            max_fds: Some(1),
            disk,
            ..ResourceBounds::default()
        });
        let (outcome, _) = own.look();
        assert_eq!(outcome, Outcome::Fail { reason: FailReason::ProcessExited, phase: None });
        own.sampler.set_main(&own.realm, RunId(1), std::process::id());
        let (outcome, words) = own.look();
        assert_eq!(outcome, Outcome::Fail { reason: FailReason::OverLimit, phase: None });
        assert!(words.ends_with("of 1 descriptors"), "only what is too much is named: {words}");
        let nowhere = Some((PathBuf::from("/no/such/place"), Least::Percent(1)));
        let (outcome, words) = watch(ResourceBounds { disk: nowhere, ..ResourceBounds::default() }).look();
        assert_eq!(outcome, Outcome::Fail { reason: FailReason::Unreachable, phase: None });
        assert!(words.contains("/no/such/place"), "{words}");
    }
}
