//! Check commands, with a spawner that plays them.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_probe::{ExecError, ExecFuture, ExecOutput, ExecProbe, Probe, Spawn, clock};
use heartbeat_status::{
    CheckResult, DegradedReason, Exit, FailReason, InconclusiveReason, Outcome, ProbeKind, Signal,
};

const TIMEOUT: Duration = Duration::from_millis(200);
/// What a spawner is given beyond the timeout.
const GRACE: Duration = Duration::from_secs(2);
/// A busy machine may be this much later.
const SLACK: Duration = Duration::from_secs(5);

/// Ends as it was told, or never.
#[derive(Clone, Debug)]
struct Played(Option<Result<ExecOutput, ExecError>>);

impl Spawn for Played {
    fn spawn(&self, timeout: Duration) -> ExecFuture {
        assert_eq!(timeout, TIMEOUT, "the spawner keeps the deadline of the probe");
        let ends = self.0.clone();
        Box::pin(async move {
            match ends {
                Some(end) => end,
                None => std::future::pending().await,
            }
        })
    }
}

async fn measured(played: Played) -> CheckResult {
    let probe = Probe::from(ExecProbe::new("check_disk /", Arc::new(played)));
    assert_eq!((probe.kind(), probe.target().as_str()), (ProbeKind::Exec, "check_disk /"));
    probe.measure(TIMEOUT).await
}

async fn ended(exit: Exit, output: impl Into<Vec<u8>>) -> CheckResult {
    measured(Played(Some(Ok(ExecOutput { exit, output: output.into() })))).await
}

async fn broke(error: ExecError) -> CheckResult {
    measured(Played(Some(Err(error)))).await
}

const fn failed(reason: FailReason) -> Outcome {
    Outcome::Fail { reason, phase: None }
}

#[tokio::test]
async fn exit_codes_mean_what_they_mean_to_nagios() {
    let unknown = Outcome::Inconclusive(InconclusiveReason::PluginUnknown);
    let expected = [
        (Exit::code(0), Outcome::Pass),
        (Exit::code(1), Outcome::Degraded(DegradedReason::ReportedDegraded)),
        (Exit::code(2), failed(FailReason::ReportedDown)),
        (Exit::code(3), unknown),
        (Exit::code(4), failed(FailReason::ExecFailed)),
        (Exit::code(127), failed(FailReason::ExecFailed)),
        (Exit::code(-1), failed(FailReason::ExecFailed)),
        (Exit::signal(Signal::KILL), failed(FailReason::ExecFailed)),
        (Exit::unknown(), failed(FailReason::ExecFailed)),
    ];
    for (exit, outcome) in expected {
        let result = ended(exit, "DISK: it said so\n").await;
        assert_eq!(result.outcome, outcome, "{exit}");
        assert!(result.detail.ends_with("DISK: it said so"), "{exit}: {}", result.detail);
        assert!(result.latency.is_some(), "{exit}: the command has answered");
    }
}

#[tokio::test]
async fn the_detail_is_the_first_line_without_figures() {
    let detail = async |output: &[u8]| ended(Exit::code(2), output).await.detail;
    assert_eq!(
        detail(b"DISK CRITICAL - 2% left | /=98%;80;90\nlong text | more\n").await,
        "DISK CRITICAL - 2% left"
    );
    assert_eq!(detail(b"one\r\ntwo").await, "one");
    assert_eq!(detail(b"\x1b[31mred\x1b[0m").await, "?[31mred?[0m");
    assert_eq!(detail(b"not \xff UTF-8").await, "not \u{fffd} UTF-8");
    assert_eq!(detail(b"").await, "exit code 2");
    assert_eq!(detail(b"| /=98%").await, "exit code 2");
    let endless = detail(&vec![b'x'; 1 << 20]).await;
    assert!(endless.chars().count() <= 301, "{} characters", endless.chars().count());
}

#[tokio::test]
async fn a_broken_check_says_how_it_ended() {
    assert_eq!(ended(Exit::code(127), "sh: not found").await.detail, "exit code 127: sh: not found");
    let killed = ended(Exit::signal(Signal::KILL), "").await;
    assert_eq!(killed.detail, "killed by SIGKILL");
}

#[tokio::test]
async fn a_command_that_is_ended_by_its_deadline() {
    let result = broke(ExecError::TimedOut).await;
    assert_eq!(result.outcome, failed(FailReason::ExecTimeout));
    assert_eq!(result.detail, "not done within 200 ms");
    assert!(result.latency.is_none(), "{result:?}");
}

#[tokio::test]
async fn a_command_that_cannot_run_says_nothing_about_the_target() {
    let outcome = async |errno| {
        let result = broke(ExecError::Failed { errno, message: "spawn\nfailed".to_owned() }).await;
        assert_eq!(result.detail, "spawn failed");
        result.outcome
    };
    let shortage = Outcome::Inconclusive(InconclusiveReason::MonitorResources);
    let unknown = Outcome::Inconclusive(InconclusiveReason::PluginUnknown);
    // Linux: EAGAIN, ENOMEM, ENFILE, EMFILE; then ENOENT, EACCES and none at all.
    for errno in [11, 12, 23, 24] {
        assert_eq!(outcome(Some(errno)).await, shortage, "errno {errno}");
    }
    for errno in [Some(2), Some(13), None] {
        assert_eq!(outcome(errno).await, unknown, "errno {errno:?}");
    }
}

#[tokio::test]
async fn a_spawner_that_loses_its_command_is_our_lag() {
    let began = clock::now();
    let result = measured(Played(None)).await;
    let took = clock::now().since(began);
    assert_eq!(result.outcome, Outcome::Inconclusive(InconclusiveReason::MonitorLag), "{result:?}");
    assert!(took >= TIMEOUT + GRACE && took < TIMEOUT + GRACE + SLACK, "took {took:?}");
    assert_eq!(result.detail, "no word of the command 2200 ms after its start");
}
