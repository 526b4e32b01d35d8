//! Realms that are registered at run time: watched like any other, remembered, and nothing that could do harm.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Output;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::program::{Running, binary, processes_with, run, told};
use crate::supervision::{Instance, ports};

/// A server that belongs to no realm.
struct Server {
    process: Running,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let [port] = ports();
        let process = serve(port);
        // It answers before heartbeatd hears of it: a server that is not there yet would be an outage.
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {}
        Self { process, port }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/api/health/", self.port)
    }

    fn kill(&mut self) {
        self.process.signal(Signal::SIGKILL);
        self.process.wait();
    }
}

fn serve(port: u16) -> Running {
    Running::start("heartbeatd", &["demo-realm", &format!("--listen=127.0.0.1:{port}")])
}

/// Asks at the socket, and does not look at the answer.
fn asked(socket: &Path, method: &str, path: &str, body: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// Asks at the socket; the status and the document.
fn ask(socket: &Path, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut answer = String::new();
    asked(socket, method, path, body).read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap())
}

impl Instance {
    fn socket(&self) -> PathBuf {
        self.dir.path().join("run/heartbeat.sock")
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        ask(&self.socket(), method, path, body)
    }

    fn put(&self, name: &str, registration: &Value) -> (u16, Value) {
        self.ask("PUT", &format!("/api/realms/{name}/"), &registration.to_string())
    }

    fn document(&self) -> Value {
        serde_json::from_slice(&self.cli(&["status", "--json"]).stdout).unwrap_or_default()
    }

    fn find(&self, name: &str) -> Option<Value> {
        let document = self.document();
        document["realms"].as_array()?.iter().find(|realm| realm["name"] == name).cloned()
    }

    /// Asks until the answer is the one that is waited for.
    fn until<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        const ATTEMPTS: u32 = 6_000;
        for _ in 0..ATTEMPTS {
            if let Some(seen) = look(self) {
                return seen;
            }
        }
        panic!("never so: {what}\n{}", told(&self.cli(&["status"])));
    }

    fn incidents_of(&self, name: &str) -> Vec<Value> {
        let output = self.cli(&["incidents", "-n", "100", "--json"]);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let all = document["incidents"].as_array().unwrap().iter();
        all.filter(|incident| incident["root"] == name).cloned().collect()
    }

    fn change_file(&self, change: impl FnOnce(String) -> String) {
        let file = self.dir.path().join("heartbeat.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, change(text)).unwrap();
    }

    fn stop(self) {
        let Self { daemon, dir: _dir, .. } = self;
        daemon.signal(Signal::SIGTERM);
        let (code, errors) = daemon.end();
        assert_eq!(code, Some(0), "{errors}");
    }
}

fn expect(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{}", told(output));
    for word in words {
        assert!(told(output).contains(word), "no `{word}`: {}", told(output));
    }
}

#[test]
fn a_realm_that_is_registered_is_watched_and_remembered_like_any_other() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let mut server = Server::start();
    let pids = (eco.pid_of("db"), eco.pid_of("api"), eco.pid_of("worker"));
    let url = server.url();
    let flags = ["--http", &url, "--interval", "300ms", "--title", "Shop", "--need", "api"];
    let registered = eco.cli(&[&["register", "shop"], &flags[..]].concat());
    expect(&registered, 0, &[&format!("shop is registered: http {url}")]);
    expect(&eco.cli(&["wait", "shop", "--for", "up", "--timeout", "60s"]), 0, &[]);
    let shop = eco.realm("shop");
    assert_eq!(
        (&shop["registered"], &shop["kind"], &shop["title"]),
        (&json!(true), &json!("external"), &json!("Shop"))
    );
    assert_eq!(shop["needs"][0]["realm"], "api", "{shop:#}");
    assert!(eco.realm("db").get("registered").is_none());
    expect(&eco.cli(&["why", "shop"]), 0, &["registered at run time"]);
    assert_eq!(pids, (eco.pid_of("db"), eco.pid_of("api"), eco.pid_of("worker")), "nobody else was touched");
    // The same once more changes nothing, and in other words hardly.
    let before = eco.document();
    let again = eco.cli(&[&["register", "shop"], &flags[..]].concat());
    expect(&again, 0, &["registered like this already"]);
    let after = eco.document();
    assert_eq!(before["revision"], after["revision"]);
    assert_eq!(before["daemon"]["config_revision"], after["daemon"]["config_revision"]);
    let (status, document) = eco.put(
        "shop",
        &json!({ "health": { "http": url, "interval": "300ms" }, "title": "The shop", "needs": ["api"] }),
    );
    assert_eq!(
        (status, &document["result"], &document["because"]),
        (200, &json!("replaced"), &json!(["title"])),
        "{document:#}"
    );
    // An outage is an incident, and outlives a kill of heartbeatd.
    server.kill();
    eco.until("shop is down", |eco| (eco.status_of("shop") == "down").then_some(()));
    let incident = eco.until("an incident", |eco| eco.incidents_of("shop").first().cloned());
    assert_eq!(incident["reason"], "ProbeFailed", "{incident:#}");
    // What is remembered within a boot is on record soon, not at once.
    eco.until("the outage is on record", |eco| {
        let read = |name: &str| {
            let path = eco.dir.path().join(name);
            String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
        };
        eco.document();
        let known = ["state/incidents.db", "state/incidents.db-wal"]
            .iter()
            .any(|name| read(name).contains(incident["id"].as_str().unwrap()));
        (known && read("run/realms/shop").contains("\"passing\":false")).then_some(())
    });
    eco.kill_daemon();
    eco.start_again();
    eco.until("shop is known again", |eco| eco.find("shop"));
    let shop =
        eco.until("shop is down again", |eco| eco.find("shop").filter(|shop| shop["status"] == "down"));
    assert_eq!((&shop["registered"], &shop["title"]), (&json!(true), &json!("The shop")), "{shop:#}");
    let incidents = eco.incidents_of("shop");
    assert_eq!((incidents.len(), &incidents[0]["id"]), (1, &incident["id"]), "{incidents:#?}");
    assert_eq!(pids, (eco.pid_of("db"), eco.pid_of("api"), eco.pid_of("worker")));
    server.process = serve(server.port);
    expect(&eco.cli(&["wait", "shop", "--for", "up", "--timeout", "60s"]), 0, &[]);
    eco.until("its incident is over", |eco| {
        (eco.incidents_of("shop")[0]["event"] == "resolved").then_some(())
    });
    // A reload knows nothing of it, and leaves it alone.
    expect(&eco.cli(&["reload"]), 0, &["nothing changed"]);
    assert_eq!(eco.status_of("shop"), "up");
    // Who is needed stays.
    let (status, side) = eco.put("side", &json!({ "health": url, "needs": ["shop"] }));
    assert_eq!((status, &side["needs"]), (201, &json!(["shop"])), "{side:#}");
    expect(&eco.cli(&["unregister", "shop"]), 7, &["side"]);
    expect(&eco.cli(&["unregister", "shopp"]), 4, &["did you mean shop?"]);
    expect(&eco.cli(&["unregister", "side", "--dry-run"]), 0, &["would not be registered"]);
    expect(&eco.cli(&["unregister", "side"]), 0, &["side is not registered any more"]);
    expect(&eco.cli(&["unregister", "shop"]), 0, &[]);
    eco.until("both are gone", |eco| {
        (eco.find("shop").is_none() && eco.find("side").is_none()).then_some(())
    });
    expect(&eco.cli(&["why", "shop"]), 4, &[]);
    expect(&eco.cli(&["unregister", "shop"]), 4, &[]);
    eco.kill_daemon();
    eco.start_again();
    eco.until("it is back", |eco| eco.find("db"));
    assert!(eco.find("shop").is_none(), "gone for good");
    eco.stop();
}

#[test]
fn what_cannot_be_registered_says_why_and_changes_nothing() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let before = eco.document();
    let tcp = |name: &str, address: &str| eco.cli(&["register", name, "--tcp", address]);
    expect(&tcp("db", "127.0.0.1:1"), 7, &["realm `db` is declared in", "heartbeat.toml:"]);
    expect(&eco.cli(&["unregister", "db"]), 7, &["realm `db` is declared in"]);
    expect(&tcp("shop", "10.0.0.1:80"), 6, &["10.0.0.1", "register_networks"]);
    for never in
        ["169.254.169.254:80", "2852039166:80", "[::ffff:a9fe:a9fe]:80", "0.0.0.0:80", "[fe80::1]:80"]
    {
        expect(&tcp("shop", never), 6, &["no key permits that"]);
    }
    expect(&tcp("all", "127.0.0.1:1"), 2, &["reserved"]);
    expect(&tcp("Shop", "127.0.0.1:1"), 2, &[]);
    expect(&eco.cli(&["register", "shop"]), 2, &["--http"]);
    expect(
        &eco.cli(&["register", "shop", "--tcp", "127.0.0.1:1", "--need", "dbb"]),
        2,
        &["did you mean `db`?"],
    );
    expect(&eco.cli(&["register", "shop", "--from", "/nonexistent"]), 2, &["cannot read /nonexistent"]);
    let file = eco.dir.path().join("shop.json");
    let from_file = |text: &str| {
        std::fs::write(&file, text).unwrap();
        eco.cli(&["register", "shop", "--from", file.to_str().unwrap()])
    };
    expect(
        &from_file(r#"{"port":1,"run":"rm -rf /"}"#),
        2,
        &["`run` is not for", "belongs in the configuration"],
    );
    expect(&from_file(r#"{"port":1,"restart":{"command":"x"}}"#), 2, &["`restart` is not for"]);
    expect(&from_file(r#"{"health":{"exec":"x"}}"#), 2, &["`exec` is not for"]);
    expect(&from_file(r#"{"health":{"push":"60"}}"#), 2, &["has no unit"]);
    expect(&from_file(r#"{"health":"redis://127.0.0.1:1"}"#), 2, &["redis"]);
    expect(&from_file(r#"{"port":1,"title":"${HOME}"}"#), 2, &["is not filled in"]);
    expect(
        &from_file(r#"{"port":1,"run":"x","user":"root"}"#),
        2,
        &["2 things are wrong", "`run`", "`user`"],
    );
    expect(&from_file(r#"{"port":1,"port":2}"#), 2, &["stands twice"]);
    expect(&from_file("{"), 2, &["not JSON"]);
    expect(&from_file(&format!(r#"{{"title":"{}"}}"#, "x".repeat(70_000))), 2, &[]);
    let dry = eco.cli(&["register", "shop", "--tcp", "127.0.0.1:1", "--dry-run"]);
    expect(&dry, 0, &["shop would be registered: tcp 127.0.0.1:1"]);
    // The read-only listener accepts no registration.
    let mut stream = std::net::TcpStream::connect(&eco.listen).unwrap();
    let body = r#"{"port":1}"#;
    let request = format!(
        "PUT /api/realms/shop/ HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        eco.listen,
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    // A disk that does not take it.
    let beside = eco.dir.path().join("state/intent.new");
    std::fs::create_dir(&beside).unwrap();
    let refused = tcp("shop", "127.0.0.1:1");
    expect(&refused, 1, &["nothing was changed, since it could not be remembered"]);
    assert!(eco.find("shop").is_none());
    let after = eco.document();
    assert_eq!(before["daemon"]["config_revision"], after["daemon"]["config_revision"]);
    let health = || eco.ask("GET", "/api/health/", "").0;
    assert_eq!(health(), 503, "it cannot remember");
    std::fs::remove_dir(&beside).unwrap();
    eco.until("it can again", |eco| {
        eco.document();
        (health() == 200).then_some(())
    });
    expect(&tcp("shop", "127.0.0.1:1"), 0, &[]);
    std::fs::create_dir(&beside).unwrap();
    expect(&eco.cli(&["unregister", "shop"]), 1, &["nothing was changed"]);
    assert!(eco.find("shop").is_some(), "in force, and remembered");
    std::fs::remove_dir(&beside).unwrap();
    eco.kill_daemon();
    eco.start_again();
    eco.until("shop is known again", |eco| eco.find("shop"));
    eco.stop();
}

#[test]
fn whatever_was_answered_is_remembered_at_whatever_moment_heartbeatd_is_killed() {
    const ROUNDS: usize = 12;
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let far = json!({ "health": { "tcp": "127.0.0.1:1", "interval": "10m" }, "critical": false });
    let mut answered: Vec<String> = Vec::new();
    for round in 0..ROUNDS {
        // Several at once, and a reload between them; the kill comes while the last ones are on their way.
        let names: Vec<String> = (0..4).map(|at| format!("r{round}-{at}")).collect();
        let removed = answered.first().filter(|_| round % 3 == 2).cloned();
        let (socket, body) = (eco.socket(), far.to_string());
        let put = |name: &String| ask(&socket, "PUT", &format!("/api/realms/{name}/"), &body).0;
        std::thread::scope(|scope| {
            let put = &put;
            let all: Vec<_> = names[..3].iter().map(|name| scope.spawn(move || put(name))).collect();
            let reload = scope.spawn(|| ask(&socket, "POST", "/api/reload/", "{}").0);
            for one in all {
                assert_eq!(one.join().unwrap(), 201);
            }
            assert_eq!(reload.join().unwrap(), 200);
        });
        if let Some(name) = &removed {
            assert_eq!(eco.ask("DELETE", &format!("/api/realms/{name}/"), "").0, 200);
            answered.retain(|known| known != name);
        }
        let unanswered = asked(&socket, "PUT", &format!("/api/realms/{}/", names[3]), &body);
        eco.kill_daemon();
        drop(unanswered);
        answered.extend_from_slice(&names[..3]);
        eco.start_again();
        let document = eco
            .until("it is back", |eco| Some(eco.document()).filter(|document| document["realms"].is_array()));
        let registered: Vec<&str> = document["realms"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|realm| realm["registered"] == true)
            .map(|realm| realm["name"].as_str().unwrap())
            .collect();
        let missing: Vec<&String> =
            answered.iter().filter(|name| !registered.contains(&name.as_str())).collect();
        assert!(missing.is_empty(), "round {round}: {missing:?}");
        let other = |name: &&&str| !answered.iter().any(|known| known == *name) && !name.ends_with("-3");
        let others: Vec<&&str> = registered.iter().filter(other).collect();
        assert!(others.is_empty(), "round {round}, removed {removed:?}: {others:?}");
    }
    eco.stop();
}

#[test]
fn there_is_an_end_to_what_can_be_registered() {
    const MOST: usize = 256;
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let far = json!({ "health": { "tcp": "127.0.0.1:1", "interval": "10m" }, "critical": false });
    for at in 0..MOST {
        let (status, document) = eco.put(&format!("far-{at}"), &far);
        assert_eq!(status, 201, "{at}: {document:#}");
    }
    let (status, problem) = eco.put("one-more", &far);
    assert_eq!((status, &problem["type"]), (409, &json!("heartbeat:too-many")), "{problem:#}");
    expect(&eco.cli(&["register", "one-more", "--tcp", "127.0.0.1:1"]), 7, &["unregister"]);
    let changed = json!({ "health": { "tcp": "127.0.0.1:2", "interval": "10m" }, "critical": false });
    assert_eq!(eco.put("far-0", &changed).0, 200, "what is there can be changed");
    assert_eq!(eco.ask("DELETE", "/api/realms/far-7/", "").0, 200);
    assert_eq!(eco.put("one-more", &far).0, 201);
    eco.kill_daemon();
    eco.start_again();
    eco.until("all of them are back", |eco| {
        let document = eco.document();
        let registered = document["realms"].as_array()?.iter().filter(|realm| realm["registered"] == true);
        (registered.count() == MOST).then_some(())
    });
    assert_eq!(eco.status_of("db"), "up");
    eco.stop();
}

#[test]
fn files_come_first_and_what_does_not_fit_in_is_set_aside() {
    let mut eco = Instance::start("");
    eco.wait_for_boot();
    let server = Server::start();
    let url = server.url();
    for (name, registration) in
        [("shop", json!({ "health": url })), ("side", json!({ "health": url, "needs": ["worker", "shop"] }))]
    {
        let (status, document) = eco.put(name, &registration);
        assert_eq!(status, 201, "{document:#}");
    }
    expect(&eco.cli(&["wait", "shop", "side", "--for", "up", "--timeout", "60s"]), 0, &[]);
    // What is edited meanwhile is none of a registration's business.
    eco.change_file(|text| text.replace("[realm.worker]", "[realm.worker]\ntitle = \"Edited\""));
    assert_eq!(eco.put("other", &json!({ "health": url })).0, 201);
    assert!(eco.realm("worker").get("title").is_none(), "the file was not read");
    expect(&eco.cli(&["reload"]), 0, &["worker (title)"]);
    for name in ["shop", "side", "other"] {
        assert_eq!(eco.realm(name)["registered"], true);
    }
    // The files have to load without what is registered.
    eco.change_file(|text| text + "[realm.late]\nrun = \"sleep 86381\"\nneeds = [\"shop\"]\n");
    expect(&eco.cli(&["reload"]), 2, &["`shop` is registered at run time"]);
    eco.change_file(|text| text.split_once("[realm.late]").unwrap().0.to_owned());
    // A file that declares the name has it, and gives it back.
    let declared = format!("[realm.shop]\nhealth = \"{url}\"\ntitle = \"Of the file\"\n");
    eco.change_file(|text| text + &declared);
    expect(&eco.cli(&["reload", "--dry-run"]), 0, &["HB132", "shop", "set aside"]);
    assert_eq!(eco.realm("shop")["registered"], true);
    expect(&eco.cli(&["reload"]), 0, &["HB132", "set aside"]);
    let shop = eco.realm("shop");
    assert!(shop.get("registered").is_none() && shop["title"] == "Of the file", "{shop:#}");
    assert_eq!(eco.realm("side")["needs"].as_array().unwrap().len(), 2, "needs the one of the file");
    assert_eq!(eco.put("shop", &json!({ "health": url })).0, 409);
    let (status, document) = eco.put("other", &json!({ "health": url, "title": "Other" }));
    assert_eq!(status, 200, "what is set aside is in nobody's way: {document:#}");
    eco.change_file(|text| text.replace(&declared, ""));
    expect(&eco.cli(&["reload"]), 0, &["shop ("]);
    let shop = eco.realm("shop");
    assert!(shop["registered"] == true && shop.get("title").is_none(), "{shop:#}");
    // A file cannot make a program of it while it is watched; at the next start it can, and then the other way round.
    eco.change_file(|text| text + "[realm.shop]\nrun = \"sleep 86379\"\n");
    expect(&eco.cli(&["reload"]), 2, &["from external to service", "heartbeat-cli unregister shop"]);
    eco.kill_daemon();
    eco.start_again();
    eco.until("shop is a program", |eco| eco.find("shop").filter(|shop| shop["status"] == "up"));
    assert_eq!(eco.realm("shop")["kind"], "service");
    eco.change_file(|text| text.replace("[realm.shop]\nrun = \"sleep 86379\"\n", ""));
    expect(&eco.cli(&["reload"]), 0, &["removed", "yet to be stopped"]);
    eco.until("the program is gone", |eco| eco.find("shop").is_none().then_some(()));
    expect(&eco.cli(&["reload"]), 0, &["added", "shop"]);
    assert_eq!(eco.realm("shop")["registered"], true);
    // The same, while no heartbeatd ran to see the realm go.
    let program = format!("863{}", 10_000 + std::process::id());
    let declared_other = format!("[realm.other]\nrun = \"sleep {program}\"\n");
    eco.change_file(|text| text + &declared_other);
    eco.kill_daemon();
    eco.start_again();
    eco.until("other is a program", |eco| {
        eco.find("other").filter(|other| other["kind"] == "service" && other["status"] == "up")
    });
    eco.kill_daemon();
    eco.change_file(|text| text.replace(&declared_other, ""));
    eco.start_again();
    eco.until("other is gone", |eco| (eco.find("db").is_some() && eco.find("other").is_none()).then_some(()));
    assert_eq!(processes_with(&program), Vec::<i32>::new(), "its program is ended");
    expect(&eco.cli(&["reload"]), 0, &["added", "other"]);
    assert_eq!(eco.realm("other")["registered"], true);
    // What it needs goes, and comes back.
    let worker = "[realm.worker]";
    eco.change_file(|text| text.replace(worker, "[realm.labourer]"));
    expect(&eco.cli(&["reload"]), 0, &["HB202", "the registration of side", "set aside"]);
    eco.until("side is gone", |eco| eco.find("side").is_none().then_some(()));
    // Set aside over a stop of everything, too.
    let pid = eco.daemon.pid();
    eco.daemon.signal(Signal::SIGTERM);
    eco.daemon.wait();
    eco.start_again();
    assert_ne!(eco.daemon.pid(), pid);
    eco.until("shop is back", |eco| eco.find("shop"));
    assert!(eco.find("side").is_none());
    eco.change_file(|text| text.replace("[realm.labourer]", worker));
    eco.until("the files are read", |eco| {
        let reload = eco.cli(&["reload"]);
        (reload.status.code() == Some(0)).then_some(())
    });
    eco.until("side is back", |eco| eco.find("side"));
    // One that is set aside can be removed.
    eco.change_file(|text| text + &declared);
    expect(&eco.cli(&["reload"]), 0, &["set aside"]);
    expect(&eco.cli(&["unregister", "shop"]), 0, &["it was set aside; the realm of that name in", "stays"]);
    assert_eq!(eco.realm("shop")["title"], "Of the file");
    expect(&eco.cli(&["unregister", "shop"]), 7, &["is declared in"]);
    // A network that is listed, and is not any more.
    eco.change_file(|text| {
        text.replace("name = \"shop\"", "name = \"shop\"\nregister_networks = [\"10.0.0.0/8\"]")
    });
    expect(&eco.cli(&["reload"]), 0, &["heartbeat.register_networks"]);
    expect(&eco.cli(&["register", "far", "--tcp", "10.255.255.254:9"]), 0, &[]);
    eco.change_file(|text| text.replace("register_networks = [\"10.0.0.0/8\"]", ""));
    expect(&eco.cli(&["reload"]), 0, &["HB131", "the registration of far", "set aside"]);
    eco.until("far is gone", |eco| eco.find("far").is_none().then_some(()));
    expect(&eco.cli(&["unregister", "far"]), 0, &["it was set aside"]);
    // Another heartbeatd under the same pid has them, too, and can say so before.
    let file = eco.dir.path().join("heartbeat.toml");
    let check = run("heartbeatd", &["--config", file.to_str().unwrap(), "check-state"]);
    expect(&check, 0, &["can go on"]);
    let instance = eco.document()["instance"].clone();
    expect(&eco.cli(&["daemon", "upgrade"]), 0, &[]);
    eco.until("another one answers", |eco| {
        let document = eco.document();
        (!document["instance"].is_null() && document["instance"] != instance).then_some(())
    });
    assert_eq!(eco.until("side is back", |eco| eco.find("side"))["registered"], true);
    assert_eq!(eco.realm("other")["registered"], true);
    assert!(binary("heartbeatd").exists());
    eco.stop();
}
