//! Files as people have them, and what becomes of every setting.

use std::collections::BTreeMap;

use super::*;

/// What is made of a file of another tool, which loads.
pub(super) fn imported(kind: ImportKind, name: &str, text: &str) -> Draft {
    let mut draft = Draft::default();
    translate(&mut draft, kind, name, text).unwrap();
    draft.resolve();
    let toml = draft.toml();
    let loaded = load_str("heartbeat.toml", &toml, &BTreeMap::new());
    assert!(loaded.is_ok(), "{}\n{text}\n{toml}", loaded.unwrap_err());
    draft
}

fn has(draft: &Draft, lines: &[&str]) {
    let toml = draft.toml();
    for line in lines {
        assert!(toml.lines().any(|there| there == *line), "{line}\n{toml}");
    }
}

fn said(draft: &Draft, parts: &[&str]) {
    let report = draft.report().join("\n");
    for part in parts {
        assert!(report.contains(part), "{part}\n{report}");
    }
}

const COMPOSE: &str = r#"
version: "3.9"
x-common: &common
  restart: unless-stopped
  env_file: [app.env, more.env]
services:
  db:
    image: postgres:16
    ports: ["5432:5432"]
    volumes: ["data:/var/lib/postgresql/data"]
  migrate:
    build: .
    command: python manage.py migrate
    restart: "no"
    depends_on: [db]
  Web_App:
    <<: *common
    env_file: []
    command: ["gunicorn", "shop.wsgi", "--bind", "0.0.0.0:8000"]
    environment:
      LEVEL: info
      COST: 5
    ports:
      - "8000:8000"
      - "9000:9000"
    working_dir: /srv
    depends_on:
      db: { condition: service_healthy }
      migrate: { condition: service_completed_successfully }
      cache: { condition: service_started }
    healthcheck:
      test: ["CMD", "curl", "-f", "http://localhost:8000/"]
      interval: 10s
      timeout: 3s
      retries: 5
      start_period: 1m30s
    stop_grace_period: 20s
    stop_signal: SIGINT
    mem_limit: 512m
    deploy: { resources: { limits: { cpus: "1.5", memory: 1G } }, replicas: 3 }
    networks: [front]
    frobnicate: 1
volumes: { data: {} }
"#;

#[test]
fn a_compose_file_becomes_realms_and_nothing_is_lost_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let env = dir.path().join("app.env");
    std::fs::write(&env, "A=1\n").unwrap();
    let text = COMPOSE.replace("    env_file: []\n", "").replace("app.env", env.to_str().unwrap());
    let draft = imported(ImportKind::Compose, "compose.yaml", &text);
    has(
        &draft,
        &[
            "[realm.db]",
            "port = 5432",
            "health = \"tcp://127.0.0.1:5432\"",
            "run = \"python manage.py migrate\"",
            "restart.policy = \"never\"",
            "oneshot = true",
            "[realm.web_app]",
            "run = [\"gunicorn\", \"shop.wsgi\", \"--bind\", \"0.0.0.0:8000\"]",
            "env = { COST = \"5\", LEVEL = \"info\" }",
            "needs = [\"db\", { realm = \"migrate\", until = \"done\" }]",
            "health = { http = \"http://127.0.0.1:8000/\", status = \"200-399\", interval = \"10s\", timeout = \"3s\", fail_after = 5, grace = \"1m30s\" }",
            "stop.timeout = \"20s\"",
            "stop.signal = \"INT\"",
            "limits.cpu = \"150%\"",
            "restart.policy = \"always\"",
        ],
    );
    said(
        &draft,
        &[
            "approximated db: its program is in the image postgres:16",
            "dropped      volumes: heartbeatd runs programs, not containers",
            "dropped      db.volumes: it is about the container",
            "dropped      Web_App.networks",
            "dropped      Web_App.frobnicate: heartbeatd has nothing like it",
            "dropped      Web_App.deploy.replicas",
            "dropped      Web_App.depends_on: cache is in none of these files",
            "approximated Web_App: the realm is called web_app",
            "approximated Web_App.ports: a realm has one port",
            "approximated Web_App.env_file: a realm has one file: put more.env",
            "approximated migrate: others wait until it is done",
        ],
    );
}

#[test]
fn a_procfile_keeps_its_shell_and_its_ports() {
    let text = "# comment\nweb: gunicorn -b 0.0.0.0:$PORT shop.wsgi\nworker: celery -A shop worker\nclock: A=1 python clock.py > clock.log\nnonsense\n";
    let draft = imported(ImportKind::Procfile, "Procfile", text);
    has(
        &draft,
        &[
            "run = \"gunicorn -b 0.0.0.0:$PORT shop.wsgi\"",
            "shell = true",
            "port = 5000",
            "health = \"tcp://127.0.0.1:5000\"",
            "run = \"celery -A shop worker\"",
        ],
    );
    assert_eq!(draft.toml().matches("shell = true").count(), 2, "{}", draft.toml());
    said(&draft, &["3 realms", "approximated web: PORT is 5000", "dropped      line 5"]);
}

#[test]
fn a_process_of_a_procfile_has_a_port_only_where_it_listens_on_it() {
    let text = "web: npm start\nlocal: serve --port 3000\napi: serve --port ${PORT:-80}\nworker: sleep 10000 # until done\n";
    let toml = imported(ImportKind::Procfile, "Procfile", text).toml();
    let of = |name: &str| {
        let (_, behind) = toml.split_once(&format!("[realm.{name}]\n")).unwrap();
        behind.split("\n\n").next().unwrap().to_owned()
    };
    assert!(of("web").contains("port = 5000\nhealth = \"tcp://127.0.0.1:5000\""), "{toml}");
    assert!(of("api").contains("port = 5200\nhealth = \"tcp://127.0.0.1:5200\""), "{toml}");
    for (name, port) in [("local", 5_100), ("worker", 5_300)] {
        assert!(!of(name).contains("\nport = "), "{toml}");
        assert!(of(name).contains(&format!("env = {{ PORT = \"{port}\" }}")), "{toml}");
    }
    assert!(of("worker").contains("shell = true"), "a shell drops the comment: {toml}");
    let own = imported(ImportKind::Procfile, "Procfile", "web: rails server -p 3000\n").toml();
    assert!(!own.contains("\nport = "), "it listens elsewhere: {own}");
}

#[test]
fn a_file_of_variables_that_may_be_missing_is_named_only_where_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let unit = |mark: &str, file: &str| {
        let unit = format!(
            "[Service]\nExecStart=/bin/true\nEnvironmentFile={mark}{}/{file}\n",
            dir.path().display()
        );
        let mut draft = Draft::default();
        translate(&mut draft, ImportKind::Systemd, "app.service", &unit).unwrap();
        draft
    };
    let compose = |file: &str| {
        let name = dir.path().join("compose.yaml").display().to_string();
        let text = format!(
            "services:\n  app:\n    command: sleep 9\n    env_file: [{{ path: ./{file}, required: false }}, always.env]\n"
        );
        let mut draft = Draft::default();
        translate(&mut draft, ImportKind::Compose, &name, &text).unwrap();
        draft
    };
    std::fs::write(dir.path().join("there.env"), "A=1\n").unwrap();
    for (draft, is_named) in [
        (unit("-", "missing.env"), false),
        (unit("-", "there.env"), true),
        (unit("", "missing.env"), true),
        (compose("missing.env"), false),
        (compose("there.env"), true),
    ] {
        let toml = draft.toml();
        assert_eq!(toml.contains("missing.env") || toml.contains("there.env"), is_named, "{toml}");
        let is_left_out =
            draft.report().join("\n").contains("missing.env may be missing there, and is: write env_file = ");
        assert_eq!(is_left_out, !is_named, "{:?}", draft.report());
    }
    has(&compose("missing.env"), &["env_file = \"always.env\""]);
}

const UNIT: &str = r#"
[Unit]
Description=Shop API
Documentation=https://wiki/shop man:shop(8)
After=network.target redis.service
Requires=redis.service
StartLimitBurst=5
StartLimitIntervalSec=1min
[Service]
Type=notify
User=nobody
WorkingDirectory=/srv
Environment="LEVEL=info" A=b
Environment=LEVEL=debug
ExecStartPre=/bin/true
ExecStart=/usr/bin/sleep \
    1000
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=5
TimeoutStopSec=1min 30s
KillMode=mixed
KillSignal=SIGINT
LimitNOFILE=1024:65536
MemoryMax=1G
CPUQuota=150%
PrivateTmp=yes
WatchdogSec=30
StandardOutput=journal
NoNewPrivileges=true
[Install]
WantedBy=multi-user.target
"#;

#[test]
fn a_unit_becomes_a_realm_with_its_name() {
    let mut draft = Draft::default();
    for (name, text) in [
        ("/etc/systemd/system/shop.service", UNIT),
        ("redis.service", "[Service]\nExecStart=-/usr/bin/sleep 9\n"),
    ] {
        translate(&mut draft, ImportKind::Systemd, name, text).unwrap();
    }
    draft.resolve();
    has(
        &draft,
        &[
            "[realm.shop]",
            "title = \"Shop API\"",
            "docs = \"https://wiki/shop\"",
            "run = \"/usr/bin/sleep 1000\"",
            "user = \"nobody\"",
            "env = { A = \"b\", LEVEL = \"debug\" }",
            "start.before = [\"/bin/true\"]",
            "restart.policy = \"on-failure\"",
            "restart.backoff = \"5s\"",
            "restart.burst = 5",
            "restart.window = \"1m\"",
            "stop.timeout = \"1m30s\"",
            "stop.signal = \"INT\"",
            "limits.nofile = 65536",
            "limits.memory = \"1GiB\"",
            "limits.cpu = \"150%\"",
            "health = { notify = true, watchdog = \"30s\" }",
            "log.to = \"journal\"",
            "no_new_privileges = true",
            "needs = [\"redis\"]",
        ],
    );
    assert!(!draft.toml().contains("after ="), "what is needed is ordered, too: {}", draft.toml());
    assert!(load_str("heartbeat.toml", &draft.toml(), &BTreeMap::new()).is_ok(), "{}", draft.toml());
    said(
        &draft,
        &[
            "dropped      shop: PrivateTmp: heartbeatd has nothing like it",
            "dropped      shop: ExecReload",
            "dropped      shop: After: network.target: it is no service",
            "approximated redis: ExecStart: `-`: here a failure of it counts",
        ],
    );
    let mut none = Draft::default();
    assert!(translate(&mut none, ImportKind::Systemd, "x.service", "[Unit]\nDescription=x\n").is_err());
}

const SUPERVISORD: &str = r#"
[supervisord]
logfile=/tmp/supervisord.log
[program:web]
command=gunicorn shop.wsgi
    --workers 4 ; a comment
directory=/srv
environment=LEVEL="info",LIST="a,b",N=1
autostart=true
autorestart=unexpected
startsecs=5
startretries=3
exitcodes=0,2
stopsignal=INT
stopwaitsecs=20
stopasgroup=true
stdout_logfile=/var/log/web.log
stdout_logfile_maxbytes=50MB
numprocs=2
priority=10
user=nobody
frob=1
[program:worker]
command=celery worker
autostart=false
[group:shop]
programs=web,worker
"#;

#[test]
fn a_supervisord_file_becomes_realms() {
    let draft = imported(ImportKind::Supervisord, "supervisord.conf", SUPERVISORD);
    has(
        &draft,
        &[
            "[realm.web-0]",
            "[realm.web-1]",
            "group = \"shop\"",
            "run = \"gunicorn shop.wsgi --workers 4\"",
            "env = { LEVEL = \"info\", LIST = \"a,b\", N = \"1\" }",
            "restart.policy = \"on-failure\"",
            "start.settle = \"5s\"",
            "restart.burst = 3",
            "restart.when_spent = \"fail\"",
            "restart.success_codes = [0, 2]",
            "stop.signal_to = \"tree\"",
            "log.max_size = \"50MiB\"",
            "manual = true",
        ],
    );
    said(
        &draft,
        &[
            "dropped      supervisord: it is about supervisord itself",
            "dropped      web.frob",
            "approximated web.numprocs: 2 realms, web-0 to web-1: `@shop` names them all",
            "approximated web.stdout_logfile",
            "dropped      web.priority",
        ],
    );
}

#[test]
fn pm2_and_process_compose_become_realms() {
    let pm2 = r#"{ "apps": [ { "name": "Web", "script": "server.js", "args": ["--port", 3000], "cwd": "/srv", "instances": 4, "exec_mode": "cluster",
        "max_memory_restart": "300M", "env": { "NODE_ENV": "production" }, "env_staging": { "A": 1 }, "kill_timeout": 5000, "autorestart": true } ] }"#;
    let draft = imported(ImportKind::Pm2, "ecosystem.json", pm2);
    has(
        &draft,
        &[
            "[realm.web]",
            "run = \"node server.js --port 3000\"",
            "limits.memory = \"300MiB\"",
            "stop.timeout = \"5000ms\"",
            "env = { NODE_ENV = \"production\" }",
        ],
    );
    said(&draft, &["dropped      Web.instances", "dropped      Web.env_staging"]);

    let yaml = "version: '0.5'\nlog_level: info\nprocesses:\n  db:\n    command: \"postgres -D data\"\n    readiness_probe:\n      exec: { command: pg_isready }\n      period_seconds: 2\n  api:\n    command: \"A=1 ./api | tee log\"\n    environment: [\"LEVEL=info\"]\n    depends_on:\n      db: { condition: process_healthy }\n    readiness_probe:\n      http_get: { host: 127.0.0.1, port: 8001, path: /health }\n    availability: { restart: on_failure, backoff_seconds: 2, max_restarts: 5 }\n    shutdown: { signal: 2, timeout_seconds: 10 }\n    is_tty: true\n";
    let mut draft = Draft::default();
    translate(&mut draft, ImportKind::ProcessCompose, "process-compose.yaml", yaml).unwrap();
    draft.resolve();
    has(
        &draft,
        &[
            "health = { exec = [\"sh\", \"-c\", \"pg_isready\"], interval = \"2s\" }",
            "run = \"A=1 ./api | tee log\"",
            "shell = true",
            "needs = [\"db\"]",
            "health = { http = \"http://127.0.0.1:8001/health\" }",
            "restart.backoff = \"2s\"",
            "stop.timeout = \"10s\"",
        ],
    );
    said(&draft, &["dropped      api.is_tty", "dropped      log_level"]);
}

#[test]
fn a_file_is_known_by_its_name_and_by_what_is_in_it() {
    for (name, text, kind) in [
        ("Procfile.dev", "web: x", Some(ImportKind::Procfile)),
        ("docker-compose.yml", "services:\n", Some(ImportKind::Compose)),
        ("stack.yaml", "processes:\n", Some(ImportKind::ProcessCompose)),
        ("shop.service", "", Some(ImportKind::Systemd)),
        ("any.conf", "[program:web]\n", Some(ImportKind::Supervisord)),
        ("ecosystem.json", "{ \"apps\": [] }", Some(ImportKind::Pm2)),
        ("notes.txt", "hello", None),
    ] {
        assert_eq!(guess(Path::new(name), text), kind, "{name}");
    }
}

#[test]
fn the_times_of_a_check_load_whatever_they_are_to_each_other() {
    let times = ["", "500ms", "3s", "10s", "1m", "0s"];
    for interval in times {
        for timeout in times {
            let line = |key: &str, value: &str| match value {
                "" => String::new(),
                value => format!("      {key}: {value}\n"),
            };
            let text = format!(
                "services:\n  db:\n    command: db\n    healthcheck:\n      test: [\"CMD\", \"true\"]\n{}{}",
                line("interval", interval),
                line("timeout", timeout)
            );
            imported(ImportKind::Compose, "compose.yaml", &text);
            let seconds = |text: &str| text.trim_end_matches('s').parse::<u32>().ok();
            for kind in ["exec: { command: \"true\" }", "http_get: { port: 80 }"] {
                let second = |key: &str, value: &str| {
                    seconds(value).map_or_else(String::new, |value| format!("      {key}: {value}\n"))
                };
                let text = format!(
                    "processes:\n  db:\n    command: db\n    liveness_probe:\n      {kind}\n{}{}",
                    second("period_seconds", interval),
                    second("timeout_seconds", timeout)
                );
                imported(ImportKind::ProcessCompose, "process-compose.yaml", &text);
            }
        }
    }
}

#[test]
fn variables_profiles_and_switched_off_checks_of_compose_keep_their_meaning() {
    let text = r#"
services:
  db:
    image: postgres:16
    ports: ["${DB_PORT:-5433}:5432"]
    healthcheck: { test: ["CMD-SHELL", "pg_isready -U $${POSTGRES_USER}"] }
  web:
    command: gunicorn shop.wsgi --workers ${WORKERS:-2} --url postgres://app:$DB_PASSWORD@db/app
    ports: ["8080:8000"]
    environment: { URL: "postgres://app:$DB_PASSWORD@db:5432/app", PRICE: "$$5", BOTH: "$${LATER}" }
    healthcheck: { disable: true }
  jobs:
    command: ["sh", "-c", "exec jobs $$HOME"]
    profiles: [jobs]
    env_file: [{ path: jobs.env, required: false }]
  debug:
    image: adminer
    ports: ["8081:8080"]
    profiles: [debug]
  odd:
    command: run --flag ${ODD:+yes}
"#;
    let mut draft = Draft::default();
    translate(&mut draft, ImportKind::Compose, "compose.yaml", text).unwrap();
    draft.resolve();
    has(
        &draft,
        &[
            "port = 5433",
            "health = { postgres = \"postgres://127.0.0.1:5433\", interval = \"30s\", timeout = \"30s\" }",
            "run = \"gunicorn shop.wsgi --workers ${WORKERS:-2} --url postgres://app:${DB_PASSWORD:-}@db/app\"",
            "env = { BOTH = \"$${LATER}\", PRICE = \"$5\", URL = \"postgres://app:${DB_PASSWORD:-}@db:5432/app\" }",
            "port = 8000",
            "health = { process = true }",
            "run = [\"sh\", \"-c\", \"exec jobs $HOME\"]",
            "manual = true",
            "enabled = false",
        ],
    );
    assert!(
        !draft.toml().contains("tcp://127.0.0.1:8000"),
        "no check is made where it is off: {}",
        draft.toml()
    );
    said(
        &draft,
        &[
            "approximated variables DB_PASSWORD, ODD, WORKERS: heartbeatd fills them in",
            "approximated web.ports: the program listens on 8000 here: what asked for 8080",
            "approximated jobs.profiles: without its profile it is not started",
            "approximated debug.profiles: without its profile it does not run",
            "dropped      jobs.env_file: jobs.env may be missing there, and is: write env_file = \"jobs.env\" once you have it",
            "dropped      ${ODD:+yes}: heartbeatd has ${NAME}",
        ],
    );
}

#[test]
fn a_unit_with_several_commands_and_specifiers_runs_all_of_them() {
    let unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/never\nExecStart=\nExecStartPre=/bin/prepare $A\n\
                ExecStart=/bin/one --in %t/%p\nExecStart=/bin/two\nExecStart=/bin/three --at 50%%\nEnvironment=\"A=x ${B}\"\n\
                ExecStop=/bin/kill $MAINPID\nTimeoutStartSec=infinity\n";
    let draft = imported(ImportKind::Systemd, "job@one.service", unit);
    has(
        &draft,
        &[
            "[realm.job-one]",
            "oneshot = true",
            "run = \"/bin/three --at 50%\"",
            "env = { A = \"x $${B}\" }",
            "stop.signal = \"TERM\"",
            "start.before = [\"sh -c '/bin/prepare $A'\", \"/bin/one --in /run/job\", \"/bin/two\"]",
        ],
    );
    assert!(!draft.toml().contains("/bin/never"), "{}", draft.toml());
    said(
        &draft,
        &[
            "approximated job@one: ExecStart: of 3 commands the last is `run`, and the others are start.before",
            "dropped      job@one: TimeoutStartSec: every wait has an end here",
        ],
    );
    let nginx = "[Service]\nExecStart=/usr/sbin/nginx -g 'daemon off; master_process on;'\n";
    has(
        &imported(ImportKind::Systemd, "nginx.service", nginx),
        &["run = [\"/usr/sbin/nginx\", \"-g\", \"daemon off; master_process on;\"]"],
    );
}

#[test]
fn the_processes_and_expansions_of_supervisord_are_replaced() {
    let text = "[program:web]\ncommand=%(here)s/web --port 80%(process_num)02d --half 50%% --home %(ENV_HOME)s\nnumprocs=2\n\
                process_name=%(program_name)s_%(process_num)02d\nenvironment=SECRET=\"a%%b,c ${X}\",NAME=\"%(program_name)s\"\n\
                stdout_logfile=%(host_node_name)s.log\nstartretries=0\n";
    let mut draft = Draft::default();
    translate(&mut draft, ImportKind::Supervisord, "/srv/supervisord.conf", text).unwrap();
    draft.resolve();
    has(
        &draft,
        &[
            "[realm.web-0]",
            "run = \"/srv/web --port 8000 --half 50% --home ${HOME}\"",
            "[realm.web-1]",
            "run = \"/srv/web --port 8001 --half 50% --home ${HOME}\"",
            "env = { SECRET = \"a%b,c $${X}\", NAME = \"web\" }",
            "group = \"web\"",
        ],
    );
    said(
        &draft,
        &[
            "2 realms: ",
            "approximated web.numprocs: 2 realms, web-0 to web-1: `@web` names them all",
            "approximated web.stdout_logfile: %(host_node_name)s is not replaced",
            "dropped      web.startretries: a start is tried again here",
        ],
    );
    assert_eq!(draft.report().iter().filter(|line| line.contains("web.numprocs")).count(), 1, "said once");
}

#[test]
fn words_and_times_of_pm2_keep_their_meaning() {
    let text = r#"{ "apps": [
        { "name": "web", "script": "app.js", "args": ["--title", "hello world", "x"], "node_args": "--max-old-space-size=200",
          "kill_timeout": 5000, "restart_delay": "3000", "listen_timeout": "8s", "kill_signal": "SIGTERM" },
        { "name": "job", "script": "npm", "args": "run 'the job'", "restart_delay": 0 },
        { "name": "plain", "script": "./serve", "args": "--port 80" } ] }"#;
    let draft = imported(ImportKind::Pm2, "ecosystem.json", text);
    has(
        &draft,
        &[
            "run = [\"node\", \"--max-old-space-size=200\", \"app.js\", \"--title\", \"hello world\", \"x\"]",
            "stop.timeout = \"5000ms\"",
            "restart.backoff = \"3000ms\"",
            "stop.signal = \"TERM\"",
            "run = [\"npm\", \"run\", \"the job\"]",
            "run = \"./serve --port 80\"",
        ],
    );
    said(
        &draft,
        &[
            "dropped      web.listen_timeout: pm2 kills nothing for it",
            "approximated job, plain: stop.timeout is 10 s, since the file does not say it (pm2: 1.6 s)",
        ],
    );
}

#[test]
fn the_variables_beside_a_procfile_are_those_of_its_processes() {
    let dir = tempfile::tempdir().unwrap();
    let procfile = dir.path().join("Procfile").display().to_string();
    let text = "web: gunicorn shop -b 0.0.0.0:$PORT\nworker: python -m worker &\n";
    let of = |env: &str| {
        std::fs::write(dir.path().join(".env"), env).unwrap();
        let mut draft = Draft::default();
        translate(&mut draft, ImportKind::Procfile, &procfile, text).unwrap();
        draft.resolve();
        draft
    };
    let draft = of("DEBUG=1\nSECRET='a b'\n");
    has(
        &draft,
        &["port = 5000", "env_file = \".env\"", "run = \"python -m worker\"", "env = { PORT = \"5100\" }"],
    );
    assert!(!draft.toml().contains("a b"), "a secret stays in its file");
    said(
        &draft,
        &[
            "approximated .env: each realm reads it at its start",
            "approximated worker: the `&` at its end is left out",
            "approximated web, worker: restart.policy is \"always\", since the file does not say it (foreman: no restart",
        ],
    );
    // heartbeatd sets PORT itself where the realm has one.
    let draft = of("PORT=8100\nDEBUG=1\n");
    has(
        &draft,
        &[
            "port = 8100",
            "health = { process = true }",
            "env = { DEBUG = \"${DEBUG}\" }",
            "env = { PORT = \"8200\" }",
        ],
    );
    let web = draft.toml();
    let web = web.split("[realm.worker]").next().unwrap();
    assert!(!web.contains("env_file"), "PORT in it would be in the way: {web}");
    said(&of("no line\n"), &["dropped      .env: it has a line that is not NAME=value"]);
}

#[test]
fn the_rest_of_a_unit_keeps_its_meaning() {
    let unit = "[Unit]\nPartOf=app.service\nBindsTo=db.service\nRequires=cache\nStartLimitBurst=3\n[Service]\nWatchdogSec=30\nType=notify\n\
                User=www-data\nGroup=adm\nSupplementaryGroups=daemon\nExecStart=-@/bin/app  name 'a  b' --x\n\
                ExecStop=/bin/kill -s QUIT $MAINPID\nRestartSec=0\nStartLimitIntervalSec=0\nTimeoutStopSec=1.5\nRestart=on-failure\n";
    let mut draft = Draft::default();
    translate(&mut draft, ImportKind::Systemd, "web.service", unit).unwrap();
    for other in ["app", "db", "cache"] {
        translate(
            &mut draft,
            ImportKind::Systemd,
            &format!("{other}.service"),
            "[Service]\nExecStart=/bin/x\n",
        )
        .unwrap();
    }
    draft.resolve();
    has(
        &draft,
        &[
            "needs = [{ realm = \"app\", while_down = \"restart\" }, { realm = \"db\", while_down = \"stop\" }, \"cache\"]",
            "health = { notify = true, watchdog = \"30s\" }",
            "groups = [\"adm\", \"daemon\"]",
            "run = \"/bin/app 'a  b' --x\"",
            "stop.signal = \"QUIT\"",
            "stop.timeout = \"1500ms\"",
        ],
    );
    said(
        &draft,
        &[
            "dropped      web: StartLimitBurst: StartLimitIntervalSec=0 turns it off",
            "approximated web: ExecStart: `-`: here a failure of it counts",
            "approximated web: ExecStart: `@`: the program gets its own name",
            "approximated web: PartOf: it is a need with while_down",
            "approximated web: Group: it is one of `groups`",
            "approximated web: RestartSec: the first restart comes at once",
            "dropped      web: StartLimitIntervalSec: restarts have a budget here",
            "approximated app, db, cache: restart.policy is \"always\", since the file does not say it (systemd: no restart)",
            "approximated web, app, db, cache: stop.signal_to is the main process",
            "approximated app, db, cache: stop.timeout is 10 s, since the file does not say it (systemd: 90 s)",
        ],
    );
    let killed = |line: &str| {
        imported(ImportKind::Systemd, "x.service", &format!("[Service]\nExecStart=/bin/x\nExecStop={line}\n"))
            .toml()
    };
    assert!(killed("/bin/kill -INT ${MAINPID}").contains("stop.signal = \"INT\""));
    assert!(killed("kill $MAINPID").contains("stop.signal = \"TERM\""));
    assert!(!killed("/bin/x stop --pid $MAINPID").contains("stop."));
    assert!(killed("/bin/x stop").contains("stop.command = \"/bin/x stop\""));
}

#[test]
fn ports_hosts_and_bounded_restarts_of_compose_keep_their_meaning() {
    let text = r#"
services:
  db:
    image: postgres:16
    ports: ["5433:5432"]
  cache:
    image: redis:7
  dns:
    image: coredns
    ports: ["53:53/udp"]
  web:
    command: gunicorn shop.wsgi --broker redis://cache:6379/0
    restart: "on-failure:5"
    ports: ["8080-8083:8000-8003", { target: 514, published: 514, protocol: udp }]
    environment: { DATABASE_URL: "postgres://app@db:5432/app", DB_HOST: db, MODE: db }
"#;
    let mut draft = Draft::default();
    translate(&mut draft, ImportKind::Compose, "compose.yaml", text).unwrap();
    draft.resolve();
    has(&draft, &["port = 8000", "restart.burst = 5", "restart.when_spent = \"fail\"", "enabled = false"]);
    assert!(!draft.toml().contains("port = 53\n"), "{}", draft.toml());
    said(
        &draft,
        &[
            "dropped      dns.ports: a port of UDP takes no connection",
            "dropped      web.ports: a port of UDP takes no connection",
            "approximated web.ports: of a range the first port is the realm's",
            "approximated web.restart: 5 restarts within restart.window",
            "approximated web.environment.DATABASE_URL: the host db is a name inside of compose: write 127.0.0.1 in its place, with port 5433",
            "approximated web.environment.DB_HOST: the host db is a name inside of compose",
            "approximated web.command: the host cache is a name inside of compose: write 127.0.0.1 in its place, and publish its port",
        ],
    );
    assert!(!draft.report().join("\n").contains("web.environment.MODE"), "a word is no host");
}
