//! Processes that leave session, group, parents and environment, and are ended all the same.

use std::path::Path;

use heartbeat_process::{Condition, Key, LaunchSpec, LogTarget, Notice, ProcessRecord};
use heartbeat_status::{Exit, RealmIx, RealmName, RunFact, RunId, Signal};

use super::adopting::{Victim, adopt, gone, until};
use super::{Bench, exit_of, groups, kill_main, processes_called, zombies};

/// Reads notices until nothing of the run is left; how its main process ended.
pub(super) fn ended(bench: &Bench, key: Key) -> Exit {
    let (exit, empty) = exit_of(&bench.next());
    if !empty {
        assert_eq!(bench.next(), Notice::Run { key, fact: RunFact::Emptied });
    }
    exit
}

fn no_process_called(argv: &[&str]) -> bool {
    processes_called(argv).is_empty()
}

pub(crate) fn a_process_in_its_own_session_is_signalled_too() {
    let bench = Bench::new();
    let script =
        "setsid sh -c 'trap \"echo told; exit 0\" TERM; echo up; while :; do sleep 0.01; done' & wait";
    let key = bench.launch(1, &bench.shell(script));
    bench.started();
    bench.wait_for_output("up");
    bench.processes.signal(key, Signal::TERM);
    assert_eq!(ended(&bench, key), Exit::signal(Signal::TERM));
    bench.wait_for_output("told");
}

/// Leaves a daemon behind: in a session of its own, and its parent is gone.
fn daemon(of: &str) -> String {
    format!("(setsid sh -c '{of} & exit 0' &) ; ")
}

pub(crate) fn a_daemon_that_is_not_our_child_is_reported_and_can_be_killed() {
    let bench = Bench::new();
    let script = format!("{} sleep 0.2; echo up; exit 3", daemon("sleep 630"));
    let key = bench.launch(1, &bench.shell(&script));
    bench.started();
    assert_eq!(exit_of(&bench.next()), (Exit::code(3), false));
    bench.processes.signal(key, Signal::KILL);
    assert_eq!(bench.next(), Notice::Run { key, fact: RunFact::Emptied });
    assert!(no_process_called(&["sleep", "630"]));
}

pub(crate) fn a_process_without_its_mark_is_found_by_descent_or_group() {
    let bench = Bench::new();
    let script = "env -i setsid sh -c 'env -i setsid sleep 631 & wait' & sleep 0.2; echo up; wait";
    let key = bench.launch(1, &bench.shell(script));
    bench.started();
    bench.wait_for_output("up");
    until(|| !no_process_called(&["sleep", "631"]));
    bench.processes.signal(key, Signal::KILL);
    assert_eq!(ended(&bench, key), Exit::signal(Signal::KILL));
    until(|| no_process_called(&["sleep", "631"]));
    if groups().is_none() {
        return;
    }
    // The process carries nothing that identifies it; only its control group does.
    let script = format!("env -i sh -c \"{}\"; sleep 0.2; exit 4", daemon("env -i sleep 632"));
    let key = bench.launch(2, &bench.shell(&script));
    bench.started();
    assert_eq!(exit_of(&bench.next()), (Exit::code(4), false));
    bench.processes.signal(key, Signal::KILL);
    assert_eq!(bench.next(), Notice::Run { key, fact: RunFact::Emptied });
    assert!(no_process_called(&["sleep", "632"]));
}

pub(crate) fn a_fork_bomb_is_ended() {
    let bench = Bench::new();
    // Three that never stop forking, in sessions of their own, and children that outlive their parents.
    let storm = "while :; do (sleep 633 & exit 0); done";
    let script = format!("for i in 1 2 3; do setsid timeout 20 sh -c '{storm}' & done; echo up; wait");
    let spec = LaunchSpec { log: LogTarget::Null, ..bench.shell(&script) };
    let key = bench.launch(1, &spec);
    bench.started();
    until(|| processes_called(&["sleep", "633"]).len() > 50);
    bench.processes.signal(key, Signal::KILL);
    assert_eq!(ended(&bench, key), Exit::signal(Signal::KILL));
    until(|| no_process_called(&["sleep", "633"]));
}

fn daemon_spec(bench: &Bench, pidfile: &Path, of: &str) -> LaunchSpec {
    let script = format!("setsid sh -c '{of}' & echo $! > {}; exit 0", pidfile.display());
    LaunchSpec { pidfile: Some(pidfile.to_owned()), ..bench.shell(&script) }
}

/// The daemon that a run has become.
fn main_changed(bench: &Bench) -> u32 {
    match bench.next() {
        Notice::MainChanged { pid, .. } => pid,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn a_daemon_is_followed_by_its_pid_file() {
    let bench = Bench::new();
    let pidfile = bench.dir.path().join("daemon.pid");
    // An old one lies there, and names an unrelated process.
    std::fs::write(&pidfile, format!("{}\n", std::process::id())).unwrap();
    let key = bench.launch(
        1,
        &daemon_spec(&bench, &pidfile, "trap \"exit 7\" TERM; echo up; while :; do sleep 0.01; done"),
    );
    let first = bench.started();
    let pid = main_changed(&bench);
    assert_ne!(pid, first);
    bench.wait_for_output("up");
    assert_eq!(std::fs::read_to_string(&pidfile).unwrap().trim(), pid.to_string());
    bench.processes.signal(key, Signal::TERM);
    let exit = ended(&bench, key);
    // The process is not our child unless orphans come to us, and older kernels do not say how such a process ended.
    assert!(exit == Exit::code(7) || exit == Exit::unknown(), "{exit:?}");
    // One that leaves no process behind has ended at once, whatever its pid file says.
    let script = format!("rm -f {0}; exit 0", pidfile.display());
    let spec = LaunchSpec { pidfile: Some(pidfile.clone()), ..bench.shell(&script) };
    bench.launch(3, &spec);
    bench.started();
    assert_eq!(exit_of(&bench.next()), (Exit::code(0), true));
    // One that ends badly has left no daemon behind.
    let script = format!("echo 1 > {}; exit 9", pidfile.display());
    let spec = LaunchSpec { pidfile: Some(pidfile), ..bench.shell(&script) };
    bench.launch(2, &spec);
    bench.started();
    assert_eq!(exit_of(&bench.next()), (Exit::code(9), true));
}

pub(crate) fn a_pid_file_is_believed_within_the_tree_alone() {
    let bench = Bench::new();
    let pidfile = bench.dir.path().join("daemon.pid");
    let own = std::process::id();
    let script = format!("(setsid sleep 634 &); echo {own} > {}; exit 0", pidfile.display());
    let key = bench.launch(1, &LaunchSpec { pidfile: Some(pidfile), ..bench.shell(&script) });
    bench.started();
    assert_eq!(bench.next(), Notice::Run { key, fact: RunFact::Forked });
    assert_eq!(exit_of(&bench.next()), (Exit::code(0), false), "and what it left is no main process");
    bench.processes.signal(key, Signal::KILL);
    assert_eq!(bench.next(), Notice::Run { key, fact: RunFact::Emptied });
    assert!(no_process_called(&["sleep", "634"]));
}

pub(crate) fn another_main_process_can_be_named() {
    let bench = Bench::new();
    let key = bench.launch(1, &bench.shell("sleep 635 & echo child $! up; wait; sleep 636"));
    let first = bench.started();
    let text = bench.wait_for_output("up");
    let child: u32 = text.split_whitespace().nth(1).unwrap().parse().unwrap();
    bench.processes.follow(key, std::process::id());
    bench.processes.follow(key, child);
    assert_eq!(main_changed(&bench), child, "and not a process of another realm");
    kill_main(child);
    let (_, empty) = exit_of(&bench.next());
    assert!(!empty, "the first one lives");
    bench.processes.signal(key, Signal::KILL);
    assert_eq!(bench.next(), Notice::Run { key, fact: RunFact::Emptied });
    until(|| gone(first));
}

pub(crate) fn five_hundred_killed_at_once_lose_no_cause() {
    const REALMS: u32 = 500;
    let bench = Bench::new();
    let spec = LaunchSpec { log: LogTarget::Null, ..bench.shell("exec sleep 637") };
    for at in 0..REALMS {
        let realm = RealmName::new(&format!("r{at}")).unwrap();
        bench.processes.launch(Key { realm: RealmIx(at), run: RunId(1) }, &realm, &spec);
    }
    let pids: Vec<u32> = (0..REALMS).map(|_| bench.started()).collect();
    pids.iter().for_each(|pid| kill_main(*pid));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..REALMS {
        match bench.next() {
            Notice::Run { key, fact: RunFact::Exited { exit, empty } } => {
                assert_eq!((exit, empty), (Exit::signal(Signal::KILL), true));
                assert!(seen.insert(key));
            }
            other => panic!("{other:?}"),
        }
    }
    until(|| zombies().is_empty());
}

pub(crate) fn a_daemon_that_was_followed_is_taken_over() {
    let bench = Bench::new();
    let victim = Victim::start(bench.dir.path(), "setsid sleep 638 & echo $!; setsid sleep 639 & wait");
    until(|| !no_process_called(&["sleep", "639"]));
    victim.kill();
    // Its main process dies; the others live on in sessions of their own.
    let Condition::Alive { pid, .. } = adopt(&bench) else { panic!("it lives") };
    kill_main(pid);
    let (_, empty) = exit_of(&bench.next());
    assert!(!empty, "two are left");
    bench.processes.signal(super::key(1), Signal::KILL);
    assert_eq!(bench.next(), Notice::Run { key: super::key(1), fact: RunFact::Emptied });
    assert!(no_process_called(&["sleep", "638"]) && no_process_called(&["sleep", "639"]));
}

pub(crate) fn groups_are_removed_when_they_are_empty() {
    let Some(base) = groups() else { return };
    let cgroups =
        || std::fs::read_dir(&base).unwrap().flatten().filter(|entry| entry.path().is_dir()).count();
    let bench = Bench::new();
    // A realm may divide its own group.
    let script = "own=$(sed -n 's/^0:://p' /proc/self/cgroup); root=$(sed -n 's/.* \\(\\S*\\) - cgroup2.*/\\1/p' /proc/self/mountinfo | awk '{print $1}' | head -1); \
        echo own $own; exec sleep 640";
    let key = bench.launch(1, &bench.shell(script));
    bench.started();
    let text = bench.wait_for_output("own");
    assert!(text.contains("db.1"), "{text}");
    let inner = base.join("db.1").join("inner");
    std::fs::create_dir(&inner).unwrap();
    assert_eq!(cgroups(), 1);
    bench.processes.signal(key, Signal::TERM);
    assert_eq!(ended(&bench, key), Exit::signal(Signal::TERM));
    until(|| cgroups() == 0);
}

pub(crate) fn abandoned_groups_are_removed_and_no_others() {
    let Some(base) = groups() else { return };
    let beside = |name: &str| base.parent().unwrap().join(name);
    // As long as an id, and of this run of the tests alone.
    let id = |last: char| format!("heartbeat-{:015x}{last}", std::process::id());
    let (left, foreign) = (beside(&id('a')), beside("heartbeat-elsewhere"));
    let claimed = beside(&id('b'));
    for dir in [&left, &foreign, &claimed] {
        std::fs::create_dir_all(dir.join("db.7").join("inner")).unwrap();
    }
    let claim = std::fs::File::open(&claimed).unwrap();
    claim.lock_shared().unwrap();
    let bench = Bench::new();
    until(|| !left.exists());
    assert!(claimed.exists(), "a living heartbeatd has it");
    drop(claim);
    drop(bench);
    let _next = Bench::new();
    until(|| !claimed.exists());
    assert!(foreign.exists(), "it is not named as ours are");
    for dir in ["db.7/inner", "db.7", ""] {
        std::fs::remove_dir(foreign.join(dir)).unwrap();
    }
}

/// Takes every descriptor that is left.
fn take_all_descriptors() -> Vec<std::fs::File> {
    std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect()
}

pub(crate) fn without_descriptors_an_end_is_only_late() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    const MAX_DESCRIPTORS: u64 = 250;
    const REALMS: u32 = 12;
    let bench = Bench::new();
    let keys = |run| (1..=REALMS).map(move |realm| Key { realm: RealmIx(realm), run: RunId(run) });
    let launch = |key: Key, script| {
        let name = RealmName::new(&format!("db{}", key.realm.0)).unwrap();
        bench.processes.launch(key, &name, &bench.shell(script));
    };
    for key in keys(1) {
        launch(key, "setsid sleep 641 & setsid sleep 641 & exec sleep 641");
        bench.started();
    }
    let three_each = usize::try_from(REALMS).unwrap() * 3;
    until(|| processes_called(&["sleep", "641"]).len() == three_each);
    let before = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, MAX_DESCRIPTORS, before.1).unwrap();
    let all = take_all_descriptors();
    for key in keys(1) {
        bench.processes.signal(key, Signal::KILL);
    }
    // The ends of main processes need no descriptor, and are told meanwhile.
    let (mut exited, mut emptied, mut all) = (0, 0, Some(all));
    while emptied < REALMS {
        match bench.next() {
            Notice::Run { fact: RunFact::Exited { empty, .. }, .. } => {
                (exited, emptied) = (exited + 1, emptied + u32::from(empty))
            }
            Notice::Run { fact: RunFact::Emptied, .. } => emptied += 1,
            _ => {}
        }
        if exited == REALMS {
            drop(all.take());
        }
    }
    assert!(no_process_called(&["sleep", "641"]), "what could not be found before is killed now");
    for key in keys(2) {
        launch(key, "exit 0");
        bench.started();
        assert_eq!(exit_of(&bench.next()).0, Exit::code(0));
    }
    // Orphans come to this program, which has to collect them itself.
    for zombie in zombies() {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(zombie).unwrap());
        nix::sys::wait::waitpid(pid, None).unwrap();
    }
    setrlimit(Resource::RLIMIT_NOFILE, before.0, before.1).unwrap();
}

pub(crate) fn leftovers_that_could_not_be_watched_are_looked_at_again() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    const MAX_DESCRIPTORS: u64 = 250;
    let bench = Bench::new();
    let launch = |realm, script| {
        let key = Key { realm: RealmIx(realm), run: RunId(1) };
        bench.processes.launch(key, &RealmName::new(&format!("db{realm}")).unwrap(), &bench.shell(script));
        (key, bench.started())
    };
    let (many, main_of_many) = launch(
        1,
        "for at in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do setsid sleep 657 & done; exec sleep 657",
    );
    let (one, main_of_one) = launch(2, "setsid sleep 658 & exec sleep 659");
    until(|| processes_called(&["sleep", "657"]).len() == 17 && !no_process_called(&["sleep", "659"]));
    until(|| !no_process_called(&["sleep", "658"]));
    let left = processes_called(&["sleep", "658"])[0].file_name().unwrap().to_str().unwrap().parse();
    let before = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, MAX_DESCRIPTORS, before.1).unwrap();
    let all = take_all_descriptors();
    // The first one takes the reserve of descriptors for what it leaves behind; nothing is left for the second one.
    for main in [main_of_many, main_of_one] {
        kill_main(main);
        assert_eq!(exit_of(&bench.next()), (Exit::signal(Signal::KILL), false));
    }
    drop(all);
    setrlimit(Resource::RLIMIT_NOFILE, before.0, before.1).unwrap();
    kill_main(left.unwrap());
    assert_eq!(bench.next(), Notice::Run { key: one, fact: RunFact::Emptied });
    bench.processes.signal(many, Signal::KILL);
    assert_eq!(bench.next(), Notice::Run { key: many, fact: RunFact::Emptied });
}

/// A process of another launcher, in a session of its own, that carries the tag of a run.
#[expect(clippy::disallowed_methods, reason = "the test plays another process")]
fn pretender(uid: Option<u32>, word: Option<&str>) -> std::process::Child {
    use std::os::unix::process::CommandExt;
    let mut command = std::process::Command::new("setsid");
    command.args(["sleep", "648"]).env("HEARTBEAT_REALM", "db").env("HEARTBEAT_STATE", super::instance_tag());
    if let Some(word) = word {
        command.env("HEARTBEAT_RUN", word);
    }
    if let Some(uid) = uid {
        command.uid(uid);
    }
    command.spawn().unwrap()
}

pub(crate) fn a_process_that_only_knows_the_mark_is_neither_member_nor_stray() {
    const NOBODY: u32 = 65_534;
    let bench = Bench::new();
    let key = bench.launch(1, &bench.shell("exec sleep 649"));
    bench.started();
    let word =
        ProcessRecord::read(&ProcessRecord::path(bench.dir.path(), &super::name())).unwrap().word.unwrap();
    assert_eq!(word.len(), 16);
    let mut pretenders = vec![pretender(None, None), pretender(None, Some("0123456789abcdef"))];
    if nix::unistd::geteuid().is_root() {
        // Even with the word of the run.
        pretenders.push(pretender(Some(NOBODY), Some(&word)));
    }
    until(|| processes_called(&["sleep", "648"]).len() == pretenders.len());
    bench.processes.signal(key, Signal::KILL);
    assert_eq!(ended(&bench, key), Exit::signal(Signal::KILL));
    for pretender in &mut pretenders {
        assert!(pretender.try_wait().unwrap().is_none(), "no signal reaches an unrelated process");
    }
    // Nothing is on record any more. Of another user it keeps no realm from starting; of ours it may be one that was
    // lost.
    let mut others = pretenders.split_off(2);
    for mut ours in pretenders {
        ours.kill().unwrap();
        ours.wait().unwrap();
    }
    until(|| !ProcessRecord::path(bench.dir.path(), &super::name()).exists());
    assert!(super::adopting::look(&bench).realms.is_empty());
    let mut ours = pretender(None, None);
    until(|| super::adopting::look(&bench).realms.len() == 1);
    assert!(matches!(super::adopting::look(&bench).realms[0].condition, Condition::Unverifiable { .. }));
    for left in others.iter_mut().chain([&mut ours]) {
        left.kill().unwrap();
        left.wait().unwrap();
    }
}

/// A process that a heartbeatd with another state directory has started for the realm, in `place`, with `socket`.
#[expect(clippy::disallowed_methods, reason = "the test plays another process")]
fn of_another_heartbeatd(place: &Path, socket: &Path) -> std::process::Child {
    let mut command = std::process::Command::new("setsid");
    command.args(["sleep", "652"]).env("HEARTBEAT_REALM", "db").env("HEARTBEAT_STATE", "0123456789abcdef");
    command.env("PWD", place).env("HEARTBEAT_SOCKET", socket).spawn().unwrap()
}

pub(crate) fn what_a_heartbeatd_that_is_gone_has_started_in_the_place_of_the_realm_is_not_started_twice() {
    let bench = Bench::new();
    let (place, elsewhere) = (bench.dir.path().to_owned(), bench.dir.path().join("elsewhere"));
    let (gone, served) = (bench.dir.path().join("gone.sock"), bench.dir.path().join("another one.sock"));
    let listener = std::os::unix::net::UnixListener::bind(&served).unwrap();
    let mut others = [of_another_heartbeatd(&place, &served), of_another_heartbeatd(&elsewhere, &gone)];
    until(|| processes_called(&["sleep", "652"]).len() == 2);
    let spec = LaunchSpec { dir: place.clone(), ..bench.shell("") };
    let found = || super::adopting::look_for(&bench, spec.clone()).realms;
    assert!(found().is_empty(), "one has its own heartbeatd, and one was started elsewhere: {:?}", found());
    drop(listener);
    until(|| matches!(&found()[..], [one] if matches!(one.condition, Condition::Unverifiable { .. })));
    for other in &mut others {
        other.kill().unwrap();
        other.wait().unwrap();
    }
    assert!(found().is_empty());
}
