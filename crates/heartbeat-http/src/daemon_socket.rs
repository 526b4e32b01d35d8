//! Where the heartbeatd of this user listens.

use std::path::{Path, PathBuf};

/// Environment variable that names the socket.
pub const SOCKET_VARIABLE: &str = "HEARTBEAT_SOCKET";
/// Socket of the heartbeatd that root runs.
pub const SYSTEM_SOCKET: &str = "/run/heartbeat/heartbeat.sock";

/// The socket of this user's heartbeatd: `$HEARTBEAT_SOCKET`; else what a configuration says; else for root the
/// system's; for any other user the one under `$XDG_RUNTIME_DIR`, or the system's when the user has none.
pub fn daemon_socket(configured: impl FnOnce() -> Option<PathBuf>) -> PathBuf {
    let own = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root = rustix::process::geteuid().is_root();
    let named = own(SOCKET_VARIABLE).map(without_scheme).or_else(configured);
    choose(named, root, own("XDG_RUNTIME_DIR"), Path::exists)
}

fn choose(
    named: Option<PathBuf>,
    root: bool,
    runtime_dir: Option<PathBuf>,
    exists: impl Fn(&Path) -> bool,
) -> PathBuf {
    if let Some(path) = named {
        return path;
    }
    let system = PathBuf::from(SYSTEM_SOCKET);
    match runtime_dir.map(|dir| dir.join("heartbeat/heartbeat.sock")) {
        Some(own) if !root && (exists(&own) || !exists(&system)) => own,
        _ => system,
    }
}

/// The variable holds a path; `unix:PATH`, as `--host` takes it, means the same.
fn without_scheme(named: PathBuf) -> PathBuf {
    let path = named.to_str().and_then(|text| text.strip_prefix("unix:"));
    path.map(|path| PathBuf::from(path.strip_prefix("//").unwrap_or(path))).unwrap_or(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_takes_a_path_with_and_without_its_scheme() {
        for text in ["/run/a.sock", "unix:/run/a.sock", "unix:///run/a.sock"] {
            assert_eq!(without_scheme(text.into()), PathBuf::from("/run/a.sock"), "{text}");
        }
    }

    #[test]
    fn the_default_socket_follows_the_contract() {
        let xdg = || Some(PathBuf::from("/run/user/7"));
        let own = PathBuf::from("/run/user/7/heartbeat/heartbeat.sock");
        let system = PathBuf::from(SYSTEM_SOCKET);
        assert_eq!(choose(Some("/s".into()), true, xdg(), |_| true), PathBuf::from("/s"));
        assert_eq!(choose(None, true, xdg(), |_| true), system, "root looks at the system's");
        assert_eq!(choose(None, false, xdg(), |_| true), own);
        assert_eq!(choose(None, false, xdg(), |_| false), own, "the one to start");
        assert_eq!(
            choose(None, false, xdg(), |path| path == Path::new(SYSTEM_SOCKET)),
            system,
            "none of their own, but the system has one"
        );
        assert_eq!(choose(None, false, None, |_| false), system);
    }
}
