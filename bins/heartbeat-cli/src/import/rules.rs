//! What several tools say in their own words, and what becomes of it: a user and its group, limits, a spent budget, and
//! what a realm has no use for.

use crate::import::draft::Draft;
use crate::import::values::{size, text};

/// Most restarts that a budget of ours counts.
const MAX_RESTARTS: u32 = 1_000;
/// Fewest descriptors that a limit of ours leaves.
const MIN_DESCRIPTORS: u64 = 16;

/// What is dropped of a realm that heartbeatd does not start.
pub(super) const NOT_STARTED: &str = "it is about the program, which heartbeatd does not start";

impl Draft {
    /// The group of a program: that of its user, or one more. Call it when `user` is known.
    pub(super) fn group_of_user(&mut self, realm: usize, place: &str, group: &str) {
        let Some(user) = self.value(realm, "user").map(ToOwned::to_owned) else {
            return self
                .dropped(place, "a group goes with a user: write `user`, and the group into `groups`");
        };
        if user == text(group) {
            return self.understood();
        }
        let others = self.value(realm, "groups").unwrap_or("[]").trim_matches(['[', ']']).to_owned();
        let groups = [text(group), others].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
        self.set(realm, "groups", format!("[{}]", groups.join(", ")));
        self.approximated(
            place,
            "it is one of `groups`: the files that it makes belong to the group of its user",
        );
    }

    /// A number of restarts after which its tool gives up; `counts` says what that tool counts.
    pub(super) fn budget(&mut self, realm: usize, place: &str, most: u32, counts: &str) -> Option<()> {
        let most = Some(most).filter(|most| *most > 0)?.min(MAX_RESTARTS);
        self.set(realm, "restart.burst", most.to_string());
        self.add(realm, "restart.when_spent", "\"fail\"");
        self.approximated(
            place,
            &format!(
                "{most} restarts within restart.window (10 min unless it is set), then none until `heartbeat-cli reset REALM`; {counts}"
            ),
        );
        Some(())
    }

    /// A limit of the system under its own name, as `ulimit` has it.
    pub(super) fn limit(&mut self, realm: usize, name: &str, value: &str) -> Option<()> {
        let value = value.trim();
        let is_endless = ["infinity", "-1", "unlimited"].contains(&value);
        let count = |least: u64| value.parse::<u64>().ok().filter(|count| *count >= least);
        let limit = match name {
            "nofile" | "nproc" | "core" | "memlock" | "fsize" if is_endless => text("unlimited"),
            "nofile" => count(MIN_DESCRIPTORS)?.to_string(),
            "nproc" => count(1)?.to_string(),
            "core" | "memlock" | "fsize" => size(value)?,
            _ => return None,
        };
        self.set(realm, &format!("limits.{name}"), limit);
        Some(())
    }

    /// Who is killed when the machine runs out of memory.
    pub(super) fn oom_score(&mut self, realm: usize, value: &str) -> Option<()> {
        let score = value.parse::<i32>().ok().filter(|score| (-1_000..=1_000).contains(score))?;
        self.set(realm, "limits.oom_score", score.to_string());
        Some(())
    }

    /// Takes out what means nothing for a realm without `run`, which would not load.
    pub(super) fn without_program(&mut self) {
        const OF_PROGRAMS: [&str; 16] = [
            "pidfile",
            "oneshot",
            "manual",
            "shell",
            "verify_owner",
            "stop",
            "limits.memory",
            "limits.cpu",
            "limits.tasks",
            "start.settle",
            "start.before",
            "start.after",
            "start.ready_fd",
            "restart.min_gap",
            "restart.success_codes",
            "restart.never_codes",
        ];
        const OF_COMMANDS: [&str; 8] =
            ["env", "env_file", "dir", "umask", "user", "groups", "limits", "no_new_privileges"];
        const OF_RESTARTS: [&str; 3] = ["start", "restart", "log"];
        for realm in 0..self.realms() {
            if self.has(realm, "run") {
                continue;
            }
            let asks = self.value(realm, "health").is_some_and(|health| health.contains("exec = "));
            let restarts = self.has(realm, "restart.command");
            let of_commands = OF_COMMANDS.iter().filter(|_| !asks && !restarts);
            let of_restarts = OF_RESTARTS.iter().filter(|_| !restarts);
            for key in OF_PROGRAMS.iter().chain(of_commands).chain(of_restarts) {
                self.leave_out(realm, key, NOT_STARTED);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_would_not_load_is_not_written() {
        for (name, value, expected) in [
            ("nofile", "1024", Some("1024")),
            ("nofile", "8", None),
            ("nofile", "-1", Some("\"unlimited\"")),
            ("nproc", "0", None),
            ("core", "0", Some("\"0B\"")),
            ("memlock", "64K", Some("\"64KiB\"")),
            ("fsize", "infinity", Some("\"unlimited\"")),
            ("stack", "8M", None),
        ] {
            let mut draft = Draft::default();
            let realm = draft.realm("web");
            let _ = draft.limit(realm, name, value);
            assert_eq!(draft.value(realm, &format!("limits.{name}")), expected, "{name} = {value}");
        }
    }
}
