//! Defaults that are this crate's own, and how a default is written for people. Those of restarts, starts and stops
//! stand in the crates that act on them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use heartbeat_status::{written_duration, written_size};

/// Address of the read-only API.
pub(crate) const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4_327);
/// Socket of the API, for root.
pub(crate) const SOCKET: &str = "/run/heartbeat/heartbeat.sock";
/// Mode of the socket.
pub(crate) const SOCKET_MODE: u32 = 0o660;
/// What survives a reboot, for root.
pub(crate) const STATE_DIR: &str = "/var/lib/heartbeat";
/// More files, beside the first.
pub(crate) const INCLUDE: &str = "conf.d/*.toml";
/// Variables for `${}`, beside the first file.
pub(crate) const ENV_FILE: &str = ".env";
/// Filter of heartbeatd's own log.
pub(crate) const LOG: &str = "info";
/// From the start of heartbeatd to the warning of what is not up.
pub(crate) const BOOT_DEADLINE: Duration = Duration::from_secs(300);
/// Realms between spawn and exec at a time, per core.
pub(crate) const START_PARALLEL_PER_CORE: u32 = 4;
/// Measurements at a time.
pub(crate) const MAX_PROBES_IN_FLIGHT: usize = 1_024;
/// Connections of the TCP listener at a time.
pub(crate) const MAX_CONNECTIONS: usize = 256;
/// The path of the health check of realms of the ecosystem.
pub(crate) const HEALTH_PATH: &str = "/api/health/";
/// Host of `port`.
pub(crate) const HOST: &str = "127.0.0.1";
/// From the start of one measurement to the start of the next.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);
/// Deadline of one measurement.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);
/// Size of a log file, in bytes.
pub(crate) const LOG_MAX_BYTES: u64 = 10 << 20;
/// Log files of that size that are kept.
pub(crate) const LOG_KEEP: u32 = 5;

/// How far history reaches back.
pub(crate) const HISTORY: Duration = Duration::from_secs(2 * 365 * 86_400);
/// Largest size of history, in bytes.
pub(crate) const HISTORY_MAX_BYTES: u64 = 256 << 20;
/// Shortest window of an objective: shorter ones have no budget worth the name.
pub(crate) const MIN_SLO_WINDOW: Duration = Duration::from_secs(86_400);
/// Longest window of an objective, in time.
pub(crate) const MAX_SLO_WINDOW: Duration = Duration::from_secs(365 * 86_400);
/// Window of an objective.
pub(crate) const SLO_WINDOW: Duration = Duration::from_secs(30 * 86_400);

/// A string as TOML writes it.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// A duration as TOML has it.
pub(crate) fn duration(duration: Duration) -> String {
    quoted(&written_duration(duration))
}

/// A size as TOML has it.
pub(crate) fn size(bytes: u64) -> String {
    quoted(&written_size(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_written_as_people_write_them() {
        let ms = |ms| duration(Duration::from_millis(ms));
        assert_eq!(
            [ms(250), ms(5_000), ms(60_000), ms(300_000), ms(3_600_000)],
            ["\"250ms\"", "\"5s\"", "\"60s\"", "\"5m\"", "\"1h\""]
        );
        assert_eq!([size(10 << 20), size(512), size(3 << 10)], ["\"10MiB\"", "\"512B\"", "\"3KiB\""]);
    }
}
