//! What a realm finds in its environment, rule by rule.

use std::collections::BTreeMap;

use heartbeat_config::{Config, load_str};

use crate::reading::{realm, refused, variables};

fn with_env(text: &str, env: &[(&str, &str)]) -> Config {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    load_str("heartbeat.toml", text, &env).unwrap_or_else(|report| panic!("{report}")).config
}

/// The environment of a realm `a` with these keys, under a heartbeatd with that environment.
fn of(keys: &str, inherited: &[(&str, &str)]) -> BTreeMap<String, String> {
    let text = format!("[heartbeat]\nsocket = \"/run/hb/s.sock\"\n[realm.a]\nrun = \"x\"\n{keys}");
    variables(realm(&with_env(&text, inherited), "a").1)
}

#[test]
fn what_is_inherited_and_what_is_not() {
    for (name, inherits) in [
        ("PATH", true),
        ("LANG", true),
        ("HEARTBEAT", true),
        ("NOTIFY", true),
        ("JOURNAL", true),
        ("HEARTBEAT_SOCKET_", false),
        ("HEARTBEAT__REALM__A__TITLE", false),
        ("HEARTBEAT_ANYTHING", false),
        ("NOTIFY_SOCKET", false),
        ("LISTEN_FDS", false),
        ("LISTEN_PID", false),
        ("WATCHDOG_USEC", false),
        ("JOURNAL_STREAM", false),
        ("INVOCATION_ID", false),
    ] {
        let env = of("", &[(name, "of heartbeatd")]);
        assert_eq!(env.get(name).map(String::as_str), inherits.then_some("of heartbeatd"), "{name}");
    }
}

#[test]
fn the_last_word_has_what_is_written_nearest() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vars");
    std::fs::write(&file, "A=file\nB=file\nHOME=/of/file\n").unwrap();
    let from_file = format!("env_file = \"{}\"\n", file.display());
    let inherited = [("A", "inherited"), ("B", "inherited"), ("C", "inherited"), ("PORT", "1")];
    let (written, user) = ("env = { A = \"written\" }\n", "user = \"root\"\n");
    for (keys, name, value) in [
        (String::new(), "A", "inherited"),
        (from_file.clone(), "A", "file"),
        (format!("{from_file}{written}"), "A", "written"),
        (format!("{from_file}{written}"), "B", "file"),
        (format!("{from_file}{written}"), "C", "inherited"),
        (user.to_owned(), "HOME", "/root"),
        (user.to_owned(), "USER", "root"),
        (user.to_owned(), "LOGNAME", "root"),
        (format!("{user}{from_file}"), "HOME", "/of/file"),
        (format!("{user}env = {{ HOME = \"/of/env\" }}\n"), "HOME", "/of/env"),
        ("port = 8001\n".to_owned(), "PORT", "8001"),
        (String::new(), "PORT", "1"),
        (String::new(), "HEARTBEAT_SOCKET", "/run/hb/s.sock"),
    ] {
        assert_eq!(of(&keys, &inherited).get(name).map(String::as_str), Some(value), "{keys}: {name}");
    }
    assert_eq!(of("", &inherited).get("HOME"), None, "without `user` nobody sets it");
}

#[test]
fn hooks_and_checks_have_the_environment_of_their_realm() {
    let text = "[realm.a]\nrun = \"x\"\nenv = { A = \"1\" }\nstart.before = \"b\"\nstart.after = \"c\"\nstop.command = \"d\"\n\
                limits.nofile = 100\nuser = \"root\"\ndir = \"/srv\"\numask = \"027\"\n";
    let config = with_env(text, &[]);
    let adapters = realm(&config, "a").1;
    let program = adapters.launch.as_ref().unwrap();
    let hooks = adapters.start_before.iter().chain(&adapters.start_after).chain(&adapters.stop_command);
    assert_eq!(hooks.clone().count(), 3);
    for hook in hooks {
        assert_eq!(
            (&hook.env, &hook.user, &hook.dir, hook.umask, &hook.limits, hook.no_new_privileges),
            (&program.env, &program.user, &program.dir, program.umask, &program.limits, true)
        );
    }
}

#[test]
fn what_no_program_can_be_given_is_refused() {
    for (keys, code) in [
        (r#"env = { "" = "x" }"#, "HB124"),
        (r#"env = { "A=B" = "x" }"#, "HB124"),
        ("env = { \"A\\u0000\" = \"x\" }", "HB124"),
        ("env = { A = \"x\\u0000y\" }", "HB124"),
        ("stop.command = \"a\\u0000b\"", "HB107"),
        ("stop.command = [\"a\", \"b\\u0000\"]", "HB107"),
        (r#"env = { HEARTBEAT_SOCKET = "x" }"#, "HB124"),
        (r#"env = { HEARTBEAT_REALM = "x" }"#, "HB124"),
        (r#"env = { HEARTBEAT_STATE = "x" }"#, "HB124"),
        (r#"env = { HEARTBEAT_COMMAND = "x" }"#, "HB124"),
        (r#"env = { HEARTBEAT_RUN = "x" }"#, "HB124"),
        ("port = 8001\nenv = { PORT = \"x\" }", "HB124"),
    ] {
        let report = refused(&format!("[realm.a]\nrun = \"x\"\n{keys}\n"));
        assert_eq!(report.iter().map(|found| found.code).collect::<Vec<_>>(), [code], "{keys}");
    }
}
