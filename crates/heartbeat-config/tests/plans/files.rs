//! Which files are read, and which are refused.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use heartbeat_config::{Loaded, Report, Sources, load, load_str, socket_of};
use tempfile::TempDir;

fn dir(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().expect("a directory");
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }
    dir
}

fn read(dir: &Path) -> Result<Loaded, Report> {
    load(&Sources {
        file: None,
        env: BTreeMap::new(),
        bytes: Vec::new(),
        overrides: Vec::new(),
        cwd: dir.to_owned(),
    })
}

fn names(dir: &Path) -> (Vec<String>, Vec<String>) {
    let loaded = read(dir).unwrap_or_else(|report| panic!("{report}"));
    let realms = loaded.config.plan.realms().iter().map(|realm| realm.name.to_string()).collect();
    (
        realms,
        loaded
            .warnings
            .iter()
            .map(|warning| format!("{} {}", warning.code.as_str(), warning.message))
            .collect(),
    )
}

fn realm(name: &str) -> String {
    format!("[realm.{name}]\nrun = \"sleep 60\"\n")
}

fn refused(dir: &Path) -> Vec<(&'static str, String, Option<String>)> {
    let report = read(dir).expect_err("refused");
    report
        .iter()
        .map(|problem| (problem.code.as_str(), problem.message.clone(), problem.help.clone()))
        .collect()
}

#[test]
fn what_editors_and_copies_leave_in_conf_d_is_passed_over() {
    let dir = dir(&[("heartbeat.toml", &realm("a")), ("conf.d/b.toml", &realm("b"))]);
    let conf = dir.path().join("conf.d");
    symlink("user@host.1234:5678", conf.join(".#b.toml")).unwrap();
    fs::write(conf.join("._b.toml"), [0x00, 0x05, 0xff]).unwrap();
    fs::write(conf.join(".b.toml.swp"), "x").unwrap();
    fs::create_dir(conf.join("old.toml")).unwrap();
    assert_eq!(names(dir.path()), (vec!["a".to_owned(), "b".to_owned()], vec![]));
}

#[test]
fn include_takes_globs_as_a_shell_does() {
    let include = "include = [\"services/**/*.toml\", \"x?.toml\", \"[mn].toml\", \"services/*-eu-*.toml\"]";
    let dir = dir(&[
        ("heartbeat.toml", &format!("[heartbeat]\n{include}\n{}", realm("a"))),
        ("services/shop/deep/b.toml", &realm("b")),
        ("services/shop-eu-1.toml", &realm("c")),
        ("services/.git/d.toml", &realm("d")),
        ("x1.toml", &realm("e")),
        ("x12.toml", &realm("f")),
        ("m.toml", &realm("g")),
        ("conf.d/h.toml", &realm("h")),
    ]);
    let (realms, warnings) = names(dir.path());
    assert_eq!(realms, ["a", "b", "c", "e", "g"]);
    assert_eq!(warnings, Vec::<String>::new(), "the last pattern matches what another has brought in");
}

#[test]
fn a_written_pattern_that_matches_nothing_is_a_warning_and_a_file_that_is_missing_an_error() {
    let text = format!("[heartbeat]\ninclude = [\"servces/*.toml\"]\n{}", realm("a"));
    let dir = dir(&[("heartbeat.toml", &text)]);
    let loaded = read(dir.path()).unwrap();
    let warnings: Vec<_> =
        loaded.warnings.iter().map(|w| (w.code.as_str(), w.line, w.message.as_str())).collect();
    assert_eq!(warnings, [("HB302", 2, "`servces/*.toml` matches no file")]);
    fs::write(dir.path().join("heartbeat.toml"), realm("a")).unwrap();
    assert_eq!(names(dir.path()).1, Vec::<String>::new(), "nobody has written conf.d/*.toml");
    fs::write(dir.path().join("heartbeat.toml"), text.replace('*', "b")).unwrap();
    assert_eq!(refused(dir.path())[0].0, "HB004");
    fs::write(dir.path().join("heartbeat.toml"), text.replace("*.toml", "[b.toml")).unwrap();
    assert_eq!(refused(dir.path())[0].0, "HB005");
}

#[test]
fn a_file_includes_itself_no_second_time() {
    let text = format!("[heartbeat]\ninclude = [\"*.toml\", \"b.toml\"]\n{}", realm("a"));
    let dir = dir(&[("heartbeat.toml", &text), ("b.toml", &realm("b"))]);
    assert_eq!(names(dir.path()).0, ["a", "b"]);
}

#[test]
fn what_is_no_regular_file_is_named_and_not_read() {
    let dir = dir(&[("heartbeat.toml", &realm("a"))]);
    let zero = |name: &str| symlink("/dev/zero", dir.path().join(name)).unwrap();
    zero(".env");
    let said = refused(dir.path());
    assert!(
        said[0].0 == "HB108" && said[0].1.ends_with(".env is a device, and only regular files are read"),
        "{said:?}"
    );
    fs::remove_file(dir.path().join(".env")).unwrap();
    zero("realm.env");
    fs::write(dir.path().join("heartbeat.toml"), format!("{}env_file = \"realm.env\"\n", realm("a")))
        .unwrap();
    assert!(refused(dir.path())[0].1.contains("realm.env is a device"));
    fs::write(dir.path().join("heartbeat.toml"), "[heartbeat]\ninclude = \"zero.toml\"\n").unwrap();
    zero("zero.toml");
    assert!(
        refused(dir.path())
            .iter()
            .any(|(code, message, _)| *code == "HB004" && message.contains("is a device"))
    );
    fs::remove_file(dir.path().join("heartbeat.toml")).unwrap();
    zero("heartbeat.toml");
    assert!(refused(dir.path())[0].1.contains("heartbeat.toml is a device"));
}

#[test]
fn what_others_can_write_is_not_loaded_wherever_it_comes_from() {
    let text = format!("{}env_file = \"realm.env\"\n", realm("a"));
    let files = [
        ("heartbeat.toml", text.as_str()),
        ("conf.d/b.toml", "[realm.b]\nrun = \"b\"\n"),
        (".env", ""),
        ("realm.env", ""),
    ];
    let dir = dir(&files);
    assert!(read(dir.path()).is_ok());
    for name in files.iter().map(|(name, _)| *name).chain(["conf.d"]) {
        let path = dir.path().join(name);
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        let said = refused(dir.path());
        let command = format!("chmod go-w {}", path.display());
        assert!(
            said.iter().any(|(code, _, help)| *code == "HB008" && help.as_deref() == Some(command.as_str())),
            "{name}: {said:?}"
        );
        fs::set_permissions(&path, before).unwrap();
    }
}

#[test]
fn clients_find_the_socket_in_the_configuration_of_heartbeatd() {
    let text = "[heartbeat]\nsocket = \"run/${NAME:-hb}.sock\"\n[realm.a]\nrun = 5\n";
    let dir = dir(&[("heartbeat.toml", text), (".env", "NAME=shop\n")]);
    let sources = |env: &[(&str, &str)]| Sources {
        bytes: Vec::new(),
        file: None,
        env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        overrides: Vec::new(),
        cwd: dir.path().to_owned(),
    };
    let found = |sources: &Sources| socket_of(sources).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(
        found(&sources(&[])),
        Some(dir.path().join("run/shop.sock")),
        "what is wrong beside it does not matter"
    );
    assert_eq!(found(&sources(&[("NAME", "env")])), Some(dir.path().join("run/env.sock")));
    assert_eq!(found(&sources(&[("HEARTBEAT__HEARTBEAT__SOCKET", "/x/s")])), Some("/x/s".into()));
    fs::write(dir.path().join("heartbeat.toml"), realm("a")).unwrap();
    assert_eq!(found(&sources(&[])), None, "where it is not written there is the default");
    let own = format!("[heartbeat]\nruntime_dir = \"run\"\n{}", realm("a"));
    fs::write(dir.path().join("heartbeat.toml"), &own).unwrap();
    let socket = dir.path().join("run/heartbeat.sock");
    assert_eq!(found(&sources(&[])), Some(socket.clone()), "the runtime directory has the socket");
    assert_eq!(load(&sources(&[])).unwrap().config.heartbeat.socket, socket);
    // Whatever stands around its table, and however it is written.
    for around in [
        format!("{}[heartbeat]\nsocket = \"run/x\"\n{}", realm("a"), realm("b")),
        format!("heartbeat.socket = \"run/x\"\n{}", realm("a")),
        format!("heartbeat = {{ socket = \"run/x\" }}\n{}needs = [\n[\"b\"]\n]\n", realm("a")),
        "[realm.z]\nrun = \"\"\"\n[realm.b]\n\"\"\"\n[heartbeat]\nsocket = \"run/x\"\n".to_owned(),
        "[realm.z]\nrun = 'a'\n  [ heartbeat ]\nsocket = \"run/x\"\n[[realm.list]]\n".to_owned(),
    ] {
        fs::write(dir.path().join("heartbeat.toml"), &around).unwrap();
        assert_eq!(found(&sources(&[])), Some(dir.path().join("run/x")), "{around}");
    }
    // A file that others may write could lead to another heartbeatd.
    fs::set_permissions(dir.path().join("heartbeat.toml"), Permissions::from_mode(0o666)).unwrap();
    let report = socket_of(&sources(&[])).unwrap_err();
    assert!(report.to_string().contains("HB008"), "{report}");
    let elsewhere = TempDir::new().unwrap();
    let nothing = Sources { cwd: elsewhere.path().to_owned(), ..sources(&[("XDG_CONFIG_HOME", "/nowhere")]) };
    assert_eq!(found(&nothing), None);
}

#[test]
fn a_program_is_never_given_the_carriage_return_of_a_file() {
    let text =
        "[realm.a]\r\nshell = true\r\nrun = \"\"\"\r\nset -eu\r\nexec sleep 60\r\n\"\"\"\r\nprot = 1\r\n";
    let report = load_str("heartbeat.toml", text, &BTreeMap::new()).unwrap_err();
    assert_eq!(report.iter().map(|problem| (problem.line, problem.column)).collect::<Vec<_>>(), [(7, 1)]);
    let loaded = load_str("heartbeat.toml", &text.replace("prot = 1\r\n", ""), &BTreeMap::new()).unwrap();
    let launch = loaded.config.realms[0].launch.clone().unwrap();
    assert_eq!(launch.argv[2], "set -eu\nexec sleep 60\n");
}

#[test]
fn no_diagnostic_moves_a_cursor_in_any_form() {
    use heartbeat_config::Format;
    let evil = "\\u001b]0;owned\\u0007\\u009b31m\\u202e";
    let text = format!(
        "[realm.\"a{evil}\"]\nrun = \"x\"\n[realm.b]\nrun = \"x\"\nneeds = [\"{evil}red\"]\nhealth = \"http://a\\r\\nb/{evil}\"\n\"k{evil}\" = 1\n[realm.c]\nrun = \"\\\"{evil}\"\nuser = \"{evil}\"\nenv_file = \"{evil}\"\n"
    );
    let raw = format!("{text}# \u{1b}[31m \u{202e} \u{ad}\n");
    for (name, text) in [("heartbeat.toml", &text), ("\u{1b}[31m.toml", &raw)] {
        let report = load_str(name, text, &BTreeMap::new()).unwrap_err();
        assert!(report.iter().count() >= 2, "{report}");
        for format in [Format::Full, Format::Short, Format::Json, Format::Github] {
            let shown = report.render(format, false);
            let kept: Vec<char> = shown
                .chars()
                .filter(|c| *c != '\n' && (c.is_control() || "\u{202e}\u{ad}".contains(*c)))
                .collect();
            assert!(kept.is_empty(), "{format:?}: {kept:?} in {shown:?}");
        }
        for problem in &report {
            let parts = [Some(&problem.message), Some(&problem.file), problem.help.as_ref()];
            assert!(parts.into_iter().flatten().all(|part| !part.contains(char::is_control)), "{problem:?}");
        }
    }
}
