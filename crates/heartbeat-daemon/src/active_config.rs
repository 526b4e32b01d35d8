//! The configuration in force: one value. The driver replaces it at a reload; the executor, the prober and the API read
//! it.

use std::sync::{Arc, Mutex, PoisonError};

use heartbeat_config::{
    Config, Heartbeat, InForce, MaintenanceConfig, RealmConfig, ReceiverConfig, RegistrationRules,
};
use heartbeat_status::{RealmIx, RealmName};
use heartbeat_supervisor::Plan;

/// The configuration in force, complete.
#[derive(Clone, Debug)]
pub(crate) struct ActiveConfig {
    /// Counted from 1; a reload that changes something adds one.
    pub(crate) revision: u64,
    pub(crate) heartbeat: Heartbeat,
    /// The plan that the core has.
    pub(crate) plan: Arc<Plan>,
    /// What adapters need of each realm of the plan, by its index.
    pub(crate) realms: Vec<RealmConfig>,
    pub(crate) notify: Vec<ReceiverConfig>,
    pub(crate) maintenance: Vec<MaintenanceConfig>,
    pub(crate) registering: Arc<RegistrationRules>,
}

impl ActiveConfig {
    /// `plan` is the plan of `config`, which the core has accepted.
    pub(crate) fn new(revision: u64, config: Config, plan: Arc<Plan>) -> Self {
        let Config { heartbeat, realms, notify, maintenance, registering, .. } = config;
        Self { revision, heartbeat, plan, realms, notify, maintenance, registering }
    }

    /// What adapters need of a realm; `None` for an index of a later configuration.
    pub(crate) fn realm(&self, realm: RealmIx) -> Option<&RealmConfig> {
        self.realms.get(realm.index())
    }

    pub(crate) fn name(&self, realm: RealmIx) -> &RealmName {
        &self.plan.realm(realm).name
    }

    /// The configuration that a new one has to fit; `vacant` are indices that a new realm may take.
    pub(crate) fn in_force<'a>(&'a self, vacant: &'a [RealmIx]) -> InForce<'a> {
        let Self { heartbeat, plan, realms, notify, maintenance, .. } = self;
        InForce { heartbeat, plan, realms, notify, maintenance, vacant }
    }
}

/// The one place that holds the configuration in force. All clones share it.
#[derive(Clone, Debug)]
pub(crate) struct SharedConfig(Arc<Mutex<Arc<ActiveConfig>>>);

impl SharedConfig {
    pub(crate) fn new(config: ActiveConfig) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(config))))
    }

    pub(crate) fn current(&self) -> Arc<ActiveConfig> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another configuration in force, for all readers at once.
    pub(crate) fn replace(&self, config: ActiveConfig) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}
