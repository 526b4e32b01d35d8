//! The command line of heartbeat-cli, as a person meets it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[expect(clippy::disallowed_methods, reason = "the test starts the binary as a person would")]
fn run(args: &[&str]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_heartbeat-cli")).args(args).output().unwrap()
}

#[test]
fn the_version_is_told() {
    let output = run(&["version"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_good_and_a_bad_configuration_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("good.toml");
    let bad = dir.path().join("bad.toml");
    std::fs::write(&good, "[realm.a]\nrun = \"sleep 9\"\n").unwrap();
    std::fs::write(&bad, "[realm.a]\nrum = \"sleep 9\"\n").unwrap();
    assert_eq!(run(&["check", good.to_str().unwrap()]).status.code(), Some(0));
    let refused = run(&["check", bad.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    let said =
        String::from_utf8_lossy(&refused.stdout).into_owned() + &String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("bad.toml:2:1") && said.contains("did you mean `run`?"), "{said}");
}
