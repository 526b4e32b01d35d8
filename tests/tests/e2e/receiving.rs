//! What receivers of each kind get of real outages.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine;
use serde_json::Value;

use crate::program::{Running, run_program, told};
use crate::servers::lacking;
use crate::supervision::{Instance, ports};
use crate::surviving::until;

/// A program of the Python environment with aiosmtpd, apprise and the reference library of Standard Webhooks.
pub(crate) fn of_venv(program: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let found = root.join("target/voice-venv/bin").join(program);
    if !found.exists() {
        lacking(&format!("{} is not there", found.display()));
        return None;
    }
    Some(found)
}

fn private(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

/// One request: its headers, in lower case, and its body.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    head: Vec<String>,
    pub(crate) body: String,
}

impl Request {
    /// Method, target and version.
    pub(crate) fn line(&self) -> &str {
        self.head.first().map_or("", String::as_str)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let mut lines = self.head.iter().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    pub(crate) fn read(stream: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let (mut head, mut line) = (Vec::new(), String::new());
        while reader.read_line(&mut line).ok()? > 2 {
            head.push(line.trim().to_owned());
            line.clear();
        }
        let mut request = Self { head, body: String::new() };
        let mut body = vec![0; request.header("content-length").parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        request.body = String::from_utf8(body).ok()?;
        Some(request)
    }
}

/// A server that accepts and remembers everything.
struct Recorder {
    url: String,
    heard: Arc<Mutex<Vec<Request>>>,
}

impl Recorder {
    fn start() -> Self {
        Self::answering("")
    }

    fn answering(body: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/alerts", listener.local_addr().unwrap());
        let recorder = Self { url, heard: Arc::default() };
        let heard = Arc::clone(&recorder.heard);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let Some(request) = Request::read(&stream) else { continue };
                heard.lock().unwrap().push(request);
                // heartbeatd may have ended meanwhile.
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        recorder
    }

    fn heard(&self) -> Vec<Request> {
        self.heard.lock().unwrap().clone()
    }
}

/// External realms that fail at once while nothing listens on their ports.
fn external(names: &[String], ports: &[u16]) -> String {
    let realm = |(name, port): (&String, &u16)| {
        format!(
            "[realm.{name}]\nhealth = {{ tcp = \"127.0.0.1:{port}\", interval = \"1s\", timeout = \"1s\", \
             fail_after = 1, pass_after = 1, grace = \"0s\" }}\n"
        )
    };
    names.iter().zip(ports).map(realm).collect()
}

#[test]
fn a_storm_is_a_few_messages_for_a_person_and_every_incident_for_a_program() {
    let (phone, program) = (Recorder::start(), Recorder::start());
    let ports: [u16; 12] = ports();
    let names: Vec<String> = (0..12).map(|no| format!("shop-{no}")).collect();
    let receivers = format!(
        "[notify.phone]\nntfy = \"{}\"\n[notify.program]\nwebhook = \"{}\"\n",
        phone.url, program.url
    );
    let _eco = Instance::start(&(receivers + &external(&names, &ports)));
    let roots = |heard: &[Request]| -> Vec<String> {
        let documents = heard.iter().filter_map(|request| serde_json::from_str::<Value>(&request.body).ok());
        let roots = documents.map(|document| document["root"].as_str().unwrap_or_default().to_owned());
        roots.filter(|root| names.contains(root)).collect()
    };
    until("every incident", || roots(&program.heard()).len() >= names.len());
    let digest = |request: &&Request| request.header("title").contains(" incidents at once: ");
    until("the digest", || phone.heard().iter().any(|request| digest(&request)));
    let heard = phone.heard();
    assert!(heard.len() <= 6, "five messages and a digest: {heard:#?}");
    let all: String =
        heard.iter().map(|request| format!("{}\n{}", request.header("title"), request.body)).collect();
    let missing: Vec<&String> =
        names.iter().filter(|name| !all.contains(&format!("{name} has failed"))).collect();
    assert!(missing.is_empty(), "{missing:?} in {all}");
}

#[test]
fn an_open_incident_is_repeated_with_the_next_number_until_a_person_takes_it() {
    let ops = Recorder::start();
    let [port] = ports();
    let extra = format!("[notify.ops]\nwebhook = \"{}\"\nrepeat = \"1m\"\n", ops.url);
    let eco = Instance::start(&(extra + &external(&["mail".to_owned()], &[port])));
    let of_mail = || -> Vec<Value> {
        let documents =
            ops.heard().into_iter().filter_map(|request| serde_json::from_str(&request.body).ok());
        documents.filter(|document: &Value| document["root"] == "mail").collect()
    };
    until("the first", || !of_mail().is_empty());
    until("the reminder", || of_mail().len() >= 2);
    let heard = of_mail();
    assert_eq!((&heard[0]["event"], &heard[1]["event"]), (&"opened".into(), &"opened".into()));
    assert_eq!(heard[0]["id"], heard[1]["id"]);
    assert!(heard[0]["seq"].as_u64() < heard[1]["seq"].as_u64(), "{heard:#?}");
    let keys: Vec<String> =
        ops.heard().iter().map(|request| request.header("webhook-id").to_owned()).collect();
    assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), keys.len(), "{keys:?}");
    let id = heard[0]["id"].as_str().unwrap().to_owned();
    let acknowledged = eco.cli(&["ack", &id]);
    assert_eq!(acknowledged.status.code(), Some(0));
    // It ends as ever.
    let _mail = TcpListener::bind(("127.0.0.1", port)).unwrap();
    until("its end", || of_mail().last().is_some_and(|last| last["event"] == "resolved"));
}

/// An ecosystem that answers.
fn ready(extra: &str) -> Instance {
    let eco = Instance::start(extra);
    let up = eco.cli(&["wait", "db", "--for", "up", "--timeout", "60s"]);
    assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    eco
}

/// A receiver `pager` that runs this line of shell, in an ecosystem where `mail` fails.
fn with_program(line: &str, port: u16) -> Instance {
    let line = line.replace('\\', "\\\\").replace('"', "\\\"");
    let extra = format!("[notify.pager]\nexec = [\"sh\", \"-c\", \"{line}\"]\n");
    ready(&(extra + &external(&["mail".to_owned()], &[port])))
}

#[test]
fn a_program_reads_the_document_and_its_exit_code_says_whether_it_took_it() {
    let dir = tempfile::tempdir().unwrap();
    let [port] = ports();
    let root = dir.path().display();
    // The first run fails after it has read everything.
    let line = format!(
        "cat >> {root}/heard; echo >> {root}/heard; mkdir {root}/first 2>/dev/null && echo no line && exit 3; exit 0"
    );
    let eco = with_program(&line, port);
    let heard = || -> Vec<Value> {
        let text = std::fs::read_to_string(dir.path().join("heard")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    until("two attempts", || heard().len() >= 2);
    let of = heard();
    assert_eq!((&of[0]["id"], &of[0]["seq"]), (&of[1]["id"], &of[1]["seq"]), "one key");
    assert_eq!(of[0]["schema"], "heartbeat.incident/1");
    let _mail = TcpListener::bind(("127.0.0.1", port)).unwrap();
    until("its end", || heard().last().is_some_and(|last| last["event"] == "resolved"));
    let shown = eco.cli(&["notify", "test", "pager", "--dry-run"]);
    assert_eq!(shown.status.code(), Some(0), "{}", told(&shown));
    let text = told(&shown);
    assert!(text.contains("the standard input of sh (2 arguments hidden)"), "{text}");
    assert!(!text.contains("first"), "the words of a command may be secrets: {text}");
    let sent = eco.cli(&["notify", "test", "pager"]);
    assert_eq!(sent.status.code(), Some(0), "{}", told(&sent));
}

#[test]
fn a_program_that_hangs_floods_or_reads_nothing_harms_no_one() {
    let dir = tempfile::tempdir().unwrap();
    let [port] = ports();
    let root = dir.path().display();
    let deaf = with_program("exit 0", port);
    let taken = deaf.cli(&["notify", "test", "pager"]);
    assert_eq!(taken.status.code(), Some(0), "it need not read: {}", told(&taken));
    let loud = with_program("yes no such team >&2; exit 1", port);
    let refused = loud.cli(&["notify", "test", "pager"]);
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(told(&refused).contains("exit code 1: no such team"), "{}", told(&refused));
    let missing = "[notify.pager]\nexec = \"/nowhere/page\"\n";
    let missing = ready(missing);
    let refused = missing.cli(&["notify", "test", "pager"]);
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(told(&refused).contains("/nowhere/page"), "{}", told(&refused));
    // It is killed at its deadline, with all that it has started.
    let line = format!("sleep 971 & echo $! > {root}/child; exec sleep 972");
    let hangs = with_program(&line, port);
    until("its child", || dir.path().join("child").exists());
    let tested = hangs.cli(&["--timeout", "90s", "notify", "test", "pager"]);
    assert_eq!(tested.status.code(), Some(1), "{}", told(&tested));
    assert!(
        told(&tested).contains("the program did not end within 30s, and was killed"),
        "{}",
        told(&tested)
    );
    let alive = || {
        std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            words == b"sleep\0971\0"
        })
    };
    drop(hangs);
    until("the end of its child", || !alive());
}

#[test]
fn apprise_brings_a_message_to_any_of_its_services() {
    let Some(apprise) = of_venv("apprise") else { return };
    let service = Recorder::start();
    let dir = tempfile::tempdir().unwrap();
    let url = service.url.replace("http://", "json://");
    let services = private(dir.path(), "apprise.yml", &format!("urls:\n  - {url}\n"));
    let extra = format!(
        "[notify.team]\nexec = [\"{}\", \"--config\", \"{services}\"]\n\
         template = \"\"\"{{{{ title }}}}\n{{{{ text }}}}\"\"\"\n",
        apprise.display()
    );
    let eco = ready(&extra);
    let sent = eco.cli(&["--timeout", "90s", "notify", "test", "team"]);
    assert_eq!(sent.status.code(), Some(0), "{}", told(&sent));
    let heard = service.heard();
    let message: Value = serde_json::from_str(&heard[0].body).unwrap();
    let text = message["message"].as_str().unwrap();
    assert!(text.contains("this is a test of the receiver team, nothing has failed"), "{message:#}");
    assert!(text.contains("Type: heartbeat-cli why heartbeatd"), "{message:#}");
    assert!(!text.contains("heartbeat-cli ack"), "there is no such incident: {message:#}");
    assert_eq!(heard.len(), 2);
}

/// What the reference library says of a request.
const VERIFY: &str = "
import json, sys
from standardwebhooks.webhooks import Webhook
headers, body, secrets = json.load(open(sys.argv[1]))
for secret in secrets:
    Webhook(secret).verify(body, headers)
print('verified', len(secrets))
";

#[test]
fn the_reference_library_verifies_both_signatures_of_a_rotation() {
    let Some(python) = of_venv("python") else { return };
    let dir = tempfile::tempdir().unwrap();
    let secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"];
    let [now, next] = [0, 1].map(|at| private(dir.path(), &format!("secret-{at}"), secrets[at]));
    let program = Recorder::start();
    let extra = format!(
        "[notify.ops]\nwebhook = \"{}\"\nsecret_file = \"{now}\"\nnext_secret_file = \"{next}\"\n",
        program.url
    );
    let eco = ready(&extra);
    let sent = eco.cli(&["notify", "test", "ops"]);
    assert_eq!(sent.status.code(), Some(0), "{}", told(&sent));
    let heard = program.heard();
    for request in &heard {
        let headers: std::collections::BTreeMap<&str, &str> =
            ["webhook-id", "webhook-timestamp", "webhook-signature"]
                .map(|name| (name, request.header(name)))
                .into();
        let file = dir.path().join("request.json");
        std::fs::write(&file, serde_json::to_string(&(headers, &request.body, secrets)).unwrap()).unwrap();
        let verified = run_program(&python, &["-c", VERIFY, file.to_str().unwrap()]);
        assert!(String::from_utf8_lossy(&verified.stdout).contains("verified 2"), "{}", told(&verified));
    }
    assert_eq!(heard.len(), 2);
}

/// The key pair of an Ed25519 secret, made by openssl: the secret as heartbeatd reads it, and the file of the public key.
fn key_pair(dir: &Path, name: &str) -> (String, String) {
    let (private_der, public) = (dir.join(format!("{name}.der")), dir.join(format!("{name}.pem")));
    let (private_der, public) = (private_der.to_str().unwrap(), public.to_str().unwrap().to_owned());
    for words in [
        vec!["genpkey", "-algorithm", "ed25519", "-outform", "DER", "-out", private_der],
        vec!["pkey", "-in", private_der, "-inform", "DER", "-pubout", "-out", &public],
    ] {
        let made = run_program(Path::new("openssl"), &words);
        assert!(made.status.success(), "{}", told(&made));
    }
    // The private key of RFC 8410 ends with its seed.
    let der = std::fs::read(private_der).unwrap();
    let seed = base64::engine::general_purpose::STANDARD.encode(&der[der.len() - 32..]);
    (private(dir, &format!("{name}.secret"), &format!("whsk_{seed}")), public)
}

/// The Python library of Standard Webhooks has no `v1a`, so openssl verifies these: it has made the keys, too.
#[test]
fn openssl_verifies_both_asymmetric_signatures_of_a_rotation_and_no_other_body() {
    let dir = tempfile::tempdir().unwrap();
    let [(now, now_public), (next, next_public)] = ["now", "next"].map(|name| key_pair(dir.path(), name));
    let program = Recorder::start();
    let extra = format!(
        "[notify.ops]\nwebhook = \"{}\"\nsecret_file = \"{now}\"\nnext_secret_file = \"{next}\"\n",
        program.url
    );
    let eco = ready(&extra);
    let sent = eco.cli(&["notify", "test", "ops"]);
    assert_eq!(sent.status.code(), Some(0), "{}", told(&sent));
    let heard = program.heard();
    assert_eq!(heard.len(), 2);
    let verifies = |signed: &str, signature: &str, public: &str| {
        let (text, bytes) = (dir.path().join("signed"), dir.path().join("signature"));
        std::fs::write(&text, signed).unwrap();
        let decoded =
            base64::engine::general_purpose::STANDARD.decode(signature.strip_prefix("v1a,").unwrap());
        std::fs::write(&bytes, decoded.unwrap()).unwrap();
        let (text, bytes) = (text.to_str().unwrap(), bytes.to_str().unwrap());
        let words =
            ["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", public, "-in", text, "-sigfile", bytes];
        run_program(Path::new("openssl"), &words).status.success()
    };
    for request in &heard {
        let (id, at) = (request.header("webhook-id"), request.header("webhook-timestamp"));
        let signed = format!("{id}.{at}.{}", request.body);
        let signatures: Vec<&str> = request.header("webhook-signature").split(' ').collect();
        let [first, second] = signatures[..] else { panic!("{signatures:?}") };
        assert!(verifies(&signed, first, &now_public) && verifies(&signed, second, &next_public));
        assert!(!verifies(&signed, first, &next_public), "each key has a signature of its own");
        assert!(!verifies(&format!("{signed} "), first, &now_public), "another body");
    }
}

/// A mail server that demands STARTTLS and a login. It appends every mail to a file.
const MAIL_SERVER: &str = "
import signal, ssl, sys
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
port, cert, key, mails = sys.argv[1:]
class Handler:
    async def handle_DATA(self, server, session, envelope):
        with open(mails, 'ab') as file:
            file.write(envelope.content + b'=====')
        return '250 taken'
def login(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b'shop', b's3cret: it'), handled=False)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(cert, key)
controller = Controller(Handler(), hostname='127.0.0.1', port=int(port), tls_context=context,
                        require_starttls=True, authenticator=login, auth_required=True)
controller.start()
print('ready', flush=True)
signal.pause()
";

/// A certificate of 127.0.0.1 and its key.
fn certificate(dir: &Path, name: &str) -> [String; 2] {
    let [cert, key] = ["crt", "key"].map(|end| dir.join(format!("{name}.{end}")).display().to_string());
    let words = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-keyout",
        &key,
        "-out",
        &cert,
    ];
    let made = run_program(Path::new("openssl"), &words);
    assert!(made.status.success(), "{}", told(&made));
    [cert, key]
}

#[test]
fn mail_goes_by_starttls_with_a_login_and_an_incident_is_one_thread() {
    let Some(python) = of_venv("python") else { return };
    let dir = tempfile::tempdir().unwrap();
    let [cert, key] = certificate(dir.path(), "server");
    let [other, _] = certificate(dir.path(), "other");
    let [port, mail] = ports();
    let mails = dir.path().join("mails");
    let words = ["-c", MAIL_SERVER, &port.to_string(), &cert, &key, mails.to_str().unwrap()];
    let mut server = Running::start_program(&python, &words, &[]);
    server.read_until("the mail server", |line| line == "ready");
    let login = private(dir.path(), "login", "shop:s3cret: it\n");
    let wrong = private(dir.path(), "wrong", "shop:guessed\n");
    let receiver = |name: &str, ca: &str, login: &str| {
        format!(
            "[notify.{name}]\nsmtp = \"smtp://127.0.0.1:{port}\"\nfrom = \"Shop <hb@shop.example>\"\n\
             to = [\"ops@example.org\", \"boss@example.org\"]\n{ca}token_file = \"{login}\"\nrealms = [\"mail\"]\n"
        )
    };
    let ca = |path: &str| format!("ca = \"{path}\"\n");
    let extra = receiver("ops", &ca(&cert), &login)
        + &receiver("untrusting", &ca(&other), &login)
        + &receiver("plain", "", &login)
        + &receiver("other", &ca(&cert), &wrong);
    let eco = Instance::start(&(extra + &external(&["mail".to_owned()], &[mail])));
    let of_mail = || -> Vec<String> {
        let text = std::fs::read_to_string(&mails).unwrap_or_default().replace('\r', "");
        text.split("=====").filter(|mail| mail.contains("mail has ")).map(str::to_owned).collect()
    };
    until("the first mail", || !of_mail().is_empty());
    let _mail = TcpListener::bind(("127.0.0.1", mail)).unwrap();
    until("the last mail", || of_mail().len() >= 2);
    let header = |mail: &str, name: &str| {
        mail.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
    };
    let [opened, resolved] = [&of_mail()[0], &of_mail()[1]].map(Clone::clone);
    assert!(header(&opened, "Subject: ").starts_with("[shop] mail has failed: "), "{opened}");
    assert!(header(&resolved, "Subject: ").starts_with("[shop] mail has recovered"), "{resolved}");
    assert_eq!(header(&opened, "References: "), header(&resolved, "References: "));
    assert!(header(&opened, "References: ").ends_with("@shop.example>"), "{opened}");
    assert_ne!(header(&opened, "Message-ID: "), header(&resolved, "Message-ID: "));
    assert!(opened.contains("Type: heartbeat-cli why mail"), "{opened}");
    for (name, why) in [
        ("untrusting", "no secure connection to the mail server: "),
        ("plain", "No compatible authentication mechanism was found"),
        ("other", "the mail server refuses it: 535 "),
    ] {
        let refused = eco.cli(&["--timeout", "60s", "notify", "test", name]);
        assert_eq!(refused.status.code(), Some(1), "{name}: {}", told(&refused));
        assert!(told(&refused).contains(why), "{name}: {}", told(&refused));
    }
    let shown = eco.cli(&["notify", "test", "ops", "--dry-run"]);
    let text = told(&shown);
    assert!(
        text.contains("a mail by 127.0.0.1:") && text.contains("Subject: [shop] heartbeatd has a problem"),
        "{text}"
    );
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn a_bot_of_slack_has_one_message_per_incident() {
    let slack = Recorder::answering(r#"{"ok":true,"channel":"C1","ts":"17.1"}"#);
    let dir = tempfile::tempdir().unwrap();
    let token = private(dir.path(), "token", "xoxb-s3cret\n");
    let [port] = ports();
    let extra = format!(
        "[notify.chat]\nslack = \"{}\"\ntoken_file = \"{token}\"\nchannel = \"#ops\"\nrealms = [\"mail\"]\n",
        slack.url
    );
    let mut eco = Instance::start(&(extra + &external(&["mail".to_owned()], &[port])));
    until("its message", || !slack.heard().is_empty());
    // Its name is in the outbox: the next heartbeatd edits the same message.
    until("the log", || {
        let incidents = eco.cli(&["incidents", "--json"]);
        let document: Value = serde_json::from_slice(&incidents.stdout).unwrap_or_default();
        let all = document["incidents"].as_array().into_iter().flatten();
        let mut ids =
            all.filter(|incident| incident["root"] == "mail").filter_map(|incident| incident["id"].as_str());
        ids.next().is_some_and(|id| {
            let log = eco.cli(&["notify", "log", id, "-o", "plain"]);
            String::from_utf8_lossy(&log.stdout).contains("chat\topened\tdelivered\t")
        })
    });
    eco.kill_daemon();
    eco.start_again();
    let _mail = TcpListener::bind(("127.0.0.1", port)).unwrap();
    until("its end", || slack.heard().len() >= 3);
    let calls: Vec<(String, Value)> = slack
        .heard()
        .iter()
        .map(|request| (request.head[0].clone(), serde_json::from_str(&request.body).unwrap()))
        .collect();
    let paths: Vec<&str> = calls.iter().map(|(line, _)| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(paths, ["/alerts/chat.postMessage", "/alerts/chat.update", "/alerts/chat.postMessage"]);
    assert_eq!(calls[0].1["channel"], "#ops");
    assert_eq!((&calls[1].1["ts"], &calls[2].1["thread_ts"]), (&"17.1".into(), &"17.1".into()));
    let shown = eco.cli(&["notify", "test", "chat", "--dry-run"]);
    assert!(!told(&shown).contains("s3cret"), "{}", told(&shown));
}
