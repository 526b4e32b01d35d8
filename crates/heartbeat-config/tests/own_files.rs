//! A check tries the files that heartbeatd itself needs, by the functions with which heartbeatd opens them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in what it shares")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use heartbeat_config::{Report, Sources, check, load};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Writes a configuration and a good file of each kind beside it.
fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    private(&dir.path().join("token"), TOKEN);
    private(&dir.path().join("secret"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    private(&dir.path().join("login"), "ops@example.org:hunter2");
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
    private(&dir.path().join("key.pem"), &made.signing_key.serialize_pem());
    dir
}

fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn sources(dir: &Path, text: &str) -> Sources {
    let file = dir.join("heartbeat.toml");
    fs::write(&file, text).unwrap();
    let env = std::collections::BTreeMap::new();
    Sources { file: Some(file), env, bytes: Vec::new(), overrides: Vec::new(), cwd: dir.to_owned() }
}

/// Everything of heartbeatd's own, and nothing wrong with it.
fn whole(dir: &Path) -> String {
    let at = dir.display();
    format!(
        "[heartbeat]\ntoken_file = \"token\"\ntls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\nsocket = \"{at}/run/hb.sock\"\n\
         state_dir = \"{at}/state\"\nruntime_dir = \"{at}/run\"\n[notify.ops]\nwebhook = \"http://127.0.0.1:1/\"\nsecret_file = \
         \"secret\"\n[notify.mail]\nsmtp = \"smtp://127.0.0.1:25\"\nfrom = \"a@b.c\"\nto = \"d@e.f\"\ntoken_file = \"login\"\n\
         [notify.phone]\nntfy = \"http://127.0.0.1:1/shop\"\ntoken_file = \"token\"\n[realm.a]\nrun = \"/bin/true\"\n"
    )
}

fn codes(report: &Report) -> Vec<(&str, usize)> {
    report.errors().map(|found| (found.code.as_str(), found.line)).collect()
}

#[test]
fn what_heartbeatd_can_open_passes_the_check() {
    let dir = place();
    let checked = check(&sources(dir.path(), &whole(dir.path()))).unwrap_or_else(|report| panic!("{report}"));
    assert!(checked.warnings.is_empty(), "{}", checked.warnings);
}

#[test]
fn what_heartbeatd_refuses_to_start_with_fails_the_check_and_says_what_to_type() {
    type Spoil = fn(&Path);
    let cases: &[(&str, Spoil, usize, &str)] = &[
        ("a missing token", |dir| fs::remove_file(dir.join("token")).unwrap(), 2, "openssl rand -hex 32 >"),
        ("a short token", |dir| private(&dir.join("token"), &TOKEN[1..]), 2, "openssl rand -hex 32 >"),
        ("a token that others can read", |dir| open(&dir.join("token")), 2, "chmod 600"),
        ("a missing certificate", |dir| fs::remove_file(dir.join("cert.pem")).unwrap(), 3, ""),
        ("a key that is none", |dir| private(&dir.join("key.pem"), "x"), 3, ""),
        ("the key of another certificate", |dir| private(&dir.join("key.pem"), &other_key()), 3, ""),
        (
            "a parent that is a file",
            |dir| fs::write(dir.join("run"), "").unwrap(),
            4,
            "write another `socket`",
        ),
        (
            "a state that is a file",
            |dir| fs::write(dir.join("state"), "").unwrap(),
            5,
            "write another `state_dir`",
        ),
        ("a missing secret", |dir| fs::remove_file(dir.join("secret")).unwrap(), 9, ""),
        ("a secret that is none", |dir| private(&dir.join("secret"), "hunter2"), 9, ""),
        ("a secret that others can read", |dir| open(&dir.join("secret")), 9, "chmod 600"),
        ("a login that is none", |dir| private(&dir.join("login"), "hunter2"), 14, ""),
        (
            "a token of two words",
            |dir| private(&dir.join("token"), &format!("{TOKEN} {TOKEN}")),
            2,
            "openssl rand -hex 32 >",
        ),
        (
            "a token of two lines",
            |dir| private(&dir.join("token"), &format!("{TOKEN}\n{TOKEN}\n")),
            2,
            "openssl rand -hex 32 >",
        ),
        (
            "a file in the place of the socket",
            |dir| {
                fs::create_dir(dir.join("run")).unwrap();
                fs::write(dir.join("run/hb.sock"), "").unwrap();
            },
            4,
            "write another `socket`",
        ),
        (
            "a state directory that all users write into",
            |dir| {
                fs::create_dir(dir.join("state")).unwrap();
                fs::set_permissions(dir.join("state"), Permissions::from_mode(0o1777)).unwrap();
            },
            5,
            "write another `state_dir`",
        ),
    ];
    for (what, spoil, line, help) in cases {
        let dir = place();
        let sources = sources(dir.path(), &whole(dir.path()));
        spoil(dir.path());
        let report = check(&sources).err().unwrap_or_else(|| panic!("{what} passes the check"));
        assert!(codes(&report).contains(&("HB134", *line)), "{what}: {report}");
        let told = report.errors().find(|found| found.line == *line).unwrap();
        assert!(told.help.as_ref().is_some_and(|told| told.contains(help)), "{what}: {report}");
        assert!(!report.to_string().contains(&TOKEN[1..]), "{what}: {report}");
        assert!(load(&sources).is_ok(), "{what}: heartbeatd itself says what it cannot open");
    }
}

fn open(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
}

fn other_key() -> String {
    rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap().signing_key.serialize_pem()
}
