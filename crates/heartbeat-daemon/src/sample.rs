//! For the tests of this crate: a small ecosystem, as the adapters see it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use heartbeat_config::{Config, load_str};
use heartbeat_process::{Processes, Settings};
use heartbeat_status::{CheckResult, Instant, Outcome, PhaseTimes};
use heartbeat_supervisor::{Plan, Supervisor};

use crate::active_config::{ActiveConfig, SharedConfig};
use crate::clock;
use crate::inbox::Inbox;
use crate::own_health::own_problems::OwnProblems;
use crate::realms::logs::RealmLogs;
use crate::reporting::status_store::StatusStore;

/// The configuration of these realms.
pub(crate) fn config(realms: &str) -> Config {
    let text = format!(
        "[heartbeat]\nname = \"shop\"\nlisten = \"off\"\nsocket = \"hb.sock\"\nstate_dir = \"state\"\nruntime_dir = \"run\"\n{realms}"
    );
    match load_str("test.toml", &text, &BTreeMap::new()) {
        Ok(loaded) => loaded.config,
        Err(report) => panic!("{report}"),
    }
}

/// The parts that readers use, before anything has happened.
pub(crate) struct Sample {
    pub(crate) plan: Arc<Plan>,
    pub(crate) config: SharedConfig,
    pub(crate) supervisor: Supervisor,
    pub(crate) statuses: Arc<StatusStore>,
    pub(crate) problems: Arc<OwnProblems>,
    pub(crate) inbox: Arc<Inbox>,
}

pub(crate) fn sample(realms: &str) -> Sample {
    let config = config(realms);
    let mut supervisor = Supervisor::new(config.plan.clone(), 1);
    let plan = Arc::clone(supervisor.plan_in_force());
    let config = SharedConfig::new(ActiveConfig::new(1, config, Arc::clone(&plan)));
    let first = supervisor.snapshot(clock::now());
    let inbox = Arc::new(Inbox::default());
    let problems = Arc::new(OwnProblems::new(Arc::clone(&inbox)));
    let statuses =
        StatusStore::new(first, config.clone(), "k3v9".to_owned(), clock::anchor(), Arc::clone(&problems));
    Sample { plan, config, supervisor, statuses: Arc::new(statuses), problems, inbox }
}

/// These realms as the configuration in force.
pub(crate) fn active(realms: &str) -> ActiveConfig {
    ActiveConfig::clone(&sample(realms).config.current())
}

/// The result of a probe that began and ended at that time.
pub(crate) fn measured(at: Instant, outcome: Outcome) -> CheckResult {
    CheckResult {
        outcome,
        detail: String::new(),
        started_at: at,
        finished_at: at,
        latency: None,
        phases: PhaseTimes::default(),
        unattributable: false,
        certificate_until: None,
    }
}

/// A process adapter without a launcher: every start fails, and nothing of it is noticed.
pub(crate) fn processes(dir: &Path) -> Processes {
    let (launcher, records) = (dir.join("no-launcher"), dir.to_owned());
    let settings = Settings { launcher, records, runtime: dir.to_owned(), ..Settings::default() };
    Processes::open(settings, Arc::new(RealmLogs), |_| {}).unwrap()
}
