//! The least and the greatest number that a key takes. More is a slip of the keyboard: a realm that is never called down,
//! a budget that bounds nothing, or descriptors that no host has.

use heartbeat_probe::HttpProbe;

/// `fail_after` and `pass_after`, in results.
pub(crate) const RESULTS: (i64, i64) = (1, 1_000);
/// `redirects`, of one measurement.
pub(crate) const REDIRECTS: (i64, i64) = (0, HttpProbe::MAX_REDIRECTS as i64);
/// `log.keep`, in files.
pub(crate) const LOG_FILES: (i64, i64) = (0, 1_000);
/// `start_parallel`, in realms.
pub(crate) const STARTS: (i64, i64) = (1, 4_096);
/// `max_probes_in_flight` and `max_connections`, in descriptors.
pub(crate) const DESCRIPTORS: (i64, i64) = (1, 65_536);
/// `fuse.unhealthy_percent`, in percent of the supervised realms.
pub(crate) const PERCENT: (i64, i64) = (1, 100);
/// `fuse.min_realms` and `fuse.parallel`, in realms.
pub(crate) const REALMS: (i64, i64) = (1, 10_000);
/// `fuse.restarts`, in restarts of all realms.
pub(crate) const RESTARTS: (i64, i64) = (1, 10_000);
/// `max_fds`, in descriptors of a process tree; none at all is refused where all bounds of a `resource` are looked at.
pub(crate) const TREE_DESCRIPTORS: (i64, i64) = (0, 1_000_000_000);
