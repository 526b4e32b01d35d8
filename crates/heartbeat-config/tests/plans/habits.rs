//! What people bring along from other tools: the way out is a line that can be pasted, and pasting it is not the next
//! error.

use std::collections::BTreeMap;

use heartbeat_config::{Report, Sources, check, load_str};
use heartbeat_status::Role;

use crate::reading::{realm, refused, text};

/// Line, code and help of everything that is said.
fn said(report: &Report) -> Vec<(usize, &'static str, &str)> {
    report
        .iter()
        .map(|problem| (problem.line, problem.code.as_str(), problem.help.as_deref().unwrap_or("")))
        .collect()
}

#[test]
fn the_words_of_compose_lead_to_ours() {
    let report = refused(
        "[realm.api]\ncommand = \"gunicorn shop.wsgi\"\ndepends_on = [\"db\"]\nenvironment = { A = \"1\" }\nworking_dir = \"app\"\nhealthcheck = { test = \"true\" }\nports = [\"8001:8001\"]\nreplicas = 2\n[realm.db]\ncmd = \"postgres\"\nhealth = { test = \"pg_isready\", retries = 3, start_period = \"5s\" }\n[services.web]\ncommand = \"npm start\"\n",
    );
    assert_eq!(
        said(&report)[..9],
        [
            (2, "HB101", "write run = \"gunicorn shop.wsgi\""),
            (3, "HB101", "write needs = [\"db\"]"),
            (4, "HB101", "write env = { A = \"1\" }"),
            (5, "HB101", "write dir = \"app\""),
            (6, "HB101", "write health = { exec = \"true\" }"),
            (7, "HB101", "write port = 8001"),
            (
                8,
                "HB101",
                "heartbeatd does not have that: declare a realm for each process, or let the program start its own workers"
            ),
            (10, "HB101", "write run = \"postgres\""),
            (11, "HB101", "write exec = \"pg_isready\""),
        ]
    );
    let rest: Vec<_> = said(&report).into_iter().skip(9).map(|(_, _, help)| help.to_owned()).collect();
    assert_eq!(
        rest,
        ["write fail_after = 3", "write grace = \"5s\"", "write [realm.web]", "write run = \"npm start\""]
    );
}

#[test]
fn the_words_of_systemd_and_supervisord_lead_to_ours() {
    let report = refused(
        "[realm.api]\nExecStart = \"gunicorn shop.wsgi\"\nWorkingDirectory = \"app\"\nUser = \"nobody\"\nAfter = [\"db\"]\nRequires = [\"db\"]\nRestart = \"always\"\nTimeoutStartSec = \"30s\"\n[realm.db]\nrun = \"db\"\n[Unit]\nDescription = \"the shop\"\n",
    );
    assert_eq!(
        said(&report),
        [
            (2, "HB101", "write run = \"gunicorn shop.wsgi\""),
            (3, "HB101", "write dir = \"app\""),
            (4, "HB101", "write user = \"nobody\""),
            (5, "HB101", "write after = [\"db\"]"),
            (6, "HB101", "write needs = [\"db\"]"),
            (7, "HB101", "write restart.policy = \"always\""),
            (8, "HB101", "write start.timeout = \"30s\""),
            (11, "HB101", "a unit is a realm here: `heartbeat-cli import UNIT.service` translates it"),
        ]
    );
    let report = refused(
        "[program.api]\ncommand = \"gunicorn shop.wsgi\"\n[realm.worker]\nrun = \"sleep 1000\"\nautostart = true\nautorestart = true\nnumprocs = 4\nstopasgroup = true\nstdout_logfile = \"worker.log\"\nstartsecs = 5\n[web]\nrun = \"x\"\n",
    );
    let helps: Vec<String> = said(&report).iter().map(|(_, _, help)| (*help).to_owned()).collect();
    assert_eq!(
        helps,
        [
            "write [realm.api]",
            "write run = \"gunicorn shop.wsgi\"",
            "remove it: heartbeatd starts every realm by itself",
            "remove it: a service is always restarted unless it says otherwise",
            "heartbeatd does not have that: declare a realm for each process, or let the program start its own workers",
            "write stop.signal_to = \"tree\"",
            "remove it: its output goes to a file, and its place is state_dir/log",
            "write start.settle = \"5s\"",
            "write [realm.web]",
        ]
    );
}

#[test]
fn an_unknown_key_gets_the_list_of_keys_and_x_last() {
    let report = refused("[realm.a]\nrun = \"x\"\n[realm.a.stop]\nteam_channel = 1\n");
    assert_eq!(
        said(&report)[0].2,
        "there are signal, signal_to, timeout, command; a key of your own begins with `x-`"
    );
}

#[test]
fn an_x_before_a_word_that_means_something_is_a_warning() {
    let loaded = load_str(
        "heartbeat.toml",
        "[realm.api]\nx-command = \"sleep 1000\"\nx-port = 1\nx-team = \"core\"\nport = 26670\n[x-services.web]\nrun = \"sleep 1000\"\n",
        &BTreeMap::new(),
    )
    .unwrap();
    assert_eq!(
        said(&loaded.warnings),
        [
            (2, "HB303", "did you mean `run`?"),
            (3, "HB303", "did you mean `port`?"),
            (6, "HB303", "did you mean `[realm.NAME]`?"),
        ]
    );
}

/// What a person has written is in the line to paste, and not an example of ours.
#[test]
fn the_value_of_another_tool_is_kept() {
    for (line, help) in [
        ("health_check = \"http://127.0.0.1:9/x\"", "write health = \"http://127.0.0.1:9/x\""),
        ("ports = [\"8000:8000\"]", "write port = 8000"),
        ("stop_grace_period = \"5s\"", "write stop.timeout = \"5s\""),
        ("startretries = 3", "write restart.burst = 3"),
        ("RestartSec = 5", "write restart.backoff = \"5s\""),
        ("startsecs = 5", "write start.settle = \"5s\""),
        ("environment = [\"A=b\"]", "write env = { A = \"b\" }"),
        ("environment = { PORT_B = \"1\" }", "write env = { PORT_B = \"1\" }"),
        (
            "healthcheck = \"redis-cli -p 17102 ping\"",
            "write health = { exec = \"redis-cli -p 17102 ping\" }",
        ),
        ("autostart = false", "write manual = true"),
        ("depends_on = { db = { condition = \"started\" } }", "write needs = [\"db\"]"),
    ] {
        let report = refused(&format!("[realm.db]\nrun = \"x\"\n[realm.a]\nrun = \"x\"\n{line}\n"));
        assert_eq!(said(&report)[0].2, help, "{line}");
    }
    let of = |text: &str| said(&refused(text))[0].2.to_owned();
    assert_eq!(
        of("[heartbeat]\nport = 17000\n[realm.a]\nrun = \"x\"\n"),
        "write listen = \"127.0.0.1:17000\""
    );
    assert_eq!(of("[\"program:web\"]\ncommand = \"x\"\n"), "write [realm.web]");
    assert_eq!(
        of("[realm.a]\nrun = \"x\"\nneeds = \"b, c\"\n"),
        "several names are a list: needs = [\"b\", \"c\"]"
    );
}

/// One mistake does not bring others that are none.
#[test]
fn nothing_follows_from_a_mistake_that_has_been_said() {
    let codes = |text: &str| refused(text).iter().map(|problem| problem.code.as_str()).collect::<Vec<_>>();
    assert_eq!(
        codes("[realm.a]\ncommand = \"x\"\nrestart = \"always\"\nstop = { timeout = \"1s\" }\n"),
        ["HB101", "HB102"]
    );
    assert_eq!(codes("[heartbeat]\nnme = \"x\"\n"), ["HB101"], "and not that there is no realm");
    // One command, two mistakes of two kinds; and one where a shell would be needed three times.
    assert_eq!(codes("[realm.a]\nrun = \"~/bin/app $PORT\"\n"), ["HB107", "HB107"]);
    assert_eq!(codes("[realm.a]\nrun = \"a && b | c > d\"\n"), ["HB107"]);
}

#[test]
fn what_only_a_shell_expands_is_a_warning_where_it_stays_as_it_is() {
    let warned = |text: &str| {
        let loaded = load_str("heartbeat.toml", text, &BTreeMap::new()).unwrap();
        loaded.warnings.iter().map(|problem| (problem.line, problem.code.as_str())).collect::<Vec<_>>()
    };
    assert_eq!(
        warned("[heartbeat]\nstate_dir = \"$HOME/state\"\nsocket = \"~/s\"\n[realm.a]\nrun = \"x\"\n"),
        [(2, "HB304"), (3, "HB304")]
    );
    assert_eq!(
        warned("[realm.a]\nrun = [\"app\", \"$HOME/x\"]\nenv = { A = \"$HOME\" }\ndir = \"$HOME/x\"\n"),
        [(2, "HB304"), (3, "HB304"), (4, "HB304")]
    );
    assert_eq!(warned("[realm.a]\nrun = [\"sh\", \"-c\", \"$HOME/x\"]\nenv = { COST = \"5 $ each\" }\n"), []);
}

/// What the help says is taken word for word, and nothing is wrong any more.
#[test]
fn what_the_help_says_can_be_pasted() {
    for (wrong, at) in [
        ("[heartbeat]\nlisten = 26671\n[realm.a]\nrun = \"x\"\n", "listen = 26671"),
        ("[realm.a]\nrun = \"x\"\nrestart = \"always\"\n", "restart = \"always\""),
        ("[realm.a]\nrun = \"x\"\nrestart = false\n", "restart = false"),
        ("[realm.a]\nrun = \"x\"\nlog = \"none\"\n", "log = \"none\""),
        ("[realm.a]\nrun = \"x\"\nstop = \"5s\"\n", "stop = \"5s\""),
        ("[realm.a]\nrun = \"x\"\nstart = \"5s\"\n", "start = \"5s\""),
        ("[realm.a]\nrun = \"x\"\nlimits = \"1GiB\"\n", "limits = \"1GiB\""),
        ("[realm.a]\nrun = \"x\"\nenv = \"A=1\"\n", "env = \"A=1\""),
        ("[realm.a]\nrun = \"x\"\numask = 22\n", "umask = 22"),
        ("[realm.a]\nrun = \"x\"\nstop.timeout = 10\n", "stop.timeout = 10"),
        ("[realm.a]\ncommand = \"x\"\n", "command = \"x\""),
    ] {
        let report = refused(wrong);
        let help = said(&report)[0].2.to_owned();
        let line = help.split_once("write ").expect(&help).1.split(';').next().unwrap_or_default();
        let line = line
            .strip_prefix("a string with a unit: ")
            .map_or(line.to_owned(), |line| format!("stop.{line}"));
        let right = wrong.replace(at, &line);
        assert!(load_str("heartbeat.toml", &right, &BTreeMap::new()).is_ok(), "{wrong}: {help}: {right}");
    }
    let shell = refused("[realm.a]\nrun = \"cd app && gunicorn | tee log\"\n");
    assert_eq!(
        said(&shell)[0].2,
        "write shell = true beside it to have a shell read the line; single quotes keep the `&` as it is"
    );
    let hook = refused("[realm.a]\nrun = \"a\"\nstart = { before = \"rm -f *.pid\" }\n");
    assert!(said(&hook)[0].2.starts_with("write it as \"sh -c 'rm -f *.pid'\" to have"), "{hook}");
}

#[test]
fn a_line_for_a_shell_is_shown_as_it_would_be_read() {
    for (wrong, at) in [
        ("[realm.a]\nrun = \"a\"\nstart.before = \"mkdir -p x && true\"\n", "\"mkdir -p x && true\""),
        (
            "[realm.a]\nrun = \"a\"\nstart.before = [\"b\", \"echo 'x' | tee \\\"y\\\"\"]\n",
            "\"echo 'x' | tee \\\"y\\\"\"",
        ),
        ("[realm.a]\nrun = \"a\"\nstart.after = [\"rm -f *.pid\"]\n", "\"rm -f *.pid\""),
        (
            "[realm.a]\nrun = \"a\"\nstart.before = [\"sh\", \"-c\", \"a && b\"]\n",
            "before = [\"sh\", \"-c\", \"a && b\"]",
        ),
        ("[realm.a]\nrun = \"a\"\nhealth = { exec = \"curl x || exit 1\" }\n", "\"curl x || exit 1\""),
        ("[realm.a]\nrun = \"a\"\nstop.command = \"kill `cat x`\"\n", "\"kill `cat x`\""),
    ] {
        let report = refused(wrong);
        let help = said(&report)[0].2.to_owned();
        let line = help.trim_start_matches("write ").trim_start_matches("it as ");
        let line = line.split(" to have a shell").next().unwrap();
        let right = wrong.replace(at, line);
        assert_ne!(right, wrong, "{help}");
        let loaded = load_str("heartbeat.toml", &right, &BTreeMap::new());
        assert!(loaded.is_ok(), "{wrong}: {help}: {right}: {}", loaded.unwrap_err());
    }
}

#[test]
fn a_key_leads_to_the_table_it_belongs_in() {
    for (wrong, expected) in [
        ("[realm.a]\nrun = \"x\"\nstop_timeout = 30\n", "write stop.timeout = \"30s\""),
        ("[realm.a]\nrun = \"x\"\nlog_keep = 3\n", "write log.keep = 3"),
        ("[realm.a]\nrun = \"x\"\nstart-before = \"y\"\n", "write start.before = \"y\""),
        ("[realm.a]\nrun = \"x\"\nport = 26100\nmax_memory = \"300M\"\n", "write limits.memory = \"300MiB\""),
        ("[realm.a]\nrun = \"x\"\nworking_directory = \"~/app\"\n", "write dir = \"/HOME/app\""),
        (
            "[heartbeat]\nuser = \"nobody\"\n[realm.a]\nrun = \"x\"\n",
            "it is a key of realms: write user = \"nobody\" in [realm.NAME], or in [defaults] for all of them",
        ),
        (
            "[defaults]\ninterval = \"10s\"\n[realm.a]\nrun = \"x\"\n",
            "`interval` is a key of a probe: write interval = \"10s\" in the `health` of each realm",
        ),
    ] {
        let report = refused(wrong);
        assert_eq!(said(&report)[0].2, expected, "{wrong}");
    }
}

#[test]
fn a_check_warns_of_a_service_that_leaves_the_foreground() {
    let text = "[realm.detached]\nrun = \"docker run -d redis\"\n[realm.terminal]\nshell = true\nrun = \"nohup ./x.sh &> /dev/null\"\n[realm.once]\noneshot = true\nrun = \"docker run -d redis\"\n[realm.filed]\nrun = \"gunicorn -D app\"\npidfile = \"/run/app.pid\"\n";
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("heartbeat.toml"), text).unwrap();
    let sources = Sources {
        file: None,
        env: BTreeMap::new(),
        bytes: Vec::new(),
        overrides: Vec::new(),
        cwd: dir.path().to_owned(),
    };
    let warnings = check(&sources).unwrap_or_else(|report| panic!("{report}")).warnings;
    let found: Vec<usize> =
        warnings.iter().filter(|one| one.code.as_str() == "HB311").map(|one| one.line).collect();
    assert_eq!(found, [2, 5], "{warnings}");
}

#[test]
fn a_probe_that_alone_can_say_whether_a_realm_is_up_decides_unless_its_role_is_written() {
    let roles = |of_realm: &str| -> Vec<Role> {
        let config = text(&format!("[realm.a]\n{of_realm}"));
        realm(&config, "a").0.probes.iter().map(|probe| probe.info.role).collect()
    };
    for alone in [
        "health = \"dns://127.0.0.1/shop.example.org\"",
        "health = { file = \"/var/backups/shop.sql\" }",
        "health = { tls = \"127.0.0.1:443\", verify = false }",
        "health = [{ file = \"/a\", name = \"a\" }, { resource = true, max_load = 8 }]",
    ] {
        assert!(roles(alone).iter().all(|role| *role == Role::Ready), "{alone}");
    }
    let file = "{ file = \"/a\" }";
    assert_eq!(roles(&format!("health = [{file}, \"tcp://127.0.0.1:1\"]")), [Role::Info, Role::Live]);
    assert_eq!(roles(&format!("run = \"x\"\nhealth = {file}")), [Role::Info, Role::Live]);
    assert_eq!(roles(&format!("port = 9\nhealth = {file}")), [Role::Info, Role::Live]);
    let written = "[{ file = \"/a\", name = \"a\", role = \"info\" }, { file = \"/b\" }]";
    assert_eq!(roles(&format!("health = {written}")), [Role::Info, Role::Ready]);
    let informs = "[realm.a]\nhealth = { file = \"/a\", role = \"info\" }\n";
    let warnings = load_str("heartbeat.toml", informs, &BTreeMap::new()).unwrap().warnings;
    let warned: Vec<_> = warnings.iter().map(|one| (one.line, one.code.as_str())).collect();
    assert_eq!(warned, [(2, "HB312")], "{warnings}");
}

#[test]
fn what_only_a_shell_expands_is_refused_in_every_command() {
    let report = refused(
        "[realm.a]\nrun = \"gunicorn -b 0.0.0.0:$PORT app\"\nport = 26331\n[realm.b]\nrun = \"NODE_ENV=production node server.js\"\n[realm.c]\nrun = \"~/bin/app --config ~/app.conf\"\n[realm.d]\nrun = \"java -cp lib/*.jar Main\"\n[realm.e]\nrun = \"node --max=$(nproc) server.js\"\nhealth = { exec = \"curl $URL\" }\nstop = { command = \"kill `cat x`\" }\n",
    );
    assert!(report.iter().all(|problem| problem.code.as_str() == "HB107"), "{report}");
    assert_eq!(report.iter().map(|problem| problem.line).collect::<Vec<_>>(), [2, 5, 7, 9, 11, 12, 13]);
    assert_eq!(
        said(&report)[1].2,
        "write env = { NODE_ENV = \"production\" }, and the program alone as the command"
    );
    let config = text(
        "[realm.a]\nrun = [\"echo\", \"$PORT\", \"*\", \"~/x\", \"A=1\"]\n[realm.b]\nshell = true\nrun = \"cd ~ && A=1 echo $HOME *\"\n",
    );
    assert_eq!(realm(&config, "a").1.launch.as_ref().unwrap().argv[1], "$PORT");
}

#[test]
fn a_message_never_shows_what_a_variable_was_replaced_by() {
    for (secret, run) in
        [("'hunter2", "x --key ${SECRET}"), ("hunter2 y", "KEY=${SECRET}"), ("hunter2|x", "x ${SECRET}")]
    {
        let env = BTreeMap::from([("SECRET".to_owned(), secret.to_owned())]);
        let text = format!("[realm.a]\nrun = \"{run}\"\n");
        let report = load_str("heartbeat.toml", &text, &env).unwrap_err().to_string();
        assert!(report.contains("HB107") && !report.contains("hunter2"), "{report}");
    }
}

#[test]
fn what_stands_twice_is_one_error_with_both_places() {
    use heartbeat_config::Format;
    let report = refused(
        "[realm.twice]\nrun = \"sleep 1000\"\n\n[realm.twice]\nrun = \"sleep 2000\"\nport = 1\nport = 2\n[realm.b]\nrun = \"b\"\nrun = \"c\"\n[heartbeat]\nname = \"a\"\n[heartbeat]\nname = \"b\"\n",
    );
    let messages: Vec<_> = report.iter().map(|problem| (problem.line, problem.message.as_str())).collect();
    assert_eq!(
        messages,
        [
            (4, "not TOML: [realm.twice] stands twice"),
            (10, "not TOML: `run` stands twice in its table"),
            (13, "not TOML: [heartbeat] stands twice"),
        ]
    );
    let full = report.render(Format::Full, false);
    assert_eq!((full.matches("first here").count(), full.matches("again here").count()), (3, 3), "{full}");
    assert!(full.contains("1 | [realm.twice]"), "{full}");
}

#[test]
fn a_mode_is_octal_however_it_is_written() {
    for written in ["\"022\"", "\"22\"", "0o022", "\"0o22\""] {
        let config = text(&format!("[realm.a]\nrun = \"x\"\numask = {written}\n"));
        assert_eq!(realm(&config, "a").1.launch.as_ref().unwrap().umask, Some(0o022), "{written}");
    }
    let config = text("[heartbeat]\nsocket_mode = 0o600\n[realm.a]\nrun = \"x\"\n");
    assert_eq!(config.heartbeat.socket_mode, 0o600);
    for (written, help) in [
        ("22", "write umask = \"022\""),
        ("18", "for example umask = \"022\""),
        ("\"18\"", "for example umask = \"022\""),
    ] {
        let report = refused(&format!("[realm.a]\nrun = \"x\"\numask = {written}\n"));
        assert_eq!(said(&report), [(3, "HB105", help)], "{written}");
    }
    assert_eq!(said(&refused("[realm.a]\nrun = \"x\"\numask = 0o1777\n"))[0].1, "HB105");
}

#[test]
fn the_group_the_hosts_and_the_token_file_of_the_api_are_read_or_refused() {
    let config = text(
        "[heartbeat]\nsocket_group = \"root\"\nhosts = [\"Monitor.example.org\", \"hb\"]\ntoken_file = \"token\"\n[realm.a]\nrun = \"x\"\n",
    );
    let heartbeat = config.heartbeat;
    assert_eq!(
        (heartbeat.socket_group, heartbeat.hosts),
        (Some(0), vec!["monitor.example.org".to_owned(), "hb".to_owned()])
    );
    assert_eq!(heartbeat.token_file, Some(std::env::current_dir().unwrap().join("token")));
    for (line, code) in [
        ("socket_group = \"no-such-group-here\"", "HB125"),
        ("hosts = [\"https://monitor.example.org\"]", "HB119"),
        ("hosts = [\"monitor.example.org:8443\"]", "HB119"),
        ("hosts = [\"\"]", "HB119"),
    ] {
        let file = format!("[heartbeat]\n{line}\n[realm.a]\nrun = \"x\"\n");
        let report = load_str("heartbeat.toml", &file, &BTreeMap::new()).unwrap_err();
        assert!(report.to_string().contains(code), "{line}: {report}");
    }
}

#[test]
fn a_limit_can_be_lifted() {
    let config = text(
        "[defaults.limits]\nmemory = \"1GiB\"\ntasks = 5\n[realm.a]\nrun = \"x\"\nlimits = { memory = \"unlimited\", tasks = \"infinity\", cpu = \"unlimited\", nproc = \"unlimited\", core = \"unlimited\", memlock = \"infinity\", fsize = \"unlimited\", nofile = \"unlimited\" }\n",
    );
    let limits = realm(&config, "a").1.launch.as_ref().unwrap().limits.clone();
    assert_eq!((limits.memory_bytes, limits.tasks, limits.cpu_percent), (None, None, None));
    let all = Some(u64::MAX);
    assert_eq!(
        (limits.nproc, limits.core_bytes, limits.memlock_bytes, limits.fsize_bytes),
        (all, all, all, all)
    );
    let most: u64 = std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap().trim().parse().unwrap();
    assert_eq!(limits.nofile, Some(most), "the kernel takes no more");
    refused("[realm.a]\nrun = \"x\"\nlimits = { nice = \"unlimited\" }\n");
}

#[test]
fn a_head_request_has_no_body_to_look_into() {
    let report = refused(
        "[realm.a]\nhealth = { http = \"http://127.0.0.1:1/\", method = \"HEAD\", contains = \"x\", matches = \"y\", json = { \"/a\" = 1 } }\n",
    );
    assert_eq!(
        report.iter().map(|problem| problem.code.as_str()).collect::<Vec<_>>(),
        ["HB113", "HB113", "HB113"]
    );
    text("[realm.a]\nhealth = { http = \"http://127.0.0.1:1/\", method = \"HEAD\", status = 204 }\n");
}

#[test]
fn a_socket_has_a_short_path() {
    let path = |length: usize| format!("/{}", "s".repeat(length - 1));
    let of = |length| {
        format!(
            "[heartbeat]\nsocket = \"{}\"\nruntime_dir = \"/run/h\"\n[realm.a]\nrun = \"x\"\n",
            path(length)
        )
    };
    text(&of(107));
    let report = refused(&of(108));
    assert_eq!(
        report.iter().map(|problem| (problem.code.as_str(), problem.line)).collect::<Vec<_>>(),
        [("HB128", 2)]
    );
}

#[test]
fn no_realm_listens_where_heartbeatd_does() {
    for (listen, host, clash) in [
        ("127.0.0.1:8001", "127.0.0.1", true),
        ("127.0.0.1:8001", "localhost", true),
        ("127.0.0.1:8001", "127.0.0.2", false),
        ("127.0.0.1:8002", "127.0.0.1", false),
        ("[::1]:8001", "::1", true),
        ("off", "127.0.0.1", false),
    ] {
        let file = format!(
            "[heartbeat]\nlisten = \"{listen}\"\n[realm.a]\nrun = \"x\"\nport = 8001\nhost = \"{host}\"\n"
        );
        let loaded = load_str("heartbeat.toml", &file, &BTreeMap::new());
        let codes: Vec<_> = loaded.err().iter().flatten().map(|problem| problem.code.as_str()).collect();
        assert_eq!(codes == ["HB209"], clash, "{listen} {host}: {codes:?}");
    }
    text("[heartbeat]\nlisten = \"127.0.0.1:8001\"\n[realm.self]\nport = 8001\n");
}

#[test]
fn every_mistake_of_a_table_is_said_in_one_run() {
    let report = refused(
        "[realm.a]\nrun = \"x\"\n[realm.a.restart]\nburst = 0\njitter = \"95%\"\nbackoff = \"0s\"\nwindow = \"0s\"\nreset_after = \"0s\"\ncooldown = \"2h\"\ncooldown_max = \"1h\"\npolicy = \"sometimes\"\n",
    );
    assert_eq!(
        report.iter().map(|problem| problem.line).collect::<Vec<_>>(),
        [4, 5, 6, 7, 8, 10, 11],
        "{report}"
    );
    let report = refused(
        "[realm.a]\nhealth = [\n  { http = \"nonsense\", method = \"G T\", status = 7, fail_after = 0, pass_after = 0,\n    fail_if = \"5 of 3\", interval = \"0s\", slow = \"x\", role = \"y\", grace = \"z\", matches = \"(\" },\n  { tcp = \"no port\", timeout = \"9s\", interval = \"1s\" },\n  { interval = \"soon\" },\n]\n",
    );
    let told = report.to_string();
    for wanted in [
        "nonsense",
        "G T",
        "`fail_after` is",
        "`pass_after` is",
        "fail",
        "`interval` must",
        "\"live\"",
        "regular expression",
        "no port",
        "`timeout` (9s)",
        "names no kind",
        "`soon`",
    ] {
        assert!(told.contains(wanted), "{wanted} is not in\n{told}");
    }
    // A name that is impossible hides nothing of what is below it, nor does a need without a realm.
    let report = refused(
        "[realm.Web]\nrun = \"x\"\nprot = 1\nneeds = [{ until = \"soon\" }]\n[notify.Ops]\nwebhok = \"x\"\n",
    );
    let mut codes: Vec<_> = report.iter().map(|problem| problem.code.as_str()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["HB101", "HB101", "HB106", "HB117", "HB117", "HB122", "HB126"], "{report}");
}

#[test]
fn a_realm_is_not_called_unknown_where_its_file_could_not_be_read() {
    let report = refused("[realm.a]\nrun = \"x\"\nneeds = [\"b\"]\n[realm.b\nrun = \"y\"\n");
    assert!(report.iter().any(|problem| problem.code.as_str() == "HB001"), "{report}");
    assert!(report.iter().all(|problem| problem.code.as_str() != "HB202"), "{report}");
}

#[test]
fn thousands_of_mistakes_are_told_in_a_moment() {
    use std::fmt::Write as _;
    let mut file = String::new();
    for number in 0..3_000 {
        writeln!(file, "[realm.r{number}]\nrun = \"x\"\nprot = 1\nneeds = [\"q{number}\"]").unwrap();
    }
    let report = refused(&file);
    assert_eq!(report.iter().count(), 6_000);
    let full = report.render(heartbeat_config::Format::Full, false);
    assert!(full.contains("11999 | prot = 1"));
}

#[test]
fn a_check_says_what_is_wrong_with_a_program_and_what_to_type() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let text = "[heartbeat]\nsocket = \"run/s\"\n[realm.mode]\nrun = \"./app/plain.sh\"\n[realm.bare]\nrun = \"./app/bare\"\nhealth = { exec = [\"CMD\", \"curl\"] }\n";
    std::fs::create_dir(dir.path().join("app")).unwrap();
    std::fs::write(dir.path().join("heartbeat.toml"), text).unwrap();
    std::fs::write(dir.path().join("app/plain.sh"), "#!/bin/sh\n").unwrap();
    std::fs::write(dir.path().join("app/bare"), "echo hello\n").unwrap();
    std::fs::set_permissions(dir.path().join("app/bare"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let env = BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]);
    let sources =
        Sources { file: None, env, bytes: Vec::new(), overrides: Vec::new(), cwd: dir.path().to_owned() };
    let warnings = check(&sources).unwrap_or_else(|report| panic!("{report}")).warnings;
    let shown = dir.path().display();
    let told: Vec<(String, String)> = warnings
        .iter()
        .map(|problem| (problem.message.clone(), problem.help.clone().unwrap_or_default()))
        .collect();
    assert_eq!(
        told,
        [
            (
                format!("mode cannot be started: {shown}/app/plain.sh may not be executed by heartbeatd"),
                format!("chmod +x {shown}/app/plain.sh, or write run = \"sh ./app/plain.sh\"")
            ),
            (
                format!(
                    "bare cannot be started: {shown}/app/bare has no `#!` line, so the kernel cannot execute it"
                ),
                "begin it with a line such as #!/bin/sh, or write run = \"sh ./app/bare\"".to_owned()
            ),
            (
                "a check of bare cannot run: `CMD` is no program".to_owned(),
                "leave out \"CMD\": the list is the program and its arguments".to_owned()
            ),
        ]
    );
}

#[test]
fn a_check_warns_of_a_line_that_empties_its_own_log() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[heartbeat]\nsocket = \"run/s\"\n[realm.a]\nshell = true\nrun = \"echo > /dev/stderr; exec sleep 9\"\n[realm.b]\nrun = [\"sh\", \"-c\", \"echo >> /dev/stderr; echo >&2\"]\n[realm.c]\nrun = \"sh -c 'echo >/dev/stdout'\"\nlog.to = \"none\"\n";
    std::fs::write(dir.path().join("heartbeat.toml"), text).unwrap();
    let env = BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]);
    let sources =
        Sources { file: None, env, bytes: Vec::new(), overrides: Vec::new(), cwd: dir.path().to_owned() };
    let warnings = check(&sources).unwrap_or_else(|report| panic!("{report}")).warnings;
    let first = warnings.iter().find(|problem| problem.code.as_str() == "HB307").unwrap();
    assert_eq!(
        (first.line, first.help.as_deref()),
        (5, Some("write >&2, or >> /dev/stderr: a log is a file, and `>` begins it anew"))
    );
    assert_eq!(warnings.iter().filter(|problem| problem.code.as_str() == "HB307").count(), 1, "{warnings}");
}

#[test]
fn a_list_of_one_element_with_a_blank_is_a_command_line_if_no_program_is_called_so() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("my program");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let text = "[heartbeat]\nsocket = \"run/s\"\n[realm.list]\nrun = [\"sleep 100\"]\n[realm.there]\nrun = [\"./my program\"]\n";
    std::fs::write(dir.path().join("heartbeat.toml"), text).unwrap();
    let env = BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]);
    let sources =
        Sources { file: None, env, bytes: Vec::new(), overrides: Vec::new(), cwd: dir.path().to_owned() };
    let warnings = check(&sources).unwrap_or_else(|report| panic!("{report}")).warnings;
    let found: Vec<_> =
        warnings.iter().map(|one| (one.line, one.code.as_str(), one.help.as_deref())).collect();
    assert_eq!(found, [(4, "HB305", Some("one word per element: run = [\"sleep\", \"100\"]"))], "{warnings}");
}

#[test]
fn the_help_for_a_tilde_has_the_whole_path() {
    let text = "[realm.a]\nrun = \"x\"\ndir = \"~/app\"\n";
    for (env, expected) in [
        (
            BTreeMap::from([("HOME".to_owned(), "/srv/ada/".to_owned())]),
            "write \"/srv/ada/app\" where your home is meant",
        ),
        (BTreeMap::new(), "write the directory itself, for example \"/srv/app\""),
    ] {
        let loaded = load_str("heartbeat.toml", text, &env).unwrap_or_else(|report| panic!("{report}"));
        let helps: Vec<_> = loaded.warnings.iter().map(|one| (one.line, one.help.as_deref())).collect();
        assert_eq!(helps, [(3, Some(expected))]);
    }
}

#[test]
fn a_check_looks_for_programs_and_directories_and_a_start_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[heartbeat]\nsocket = \"run/s\"\n[realm.program]\nrun = \"gunicornn shop.wsgi\"\n[realm.path]\nrun = \"./bin/none\"\n[realm.directory]\nrun = \"sleep 1\"\ndir = \"none\"\n[realm.tilde]\nrun = \"sleep 1\"\ndir = \"~/shop\"\n[realm.mode]\nrun = \"./plain\"\n[realm.hook]\nrun = \"sh -c true\"\nstop.command = \"no-such-hook\"\nhealth = { exec = \"no-such-check\" }\n[realm.user]\nrun = \"true\"\nuser = \"nobody\"\n[realm.shell]\nshell = true\nrun = \"no-such-program | x\"\n[realm.off]\nrun = \"no-such-program\"\nenabled = false\n";
    std::fs::write(dir.path().join("heartbeat.toml"), text).unwrap();
    std::fs::write(dir.path().join("plain"), "#!/bin/sh\n").unwrap();
    let path = std::env::var("PATH").unwrap();
    let env = BTreeMap::from([("PATH".to_owned(), path)]);
    let sources =
        Sources { file: None, env, bytes: Vec::new(), overrides: Vec::new(), cwd: dir.path().to_owned() };
    let codes = |report: &Report| {
        report.iter().map(|problem| (problem.line, problem.code.as_str())).collect::<Vec<_>>()
    };
    let checked = check(&sources).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(
        codes(&checked.warnings),
        [
            (4, "HB305"),
            (6, "HB305"),
            (9, "HB306"),
            (12, "HB304"),
            (12, "HB306"),
            (14, "HB305"),
            (17, "HB305"),
            (18, "HB305"),
        ],
        "{}",
        checked.warnings
    );
    let loaded = heartbeat_config::load(&sources).unwrap();
    assert_eq!(codes(&loaded.warnings), [(12, "HB304")]);
    // With an error beside it, all of it is said as well.
    std::fs::write(dir.path().join("heartbeat.toml"), format!("{text}prot = 1\n")).unwrap();
    assert_eq!(check(&sources).unwrap_err().iter().count(), 9);
    assert_eq!(heartbeat_config::load(&sources).unwrap_err().iter().count(), 1);
}
