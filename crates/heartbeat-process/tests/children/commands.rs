//! Commands whose output is captured.

use std::time::Duration;

use heartbeat_process::MAX_OUTPUT_BYTES;
use heartbeat_process::{CommandResult, CommandRunId, LaunchSpec, LogTarget, Notice, Step};
use heartbeat_status::Exit;

use super::*;

fn run(bench: &Bench, id: u64, script: &str, limit: Duration) -> (CommandResult, Vec<u8>) {
    let spec = LaunchSpec { log: LogTarget::Capture, ..bench.shell(script) };
    bench.processes.run_command(CommandRunId(id), &spec, limit);
    match bench.next() {
        Notice::CommandDone { id: told, result, output } => {
            assert_eq!(told, CommandRunId(id));
            (result, output)
        }
        other => panic!("{other:?}"),
    }
}

pub(super) fn output_of_commands_is_captured() {
    let bench = Bench::new();
    let both = run(&bench, 1, "echo out; echo err >&2; exit 4", PATIENCE);
    assert_eq!(both, (CommandResult::Exited(Exit::code(4)), b"out\nerr\n".to_vec()));
    assert_eq!(run(&bench, 2, "exit 0", PATIENCE), (CommandResult::Exited(Exit::code(0)), Vec::new()));
    let (result, output) = run(&bench, 3, "echo before; exec sleep 630", Duration::from_millis(300));
    assert_eq!((result, output), (CommandResult::TimedOut, b"before\n".to_vec()));
    let spec = LaunchSpec { argv: vec!["/nonexistent/probe".into()], ..bench.shell("") };
    let spec = LaunchSpec { log: LogTarget::Capture, ..spec };
    bench.processes.run_command(CommandRunId(4), &spec, PATIENCE);
    match bench.next() {
        Notice::CommandDone { result: CommandResult::StartFailed(error), output, .. } => {
            assert_eq!((error.step, output), (Step::Exec, Vec::new()));
        }
        other => panic!("{other:?}"),
    }
}

pub(super) fn a_command_that_writes_too_much_neither_blocks_nor_grows() {
    let bench = Bench::new();
    let (result, output) = run(&bench, 1, "yes | head -c 1000000; exit 3", PATIENCE);
    assert_eq!(result, CommandResult::Exited(Exit::code(3)));
    assert_eq!(output, b"y\n".repeat(MAX_OUTPUT_BYTES / 2));
    // What it is told: there is no more room.
    let script = "head -c 65536 /dev/zero || exit 5; echo more || exit 6";
    assert_eq!(run(&bench, 2, script, PATIENCE).0, CommandResult::Exited(Exit::code(6)));
}

pub(super) fn a_captured_command_leaves_nothing_behind() {
    let bench = Bench::new();
    let flag = bench.dir.path().join("flag");
    let daemon = |number: u32| {
        format!(
            "rm -f {flag}; setsid -f sh -c 'touch {flag}; exec sleep {number}'; \
             until [ -e {flag} ]; do :; done; sleep 633 & ",
            flag = flag.display()
        )
    };
    let by_itself = run(&bench, 1, &format!("{} echo done", daemon(631)), PATIENCE);
    assert_eq!(by_itself, (CommandResult::Exited(Exit::code(0)), b"done\n".to_vec()));
    let (result, _) = run(&bench, 2, &format!("{} exec sleep 634", daemon(632)), Duration::from_millis(500));
    assert_eq!(result, CommandResult::TimedOut);
    let mut tries = 0u32;
    while ["631", "632", "633", "634"].iter().any(|word| !processes_called(&["sleep", word]).is_empty()) {
        tries += 1;
        assert!(tries < 10_000, "a command left processes behind");
        rustix_yield();
    }
}

pub(super) fn captures_leave_no_descriptors() {
    let bench = Bench::new();
    run(&bench, 0, "exit 0", PATIENCE);
    let before = descriptors();
    for id in 1..20 {
        run(&bench, id, "echo x", PATIENCE);
    }
    wait_for_at_most(before);
}

pub(super) fn a_command_reads_its_input_to_the_end() {
    let bench = Bench::new();
    let with_input = |id: u64, script: &str, input: Vec<u8>| {
        let spec = LaunchSpec { log: LogTarget::Capture, input, ..bench.shell(script) };
        bench.processes.run_command(CommandRunId(id), &spec, PATIENCE);
        match bench.next() {
            Notice::CommandDone { result, output, .. } => (result, String::from_utf8(output).unwrap()),
            other => panic!("{other:?}"),
        }
    };
    let ended = |output: &str| (CommandResult::Exited(Exit::code(0)), output.to_owned());
    assert_eq!(with_input(1, "cat", b"one\ntwo\0".to_vec()), ended("one\ntwo"), "NULs at the end are cut");
    // Longer than what fits into a message to the launcher, and than a pipe.
    assert_eq!(with_input(2, "wc -c", vec![b'x'; 200_000]), ended("200000\n"));
    assert_eq!(with_input(3, "exit 0", vec![b'x'; 200_000]), ended(""), "it need not read");
    assert_eq!(with_input(4, "cat", Vec::new()), ended(""), "no input is /dev/null");
}
