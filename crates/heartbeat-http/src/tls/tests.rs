//! Servers with certificates of every bad kind, over sockets of this machine.

use std::path::PathBuf;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;

/// Seconds of 2026-11-23, 00:00 UTC.
const NOW: u64 = 1_795_392_000;
/// Nothing waited for here takes longer, by far.
const LONG: Duration = Duration::from_secs(20);

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1));
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for these names until that day, and its key.
    fn issue(&self, names: &[&str], until: (i32, u8, u8)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let cert = params(names, until).signed_by(&key, &self.0).unwrap();
        Identity { chain: vec![cert.der().clone()], key: key.serialize_der() }
    }

    fn options(&self, dir: &Directory) -> TlsOptions {
        TlsOptions { ca: Some(dir.file("ca.pem", &self.0.pem())), ..TlsOptions::default() }
    }
}

fn params(names: &[&str], (year, month, day): (i32, u8, u8)) -> CertificateParams {
    let mut params =
        CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::CommonName, names[0]);
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(year, month, day));
    params
}

/// A chain and the DER of its PKCS 8 key.
#[derive(Clone)]
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

/// A directory of its own for the files of one test.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("heartbeat-tls-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn server_config() -> rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert> {
    ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_no_client_auth()
}

/// A TLS server with this identity that greets every client; its port.
async fn server(identity: &Identity) -> u16 {
    let key = PrivatePkcs8KeyDer::from(identity.key.clone()).into();
    let config = server_config().with_single_cert(identity.chain.clone(), key).unwrap();
    serve(Arc::new(config)).await
}

async fn serve(config: Arc<ServerConfig>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(config);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.write_all(b"hello").await;
                    let _ = stream.read(&mut [0; 16]).await;
                }
            });
        }
    });
    port
}

async fn shake(tls: &Tls, port: u16, host: &str) -> Result<Secured, TlsError> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let shaken = tls.handshake(Stream::Tcp(stream), host, None, NOW);
    tokio::time::timeout(LONG, shaken).await.expect("a handshake in time")
}

#[tokio::test]
async fn a_good_certificate_is_described_and_the_session_works() {
    let dir = Directory::new("good");
    let ca = Ca::new("Test CA");
    let port = server(&ca.issue(&["shop.test", "*.shop.test", "127.0.0.1"], (2027, 1, 2))).await;
    let tls = Tls::new(&ca.options(&dir)).unwrap();
    for host in ["shop.test", "www.shop.test", "127.0.0.1"] {
        let mut secured = shake(&tls, port, host).await.unwrap();
        let mut greeting = [0; 5];
        secured.stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"hello");
        let certificate = secured.certificate;
        assert_eq!(certificate.names(), ["shop.test", "*.shop.test", "127.0.0.1"]);
        assert_eq!((certificate.issuer(), certificate.chain_len()), ("Test CA", 1));
        assert_eq!((certificate.not_after(), certificate.days_left(NOW)), ("2027-01-02", 40));
        assert_eq!(certificate.issued_to(), "for shop.test, *.shop.test and 127.0.0.1");
    }
}

#[tokio::test]
async fn each_bad_certificate_is_named() {
    let dir = Directory::new("bad");
    let ca = Ca::new("Test CA");
    let tls = Tls::new(&ca.options(&dir)).unwrap();
    let expired = server(&ca.issue(&["shop.test"], (2026, 11, 20))).await;
    let error = shake(&tls, expired, "shop.test").await.unwrap_err();
    assert!(matches!(error, TlsError::Expired { .. }), "{error:?}");
    assert_eq!(error.to_string(), "the certificate expired on 2026-11-20 (for shop.test)");
    // An expired certificate for another name is expired first of all.
    let error = shake(&tls, expired, "other.test").await.unwrap_err();
    assert!(matches!(error, TlsError::Expired { .. }), "{error:?}");

    let good = server(&ca.issue(&["shop.test", "a.test", "b.test", "c.test"], (2027, 1, 1))).await;
    let error = shake(&tls, good, "other.test").await.unwrap_err();
    let expected =
        "the certificate is not for other.test, but for shop.test, a.test, b.test and 1 more names";
    assert!(matches!(error, TlsError::WrongHost { .. }) && error.to_string() == expected, "{error}");

    let other = server(&Ca::new("Another CA").issue(&["shop.test"], (2027, 1, 1))).await;
    let error = shake(&tls, other, "shop.test").await.unwrap_err();
    assert!(matches!(error, TlsError::Untrusted { .. }), "{error:?}");
    assert!(error.to_string().contains("its issuer is not in the file `ca`"), "{error}");

    let mut params = params(&["shop.test"], (2027, 6, 1));
    params.not_before = date_time_ymd(2027, 1, 1);
    let key = KeyPair::generate().unwrap();
    let future = params.signed_by(&key, &ca.0).unwrap();
    let identity = Identity { chain: vec![future.der().clone()], key: key.serialize_der() };
    let error = shake(&tls, server(&identity).await, "shop.test").await.unwrap_err();
    assert!(matches!(error, TlsError::NotYetValid { .. }), "{error:?}");
}

#[tokio::test]
async fn a_certificate_that_is_not_for_servers_is_not_trusted() {
    let dir = Directory::new("purpose");
    let ca = Ca::new("Test CA");
    let mut params = params(&["shop.test"], (2027, 1, 1));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, &ca.0).unwrap();
    let identity = Identity { chain: vec![cert.der().clone()], key: key.serialize_der() };
    let port = server(&identity).await;
    let error = shake(&Tls::new(&ca.options(&dir)).unwrap(), port, "shop.test").await.unwrap_err();
    assert!(error.to_string().contains("not a certificate for servers"), "{error}");
}

#[tokio::test]
async fn a_server_that_asks_for_certificates_knows_its_clients_by_them() {
    let dir = Directory::new("clients");
    let server_ca = Ca::new("Server CA");
    let key = KeyPair::generate().unwrap();
    let own = params(&["shop.test"], (2027, 1, 1)).self_signed(&key).unwrap();
    let (cert, key) = (dir.file("cert.pem", &own.pem()), dir.file("key.pem", &key.serialize_pem()));
    let client = |name: &str, ca: &Ca| {
        let key = KeyPair::generate().unwrap();
        let mut asked = params(&["client.test"], (2027, 1, 1));
        asked.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let issued = asked.signed_by(&key, &ca.0).unwrap();
        let files = (
            dir.file(&format!("{name}.pem"), &issued.pem()),
            dir.file(&format!("{name}.key"), &key.serialize_pem()),
        );
        let options = TlsOptions::default().with_ca(&cert).with_identity(files.0, files.1);
        Tls::new(&options).unwrap()
    };
    let client_ca = Ca::new("Client CA");
    let ca = dir.file("clients.pem", &client_ca.0.pem());
    let known = client("known", &client_ca);
    let foreign = client("foreign", &server_ca);
    let without = Tls::new(&TlsOptions { ca: Some(cert.clone()), ..TlsOptions::default() }).unwrap();
    for optional in [true, false] {
        let server = TlsServer::for_clients(&cert, &key, &ca, optional).unwrap();
        for (name, tls, expected) in [
            ("known", &known, Some(true)),
            ("without", &without, optional.then_some(false)),
            ("foreign", &foreign, None),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let accepted = async {
                let (stream, _) = listener.accept().await.unwrap();
                server.accept(stream).await.ok().map(|session| TlsServer::has_certificate(&session))
            };
            let (seen, _client) =
                tokio::time::timeout(LONG, async { tokio::join!(accepted, shake(tls, port, "shop.test")) })
                    .await
                    .expect("a handshake in time");
            assert_eq!(seen, expected, "{name}, optional {optional}");
        }
    }
    let empty = dir.file("empty.pem", "");
    assert!(TlsServer::for_clients(&cert, &key, &empty, true).is_err());
}

#[test]
fn a_certificate_that_a_variable_lists_is_trusted_and_a_refusal_names_the_variable() {
    let key = KeyPair::generate().unwrap();
    let verified = |trust: &Trust, cert: &rcgen::Certificate| {
        let parsed = Certificate::read(&[cert.der().clone()]).unwrap();
        let name = ServerName::try_from("shop.test").unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
        trust.verify(&[cert.der().clone()], &parsed, &name, now)
    };
    for is_ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
        let mut asked = params(&["shop.test"], (2027, 1, 1));
        asked.is_ca = is_ca;
        let (own, other) =
            (asked.self_signed(&key).unwrap(), asked.self_signed(&KeyPair::generate().unwrap()).unwrap());
        let trust = Trust::named_by("SSL_CERT_FILE", vec![own.der().clone()]);
        assert!(verified(&trust, &own).is_ok());
        let error = verified(&trust, &other).unwrap_err().to_string();
        assert!(error.contains("SSL_CERT_FILE") && !error.contains("system"), "{error}");
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_only_where_it_is_listed() {
    let dir = Directory::new("self-signed");
    let key = KeyPair::generate().unwrap();
    let cert = params(&["shop.test"], (2027, 1, 1)).self_signed(&key).unwrap();
    let identity = Identity { chain: vec![cert.der().clone()], key: key.serialize_der() };
    let port = server(&identity).await;
    let listed = TlsOptions { ca: Some(dir.file("own.pem", &cert.pem())), ..TlsOptions::default() };
    let listed = Tls::new(&listed).unwrap();
    assert!(shake(&listed, port, "shop.test").await.is_ok());
    assert!(matches!(shake(&listed, port, "other.test").await, Err(TlsError::WrongHost { .. })));
    let other = Tls::new(&Ca::new("Test CA").options(&dir)).unwrap();
    let error = shake(&other, port, "shop.test").await.unwrap_err();
    assert!(error.to_string().contains("it is self-signed"), "{error}");
    let blind = Tls::new(&TlsOptions::default().without_verification()).unwrap();
    assert!(shake(&blind, port, "other.test").await.is_ok());
    // As `openssl req -x509` makes it: an authority of its own.
    let mut authority = params(&["shop.test"], (2027, 1, 1));
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let cert = authority.self_signed(&key).unwrap();
    let port = server(&Identity { chain: vec![cert.der().clone()], key: key.serialize_der() }).await;
    let error = shake(&other, port, "shop.test").await.unwrap_err();
    assert!(error.to_string().contains("it is self-signed"), "{error}");
    let options = TlsOptions { ca: Some(dir.file("authority.pem", &cert.pem())), ..TlsOptions::default() };
    assert!(shake(&Tls::new(&options).unwrap(), port, "shop.test").await.is_ok());
}

#[tokio::test]
async fn an_expired_intermediate_is_named_and_a_missing_one_is_suspected() {
    let dir = Directory::new("intermediate");
    let ca = Ca::new("Test CA");
    let intermediate = |until: (i32, u8, u8)| {
        let mut params = params(&["Intermediate"], until);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.subject_alt_names.clear();
        CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &ca.0).unwrap()
    };
    let issue = |issuer: &CertifiedIssuer<'static, KeyPair>, send: bool| {
        let key = KeyPair::generate().unwrap();
        let cert = params(&["shop.test"], (2027, 1, 1)).signed_by(&key, issuer).unwrap();
        let mut chain = vec![cert.der().clone()];
        chain.extend(send.then(|| issuer.der().clone()));
        Identity { chain, key: key.serialize_der() }
    };
    let tls = Tls::new(&ca.options(&dir)).unwrap();
    let (good, old) = (intermediate((2028, 1, 1)), intermediate((2026, 11, 1)));
    let port = server(&issue(&good, true)).await;
    assert_eq!(shake(&tls, port, "shop.test").await.unwrap().certificate.chain_len(), 2);
    let port = server(&issue(&old, true)).await;
    assert!(matches!(shake(&tls, port, "shop.test").await, Err(TlsError::ChainExpired { .. })));
    let port = server(&issue(&good, false)).await;
    let error = shake(&tls, port, "shop.test").await.unwrap_err();
    assert!(error.to_string().contains("sent no intermediate certificate"), "{error}");
}

/// rustls does not verify the certificate of a session that it resumes; the server here offers to resume.
#[tokio::test]
async fn a_certificate_is_verified_in_every_handshake() {
    let dir = Directory::new("resumed");
    let ca = Ca::new("Test CA");
    let port = server(&ca.issue(&["shop.test"], (2027, 1, 1))).await;
    let tls = Tls::new(&ca.options(&dir)).unwrap();
    for _ in 0..2 {
        let mut secured = shake(&tls, port, "shop.test").await.unwrap();
        // The tickets come with the first data.
        secured.stream.read_exact(&mut [0; 5]).await.unwrap();
    }
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let later = tls.handshake(Stream::Tcp(stream), "shop.test", None, NOW + 60 * 86_400).await;
    assert!(matches!(later, Err(TlsError::Expired { .. })), "{later:?}");
}

#[tokio::test]
async fn a_server_that_requires_a_client_certificate_gets_it() {
    let dir = Directory::new("client");
    let ca = Ca::new("Test CA");
    let server = ca.issue(&["shop.test"], (2027, 1, 1));
    let mut roots = RootCertStore::empty();
    roots.add(ca.0.der().clone()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(server.chain.clone(), PrivatePkcs8KeyDer::from(server.key.clone()).into())
        .unwrap();
    let port = serve(Arc::new(config)).await;

    // In TLS 1.3 the server refuses only after the client has finished: the first read says so.
    let without = Tls::new(&ca.options(&dir)).unwrap();
    let mut secured = shake(&without, port, "shop.test").await.unwrap();
    let refused = secured.stream.read(&mut [0; 5]).await.unwrap_err();
    assert_eq!(alert_in(&refused).as_deref(), Some("it requires a client certificate"));

    // The certificate of the server and its key serve as those of a client, in a file of today's validity.
    let key = KeyPair::generate().unwrap();
    let cert = params(&["monitor"], (2039, 1, 1)).signed_by(&key, &ca.0).unwrap();
    let identity = Some((dir.file("client.pem", &cert.pem()), dir.file("client.key", &key.serialize_pem())));
    let with = Tls::new(&TlsOptions { identity, ..ca.options(&dir) }).unwrap();
    let mut secured = shake(&with, port, "shop.test").await.unwrap();
    secured.stream.read_exact(&mut [0; 5]).await.unwrap();
    assert!(with != without && !format!("{with:?}").contains("PRIVATE"));
}

#[tokio::test]
async fn what_is_not_tls_is_told_apart() {
    let dir = Directory::new("junk");
    let tls = Tls::new(&Ca::new("Test CA").options(&dir)).unwrap();
    for (answer, expected) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "does not speak TLS"),
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], "does not speak TLS"),
        (&b""[..], "closed the connection during the TLS handshake"),
        // An alert: handshake_failure.
        (&[21, 3, 3, 0, 2, 2, 40][..], "no protocol version or cipher in common"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
            let _ = stream.read(&mut [0; 4096]).await;
        });
        let error = shake(&tls, port, "shop.test").await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn options_that_cannot_be_used_name_the_file() {
    let dir = Directory::new("options");
    let ca = Ca::new("Test CA");
    let refused = |options: TlsOptions| Tls::new(&options).unwrap_err().to_string();
    let with_ca = |path: PathBuf| TlsOptions { ca: Some(path), ..TlsOptions::default() };
    assert!(refused(with_ca(dir.0.join("missing.pem"))).contains("missing.pem"));
    assert!(refused(with_ca(dir.0.clone())).contains("not a regular file"));
    assert!(refused(with_ca(dir.file("empty.pem", ""))).contains("empty.pem contains no certificate"));
    let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let cert = params(&["monitor"], (2027, 1, 1)).signed_by(&one, &ca.0).unwrap();
    let cert = dir.file("cert.pem", &cert.pem());
    let with_key = |key: PathBuf| ca.options(&dir).with_identity(&cert, key);
    assert!(refused(with_key(dir.file("wrong.key", &other.serialize_pem()))).contains("cannot be used"));
    assert!(refused(with_key(cert.clone())).contains("contains no private key"));
    let name = ca.options(&dir).with_server_name("not a name");
    assert!(refused(name).contains("`not a name` is neither"));
}
