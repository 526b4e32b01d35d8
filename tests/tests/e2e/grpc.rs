//! heartbeatd with a real gRPC server: plain and over TLS, by the health service that its own project ships.

use std::path::Path;

use nix::sys::signal::{Signal, kill};

use crate::program::{run_program, told};
use crate::servers::lacking;
use crate::supervision::{Instance, pid, ports};

/// Serves until SIGUSR1, and reports from then on that it does not.
const SERVER: &str = "
import concurrent.futures, signal, sys, grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
plain, secure, cert, key = sys.argv[1:]
servicer = health.HealthServicer()
state = health_pb2.HealthCheckResponse
servicer.set('shop.Orders', state.SERVING)
signal.signal(signal.SIGUSR1, lambda *_: servicer.set('shop.Orders', state.NOT_SERVING))
server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
server.add_insecure_port('127.0.0.1:' + plain)
read = lambda path: open(path, 'rb').read()
server.add_secure_port('127.0.0.1:' + secure, grpc.ssl_server_credentials([(read(key), read(cert))]))
server.start()
while True:
    signal.pause()
";

#[test]
fn a_grpc_server_is_watched_by_its_own_health_service() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/shop-venv/bin/python3");
    if !python.exists() || !run_program(&python, &["-c", "import grpc_health"]).status.success() {
        return lacking("grpcio is not installed: examples/shop/install --venv-only target/shop-venv");
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    let (cert, key, script) =
        (format!("{root}/cert.pem"), format!("{root}/key.pem"), format!("{root}/orders.py"));
    std::fs::write(&script, SERVER).unwrap();
    let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj /CN=localhost \
                 -addext subjectAltName=DNS:localhost";
    let mut openssl: Vec<&str> = words.split_whitespace().collect();
    openssl.extend(["-keyout", &key, "-out", &cert]);
    let made = run_program(Path::new("openssl"), &openssl);
    assert!(made.status.success(), "{}", told(&made));
    let [plain, secure] = ports();
    let python = python.to_str().unwrap();
    let mut eco = Instance::start(&format!(
        r#"
[realm.orders]
run = ["{python}", "{script}", "{plain}", "{secure}", "{cert}", "{key}"]
health = [
  {{ grpc = "grpc://127.0.0.1:{plain}/shop.Orders", name = "plain", role = "ready", interval = "1s" }},
  {{ grpc = "grpcs://localhost:{secure}", name = "tls", ca = "{cert}", role = "ready", interval = "1s" }},
  {{ grpc = "grpc://127.0.0.1:{plain}/shop.Returns", name = "other", role = "info", interval = "1s" }},
]
"#
    ));
    eco.wait_for_boot();
    let seen = |name: &str, outcome: &str| loop {
        let realm = eco.realm("orders");
        let probes = realm["probes"].as_array().unwrap();
        let probe = probes.iter().find(|probe| probe["name"] == name).unwrap();
        if probe["outcome"] == outcome {
            break probe["detail"].as_str().unwrap_or_default().to_owned();
        }
    };
    assert_eq!(seen("plain", "pass"), "SERVING");
    assert!(seen("tls", "pass").starts_with("SERVING; certificate valid for "));
    assert!(seen("other", "fail").starts_with("does not know `shop.Returns`"));
    kill(pid(eco.pid_of("orders")), Signal::SIGUSR1).unwrap();
    assert_eq!(seen("plain", "fail"), "reports `shop.Orders` as NOT_SERVING");
}
