//! `limits`, `no_new_privileges` and `shell`.

use heartbeat_process::Limits;

use crate::reading::{realm, refused, text};

fn codes(keys: &str) -> Vec<&'static str> {
    refused(&format!("[realm.a]\nrun = \"x\"\n{keys}\n")).iter().map(|found| found.code.as_str()).collect()
}

#[test]
fn limits_are_read_with_their_units() {
    let config = text(
        "[defaults.limits]\nnofile = 1024\nnice = 5\n[realm.a]\nrun = \"x\"\n[realm.a.limits]\nmemory = \"512MiB\"\n\
         cpu = \"150%\"\ntasks = 100\nnproc = 50\ncore = \"0B\"\nmemlock = \"64KiB\"\nfsize = \"1GiB\"\nnice = -5\n\
         oom_score = -500\n[realm.b]\nrun = \"x\"\n",
    );
    let of = |name: &str| realm(&config, name).1.launch.as_ref().unwrap().limits.clone();
    let expected = Limits {
        memory_bytes: Some(512 << 20),
        cpu_percent: Some(150),
        tasks: Some(100),
        nofile: Some(1_024),
        nproc: Some(50),
        core_bytes: Some(0),
        memlock_bytes: Some(64 << 10),
        fsize_bytes: Some(1 << 30),
        nice: -5,
        oom_score: -500,
    };
    assert_eq!(of("a"), expected);
    assert_eq!(of("b"), Limits { nofile: Some(1_024), nice: 5, ..Limits::default() });
}

#[test]
fn limits_out_of_range_are_refused() {
    for (keys, code) in [
        ("memory = \"64MB\"", "HB105"),
        ("memory = 64", "HB105"),
        ("memory = \"1KiB\"", "HB102"),
        ("cpu = \"0%\"", "HB105"),
        ("cpu = 2", "HB105"),
        ("tasks = 0", "HB102"),
        ("nofile = 3", "HB102"),
        ("nice = 20", "HB102"),
        ("nice = -21", "HB102"),
        ("oom_score = 1001", "HB102"),
        ("oom_score = \"low\"", "HB102"),
        ("memory_action = \"restart\"", "HB103"),
        ("memroy = \"64MiB\"", "HB101"),
    ] {
        assert_eq!(codes(&format!("limits = {{ {keys} }}")), [code], "{keys}");
    }
    let external = |keys: &str| refused(&format!("[realm.a]\nhealth = {{ exec = \"x\" }}\n{keys}\n"));
    let report = external("limits = { tasks = 5, nofile = 100 }");
    assert_eq!(report.iter().map(|found| found.code.as_str()).collect::<Vec<_>>(), ["HB121"], "{report}");
    assert!(
        report.to_string().contains("limits.tasks"),
        "a check command has descriptors, and no tree: {report}"
    );
}

#[test]
fn a_process_that_changes_its_user_regains_no_privilege() {
    for (keys, expected) in [
        ("", false),
        ("user = \"root\"", true),
        ("no_new_privileges = true", true),
        ("user = \"root\"\nno_new_privileges = false", false),
    ] {
        let config = text(&format!("[realm.a]\nrun = \"x\"\n{keys}\n"));
        assert_eq!(realm(&config, "a").1.launch.as_ref().unwrap().no_new_privileges, expected, "{keys}");
    }
}

#[test]
fn a_line_for_a_shell_is_left_to_it() {
    let config = text("[realm.a]\nrun = \"a | b && exec c $HOME\"\nshell = true\n");
    let argv = &realm(&config, "a").1.launch.as_ref().unwrap().argv;
    assert_eq!(*argv, ["/bin/sh", "-c", "a | b && exec c $HOME"]);
    for run in ["[\"a\", \"b\"]", "\" \""] {
        let report = refused(&format!("[realm.a]\nrun = {run}\nshell = true\n"));
        assert_eq!(report.iter().map(|found| found.code.as_str()).collect::<Vec<_>>(), ["HB107"], "{run}");
    }
}

#[test]
fn the_owner_is_shown() {
    let config = text("[realm.a]\nrun = \"x\"\ndocs = \"https://wiki/a\"\nowner = \"team core\"\n");
    let info = &config.plan.infos()[0];
    assert_eq!((info.docs.as_deref(), info.owner.as_deref()), (Some("https://wiki/a"), Some("team core")));
}
