//! Files that cannot be translated, and what to do with them.

use std::path::Path;

/// The way out for a file that is none of those that are translated.
pub(crate) fn help(file: &Path, text: &str) -> String {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let lower = name.to_ascii_lowercase();
    let ends = |ends: &[&str]| ends.iter().any(|end| lower.ends_with(end));
    if is_program(file) {
        return format!(
            "it is a program: node -p 'JSON.stringify(require(\"./{name}\"))' > ecosystem.json, then heartbeat-cli import ecosystem.json"
        );
    }
    if ends(&[".timer"]) || lower.contains("cron") || text.lines().any(is_cron_line) {
        return "heartbeatd starts nothing by the clock: keep it, and have its jobs report as `heartbeat-cli run-beat REALM -- COMMAND`, \
                with a realm of health = { push = { cron = \"0 2 * * *\", grace = \"1h\" } }"
            .to_owned();
    }
    if ends(&[".socket", ".target", ".path", ".mount", ".slice", ".device"]) {
        return "of the units of systemd, those that end in .service are translated".to_owned();
    }
    if text.contains("apiVersion:") && text.contains("kind:") {
        return "heartbeatd runs programs on this machine, and no pods: write a realm with the command of the container as `run`"
            .to_owned();
    }
    if lower.starts_with("dockerfile") || lower.starts_with("containerfile") {
        return "write a realm with its CMD as `run`; a compose file says more, and is translated".to_owned();
    }
    if ["package.json", "manage.py"].contains(&lower.as_str()) {
        return "heartbeat-cli init makes a first heartbeat.toml from what is in this directory".to_owned();
    }
    "say what it is with --from, for example --from compose; --help has the list".to_owned()
}

/// A configuration that has to be run before it can be read.
pub(crate) fn is_program(file: &Path) -> bool {
    let end = file.extension().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
    ["js", "cjs", "mjs", "ts"].contains(&end)
}

/// `0 2 * * * command`.
fn is_cron_line(line: &str) -> bool {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let is_field =
        |field: &&str| field.chars().all(|c| c.is_ascii_digit() || matches!(c, '*' | '/' | ',' | '-'));
    fields.len() > 5 && fields[..5].iter().all(is_field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_is_not_translated_has_a_way_out() {
        for (name, text, said) in [
            (
                "ecosystem.config.js",
                "module.exports = { apps: [] }",
                "JSON.stringify(require(\"./ecosystem.config.js\"))",
            ),
            ("backup.timer", "[Timer]\nOnCalendar=daily\n", "run-beat REALM -- COMMAND"),
            ("crontab", "# m h\n", "run-beat"),
            ("jobs.txt", "0 2 * * * /usr/bin/backup\n", "run-beat"),
            ("api.socket", "[Socket]\n", "those that end in .service"),
            ("web.yaml", "apiVersion: apps/v1\nkind: Deployment\n", "no pods"),
            ("Dockerfile", "FROM x\n", "CMD"),
            ("package.json", "{}", "heartbeat-cli init"),
            ("notes.txt", "hello", "--from compose"),
        ] {
            assert!(help(Path::new(name), text).contains(said), "{name}: {}", help(Path::new(name), text));
        }
    }
}
