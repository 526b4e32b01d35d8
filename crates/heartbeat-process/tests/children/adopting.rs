//! A heartbeatd is killed, and another one takes over what it had started.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;

use heartbeat_process::{
    Condition, Key, LaunchSpec, Notice, ProcessRecord, Processes, Readiness, Search, Settings, Survey, survey,
};
use heartbeat_status::{Exit, ExitKind, RealmIx, RunFact, RunId, Signal, StartFailure};
use nix::unistd::Pid;

use super::{Bench, MAX_NOTICES, PATIENCE, key, kill_main, name, processes_called, rustix_yield};

/// The first argument of this program when it is to be the heartbeatd that gets killed.
pub(crate) const VICTIM: &str = "--victim";

/// The one that gets killed: starts a script as run 1, says its pid, and waits for its end.
pub(crate) fn victim(dir: &Path, script: &str) -> ! {
    let (sender, notices) = sync_channel(MAX_NOTICES);
    let settings = Settings {
        groups: super::groups(),
        records: dir.into(),
        runtime: dir.join("run"),
        instance_tag: super::instance_tag(),
        ..Settings::default()
    };
    let processes = Processes::open(settings, std::sync::Arc::new(super::TestLogs), move |notice| {
        sender.send(notice).unwrap()
    })
    .unwrap();
    processes.remember(&name(), Some(r#"{"of":"run 1"}"#.into()), false);
    // One whose script speaks is asked to.
    let asked = if script.contains("NOTIFY") { super::notify::asked() } else { Readiness::default() };
    let pidfile = dir.join(PIDFILE_DIR).is_dir().then(|| pidfile(dir));
    let spec = LaunchSpec { readiness: asked, pidfile, ..super::shell(dir, script) };
    processes.launch(key(1), &name(), &spec);
    loop {
        if let Notice::Started { pid, .. } = notices.recv().unwrap() {
            println!("pid {pid}");
        }
    }
}

pub(crate) struct Victim {
    child: Child,
    pid: u32,
}

impl Victim {
    pub(crate) fn start(dir: &Path, script: &str) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test plays the one that gets killed")]
        let mut child = Command::new("/proc/self/exe")
            .arg(VICTIM)
            .arg(dir)
            .arg(script)
            .args(super::groups())
            .env(super::MARK, super::instance_tag())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = line.trim().strip_prefix("pid ").unwrap().parse().unwrap();
        Self { child, pid }
    }

    pub(crate) fn kill(mut self) -> u32 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.pid
    }
}

/// What the realm is started with now: with a pid file, where there is the directory for one.
fn spec(bench: &Bench) -> LaunchSpec {
    let dir = bench.dir.path();
    LaunchSpec { pidfile: dir.join(PIDFILE_DIR).is_dir().then(|| pidfile(dir)), ..bench.shell("") }
}

/// Where a victim that makes a daemon of itself writes its number, in a directory that exists for such victims alone.
fn pidfile(dir: &Path) -> PathBuf {
    dir.join(PIDFILE_DIR).join("daemon.pid")
}
const PIDFILE_DIR: &str = ".pids";

pub(crate) fn look(bench: &Bench) -> Survey {
    look_for(bench, spec(bench))
}

/// Looks for what is left of a realm with this specification.
pub(crate) fn look_for(bench: &Bench, spec: LaunchSpec) -> Survey {
    let (instance_tag, groups, kept) = (super::instance_tag(), super::groups(), BTreeMap::new());
    let (records, groups) = (bench.dir.path(), groups.as_deref());
    let realms = BTreeMap::from([(name(), &spec)]);
    let search =
        Search { records, instance_tag: &instance_tag, groups, kept: &kept, realms: &realms, socket: None };
    survey(&search).unwrap()
}

/// Takes over whatever there is of the one realm.
pub(crate) fn adopt(bench: &Bench) -> Condition {
    let mut found = look(bench);
    assert_eq!(found.realms.len(), 1, "{found:?}");
    let survivor = found.realms.remove(0);
    let condition = survivor.condition.clone();
    let run = match condition {
        Condition::Alive { run, .. } | Condition::Forked { run, .. } | Condition::Ended { run, .. } => run,
        Condition::Nothing | Condition::Unverifiable { .. } => RunId(1),
    };
    let spec = LaunchSpec { readiness: super::notify::asked(), ..spec(bench) };
    bench.processes.adopt(Key { realm: RealmIx(0), run }, survivor, Some(spec));
    condition
}

pub(crate) fn gone(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

pub(crate) fn until(condition: impl Fn() -> bool) {
    for _ in 0..30_000 {
        if condition() {
            return;
        }
        rustix_yield();
    }
    panic!("it never came to be");
}

pub(crate) fn a_realm_outlives_its_heartbeatd_and_is_taken_over() {
    let bench = Bench::new();
    let pid = Victim::start(bench.dir.path(), "exec sleep 620").kill();
    let found = look(&bench);
    assert_eq!(found.realms[0].memory.as_deref(), Some(r#"{"of":"run 1"}"#));
    assert!(found.realms[0].identity.is_some());
    assert_eq!(adopt(&bench), Condition::Alive { run: RunId(1), pid, launching: false });
    bench.processes.signal(key(1), Signal::TERM);
    match bench.next() {
        Notice::Run { fact: RunFact::Exited { exit, empty: true }, .. } => assert!(
            // Older kernels do not say how the child of another process ended.
            exit == Exit::signal(Signal::TERM) || exit == Exit::unknown(),
            "{exit:?}"
        ),
        other => panic!("{other:?}"),
    }
    // The memory stays.
    until(|| look(&bench).realms.first().is_some_and(|left| left.condition == Condition::Nothing));
}

pub(crate) fn the_exit_code_of_another_process_child_is_reported() {
    let bench = Bench::new();
    let fifo = bench.dir.path().join("go.fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = format!("read line < {}; exit 42", fifo.display());
    Victim::start(bench.dir.path(), &script).kill();
    adopt(&bench);
    std::fs::write(&fifo, "go\n").unwrap();
    match bench.next() {
        Notice::Run { fact: RunFact::Exited { exit, .. }, .. } if exit.kind == ExitKind::Unknown => {
            println!(
                "the kernel does not say how a child of somebody else has ended (before 6.15): passed over"
            );
        }
        Notice::Run { fact: RunFact::Exited { exit, .. }, .. } => assert_eq!(exit, Exit::code(42)),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn what_ended_meanwhile_is_known_to_have_ended() {
    let bench = Bench::new();
    let victim = Victim::start(bench.dir.path(), "exec sleep 621");
    let pid = victim.kill();
    kill_main(pid);
    until(|| gone(pid));
    match adopt(&bench) {
        Condition::Ended { run: RunId(1), empty: true, .. } => {}
        other => panic!("{other:?}"),
    }
}

pub(crate) fn leftovers_of_a_main_process_that_died_meanwhile_are_held_and_killed() {
    let bench = Bench::new();
    let pid =
        Victim::start(bench.dir.path(), "sleep 622 & setsid sleep 623 & echo up; exec sleep 624").kill();
    bench.wait_for_output("up");
    until(|| !processes_called(&["sleep", "623"]).is_empty());
    kill_main(pid);
    until(|| gone(pid));
    match adopt(&bench) {
        Condition::Ended { empty: false, .. } => {}
        other => panic!("{other:?}"),
    }
    bench.processes.signal(key(1), Signal::KILL);
    assert_eq!(bench.next(), Notice::Run { key: key(1), fact: RunFact::Emptied });
    assert!(processes_called(&["sleep", "622"]).is_empty() && processes_called(&["sleep", "623"]).is_empty());
}

/// A program that makes a daemon of itself: the daemon, then as many words as there are, each of which waits for a file
/// of that name. `named` writes the pid file, `ended` ends the program.
fn forker(bench: &Bench, daemon: &str, words: &[&str]) -> String {
    let dir = bench.dir.path();
    std::fs::create_dir_all(dir.join(PIDFILE_DIR)).unwrap();
    let (dir, pidfile) = (dir.display(), pidfile(dir));
    let wait = |word: &&str| {
        let then = match *word {
            "named" => format!("echo $daemon > {}", pidfile.display()),
            _ => "exit 0".to_owned(),
        };
        format!("while ! test -e {dir}/{word}; do sleep 0.01; done; {then}; ")
    };
    let waits: String = words.iter().map(wait).collect();
    format!("setsid {daemon} & daemon=$!; echo forked $daemon up; {waits}")
}

fn daemon_of(bench: &Bench) -> u32 {
    let text = bench.wait_for_output("up");
    text.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Whenever heartbeatd dies while a program makes a daemon of itself, the next heartbeatd follows the pid file.
pub(crate) fn a_daemon_that_was_not_followed_yet_is_found_by_its_pid_file() {
    // What the program waits for; how much of that happens while no heartbeatd runs.
    for (words, meanwhile) in
        [(&["named", "ended"][..], 2), (&["named", "ended"], 1), (&["named", "ended"], 0), (&["ended"], 1)]
    {
        let bench = Bench::new();
        let happen = |words: &[&str]| {
            words.iter().for_each(|word| std::fs::write(bench.dir.path().join(word), "").unwrap());
        };
        let (meanwhile, afterwards) = words.split_at(meanwhile);
        let victim = Victim::start(bench.dir.path(), &forker(&bench, "sleep 644", words));
        let daemon = daemon_of(&bench);
        let first = victim.kill();
        happen(meanwhile);
        if afterwards.is_empty() {
            until(|| gone(first));
            // The kernel knows how the process ended until its parent collects it.
            let forked = |exit| Condition::Forked { run: RunId(1), pid: first, exit };
            let found = adopt(&bench);
            assert!([forked(Exit::unknown()), forked(Exit::code(0))].contains(&found), "{found:?}");
        } else {
            until(|| meanwhile.is_empty() || pidfile(bench.dir.path()).exists());
            assert_eq!(adopt(&bench), Condition::Alive { run: RunId(1), pid: first, launching: false });
        }
        happen(afterwards);
        if !words.contains(&"named") {
            // A daemon that writes its pid file itself, and late.
            std::fs::write(pidfile(bench.dir.path()), daemon.to_string()).unwrap();
        }
        let mut notice = bench.next();
        if let Notice::Run { fact: RunFact::Forked, .. } = notice {
            notice = bench.next();
        }
        match notice {
            Notice::MainChanged { pid, .. } => assert_eq!(pid, daemon, "{meanwhile:?}"),
            other => panic!("{meanwhile:?}: {other:?}"),
        }
        // From now on it is on record as the main process, and its end is the end of the run.
        let condition = look(&bench).realms.remove(0).condition;
        assert_eq!(condition, Condition::Alive { run: RunId(1), pid: daemon, launching: false });
        kill_main(daemon);
        match bench.next() {
            Notice::Run { fact: RunFact::Exited { .. }, .. } => {}
            other => panic!("{meanwhile:?}: {other:?}"),
        }
    }
}

/// A daemon that was followed and dies while no heartbeatd runs has ended, also when its pid file is still there.
pub(crate) fn the_pid_file_of_a_daemon_that_has_ended_is_not_waited_for() {
    let bench = Bench::new();
    let script = forker(&bench, "sh -c \"sleep 645 & wait\"", &["named", "ended"]);
    let victim = Victim::start(bench.dir.path(), &script);
    let daemon = daemon_of(&bench);
    until(|| !processes_called(&["sleep", "645"]).is_empty());
    ["named", "ended"].iter().for_each(|word| std::fs::write(bench.dir.path().join(word), "").unwrap());
    let record = || ProcessRecord::read(&ProcessRecord::path(bench.dir.path(), &name())).unwrap();
    until(|| record().process.is_some_and(|process| process.pid == daemon));
    assert_eq!(record().exit, None, "how the program before it has ended is no exit of the realm");
    victim.kill();
    kill_main(daemon);
    until(|| gone(daemon));
    match adopt(&bench) {
        Condition::Ended { empty: false, exit, .. } => assert_eq!(exit, Exit::unknown()),
        other => panic!("{other:?}"),
    }
    bench.processes.signal(key(1), Signal::KILL);
    assert_eq!(bench.next(), Notice::Run { key: key(1), fact: RunFact::Emptied });
}

pub(crate) fn a_damaged_record_is_set_aside_and_its_process_is_found_by_its_mark() {
    let bench = Bench::new();
    let pid = Victim::start(bench.dir.path(), "exec sleep 625").kill();
    let path = ProcessRecord::path(bench.dir.path(), &name());
    std::fs::write(&path, "not a record").unwrap();
    let found = look(&bench);
    assert_eq!(found.damaged.len(), 1);
    assert!(path.with_extension("damaged").exists() && !path.exists());
    gets_no_signal_and_its_end_is_noticed(&bench, pid);
}

/// Adopts what cannot be proven to be the realm's, tries to kill it, and ends it from outside.
fn gets_no_signal_and_its_end_is_noticed(bench: &Bench, pid: u32) {
    match adopt(bench) {
        Condition::Unverifiable { what } => assert!(what.contains(&pid.to_string()), "{what}"),
        other => panic!("{other:?}"),
    }
    bench.processes.signal(key(1), Signal::KILL);
    // A realm of another name: a run of this realm would be swept at its end, and the sweep reaches every process with
    // its tag.
    let other = heartbeat_status::RealmName::new("other").unwrap();
    bench.processes.launch(key(9), &other, &bench.shell("exit 0"));
    assert!(matches!(bench.next(), Notice::Started { .. }), "the adapter is at work");
    assert!(matches!(bench.next(), Notice::Run { fact: RunFact::Exited { .. }, .. }));
    assert!(!gone(pid), "what is not proven gets no signal");
    kill_main(pid);
    assert_eq!(bench.next(), Notice::Run { key: key(1), fact: RunFact::Emptied });
}

/// The line of a record that another heartbeatd wrote.
fn of_another(line: &str) -> String {
    if line.starts_with("mark=") { "mark=HEARTBEAT_STATE=feed".to_owned() } else { line.to_owned() }
}

/// The id of the state directory is new, so the record names another heartbeatd.
pub(crate) fn what_another_heartbeatd_started_gets_no_signal_and_its_end_is_noticed() {
    let mut bench = Bench::new();
    let pid = Victim::start(bench.dir.path(), "exec sleep 626").kill();
    rewrite(&bench, of_another);
    // Each takeover remembers something of the realm, and so writes its record.
    for takeover in 1..=3 {
        let found = adopt(&bench);
        assert!(matches!(found, Condition::Unverifiable { .. }), "takeover {takeover}: {found:?}");
        bench.processes.remember(&name(), Some(takeover.to_string()), true);
        bench = bench.next_heartbeatd();
        let record = ProcessRecord::read(&ProcessRecord::path(bench.dir.path(), &name())).unwrap();
        assert_eq!(record.memory, Some(takeover.to_string()));
    }
    gets_no_signal_and_its_end_is_noticed(&bench, pid);
}

/// The same, and nothing of it is left.
pub(crate) fn what_another_heartbeatd_started_and_has_ended_is_as_any_end() {
    let bench = Bench::new();
    let pid = Victim::start(bench.dir.path(), "exec sleep 627").kill();
    rewrite(&bench, of_another);
    kill_main(pid);
    until(|| gone(pid));
    let found = look(&bench);
    assert!(matches!(found.realms[0].condition, Condition::Ended { empty: true, .. }), "{found:?}");
}

/// Changes lines of the record of the one realm, so that it is whole again.
fn rewrite(bench: &Bench, line: impl Fn(&str) -> String) {
    let path = ProcessRecord::path(bench.dir.path(), &name());
    let bytes = std::fs::read(&path).unwrap();
    // The newest of two, by the number that its second line says.
    let pages =
        bytes.chunks(4_096).map(|page| String::from_utf8_lossy(page).trim_end_matches('\0').to_owned());
    let edition = |page: &String| {
        page.lines().nth(1).and_then(|line| line.strip_prefix("edition=")?.parse::<u64>().ok())
    };
    let text = pages.max_by_key(edition).unwrap();
    let body: String = text.lines().skip(1).map(|text| format!("{}\n", line(text))).collect();
    let sum = body.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut bytes = format!("heartbeat-adoption/3 {} {sum:016x}\n{body}", body.len()).into_bytes();
    bytes.resize(8_192, 0);
    std::fs::write(&path, bytes).unwrap();
}

pub(crate) fn a_record_of_another_boot_means_nothing() {
    let bench = Bench::new();
    let pid = Victim::start(bench.dir.path(), "exec sleep 631").kill();
    rewrite(
        &bench,
        |line| if line.starts_with("boot=") { "boot=another".to_owned() } else { line.to_owned() },
    );
    // The process that has the number now was found by its tag alone.
    let found = look(&bench);
    assert!(matches!(found.realms[0].condition, Condition::Unverifiable { .. }), "{found:?}");
    assert_eq!(found.realms[0].memory, None, "nothing is remembered from another boot");
    kill_main(pid);
    until(|| gone(pid));
    assert!(look(&bench).realms.is_empty());
}

pub(crate) fn a_reused_pid_is_not_the_realm() {
    let bench = Bench::new();
    // A process of no realm that leads a session of its own, and is older than the last sign of life of heartbeatd.
    #[expect(clippy::disallowed_methods, reason = "a process of no realm")]
    let mut unrelated = Command::new("setsid")
        .args(["sleep", "627"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let number = unrelated.id();
    let stat = || std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap();
    let field = |at: usize| stat().rsplit_once(") ").unwrap().1.split(' ').nth(at).unwrap().to_owned();
    until(|| field(3) == number.to_string());
    let pid = Victim::start(bench.dir.path(), "exec sleep 626").kill();
    let path = ProcessRecord::path(bench.dir.path(), &name());
    let record = ProcessRecord::read(&path).unwrap();
    assert!(record.is_alive());
    kill_main(pid);
    until(|| gone(pid));
    // Another process has the number now: the same record, another start time.
    let start = field(19).parse::<u64>().unwrap() - 1;
    rewrite(&bench, |line| match line.split_once('=').unwrap().0 {
        "pid" => format!("pid={number}"),
        "start_time" => format!("start_time={start}"),
        _ => line.to_owned(),
    });
    assert!(matches!(adopt(&bench), Condition::Ended { empty: true, .. }));
    bench.processes.signal(key(1), Signal::KILL);
    // A realm of another name: a run of this realm would be swept at its end, and the sweep reaches every process with
    // its tag.
    let other = heartbeat_status::RealmName::new("other").unwrap();
    bench.processes.launch(key(9), &other, &bench.shell("exit 0"));
    bench.started();
    super::exit_of(&bench.next());
    assert!(unrelated.try_wait().unwrap().is_none(), "no signal reaches an unrelated process");
    unrelated.kill().unwrap();
    unrelated.wait().unwrap();
}

pub(crate) fn a_launcher_without_its_heartbeatd_exits_and_that_is_no_crash() {
    let bench = Bench::new();
    let victim = Victim::start(bench.dir.path(), "exec sleep 628");
    let pid = victim.pid;
    // As if it had been killed before `proceed`: a record about a launcher that waits for a word.
    victim.kill();
    kill_main(pid);
    until(|| gone(pid));
    let (ours, theirs) = nix::sys::socket::socketpair(
        nix::sys::socket::AddressFamily::Unix,
        nix::sys::socket::SockType::SeqPacket,
        None,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
    )
    .unwrap();
    use std::os::unix::process::CommandExt;
    #[expect(clippy::disallowed_methods, reason = "a launcher of somebody who is about to die")]
    let mut launcher = Command::new("/proc/self/exe")
        .arg0("hb-launch")
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until(|| {
        std::fs::read_to_string(format!("/proc/{}/comm", launcher.id()))
            .is_ok_and(|comm| comm.trim() == "hb-launch")
    });
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", launcher.id())).unwrap();
    let start = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().to_owned();
    let number = launcher.id();
    rewrite(&bench, |line| match line.split_once('=').unwrap().0 {
        "pid" => format!("pid={number}"),
        "start_time" => format!("start_time={start}"),
        _ => line.to_owned(),
    });
    assert!(matches!(adopt(&bench), Condition::Alive { launching: true, .. }));
    drop(ours);
    match bench.next() {
        Notice::StartFailed { error, .. } => {
            assert_eq!(error.failure, StartFailure::NeverTried, "{error:?}");
        }
        other => panic!("{other:?}"),
    }
    // Reaped by the adapter: it is a child of this program.
    let _ = launcher.wait();
}

pub(crate) fn what_stops_is_told_of_adopted_processes_too() {
    let bench = Bench::new();
    let pid = Victim::start(bench.dir.path(), "exec sleep 629").kill();
    adopt(&bench);
    let raw = Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(raw, nix::sys::signal::Signal::SIGSTOP).unwrap();
    assert_eq!(
        bench.notices.recv_timeout(PATIENCE).unwrap(),
        Notice::Run { key: key(1), fact: RunFact::StoppedBySignal { stopped: true } }
    );
    bench.processes.signal(key(1), Signal::KILL);
    assert!(matches!(
        bench.next(),
        Notice::Run { fact: RunFact::Exited { .. }, .. }
            | Notice::Run { fact: RunFact::StoppedBySignal { .. }, .. }
    ));
}

pub(crate) fn records_that_cannot_be_written_stop_nothing() {
    let bench = Bench::new();
    let records = bench.dir.path().join("realms");
    std::fs::create_dir(&records).unwrap();
    let (sender, notices) = sync_channel(MAX_NOTICES);
    let settings =
        Settings { records: records.clone(), instance_tag: super::instance_tag(), ..Settings::default() };
    let processes = Processes::open(settings, std::sync::Arc::new(super::TestLogs), move |notice| {
        sender.send(notice).unwrap()
    })
    .unwrap();
    std::fs::remove_dir_all(&records).unwrap();
    std::fs::write(&records, "in the way").unwrap();
    processes.launch(key(1), &name(), &bench.shell("exec sleep 630"));
    let mut told = [notices.recv_timeout(PATIENCE).unwrap(), notices.recv_timeout(PATIENCE).unwrap()];
    told.sort_by_key(|notice| matches!(notice, Notice::Started { .. }));
    assert!(matches!(&told[0], Notice::RecordsFail { problem: Some(why) } if why.contains("db")), "{told:?}");
    assert!(matches!(told[1], Notice::Started { .. }), "{told:?}");
    std::fs::remove_file(&records).unwrap();
    assert_eq!(notices.recv_timeout(PATIENCE).unwrap(), Notice::RecordsFail { problem: None });
    let record = ProcessRecord::read(&ProcessRecord::path(&records, &name())).unwrap();
    assert!(record.is_alive(), "it is on record after all");
    processes.signal(key(1), Signal::KILL);
    assert!(matches!(
        notices.recv_timeout(PATIENCE).unwrap(),
        Notice::Run { fact: RunFact::Exited { .. }, .. }
    ));
}

/// The disk of the records is full after every number of pages: each time another write is the first that fails, for
/// ever.
pub(crate) fn a_full_disk_below_the_records_misses_no_restart() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    const REALMS: u32 = 3;
    const MAX_PAGES: u32 = 7;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_err()
        || mount(None::<&str>, "/", None::<&str>, private, None::<&str>).is_err()
    {
        println!("  skipped: not permitted to mount");
        return;
    }
    let bench = Bench::new();
    let records = bench.dir.path().join("realms");
    std::fs::create_dir(&records).unwrap();
    for pages in 1..=MAX_PAGES {
        let size = format!("size={}", 4_096 * pages);
        mount(Some("tmpfs"), &records, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).unwrap();
        let (sender, notices) = sync_channel(MAX_NOTICES);
        let settings =
            Settings { records: records.clone(), instance_tag: super::instance_tag(), ..Settings::default() };
        let sink = move |notice| drop(sender.send(notice));
        let processes = Processes::open(settings, std::sync::Arc::new(super::TestLogs), sink).unwrap();
        let told = std::cell::Cell::new(false);
        let next = || loop {
            match notices.recv_timeout(PATIENCE).unwrap() {
                Notice::RecordsFail { problem } => told.set(told.get() || problem.is_some()),
                other => return other,
            }
        };
        let spec = LaunchSpec { log: heartbeat_process::LogTarget::Null, ..bench.shell("exec sleep 659") };
        let name = |realm| heartbeat_status::RealmName::new(&format!("db{realm}")).unwrap();
        for run in 1..=3 {
            for realm in 0..REALMS {
                let key = Key { realm: RealmIx(realm), run: RunId(run) };
                processes.remember(&name(realm), Some(format!("{{\"run\":{run}}}")), true);
                processes.launch(key, &name(realm), &spec);
                assert!(matches!(next(), Notice::Started { key: started, .. } if started == key), "{pages}");
                if run < 3 {
                    processes.signal(key, Signal::KILL);
                    assert!(
                        matches!(next(), Notice::Run { key: ended, fact: RunFact::Exited { .. } } if ended == key),
                        "{pages}"
                    );
                }
            }
        }
        assert_eq!(told.get(), pages < 2 * REALMS + 1, "{pages} pages");
        if pages == 1 {
            // With room again everything is on record.
            mount(None::<&str>, &records, None::<&str>, MsFlags::MS_REMOUNT, Some("size=1m")).unwrap();
            assert_eq!(notices.recv_timeout(PATIENCE).unwrap(), Notice::RecordsFail { problem: None });
            for realm in 0..REALMS {
                assert!(
                    ProcessRecord::read(&ProcessRecord::path(&records, &name(realm))).unwrap().is_alive()
                );
            }
        }
        for realm in 0..REALMS {
            processes.signal(Key { realm: RealmIx(realm), run: RunId(3) }, Signal::KILL);
        }
        for _ in 0..REALMS {
            assert!(matches!(next(), Notice::Run { fact: RunFact::Exited { .. }, .. }));
        }
        processes.close();
        umount2(&records, MntFlags::MNT_DETACH).unwrap();
    }
}

/// A disk has kept the newest run off the record: nothing proves what it is, and nothing is started beside it.
pub(crate) fn a_run_that_is_not_on_record_is_not_started_again() {
    let bench = Bench::new();
    let path = ProcessRecord::path(bench.dir.path(), &name());
    bench.launch(1, &bench.shell("exec sleep 665"));
    bench.started();
    let old = std::fs::read(&path).unwrap();
    bench.processes.signal(key(1), Signal::KILL);
    super::exit_of(&bench.next());
    bench.launch(2, &bench.shell("exec sleep 665"));
    let pid = bench.started();
    std::fs::write(&path, old).unwrap();
    let found = look(&bench);
    match &found.realms[0].condition {
        Condition::Unverifiable { what } => assert!(what.contains(&pid.to_string()), "{what}"),
        other => panic!("{other:?}"),
    }
    bench.processes.signal(key(2), Signal::KILL);
    super::exit_of(&bench.next());
    // Once nothing is left and nothing is to be remembered, the record goes too.
    let found = look(&bench);
    let over = |condition: &Condition| {
        matches!(condition, Condition::Ended { empty: true, .. } | Condition::Nothing)
    };
    assert!(found.realms.iter().all(|realm| over(&realm.condition)), "{found:?}");
}

/// The system call in which the thread of the reaper waits; `None` while it runs, or where the kernel does not say.
fn call_of_reaper() -> Option<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten().map(|entry| entry.path());
    let is_reaper = |task: &PathBuf| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "hb-reaper")
    };
    let reaper = tasks.into_iter().find(is_reaper)?;
    let call = std::fs::read_to_string(reaper.join("syscall")).ok()?;
    call.split(' ').next().filter(|number| number.parse::<u32>().is_ok()).map(str::to_owned)
}

/// Once the process is collected, only the record knows how it ended: a heartbeatd that dies in between must find one
/// of the two. The record is a pipe here, so the reaper waits while it writes.
pub(crate) fn an_exit_is_on_record_before_the_process_is_collected() {
    let bench = Bench::new();
    if std::fs::read("/proc/self/syscall").is_err() {
        return println!("  skipped: this kernel does not say in which system call a thread waits");
    }
    bench.launch(1, &bench.shell("exec sleep 664"));
    let pid = bench.started();
    let idle = std::cell::RefCell::new(None);
    until(|| {
        *idle.borrow_mut() = call_of_reaper();
        idle.borrow().is_some()
    });
    let path = ProcessRecord::path(bench.dir.path(), &name());
    until(|| std::fs::remove_file(&path).is_ok());
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    kill_main(pid);
    until(|| call_of_reaper().is_some_and(|call| Some(call) != *idle.borrow()));
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The pipe gets a reader before the test may fail: the reaper goes on.
    let _reader = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    assert!(state.contains(") Z "), "it was collected before its exit was on record: {state:?}");
    assert!(matches!(
        bench.next(),
        Notice::RecordsFail { .. } | Notice::Run { fact: RunFact::Exited { .. }, .. }
    ));
}

pub(crate) fn an_exit_is_on_record_until_the_next_start() {
    let bench = Bench::new();
    bench.processes.remember(&name(), Some("{}".into()), true);
    bench.launch(1, &bench.shell("exit 3"));
    bench.started();
    let exit = super::exit_of(&bench.next()).0;
    let path = ProcessRecord::path(bench.dir.path(), &name());
    until(|| ProcessRecord::read(&path).unwrap().exit == Some((RunId(1), exit)));
    until(|| ProcessRecord::read(&path).unwrap().process.is_none());
    let found = look(&bench);
    let db = &found.realms[0];
    assert_eq!((&db.condition, db.last_exit), (&Condition::Nothing, Some((RunId(1), Exit::code(3)))));
    bench.launch(2, &bench.shell("exec sleep 642"));
    bench.started();
    assert_eq!(ProcessRecord::read(&path).unwrap().exit, None);
    bench.processes.signal(key(2), Signal::KILL);
    assert_eq!(super::exit_of(&bench.next()).0, Exit::signal(Signal::KILL));
}

pub(crate) fn a_realm_may_be_called_like_the_launcher() {
    let bench = Bench::new();
    let program = bench.dir.path().join("hb-launch");
    std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
    let pid = Victim::start(bench.dir.path(), &format!("exec {} 643", program.display())).kill();
    until(|| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim() == "hb-launch");
    assert_eq!(adopt(&bench), Condition::Alive { run: RunId(1), pid, launching: false });
    bench.processes.signal(key(1), Signal::TERM);
    assert_eq!(super::exit_of(&bench.next()).0, Exit::signal(Signal::TERM));
}
