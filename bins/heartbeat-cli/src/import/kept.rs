//! What several tools say in their own words keeps its meaning, and loads in every combination.

use super::tests::imported;
use super::*;

fn holds(draft: &Draft, parts: &[&str]) {
    let all = format!("{}{}", draft.toml(), draft.report().join("\n"));
    for part in parts {
        assert!(all.contains(part), "{part}\n{all}");
    }
}

#[test]
fn statements_of_monit_load_in_every_combination() {
    let starts = [
        "",
        "start program = \"/usr/bin/systemctl start x\"\n",
        "start program = \"/bin/x --serve\" as uid root and gid daemon\n",
    ];
    let statements = [
        "if total memory > 500 MB for 5 cycles then restart\n",
        "if failed unixsocket /run/pg.sock protocol pgsql then restart\n",
        "if 3 restarts within 5 cycles then unmonitor\n",
        "mode manual\n",
        "onreboot nostart\n",
        "stop program = \"/bin/x --stop\"\n",
        "if failed port 5432 type tcp retry 2 then alert\n",
    ];
    let checks = [
        "check process x with pidfile /run/x.pid\n",
        "check process x matching \"x\"\n",
        "check host x with address 127.0.0.1\n",
        "check program x with path \"/bin/true\"\n",
    ];
    for check in checks {
        for start in starts {
            for chosen in 0u32..1 << statements.len() {
                let some = statements.iter().enumerate().filter(|(at, _)| chosen & (1 << at) != 0);
                let text = format!("{check}{start}{}", some.map(|(_, line)| *line).collect::<String>());
                let draft = imported(ImportKind::Monit, "monitrc", &text);
                if chosen & 1 != 0 {
                    holds(&draft, &["memory"]);
                }
            }
        }
    }
}

#[test]
fn a_realm_that_is_not_started_has_nothing_of_a_program_and_the_report_says_so() {
    let text = "check process nginx with pidfile /run/nginx.pid\n start program = \"/usr/bin/systemctl start nginx\"\n\
                if total memory > 500 MB for 5 cycles then restart\n if failed unixsocket /run/x.sock protocol pgsql retry 2 then restart\n\
                check filesystem root with path /\n if space usage > 90% then alert\n";
    let draft = imported(ImportKind::Monit, "monitrc", text);
    assert!(!draft.toml().contains("limits"), "{}", draft.toml());
    holds(
        &draft,
        &[
            "dropped      nginx: if total memory > 500 MB for 5 cycles then restart: heartbeatd limits the memory of what it starts",
            "pgsql is not spoken on a Unix socket",
            "fail_after = 2",
            "`retry`: what monit asks again",
            "if space usage > 90% then alert: it belongs to `check filesystem root`, which is left out",
        ],
    );
}

#[test]
fn a_program_of_systemd_has_its_own_signals_and_dollars() {
    let unit = "[Service]\nEnvironment=OPTS=-x\nExecStartPre=/bin/sh -c 'echo $$HOME'\nExecStart=/usr/bin/env python3 h.py $OPTS\n\
                LimitCORE=0\nLimitMEMLOCK=64K\nLimitFSIZE=1G\nRestartMaxDelaySec=60\nStartLimitBurst=4\nKillMode=mixed\nTimeoutStartSec=infinity\n";
    let draft = imported(ImportKind::Systemd, "h.service", unit);
    holds(
        &draft,
        &[
            "run = \"exec /usr/bin/env python3 h.py $OPTS\"\nshell = true\n",
            "start.before = [\"/bin/sh -c 'echo $HOME'\"]",
            "limits.core = \"0B\"",
            "limits.memlock = \"64KiB\"",
            "limits.fsize = \"1GiB\"",
            "restart.backoff_max = \"60s\"",
            "restart.burst = 4\nrestart.when_spent = \"fail\"",
            "stop.signal_to = \"main\"",
            "h: StartLimitBurst: 4 restarts within restart.window",
        ],
    );
    for untrue in ["stop.signal_to is the main process", "start.timeout is 60 s"] {
        assert!(!draft.report().join("\n").contains(untrue), "the file says it: {untrue}");
    }
    let plain = imported(
        ImportKind::Systemd,
        "y.service",
        "[Service]\nExecStart=/bin/sh -c 'echo home=$$HOME; exec sleep 1000'\n",
    );
    holds(&plain, &["run = [\"/bin/sh\", \"-c\", \"echo home=$HOME; exec sleep 1000\"]"]);
    assert!(!plain.toml().contains("shell"), "{}", plain.toml());
}

#[test]
fn what_the_files_of_a_tool_leave_to_it_is_said_once() {
    let mut draft = Draft::default();
    for name in ["a.service", "b.service", "c.service"] {
        translate(&mut draft, ImportKind::Systemd, name, "[Service]\nExecStart=/bin/x\n").unwrap();
    }
    draft.resolve();
    let lines: Vec<String> =
        draft.report().into_iter().filter(|line| line.contains("start.timeout is 60 s")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("approximated a, b, c: "), "{lines:?}");
}

#[test]
fn the_programs_of_supervisord_get_what_it_has_itself() {
    let text = "[supervisord]\nlogfile=/x\nuser=root\numask=027\nenvironment=A=\"1\",B=\"2\"\nminfds=4096\n\
                [program:web]\ncommand=/bin/web\nenvironment=B=\"3\"\nstartretries=4\n[program:job]\ncommand=/bin/job\numask=077\n";
    let draft = imported(ImportKind::Supervisord, "supervisord.conf", text);
    holds(
        &draft,
        &[
            "env = { B = \"3\", A = \"1\" }",
            "env = { A = \"1\", B = \"2\" }",
            "umask = \"027\"",
            "umask = \"077\"",
            "limits.nofile = 4096",
            "approximated supervisord: user, umask, environment, minfds: each realm has it that says nothing else",
            "dropped      supervisord: it is about supervisord itself: logfile",
            "restart.when_spent = \"fail\"",
            "supervisord counts only starts that fail one after another",
        ],
    );
    assert_eq!(draft.toml().matches("user = \"root\"").count(), 2, "{}", draft.toml());
}

#[test]
fn processes_of_supervisord_have_its_numbers_and_no_port_of_another_one() {
    let text = "[supervisord]\nenvironment=PORT=\"9000\",A=\"1\"\n\
                [program:web]\ncommand=/bin/web --port 80%(process_num)02d\nprocess_name=x_%(process_num)d\nnumprocs=2\nnumprocs_start=5\n\
                environment=PORT=\"80%(process_num)02d\"\n\
                [program:one]\ncommand=/bin/one\nnumprocs=2\nenvironment=PORT=\"8100\",B=\"2\"\n";
    let draft = imported(ImportKind::Supervisord, "supervisord.conf", text);
    holds(
        &draft,
        &[
            "[realm.web-5]\ngroup = \"web\"\nrun = \"/bin/web --port 8005\"\nport = 8005",
            "[realm.web-6]\ngroup = \"web\"\nrun = \"/bin/web --port 8006\"\nport = 8006",
            "2 realms, web-5 to web-6: `@web` names them all",
            "[realm.one-0]\ngroup = \"one\"\nrun = \"/bin/one\"\nport = 8100",
            "[realm.one-1]\ngroup = \"one\"\nrun = \"/bin/one\"\nenv = { B = \"2\", A = \"1\" }",
            "dropped      one.environment: heartbeatd sets PORT to the `port` of a realm, and 8100 is that of one-0",
            "dropped      supervisord.environment: heartbeatd sets PORT to the `port` of a realm",
        ],
    );
    assert!(!draft.toml().contains("9000") && !draft.report().join("\n").contains("numprocs_start"));
}

#[test]
fn the_restart_policy_of_a_deployment_wins_over_restart() {
    let of = |deploy: &str| {
        let text = format!(
            "services:\n  a:\n    command: ./a\n    restart: \"no\"\n    deploy:\n      restart_policy: {deploy}\n"
        );
        imported(ImportKind::Compose, "compose.yaml", &text)
    };
    let draft = of("{ condition: on-failure, delay: 5s, max_attempts: 3, window: 120s, extra: 1 }");
    holds(
        &draft,
        &[
            "restart.policy = \"on-failure\"",
            "restart.backoff = \"5s\"",
            "restart.burst = 3\nrestart.when_spent = \"fail\"",
            "restart.verify_for = \"120s\"",
            "dropped      a.restart: deploy.restart_policy says it",
            "dropped      a.deploy.restart_policy.extra",
        ],
    );
    holds(&of("{ delay: 1s }"), &["restart.policy = \"always\""]);
    holds(&of("{ condition: none }"), &["restart.policy = \"never\""]);
    let watched = "services:\n  a:\n    image: x\n    ports: [\"80:80\"]\n    deploy: { restart_policy: { condition: any } }\n";
    holds(
        &imported(ImportKind::Compose, "compose.yaml", watched),
        &["dropped      a.deploy.restart_policy: it is about the program"],
    );
}

#[test]
fn what_this_host_lacks_is_named_with_its_line_and_is_no_fault_of_the_translation() {
    use crate::global::Format;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("web.service");
    std::fs::write(
        &file,
        "[Service]\nExecStart=/bin/x\nUser=no-such-user\nEnvironmentFile=/no/such/file.env\n",
    )
    .unwrap();
    let (mut console, out, err) = Console::captured(Format::Plain);
    let exit = run(&[file], None, &mut console).unwrap_or_else(|failure| panic!("{}", failure.message));
    let (toml, said) = (out.text(), err.text());
    let line = |key: &str| toml.lines().position(|line| line.starts_with(key)).unwrap() + 1;
    assert_eq!(exit, Exit::Holds, "{said}");
    assert!(said.contains("this host lacks what these lines name"), "{said}");
    for (key, what) in [("user", "HB125: there is no user no-such-user"), ("env_file", "HB108: ")] {
        let begins = format!("  heartbeat.toml:{}:", line(key));
        let found = said.lines().find(|line| line.starts_with(&begins)).unwrap_or_else(|| panic!("{said}"));
        assert!(found.contains(what), "{found}");
    }
}

#[test]
fn groups_limits_and_budgets_of_pm2_and_compose_keep_their_meaning() {
    let pm2 = r#"{ "apps": [ { "name": "a", "script": "./a", "gid": "daemon", "uid": "root", "max_restarts": 7, "stop_exit_codes": [0, 3],
        "listen_timeout": 3000 } ] }"#;
    holds(
        &imported(ImportKind::Pm2, "ecosystem.json", pm2),
        &[
            "groups = [\"daemon\"]",
            "restart.never_codes = [0, 3]",
            "restart.burst = 7\nrestart.when_spent = \"fail\"",
            "dropped      a.listen_timeout: pm2 kills nothing for it",
        ],
    );
    let compose = "services:\n  a:\n    command: ./a\n    user: \"root:daemon\"\n    oom_score_adj: 500\n    ulimits: { nproc: 100, nofile: { soft: 20, hard: 40 }, core: -1, rtprio: 5 }\n    \
                   healthcheck: { test: [\"CMD\", \"wget\", \"-q\", \"--spider\", \"http://localhost:8000/\"], interval: 2m }\n";
    holds(
        &imported(ImportKind::Compose, "compose.yaml", compose),
        &[
            "user = \"root\"\n",
            "groups = [\"daemon\"]",
            "limits.nproc = 100",
            "limits.nofile = 40",
            "limits.core = \"unlimited\"",
            "limits.oom_score = 500",
            "dropped      a.ulimits.rtprio",
            "method = \"HEAD\", redirects = 10, interval = \"2m\", timeout = \"30s\"",
        ],
    );
}

#[test]
fn a_port_of_compose_has_the_value_of_the_variables_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".env"), "P=8123\n").unwrap();
    let name = dir.path().join("compose.yaml").display().to_string();
    let text = "services:\n  a:\n    command: ./a\n    ports: [\"${P:-8000}:${P:-8000}\"]\n  b:\n    command: ./b\n    ports: [\"${Q:-9000}:9000\"]\n";
    let draft = imported(ImportKind::Compose, &name, text);
    holds(&draft, &["port = 8123", "port = 9000", "approximated variables P, Q: their values of now"]);
}
