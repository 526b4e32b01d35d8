//! TLS servers of every bad kind, on real loopback sockets, measured as a probe measures them.
#![cfg(feature = "tls")]
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its server has failed")]

mod calm;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use heartbeat_probe::{HttpProbe, Probe, TcpProbe, TlsOptions, TlsProbe};
use heartbeat_status::{CheckResult, DegradedReason, FailReason, Outcome, ProbePhase};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A certificate authority and a directory for its file.
struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

#[expect(clippy::disallowed_methods, reason = "certificates expire by the wall clock")]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// A certificate for `name` that was issued `age` ago and is valid for `life`.
fn params(name: &str, age: Duration, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    // An hour less than whole days are left, however long the test takes.
    let issued = date_time_ymd(1970, 1, 1) + (now() - age - HOUR);
    (params.not_before, params.not_after) = (issued, issued + life);
    params
}

impl Ca {
    fn new(test: &str) -> Self {
        let mut params = params("Test CA", DAY * 400, DAY * 4_000);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = std::env::temp_dir().join(format!("heartbeat-probe-tls-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, dir }
    }

    fn options(&self) -> TlsOptions {
        TlsOptions::default().with_ca(self.dir.join("ca.pem"))
    }

    /// An HTTPS server whose certificate is for `name`, was issued `age` ago and is valid for `life`; its port.
    async fn server(&self, name: &str, age: Duration, life: Duration) -> u16 {
        let key = KeyPair::generate().unwrap();
        let cert = params(name, age, life).signed_by(&key, &self.issuer).unwrap();
        serve(cert.der().clone(), &key).await
    }
}

impl Drop for Ca {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

async fn serve(cert: CertificateDer<'static>, key: &KeyPair) -> u16 {
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream).await;
                }
            });
        }
    });
    port
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let (mut head, mut chunk) = (Vec::new(), [0; 1024]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(read) => head.extend_from_slice(&chunk[..read]),
        }
    }
    let _ = stream.write_all(ANSWER).await;
    let _ = stream.shutdown().await;
    while matches!(stream.read(&mut chunk).await, Ok(read) if read > 0) {}
}

fn https(port: u16, options: &TlsOptions) -> HttpProbe {
    HttpProbe::with_tls(&format!("https://127.0.0.1:{port}/api/health/"), options).unwrap()
}

fn tls(port: u16, options: &TlsOptions) -> TlsProbe {
    TlsProbe::with_options(&format!("127.0.0.1:{port}"), options).unwrap()
}

async fn measured(probe: impl Into<Probe>) -> CheckResult {
    probe.into().measure(LONG).await
}

/// Both kinds fail in the same way, in the TLS phase.
async fn fails(port: u16, options: &TlsOptions, reason: FailReason, detail: &str) {
    for probe in [Probe::from(https(port, options)), tls(port, options).into()] {
        let result = measured(probe).await;
        assert_eq!(result.outcome, Outcome::Fail { reason, phase: Some(ProbePhase::Tls) }, "{result:?}");
        assert!(result.detail.contains(detail), "{}", result.detail);
        assert!(result.phases.connect.is_some() && result.phases.tls.is_none(), "{result:?}");
        assert_eq!(result.port_fact(), Outcome::Pass, "the port is open");
    }
}

#[tokio::test]
async fn a_good_certificate_passes_and_is_described() {
    let ca = Ca::new("good");
    let port = ca.server("shop.test", DAY, DAY * 90).await;
    let result = measured(https(port, &ca.options())).await;
    assert_eq!(result.outcome, Outcome::Pass, "{result:?}");
    assert!(result.phases.tls.is_some() && result.phases.body.is_some(), "{result:?}");
    assert!(result.detail.starts_with("200; certificate valid for 88 days, until 20"), "{}", result.detail);
    let result = measured(tls(port, &ca.options())).await;
    assert_eq!((result.outcome, result.latency.is_some()), (Outcome::Pass, true), "{result:?}");
    let (_, names) = result.detail.split_once(" (").unwrap();
    assert_eq!(names, "for shop.test and 127.0.0.1, issued by Test CA, chain of 1)");
    let named = ca.options().with_server_name("shop.test");
    assert_eq!(measured(tls(port, &named)).await.outcome, Outcome::Pass);
}

#[tokio::test]
async fn text_is_sent_and_expected_within_a_session() {
    let ca = Ca::new("text");
    let asks = |port: u16, expect: &'static str| {
        let tcp = TcpProbe::new(&format!("127.0.0.1:{port}")).unwrap();
        let tcp = tcp.with_send("GET / HTTP/1.1\r\n\r\n").with_expect(expect);
        Probe::from(tcp.with_tls(&ca.options()).unwrap())
    };
    let port = ca.server("shop.test", DAY, DAY * 90).await;
    let result = measured(asks(port, "200 OK")).await;
    assert_eq!(result.outcome, Outcome::Pass, "{result:?}");
    assert!(result.phases.tls.is_some() && result.detail.starts_with("certificate valid"), "{result:?}");
    let result = measured(asks(port, "220 ")).await;
    let failed = Outcome::Fail { reason: FailReason::ConditionFailed, phase: Some(ProbePhase::FirstByte) };
    assert_eq!(result.outcome, failed, "{result:?}");
    let expired = ca.server("shop.test", DAY * 90, DAY * 80).await;
    let result = measured(asks(expired, "200 OK")).await;
    let failed = Outcome::Fail { reason: FailReason::CertExpired, phase: Some(ProbePhase::Tls) };
    assert_eq!(result.outcome, failed, "{result:?}");
}

#[tokio::test]
async fn a_certificate_that_expires_soon_is_degraded() {
    let ca = Ca::new("soon");
    let expiring = Outcome::Degraded(DegradedReason::CertExpiring);
    let port = ca.server("shop.test", DAY * 80, DAY * 90).await;
    for probe in [Probe::from(https(port, &ca.options())), tls(port, &ca.options()).into()] {
        let result = measured(probe).await;
        assert_eq!(result.outcome, expiring, "{result:?}");
        assert!(result.detail.contains("the certificate expires in 9 days"), "{}", result.detail);
    }
    assert_eq!(
        measured(Probe::from(https(port, &ca.options())).with_expires(DAY * 5)).await.outcome,
        Outcome::Pass
    );
    // Certificates of a week are renewed late in their life, not fourteen days before its end.
    let short = ca.server("shop.test", DAY, DAY * 7).await;
    assert_eq!(measured(tls(short, &ca.options())).await.outcome, Outcome::Pass);
    assert_eq!(
        measured(Probe::from(tls(short, &ca.options())).with_expires(DAY * 14)).await.outcome,
        expiring
    );
    let late = ca.server("shop.test", DAY * 5, DAY * 7).await;
    assert_eq!(measured(tls(late, &ca.options())).await.outcome, expiring);
}

#[tokio::test]
async fn each_bad_certificate_fails_with_its_reason() {
    let ca = Ca::new("bad");
    let options = ca.options();
    let expired = ca.server("shop.test", DAY * 91, DAY * 90).await;
    fails(expired, &options, FailReason::CertExpired, "the certificate expired on 20").await;
    let named = ca.options().with_server_name("other.test");
    let good = ca.server("shop.test", DAY, DAY * 90).await;
    fails(good, &named, FailReason::CertHost, "not for other.test, but for shop.test and 127.0.0.1").await;
    // Its issuer has the same name, but another key.
    let foreign = Ca::new("foreign").server("shop.test", DAY, DAY * 90).await;
    fails(foreign, &options, FailReason::CertUntrusted, "no certificate in the file `ca` has signed it")
        .await;
    // One of the system's roots has issued it even less.
    if let Ok(probe) = TlsProbe::new(&format!("127.0.0.1:{foreign}")) {
        let result = measured(probe).await;
        let roots = ["not in the system's roots", "not in the file of SSL_CERT_FILE", "of SSL_CERT_DIR"];
        assert!(roots.iter().any(|roots| result.detail.contains(roots)), "{}", result.detail);
    }
    let blind = TlsOptions::default().without_verification();
    assert_eq!(measured(https(foreign, &blind)).await.outcome, Outcome::Pass);
    let result = measured(tls(expired, &blind)).await;
    assert_eq!(result.outcome, Outcome::Degraded(DegradedReason::CertExpiring), "{result:?}");
}

#[tokio::test]
async fn an_expired_certificate_is_found_by_the_second_measurement_too() {
    let ca = Ca::new("twice");
    let port = ca.server("shop.test", DAY * 91, DAY * 90).await;
    let probe = Probe::from(https(port, &ca.options()));
    for _ in 0..3 {
        let result = probe.measure(LONG).await;
        let expected = Outcome::Fail { reason: FailReason::CertExpired, phase: Some(ProbePhase::Tls) };
        assert_eq!(result.outcome, expected, "{result:?}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_shake_hands_is_ended_by_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            // The header of a record that never comes.
            let _ = stream.write_all(&[22, 3, 3, 64, 0]).await;
            held.push(stream);
        }
    });
    let blind = TlsOptions::default().without_verification();
    for probe in [Probe::from(https(port, &blind)), tls(port, &blind).into()] {
        let result = calm::measured(&probe, SHORT).await;
        let expected = Outcome::Fail { reason: FailReason::TlsTimeout, phase: Some(ProbePhase::Tls) };
        assert_eq!(result.outcome, expected, "{result:?}");
        let said = "accepted the connection, but no TLS session within ";
        assert!(result.detail.starts_with(said), "{}", result.detail);
    }
}

#[tokio::test]
async fn junk_plain_http_and_a_reset_are_told_apart() {
    let blind = TlsOptions::default().without_verification();
    for (answer, reason, detail) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], FailReason::Protocol, "does not speak TLS on this port"),
        (&[0x16, 3, 3, 0xff, 0xff][..], FailReason::Protocol, "does not speak TLS on this port"),
        (&b""[..], FailReason::Reset, "closed the connection during the TLS handshake"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 4096]).await;
                    let _ = stream.write_all(answer).await;
                    let _ = stream.shutdown().await;
                    let _ = stream.read(&mut [0; 4096]).await;
                });
            }
        });
        fails(port, &blind, reason, detail).await;
    }
}

#[tokio::test]
async fn http_and_a_greeting_over_a_unix_socket() {
    let ca = Ca::new("unix");
    let path = ca.dir.join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    let path = path.display();
    let http = HttpProbe::new(&format!("http://unix:{path}:/api/health/")).unwrap().with_contains("ok");
    let result = measured(http.clone()).await;
    assert_eq!((result.outcome, result.detail.as_str()), (Outcome::Pass, "200"), "{result:?}");
    assert_eq!(Probe::from(http).target(), format!("http://unix:{path}:/api/health/"));
    let tcp = TcpProbe::new(&format!("unix:{path}")).unwrap();
    assert_eq!(measured(tcp.clone()).await.outcome, Outcome::Pass);
    assert_eq!(Probe::from(tcp).kind(), heartbeat_status::ProbeKind::Unix);
    let missing = measured(TcpProbe::new(&format!("unix:{path}.missing")).unwrap()).await;
    let refused = Outcome::Fail { reason: FailReason::Refused, phase: Some(ProbePhase::Connect) };
    assert_eq!((missing.outcome, missing.detail.as_str()), (refused, "there is no such socket"));
}
