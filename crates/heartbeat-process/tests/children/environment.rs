//! Where a program is looked for.

use super::*;

/// As execvp does: in order, past what is not there or must not be run, and never in the path of heartbeatd.
pub(super) fn a_program_is_found_by_the_path_of_its_own_environment() {
    let bench = Bench::new();
    let [first, second] = ["first", "second"].map(|name| bench.dir.path().join(name));
    for (dir, mode) in [(&first, 0o600), (&second, 0o700)] {
        std::fs::create_dir(dir).unwrap();
        let program = dir.join("hb-test-program");
        std::fs::write(&program, "#!/bin/sh\necho found in $0\n").unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    let spec = |path: String| LaunchSpec {
        argv: vec!["hb-test-program".into()],
        env: vec![("PATH".into(), path.into())],
        ..bench.shell("")
    };
    let (first, second) = (first.display(), second.display());
    bench.launch(1, &spec(format!("/nonexistent:{first}:{second}:/usr/bin")));
    bench.started();
    exit_of(&bench.next());
    bench.wait_for_output(&format!("found in {second}/hb-test-program"));
    for (run, (path, errno)) in
        [(format!("{first}:/usr/bin"), "EACCES"), ("/usr/bin".to_owned(), "ENOENT")].into_iter().enumerate()
    {
        bench.launch(run as u64 + 2, &spec(path));
        match bench.next() {
            Notice::StartFailed { error, .. } => {
                assert_eq!((error.step, error.errno), (Step::Exec, Some(libc_errno(errno))), "{error:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}
