//! What loads nowhere, because nothing good can come of it: each with its code, its line, and what to type.

use crate::reading::{refused, text};

/// Texts, the code, the line, and words of the help.
const REFUSED: &[(&str, &str, usize, &str)] = &[
    ("[realm.a]\nrun = [\"\", \"x\"]\n", "HB107", 2, "name a program first"),
    ("[realm.a]\nrun = [\" \"]\n", "HB107", 2, "name a program first"),
    ("[realm.a]\nrun = \"'' x\"\n", "HB107", 2, "name a program first"),
    ("[realm.a]\nrun = \"x\"\nhealth = { exec = [\"\"] }\n", "HB107", 3, "name a program first"),
    ("[realm.a]\nrun = \"x\"\nstop.signal = \"STOP\"\n", "HB118", 3, "signal = \"TERM\""),
    ("[realm.a]\nrun = \"x\"\nstop.signal = \"SIGCONT\"\n", "HB118", 3, "signal = \"TERM\""),
    ("[realm.a]\nrun = \"x\"\nstop.signal = \"CHLD\"\n", "HB118", 3, "signal = \"TERM\""),
    (
        "[realm.a]\nrun = \"x\"\nhealth = { tcp = \"127.0.0.1:1\", fail_after = 1000000 }\n",
        "HB115",
        3,
        "within these bounds",
    ),
    (
        "[realm.a]\nrun = \"x\"\nhealth = { tcp = \"127.0.0.1:1\", pass_after = 0 }\n",
        "HB115",
        3,
        "within these bounds",
    ),
    ("[realm.a]\nrun = \"x\"\nhealth = { tcp = \"127.0.0.1:1\", fail_if = \"3 of 500\" }\n", "HB105", 3, ""),
    ("[realm.a]\nrun = \"x\"\nrestart.burst = 100000\n", "HB116", 3, ""),
    ("[realm.a]\nrun = \"x\"\nlog.keep = 4000000000\n", "HB118", 3, "within these bounds"),
    (
        "[realm.a]\nrun = \"x\"\nhealth = { resource = true, max_fds = 9000000000000 }\n",
        "HB118",
        3,
        "within these bounds",
    ),
    ("[heartbeat]\nmax_connections = 100000000\n[realm.a]\nrun = \"x\"\n", "HB118", 2, "within these bounds"),
    ("[heartbeat]\nmax_probes_in_flight = 0\n[realm.a]\nrun = \"x\"\n", "HB118", 2, "within these bounds"),
    ("[heartbeat]\nstart_parallel = 1000000\n[realm.a]\nrun = \"x\"\n", "HB118", 2, "within these bounds"),
    ("[heartbeat]\nfuse.restarts = 4000000000\n[realm.a]\nrun = \"x\"\n", "HB118", 2, "within these bounds"),
    (
        "[heartbeat]\nfuse.min_realms = 4000000000\n[realm.a]\nrun = \"x\"\n",
        "HB118",
        2,
        "within these bounds",
    ),
    ("[heartbeat]\nfuse.parallel = 4000000000\n[realm.a]\nrun = \"x\"\n", "HB118", 2, "within these bounds"),
    (
        "[heartbeat]\nfuse.unhealthy_percent = 101\n[realm.a]\nrun = \"x\"\n",
        "HB118",
        2,
        "within these bounds",
    ),
    (
        "[realm.a]\nrun = \"x\"\n[maintenance.m]\nrealms = [\"a\"]\nreason = \"x\"\nfor = \"2h\"\nstart = \"0 * * * *\"\n",
        "HB129",
        7,
        "write a shorter `for`",
    ),
    (
        "[realm.a]\nrun = \"x\"\n[maintenance.m]\nrealms = [\"a\"]\nreason = \"x\"\nstart = \"0 * * * *\"\n",
        "HB129",
        3,
        "for = \"2h\"",
    ),
    (
        "[realm.a]\nrun = \"x\"\n[maintenance.m]\nrealms = [\"a\"]\nreason = \"x\"\nfor = \"2h\"\nstart = \"0 0 30 2 *\"\n",
        "HB129",
        7,
        "for example \"2026-",
    ),
    (
        "[realm.a]\nrun = \"x\"\nstart = { settle = \"90s\", timeout = \"10s\" }\n",
        "HB116",
        3,
        "timeout = \"3m\"",
    ),
    ("[realm.a]\nrun = \"x\"\nstart.settle = \"2m\"\n", "HB116", 3, "timeout = \"4m\""),
    (
        "[realm.a]\nrun = \"x\"\nhealth = { tcp = \"127.0.0.1:1\", slow = \"5s\" }\n",
        "HB114",
        3,
        "write slow = \"1s\"",
    ),
    (
        "[realm.a]\nrun = \"x\"\nhealth = { http = \"http://127.0.0.1:1/\", max_latency = \"3s\" }\n",
        "HB114",
        3,
        "write max_latency = \"1s\"",
    ),
    ("[realm.a]\nrun = \"x\"\nstart.ready_fd = 70\nlimits.nofile = 64\n", "HB116", 3, "ready_fd = 3"),
    ("[realm.a]\nrun = \"x\"\nlimits.fsize = \"0B\"\n", "HB116", 3, "write fsize = \"10MiB\""),
    (
        "[realm.a]\nrun = \"x\"\nlog.max_size = \"2MiB\"\nlimits.fsize = \"1MiB\"\n",
        "HB116",
        4,
        "write fsize = \"2MiB\"",
    ),
    (
        "[realm.a]\nrun = \"x\"\nrestart = { success_codes = [3, 4], never_codes = [5, 4] }\n",
        "HB116",
        3,
        "one of the two",
    ),
    (
        "[realm.a]\nhealth = { http = \"http://127.0.0.1:1/\", method = \"CONNECT\" }\n",
        "HB111",
        2,
        "method = \"HEAD\"",
    ),
    (
        "[realm.a]\nhealth = { http = \"http://127.0.0.1:1/\", method = \"get\" }\n",
        "HB111",
        2,
        "method = \"HEAD\"",
    ),
    (
        "[realm.a]\nhealth = { http = \"http://127.0.0.1:1/\", headers = { Content-Length = \"5\" } }\n",
        "HB111",
        2,
        "remove it",
    ),
    (
        "[realm.a]\nhealth = { http = \"http://127.0.0.1:1/\", headers = { connection = \"keep-alive\" } }\n",
        "HB111",
        2,
        "remove it",
    ),
    ("[realm.a]\nrun = \"x\"\nlog.max_size = \"0B\"\n", "HB118", 3, "max_size = \"1MiB\""),
    ("[heartbeat]\nlog = \"(((\"\n[realm.a]\nrun = \"x\"\n", "HB105", 2, "for example \"info\""),
    ("[heartbeat]\nlog = \"verbose\"\n[realm.a]\nrun = \"x\"\n", "HB105", 2, "for example \"info\""),
    ("[heartbeat]\nstate_dir = \"/\"\n[realm.a]\nrun = \"x\"\n", "HB134", 2, "state_dir = \"/heartbeat\""),
    (
        "[heartbeat]\nstate_dir = \"/tmp/.\"\n[realm.a]\nrun = \"x\"\n",
        "HB134",
        2,
        "state_dir = \"/tmp/heartbeat\"",
    ),
    (
        "[heartbeat]\nruntime_dir = \"/run/\"\n[realm.a]\nrun = \"x\"\n",
        "HB134",
        2,
        "runtime_dir = \"/run/heartbeat\"",
    ),
    (
        "[heartbeat]\nstate_dir = \"/x/s\"\nsocket = \"/x/s/intent\"\nruntime_dir = \"/x/r\"\n[realm.a]\nrun = \"x\"\n",
        "HB134",
        3,
        "write socket = \"/x/r/heartbeat.sock\"",
    ),
    (
        "[heartbeat]\nruntime_dir = \"/x/r\"\nsocket = \"/x/r/realms/records\"\n[realm.a]\nrun = \"x\"\n",
        "HB134",
        3,
        "or leave it out",
    ),
    (
        "[realm.a]\nrun = \"x\"\n[notify.b]\nwebhook = \"http://127.0.0.1:1/\"\nfallback = \"c\"\n[notify.c]\nwebhook = \
         \"http://127.0.0.1:1/\"\nfallback = \"d\"\n[notify.d]\nwebhook = \"http://127.0.0.1:1/\"\nfallback = \"b\"\n",
        "HB126",
        5,
        "outside of it",
    ),
];

#[test]
fn what_has_no_sense_is_refused_where_it_stands_with_what_to_type() {
    for (text, code, line, help) in REFUSED {
        let report = refused(text);
        let found: Vec<_> = report.iter().map(|found| (found.code.as_str(), found.line)).collect();
        assert_eq!(found, [(*code, *line)], "{text}\n{report}");
        let advised = report.iter().next().and_then(|found| found.help.clone()).unwrap_or_default();
        assert!(!advised.is_empty() && advised.contains(help), "{text}\n{report}");
    }
}

#[test]
fn what_looks_like_it_and_has_sense_loads() {
    for keys in [
        "stop.signal = \"WINCH\"",
        "stop.signal = \"KILL\"",
        "health = { tcp = \"127.0.0.1:1\", fail_after = 1000, pass_after = 1 }",
        "restart.burst = 1000",
        "log.keep = 0",
        "log.max_size = \"4KiB\"",
        "log.to = \"none\"\nlimits.fsize = \"0B\"",
        "limits.fsize = \"10MiB\"",
        "start = { settle = \"60s\", timeout = \"60s\", ready_fd = 63 }\nlimits.nofile = 64",
        "health = { http = \"http://127.0.0.1:1/\", slow = \"2s\", max_latency = \"2s\", headers = { Host = \"shop\" } }",
        "restart = { success_codes = [3], never_codes = [78] }",
    ] {
        text(&format!("[realm.a]\nrun = \"x\"\nport = 1\n{keys}\n"));
    }
    // Windows may overlap: the mute, or the pause, that ends last counts.
    text(
        "[realm.a]\nrun = \"x\"\n[maintenance.m]\nrealms = [\"a\"]\nreason = \"x\"\nfor = \"2h\"\nstart = \"0 2 * * *\"\n\
         [maintenance.n]\nrealms = [\"a\"]\nreason = \"x\"\nfor = \"2h\"\nstart = \"0 3 * * *\"\neffect = \"pause\"\n",
    );
    text(
        "[heartbeat]\nlog = \"info,heartbeat_probe=debug\"\nstate_dir = \"/var/lib/heartbeat\"\n[realm.a]\nrun = \"x\"\n",
    );
    // A chain of fallbacks has an end.
    text(
        "[realm.a]\nrun = \"x\"\n[notify.b]\nwebhook = \"http://127.0.0.1:1/\"\nfallback = \"c\"\n[notify.c]\nwebhook = \
         \"http://127.0.0.1:1/\"\nfallback = \"d\"\n[notify.d]\nwebhook = \"http://127.0.0.1:1/\"\n",
    );
}

#[test]
fn a_window_that_is_over_loads_with_a_warning() {
    let window = |start: &str| {
        let text = format!(
            "[realm.a]\nrun = \"x\"\n[maintenance.m]\nrealms = [\"a\"]\nreason = \"x\"\nfor = \"2h\"\nstart = \"{start}\"\n"
        );
        let loaded = heartbeat_config::load_str("heartbeat.toml", &text, &std::collections::BTreeMap::new());
        let warnings = loaded.unwrap_or_else(|report| panic!("{report}")).warnings;
        warnings.iter().map(|found| (found.code.as_str(), found.line)).collect::<Vec<_>>()
    };
    assert_eq!(window("2020-01-01T00:00:00Z"), [("HB309", 7)]);
    assert_eq!(window("2199-01-01T00:00:00Z"), []);
    assert_eq!(window("0 2 * * sun"), []);
}

#[test]
fn a_url_with_credentials_is_refused_for_them_and_not_repeated() {
    for (url, help) in [
        ("http://shop:s3cret@127.0.0.1:8001/", "Authorization"),
        ("redis://shop:s3cret@127.0.0.1:6379", "password_file"),
        ("postgres://shop:s3cret@127.0.0.1:5432/shop", "password_file"),
        ("grpc://shop:s3cret@127.0.0.1:1", "remove them"),
    ] {
        let kind = url.split("://").next().unwrap();
        for health in [format!("\"{url}\""), format!("{{ {kind} = \"{url}\" }}")] {
            let report = refused(&format!("[realm.a]\nhealth = {health}\n"));
            let words = report.to_string();
            assert!(words.contains("HB111: the URL has credentials in it"), "{words}");
            assert!(words.contains(help) && !words.contains("s3cret"), "{words}");
        }
    }
}
