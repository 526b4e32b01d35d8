//! Webhooks over TLS.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_notify::{Endpoint, Receiver, Target, TlsOptions, Webhook};
use heartbeat_status::IncidentStep::Opened;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::scene::{event, start};

fn webhook(endpoint: Endpoint) -> Target {
    Target::Webhook(Webhook { endpoint, secrets: Vec::new() })
}

#[tokio::test]
async fn a_notification_goes_only_to_a_server_with_a_certificate_that_is_trusted() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heard, mut requests) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = vec![0; 4096];
            if let Ok(read) = stream.read(&mut request).await {
                let head = String::from_utf8_lossy(&request[..read]).into_owned();
                let _ = heard.send(head).await;
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                let _ = stream.shutdown().await;
            }
        }
    });

    let ca = std::env::temp_dir().join(format!("heartbeat-notify-{}.pem", std::process::id()));
    std::fs::write(&ca, cert.pem()).unwrap();
    let url = format!("https://127.0.0.1:{port}/hook/");
    let trusted = Endpoint::with_tls(&url, &TlsOptions::default().with_ca(&ca)).unwrap();
    std::fs::remove_file(ca).unwrap();
    let mut receivers = vec![Receiver::new("trusting", webhook(trusted))];
    // A machine without a store of roots cannot have the other one.
    let verifies = Endpoint::new(&url)
        .map(|endpoint| receivers.push(Receiver::new("strict", webhook(endpoint))))
        .is_ok();
    let (notifier, reports) = start(receivers);
    notifier.notify(&event("a", 1, Opened));
    reports.wait_for("trusting a.1 delivered after 1").await;
    let head = requests.recv().await.unwrap();
    assert!(head.starts_with("POST /hook/ HTTP/1.1\r\n") && head.contains("webhook-id: a.1"), "{head}");
    if verifies {
        reports
            .wait_for("strict a.1 retrying after 1: no secure connection: the certificate is not trusted")
            .await;
        assert!(requests.try_recv().is_err(), "nothing is sent to a server that is not trusted");
    }
    notifier.close(Duration::ZERO).await;
}
