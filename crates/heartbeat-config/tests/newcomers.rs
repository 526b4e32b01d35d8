//! What people write before they know the grammar: where it is wrong, and what to type instead.

#![expect(clippy::unwrap_used, reason = "a test that cannot write its file has failed")]

use std::collections::BTreeMap;

use heartbeat_config::{Code, Format, Report, Severity, Sources, Table, check, keys, load_str};

/// Wrong files: each with the line of its mistake, and what the report says of it. `API` stands for a realm that is
/// fine.
const WRONG: &[(&str, usize, &str)] = &[
    // Words of other tools.
    ("[realm.api]\ncommand = \"gunicorn shop.wsgi\"\n", 2, "write run = \"gunicorn shop.wsgi\""),
    ("API depends_on = [\"db\"]\n[realm.db]\nrun = \"db\"\n", 3, "write needs = [\"db\"]"),
    ("API environment = { A = \"1\" }\n", 3, "write env = { A = \"1\" }"),
    ("API health = { http = \"http://127.0.0.1:1/\", retries = 3 }\n", 3, "write fail_after = 3"),
    ("API health = { http = \"http://127.0.0.1:1/\", start_period = \"5s\" }\n", 3, "write grace = \"5s\""),
    ("API cwd = \"/srv\"\n", 3, "write dir = \"/srv\""),
    ("API autostart = true\n", 3, "remove it: heartbeatd starts every realm by itself"),
    ("API autostart = false\n", 3, "write manual = true"),
    ("API autorestart = \"unexpected\"\n", 3, "write restart.policy = \"on-failure\""),
    ("API cron = \"0 2 * * *\"\n", 3, "let cron or a systemd timer do that"),
    ("API numprocs = 3\n", 3, "declare a realm for each process"),
    ("[realm.api]\nExecStart = \"/usr/bin/api\"\n", 2, "write run = \"/usr/bin/api\""),
    ("[program.api]\nrun = \"api\"\n", 1, "write [realm.api]"),
    ("[services.api]\nrun = \"api\"\n", 1, "write [realm.api]"),
    ("[api]\nrun = \"api\"\n", 1, "write [realm.api]"),
    ("[Unit]\nDescription = \"x\"\n", 1, "`heartbeat-cli import UNIT.service` translates it"),
    ("API ports = [\"8001:8001\"]\n", 3, "write port = 8001"),
    (
        "API healthcheck = { test = [\"CMD\", \"curl\", \"-f\", \"http://localhost/\"] }\n",
        3,
        "write health = { exec = [\"curl\", \"-f\", \"http://localhost/\"] }",
    ),
    ("API restart.retries = 5\n", 3, "write burst = 5"),
    ("[heartbeat]\nport = 4327\nAPI", 2, "write listen = \"127.0.0.1:4327\""),
    ("[notify.ops]\nurl = \"http://127.0.0.1/\"\nAPI", 2, "write webhook = \"http://127.0.0.1/\""),
    // Commands that are for a shell, and programs and directories that are not there.
    ("[realm.api]\nrun = \"cd /srv && api | tee log\"\n", 2, "write shell = true"),
    (
        "[realm.api]\nrun = \"cd /srv && python app.py\"\n",
        2,
        "write dir = \"/srv\", and run = \"python app.py\"",
    ),
    ("[realm.api]\nrun = \"cd /srv; python app.py\"\n", 2, "write dir = \"/srv\""),
    ("[realm.api]\nrun = \"cd /srv\"\n", 2, "write dir = \"/srv\", and the program alone"),
    ("[realm.api]\nrun = \"exec sleep 9\"\n", 2, "leave out `exec`: write \"sleep 9\""),
    ("[realm.api]\nrun = \"source venv\"\n", 2, "write shell = true"),
    ("API start.before = \"source venv\"\n", 3, "write \"sh -c 'source venv'\" to have"),
    ("[realm.api]\nrun = \"sleep 9 # it's a test\"\n", 2, "behind the closing quote of the command"),
    ("[heartbeat]\nstate = \"/tmp/x\"\nAPI", 2, "write state_dir = \"/tmp/x\""),
    ("API env_file = \"/nonexistent/missing.env\"\n", 3, "make the file, or remove the line"),
    ("API health = \"curl -f http://127.0.0.1/\"\n", 3, "write health = \"http://127.0.0.1/\""),
    (
        "API health = \"curl -fsS 'http://127.0.0.1:1/' || exit 1\"\n",
        3,
        "write health = \"http://127.0.0.1:1/\"",
    ),
    (
        "API health = \"curl -H X:y http://127.0.0.1/\"\n",
        3,
        "write health = { exec = \"curl -H X:y http://127.0.0.1/\" }",
    ),
    ("[realm.api]\nrun = \"sleep 1 > /dev/null\"\n", 2, "write shell = true"),
    ("[realm.api]\nrun = \"$HOME/bin/api\"\n", 2, "write shell = true"),
    ("[realm.api]\nrun = \"no-such-program --x\"\n", 2, "`no-such-program` is in no directory of PATH"),
    ("API dir = \"~/shop\"\n", 3, "`~` is not expanded"),
    ("API dir = \"/nonexistent/dir\"\n", 3, "which is no directory"),
    ("API env_file = \"missing.env\"\n", 3, "the path starts at the directory of this file"),
    ("API user = \"no-such-user\"\n", 3, "there is no user no-such-user"),
    (
        "[notify.m]\nsmtp = \"smtp://127.0.0.1:25\"\nfrom = \"a@b.c\"\nto = []\nAPI",
        4,
        "write an address into it",
    ),
    ("[notify.m]\nwebhook = \"http://127.0.0.1/\"\nrealms = []\nAPI", 3, "write a realm, or \"all\" into it"),
    (
        "[maintenance.m]\nrealms = []\nstart = \"0 2 * * *\"\nfor = \"1h\"\nreason = \"x\"\nAPI",
        2,
        "write a realm, or \"all\" into it",
    ),
    (
        "[notify.m]\nsmtp = \"smtp://127.0.0.1:25\"\nfrom = \"a@b.c\"\nto = [\"x@y\\r\\nRCPT TO:<z@z>\"]\nAPI",
        4,
        "is not a mail address",
    ),
    // Values.
    ("API restart = \"always\"\n", 3, "write restart.policy = \"always\""),
    ("API restart.policy = \"allways\"\n", 3, "did you mean \"always\"?"),
    ("API log = \"/var/log/api.log\"\n", 3, "its place is state_dir/log"),
    ("[heartbeat]\nlisten = 4327\nAPI", 2, "write listen = \"127.0.0.1:4327\""),
    ("[heartbeat]\nlisten = \"0.0.0.0:4327\"\nAPI", 2, "is not a loopback address"),
    ("[realm.api]\nrun = \"true\"\nstart.timeout = \"0s\"\n", 3, "`timeout` must be longer than zero"),
    ("API stop.signal = \"TREM\"\n", 3, "write \"TERM\""),
    ("API port = \"8001\"\n", 3, "port = 8001"),
    ("API port = 99999\n", 3, "it takes a port from 1 to 65535"),
    ("API start.timeout = 60\n", 3, "timeout = \"60s\""),
    ("API start.timeout = \"1 minute\"\n", 3, "write \"1m\""),
    ("API limits.memory = \"512MB\"\n", 3, "write \"512MiB\""),
    ("API limits.cpu = 1.5\n", 3, "cpu = \"150%\""),
    ("API env = [\"A=1\"]\n", 3, "write env = { A = \"1\" }"),
    ("API env = { A = 1 }\n", 3, "A = \"1\""),
    ("API env = { KEY = \"${NO_SUCH_VARIABLE}\" }\n", 3, "${NO_SUCH_VARIABLE:-default}"),
    ("API restart.policy = \"unless-stopped\"\n", 3, "did you mean \"always\"?"),
    ("API restart = 5\n", 3, "for example restart.policy = \"always\""),
    ("API slo = \"99.9%\"\n", 3, "write slo.availability = \"99.9%\""),
    ("API slo = { availability = \"0.999\" }\n", 3, "write \"99.9%\""),
    ("API slo = { availability = 99.9 }\n", 3, "availability = \"99.9%\""),
    ("API limits.cpu = \"2\"\n", 3, "write \"2%\" or \"200%\""),
    ("API restart.jitter = \"20\"\n", 3, "write \"20%\""),
    ("API limits.memory = \"512M\"\n", 3, "write \"512MiB\""),
    ("API start.timeout = \"0.5s\"\n", 3, "write \"500ms\""),
    ("API start.timeout = \"500\"\n", 3, "write \"500ms\" or \"500s\""),
    ("[realm.api]\nrun = \"sh -c \"exit 1\"\"\n", 2, "write run = 'sh -c \"exit 1\"'"),
    ("API ExecReload = \"kill -HUP\"\n", 3, "heartbeat-cli signal HUP REALM"),
    ("API redirect_stderr = true\n", 3, "both outputs of a realm go to one file"),
    ("API WantedBy = \"multi-user.target\"\n", 3, "heartbeatd starts every realm"),
    ("API profiles = [\"jobs\"]\n", 3, "a realm that is `manual`"),
    ("API stdout_logfile_maxbytes = \"50MB\"\n", 3, "write log.max_size = \"50MiB\""),
    // Receivers.
    ("[notify.m]\nemail = \"a@b.c\"\nAPI", 2, "from = \"heartbeat@b.c\", to = [\"a@b.c\"]"),
    ("[notify.m]\nsmtp = \"a@b.c\"\nAPI", 2, "from = \"heartbeat@b.c\", to = [\"a@b.c\"]"),
    (
        "[notify.m]\ndiscord = \"https://discord.com/api/webhooks/1/a\"\nAPI",
        2,
        "write slack = \"https://discord.com/api/webhooks/1/a/slack\"",
    ),
    ("[notify.m]\ntelegram = \"x\"\nAPI", 2, "`exec` runs a program for each step"),
    (
        "[notify.m]\non = [\"opened\"]\nAPI",
        1,
        "one of webhook, alertmanager, ntfy, slack, pagerduty, exec, smtp",
    ),
    ("[notify.m]\nslack = \"https://slack.com/api\"\nAPI", 2, "add channel = \"#ops\""),
    (
        "[notify.m]\nurl = \"https://hooks.slack.com/services/T/B/X\"\nAPI",
        2,
        "write slack = \"https://hooks.slack.com/services/T/B/X\"",
    ),
    (
        "[notify.m]\nwebhook = \"https://hooks.slack.com/services/T/B/X\"\nAPI",
        2,
        "write `slack` in place of `webhook`",
    ),
    ("[notify.m]\nwebhook = \"https://discord.com/api/webhooks/1/a\"\nAPI", 2, "add /slack to the end"),
    ("[notify.m]\nntfy = \"ntfy.sh/shop\"\nAPI", 2, "write https:// in front of it"),
    ("[notify.m]\nslack = \"x\"\nAPI", 2, "for example \"https://slack.example.org/services/T/B/x\""),
    (
        "[notify]\nslack = \"https://hooks.slack.com/services/T/B/X\"\non = [\"opened\"]\nAPI",
        2,
        "write [notify.ops] in place of [notify]",
    ),
    ("API notify = [\"ops\"]\n", 3, "declare the receiver: [notify.ops], whose `realms` choose"),
    (
        "API alerts = \"ops\"\n[notify.ops]\nwebhook = \"http://127.0.0.1:1/\"\n",
        3,
        "there is [notify.ops], whose `realms` choose",
    ),
    // Headings of other tools, each of them.
    ("API [services.b]\nrun = \"true\"\n", 3, "write [realm.b]"),
    (
        "[[realm]]\nname = \"web\"\nrun = \"true\"\nAPI",
        1,
        "write [realm.web] in place of [[realm]], and remove its name",
    ),
    ("[[services]]\nrun = \"true\"\nAPI", 1, "write [realm.NAME] in place of [[services]]"),
    // Times of pm2 are milliseconds.
    ("API kill_timeout = 5000\n", 3, "write stop.timeout = \"5000ms\""),
    ("API restart_delay = 300\n", 3, "write restart.backoff = \"300ms\""),
    ("API stop.timeout = 5000\n", 3, "timeout = \"5000ms\" or \"5000s\""),
    ("API restart = \"on-failure:5\"\n", 3, "policy = \"on-failure\", burst = 5, when_spent = \"fail\""),
    ("API needs = [\"db.service\"]\n[realm.db]\nrun = \"true\"\n", 3, "write \"db\""),
    ("[realm.api]\nrun = \"sleep 1 &\"\n", 2, "remove the `&`"),
    ("[realm.api]\nshell = true\nrun = \"sleep 1 &\"\n", 3, "remove the `&`"),
    // Health.
    ("API health = \"htp://127.0.0.1:1/\"\n", 3, "write health = \"http://127.0.0.1:1/\""),
    ("API health = \"http:/127.0.0.1:1/\"\n", 3, "write health = \"http://127.0.0.1:1/\""),
    ("API health = \"http//127.0.0.1:1/\"\n", 3, "write health = \"http://127.0.0.1:1/\""),
    ("API health = \"tpc://127.0.0.1:1\"\n", 3, "write health = \"tcp://127.0.0.1:1\""),
    ("API health = { http = \"htp://127.0.0.1:1/\" }\n", 3, "write http = \"http://127.0.0.1:1/\""),
    ("API health = { http = \"127.0.0.1:1/x\" }\n", 3, "write http = \"http://127.0.0.1:1/x\""),
    ("API health = { http = \"http://127.0.0.1:1/\", expect = 200 }\n", 3, "write status = 200"),
    ("API health = { http = \"http://127.0.0.1:1/\", expect = \"ok\" }\n", 3, "write contains = \"ok\""),
    ("API health = { tcp = \"127.0.0.1:1\", contains = \"220\" }\n", 3, "write expect = \"220\""),
    ("API health = { test = [\"CMD\", \"true\"] }\n", 3, "write exec = [\"true\"]"),
    (
        "API port = 9000\nhealth = { path = \"/healthz\" }\n",
        4,
        "write http = \"http://127.0.0.1:9000/healthz\" in place of `path`",
    ),
    ("API health = \"localhost:8001/x\"\n", 3, "write health = \"http://localhost:8001/x\""),
    ("API port = 9000\nhealth = \"/healthz\"\n", 4, "write health = \"http://127.0.0.1:9000/healthz\""),
    ("API port = 9000\nhealthcheck = \"/healthz\"\n", 4, "write health = \"http://127.0.0.1:9000/healthz\""),
    (
        "API health = \"http://127.0.0.1:9000/x\"\ninterval = \"7s\"\n",
        4,
        "write health = { http = \"http://127.0.0.1:9000/x\", interval = \"7s\" }",
    ),
    (
        "API port = 9000\ninterval = \"7s\"\n",
        4,
        "http = \"http://127.0.0.1:9000/api/health/\", interval = \"7s\"",
    ),
    ("API health = \"tcp://127.0.0.1:99999\"\n", 3, "is not an address like 127.0.0.1:5432"),
    ("API health = { interval = \"5s\" }\n", 3, "for example { tcp = \"127.0.0.1:5432\" }"),
    (
        "API health = { http = \"http://127.0.0.1:1/\", tcp = \"127.0.0.1:1\" }\n",
        3,
        "several probes are a list of tables",
    ),
    ("API health = { http = \"http://127.0.0.1:1/\", status = \"20x\" }\n", 3, "status = [200, 204]"),
    (
        "API health = { tcp = \"127.0.0.1:1\", interval = \"2s\", timeout = \"5s\" }\n",
        3,
        "write timeout = \"2s\", or interval = \"5s\"",
    ),
    ("API health = { exec = \"true\", interval = \"100ms\" }\n", 3, "write interval = \"1s\" or more"),
    // Names and dependencies.
    ("API prot = 8001\n", 3, "did you mean `port`?"),
    ("API needs = \"db, cache\"\n", 3, "needs = [\"db\", \"cache\"]"),
    (
        "API needs = { db = { condition = \"service_completed_successfully\" } }\n[realm.db]\nrun = \"true\"\noneshot = true\n",
        3,
        "write needs = [{ realm = \"db\", until = \"done\" }]",
    ),
    (
        "API depends_on = { db = { condition = \"service_healthy\" } }\n[realm.db]\nrun = \"true\"\n",
        3,
        "write needs = [\"db\"]",
    ),
    ("API needs = [\"dp\"]\n[realm.db]\nrun = \"true\"\n", 3, "did you mean `db`?"),
    ("API needs = [\"b\"]\n[realm.b]\nrun = \"true\"\nneeds = [\"api\"]\n", 3, "api -> b -> api"),
    (
        "API needs = [{ realm = \"db\", until = \"done\" }]\n[realm.db]\nrun = \"true\"\n",
        3,
        "until = \"up\" or \"started\"",
    ),
    ("API port = 8001\n[realm.b]\nrun = \"true\"\nport = 8001\n", 6, "give one of them another port"),
    ("[realm.Shop]\nrun = \"true\"\n", 1, "for example [realm.shop]"),
    ("[realm.all]\nrun = \"true\"\n", 1, "`all` is reserved"),
    ("[realm.api]\ntitle = \"x\"\n", 1, "give it `run = \"...\"`"),
    ("APIAPI", 3, "write all of its keys under one heading"),
    // What is no TOML.
    ("[realm.my api]\nrun = \"true\"\n", 1, "write [realm.my-api]"),
    ("[realm.api]\nrun = \"sleep 1\n", 2, "a string begins and ends with a quote on the same line"),
    ("[realm.api]\nrun = sleep 1\n", 2, "write run = \"sleep 1\""),
    ("[realm.api]\nrun: \"sleep 1\"\n", 2, "write run = \"sleep 1\""),
    ("[realm.api]\nrun = \u{201c}sleep 1\u{201d}\n", 2, "write run = \"sleep 1\""),
    ("services:\n  api:\n    command: sleep 1\n", 1, "`heartbeat-cli import` translates a compose file"),
    ("", 0, "for example [realm.api] with run = \"...\""),
];

fn checked(text: &str) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("heartbeat.toml");
    std::fs::write(&file, text).unwrap();
    let env = BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]);
    let (bytes, overrides) = (Vec::new(), Vec::new());
    match check(&Sources { file: Some(file), env, bytes, overrides, cwd: dir.path().to_owned() }) {
        Ok(loaded) => loaded.warnings,
        Err(report) => report,
    }
}

#[test]
fn every_wrong_file_is_told_where_and_what_to_type() {
    let mut wrong = Vec::new();
    for (text, line, said) in WRONG {
        let text = text.replace("API ", "API").replace("API", "[realm.api]\nrun = \"true\"\n");
        let report = checked(&text);
        let is_it = |problem: &&heartbeat_config::Diagnostic| {
            let help = problem.help.as_deref().unwrap_or_default();
            problem.line == *line && (problem.message.contains(said) || help.contains(said))
        };
        let is_error = |problem: &&heartbeat_config::Diagnostic| problem.severity == Severity::Error;
        let others = report.iter().filter(is_error).filter(|problem| !is_it(problem));
        let others: Vec<String> = others.map(ToString::to_string).collect();
        if report.iter().find(is_it).is_none() || !others.is_empty() {
            wrong.push(format!("{text}line {line}: {said}\nbeside it: {others:#?}\n{report}"));
        }
    }
    assert!(WRONG.len() >= 54, "{}", WRONG.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), WRONG.len(), wrong.join("\n\n"));
}

/// Realms in the words of other tools, several of which belong into one table of ours.
const SEVERAL: &[&str] = &[
    "restart = \"always\"\nRestartSec = 5\nstartretries = 3\nexitcodes = \"0,2\"\n",
    "stopsignal = \"QUIT\"\nstop_grace_period = \"5s\"\nstartsecs = 5\nTimeoutStartSec = 9\n",
    "MemoryMax = \"1G\"\ncpus = 1.5\nTasksMax = 9\nstdout_logfile_maxbytes = \"50MB\"\nstdout_logfile_backups = 3\n",
    "port = 9000\ninterval = \"5s\"\nstart_period = \"10s\"\n",
    "url = \"http://127.0.0.1:1/\"\ninterval = \"5s\"\nstart_period = \"10s\"\nretries = 2\n",
    "healthcheck = { test = [\"CMD\", \"true\"], interval = \"7s\" }\nstart_period = \"10s\"\n",
];

#[test]
fn the_helps_for_one_realm_can_all_be_followed_at_once() {
    for lines in SEVERAL {
        let text = format!("[realm.api]\nrun = \"true\"\n{lines}");
        let report = load_str("heartbeat.toml", &text, &BTreeMap::new()).unwrap_err();
        let mut followed: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        for problem in report.iter().filter(|problem| problem.severity == Severity::Error) {
            let help = problem.help.clone().unwrap_or_default();
            // What says that it goes into another line has none of its own.
            followed[problem.line - 1] = help.strip_prefix("write ").unwrap_or_default().to_owned();
        }
        let followed = followed.join("\n");
        let loaded = load_str("heartbeat.toml", &followed, &BTreeMap::new());
        assert!(loaded.is_ok(), "{text}---\n{report}---\n{followed}\n---\n{}", loaded.unwrap_err());
        for number in lines.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty()) {
            assert!(followed.contains(number) || lines.contains("1.5"), "{number} is lost: {followed}");
        }
    }
}

#[test]
fn a_health_check_of_another_port_is_a_warning_with_both_places() {
    let warned = |lines: &str| {
        let report = checked(&format!("[realm.api]\nrun = \"true\"\n{lines}\n"));
        let of_ports = report.iter().find(|problem| problem.code == Code::OtherPort).cloned();
        of_ports.map(|problem| (problem.severity, problem.line, report.render(Format::Full, false)))
    };
    for health in [
        "\"http://127.0.0.1:8002/x\"",
        "\"http://localhost:8002/x\"",
        "{ http = \"http://127.0.0.1:8002/x\", status = 200 }",
        "[{ tcp = \"127.0.0.1:8002\" }]",
    ] {
        let (severity, line, shown) = warned(&format!("port = 8001\nhealth = {health}")).unwrap();
        assert_eq!((severity, line), (Severity::Warning, 4), "{shown}");
        assert!(shown.contains("port 8002\n") && shown.contains("port 8001\n"), "both places: {shown}");
    }
    for fine in [
        "health = \"http://127.0.0.1:8002/x\"",
        "port = 8001\nhealth = \"http://127.0.0.1:8001/x\"",
        "port = 8001\nhealth = \"http://shop.example.org:8002/x\"",
        "port = 8001\nhealth = \"http://unix:/run/app.sock:/x\"",
        "port = 8001\nhealth = [\"http://127.0.0.1:8002/x\", \"tcp://127.0.0.1:8001\"]",
    ] {
        assert_eq!(warned(fine), None, "{fine}");
    }
}

/// A key with two letters exchanged, one left out, one doubled.
fn typos(key: &str) -> Vec<String> {
    let letters: Vec<char> = key.chars().collect();
    let mut typos = Vec::new();
    for at in 0..letters.len() {
        let mut typo = letters.clone();
        typo.remove(at);
        typos.push(typo);
        let mut typo = letters.clone();
        typo.insert(at, letters[at]);
        typos.push(typo);
        if at > 0 {
            let mut typo = letters.clone();
            typo.swap(at - 1, at);
            typos.push(typo);
        }
    }
    let mut typos: Vec<String> = typos.into_iter().map(String::from_iter).collect();
    typos.sort_unstable();
    typos.dedup();
    typos
}

/// Every typo of every key of the tables that people write most, with the key that was meant and what is said of it.
fn told() -> Vec<(String, &'static str, Option<String>)> {
    const HEADINGS: [(Table, &str); 4] = [
        (Table::Realm, "[realm.api]\nrun = \"true\"\n"),
        (Table::Heartbeat, "[realm.api]\nrun = \"true\"\n[heartbeat]\n"),
        (Table::Restart, "[realm.api]\nrun = \"true\"\n[realm.api.restart]\n"),
        (Table::Health, "[realm.api]\nrun = \"true\"\n[realm.api.health]\ntcp = \"127.0.0.1:1\"\n"),
    ];
    let mut told = Vec::new();
    for (table, heading) in HEADINGS {
        let names: Vec<&str> = keys().filter(|key| key.table == table).map(|key| key.name).collect();
        for name in &names {
            for typo in
                typos(name).into_iter().filter(|typo| typo.len() > 2 && !names.contains(&typo.as_str()))
            {
                let text = format!("{heading}{typo} = 1\n");
                let report = load_str("heartbeat.toml", &text, &BTreeMap::new()).err();
                let unknown = report.iter().flatten().find(|problem| problem.code == Code::UnknownKey);
                told.push((typo, *name, unknown.map(|problem| problem.help.clone().unwrap_or_default())));
            }
        }
    }
    told
}

#[test]
fn no_typo_of_a_key_is_accepted() {
    const TYPOS: usize = 300;
    let told = told();
    assert!(told.len() >= TYPOS, "{}", told.len());
    // One that is a word of another tool, or of a later version, is refused by that name.
    let accepted: Vec<_> = told.iter().filter(|(.., help)| help.is_none()).map(|(typo, ..)| typo).collect();
    let refused = |typo: &&&String| {
        let text = format!("[realm.api]\nrun = \"true\"\n{typo} = 1\n");
        load_str("heartbeat.toml", &text, &BTreeMap::new()).is_ok()
    };
    let accepted: Vec<_> = accepted.iter().filter(refused).collect();
    assert!(accepted.is_empty(), "{accepted:?}");
}

#[test]
fn a_typo_of_a_key_is_led_back_to_it() {
    let told: Vec<_> = told().into_iter().filter(|(typo, key, _)| typo.len() > 3 && key.len() > 3).collect();
    let right = |(_, key, help): &&(String, &str, Option<String>)| {
        help.as_deref()
            .is_some_and(|help| help.contains(&format!("`{key}`")) || help.contains(&format!("write {key}")))
    };
    let wrong: Vec<_> = told.iter().filter(|it| !right(it)).collect();
    let share = (told.len() - wrong.len()) * 100 / told.len();
    assert!(share >= 95, "{share} % of {}: {wrong:#?}", told.len());
}

#[test]
fn twenty_mistakes_are_found_in_one_run() {
    let text = r#"[heartbeat]
lisen = "127.0.0.1:4327"
[realm.db]
run = "postgres 'data"
port = 99999
stop.timeout = 10
stop.signal = "TREM"
restart.policy = "allways"
limits.memory = "64MB"
[realm.api]
run = "gunicorn shop.wsgi && true"
prot = 8001
port = "8001"
depends_on = ["db"]
needs = ["dp", "api"]
env = { KEY = "${NO_SUCH_VARIABLE}" }
user = "no-such-user"
health = { http = "http://127.0.0.1:8001/", status = "20x", intervall = "5s" }
[realm.Mail]
health = "localhost:25"
[realm.none]
title = "nothing"
[realm.slow]
health = { tcp = "127.0.0.1:1", interval = "1s", timeout = "9s" }
[notify.ops]
on = ["opened"]
"#;
    let report = load_str("heartbeat.toml", text, &BTreeMap::new()).unwrap_err();
    let lines: std::collections::BTreeSet<(usize, usize)> =
        report.iter().map(|problem| (problem.line, problem.column)).collect();
    assert!(lines.len() >= 20, "{} places:\n{report}", lines.len());
}

#[test]
fn six_realms_take_at_most_forty_lines() {
    let text = r#"[heartbeat]
name = "shop"
[realm.postgres]
run    = "postgres -D data/pg"
health = "postgres://127.0.0.1:5432"
[realm.redis]
run    = "redis-server --port 6379"
health = "redis://127.0.0.1:6379"
[realm.api]
run   = "gunicorn shop.wsgi --bind 127.0.0.1:8001"
port  = 8001
needs = ["postgres", "redis"]
[realm.worker]
run    = "python -m worker"
health = { exec = "python -m worker.ping", interval = "15s" }
needs  = ["postgres", "redis"]
[realm.dashboard]
run    = "node server.js"
health = "http://127.0.0.1:3000/api/health/"
needs  = ["api"]
[realm.mail]
health = "http://mail.example.org/healthz"
"#;
    let loaded = load_str("heartbeat.toml", text, &BTreeMap::new());
    assert!(loaded.is_ok(), "{}", loaded.unwrap_err());
    assert!(text.lines().count() <= 40);
    let keys = text.split("[realm.").skip(1).map(|realm| realm.lines().count() - 1);
    assert!(keys.max().unwrap() <= 3, "a realm takes at most three keys");
}
