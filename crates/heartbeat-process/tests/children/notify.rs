//! What realms say of themselves, with real senders. This program is also the sender: `say WORDS...` as its arguments.

use std::ffi::OsString;
use std::io::{IoSlice, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use heartbeat_process::{Condition, ProcessRecord, Readiness};
use heartbeat_process::{Key, LaunchSpec, Notice};
use heartbeat_status::{Beat, Said};
use heartbeat_status::{Exit, RealmIx, RealmName, RunFact, RunId, Signal};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socket,
};

use super::adopting::{Victim, adopt, gone, until};
use super::*;

/// What realms of these tests are asked.
pub(super) fn asked() -> Readiness {
    Readiness { notify: true, watchdog: Some(Duration::from_millis(1_500)), ready_fd: None }
}

/// A path, or `@` and a name in the kernel.
fn address() -> UnixAddr {
    let address = std::env::var_os("NOTIFY_SOCKET").unwrap();
    match address.as_bytes().strip_prefix(b"@") {
        Some(name) => UnixAddr::new_abstract(name),
        None => UnixAddr::new(&PathBuf::from(address)),
    }
    .unwrap()
}

fn send_with(text: &[u8], control: &[ControlMessage<'_>]) {
    let fd = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::empty(), None).unwrap();
    let to = address();
    sendmsg(fd.as_raw_fd(), &[IoSlice::new(text)], control, MsgFlags::empty(), Some(&to)).unwrap();
}

fn send(text: &[u8]) {
    send_with(text, &[]);
}

/// Sends a message with a descriptor, and waits until the receiver has closed that.
fn send_and_wait(text: &str) {
    let (mut theirs, ours) = std::io::pipe().unwrap();
    let fds = [ours.as_raw_fd()];
    send_with(text.as_bytes(), &[ControlMessage::ScmRights(&fds)]);
    drop(ours);
    let _ = theirs.read(&mut [0]);
}

/// The role of a sender. Each argument is a message; the last one is followed by a barrier, as systemd-notify does it.
pub(super) fn say(words: impl Iterator<Item = String>) -> ExitCode {
    for word in words {
        match word.split_once(':') {
            Some(("quickly", word)) => {
                send(word.as_bytes());
                return ExitCode::SUCCESS;
            }
            Some(("huge", word)) => send(format!("{word}\nSTATUS={}", "x".repeat(5_000)).as_bytes()),
            Some(("empty", _)) => send(b""),
            Some(("binary", word)) => send(&[word.as_bytes(), b"\nSTATUS=\xff"].concat()),
            Some(("descriptors", word)) => send_and_wait(word),
            Some(("flood", word)) => (0..30_000).for_each(|_| send(word.as_bytes())),
            Some(("for-ever", _)) => loop {
                nix::unistd::pause();
            },
            _ => send(word.replace("\\n", "\n").as_bytes()),
        }
    }
    send_and_wait("BARRIER=1");
    ExitCode::SUCCESS
}

/// A realm that runs `script`, in which `SAY` is this program as a sender.
fn talker(bench: &Bench, script: &str, asked: Readiness) -> LaunchSpec {
    let exe = std::env::current_exe().unwrap();
    let script = script.replace("SAY", &format!("{} say", exe.display()));
    LaunchSpec { readiness: asked, ..bench.shell(&script) }
}

fn said(bench: &Bench, key: Key) -> Said {
    match bench.next() {
        Notice::Run { key: whose, fact: RunFact::Said { said } } if whose == key => said,
        other => panic!("{other:?}"),
    }
}

fn ready() -> Said {
    Said { ready: true, ..Said::default() }
}

fn status(text: &str) -> Said {
    Said { status: Some(text.into()), ..Said::default() }
}

fn end(bench: &Bench, key: Key) {
    bench.processes.signal(key, Signal::KILL);
    let (_, empty) = exit_of(&bench.next());
    if !empty {
        assert_eq!(bench.next(), Notice::Run { key, fact: RunFact::Emptied });
    }
}

pub(super) fn a_realm_says_how_it_is_and_is_told_where() {
    let bench = Bench::new();
    let script = "echo watchdog $WATCHDOG_USEC for $WATCHDOG_PID of $$; ls -ld $NOTIFY_SOCKET; \
                  SAY 'READY=1\\nSTATUS=serving \x1b[2J' 'RELOADING=1\\nMONOTONIC_USEC=1' 'WATCHDOG=trigger' \
                  'STOPPING=1\\nEXTEND_TIMEOUT_USEC=2000000' 'WATCHDOG_USEC=3000000'; echo said; exec sleep 650";
    let key = bench.launch(1, &talker(&bench, script, asked()));
    let pid = bench.started();
    assert_eq!(said(&bench, key), Said { ready: true, ..status("serving ?[2J") });
    assert_eq!(said(&bench, key), Said { reloading: true, ..Said::default() });
    assert_eq!(said(&bench, key), Said { beat: Some(Beat::Trigger), ..Said::default() });
    let extend = Some(Duration::from_secs(2));
    assert_eq!(said(&bench, key), Said { stopping: true, extend, ..Said::default() });
    assert_eq!(said(&bench, key), Said { watchdog: Some(Duration::from_secs(3)), ..Said::default() });
    let text = bench.wait_for_output("said");
    assert!(text.contains(&format!("watchdog 1500000 for {pid} of {pid}")), "{text}");
    assert!(text.contains("srw-rw-rw-"), "{text}");
    let socket = bench.dir.path().join("run/notify/db");
    assert!(socket.exists());
    end(&bench, key);
    assert!(!socket.exists(), "nobody speaks there any more");
    // A realm without a `notify` probe gets no socket.
    bench.launch(2, &bench.shell("echo socket=$NOTIFY_SOCKET=; exit 0"));
    bench.started();
    exit_of(&bench.next());
    bench.wait_for_output("socket==");
    assert!(!socket.exists());
}

pub(super) fn the_first_word_is_not_lost_and_the_last_comes_before_the_end() {
    let bench = Bench::new();
    for run in 0..20 {
        let key = bench.launch(run, &talker(&bench, "exec SAY READY=1", asked()));
        bench.started();
        assert_eq!(said(&bench, key), ready());
        assert_eq!(exit_of(&bench.next()), (Exit::code(0), true));
        // Without anything that would wait for us: the main process is known even when it has ended.
        let key = bench.launch(100 + run, &talker(&bench, "exec SAY quickly:STOPPING=1", asked()));
        bench.started();
        assert_eq!(said(&bench, key), Said { stopping: true, ..Said::default() });
        assert_eq!(exit_of(&bench.next()), (Exit::code(0), true));
    }
}

pub(super) fn messages_are_believed_from_the_tree_alone() {
    let bench = Bench::new();
    // It waits after each word, since words that come together may be told together.
    let script = "exec 3<> $0.go; SAY STATUS=child; read line <&3; setsid SAY STATUS=session; read line <&3; \
                  (env -i NOTIFY_SOCKET=$NOTIFY_SOCKET SAY STATUS=bare); read line <&3; SAY STATUS=end; exec sleep 651";
    let go = bench.dir.path().join("it.go");
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = script.replace("$0.go", go.to_str().unwrap());
    let key = bench.launch(1, &talker(&bench, &script, asked()));
    let pid = bench.started();
    for text in ["child", "session", "bare"] {
        assert_eq!(said(&bench, key), status(text));
        if text != "bare" {
            std::fs::write(&go, "go\n").unwrap();
        }
    }
    // The same user, the right path, the right words: a process of no realm all the same.
    let socket = bench.dir.path().join("run/notify/db");
    let other = UnixDatagram::unbound().unwrap();
    for text in ["READY=1", "STOPPING=1", "WATCHDOG=trigger", &format!("MAINPID={}", std::process::id())] {
        other.send_to(text.as_bytes(), &socket).unwrap();
    }
    // Another realm is one, too.
    let other = Key { realm: RealmIx(1), run: RunId(1) };
    let exe = std::env::current_exe().unwrap();
    let script = format!("NOTIFY_SOCKET={} {} say READY=1; exit 0", socket.display(), exe.display());
    bench.processes.launch(other, &RealmName::new("web").unwrap(), &bench.shell(&script));
    assert!(matches!(bench.next(), Notice::Started { key, .. } if key == other));
    assert!(matches!(bench.next(), Notice::Run { key, fact: RunFact::Exited { .. } } if key == other));
    std::fs::write(&go, "go\n").unwrap();
    assert_eq!(said(&bench, key), status("end"), "nothing that was said by others");
    assert!(!gone(pid));
    end(&bench, key);
}

/// Sends everything that would harm a realm, from a process of another session that knows the mark.
#[expect(clippy::disallowed_methods, reason = "the test plays another process")]
fn forge(program: &Path, socket: &Path, uid: Option<u32>, word: Option<&str>) {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(program).args(["say", FORGED]).env("NOTIFY_SOCKET", socket);
    command.env("HEARTBEAT_REALM", "db").env("HEARTBEAT_STATE", instance_tag());
    command.envs(word.map(|word| ("HEARTBEAT_RUN", word)));
    if let Some(uid) = uid {
        command.uid(uid);
    }
    assert!(command.status().unwrap().success(), "the message was sent, and read");
}

const FORGED: &str = "READY=1\\nSTATUS=forged\\nWATCHDOG=trigger\\nSTOPPING=1\\nMAINPID=1";

/// The mark of a realm is no secret, and the word of a run belongs to its user.
pub(super) fn a_sender_that_only_knows_the_mark_is_not_believed() {
    const NOBODY: u32 = 65_534;
    let bench = Bench::new();
    let is_root = nix::unistd::geteuid().is_root();
    // Every user can run it there.
    let program = bench.dir.path().join("sender");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::set_permissions(bench.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    let go = bench.dir.path().join("go");
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (go, sender) = (go.display(), program.display());
    // A process in its own session that has given up its user.
    let other =
        if is_root { format!("setpriv --reuid={NOBODY} {sender} say '{FORGED}'; ") } else { String::new() };
    let script = format!(
        "exec 3<> {go}; {sender} say STATUS=begin; {other}read line <&3; {sender} say STATUS=end; exec sleep 661"
    );
    let key = bench.launch(1, &LaunchSpec { readiness: asked(), ..bench.shell(&script) });
    let pid = bench.started();
    assert_eq!(said(&bench, key), status("begin"));
    let record = ProcessRecord::path(bench.dir.path(), &name());
    let word = ProcessRecord::read(&record).unwrap().word.unwrap();
    let socket = bench.dir.path().join("run/notify/db");
    forge(&program, &socket, None, None);
    forge(&program, &socket, None, Some("0123456789abcdef"));
    if is_root {
        forge(&program, &socket, Some(NOBODY), Some(&word));
    }
    std::fs::write(bench.dir.path().join("go"), "go\n").unwrap();
    assert_eq!(said(&bench, key), status("end"), "nothing that was forged");
    assert!(!gone(pid));
    end(&bench, key);
}

/// Another file lies where the directories would: no socket and no FIFO can be made.
pub(super) fn without_a_directory_realms_start_and_are_heard() {
    let bench = Bench::new();
    let dir = bench.dir.path().join("run");
    std::fs::write(&dir, "in the way").unwrap();
    let asked = Readiness { ready_fd: Some(3), ..asked() };
    let script =
        "SAY STATUS=started; echo ready >&3; case $NOTIFY_SOCKET in @*) exec sleep 662;; esac; exit 9";
    let key = bench.launch(1, &talker(&bench, script, asked));
    bench.started();
    let mut sum = Said::default();
    while !sum.ready || sum.status.is_none() {
        let Said { ready, status, .. } = said(&bench, key);
        sum = Said { ready: sum.ready || ready, status: sum.status.or(status), ..Said::default() };
    }
    end(&bench, key);
    // With the directory there is a path again.
    std::fs::remove_file(&dir).unwrap();
    let key = bench.launch(2, &talker(&bench, "SAY READY=1; exec sleep 662", self::asked()));
    bench.started();
    assert_eq!(said(&bench, key), ready());
    assert!(dir.join("notify/db").exists());
    end(&bench, key);
}

/// The next heartbeatd listens where the one before has told the realm to report.
pub(super) fn a_realm_without_a_path_is_heard_by_the_next_one() {
    let bench = Bench::new();
    std::fs::write(bench.dir.path().join("run"), "in the way").unwrap();
    let exe = std::env::current_exe().unwrap();
    let go = bench.dir.path().join("go");
    let script = format!(
        "NOTIFY=1; while [ ! -e {go} ]; do sleep 0.02; done; {exe} say READY=1; exec sleep 663",
        go = go.display(),
        exe = exe.display()
    );
    let pid = Victim::start(bench.dir.path(), &script).kill();
    assert!(matches!(adopt(&bench), Condition::Alive { pid: found, .. } if found == pid));
    std::fs::write(&go, "").unwrap();
    assert_eq!(said(&bench, key(1)), ready());
    end(&bench, key(1));
}

pub(super) fn what_is_no_message_does_no_harm() {
    let bench = Bench::new();
    bench.launch(0, &bench.shell("exit 0"));
    bench.started();
    exit_of(&bench.next());
    let before = descriptors();
    let script = "SAY empty: huge:READY=1 binary:READY=1 'READY=1\\nA\\nB=\\n=C' descriptors:WATCHDOG=1 STATUS=end; exec sleep 652";
    let key = bench.launch(1, &talker(&bench, script, asked()));
    bench.started();
    // What comes together may be told together.
    let mut sum = Said::default();
    while sum.status.is_none() {
        let Said { ready, status, beat, .. } = said(&bench, key);
        sum = Said { ready: sum.ready || ready, status, beat: beat.or(sum.beat), ..Said::default() };
    }
    assert_eq!(sum, Said { ready: true, beat: Some(Beat::Alive), ..status("end") });
    end(&bench, key);
    // What came along was closed, too.
    wait_for_at_most(before);
}

pub(super) fn a_flood_is_bounded_and_what_matters_comes_through() {
    let bench = Bench::new();
    let script = "SAY flood:WATCHDOG=1 READY=1 flood:STATUS=x STATUS=end STOPPING=1; exec sleep 653";
    let key = bench.launch(1, &talker(&bench, script, asked()));
    bench.started();
    let (mut told, mut seen, mut last) = (0, Vec::new(), None);
    while seen.len() < 2 {
        let said = said(&bench, key);
        told += 1;
        last = said.status.clone().or(last);
        if !said.is_chatter() {
            seen.push((said.ready, said.stopping));
        }
    }
    assert_eq!(seen, [(true, false), (false, true)]);
    assert_eq!(last.as_deref(), Some("end"), "the last status stands");
    assert!(told < 10_000, "60,000 messages were told one by one: {told}");
    end(&bench, key);
}

/// What a realm may say in one window is no bound for its life.
pub(super) fn a_realm_is_heard_for_as_long_as_it_speaks() {
    const MORE_THAN_A_WINDOW_TAKES: usize = 120;
    let bench = Bench::new();
    let key = bench.launch(1, &talker(&bench, "while :; do SAY RELOADING=1; SAY READY=1; done", asked()));
    bench.started();
    for _ in 0..MORE_THAN_A_WINDOW_TAKES {
        assert!(!said(&bench, key).is_chatter());
    }
    bench.processes.signal(key, Signal::KILL);
    loop {
        match bench.next() {
            Notice::Run { fact: RunFact::Said { .. } | RunFact::Exited { empty: false, .. }, .. } => {}
            Notice::Run { fact: RunFact::Emptied | RunFact::Exited { empty: true, .. }, .. } => break,
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn a_realm_names_its_main_process_and_no_process_of_another() {
    let bench = Bench::new();
    let other = std::process::id();
    let script = format!(
        "sleep 654 & child=$!; SAY MAINPID={other} MAINPID=1 MAINPID=4194000 MAINPID=$child STATUS=named; exit 0"
    );
    let key = bench.launch(1, &talker(&bench, &script, asked()));
    let first = bench.started();
    let main = match bench.next() {
        Notice::MainChanged { key: whose, pid, .. } if whose == key => pid,
        other => panic!("{other:?}"),
    };
    assert!(main != other && main != first && main > 1);
    // The program that named it has ended, and with it nothing of the realm.
    assert_eq!(said(&bench, key), status("named"));
    until(|| gone(first));
    assert!(!gone(main));
    kill_main(main);
    let (exit, empty) = exit_of(&bench.next());
    assert!(exit == Exit::signal(Signal::KILL) || exit == Exit::unknown(), "{exit}");
    if !empty {
        assert_eq!(bench.next(), Notice::Run { key, fact: RunFact::Emptied });
    }
}

pub(super) fn a_socket_that_was_taken_away_is_put_back() {
    let bench = Bench::new();
    let script = "SAY READY=1; while [ ! -e $NOTIFY_SOCKET.go ]; do sleep 0.02; done; SAY STATUS=again; exec sleep 655";
    let key = bench.launch(1, &talker(&bench, script, asked()));
    bench.started();
    assert_eq!(said(&bench, key), ready());
    let dir = bench.dir.path().join("run");
    std::fs::remove_dir_all(&dir).unwrap();
    until(|| dir.join("notify/db").exists());
    std::fs::write(dir.join("notify/db.go"), "").unwrap();
    assert_eq!(said(&bench, key), status("again"));
    // The adapter also replaces a socket that another process bound in its place.
    std::fs::remove_file(dir.join("notify/db")).unwrap();
    let squatter = UnixDatagram::bind(dir.join("notify/db")).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    squatter.set_nonblocking(true).unwrap();
    until(|| {
        sender.send_to(b"STATUS=stolen", dir.join("notify/db")).unwrap();
        squatter.recv(&mut [0; 64]).is_err()
    });
    end(&bench, key);
}

/// Descriptors 3 to 9 are open and not close-on-exec, as `flock`, runit or a wrapper script leaves them.
fn inherited_descriptors() -> Vec<OwnedFd> {
    let null = std::fs::File::open("/dev/null").unwrap();
    let mut inherited = Vec::new();
    while inherited.last().is_none_or(|last: &OwnedFd| last.as_raw_fd() < 9) {
        inherited.push(rustix::io::dup(&null).unwrap());
    }
    inherited
}

pub(super) fn ready_fd_works_whatever_descriptors_heartbeatd_inherited() {
    let _inherited = inherited_descriptors();
    a_line_on_its_descriptor_is_readiness();
}

pub(super) fn a_line_on_its_descriptor_is_readiness() {
    let bench = Bench::new();
    // Also where the launcher itself has something open.
    for (run, number) in [3u32, 4, 5, 9, 57].into_iter().enumerate() {
        let asked = Readiness { ready_fd: Some(number), ..Readiness::default() };
        let script = format!(
            "ls /proc/self/fd | tr '\\n' ' '; echo half >/dev/null; printf rea >&{number}; echo dy >&{number}; echo more >&{number}; echo the-end; exec sleep 656"
        );
        let script = LaunchSpec {
            argv: ["bash", "-c", &script].map(OsString::from).to_vec(),
            ..talker(&bench, "", asked)
        };
        let key = bench.launch(run as u64, &script);
        bench.started();
        assert_eq!(said(&bench, key), ready(), "descriptor {number}");
        let text = bench.wait_for_output("the-end");
        assert!(
            text.contains(&format!(" 2 {} {number} ", if number > 3 { "3" } else { "" }).replace("  ", " "))
                || text.contains(&format!(" 2 {number} ")),
            "{text}"
        );
        std::fs::remove_file(bench.log()).unwrap();
        end(&bench, key);
    }
    // Bytes without a line end are no message, and they hold nothing up.
    let asked = Readiness { ready_fd: Some(3), ..Readiness::default() };
    let key = bench.launch(
        90,
        &talker(&bench, "head -c 60000 /dev/zero >&3; echo written; exec sleep 657", asked.clone()),
    );
    bench.started();
    bench.wait_for_output("written");
    end(&bench, key);
    // Closed without a word.
    let key = bench.launch(91, &talker(&bench, "exec 3>&-; echo closed; exec sleep 658", asked));
    bench.started();
    bench.wait_for_output("closed");
    end(&bench, key);
}

pub(super) fn a_listener_that_is_bound_again_receives_messages() {
    let bench = Bench::new();
    let exe = std::env::current_exe().unwrap();
    let go = bench.dir.path().join("go");
    let script = format!(
        "NOTIFY=1; while [ ! -e {go} ]; do sleep 0.02; done; {exe} say READY=1; exec sleep 659",
        go = go.display(),
        exe = exe.display()
    );
    let pid = Victim::start(bench.dir.path(), &script).kill();
    assert!(matches!(adopt(&bench), Condition::Alive { pid: found, .. } if found == pid));
    let socket = bench.dir.path().join("run/notify/db");
    // At the same path; the one of the dead one refuses.
    until(|| UnixDatagram::unbound().unwrap().send_to(b"", &socket).is_ok());
    std::fs::write(&go, "").unwrap();
    assert_eq!(said(&bench, key(1)), ready());
    end(&bench, key(1));
}
