//! Runs the examples as a person would.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use heartbeat_client::{Client, Host};
use heartbeat_probe::{HttpProbe, Probe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Nothing here takes this long on the slowest machine; it bounds a hang, not a speed.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(20);
/// Lines of a program that wait for their reader.
const MAX_LINES_QUEUED: usize = 64;

#[expect(clippy::disallowed_methods, reason = "the tests start the programs as a person would")]
fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).env("PORT", "0");
    command
}

/// A program that ends with its test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// The first line that contains `wanted`. The program can print no more than that.
    fn line(&mut self, wanted: &str) -> String {
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        let (sender, read) = sync_channel(MAX_LINES_QUEUED);
        std::thread::spawn(move || lines.map(|line| sender.send(line)).all(|sent| sent.is_ok()));
        loop {
            let line = read.recv_timeout(PATIENCE).expect(wanted);
            if line.contains(wanted) {
                return line;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The heartbeatd that the tests of this workspace have built.
fn heartbeatd() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_axum-shop")).with_file_name("heartbeatd");
    assert!(program.exists(), "{} is not built: run `cargo test --workspace`", program.display());
    program
}

/// The answer of a server, head and body.
async fn get(url: &str) -> String {
    let (address, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn is_health(answer: &str) -> bool {
    // There may be a database on this machine or not.
    let status = answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.1 503 ");
    status && answer.contains("application/health+json") && answer.contains(r#""database":[{"#)
}

#[tokio::test]
async fn the_shop_on_axum_registers_serves_its_health_and_sends_heartbeats() {
    let dir = tempfile::tempdir().unwrap();
    let (root, socket) = (dir.path().display(), dir.path().join("run/heartbeat.sock"));
    let config = dir.path().join("heartbeat.toml");
    let text = format!(
        "[heartbeat]\nname = \"host\"\nlisten = \"off\"\nsocket = \"{root}/run/heartbeat.sock\"\nstate_dir = \"{root}/state\"\nruntime_dir = \"{root}/run\"\n"
    );
    std::fs::write(&config, text).unwrap();
    // The shop is there first: it waits for heartbeatd, and serves meanwhile.
    let _shop = Running::start(command(env!("CARGO_BIN_EXE_axum-shop")).env("HEARTBEAT_SOCKET", &socket));
    let _heartbeatd = Running::start(command(heartbeatd()).arg("--config").arg(&config));
    let client = Client::new(Host::Unix(socket));
    let watched = async {
        loop {
            if let Ok(status) = client.status(false).await
                && let Some(shop) = status.realms.into_iter().find(|realm| realm.name == "shop")
                && !shop.probes.is_empty()
                && shop.probes.iter().all(|probe| probe.outcome.is_some())
            {
                return shop;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let shop = tokio::time::timeout(PATIENCE, watched).await.expect("heartbeatd hears of the shop");
    let kinds: Vec<String> = shop.probes.iter().map(|probe| probe.kind.to_string()).collect();
    assert_eq!(kinds, ["http", "push"], "each has an outcome");
    let url = &shop.probes[0].target;
    let mut health = get(url).await;
    while !health.contains("91 % full") {
        assert!(is_health(&health) && health.contains("not evaluated yet"), "{health}");
        health = get(url).await;
    }
    let front = get(url.trim_end_matches("api/health/")).await;
    assert!(front.ends_with("the shop"), "{front}");
}

#[tokio::test]
async fn the_shop_on_bare_hyper_serves_its_health() {
    let mut shop = Running::start(&mut command(env!("CARGO_BIN_EXE_hyper-shop")));
    let url = shop.line("/api/health/");
    let health = get(&url).await;
    assert!(is_health(&health), "{health}");
    assert!(get(url.trim_end_matches("api/health/")).await.starts_with("HTTP/1.1 404 "));
    // Its own probe reads it.
    let seen = Probe::from(HttpProbe::new(&url).unwrap()).measure(PATIENCE).await;
    assert!(seen.latency.is_some(), "{seen:?}");
}

#[tokio::test]
async fn the_checker_prints_what_has_changed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let mut checker = Running::start(command(env!("CARGO_BIN_EXE_checker")).arg(&url));
    let said = checker.line(" is ");
    assert!(said.contains(" is Passing: "), "{said}");
    let mut refused = Running::start(command(env!("CARGO_BIN_EXE_checker")).arg("gopher://x"));
    refused.line("gopher");
    assert_eq!(refused.0.wait().unwrap().code(), Some(2));
}
