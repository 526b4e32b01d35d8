//! What the processes of every realm use: looked at sparingly, for the status document, for history and for the
//! `resource` probe.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heartbeat_process::{ProcessState, RunPlace, Usage, UsageReader};
use heartbeat_status::{Instant, RealmName, RunId};
use heartbeat_store::{HOST, Measured, Quantity, Sketch};
use heartbeat_wire::ProcessUsage;

use crate::clock;
use crate::realms::host;
use crate::reporting::status_store::StatusStore;

/// Every realm is looked at this often ...
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// ... and less often where a look costs more, so that looks take a thousandth of one processor ...
const PAUSE_PER_LOOK: u32 = 1_000;
/// ... but at least this often.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(120);
/// Processor time over less than this says nothing.
const CPU_WINDOW_MIN: Duration = Duration::from_millis(900);
const KIB: f64 = 1024.0;

/// The last look at a run.
#[derive(Clone, Copy, Debug)]
struct Look {
    main: u32,
    /// When its processor time was compared last, and how much that was.
    at: Instant,
    cpu: Duration,
    /// Everything that was seen of this process.
    total: Duration,
    percent: Option<f64>,
}

/// Looks at what realms use; one look at a time.
#[derive(Debug)]
pub(crate) struct Sampler {
    reader: UsageReader,
    mains: Mutex<BTreeMap<RealmName, RunPlace>>,
    looks: Mutex<BTreeMap<RealmName, Look>>,
    minute: Mutex<BTreeMap<RealmName, [Sketch; 3]>>,
    host: Mutex<Vec<(Quantity, Sketch)>>,
}

impl Sampler {
    pub(crate) fn new(reader: UsageReader) -> Self {
        let (mains, looks, minute, host) = Default::default();
        Self { reader, mains, looks, minute, host }
    }

    /// The main process of a realm is this one now.
    pub(crate) fn set_main(&self, realm: &RealmName, run: RunId, main: u32) {
        locked(&self.mains).insert(realm.clone(), RunPlace { realm: realm.clone(), run, main });
    }

    /// What a realm uses now, and the percentage of processor time; `None` when its process is not there. For a probe
    /// that compares memory with `max_memory`.
    pub(crate) fn look_at(&self, realm: &RealmName, max_memory: u64) -> Option<(Usage, Option<f64>)> {
        let place = locked(&self.mains).get(realm)?.clone();
        let usage = self.reader.read_exactly(&place, max_memory)?;
        Some((usage, self.percent(&place, clock::now(), usage.cpu)))
    }

    /// The processes of a run that are known without a search.
    pub(crate) fn states(&self, place: &RunPlace) -> Vec<ProcessState> {
        self.reader.known_states(place)
    }

    /// Looks at every realm again and again, until the runtime ends.
    pub(crate) async fn watch(self: Arc<Self>, statuses: Arc<StatusStore>, state_dir: Arc<Path>) {
        loop {
            let (sampler, store, dir) = (Arc::clone(&self), Arc::clone(&statuses), Arc::clone(&state_dir));
            // Reading /proc takes a while on a busy host. A look that was lost is followed by another one.
            let took =
                tokio::task::spawn_blocking(move || sampler.look(&store, &dir)).await.unwrap_or_default();
            tokio::time::sleep(pause(took)).await;
        }
    }

    /// The processor time that it took.
    fn look(&self, statuses: &StatusStore, state_dir: &Path) -> Duration {
        let began = clock::thread_cpu();
        self.note_host(host::look(state_dir));
        let snapshot = statuses.snapshot();
        let running = snapshot.realms.iter().filter_map(|realm| {
            let realm_name = realm.info.name.clone();
            Some(RunPlace { realm: realm_name, run: realm.process.run, main: realm.process.pid? })
        });
        let places: Vec<RunPlace> = running.collect();
        let usages = self.reader.read_all(&places);
        statuses.set_usage(self.noted(clock::now(), &places, &usages));
        clock::thread_cpu().saturating_sub(began)
    }

    /// Notes what the host uses, for history.
    fn note_host(&self, seen: Vec<(Quantity, f64)>) {
        let mut host = locked(&self.host);
        for (quantity, number) in seen {
            let known = host.iter().position(|(of, _)| *of == quantity);
            let at = known.unwrap_or_else(|| {
                host.push((quantity, Sketch::default()));
                host.len() - 1
            });
            host[at].1.add_number(number);
        }
    }

    /// Notes the usage of each run for history; the figures for documents.
    fn noted(
        &self,
        now: Instant,
        places: &[RunPlace],
        usages: &[Option<Usage>],
    ) -> BTreeMap<String, ProcessUsage> {
        let mut figures = BTreeMap::new();
        for (place, usage) in places.iter().zip(usages) {
            let Some(usage) = usage else { continue };
            let percent = self.percent(place, now, usage.cpu);
            let total = locked(&self.looks).get(&place.realm).map_or(Duration::ZERO, |look| look.total);
            let figure = ProcessUsage {
                pid: place.main,
                cpu_percent: percent.map(|percent| (percent * 10.0).round() / 10.0),
                cpu_s: total.as_secs_f64(),
                rss_bytes: usage.memory_bytes,
                fds: usage.sees_descriptors.then_some(usage.descriptors),
            };
            let mut minute = locked(&self.minute);
            let [cpu, memory, descriptors] = minute.entry(place.realm.clone()).or_default();
            figure.cpu_percent.into_iter().for_each(|percent| cpu.add_number(percent * 100.0));
            memory.add_number(usage.memory_bytes as f64 / KIB);
            figure.fds.into_iter().for_each(|count| descriptors.add_number(count as f64));
            figures.insert(place.realm.to_string(), figure);
        }
        locked(&self.looks).retain(|realm, _| places.iter().any(|place| place.realm == *realm));
        figures
    }

    /// Percent of one processor since the look before; `None` at the first look at a run.
    fn percent(&self, place: &RunPlace, now: Instant, cpu: Duration) -> Option<f64> {
        let mut looks = locked(&self.looks);
        let known = looks.get(&place.realm).copied().filter(|known| known.main == place.main);
        let Some(known) = known else {
            looks.insert(
                place.realm.clone(),
                Look { main: place.main, at: now, cpu, total: cpu, percent: None },
            );
            return None;
        };
        if now.since(known.at) < CPU_WINDOW_MIN {
            return known.percent;
        }
        // Without a control group, a child that has ended takes its time with it unless its parent has waited for it.
        let cpu_used = cpu.saturating_sub(known.cpu);
        let percent = Some(100.0 * cpu_used.as_secs_f64() / now.since(known.at).as_secs_f64());
        looks.insert(
            place.realm.clone(),
            Look { main: place.main, at: now, cpu, total: known.total + cpu_used, percent },
        );
        percent
    }

    /// What was seen since the last call, for history.
    pub(crate) fn take_minute(&self) -> Vec<Measured> {
        let quantities = [Quantity::Cpu, Quantity::Memory, Quantity::Descriptors];
        let of = |(realm, sketches): (RealmName, [Sketch; 3])| {
            let measured = quantities.clone().into_iter().zip(sketches);
            measured.filter(|(_, values)| !values.is_empty()).map(move |(quantity, values)| Measured {
                realm: realm.to_string(),
                quantity,
                values,
            })
        };
        let realms = std::mem::take(&mut *locked(&self.minute)).into_iter().flat_map(of);
        let host = std::mem::take(&mut *locked(&self.host)).into_iter();
        let host = host.map(|(quantity, values)| Measured { realm: HOST.to_owned(), quantity, values });
        realms.chain(host).collect()
    }
}

/// Until the next look, after one that took so much processor time.
fn pause(took: Duration) -> Duration {
    took.saturating_mul(PAUSE_PER_LOOK).clamp(LOOK_EVERY, LOOK_EVERY_MAX)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler() -> Sampler {
        Sampler::new(UsageReader::new(None, "no-such-mark".to_owned()))
    }

    fn place(realm: &str, main: u32) -> RunPlace {
        RunPlace { realm: RealmName::new(realm).unwrap(), run: RunId(1), main }
    }

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    #[test]
    fn processor_time_is_compared_with_the_look_before_at_the_same_process() {
        let sampler = sampler();
        let percent =
            |main, ms, cpu_ms| sampler.percent(&place("api", main), at(ms), Duration::from_millis(cpu_ms));
        assert_eq!(percent(7, 0, 5_000), None, "nothing to compare with");
        assert_eq!(percent(7, 500, 5_400), None, "too soon");
        assert_eq!(percent(7, 5_000, 9_000), Some(80.0));
        assert_eq!(percent(7, 5_100, 9_100), Some(80.0), "another look a moment later");
        assert_eq!(percent(8, 10_000, 99_000), None, "another process");
        assert_eq!(percent(8, 15_000, 0), Some(0.0), "a child has taken its time with it");
    }

    #[test]
    fn a_look_that_costs_much_is_followed_by_a_long_pause() {
        let pauses = [0, 4, 40, 400].map(|ms| pause(Duration::from_millis(ms)).as_secs());
        assert_eq!(pauses, [10, 10, 40, 120]);
    }

    #[test]
    fn a_figure_that_is_not_known_is_absent_and_history_gets_the_others() {
        let sampler = sampler();
        let usage = |cpu_ms, sees_descriptors| {
            let cpu = Duration::from_millis(cpu_ms);
            Some(Usage { cpu, memory_bytes: 64 << 20, descriptors: 12, sees_descriptors })
        };
        let places = [place("api", 7), place("db", 8)];
        let first = sampler.noted(at(0), &places, &[usage(100, true), None]);
        assert_eq!(first.keys().collect::<Vec<_>>(), ["api"], "db has no process");
        let expected =
            ProcessUsage { pid: 7, cpu_percent: None, cpu_s: 0.1, rss_bytes: 64 << 20, fds: Some(12) };
        assert_eq!(first["api"], expected);
        let second = sampler.noted(at(10_000), &places[..1], &[usage(350, false)]);
        assert_eq!((second["api"].cpu_percent, second["api"].fds), (Some(2.5), None));
        assert!((second["api"].cpu_s - 0.35).abs() < 1e-9);
        let less = sampler.noted(at(20_000), &places[..1], &[usage(50, false)]);
        assert!(
            (less["api"].cpu_s - 0.35).abs() < 1e-9,
            "a child has taken its time with it: no counter decreases"
        );
        let minute = sampler.take_minute();
        let counts: Vec<_> =
            minute.iter().map(|measured| (measured.quantity.clone(), measured.values.count())).collect();
        assert_eq!(counts, [(Quantity::Cpu, 2), (Quantity::Memory, 3), (Quantity::Descriptors, 1)]);
        assert!(sampler.take_minute().is_empty());
    }
}
