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

use ProbeKind::{Exec as EXEC, Nagios as NAGIOS};

async fn measured(convention: ProbeKind, played: Played) -> CheckResult {
    let command: Arc<dyn Spawn> = Arc::new(played);
    let target = "check_disk /";
    let probe = if convention == NAGIOS {
        ExecProbe::nagios(target, command)
    } else {
        ExecProbe::new(target, command)
    };
    let probe = Probe::from(probe);
    assert_eq!((probe.kind(), probe.target().as_str()), (convention, target));
    probe.measure(TIMEOUT).await
}

async fn ended(convention: ProbeKind, exit: Exit, output: impl Into<Vec<u8>>) -> CheckResult {
    measured(convention, Played(Some(Ok(ExecOutput::new(exit, output.into()))))).await
}

async fn broke(convention: ProbeKind, error: ExecError) -> CheckResult {
    measured(convention, Played(Some(Err(error)))).await
}

const fn failed(reason: FailReason) -> Outcome {
    Outcome::Fail { reason, phase: None }
}

#[tokio::test]
async fn exit_codes_mean_what_they_mean_to_docker_or_to_nagios() {
    let unknown = Outcome::Inconclusive(InconclusiveReason::PluginUnknown);
    let degraded = Outcome::Degraded(DegradedReason::ReportedDegraded);
    let broken = failed(FailReason::ExecFailed);
    let expected = [
        (Exit::code(0), Outcome::Pass, Outcome::Pass),
        (Exit::code(1), broken, degraded),
        (Exit::code(2), broken, failed(FailReason::ReportedDown)),
        (Exit::code(3), broken, unknown),
        (Exit::code(4), broken, broken),
        (Exit::code(127), broken, broken),
        (Exit::code(-1), broken, broken),
        (Exit::signal(Signal::KILL), broken, broken),
        (Exit::unknown(), broken, broken),
    ];
    for (exit, exec, nagios) in expected {
        for (convention, outcome) in [(EXEC, exec), (NAGIOS, nagios)] {
            let result = ended(convention, exit, "DISK: it said so\n").await;
            assert_eq!(result.outcome, outcome, "{exit}");
            assert!(result.detail.ends_with("DISK: it said so"), "{exit}: {}", result.detail);
            assert!(result.latency.is_some(), "{exit}: the command has answered");
        }
    }
}

#[tokio::test]
async fn the_detail_is_the_first_line_with_its_figures() {
    let detail = async |output: &[u8]| ended(NAGIOS, Exit::code(2), output).await.detail;
    assert_eq!(
        detail(b"DISK CRITICAL - 2% left | /=98%;80;90\nlong text | more\n").await,
        "DISK CRITICAL - 2% left | /=98%;80;90"
    );
    assert_eq!(detail(b"one\r\ntwo").await, "one");
    assert_eq!(detail(b"\n \n one\n").await, "one");
    assert_eq!(detail(b"\x1b[31mred\x1b[0m").await, "?[31mred?[0m");
    assert_eq!(detail(b"not \xff UTF-8").await, "not \u{fffd} UTF-8");
    assert_eq!(detail(b"").await, "exit code 2");
    let endless = detail(&vec![b'x'; 1 << 20]).await;
    assert!(endless.chars().count() <= 301, "{} characters", endless.chars().count());
}

#[tokio::test]
async fn a_failed_check_says_how_it_ended() {
    for convention in [EXEC, NAGIOS] {
        let missing = ended(convention, Exit::code(127), "sh: not found").await;
        assert_eq!(missing.detail, "exit code 127: sh: not found");
        let killed = ended(convention, Exit::signal(Signal::KILL), "").await;
        assert_eq!(killed.detail, "killed by SIGKILL");
    }
    let rejecting = ended(EXEC, Exit::code(1), "/tmp:5432 - rejecting connections\n").await;
    assert_eq!(rejecting.detail, "exit code 1: /tmp:5432 - rejecting connections");
}

#[tokio::test]
async fn a_command_that_is_ended_by_its_deadline() {
    let result = broke(EXEC, ExecError::TimedOut).await;
    assert_eq!(result.outcome, failed(FailReason::ExecTimeout));
    assert_eq!(result.detail, "not done within 200 ms");
    assert!(result.latency.is_none(), "{result:?}");
}

#[tokio::test]
async fn a_command_that_cannot_run_fails_and_a_plugin_says_nothing() {
    let unknown = Outcome::Inconclusive(InconclusiveReason::PluginUnknown);
    for (convention, outcome) in [(EXEC, failed(FailReason::ExecFailed)), (NAGIOS, unknown)] {
        let result = broke(convention, ExecError::CannotRun { message: "no\nprogram".to_owned() }).await;
        assert_eq!((result.outcome, result.detail.as_str()), (outcome, "no program"));
    }
}

#[tokio::test]
async fn a_command_that_we_could_not_start_says_nothing_about_the_target() {
    let shortage = Outcome::Inconclusive(InconclusiveReason::MonitorResources);
    for convention in [EXEC, NAGIOS] {
        let result = broke(convention, ExecError::NotTried { message: "EMFILE".to_owned() }).await;
        assert_eq!(result.outcome, shortage);
        assert_eq!(result.detail, "EMFILE");
    }
}

#[tokio::test]
async fn a_spawner_that_loses_its_command_is_our_lag() {
    let began = clock::now();
    let result = measured(EXEC, Played(None)).await;
    let took = clock::now().since(began);
    assert_eq!(result.outcome, Outcome::Inconclusive(InconclusiveReason::MonitorLag), "{result:?}");
    assert!(took >= TIMEOUT + GRACE && took < TIMEOUT + GRACE + SLACK, "took {took:?}");
    assert_eq!(result.detail, "the command did not report back 2200 ms after its start");
}
