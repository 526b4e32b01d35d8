//! Real children of the real adapter. This program is its own launcher, so it has a `main` of its own.
//!
//! Every test runs in a process of its own below a guard, which is to its orphans what process 1 is elsewhere, and
//! which ends whatever the test has left behind, also when it fails: no test sees the processes of another one. Most of
//! them wait most of the time, so more of them run at a time than there are processors.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test program without the test harness")]

#[path = "children/adopting.rs"]
mod adopting;
#[path = "children/bench.rs"]
mod bench;
#[path = "children/commands.rs"]
mod commands;
#[path = "children/environment.rs"]
mod environment;
#[path = "children/launching.rs"]
mod launching;
#[path = "children/limits.rs"]
mod limits;
#[path = "children/notify.rs"]
mod notify;
#[path = "children/ports.rs"]
mod ports;
#[path = "children/proc.rs"]
mod proc;
#[path = "children/trees.rs"]
mod trees;
#[path = "children/users.rs"]
mod users;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use bench::*;
use proc::*;

/// Tests that run at the same time.
const TESTS_AT_A_TIME: usize = 8;

/// Each test with its name, which is that of its function.
macro_rules! tests {
    ($($module:ident: $($name:ident),+;)+) => {
        const TESTS: &[(&str, fn())] = &[$($((stringify!($name), $module::$name)),+),+];
    };
}

tests! {
    launching:
        exits_are_reported_as_they_were,
        what_a_child_reports_counts_more_than_that_it_is_gone,
        a_child_that_is_gone_before_it_is_held_was_never_tried,
        a_launch_is_not_too_late_when_the_reaper_is,
        a_program_that_cannot_be_executed_is_told_with_its_path,
        the_realm_gets_a_clean_world,
        the_record_is_there_before_the_program_is,
        a_signal_reaches_the_whole_group,
        what_a_main_process_leaves_behind_is_told_and_can_be_killed,
        a_group_of_its_own_does_not_hide_a_leftover,
        a_stopped_process_is_told_and_so_is_its_continuation,
        a_launch_can_be_cancelled,
        commands_are_bounded_and_die_with_their_group,
        every_exit_code_is_told_exactly,
        a_launcher_that_waits_starts_the_same_and_exits_at_the_end,
        a_launcher_that_does_nothing_is_replaced,
        a_log_that_cannot_be_opened_is_kept_in_memory_and_told,
        a_thousand_short_children_leave_nothing_behind;
    notify:
        a_realm_says_how_it_is_and_is_told_where,
        the_first_word_is_not_lost_and_the_last_comes_before_the_end,
        messages_are_believed_from_the_tree_alone,
        a_sender_that_only_knows_the_mark_is_not_believed,
        without_a_directory_realms_start_and_are_heard,
        a_realm_without_a_path_is_heard_by_the_next_one,
        what_is_no_message_does_no_harm,
        a_flood_is_bounded_and_what_matters_comes_through,
        a_realm_is_heard_for_as_long_as_it_speaks,
        a_realm_names_its_main_process_and_no_process_of_another,
        a_socket_that_was_taken_away_is_put_back,
        a_line_on_its_descriptor_is_readiness,
        ready_fd_works_whatever_descriptors_heartbeatd_inherited,
        a_listener_that_is_bound_again_receives_messages;
    adopting:
        a_record_of_another_boot_means_nothing,
        a_realm_outlives_its_heartbeatd_and_is_taken_over,
        the_exit_code_of_another_process_child_is_reported,
        what_ended_meanwhile_is_known_to_have_ended,
        leftovers_of_a_main_process_that_died_meanwhile_are_held_and_killed,
        a_daemon_that_was_not_followed_yet_is_found_by_its_pid_file,
        the_pid_file_of_a_daemon_that_has_ended_is_not_waited_for,
        a_damaged_record_is_set_aside_and_its_process_is_found_by_its_mark,
        what_another_heartbeatd_started_gets_no_signal_and_its_end_is_noticed,
        what_another_heartbeatd_started_and_has_ended_is_as_any_end,
        a_reused_pid_is_not_the_realm,
        a_launcher_without_its_heartbeatd_exits_and_that_is_no_crash,
        what_stops_is_told_of_adopted_processes_too,
        records_that_cannot_be_written_stop_nothing,
        a_full_disk_below_the_records_misses_no_restart,
        a_run_that_is_not_on_record_is_not_started_again,
        an_exit_is_on_record_before_the_process_is_collected,
        an_exit_is_on_record_until_the_next_start,
        a_realm_may_be_called_like_the_launcher;
    commands:
        output_of_commands_is_captured,
        a_command_that_writes_too_much_neither_blocks_nor_grows,
        a_captured_command_leaves_nothing_behind,
        captures_leave_no_descriptors,
        a_command_reads_its_input_to_the_end;
    users:
        a_realm_runs_as_its_user,
        the_directory_and_the_program_are_reached_with_the_rights_of_the_user,
        a_command_runs_as_its_user_and_oneself_needs_no_right;
    environment:
        a_program_is_found_by_the_path_of_its_own_environment,
        a_missing_interpreter_is_named_with_the_user,
        a_file_system_that_does_not_answer_fails_the_start_and_is_named,
        a_log_that_does_not_answer_is_kept_in_memory,
        a_program_is_checked_and_not_started;
    limits:
        limits_are_those_of_the_specification,
        without_limits_a_program_has_the_same_however_we_were_started,
        the_score_of_one_realm_is_that_of_no_other,
        a_limit_beyond_ours_fails_the_start,
        limits_of_the_tree_are_kept_or_told,
        a_signal_to_the_main_process_reaches_no_other_process,
        a_signal_to_the_main_process_of_a_daemon_that_has_no_pid_file_yet_reaches_its_tree,
        a_hook_is_ended_whole_at_its_deadline,
        without_new_privileges_set_user_id_means_nothing;
    ports:
        a_port_of_the_tree_is_ours,
        a_daemon_is_known_by_its_mark,
        another_process_is_named,
        a_caller_without_permission_gets_no_guess,
        one_socket_of_several_is_enough,
        wildcards_and_ipv6_are_understood;
    trees:
        a_process_in_its_own_session_is_signalled_too,
        a_daemon_that_is_not_our_child_is_reported_and_can_be_killed,
        a_process_without_its_mark_is_found_by_descent_or_group,
        a_fork_bomb_is_ended,
        a_daemon_is_followed_by_its_pid_file,
        a_pid_file_is_believed_within_the_tree_alone,
        another_main_process_can_be_named,
        five_hundred_killed_at_once_lose_no_cause,
        a_daemon_that_was_followed_is_taken_over,
        groups_are_removed_when_they_are_empty,
        abandoned_groups_are_removed_and_no_others,
        a_process_that_only_knows_the_mark_is_neither_member_nor_stray,
        what_a_heartbeatd_that_is_gone_has_started_in_the_place_of_the_realm_is_not_started_twice,
        without_descriptors_an_end_is_only_late,
        leftovers_that_could_not_be_watched_are_looked_at_again;
}

/// The first argument of this program when it looks after a test, and when it is one.
const GUARD: &str = "--guard";
const TEST: &str = "--one-test";
/// How the second round of a test is called, and the word for it.
const IN_A_GROUP: &str = "in_a_control_group";

fn main() -> ExitCode {
    if std::env::args_os().next().is_some_and(|name| heartbeat_process::is_launcher(&name)) {
        return heartbeat_process::launcher_main(&TestLogs);
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let group = |words: &[&str]| *GROUPS.lock().unwrap() = words.first().map(PathBuf::from);
    match words[..] {
        [adopting::VICTIM, dir, script, ref groups @ ..] => {
            group(groups);
            adopting::victim(Path::new(dir), script)
        }
        ["say", ..] => notify::say(words[1..].iter().map(|word| (*word).to_owned())),
        ["listen", address] => ports::listen_for_ever(address),
        ["owner_seen", address, main] => ports::owner_seen(address, main),
        [GUARD, name, ref round @ ..] => guard(name, !round.is_empty()),
        [TEST, name, ref groups @ ..] => {
            group(groups);
            let (_, test) = TESTS.iter().find(|(known, _)| *known == name).expect("a test");
            test();
            ExitCode::SUCCESS
        }
        _ => run_all(),
    }
}

fn run_all() -> ExitCode {
    let mut arguments = libtest_mimic::Arguments::from_args();
    arguments.test_threads.get_or_insert(TESTS_AT_A_TIME);
    let groups = heartbeat_process::own_groups(&format!("test-{}", std::process::id()));
    match &groups {
        Err(why) if !arguments.list => println!("skipped: every test in a control group: {why}"),
        Ok(groups) => std::fs::remove_dir(groups).unwrap(),
        Err(_) => {}
    }
    let mut trials = Vec::new();
    for round in [None].into_iter().chain(groups.is_ok().then_some(Some(IN_A_GROUP))) {
        let how = round.map_or_else(String::new, |round| format!("::{round}"));
        trials.extend(TESTS.iter().map(|(name, _)| {
            libtest_mimic::Trial::test(format!("{name}{how}"), move || guarded(name, round))
        }));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn guarded(name: &str, round: Option<&str>) -> Result<(), libtest_mimic::Failed> {
    let output = this_program().arg(GUARD).arg(name).args(round).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        print!("{}", text(&output.stdout));
        return Ok(());
    }
    Err(format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr)).into())
}

#[expect(clippy::disallowed_methods, reason = "every test is a process of its own")]
fn this_program() -> Command {
    Command::new("/proc/self/exe")
}

/// Runs a test and ends whatever it leaves behind.
fn guard(name: &str, in_a_group: bool) -> ExitCode {
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let own = std::process::id();
    let groups = in_a_group.then(|| heartbeat_process::own_groups(&format!("test-{own}")).unwrap());
    let test = this_program().arg(TEST).arg(name).args(&groups).spawn().unwrap().id();
    let test = Pid::from_raw(i32::try_from(test).unwrap());
    let code = loop {
        // Its orphans come here, and are collected as they are elsewhere.
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == test => break u8::try_from(code).unwrap_or(u8::MAX),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == test => {
                println!("the test was ended by {signal}");
                break u8::MAX;
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => panic!("{errno}"),
        }
    };
    loop {
        let left = descendants(own);
        for pid in &left {
            // Gone meanwhile: that is what was wanted.
            let _ = nix::sys::signal::kill(
                Pid::from_raw(i32::try_from(*pid).unwrap()),
                nix::sys::signal::SIGKILL,
            );
        }
        if left.is_empty() {
            break;
        }
        while waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status != WaitStatus::StillAlive) {
        }
        rustix_yield();
    }
    if let Some(groups) = groups {
        remove_groups(&groups);
    }
    ExitCode::from(code)
}

/// Removes a control group and its children. No process is left in them.
fn remove_groups(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_groups(&entry.path());
        }
    }
    // The test has removed it, or the kernel is still busy with it.
    let _ = std::fs::remove_dir(dir);
}
