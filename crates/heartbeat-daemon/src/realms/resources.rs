//! The resource usage of a realm's processes, and the free space of a disk, compared with the bounds of a `resource`
//! probe.

use std::path::Path;
use std::sync::Arc;

use heartbeat_config::{DiskFree, ResourceBounds};
use heartbeat_probe::{Observe, Observing, Probe};
use heartbeat_process::Usage;
use heartbeat_status::{FailReason, InconclusiveReason, Outcome, ProbeKind, RealmName};

use crate::realms::host::space;
use crate::realms::usage::Sampler;

const MIB: u64 = 1024 * 1024;

/// The probe of one realm.
#[derive(Debug)]
struct Watch {
    realm: RealmName,
    sampler: Arc<Sampler>,
    bounds: ResourceBounds,
}

/// The probe of one realm.
pub(crate) fn probe(realm: &RealmName, sampler: &Arc<Sampler>, bounds: &ResourceBounds) -> Probe {
    let watch = Watch { realm: realm.clone(), sampler: Arc::clone(sampler), bounds: bounds.clone() };
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
        if let Some((path, free)) = &self.bounds.disk {
            match space(path) {
                Ok(space) => seen.push(of_the_disk(path, *free, space)),
                Err(error) => {
                    let detail = format!("the free space at {} cannot be read: {error}", path.display());
                    return (Outcome::Fail { reason: FailReason::Unreachable, phase: None }, detail);
                }
            }
        }
        let over: Vec<&str> =
            seen.iter().filter(|(is_over, _)| *is_over).map(|(_, words)| words.as_str()).collect();
        if over.is_empty() {
            let words: Vec<&str> = seen.iter().map(|(_, words)| words.as_str()).collect();
            return (Outcome::Pass, words.join(", "));
        }
        (Outcome::Fail { reason: FailReason::OverLimit, phase: None }, over.join(", "))
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

fn of_the_disk(path: &Path, least: DiskFree, (free, size): (u64, u64)) -> (bool, String) {
    let percent = u64::try_from(u128::from(free) * 100 / u128::from(size.max(1))).unwrap_or(100);
    let is_over = match least {
        DiskFree::Bytes(bytes) => free < bytes,
        // A file system without blocks, such as /proc, cannot be full.
        DiskFree::Percent(least) => size > 0 && percent < u64::from(least),
    };
    (is_over, format!("{} MiB ({percent}%) free at {}, {least} wanted", free / MIB, path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_process::UsageReader;
    use heartbeat_status::RunId;
    use std::path::PathBuf;

    fn watch(bounds: ResourceBounds) -> Watch {
        let reader = UsageReader::new(None, "no-such-mark".to_owned());
        Watch { realm: RealmName::new("a").unwrap(), sampler: Arc::new(Sampler::new(reader)), bounds }
    }

    #[test]
    fn each_bound_is_compared_with_the_tree() {
        let bounds =
            ResourceBounds { max_cpu: Some(80), max_memory: Some(64 * MIB), max_fds: Some(10), disk: None };
        let watch = watch(bounds);
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
        let is_over = |least, space| of_the_disk(Path::new("/var"), least, space).0;
        assert!(is_over(DiskFree::Percent(10), (9, 100)) && !is_over(DiskFree::Percent(10), (10, 100)));
        assert!(is_over(DiskFree::Bytes(10), (9, 100)) && !is_over(DiskFree::Bytes(10), (10, 100)));
        assert!(!is_over(DiskFree::Percent(10), (0, 0)), "a file system without blocks");
        assert!(!is_over(DiskFree::Percent(99), (u64::MAX, u64::MAX)), "no arithmetic overflows");
        let words = of_the_disk(Path::new("/var"), DiskFree::Percent(10), (5 * MIB, 100 * MIB)).1;
        assert_eq!(words, "5 MiB (5%) free at /var, 10% wanted");
    }

    #[test]
    fn this_process_and_this_disk_can_be_looked_at() {
        let disk = Some((PathBuf::from("/"), DiskFree::Bytes(0)));
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
        let nowhere = Some((PathBuf::from("/no/such/place"), DiskFree::Percent(1)));
        let (outcome, words) = watch(ResourceBounds { disk: nowhere, ..ResourceBounds::default() }).look();
        assert_eq!(outcome, Outcome::Fail { reason: FailReason::Unreachable, phase: None });
        assert!(words.contains("/no/such/place"), "{words}");
    }
}
