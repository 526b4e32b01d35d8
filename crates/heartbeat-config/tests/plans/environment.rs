//! What a realm finds in its environment, rule by rule.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;

use heartbeat_config::{Config, Sources, load, load_str};

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

/// The list of the contract, name by name: what belongs to heartbeatd's own unit stays with it, and nothing goes by a
/// prefix but `HEARTBEAT_`.
#[test]
fn what_is_inherited_and_what_is_not() {
    const NOT_INHERITED: [&str; 20] = [
        "HEARTBEAT_SOCKET_",
        "HEARTBEAT__REALM__A__TITLE",
        "HEARTBEAT_ANYTHING",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "MAINPID",
        "MANAGERPID",
        "SYSTEMD_EXEC_PID",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "STATE_DIRECTORY",
        "RUNTIME_DIRECTORY",
        "CACHE_DIRECTORY",
        "LOGS_DIRECTORY",
        "CONFIGURATION_DIRECTORY",
        "CREDENTIALS_DIRECTORY",
    ];
    const OF_THE_LOGIN: [&str; 5] =
        ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK", "MAIL", "TMPDIR"];
    const INHERITED: [&str; 12] = [
        "PATH",
        "LANG",
        "SHELL",
        "HEARTBEAT",
        "NOTIFY",
        "NOTIFY_EMAIL",
        "LISTEN_ADDR",
        "WATCHDOG_ENABLED",
        "JOURNAL",
        "STATE_DIRECTORY_",
        "MEMORY_PRESSURE_WATCH",
        "XDG_CONFIG_HOME",
    ];
    let found = |keys: &str, name: &str| of(keys, &[(name, "of heartbeatd")]).get(name).cloned();
    let kept = Some("of heartbeatd".to_owned());
    for name in NOT_INHERITED {
        assert_eq!(found("", name), None, "{name}");
    }
    for name in INHERITED {
        assert_eq!(found("", name), kept, "{name}");
        if name != "SHELL" {
            assert_eq!(found("user = \"root\"", name), kept, "{name}");
        }
    }
    for name in OF_THE_LOGIN {
        assert_eq!(found("", name), kept, "{name}");
        assert_eq!(found("user = \"root\"", name), None, "{name} is of another login");
    }
}

#[test]
fn bytes_that_are_no_text_are_handed_on_and_so_is_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("heartbeat.toml"), "[realm.a]\nrun = \"x\"\ndir = \"app\"\n").unwrap();
    let latin = |text: &[u8]| OsString::from_vec(text.to_vec());
    let bytes = vec![(latin(b"T_LATIN"), latin(b"caf\xe9")), (latin(b"T_\xe9"), latin(b"x"))];
    let env = BTreeMap::from([("PWD".to_owned(), "/elsewhere".to_owned())]);
    let sources = Sources { file: None, env, bytes, overrides: Vec::new(), cwd: dir.path().to_owned() };
    let config = load(&sources).unwrap_or_else(|report| panic!("{report}")).config;
    let environment = realm(&config, "a").1.launch.as_ref().unwrap().environment().unwrap();
    assert_eq!(environment.get(&latin(b"T_LATIN")), Some(&latin(b"caf\xe9")));
    assert_eq!(environment.get(&latin(b"T_\xe9")), Some(&latin(b"x")));
    assert_eq!(environment.get(&latin(b"PWD")), Some(&dir.path().join("app").into()));
}

/// It is read at each start, so that a rotated secret needs no reload.
#[test]
fn the_env_file_is_read_when_it_is_asked_for_and_its_content_is_no_part_of_the_identity() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("api.env");
    std::fs::write(&file, "TOKEN=old\n").unwrap();
    let text = format!("[realm.a]\nrun = \"x\"\nenv_file = \"{}\"\n", file.display());
    let config = with_env(&text, &[]);
    let launch = realm(&config, "a").1.launch.as_ref().unwrap();
    let token = || launch.environment().map(|env| env.get(OsStr::new("TOKEN")).cloned());
    assert_eq!(token().unwrap(), Some("old".into()));
    std::fs::write(&file, "TOKEN=new\n").unwrap();
    assert_eq!(token().unwrap(), Some("new".into()));
    let again = with_env(&text, &[]);
    assert_eq!(realm(&again, "a").1.launch.as_ref().unwrap().identity(), launch.identity());
    std::fs::write(&file, "TOKEN=\"new\n").unwrap();
    assert!(
        token().unwrap_err().to_string().ends_with("api.env: line 1: the quote of TOKEN is never closed")
    );
    std::fs::remove_file(&file).unwrap();
    assert!(token().unwrap_err().to_string().contains("No such file"));
}

#[test]
fn the_port_of_a_realm_is_meant_within_it() {
    let text = |extra: &str| {
        format!(
            "[realm.web]\nrun = \"serve 127.0.0.1 ${{PORT}}\"\nport = 26325\nhealth = {{ tcp = \"127.0.0.1:${{PORT}}\" }}\n\
             start.before = \"probe ${{PORT}}\"\n{extra}"
        )
    };
    // Whatever PORT is in heartbeatd's own environment.
    for inherited in [&[][..], &[("PORT", "5999")]] {
        let config = with_env(&text(""), inherited);
        let (spec, adapters) = realm(&config, "web");
        let launch = adapters.launch.as_ref().unwrap();
        assert_eq!(launch.argv, ["serve", "127.0.0.1", "26325"]);
        assert_eq!(adapters.start_before[0].argv, ["probe", "26325"]);
        assert_eq!(spec.probes[0].info.target, "127.0.0.1:26325");
        assert_eq!(variables(adapters).get("PORT").map(String::as_str), Some("26325"));
    }
    let both = with_env(&text("[realm.other]\nrun = \"serve ${PORT}\"\n"), &[("PORT", "5999")]);
    assert_eq!(
        realm(&both, "other").1.launch.as_ref().unwrap().argv,
        ["serve", "5999"],
        "it has none of its own"
    );
    let of_all = with_env("[defaults]\nrun = \"serve ${PORT}\"\n[realm.a]\nport = 8001\n", &[]);
    assert_eq!(realm(&of_all, "a").1.launch.as_ref().unwrap().argv, ["serve", "8001"]);
    assert!(refused("[realm.a]\nrun = \"serve ${PORT}\"\n").to_string().contains("PORT is not set"));
}

#[test]
fn what_heartbeat_sets_is_refused_in_an_env_file_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vars");
    for (line, keys, codes) in [
        ("PORT=9999", "port = 8001\n", &["HB124"][..]),
        ("PORT=9999", "", &[]),
        ("HEARTBEAT_REALM=x", "", &["HB124"]),
        ("A=\"x", "", &["HB108"]),
        ("A=\"x\" y", "", &["HB108"]),
    ] {
        std::fs::write(&file, line).unwrap();
        let text = format!("[realm.a]\nrun = \"x\"\n{keys}env_file = \"{}\"\n", file.display());
        let found = match load_str("heartbeat.toml", &text, &BTreeMap::new()) {
            Ok(_) => Vec::new(),
            Err(report) => report.iter().map(|found| found.code.as_str()).collect(),
        };
        assert_eq!(found, codes, "{line}");
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
        (user.to_owned(), "SHELL", "/bin/bash"),
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
        assert_eq!(report.iter().map(|found| found.code.as_str()).collect::<Vec<_>>(), [code], "{keys}");
    }
}
