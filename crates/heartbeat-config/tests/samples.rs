//! Diagnostics exactly as people see them, compared with committed samples.
//!
//! `HEARTBEAT_BLESS=1 cargo test -p heartbeat-config --test samples` writes them anew; read the difference as an
//! operator would at three in the morning.

use std::collections::BTreeMap;
use std::path::PathBuf;

use heartbeat_config::{Format, Report, load_str};

/// Name of the sample, what is wrong with it in one code, and the file.
const CASES: &[(&str, &str, &str)] = &[
    ("unknown_key", "HB101", "[realm.api]\nrun = \"gunicorn shop.wsgi\"\nprot = 8001\n"),
    ("key_of_ones_own", "HB101", "[realm.api]\nrun = \"gunicorn shop.wsgi\"\nteam_channel = \"#shop\"\n"),
    ("no_such_user", "HB125", "[realm.api]\nrun = \"api\"\nuser = \"no-such-user\"\n"),
    ("groups_without_user", "HB125", "[realm.api]\nrun = \"api\"\ngroups = [\"adm\"]\n"),
    (
        "not_built_key",
        "HB103",
        "[realm.postgres]\nrun = \"postgres -D data/pg\"\nlimits = { memory_action = \"restart\" }\n",
    ),
    (
        "window_without_reason",
        "HB129",
        "[realm.api]\nport = 8001\n\n[maintenance.night]\nrealms = [\"api\"]\nstart = \"@daily\"\nfor = \"1h\"\n",
    ),
    (
        "window_start",
        "HB129",
        "[realm.api]\nport = 8001\n\n[maintenance.night]\nrealms = [\"api\"]\nstart = \"0 2 * *\"\nfor = \"1h\"\nreason = \"x\"\n",
    ),
    (
        "window_of_no_realm",
        "HB202",
        "[realm.api]\nport = 8001\n\n[maintenance.night]\nrealms = [\"status:down\"]\nstart = \"@daily\"\nfor = \"1h\"\nreason = \"x\"\n",
    ),
    (
        "mail_without_address",
        "HB126",
        "[realm.api]\nport = 8001\n\n[notify.ops]\nsmtp = \"smtp://mail.example.org\"\nfrom = \"shop\"\nto = \"ops@example.org\"\n",
    ),
    (
        "bot_without_token",
        "HB126",
        "[realm.api]\nport = 8001\n\n[notify.ops]\nslack = \"https://slack.com/api\"\nchannel = \"#ops\"\n",
    ),
    ("receiver_without_webhook", "HB126", "[realm.api]\nport = 8001\n\n[notify.ops]\non = [\"opened\"]\n"),
    (
        "webhook_ca",
        "HB126",
        "[realm.api]\nport = 8001\n\n[notify.ops]\nwebhook = \"http://hooks.example.org/s3cret\"\nca = \"/nowhere/ca.pem\"\n",
    ),
    (
        "webhook_never_told",
        "HB127",
        "[realm.api]\nport = 8001\n\n[notify.ops]\nwebhook = \"http://127.0.0.1:3000/\"\non = [\"resolved\"]\n",
    ),
    (
        "webhook_unknown_realm",
        "HB202",
        "[realm.api]\nport = 8001\n\n[notify.ops]\nwebhook = \"http://127.0.0.1:3000/\"\nrealms = [\"apy\"]\n",
    ),
    (
        "template_unknown_name",
        "HB126",
        "[realm.api]\nport = 8001\n\n[notify.ops]\nntfy = \"http://127.0.0.1:3000/a\"\ntemplate = \"{{ rot }} failed\"\n",
    ),
    (
        "redis_comparison_without_number",
        "HB111",
        "[realm.db]\nport = 6379\nhealth = { redis = \"redis://127.0.0.1:6379\", command = \"LLEN celery\", expect = \"< abc\" }\n",
    ),
    (
        "postgres_comparison_without_number",
        "HB111",
        "[realm.db]\nport = 5432\nhealth = { postgres = \"postgres://127.0.0.1:5432\", query = \"select 1\", expect = \"<= \" }\n",
    ),
    (
        "json_comparison_without_number",
        "HB111",
        "[realm.web]\nport = 8001\nhealth = { http = \"http://127.0.0.1:8001/\", json = { \"/queue\" = \"< many\" } }\n",
    ),
    (
        "bound_of_no_memory",
        "HB110",
        "[realm.db]\nrun = \"db\"\nhealth = { resource = true, max_memory = \"0B\" }\n",
    ),
    (
        "bound_of_no_descriptors",
        "HB110",
        "[realm.db]\nrun = \"db\"\nhealth = { resource = true, max_fds = 0 }\n",
    ),
    ("bound_of_no_load", "HB110", "[realm.db]\nhealth = { resource = true, max_load = 0 }\n"),
    (
        "bound_of_no_free_memory",
        "HB110",
        "[realm.db]\nhealth = { resource = true, min_memory_free = \"0B\" }\n",
    ),
    (
        "bound_of_no_disk",
        "HB110",
        "[realm.db]\nrun = \"db\"\nhealth = { resource = true, min_disk_free = \"0%\" }\n",
    ),
    (
        "window_with_an_endless_step",
        "HB129",
        "[realm.api]\nport = 8001\n\n[maintenance.night]\nrealms = [\"api\"]\nstart = \"*/99999999999 2 * * *\"\nfor = \"2h\"\nreason = \"backup\"\n",
    ),
    (
        "window_on_no_day",
        "HB129",
        "[realm.api]\nport = 8001\n\n[maintenance.night]\nrealms = [\"api\"]\nstart = \"0 2 30 2 *\"\nfor = \"2h\"\nreason = \"backup\"\n",
    ),
    (
        "duration_beyond_a_century",
        "HB105",
        "[realm.api]\nport = 8001\nhealth = { http = \"http://127.0.0.1:8001/\", interval = \"99999999999d\" }\n",
    ),
    (
        "template_without_end",
        "HB126",
        "[realm.api]\nport = 8001\n\n[notify.ops]\nntfy = \"http://127.0.0.1:3000/a\"\ntemplate = \"{{ [1] * 100000000 }}\"\n",
    ),
    (
        "template_unknown_filter",
        "HB126",
        "[realm.api]\nport = 8001\n\n[notify.ops]\nntfy = \"http://127.0.0.1:3000/a\"\ntemplate = \"{{ root | uper }}\"\n",
    ),
    (
        "template_fails",
        "HB126",
        "[realm.api]\nport = 8001\n\n[notify.ops]\nntfy = \"http://127.0.0.1:3000/a\"\ntemplate = \"{{ root }} is with {{ ack.by }}\"\n",
    ),
    (
        "template_unreadable",
        "HB126",
        "[realm.api]\nport = 8001\n\n[notify.ops]\nntfy = \"http://127.0.0.1:3000/a\"\ntemplate = \"{{ root\"\n",
    ),
    ("fuse_out_of_range", "HB118", "[heartbeat.fuse]\nunhealthy_percent = 140\n\n[realm.api]\nport = 8001\n"),
    (
        "exec_too_often",
        "HB114",
        "[realm.worker]\nrun = \"worker\"\nhealth = { exec = \"ping\", interval = \"500ms\" }\n",
    ),
    ("bare_number", "HB105", "[realm.api]\nrun = \"gunicorn shop.wsgi\"\n\n[realm.api.stop]\ntimeout = 10\n"),
    ("wrong_type", "HB102", "[realm.api]\nrun = \"gunicorn shop.wsgi\"\nport = \"8001\"\n"),
    ("port_out_of_range", "HB102", "[realm.api]\nrun = \"gunicorn shop.wsgi\"\nport = 80010\n"),
    (
        "bad_duration",
        "HB105",
        "[realm.api]\nrun = \"gunicorn shop.wsgi\"\nstart = { timeout = \"2 minutes\" }\n",
    ),
    ("unclosed_quote", "HB107", "[realm.api]\nrun = \"gunicorn 'shop.wsgi --bind 127.0.0.1:8001\"\n"),
    ("needs_a_shell", "HB107", "[realm.api]\nrun = \"gunicorn shop.wsgi && echo done\"\n"),
    (
        "unknown_realm",
        "HB202",
        "[realm.postgres]\nrun = \"postgres\"\n\n[realm.api]\nrun = \"api\"\nneeds = [\"postgers\"]\n",
    ),
    (
        "disabled_realm",
        "HB203",
        "[realm.redis]\nrun = \"redis-server\"\nenabled = false\n\n[realm.api]\nrun = \"api\"\nneeds = [\"redis\"]\n",
    ),
    (
        "cycle",
        "HB201",
        "[realm.api]\nrun = \"api\"\nneeds = [\"worker\"]\n\n[realm.worker]\nrun = \"worker\"\nneeds = [{ realm = \"queue\", until = \"started\" }]\n\n[realm.queue]\nrun = \"queue\"\nafter = [\"api\"]\n",
    ),
    (
        "impossible_gate",
        "HB204",
        "[realm.postgres]\nrun = \"postgres\"\n\n[realm.api]\nrun = \"api\"\nneeds = [{ realm = \"postgres\", until = \"done\" }]\n",
    ),
    ("self_edge", "HB205", "[realm.api]\nrun = \"api\"\nneeds = [\"api\"]\n"),
    (
        "duplicate_edge",
        "HB206",
        "[realm.postgres]\nrun = \"postgres\"\n\n[realm.api]\nrun = \"api\"\nneeds = [\"postgres\"]\nafter = [\"postgres\"]\n",
    ),
    (
        "port_twice",
        "HB207",
        "[realm.api]\nrun = \"api\"\nport = 8001\n\n[realm.admin]\nrun = \"admin\"\nport = 8001\n",
    ),
    (
        "missing_variable",
        "HB104",
        "[realm.api]\nrun = \"api\"\nenv = { SESSION_KEY = \"${SESSION_KEY:?set it in .env}\" }\n",
    ),
    (
        "timeout_above_interval",
        "HB114",
        "[realm.mail]\nhealth = { tcp = \"127.0.0.1:25\", interval = \"2s\", timeout = \"5s\" }\n",
    ),
    (
        "tls_of_http",
        "HB111",
        "[realm.mail]\nhealth = { http = \"http://mail.example.org/healthz\", expires = \"30d\" }\n",
    ),
    (
        "missing_ca",
        "HB111",
        "[realm.mail]\nhealth = { http = \"https://mail.example.org/healthz\", ca = \"/nowhere/ca.pem\" }\n",
    ),
    (
        "cert_without_key",
        "HB113",
        "[realm.mail]\nhealth = { tls = \"mail.example.org\", verify = false, cert = \"/nowhere/cert.pem\" }\n",
    ),
    ("probe_of_none", "HB110", "[realm.api]\nrun = \"api\"\nport = 8001\nhealth = []\n"),
    ("key_not_built", "HB103", "[realm.worker]\nrun = \"worker\"\nlimits.memory_action = \"kill\"\n"),
    ("notify_of_nobody", "HB110", "[realm.mail]\nhealth = { notify = true }\n"),
    (
        "watchdog_alone",
        "HB113",
        "[realm.api]\nrun = \"api\"\nhealth = { tcp = \"127.0.0.1:1\", watchdog = \"30s\" }\n",
    ),
    ("ready_fd_of_output", "HB102", "[realm.api]\nrun = \"api\"\nstart.ready_fd = 1\n"),
    ("nothing_to_watch", "HB120", "[realm.mail]\ntitle = \"Mail\"\n"),
    ("syntax", "HB001", "[realm.api]\nrun = \"gunicorn shop.wsgi\nport = 8001\n"),
    (
        "tls_without_key",
        "HB119",
        "[heartbeat]\nlisten = \"127.0.0.1:4327\"\ntls = { cert = \"cert.pem\" }\n\n[realm.api]\nport = 8001\n",
    ),
    (
        "tls_without_token",
        "HB119",
        "[heartbeat]\nlisten = \"0.0.0.0:4327\"\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n\n[realm.api]\nport = 8001\n",
    ),
    ("not_loopback", "HB119", "[heartbeat]\nlisten = \"0.0.0.0:4327\"\n\n[realm.api]\nport = 8001\n"),
    ("wrong_word", "HB106", "[realm.api]\nrun = \"api\"\nrestart = { policy = \"allways\" }\n"),
    ("environment_variable", "HB102", "[realm.from-env]\nport = 8001\n"),
    ("wrong_type_in_a_list", "HB102", "[realm.api]\nrun = [\"api\", \"--port\", 8001]\n"),
    ("size_without_i", "HB105", "[realm.api]\nrun = \"api\"\nlog = { max_size = \"64MB\" }\n"),
    ("duplicate_key", "HB001", "[realm.api]\nrun = \"api\"\nport = 8001\nport = 8002\n"),
    (
        "two_kinds",
        "HB110",
        "[realm.mail]\nhealth = { tcp = \"127.0.0.1:25\", http = \"http://127.0.0.1/\" }\n",
    ),
    ("bad_status", "HB111", "[realm.api]\nhealth = { http = \"http://127.0.0.1:8001/\", status = 700 }\n"),
    (
        "inverted_backoff",
        "HB116",
        "[realm.api]\nrun = \"api\"\n[realm.api.restart]\nbackoff = \"2m\"\nbackoff_max = \"60s\"\n",
    ),
    ("bad_name", "HB117", "[realm.Shop-API]\nrun = \"api\"\n"),
];

/// The environment all cases are read in; it is of one realm that only one of them has.
const ENV: (&str, &str) = ("HEARTBEAT__REALM__FROM_ENV__PORT", "eight");

fn report(text: &str) -> Report {
    let said = [ENV].into_iter().filter(|_| text.contains("from-env"));
    let env: BTreeMap<String, String> =
        said.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    load_str("heartbeat.toml", text, &env).expect_err("something is wrong with it")
}

#[test]
fn every_diagnostic_looks_as_its_sample() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join("samples");
    let bless = std::env::var_os("HEARTBEAT_BLESS").is_some();
    let mut different = Vec::new();
    for (name, code, text) in CASES {
        let report = report(text);
        let codes: Vec<&str> = report.iter().map(|diagnostic| diagnostic.code.as_str()).collect();
        assert_eq!(codes, [*code], "{name}: one thing is wrong, and one thing is said\n{report}");
        let rendered = report.render(Format::Full, false) + "\n";
        let file = dir.join(format!("{name}.txt"));
        if bless {
            std::fs::write(&file, &rendered).expect("samples can be written");
        }
        let sample = std::fs::read_to_string(&file).unwrap_or_default();
        if sample != rendered {
            different.push(format!("--- {name}: sample\n{sample}+++ {name}: now\n{rendered}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn every_sample_belongs_to_a_case() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join("samples");
    for entry in std::fs::read_dir(dir).expect("there are samples") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        assert!(CASES.iter().any(|(case, ..)| *case == name), "{} is of no case", path.display());
    }
}

#[test]
fn every_diagnostic_has_a_place_and_a_way_out() {
    for (name, _, text) in CASES {
        for diagnostic in &report(text) {
            if *name == "environment_variable" {
                assert_eq!(diagnostic.file, format!("the environment variable {}", ENV.0));
            } else {
                assert_eq!(diagnostic.file, "heartbeat.toml", "{name}");
                assert!(diagnostic.line > 0 && diagnostic.column > 0, "{name}: {diagnostic}");
            }
            assert!(diagnostic.help.as_ref().is_some_and(|help| !help.is_empty()), "{name}: {diagnostic}");
        }
    }
}

#[test]
fn what_is_public_of_a_diagnostic_has_no_word_of_the_file() {
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 2).map(str::to_owned).collect()
    };
    for (name, code, text) in CASES {
        for diagnostic in &report(text) {
            let public = diagnostic.public();
            let place =
                public.strip_suffix(&format!(", {code}")).unwrap_or_else(|| panic!("{name}: {public}"));
            let (place, allowed) = (words(place), words(&diagnostic.file));
            for word in words(text).iter().filter(|word| !allowed.contains(word)) {
                assert!(!place.contains(word), "{name}: {public} has {word}");
            }
        }
    }
}

#[test]
fn the_other_formats_say_the_same_on_one_line_each() {
    let report = report("[realm.api]\nrun = \"api\"\nprot = 8001\nlimits.memory_action = \"restart\"\n");
    assert_eq!(
        report.render(Format::Short, false),
        "heartbeat.toml:3:1: error[HB101]: unknown key `prot` in a realm (help: did you mean `port`?)\n\
         heartbeat.toml:4:8: error[HB103]: `memory_action` is not supported by this version of heartbeat \
         (help: remove it; it is refused rather than ignored)"
    );
    assert_eq!(
        report.render(Format::Github, false),
        "::error file=heartbeat.toml,line=3,col=1,title=HB101::unknown key `prot` in a realm\n\
         ::error file=heartbeat.toml,line=4,col=8,title=HB103::`memory_action` is not supported by this version of heartbeat"
    );
    let json: serde_json::Value = serde_json::from_str(&report.render(Format::Json, false)).expect("JSON");
    assert_eq!(json[0]["code"], "HB101");
    assert_eq!(json[0]["line"], 3);
    assert_eq!(json[0]["help"], "did you mean `port`?");
    assert_eq!(json[1]["severity"], "error");
    assert_ne!(
        report.render(Format::Full, true),
        report.render(Format::Full, false),
        "colour only when asked for"
    );
}

#[test]
fn a_file_without_realms_is_loaded_with_a_warning() {
    let loaded = load_str("heartbeat.toml", "", &BTreeMap::new()).expect("it is valid");
    let codes: Vec<&str> = loaded.warnings.iter().map(|diagnostic| diagnostic.code.as_str()).collect();
    assert_eq!(codes, ["HB301"]);
}
