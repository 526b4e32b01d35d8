//! The division of descriptors: first to running realms and to restarts, then to probes, and the rest to connections,
//! so that no client can take a descriptor that a restart needs.

use heartbeat_config::{Measure, RealmConfig};
use heartbeat_process::COMMAND_DESCRIPTORS;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use crate::error::DaemonError;

/// Descriptors of heartbeatd without any realm, with the spare ones of the process adapter.
const BASE_DESCRIPTORS: u64 = 56;
/// Most descriptors that starts in progress take, beside the spare ones.
const RESTART_DESCRIPTORS: u64 = 16;
/// Fewest descriptors for probes and connections.
const MIN_REST_DESCRIPTORS: u64 = 16;
/// Connections of the socket, if there is room for them.
const SOCKET_DESCRIPTORS: u64 = 32;
/// This share of the descriptors for connections is left for realms that a reload adds.
const GROWTH_SHARE: usize = 4;

/// heartbeatd has a problem with fewer free descriptors than this, beside its spare ones.
const MIN_FREE_DESCRIPTORS: u64 = 8;

/// The realms of a new configuration do not fit in, even with the fewest probes and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{realms} realms with a program need {needed} descriptors, and the limit of heartbeatd is {limit}; raise the limit \
     (`LimitNOFILE=` of the unit, or `ulimit -n`), then restart heartbeatd"
)]
pub(crate) struct TooManyRealms {
    realms: usize,
    needed: u64,
    limit: u64,
}

/// Fewer descriptors than realms need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooFew {
    limit: u64,
    needed: u64,
    realms: usize,
}

impl From<TooFew> for TooManyRealms {
    fn from(TooFew { limit, needed, realms }: TooFew) -> Self {
        Self { limit, needed, realms }
    }
}

impl From<TooFew> for DaemonError {
    fn from(TooFew { limit, needed, realms }: TooFew) -> Self {
        Self::Descriptors { limit, needed, realms }
    }
}

/// The number of descriptors for each use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// The limit of the configuration.
    max_connections: usize,
    pub(crate) probes: usize,
    pub(crate) tcp_connections: usize,
    pub(crate) socket_connections: usize,
}

impl Budget {
    /// Divides the descriptors that heartbeatd's own limit allows.
    ///
    /// # Errors
    /// [`TooFew`] when realms could not be restarted with what is left.
    pub(crate) fn of(realms: &[RealmConfig], max_connections: usize) -> Result<Self, TooFew> {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(RLIM_INFINITY, |(soft, _)| soft);
        let (of_realms, probes) = needs(realms);
        Self::divide(limit, &of_realms, probes, max_connections)
    }

    /// Divides anew, for the realms of another configuration.
    ///
    /// # Errors
    /// [`TooManyRealms`] says why not, and what to do.
    pub(crate) fn redivided(self, realms: &[RealmConfig]) -> Result<Self, TooManyRealms> {
        Self::of(realms, self.max_connections).map_err(TooManyRealms::from)
    }

    fn divide(limit: u64, of_realms: &[u64], probes: usize, max_connections: usize) -> Result<Self, TooFew> {
        let taken = taken(of_realms);
        let needed = taken + MIN_REST_DESCRIPTORS;
        if limit < needed {
            return Err(TooFew { limit, needed, realms: of_realms.len() });
        }
        let left = limit - taken;
        let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        // One more, for a probe of a realm that is registered later.
        let probes = number(left / 2).min(probes.saturating_add(1));
        let left = number(left) - probes;
        let left = left - left / GROWTH_SHARE;
        let socket_connections = (left / 2).min(number(SOCKET_DESCRIPTORS));
        let tcp_connections = max_connections.min(left - socket_connections);
        Ok(Self { max_connections, probes, tcp_connections, socket_connections })
    }
}

fn taken(of_realms: &[u64]) -> u64 {
    BASE_DESCRIPTORS + RESTART_DESCRIPTORS + of_realms.iter().sum::<u64>()
}

/// The descriptors of each realm with a program, and those of all probes that may run at the same time.
fn needs(realms: &[RealmConfig]) -> (Vec<u64>, usize) {
    let of_realms = realms.iter().filter_map(|realm| realm.launch.as_ref());
    let probes = realms.iter().flat_map(|realm| &realm.probes).flatten().map(|measure| match measure {
        Measure::Command { .. } => COMMAND_DESCRIPTORS as usize,
        Measure::Probe(_) => 1,
        Measure::Push(_) | Measure::Resource(_) => 0,
    });
    (of_realms.map(|launch| u64::from(launch.descriptors())).collect(), probes.sum())
}

/// Raises heartbeatd's own soft limit of descriptors to the hard one; returns the old one, for the realms. Without the
/// privilege, or without a need, it changes nothing.
pub(crate) fn raise() -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok()?;
    Some(soft)
}

/// Why the next start, probe or client may find no descriptor, while that is so.
pub(crate) fn shortage() -> Option<String> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    // Without a descriptor for the directory there is none at all.
    let open = std::fs::read_dir("/proc/self/fd").map_or(limit, |open| open.count() as u64);
    shortage_of(limit, open)
}

fn shortage_of(limit: u64, open: u64) -> Option<String> {
    (limit.saturating_sub(open) < MIN_FREE_DESCRIPTORS).then(|| {
        format!(
            "fewer than {MIN_FREE_DESCRIPTORS} of the {limit} descriptors that heartbeatd may open are free"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(limit: u64, realms: usize, probes: usize) -> Option<(usize, usize, usize)> {
        let budget = Budget::divide(limit, &vec![2; realms], probes, 256).ok()?;
        Some((budget.probes, budget.tcp_connections, budget.socket_connections))
    }

    #[test]
    fn few_free_descriptors_are_a_problem() {
        for (limit, open, is_short) in
            [(264, 256, false), (264, 257, true), (264, 300, true), (RLIM_INFINITY, 9, false)]
        {
            assert_eq!(shortage_of(limit, open).is_some(), is_short, "{open} of {limit}");
        }
    }

    #[test]
    fn realms_come_first_then_probes_then_connections() {
        assert_eq!(divided(1 << 20, 5_000, 1_024), Some((1_025, 256, 32)), "there is room for all");
        assert_eq!(divided(264, 60, 60), Some((36, 14, 13)));
        assert_eq!(divided(88, 0, 0), Some((1, 6, 6)));
        for (limit, realms) in [(87, 0), (207, 60), (56, 20), (0, 1)] {
            assert_eq!(divided(limit, realms, 9), None, "{limit} for {realms}");
        }
        for realms in 0..40 {
            for limit in 88 + 2 * realms as u64..300 {
                let (probes, tcp, socket) = divided(limit, realms, 30).unwrap();
                let all = BASE_DESCRIPTORS + RESTART_DESCRIPTORS + 2 * realms as u64;
                assert!(all + (probes + tcp + socket) as u64 <= limit, "{limit} {realms}");
                assert!(probes > 0 && tcp > 0 && socket > 0, "{limit} {realms}");
            }
        }
    }

    #[test]
    fn realms_that_a_reload_adds_take_from_connections_before_they_are_refused() {
        assert_eq!((divided(264, 60, 60), divided(264, 80, 80)), (Some((36, 14, 13)), Some((16, 6, 6))));
        let too_few = Budget::divide(264, &[2; 90], 90, 256).unwrap_err();
        let refused = TooManyRealms::from(too_few).to_string();
        assert!(refused.contains("90 realms") && refused.contains("268 descriptors"), "{refused}");
        assert!(refused.contains("heartbeatd is 264") && refused.contains("LimitNOFILE="), "{refused}");
    }

    #[test]
    fn a_limit_that_is_too_low_is_refused_with_both_numbers() {
        let error = DaemonError::from(Budget::divide(48, &[2; 20], 20, 256).unwrap_err()).to_string();
        assert!(error.contains("48") && error.contains("128") && error.contains("20 realms"), "{error}");
    }
}
