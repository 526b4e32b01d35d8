//! The TCP listener with a certificate that openssl has made: who may speak, and what everyone else is told.

use std::io::{Read, Write};
use std::path::Path;

use crate::program::{run, run_program, run_with, told};
use crate::servers::lacking;
use crate::supervision::Instance;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// An authority, and the files of one server.
struct Authority<'a> {
    root: &'a str,
}

impl Authority<'_> {
    fn openssl(&self, words: &str) {
        let words = words.replace("ROOT", self.root);
        let made = run_program(Path::new("openssl"), &words.split_whitespace().collect::<Vec<_>>());
        assert!(made.status.success(), "{words}: {}", told(&made));
    }

    fn found(&self) {
        self.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj /CN=authority -keyout ROOT/ca.key -out ROOT/ca.pem",
        );
    }

    /// Writes the certificate of the server anew, for that name and for so many days.
    fn issue(&self, name: &str, days: i32) {
        std::fs::write(format!("{}/names", self.root), format!("subjectAltName=DNS:{name}")).unwrap();
        self.openssl(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server -keyout ROOT/key.pem -out ROOT/asked.pem",
        );
        self.openssl(&format!(
            "x509 -req -in ROOT/asked.pem -CA ROOT/ca.pem -CAkey ROOT/ca.key -set_serial 7 -days {days} -extfile ROOT/names -out ROOT/cert.pem"
        ));
    }
}

#[test]
fn the_listener_speaks_tls_to_those_who_trust_its_certificate_and_have_the_token() {
    if !run_program(Path::new("/bin/sh"), &["-c", "openssl version"]).status.success() {
        return lacking("openssl is not installed");
    }
    let files = tempfile::tempdir().unwrap();
    let root = files.path().to_str().unwrap();
    let authority = Authority { root };
    authority.found();
    authority.issue("localhost", 90);
    let token = format!("{root}/token");
    std::fs::write(&token, TOKEN).unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let extra = format!("[heartbeat.tls]\ncert = \"{root}/cert.pem\"\nkey = \"{root}/key.pem\"\n");
    let line = format!("HEARTBEAT__HEARTBEAT__TOKEN_FILE={token} exec \"$@\"");
    let mut eco = Instance::start_under(&line, &extra);
    eco.wait_for_boot();
    let port = eco.listen.rsplit(':').next().unwrap();
    let host = format!("https://localhost:{port}");
    let ca = format!("{root}/ca.pem");
    let asked = |args: &[&str]| {
        let all: Vec<&str> = ["-H", &host].into_iter().chain(args.iter().copied()).collect();
        run_with("heartbeat-cli", &all, &[("SSL_CERT_FILE", &ca)])
    };
    let with_token = |args: &[&str]| asked(&[&["--token-file", &token], args].concat());

    let up = with_token(&["status"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    let done = with_token(&["restart", "worker", "--leave-dependents"]);
    assert_eq!(done.status.code(), Some(0), "the token may do everything: {}", told(&done));
    let without = asked(&["status"]);
    assert_eq!(without.status.code(), Some(6), "{}", told(&without));

    // Clients of the system's roots do not trust the authority.
    let untrusted = run("heartbeat-cli", &["-H", &host, "--token-file", &token, "status"]);
    assert_eq!(untrusted.status.code(), Some(5), "{}", told(&untrusted));
    assert!(told(&untrusted).contains("no secure connection"), "{}", told(&untrusted));

    // A certificate that SSL_CERT_FILE lists itself is trusted; a file without any is named.
    let own = format!("{root}/cert.pem");
    let itself = run_with(
        "heartbeat-cli",
        &["-H", &host, "--token-file", &token, "status"],
        &[("SSL_CERT_FILE", &own)],
    );
    assert_eq!(itself.status.code(), Some(0), "{}", told(&itself));
    let none = run_with(
        "heartbeat-cli",
        &["-H", &host, "--token-file", &token, "status"],
        &[("SSL_CERT_FILE", &token)],
    );
    assert!(
        told(&none).contains("SSL_CERT_FILE") && !told(&none).contains("ca-certificates"),
        "{}",
        told(&none)
    );

    // Plain HTTP is told what to speak, and the token does not cross a network in plain text.
    let mut plain = std::net::TcpStream::connect(&eco.listen).unwrap();
    let request = format!("GET /api/status/ HTTP/1.1\r\nHost: {}\r\n\r\n", eco.listen);
    plain.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("use https://"), "{answer}");
    let told_so = run("heartbeat-cli", &["-H", &format!("http://127.0.0.1:{port}"), "status"]);
    assert!(told(&told_so).contains("use https:// instead of http://"), "{}", told(&told_so));
    let leak = run("heartbeat-cli", &["-H", "http://box.example", "--token-file", &token, "status"]);
    assert_eq!(leak.status.code(), Some(6), "{}", told(&leak));
    assert!(told(&leak).contains("in plain text"), "{}", told(&leak));

    // A reload reads the files again: connections that come later get the new certificate.
    for (name, days, why) in [("other.example", 90, "other.example"), ("localhost", -1, "expired")] {
        authority.issue(name, days);
        let reloaded = eco.cli(&["reload"]);
        assert_eq!(reloaded.status.code(), Some(0), "{}", told(&reloaded));
        let refused = with_token(&["status"]);
        assert_eq!(refused.status.code(), Some(5), "{}", told(&refused));
        assert!(
            told(&refused).contains("no secure connection") && told(&refused).contains(why),
            "{}",
            told(&refused)
        );
    }
    // Files that do not fit change nothing.
    let expired = std::fs::read(format!("{root}/cert.pem")).unwrap();
    authority.issue("localhost", 90);
    let good = std::fs::read(format!("{root}/cert.pem")).unwrap();
    std::fs::write(format!("{root}/cert.pem"), expired).unwrap();
    let refused = eco.cli(&["reload"]);
    assert_ne!(refused.status.code(), Some(0), "{}", told(&refused));
    assert!(told(&refused).contains("`tls` cannot be used"), "{}", told(&refused));
    std::fs::write(format!("{root}/cert.pem"), good).unwrap();
    assert_eq!(eco.cli(&["reload"]).status.code(), Some(0));
    let up = with_token(&["status"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
}

#[test]
fn a_client_with_a_certificate_of_client_ca_may_do_what_the_token_permits() {
    if !run_program(Path::new("/bin/sh"), &["-c", "openssl version"]).status.success() {
        return lacking("openssl is not installed");
    }
    let files = tempfile::tempdir().unwrap();
    let root = files.path().to_str().unwrap();
    let authority = Authority { root };
    authority.found();
    authority.issue("localhost", 90);
    std::fs::write(format!("{root}/usage"), "extendedKeyUsage=clientAuth").unwrap();
    authority.openssl(
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=ada -keyout ROOT/ada.key -out ROOT/ada.csr",
    );
    authority.openssl("x509 -req -in ROOT/ada.csr -CA ROOT/ca.pem -CAkey ROOT/ca.key -set_serial 8 -days 90 -extfile ROOT/usage -out ROOT/ada.pem");
    let extra = format!(
        "[heartbeat.tls]\ncert = \"{root}/cert.pem\"\nkey = \"{root}/key.pem\"\nclient_ca = \"{root}/ca.pem\"\n"
    );
    let mut eco = Instance::start(&extra);
    eco.wait_for_boot();
    let port = eco.listen.rsplit(':').next().unwrap().to_owned();
    let asked = |path: &str, proof: &str| {
        let line = format!(
            "printf 'GET {path} HTTP/1.0\\r\\nHost: localhost:{port}\\r\\n\\r\\n' | \
             openssl s_client -quiet -connect localhost:{port} -CAfile {root}/ca.pem {proof} 2>&1"
        );
        told(&run_program(Path::new("/bin/sh"), &["-c", &line]))
    };
    let ada = format!("-cert {root}/ada.pem -key {root}/ada.key");
    // The output of realms is for callers with a role.
    let with = asked("/api/logs/worker/", &ada);
    assert!(with.contains("HTTP/1.1 200") || with.contains("HTTP/1.0 200"), "{with}");
    let without = asked("/api/status/", "");
    assert!(!without.contains(" 200 "), "{without}");
}
