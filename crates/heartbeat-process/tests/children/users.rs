//! Programs that run as another user.

use std::os::unix::fs::PermissionsExt;

use heartbeat_process::{CommandResult, CommandRunId, LaunchSpec, LogTarget, Notice, Step, User};
use heartbeat_status::Exit;

use super::*;

/// A user who is not root; with more than one group where PostgreSQL is installed.
fn somebody() -> User {
    ["postgres", "nobody"].into_iter().find_map(|name| User::find(name).ok()).unwrap()
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn failure(bench: &Bench) -> heartbeat_process::LaunchError {
    match bench.next() {
        Notice::StartFailed { error, .. } => error,
        other => panic!("{other:?}"),
    }
}

pub(super) fn a_realm_runs_as_its_user() {
    if !is_root() {
        println!("  skipped: only root can become another user");
        return;
    }
    let user = somebody();
    for user in [user.clone(), user.clone().with_groups(&["12345".to_owned()]).unwrap()] {
        let bench = Bench::new();
        let script = "id -u; id -g; id -G; grep -E '^(Uid|Gid|Groups|CapEff|CapAmb)' /proc/self/status; pwd; \
                      echo home=${HOME-none}; echo the-end";
        let spec = LaunchSpec { user: Some(user.clone()), ..bench.shell(script) };
        bench.launch(1, &spec);
        bench.started();
        exit_of(&bench.next());
        let text = bench.wait_for_output("the-end");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            (lines[0], lines[1]),
            (user.uid.to_string().as_str(), user.gid.to_string().as_str()),
            "{text}"
        );
        let mut groups: Vec<u32> = lines[2].split(' ').map(|group| group.parse().unwrap()).collect();
        groups.sort_unstable();
        let mut expected = user.groups.clone();
        expected.push(user.gid);
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(groups, expected, "{text}");
        let four = |id: u32| [id; 4].map(|id| id.to_string()).join("\t");
        assert!(text.contains(&format!("Uid:\t{}", four(user.uid))), "{text}");
        assert!(text.contains(&format!("Gid:\t{}", four(user.gid))), "{text}");
        assert!(
            text.contains("CapEff:\t0000000000000000") && text.contains("CapAmb:\t0000000000000000"),
            "{text}"
        );
        assert!(text.contains("home=none"), "the environment is not ours to make: {text}");
    }
}

pub(super) fn the_directory_and_the_program_are_reached_with_the_rights_of_the_user() {
    if !is_root() {
        println!("  skipped: only root can become another user");
        return;
    }
    let (bench, user) = (Bench::new(), somebody());
    // Root's alone.
    std::fs::set_permissions(bench.dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let spec = LaunchSpec { user: Some(user.clone()), ..bench.shell("exit 0") };
    bench.launch(1, &LaunchSpec { dir: bench.dir.path().into(), ..spec.clone() });
    let error = failure(&bench);
    assert_eq!((error.step, error.errno), (Step::Directory, Some(libc_errno("EACCES"))), "{error:?}");
    assert!(error.message.contains(&user.name), "{}", error.message);
    let program = bench.dir.path().join("program");
    std::fs::copy("/bin/true", &program).unwrap();
    bench.launch(2, &LaunchSpec { argv: vec![program.clone().into()], ..spec.clone() });
    let error = failure(&bench);
    assert_eq!((error.step, error.errno), (Step::Exec, Some(libc_errno("EACCES"))), "{error:?}");
    assert!(error.message.contains(&format!("as user {}", user.name)), "{}", error.message);
    assert!(error.message.contains(program.to_str().unwrap()), "{}", error.message);
}

pub(super) fn a_command_runs_as_its_user_and_oneself_needs_no_right() {
    let bench = Bench::new();
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let groups = nix::unistd::getgroups().unwrap().into_iter().map(nix::unistd::Gid::as_raw).collect();
    let own = User { name: "own".into(), uid, gid, groups, home: "/".into(), shell: "/bin/sh".into() };
    let other = User { uid: uid + 1, name: "somebody-else".into(), ..own.clone() };
    for (id, user) in [(1, own), (2, other)] {
        let wanted = user.uid;
        let spec = LaunchSpec { log: LogTarget::Capture, user: Some(user), ..bench.shell("id -u") };
        bench.processes.run_command(CommandRunId(id), &spec, PATIENCE);
        match bench.next() {
            Notice::CommandDone { result: CommandResult::Exited(exit), output, .. } => {
                assert_eq!(exit, Exit::code(0));
                assert_eq!(String::from_utf8(output).unwrap(), format!("{wanted}\n"));
            }
            Notice::CommandDone { result: CommandResult::StartFailed(error), .. } => {
                assert!(!is_root() && id == 2, "{error:?}");
                assert_eq!((error.step, error.errno), (Step::User, Some(nix::errno::Errno::EPERM as i32)));
                assert!(error.message.contains("somebody-else"), "{}", error.message);
            }
            other => panic!("{other:?}"),
        }
    }
}
