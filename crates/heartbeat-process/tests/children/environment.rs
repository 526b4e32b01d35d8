//! Where a program is looked for, and who is at fault when it cannot be executed.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use heartbeat_process::{CommandResult, CommandRunId, LaunchSpec, LogTarget, Notice, Step};
use heartbeat_process::{LaunchError, User};
use heartbeat_status::{Exit, RunFact, Signal, StartFailure};
use nix::mount::{MntFlags, MsFlags};

use super::*;

fn program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

fn start_failed(notice: Notice) -> LaunchError {
    match notice {
        Notice::StartFailed { error, .. } => error,
        other => panic!("{other:?}"),
    }
}

/// As execvp does: in order, past what is not there or must not be run, and never in the path of heartbeatd.
pub(super) fn a_program_is_found_by_the_path_of_its_own_environment() {
    let bench = Bench::new();
    let [first, second] = ["first", "second"].map(|name| bench.dir.path().join(name));
    for (dir, mode) in [(&first, 0o600), (&second, 0o700)] {
        std::fs::create_dir(dir).unwrap();
        let program = dir.join("hb-test-program");
        std::fs::write(&program, "#!/bin/sh\necho found in $0\n").unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(mode)).unwrap();
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

/// execve says ENOENT of the script, which is there.
pub(super) fn a_missing_interpreter_is_named_with_the_user() {
    let bench = Bench::new();
    let script = bench.dir.path().join("report");
    program(&script, "#!no-such-venv/bin/python3 -u\n");
    let spec = LaunchSpec { argv: vec![script.clone().into()], ..bench.shell("") };
    bench.launch(1, &spec);
    let error = start_failed(bench.next());
    let shown = script.display();
    let expected = format!("cannot execute {shown}: its interpreter no-such-venv/bin/python3 is not there");
    assert_eq!((error.failure, error.message), (StartFailure::ProgramUnusable, expected));
    // heartbeatd's own user, where the realm has none.
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o600)).unwrap();
    bench.launch(3, &spec);
    let own = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
    let expected = format!("cannot execute {shown} as user {own} (heartbeatd's own): Permission denied");
    assert_eq!(start_failed(bench.next()).message, expected);
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    // For whom it may not be executed is said, too.
    std::fs::set_permissions(bench.dir.path(), PermissionsExt::from_mode(0o711)).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o700)).unwrap();
    bench.launch(2, &LaunchSpec { user: Some(User::find("nobody").unwrap()), ..spec });
    let error = start_failed(bench.next());
    let expected = format!("cannot execute {shown} as user nobody: Permission denied");
    assert_eq!((error.failure, error.message), (StartFailure::ProgramUnusable, expected));
}

/// With everything that a start does before it, and with the rights of the user.
pub(super) fn a_program_is_checked_and_not_started() {
    let bench = Bench::new();
    let (script, trace) = (bench.dir.path().join("serve"), bench.dir.path().join("trace"));
    let text = format!("#!/bin/sh\necho started >> {}\n", trace.display());
    let spec = LaunchSpec { argv: vec![script.clone().into()], ..bench.shell("") };
    let mut id = 0;
    let mut check = |spec: &LaunchSpec| {
        id += 1;
        bench.processes.check_program(CommandRunId(id), spec, PATIENCE);
        match bench.next() {
            Notice::CommandDone { result: CommandResult::Exited(exit), .. } if exit.is_zero() => None,
            Notice::CommandDone { result: CommandResult::StartFailed(error), .. } => Some(error),
            other => panic!("{other:?}"),
        }
    };
    let missing = check(&spec).unwrap();
    assert_eq!((missing.step, missing.failure), (Step::Exec, StartFailure::ProgramUnusable));
    program(&script, &text);
    assert_eq!(check(&spec), None);
    std::fs::write(&script, "").unwrap();
    assert_eq!(check(&spec).map(|error| error.failure), Some(StartFailure::ProgramUnusable), "not whole yet");
    program(&script, &text);
    let elsewhere = LaunchSpec { dir: bench.dir.path().join("current"), ..spec.clone() };
    let error = check(&elsewhere).unwrap();
    assert_eq!((error.step, error.failure), (Step::Directory, StartFailure::ProgramUnusable));
    std::fs::create_dir(&elsewhere.dir).unwrap();
    assert_eq!(check(&elsewhere), None);
    if nix::unistd::geteuid().is_root() {
        std::fs::set_permissions(bench.dir.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let user = User::find("nobody").unwrap();
        let as_nobody = LaunchSpec { user: Some(user), ..spec };
        assert_eq!(check(&as_nobody), None);
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o750)).unwrap();
        let error = check(&as_nobody).unwrap();
        assert_eq!((error.failure, error.errno), (StartFailure::ProgramUnusable, Some(libc_errno("EACCES"))));
    }
    assert!(!trace.exists(), "nothing was started");
}

/// A mounted file system that never answers, like that of a server which is gone.
struct DeadMount {
    dir: PathBuf,
    _device: File,
}

impl DeadMount {
    fn at(dir: &Path) -> Result<Self, String> {
        std::fs::create_dir(dir).unwrap();
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let device = device.map_err(|error| format!("/dev/fuse: {error}"))?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        nix::mount::mount(Some("none"), dir, Some("fuse"), flags, Some(options.as_str()))
            .map_err(|errno| format!("mount: {errno}"))?;
        Ok(Self { dir: dir.to_owned(), _device: device })
    }
}

impl Drop for DeadMount {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.dir, MntFlags::MNT_DETACH);
    }
}

/// A launch takes at most this, where a test waits for it.
const SHORT_LIMIT: Duration = Duration::from_millis(500);

pub(super) fn a_file_system_that_does_not_answer_fails_the_start_and_is_named() {
    let bench = Bench::within(SHORT_LIMIT);
    let mount = match DeadMount::at(&bench.dir.path().join("mnt")) {
        Ok(mount) => mount,
        Err(why) => return println!("skipped: no file system that does not answer: {why}"),
    };
    let place = |name: &str| mount.dir.join(name);
    let (env_file, dir, program) = (place("secrets.env"), place("app"), place("program"));
    for (run, (spec, step, path)) in [
        (LaunchSpec { env_file: Some(env_file.clone()), ..bench.shell("exit 0") }, Step::EnvFile, env_file),
        (LaunchSpec { dir: dir.clone(), ..bench.shell("exit 0") }, Step::Directory, dir),
        (LaunchSpec { argv: vec![program.clone().into()], ..bench.shell("") }, Step::Exec, program),
    ]
    .into_iter()
    .enumerate()
    {
        bench.launch(run as u64, &spec);
        let error = start_failed(bench.next());
        assert_eq!((error.step, error.failure), (step, StartFailure::ProgramUnusable), "{error:?}");
        assert!(error.message.contains(&path.display().to_string()), "{}", error.message);
        assert!(
            error.message.ends_with("its file system has not answered within 0.5 s"),
            "{}",
            error.message
        );
    }
    // Nothing is held up for the others.
    bench.launch(9, &bench.shell("exit 3"));
    bench.started();
}

pub(super) fn a_log_that_does_not_answer_is_kept_in_memory() {
    let bench = Bench::within(SHORT_LIMIT);
    let path = bench.dir.path().join(HANGING_LOG);
    let log = LogTarget::File { path: path.clone(), max_bytes: 1 << 20, keep: 2 };
    let spec = LaunchSpec { log: log.clone(), ..bench.shell("exec sleep 660") };
    let key = bench.launch(1, &spec);
    bench.started();
    assert_eq!(bench.next(), Notice::Run { key, fact: RunFact::LogInMemory });
    bench.processes.signal(key, Signal::KILL);
    assert_eq!(exit_of(&bench.next()).0, Exit::signal(Signal::KILL));
    // What is cancelled meanwhile is not started.
    let guard = nix::unistd::getppid().as_raw().unsigned_abs();
    let comm = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let key = bench.launch(2, &spec);
    adopting::until(|| descendants(guard).iter().any(|pid| comm(pid) == "hb-log\n"));
    bench.processes.signal(key, Signal::KILL);
    assert_eq!(start_failed(bench.next()).failure, StartFailure::NeverTried);
    // A hook writes there, too.
    let hook = LaunchSpec { log, ..bench.shell("exit 7") };
    bench.processes.run_command(CommandRunId(1), &hook, PATIENCE);
    match bench.next() {
        Notice::CommandDone { result: CommandResult::Exited(exit), .. } => assert_eq!(exit, Exit::code(7)),
        other => panic!("{other:?}"),
    }
}
