//! `[realm.NAME]`, and the tables in `needs`.

use super::Table::{Need, Realm};
use super::{Key, Table, Takes};
use crate::defaults::{self, quoted};

/// What a running dependent does while a need is down.
pub(crate) const WHILE_DOWN: &[&str] = &["ride", "stop", "restart"];
/// What a start waits for.
pub(crate) const GATES: &[&str] = &["up", "started", "done"];

pub(super) const KEYS: &[Key] = &[
    Key::new(
        Realm,
        "run",
        Takes::Command,
        "Program and arguments. A string is split as a shell would, without a shell. Without `run` the realm is only watched.",
        "\"gunicorn shop.wsgi\"",
    )
    .also(&["command", "cmd", "exec", "execstart", "program", "startcommand", "entrypoint", "script", "args"]),
    Key::new(
        Realm,
        "port",
        Takes::Number(1, 65_535),
        "Its port. Without `health`, GET /api/health/ on it has to answer 200; the port, the response time and the process are watched in any case. The program is given it as PORT.",
        "8001",
    )
    .registrable(),
    Key::new(Realm, "host", Takes::Text("string"), "Host of `port`.", "\"127.0.0.1\"")
        .default(|| quoted(defaults::HOST))
        .also(&["address", "bind", "hostname"])
        .registrable(),
    Key::new(
        Realm,
        "health",
        Takes::Probes,
        "Its probes: a URL, a table, or a list of both.",
        "\"tcp://127.0.0.1:5432\"",
    )
    .registrable(),
    Key::new(
        Realm,
        "needs",
        Takes::Needs,
        "Realms that it needs: they are started with it, waited for, and blamed when they break.",
        "[\"db\"]",
    )
    .also(&["dependson", "depends", "dependencies", "requires", "requisite", "bindsto", "links"])
    .registrable(),
    Key::new(
        Realm,
        "wants",
        Takes::Needs,
        "Realms that are started with it and waited for at most 10 s; it runs without them.",
        "[\"mail\"]",
    )
    .registrable(),
    Key::new(Realm, "after", Takes::Needs, "Realms that are started before it where both are started: order only.", "[\"db\"]")
        .registrable(),
    Key::new(
        Realm,
        "while_down",
        Takes::Word(WHILE_DOWN),
        "What it does while a need is down: `ride` goes on, `stop` stops until the need is back, `restart` restarts once it is.",
        "\"stop\"",
    )
    .default(|| quoted(WHILE_DOWN[0])),
    Key::new(Realm, "oneshot", Takes::Boolean, "It runs once and is done when it ends well.", "true")
        .default(|| "false".to_owned()),
    Key::new(Realm, "dir", Takes::Text("path"), "Its working directory.", "\"/srv/app\"")
        .default(|| "the directory of the file".to_owned())
        .also(&["cwd", "directory", "workingdir", "workingdirectory", "workdir", "chdir"]),
    Key::new(
        Realm,
        "env",
        Takes::Pairs,
        "Variables of its environment, over those of `env_file` and those it inherits.",
        "{ LEVEL = \"info\" }",
    )
    .also(&["environment", "environ", "envs", "envvars", "variables"]),
    Key::new(
        Realm,
        "env_file",
        Takes::Text("path"),
        "File of more variables, a NAME=value per line; heartbeatd reads it at each start.",
        "\"app.env\"",
    )
    .also(&["environmentfile", "envfiles", "dotenv"]),
    Key::new(
        Realm,
        "pidfile",
        Takes::Text("path"),
        "File in which a program that makes a daemon of itself writes its number; believed only within its own process tree.",
        "\"/run/app.pid\"",
    ),
    Key::new(Realm, "umask", Takes::Mode, "Its file mode creation mask.", "\"022\""),
    Key::new(
        Realm,
        "user",
        Takes::Text("user name"),
        "User as which its program, hooks and check commands run.",
        "\"root\"",
    )
    .default(|| "heartbeatd's own user".to_owned())
    .also(&["username", "runas", "uid"]),
    Key::new(Realm, "groups", Takes::Texts("group names"), "Its supplementary groups; goes with `user`.", "[\"root\"]")
        .default(|| "those of `user`".to_owned())
        .also(&["supplementarygroups", "groupadd", "gid"]),
    Key::new(
        Realm,
        "verify_owner",
        Takes::Boolean,
        "Its port must be held by a process of its own; `false` for a proxy or container runtime that listens for it.",
        "false",
    )
    .default(|| "true".to_owned()),
    Key::new(Realm, "title", Takes::Text("string"), "Title for people.", "\"Web shop\"")
        .also(&["description", "displayname"])
        .registrable(),
    Key::new(Realm, "docs", Takes::Text("string"), "Where people read about it.", "\"https://wiki/shop\"")
        .also(&["documentation", "homepage"])
        .registrable(),
    Key::new(Realm, "owner", Takes::Text("string"), "Who is responsible for it.", "\"team core\"").registrable(),
    Key::new(Realm, "group", Takes::Text("string"), "Label for selectors: `@GROUP` selects it.", "\"web\"").registrable(),
    Key::new(Realm, "labels", Takes::Pairs, "Labels for selectors: `team=core` selects it.", "{ team = \"core\" }")
        .also(&["tags", "annotations"])
        .registrable(),
    Key::new(Realm, "critical", Takes::Boolean, "Whether it counts for `ok` and for the exit code of `status`.", "false")
        .default(|| "true".to_owned())
        .registrable(),
    Key::new(Realm, "enabled", Takes::Boolean, "With `false` it is read and checked, and otherwise not there.", "false")
        .default(|| "true".to_owned()),
    Key::new(Realm, "manual", Takes::Boolean, "It is started only on request, or when another realm needs it.", "true")
        .default(|| "false".to_owned()),
    Key::new(Realm, "start", Takes::Table(Table::Start), "How it starts.", "{ timeout = \"60s\" }"),
    Key::new(Realm, "stop", Takes::Table(Table::Stop), "How it is stopped.", "{ timeout = \"10s\" }"),
    Key::new(
        Realm,
        "restart",
        Takes::Table(Table::Restart),
        "When, after how long and how often it is restarted.",
        "{ policy = \"always\" }",
    ),
    Key::new(Realm, "log", Takes::Table(Table::Log), "Where its output goes.", "{ keep = 5 }"),
    Key::new(
        Realm,
        "slo",
        Takes::Table(Table::Slo),
        "Its objectives: heartbeatd shows what is left of their budget, and how fast it is used.",
        "{ availability = \"99.9%\" }",
    )
    .also(&["objective", "objectives", "sla"]),
    Key::new(Realm, "limits", Takes::Table(Table::Limits), "What it may use.", "{ memory = \"512MiB\" }"),
    Key::new(
        Realm,
        "no_new_privileges",
        Takes::Boolean,
        "It gains no rights by set-user-id programs or file capabilities.",
        "true",
    )
    .default(|| "true with `user`, else false".to_owned()),
    Key::new(Realm, "shell", Takes::Boolean, "`run` is a line for /bin/sh.", "true").default(|| "false".to_owned()),
    Key::new(Need, "realm", Takes::Text("name"), "The realm that it depends on.", "\"db\"")
        .also(&["name", "service", "target"])
        .registrable(),
    Key::new(
        Need,
        "until",
        Takes::Word(GATES),
        "What a start waits for: the realm is up, its process has started, or (a oneshot) it is done.",
        "\"started\"",
    )
    .default(|| format!("{}; {} for oneshots", quoted(GATES[0]), quoted(GATES[2])))
    .registrable(),
    Key::new(
        Need,
        "while_down",
        Takes::Word(WHILE_DOWN),
        "What the realm does while this one is down.",
        "\"stop\"",
    )
    .default(|| "that of the realm".to_owned()),
];
