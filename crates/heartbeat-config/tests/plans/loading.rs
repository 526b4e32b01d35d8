//! What a configuration becomes: layers, files, variables, probes, dependencies, environment.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use heartbeat_config::{Config, Format, Loaded, Report, Sources, find_file, load, load_str};
use heartbeat_status::{EdgeKind, Gate, ProbeIx, ProbeKind, RealmKind, WhileDown};
use heartbeat_supervisor::ProbeSource;
use tempfile::TempDir;

use crate::reading::{facts, realm, refused, text, variables};

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn codes(report: &Report) -> Vec<&'static str> {
    report.iter().map(|diagnostic| diagnostic.code.as_str()).collect()
}

/// A directory with files in it.
fn files(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().expect("a directory");
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }
    dir
}

fn sources(dir: &Path) -> Sources {
    Sources {
        file: None,
        env: BTreeMap::new(),
        bytes: Vec::new(),
        overrides: Vec::new(),
        cwd: dir.to_owned(),
    }
}

fn loaded(sources: &Sources) -> Config {
    let Loaded { config, warnings, .. } = load(sources).unwrap_or_else(|report| panic!("{report}"));
    assert!(warnings.is_empty(), "{warnings}");
    config
}

/// The example of the contract, without what this version does not build.
const SHOP: &str = r#"
[heartbeat]
name = "shop"

[realm.postgres]
run    = "postgres -D data/pg"
health = "tcp://127.0.0.1:5432"

[realm.redis]
run    = "redis-server --port 6379"
health = "tcp://127.0.0.1:6379"

[realm.migrate]
run     = "python manage.py migrate"
oneshot = true
needs   = ["postgres"]

[realm.api]
run   = ["gunicorn", "shop.wsgi", "--bind", "127.0.0.1:8001"]
port  = 8001                                   # GET /api/health/ = 200, port, response time, process
needs = ["redis", { realm = "migrate", until = "done" }]
wants = ["mail"]

[realm.worker]
run    = "python -m worker"
health = { process = true, interval = "15s" }
needs  = ["postgres", "redis"]

[realm.dashboard]
run    = "node server.js"
health = "http://127.0.0.1:3000/api/health/"
needs  = [{ realm = "api", while_down = "stop" }]
env    = { API_URL = "http://127.0.0.1:8001", SESSION_KEY = "${SESSION_KEY:?set it in .env}" }

[realm.mail]
health = { http = "http://mail.example.org/healthz", interval = "30s", slow = "800ms" }
"#;

#[test]
fn the_contracts_example_becomes_the_expected_plan() {
    let loaded = load_str("heartbeat.toml", SHOP, &env(&[("SESSION_KEY", "s3cret")]));
    let Loaded { config, warnings, .. } = loaded.unwrap_or_else(|report| panic!("{report}"));
    assert!(warnings.is_empty(), "{warnings}");
    assert_eq!(config.heartbeat.name, "shop");
    assert_eq!(config.plan.realms().len(), 7);

    let (api, launch) = realm(&config, "api");
    assert_eq!(api.kind, RealmKind::Service);
    assert_eq!(api.port, Some(8001));
    assert_eq!(
        facts(api),
        [
            (ProbeKind::Http, "http", "http://127.0.0.1:8001/api/health/", ProbeSource::Measured),
            (ProbeKind::Port, "port", "127.0.0.1:8001", ProbeSource::PortOf(ProbeIx(0))),
            (ProbeKind::Process, "process", "pid", ProbeSource::Process),
        ]
    );
    assert!(launch.probes[0].is_some() && launch.probes[1].is_none() && launch.probes[2].is_none());
    assert_eq!(launch.launch.as_ref().unwrap().argv, ["gunicorn", "shop.wsgi", "--bind", "127.0.0.1:8001"]);
    let name = |ix: heartbeat_status::RealmIx| config.plan.realm(ix).name.as_str();
    let mut edges: Vec<_> =
        api.needs.iter().map(|need| (name(need.realm), need.kind, need.until, need.while_down)).collect();
    edges.sort_by_key(|edge| edge.0);
    assert_eq!(
        edges,
        [
            ("mail", EdgeKind::Wants, Gate::Up, WhileDown::Ride),
            ("migrate", EdgeKind::Needs, Gate::Done, WhileDown::Ride),
            ("redis", EdgeKind::Needs, Gate::Up, WhileDown::Ride),
        ]
    );

    let (migrate, launch) = realm(&config, "migrate");
    assert_eq!(migrate.kind, RealmKind::Oneshot);
    assert_eq!(migrate.start.timeout, None, "a oneshot may take as long as it takes");
    assert!(migrate.probes.is_empty(), "a oneshot is judged by its exit");
    assert_eq!(launch.launch.as_ref().unwrap().argv, ["python", "manage.py", "migrate"]);

    let (worker, _) = realm(&config, "worker");
    assert_eq!(facts(worker), [(ProbeKind::Process, "process", "pid", ProbeSource::Process)]);

    let (dashboard, launch) = realm(&config, "dashboard");
    assert_eq!(dashboard.needs[0].while_down, WhileDown::Stop);
    assert_eq!(variables(launch)["SESSION_KEY"], "s3cret");
    assert_eq!(variables(launch)["API_URL"], "http://127.0.0.1:8001");

    let (mail, launch) = realm(&config, "mail");
    assert_eq!(mail.kind, RealmKind::External);
    assert!(launch.launch.is_none());
    assert_eq!(mail.probes[0].info.interval, Duration::from_secs(30));
    assert_eq!(facts(mail).len(), 1, "no process, no port");
    let order = config.plan.graph();
    let at = |name: &str| order.order(config.plan.find(name).unwrap());
    assert!(at("postgres") < at("migrate") && at("migrate") < at("api") && at("api") < at("dashboard"));
}

#[test]
fn the_contracts_example_without_its_variable_says_where_it_is_missing() {
    let report = refused(SHOP);
    assert_eq!(codes(&report), ["HB104"]);
    assert!(report.to_string().contains("SESSION_KEY is not set: set it in .env"), "{report}");
}

#[test]
fn every_error_is_reported_in_one_run() {
    let report = refused(
        r#"
[heartbeat]
listen = "0.0.0.0:80"
boot_deadline = 5
[realm.API]
run = "x"
[realm.a]
run = "x 'y"
prot = 1
limits = { memory_action = "me" }
needs = ["b", "nobody"]
start = { timeout = "soon" }
[realm.b]
run = "x"
needs = ["c"]
health = ["ftp://example.org/", { tcp = "nowhere" }]
[realm.c]
run = "x"
needs = ["b", "c"]
critical = "yes"
[realm.d]
[notify.ops]
webhook = "http://127.0.0.1/"
"#,
    );
    let mut found = codes(&report);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "HB101", "HB102", "HB103", "HB105", "HB105", "HB107", "HB111", "HB111", "HB117", "HB119",
            "HB120", "HB201", "HB202", "HB205"
        ],
        "{report}"
    );
    let lines: Vec<usize> = report.iter().map(|diagnostic| diagnostic.line).collect();
    assert!(lines.is_sorted(), "in the order of the file: {lines:?}");
}

#[test]
fn a_file_that_is_not_toml_says_more_than_its_first_error() {
    let report = refused("[realm.api]\nrun = \nport = 8001\nhost = = 2\n");
    assert!(report.iter().filter(|diagnostic| diagnostic.code.as_str() == "HB001").count() >= 2, "{report}");
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file_which_beats_defaults_which_beat_what_is_built_in() {
    let built_in = "[realm.web-api]\nrun = \"x\"\n";
    let defaults = "[defaults.stop]\ntimeout = \"11s\"\n[realm.web-api]\nrun = \"x\"\n";
    let file = format!("{defaults}[realm.web-api.stop]\ntimeout = \"12s\"\n");
    let stop = |text: &str, env: BTreeMap<String, String>, flags: &[(&str, &str)]| {
        let dir = files(&[("heartbeat.toml", text)]);
        let overrides = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let config = loaded(&Sources { env, overrides, ..sources(dir.path()) });
        realm(&config, "web-api").0.stop.timeout.as_secs()
    };
    let said = || env(&[("HEARTBEAT__REALM__WEB_API__STOP__TIMEOUT", "13s")]);
    let flag = [("realm.web-api.stop.timeout", "14s")];
    assert_eq!(stop(built_in, env(&[]), &[]), 10);
    assert_eq!(stop(defaults, env(&[]), &[]), 11);
    assert_eq!(stop(&file, env(&[]), &[]), 12);
    assert_eq!(stop(&file, said(), &[]), 13, "`_` stands for `-`");
    assert_eq!(stop(&file, said(), &flag), 14);
    assert_eq!(stop(built_in, env(&[]), &flag), 14);
}

#[test]
fn tables_of_defaults_and_realms_are_merged_key_by_key() {
    let config = text(
        "[defaults]\ncritical = false\nenv = { A = \"1\", B = \"1\" }\n[defaults.restart]\nburst = 3\nbackoff = \"1s\"\n\
         [realm.api]\nrun = \"x\"\nenv = { B = \"2\" }\nrestart = { burst = 4 }\n",
    );
    let (spec, launch) = realm(&config, "api");
    assert!(!spec.critical);
    let env = variables(launch);
    assert_eq!((env["A"].as_str(), env["B"].as_str()), ("1", "2"));
    assert_eq!(spec.restart.settings().burst, 4);
    assert_eq!(spec.restart.settings().backoff, Duration::from_secs(1));
}

#[test]
fn environment_variables_that_name_no_key_are_errors() {
    for name in
        ["HEARTBEAT__REALM__NOBODY__PORT", "HEARTBEAT__REALM__API__PROT", "HEARTBEAT__X__Y", "HEARTBEAT__"]
    {
        let report =
            load_str("heartbeat.toml", "[realm.api]\nport = 8001\n", &env(&[(name, "1")])).unwrap_err();
        assert_eq!(codes(&report), ["HB109"], "{name}");
        assert!(report.to_string().contains(name), "{report}");
    }
}

#[test]
fn a_bad_value_of_the_environment_is_blamed_on_the_environment() {
    let said = env(&[("HEARTBEAT__REALM__API__PORT", "eight")]);
    let report = load_str("heartbeat.toml", "[realm.api]\nport = 8001\n", &said).unwrap_err();
    let first = report.iter().next().unwrap();
    assert_eq!((first.code.as_str(), first.line), ("HB102", 0));
    assert_eq!(first.file, "the environment variable HEARTBEAT__REALM__API__PORT");
}

#[test]
fn variables_come_from_the_environment_and_below_it_from_the_env_file() {
    let dir = files(&[
        (
            "heartbeat.toml",
            "[realm.api]\nrun = \"x ${A} ${B} ${C:-c} $${D}\"\n[realm.api.env]\nE = \"${A}${B}\"\n",
        ),
        (".env", "# secrets\nA=from-file\nB='from file'\n"),
    ]);
    let config = loaded(&Sources { env: env(&[("A", "from-env")]), ..sources(dir.path()) });
    let (_, launch) = realm(&config, "api");
    assert_eq!(launch.launch.as_ref().unwrap().argv, ["x", "from-env", "from", "file", "c", "${D}"]);
    let variables = variables(launch);
    assert_eq!(variables["E"], "from-envfrom file");
    assert!(!variables.contains_key("B"), "the file feeds ${{}} only");
}

#[test]
fn an_env_file_that_is_named_has_to_be_there() {
    let dir =
        files(&[("heartbeat.toml", "[heartbeat]\nenv_file = \"secrets.env\"\n[realm.api]\nport = 8001\n")]);
    let report = load(&sources(dir.path())).unwrap_err();
    assert_eq!(codes(&report), ["HB108"]);
    assert_eq!(report.iter().next().unwrap().line, 2);
}

#[test]
fn files_of_conf_d_are_read_in_the_order_of_their_names() {
    let dir = files(&[
        ("heartbeat.toml", "[realm.db]\nrun = \"db\"\n"),
        ("conf.d/20-web.toml", "[realm.web]\nrun = \"web\"\nneeds = [\"api\"]\n"),
        ("conf.d/10-api.toml", "[realm.api]\nrun = \"api\"\nneeds = [\"db\"]\n"),
        ("conf.d/notes.txt", "not TOML"),
    ]);
    let config = loaded(&sources(dir.path()));
    assert_eq!(config.plan.realms().len(), 3);
    let names: Vec<_> = config.files.iter().map(|file| file.strip_prefix(dir.path()).unwrap()).collect();
    assert_eq!(
        names,
        [Path::new("heartbeat.toml"), Path::new("conf.d/10-api.toml"), Path::new("conf.d/20-web.toml")]
    );
    let at = |name: &str| realm(&config, name).1.launch.as_ref().unwrap().dir.clone();
    assert_eq!(at("db"), dir.path());
    assert_eq!(at("api"), dir.path().join("conf.d"), "the directory of the file that declares it");
}

#[test]
fn a_long_cycle_is_named_by_its_first_edges_and_its_length() {
    let realms: Vec<String> = (0..5_000)
        .map(|at| {
            format!(
                "[realm.r{at:04}]\nhealth = \"tcp://127.0.0.1:1\"\nneeds = [\"r{:04}\"]\n",
                (at + 1) % 5_000
            )
        })
        .collect();
    let report = load_str("heartbeat.toml", &realms.concat(), &BTreeMap::new()).unwrap_err();
    assert_eq!(codes(&report), ["HB201"]);
    let text = report.render(Format::Full, false);
    assert!(text.contains("r0008 -> r0009 -> and 4990 more -> r0000"), "{text}");
    assert_eq!(text.matches(" waits for ").count(), 10, "{text}");
}

#[test]
fn a_cycle_over_two_files_names_both() {
    let dir = files(&[
        ("heartbeat.toml", "[realm.a]\nrun = \"a\"\nneeds = [\"b\"]\n"),
        ("conf.d/b.toml", "\n\n[realm.b]\nrun = \"b\"\nneeds = [\"a\"]\n"),
    ]);
    let report = load(&sources(dir.path())).unwrap_err();
    assert_eq!(codes(&report), ["HB201"]);
    let shown = report.render(Format::Full, false);
    let at = |file: &str, at: &str| format!("{}:{at}", dir.path().join(file).display());
    assert!(
        shown.contains(&at("heartbeat.toml", "3:10")) && shown.contains(&at("conf.d/b.toml", "5:10")),
        "{shown}"
    );
}

#[test]
fn a_realm_is_declared_in_one_file() {
    let dir = files(&[
        ("heartbeat.toml", "[realm.a]\nrun = \"a\"\n"),
        ("conf.d/b.toml", "[realm.a]\nrun = \"b\"\n"),
    ]);
    let report = load(&sources(dir.path())).unwrap_err();
    assert_eq!(codes(&report), ["HB006"]);
}

#[test]
fn what_is_included_has_to_be_a_list_of_globs_in_the_first_file() {
    let dir = files(&[("heartbeat.toml", "[heartbeat]\ninclude = 5\n[realm.a]\nrun = \"a\"\n")]);
    assert_eq!(codes(&load(&sources(dir.path())).unwrap_err()), ["HB102"]);
    let dir = files(&[
        ("heartbeat.toml", "[realm.a]\nrun = \"a\"\n"),
        ("conf.d/b.toml", "[heartbeat]\ninclude = [\"c.toml\"]\n"),
    ]);
    assert_eq!(codes(&load(&sources(dir.path())).unwrap_err()), ["HB007"]);
    let dir = files(&[("heartbeat.toml", "[heartbeat]\ninclude = [\"no.toml\"]\n[realm.a]\nrun = \"a\"\n")]);
    assert_eq!(codes(&load(&sources(dir.path())).unwrap_err()), ["HB004"]);
    let report = load_str("heartbeat.toml", "", &env(&[("HEARTBEAT__HEARTBEAT__INCLUDE", "x")])).unwrap_err();
    assert_eq!(codes(&report), ["HB109"], "it would come too late");
    let dir = files(&[("heartbeat.toml", "[realm.a]\nrun = \"a\"\n")]);
    let overrides = vec![("heartbeat.env_file".to_owned(), "x".to_owned())];
    let report = load(&Sources { overrides, ..sources(dir.path()) }).unwrap_err();
    assert_eq!(codes(&report), ["HB109"], "so would this");
    let dir =
        files(&[("heartbeat.toml", "[heartbeat]\ninclude = [\"${X}.toml\"]\n[realm.a]\nrun = \"a\"\n")]);
    let report = load(&Sources { env: env(&[("X", "x")]), ..sources(dir.path()) }).unwrap_err();
    assert_eq!(codes(&report), ["HB004", "HB104"]);
}

#[test]
fn the_first_file_of_the_search_order_is_taken() {
    let dir = files(&[]);
    let path = |name: &str| dir.path().join(name);
    let write = |name: &str| {
        let file = path(name).join("heartbeat/heartbeat.toml");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "").unwrap();
        file
    };
    std::fs::create_dir(path("here")).unwrap();
    let (xdg, home) = (path("xdg").display().to_string(), path("home").display().to_string());
    let search =
        Sources { env: env(&[("XDG_CONFIG_HOME", &xdg), ("HOME", &home)]), ..sources(&path("here")) };
    let no_xdg = Sources { env: env(&[("HOME", &home)]), ..search.clone() };
    let in_home = write("home/.config");
    assert_eq!(find_file(&no_xdg), Ok(in_home));
    let in_xdg = write("xdg");
    assert_eq!(find_file(&search), Ok(in_xdg));
    std::fs::write(path("here/heartbeat.toml"), "").unwrap();
    assert_eq!(find_file(&search), Ok(path("here/heartbeat.toml")));
    let named = Sources { file: Some("other.toml".into()), ..search };
    assert_eq!(find_file(&named), Ok(path("here/other.toml")), "what is named is taken, and has to be there");
    assert_eq!(codes(&load(&named).unwrap_err()), ["HB004"]);
}

#[test]
fn a_relative_path_starts_at_the_file_that_says_it() {
    let dir = files(&[
        ("heartbeat.toml", "[defaults]\ndir = \"srv\"\nenv_file = \"all.env\"\n"),
        ("all.env", "A=1\n"),
        (
            "conf.d/api.toml",
            "[realm.api]\nrun = \"x\"\n[realm.web]\nrun = \"x\"\ndir = \"web\"\nenv_file = \"web.env\"\n",
        ),
        ("conf.d/web.env", "A=2\n"),
    ]);
    let config = loaded(&sources(dir.path()));
    let place = |name: &str| realm(&config, name).1.launch.as_ref().unwrap().dir.clone();
    assert_eq!(place("api"), dir.path().join("srv"));
    assert_eq!(place("web"), dir.path().join("conf.d/web"));
    let a = |name: &str| variables(realm(&config, name).1)["A"].clone();
    assert_eq!((a("api"), a("web")), ("1".to_owned(), "2".to_owned()));
}

#[test]
fn a_mistake_in_defaults_is_reported_once() {
    let report = refused("[defaults]\ncritical = \"no\"\n[realm.a]\nrun = \"x\"\n[realm.b]\nrun = \"x\"\n");
    assert_eq!(codes(&report), ["HB102"]);
}

#[test]
fn every_value_in_force_has_its_source_and_no_secret() {
    let dir = files(&[(
        "heartbeat.toml",
        "[defaults]\nstop = { timeout = \"7s\" }\nenv = { A = \"s3cret\" }\n[realm.api]\nrun = \"serve ${X:-1}\"\nenv = { B = \"s3cret\" }\nhealth = { http = \"http://127.0.0.1:1/\", headers = { Auth = \"s3cret\" } }\n[notify.ops]\nwebhook = \"http://127.0.0.1:2/s3cret\"\n",
    )]);
    let mut sources = sources(dir.path());
    sources.env.insert("HEARTBEAT__REALM__API__PORT".to_owned(), "8001".to_owned());
    let keys = heartbeat_config::effective(&sources).unwrap();
    assert!(!format!("{keys:?}").contains("s3cret"), "{keys:#?}");
    let of = |name: &str| {
        let key = keys.iter().find(|key| key.name == name).unwrap_or_else(|| panic!("{name}: {keys:#?}"));
        (key.value.as_str(), key.source.rsplit('/').next().unwrap())
    };
    assert_eq!(of("realm.api.run"), ("\"serve ${X:-1}\"", "heartbeat.toml:5"));
    assert_eq!(of("realm.api.stop.timeout"), ("\"7s\"", "heartbeat.toml:2"));
    assert_eq!(of("realm.api.stop.signal"), ("\"TERM\"", "default"));
    assert_eq!(of("realm.api.env.A"), ("\"***\"", "heartbeat.toml:3"));
    assert_eq!(of("realm.api.port"), ("8001", "the environment variable HEARTBEAT__REALM__API__PORT"));
    assert_eq!(of("heartbeat.fuse.parallel"), ("2", "default"));
    assert_eq!(of("notify.ops.webhook"), ("\"***\"", "heartbeat.toml:9"));
    assert_eq!(of("realm.api.health").0, "{ headers = { Auth = \"***\" }, http = \"http://127.0.0.1:1/\" }");
}
