//! The JSON Schema that `heartbeat-cli schema` prints, against a validator that others wrote.

use std::path::{Path, PathBuf};

use crate::program::{run, run_program, told};
use crate::servers::lacking;

/// Says of each file whether it is valid.
const VALIDATE: &str = "
import json, sys, tomllib, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft7Validator.check_schema(schema)
validator = jsonschema.Draft7Validator(schema)
for name in sys.argv[2:]:
    errors = [error.message for error in validator.iter_errors(tomllib.load(open(name, 'rb')))]
    print('valid' if not errors else 'invalid ' + errors[0].replace(chr(10), ' '))
";

const GOOD: &str = r#"
x-team = "core"
[heartbeat]
name = "shop"
socket_mode = "0660"
include = "conf.d/*.toml"
fuse = { parallel = 1, window = "15s" }
[defaults]
stop = { timeout = "20s" }
[realm.db]
run = ["postgres", "-D", "data"]
health = "postgres://127.0.0.1:5432"
limits = { memory = "512MiB", nofile = "unlimited", nice = -5, cpu = "150%" }
umask = 0o022
[realm.migrate]
run = "migrate"
oneshot = true
needs = "db"
restart = { policy = "${POLICY:-never}", success_codes = [0, 2] }
[realm.api]
run = "serve ${PORT}"
port = 8001
needs = ["db", { realm = "migrate", until = "done" }]
env = { LEVEL = "info" }
x-own = { anything = [1, 2] }
health = [
    { http = "http://127.0.0.1:8001/", status = [200, "3xx"], json = { "/queue" = "< 100" }, slow = "1s500ms" },
    { exec = ["ping", "-c1"], interval = "15s", fail_if = "3 of 5", role = "info" },
    { notify = true, watchdog = "30s" },
]
[notify.ops]
webhook = "http://127.0.0.1:3000/"
on = ["opened", "resolved"]
"#;

/// None of these loads.
const BAD: &[&str] = &[
    "[realm.a]\nrun = \"x\"\nprot = 1\n",
    "[realm.a]\nrun = \"x\"\nport = \"8001\"\n",
    "[realm.a]\nrun = \"x\"\nport = 70000\n",
    "[realm.a]\nrun = 5\n",
    "[realm.a]\nrun = []\n",
    "[realm.a]\nrun = \"x\"\noneshot = \"yes\"\n",
    "[realm.a]\nrun = \"x\"\nstop = { timeout = 10 }\n",
    "[realm.a]\nrun = \"x\"\nstop = { timeout = \"10\" }\n",
    "[realm.a]\nrun = \"x\"\nlimits = { memory = \"1gb\" }\n",
    "[realm.a]\nrun = \"x\"\nrestart = \"always\"\n",
    "[realm.a]\nrun = \"x\"\nrestart = { policy = \"sometimes\" }\n",
    "[realm.a]\nrun = \"x\"\nhealth = { tcp = \"127.0.0.1:1\", fail_after = 0 }\n",
    "[realm.a]\nrun = \"x\"\nhealth = { tcp = \"127.0.0.1:1\", retries = 3 }\n",
    "[realm.a]\nrun = \"x\"\nneeds = [{ until = \"up\" }]\n",
    "[realm.A]\nrun = \"x\"\n",
    "[services.a]\nrun = \"x\"\n",
    "[heartbeat]\nlisten = 4327\n[realm.a]\nrun = \"x\"\n",
    "[heartbeat.fuse]\nparallel = 0\n[realm.a]\nrun = \"x\"\n",
    "[notify.ops]\nalertmanager = \"http://127.0.0.1:9093\"\n[realm.a]\nrun = \"x\"\n",
];

/// A Python that has the validator: that of the shop, or the one of the machine.
fn python() -> Option<PathBuf> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/shop-venv/bin/python3");
    let has = |python: &PathBuf| {
        python.exists() && run_program(python, &["-c", "import jsonschema, tomllib"]).status.success()
    };
    [venv, PathBuf::from("/usr/bin/python3"), PathBuf::from("/usr/local/bin/python3")].into_iter().find(has)
}

#[test]
fn a_validator_takes_what_loads_and_refuses_what_does_not() {
    let Some(python) = python() else {
        lacking("no Python with jsonschema: examples/shop/install --venv-only target/shop-venv");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let schema = run("heartbeat-cli", &["schema"]);
    std::fs::write(path("schema.json"), &schema.stdout).unwrap();
    let texts: Vec<&str> = std::iter::once(GOOD).chain(BAD.iter().copied()).collect();
    let files: Vec<String> = (0..texts.len()).map(|at| path(&format!("{at}.toml"))).collect();
    for (file, text) in files.iter().zip(&texts) {
        std::fs::write(file, text).unwrap();
    }
    let schema = path("schema.json");
    let mut args = vec!["-c", VALIDATE, &schema];
    args.extend(files.iter().map(String::as_str));
    let output = run_program(&python, &args);
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let verdicts: Vec<&str> = lines.lines().collect();
    assert_eq!(verdicts.len(), texts.len(), "{}", told(&output));
    assert_eq!(verdicts[0], "valid");
    for ((verdict, text), file) in verdicts.iter().zip(&texts).zip(&files) {
        let checked = run("heartbeat-cli", &["check", "-f", "short", file]);
        assert_eq!(
            checked.status.code() == Some(0),
            *verdict == "valid",
            "{text}: {verdict}; {}",
            told(&checked)
        );
    }
}
