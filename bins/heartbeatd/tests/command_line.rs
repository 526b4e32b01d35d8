//! The command line of heartbeatd, as a person meets it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[expect(clippy::disallowed_methods, reason = "the test starts the binary as a person would")]
fn run(args: &[&str]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_heartbeatd")).args(args).output().unwrap()
}

#[test]
fn the_version_is_told() {
    let output = run(&["--version"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_word_and_a_missing_file_are_usage_errors() {
    assert_eq!(run(&["frobnicate"]).status.code(), Some(2));
    let missing = run(&["--config", "/nonexistent/heartbeat.toml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nonexistent/heartbeat.toml"));
}

#[test]
fn a_realm_that_is_not_of_the_demo_is_refused_by_name() {
    let output = run(&["demo", "--break", "nothing"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("nothing") && said.contains("auth"), "{said}");
}
