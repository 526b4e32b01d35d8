//! One run says every mistake of a table, also of one that is validated as a whole.

use std::collections::{BTreeMap, BTreeSet};

use heartbeat_config::{Table, keys};

use crate::reading::refused;

/// `key = value` for each built key of `table` that `wanted` accepts, one per line, with a value that no key takes.
fn wrong(table: Table, wanted: impl Fn(&str) -> bool) -> (String, usize) {
    let keys = keys().filter(|key| key.table == table && wanted(key.name));
    let lines: Vec<String> = keys.map(|key| format!("{} = [[1.5]]\n", key.name)).collect();
    (lines.concat(), lines.len())
}

#[test]
fn every_wrong_value_of_a_table_is_said() {
    let is_table = |name: &str| ["start", "stop", "restart", "limits", "log", "slo", "fuse"].contains(&name);
    let tcp = [
        "tcp",
        "send",
        "expect",
        "name",
        "interval",
        "timeout",
        "slow",
        "fail_after",
        "pass_after",
        "fail_if",
        "grace",
        "role",
    ];
    let http =
        [&["http", "method", "headers", "body", "status", "contains", "matches", "json"][..], &tcp[3..]]
            .concat();
    let cases: Vec<(String, usize, usize)> = vec![
        (
            "[heartbeat]\n",
            wrong(Table::Heartbeat, |name| !is_table(name) && !["include", "env_file"].contains(&name)),
        ),
        ("[heartbeat.fuse]\n", wrong(Table::Fuse, |_| true)),
        ("[realm.a.start]\n", wrong(Table::Start, |_| true)),
        ("[realm.a.stop]\n", wrong(Table::Stop, |_| true)),
        ("[realm.a.restart]\n", wrong(Table::Restart, |_| true)),
        ("[realm.a.limits]\n", wrong(Table::Limits, |_| true)),
        ("[realm.a.log]\n", wrong(Table::Log, |_| true)),
        ("[realm.a.slo]\n", wrong(Table::Slo, |_| true)),
        ("[realm.a.health]\n", wrong(Table::Health, |name| tcp.contains(&name))),
        ("[realm.a.health]\n", wrong(Table::Health, |name| http.contains(&name))),
        ("[notify.ops]\n", wrong(Table::Notify, |_| true)),
        ("[maintenance.night]\n", wrong(Table::Maintenance, |_| true)),
    ]
    .into_iter()
    .map(|(head, (lines, count))| {
        let before = "[realm.a]\nrun = \"x\"\n";
        (format!("{before}{head}{lines}"), 4, count)
    })
    .collect();
    for (text, first, count) in cases {
        let report = refused(&text);
        let said: BTreeSet<usize> = report.iter().map(|problem| problem.line).collect();
        let silent: Vec<&str> = (first..first + count)
            .filter(|line| !said.contains(line))
            .filter_map(|line| text.lines().nth(line - 1))
            .collect();
        assert!(count > 1 && silent.is_empty(), "{text}: nothing is said of {silent:?}\n{report}");
    }
}

#[test]
fn every_value_that_cannot_be_is_said() {
    for (text, lines) in [
        (
            "[heartbeat.fuse]\nunhealthy_percent = 0\nmin_realms = 0\nrestarts = 0\nparallel = 0\nwindow = \"x\"\n",
            2..7,
        ),
        (
            "[realm.a]\nrun = \"x\"\n[realm.a.restart]\nbackoff = \"9m\"\nbackoff_max = \"1s\"\ncooldown = \"9h\"\ncooldown_max = \"1s\"\njitter = \"200%\"\nburst = 0\nsuccess_codes = [999]\nwith = [\"a\"]\n",
            5..12,
        ),
        (
            "[realm.a]\nrun = \"x\"\n[realm.a.start]\ntimeout = \"9s\"\ntimeout_max = \"1s\"\nready_fd = 1\nsettle = \"x\"\nbefore = \"a | b\"\nafter = []\n",
            5..9,
        ),
        (
            "[realm.a]\nrun = \"x\"\n[realm.a.health]\nhttp = \"nowhere\"\nmethod = \"G T\"\nstatus = 999\nmatches = \"(\"\ninterval = \"0s\"\nfail_after = 0\npass_after = 0\nfail_if = \"9 of 5\"\nrole = \"main\"\n",
            4..13,
        ),
        (
            "[realm.a]\nrun = \"x\"\n[realm.a.health]\ntcp = 5\nslow = \"x\"\nsend = 1\nexpect = 2\nfail_after = 0\n",
            4..9,
        ),
        ("[realm.a]\nrun = \"x\"\n[realm.a.health]\nredis = 5\nslow = \"x\"\npass_after = 0\n", 4..7),
        (
            "[realm.a]\nrun = \"x\"\n[realm.a.health]\nexec = \"a | b\"\nslow = \"x\"\ninterval = \"10ms\"\n",
            4..7,
        ),
        (
            "[realm.a]\nrun = \"x\"\n[notify.ops]\nwebhook = \"ftp://x/\"\non = [\"closed\"]\nrealms = [\"b\"]\n",
            4..7,
        ),
    ] {
        let report = refused(text);
        let said: BTreeSet<usize> = report.iter().map(|problem| problem.line).collect();
        let silent: Vec<&str> = lines
            .clone()
            .filter(|line| !said.contains(line))
            .filter_map(|line| text.lines().nth(line - 1))
            .collect();
        // Of two that contradict each other one is named.
        let contradicts =
            |line: &&str| ["backoff", "cooldown", "timeout"].iter().any(|key| line.starts_with(key));
        let silent: Vec<&&str> = silent.iter().filter(|line| !contradicts(line)).collect();
        assert!(silent.is_empty(), "{text}: nothing is said of {silent:?}\n{report}");
    }
}

#[test]
fn a_variable_of_the_realms_own_env_is_told_apart_from_one_that_is_nowhere() {
    let help =
        |text: &str| refused(text).iter().next().and_then(|problem| problem.help.clone()).unwrap_or_default();
    let own = help("[realm.a]\nrun = \"serve ${LEVEL}\"\nenv = { LEVEL = \"info\" }\n");
    assert!(own.starts_with("`env` is for the program") && own.ends_with("$LEVEL without braces"), "{own}");
    let of_defaults =
        help("[defaults]\nenv = { LEVEL = \"info\" }\n[realm.a]\nrun = \"serve ${LEVEL:?say it}\"\n");
    assert!(of_defaults.starts_with("`env` is for the program"), "{of_defaults}");
    assert!(help("[realm.a]\nrun = \"serve ${LEVEL}\"\n").starts_with("set it"), "nobody has it");
    let set = BTreeMap::from([("LEVEL".to_owned(), "x".to_owned())]);
    let text = "[realm.a]\nrun = \"serve ${LEVEL}\"\nenv = { LEVEL = \"info\" }\n";
    assert!(
        heartbeat_config::load_str("heartbeat.toml", text, &set).is_ok(),
        "heartbeatd's own environment has it"
    );
}
