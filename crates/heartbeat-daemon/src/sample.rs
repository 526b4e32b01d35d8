//! For the tests of this crate: a small ecosystem, as far as the adapters see it.

use std::collections::BTreeMap;
use std::sync::Arc;

use heartbeat_config::{Config, load_str};
use heartbeat_supervisor::{Plan, Supervisor};

use crate::clock;
use crate::inbox::Inbox;
use crate::own_health::own_problems::OwnProblems;
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

/// What readers are given of these realms, before anything has happened.
pub(crate) struct Sample {
    pub(crate) plan: Arc<Plan>,
    pub(crate) supervisor: Supervisor,
    pub(crate) statuses: Arc<StatusStore>,
    pub(crate) problems: Arc<OwnProblems>,
    pub(crate) inbox: Arc<Inbox>,
}

pub(crate) fn sample(realms: &str) -> Sample {
    let Config { plan, realms, .. } = config(realms);
    let mut supervisor = Supervisor::new(plan, 1);
    let first = supervisor.snapshot(clock::now());
    let inbox = Arc::new(Inbox::default());
    let problems = Arc::new(OwnProblems::new(Arc::clone(&inbox)));
    let statuses = StatusStore::new(
        first,
        Arc::new(realms),
        "k3v9".to_owned(),
        "shop".to_owned(),
        clock::anchor(),
        Arc::clone(&problems),
    );
    let plan = Arc::clone(supervisor.plan_in_force());
    Sample { plan, supervisor, statuses: Arc::new(statuses), problems, inbox }
}
