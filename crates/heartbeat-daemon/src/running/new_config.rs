//! A new configuration: heartbeatd refuses it as a whole before any of it takes effect.

use heartbeat_config::{Changes, Config, Merged, merge};
use heartbeat_notify::{Endpoint, Receiver};
use heartbeat_status::RealmIx;
use heartbeat_supervisor::Plan;

use crate::active_config::ActiveConfig;
use crate::control::reload_error::ReloadError;
use crate::own_health::descriptors::Budget;
use crate::reporting::receivers;

/// A configuration that fits the one in force.
#[derive(Debug)]
pub(crate) struct NewConfig {
    pub(crate) config: Config,
    pub(crate) changes: Changes,
    /// Realms whose process has changed, with the keys that changed it.
    pub(crate) restart: Vec<(RealmIx, String)>,
    pub(crate) receivers: Vec<Receiver>,
    /// The descriptors, divided anew for its realms.
    pub(crate) budget: Budget,
    /// The endpoint of the dead man's signal.
    pub(crate) ping: Option<Endpoint>,
    pub(crate) otlp: Option<Endpoint>,
}

impl NewConfig {
    /// Fits `config` into the one in force. `vacant` are indices that a new realm may take.
    ///
    /// # Errors
    /// Everything that does not fit.
    pub(crate) fn fit(
        active: &ActiveConfig,
        vacant: &[RealmIx],
        budget: Budget,
        config: Config,
    ) -> Result<Self, ReloadError> {
        let merged = merge(active.in_force(vacant), config).map_err(ReloadError::Unmerged)?;
        let Merged { config, restart, changes } = merged;
        let budget = budget.redivided(&config.realms)?;
        let receivers = receivers::receivers(&config.notify)
            .map_err(|(name, source)| ReloadError::Receiver { name, source })?;
        let ping = receivers::ping(config.heartbeat.ping.as_deref())
            .map_err(|source| ReloadError::Url { key: "ping", source })?;
        let otlp = receivers::otlp(config.heartbeat.otlp.as_deref())
            .map_err(|source| ReloadError::Url { key: "otlp", source })?;
        // Both are in the same order.
        let keys = changes.restarted.iter().map(|(_, keys)| keys.join(", "));
        let restart = restart.into_iter().zip(keys).collect();
        Ok(Self { config, changes, restart, receivers, ping, otlp, budget })
    }

    /// Indices that belong to another realm from now on.
    pub(crate) fn handed_on(&self, old: &Plan) -> Vec<RealmIx> {
        let pairs = old.realms().iter().zip(self.config.plan.realms()).zip(self.config.plan.infos());
        pairs.filter(|((old, new), _)| old.name != new.name).map(|(_, info)| info.ix).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{active, config};

    const OLD: &str = "[realm.db]\nrun = \"true\"\n[realm.web]\nrun = \"true\"\nneeds = [\"db\"]\n";

    fn budget(active: &ActiveConfig) -> Budget {
        Budget::of(&active.realms, active.heartbeat.max_connections).unwrap()
    }

    fn fit(new: &str) -> Result<NewConfig, ReloadError> {
        let active = active(OLD);
        NewConfig::fit(&active, &[], budget(&active), config(new))
    }

    #[test]
    fn the_same_text_changes_nothing_and_hands_no_place_on() {
        let new = fit(OLD).unwrap();
        assert!(new.changes.is_empty() && new.restart.is_empty());
        assert_eq!(new.handed_on(&active(OLD).plan), []);
    }

    #[test]
    fn a_realm_keeps_its_place_and_another_program_restarts_it_with_the_key_that_says_so() {
        let new = fit(&OLD.replace("[realm.db]\nrun = \"true\"", "[realm.db]\nrun = \"false\"")).unwrap();
        let db = active(OLD).plan.find("db").unwrap();
        assert_eq!(new.restart, [(db, "run".to_owned())]);
        assert_eq!(new.config.plan.find("db"), Some(db));
    }

    #[test]
    fn what_cannot_change_while_heartbeatd_runs_is_refused_as_a_whole() {
        let refused =
            fit(&OLD.replace("run = \"true\"\nneeds", "health = \"tcp://127.0.0.1:1\"\nneeds")).unwrap_err();
        let mistakes = refused.mistakes();
        assert!(mistakes[0].starts_with("web cannot change from service to external"), "{mistakes:?}");
    }

    #[test]
    fn a_vacant_place_goes_to_a_new_realm_and_is_handed_on() {
        let active = active(OLD);
        let web = active.plan.find("web").unwrap();
        let new = config("[realm.db]\nrun = \"true\"\n[realm.mail]\nrun = \"true\"\n");
        let new = NewConfig::fit(&active, &[web], budget(&active), new).unwrap();
        assert_eq!(new.config.plan.find("mail"), Some(web));
        assert_eq!(new.handed_on(&active.plan), [web]);
    }
}
