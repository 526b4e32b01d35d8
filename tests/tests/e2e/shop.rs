//! `examples/shop` with everything that can happen to it: PostgreSQL, Redis, two Django sites, a worker, nginx.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;

use nix::sys::signal::{Signal, kill};
use nix::unistd::chown;
use serde_json::Value;

use crate::program::{Running, processes_around, run, told};
use crate::servers::{lacking, postgres};
use crate::supervision::{pid, ports};

/// Everything in it that runs all the time.
const REALMS: [&str; 6] = ["postgres", "redis", "api", "backoffice", "worker", "front"];

pub(crate) struct Shop {
    pub(crate) daemon: Running,
    pub(crate) dir: tempfile::TempDir,
    api: u16,
}

fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

impl Shop {
    /// The example as it is, on ports and in a directory of its own, measured more often; `None` where the machine
    /// lacks something.
    fn open(extra: &str) -> Option<Self> {
        Self::open_with("auto", |_| extra.to_owned())
    }

    /// With realms that are made of its directory, and with control groups or without.
    pub(crate) fn open_with(cgroups: &str, extra: impl Fn(&str) -> String) -> Option<Self> {
        let Some((bin, owner)) = postgres() else {
            lacking("PostgreSQL is not installed");
            return None;
        };
        let venv = workspace().join("target").join("shop-venv");
        for (path, what) in [
            (PathBuf::from("/usr/bin/redis-server"), "Redis is not installed"),
            (PathBuf::from("/usr/sbin/nginx"), "nginx is not installed"),
            (
                venv.join("bin/gunicorn"),
                "Django is not installed: examples/shop/install --venv-only target/shop-venv",
            ),
        ] {
            if !path.exists() {
                lacking(what);
                return None;
            }
        }
        if !nix::unistd::geteuid().is_root() {
            lacking("only root can run PostgreSQL as another user");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap();
        std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o755)).unwrap();
        let data = dir.path().join("postgres");
        std::fs::create_dir(&data).unwrap();
        chown(&data, Some(owner.uid), Some(owner.gid)).unwrap();
        let script = workspace().join("examples/shop/secrets");
        let made = run(script.to_str().unwrap(), &[&format!("{root}/secrets"), "postgres"]);
        assert!(made.status.success(), "{}", told(&made));
        let [sql, redis, api, backoffice, front] = ports();
        let file = dir.path().join("heartbeat.toml");
        std::fs::write(
            &file,
            configuration(root, [sql, redis, api, backoffice, front], cgroups) + &extra(root),
        )
        .unwrap();
        let (venv, bin) = (venv.to_string_lossy(), bin.to_string_lossy());
        let env = [
            ("SHOP_DATA", root),
            ("SHOP_VENV", &*venv),
            ("SHOP_PG_BIN", &*bin),
            ("SHOP_PG_USER", "postgres"),
        ];
        let daemon = Running::start_with("heartbeatd", &["--config", file.to_str().unwrap()], &env);
        Some(Self { daemon, dir, api })
    }

    fn root(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    pub(crate) fn cli(&self, args: &[&str]) -> Output {
        let host = format!("unix:{}/run/heartbeat.sock", self.root());
        run("heartbeat-cli", &[&["-H", host.as_str()], args].concat())
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.cli(args);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)))
    }

    pub(crate) fn realm(&self, name: &str) -> Value {
        let document = self.json(&["status", "--json"]);
        document["realms"].as_array().unwrap().iter().find(|realm| realm["name"] == name).unwrap().clone()
    }

    fn pids(&self) -> Vec<(String, i64)> {
        let document = self.json(&["status", "--json"]);
        let realms = document["realms"].as_array().unwrap().iter();
        let of =
            |realm: &Value| Some((realm["name"].as_str()?.to_owned(), realm["process"]["pid"].as_i64()?));
        realms.filter_map(of).filter(|(name, _)| REALMS.contains(&name.as_str())).collect()
    }

    pub(crate) fn pid_of(&self, name: &str) -> i64 {
        self.realm(name)["process"]["pid"].as_i64().unwrap_or_default()
    }

    pub(crate) fn wait_for_all(&self) {
        let args = [&["wait"], &REALMS[..], &["migrate", "--for", "up", "--timeout", "80s"]].concat();
        let up = self.cli(&args);
        assert_eq!(up.status.code(), Some(0), "{}", told(&up));
    }

    /// Asks until the answer is the one that is waited for; the test's own patience bounds it.
    fn until<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        const ATTEMPTS: u32 = 3_000;
        for _ in 0..ATTEMPTS {
            if let Some(seen) = look(self) {
                return seen;
            }
        }
        panic!("never so: {what}\n{}", told(&self.cli(&["status"])));
    }

    /// Incidents rooted in a realm, the newest first.
    fn incidents_of(&self, name: &str) -> Vec<Value> {
        let document = self.json(&["incidents", "-n", "100", "--json"]);
        let all = document["incidents"].as_array().unwrap().iter();
        all.filter(|incident| incident["root"] == name).cloned().collect()
    }

    fn recovered(&mut self, name: &str) {
        self.daemon.read_until(&format!("{name} to recover"), |line| {
            line.contains(&format!(" {name} ")) && line.contains("recovered")
        });
    }

    pub(crate) fn close(self) {
        let Self { daemon, dir, .. } = self;
        daemon.signal(Signal::SIGTERM);
        let (code, errors) = daemon.end();
        assert_eq!(code, Some(0), "{errors}");
        assert_eq!(processes_around(dir.path().to_str().unwrap()), Vec::<i32>::new(), "nothing is left");
    }
}

/// The example's own file; what is replaced has to be there, so that the two cannot drift apart.
fn configuration(root: &str, [sql, redis, api, backoffice, front]: [u16; 5], cgroups: &str) -> String {
    let example = workspace().join("examples").join("shop");
    let mut text = std::fs::read_to_string(example.join("heartbeat.toml")).unwrap();
    let mut replace = |from: &str, to: &str| {
        assert!(text.contains(from), "the example does not say `{from}` any more");
        text = text.replace(from, to);
    };
    let often = "interval = \"1s\", timeout = \"1s\"";
    replace(
        "[heartbeat]\n",
        &format!(
            "[heartbeat]\ncgroups = \"{cgroups}\"\nlisten = \"off\"\nsocket = \"{root}/run/heartbeat.sock\"\nstate_dir = \"{root}/state\"\nruntime_dir = \"{root}/run\"\n"
        ),
    );
    replace("dir = \".\"", &format!("dir = \"{}\"\nrestart = {{ verify_for = \"1s\" }}", example.display()));
    replace(
        "query = \"select 1\", expect = \"== 1\" }",
        &format!("query = \"select 1\", expect = \"== 1\", {often} }}"),
    );
    replace(
        "command = \"LLEN orders\", expect = \"< 1000\" }",
        &format!("command = \"LLEN orders\", expect = \"< 1000\", {often} }}"),
    );
    replace(
        "ca = \"${SHOP_DATA}/secrets/front.pem\" }",
        &format!("ca = \"${{SHOP_DATA}}/secrets/front.pem\", {often} }}"),
    );
    for (port, site) in [("8001", "shop"), ("8002", "back")] {
        replace(
            &format!("port = {port}"),
            &format!(
                "env.SHOP_FAULT = \"{root}/{site}.fault\"\nhealth = {{ http = \"http://127.0.0.1:{port}/api/health/\", status = 200, {often} }}\nport = {port}"
            ),
        );
    }
    replace("env = { DJANGO_DEBUG = \"1\" }", "env.DJANGO_DEBUG = \"1\"");
    for (from, to) in [("5440", sql), ("6380", redis), ("8001", api), ("8002", backoffice), ("8080", front)] {
        replace(from, &to.to_string());
    }
    text
}

#[test]
fn a_killed_realm_comes_back_and_no_other_is_restarted() {
    let Some(mut shop) = Shop::open("") else { return };
    shop.wait_for_all();
    for victim in REALMS {
        let before = shop.pids();
        let of = |pids: &[(String, i64)], name: &str| pids.iter().find(|(known, _)| known == name).unwrap().1;
        kill(pid(of(&before, victim)), Signal::SIGKILL).unwrap();
        shop.recovered(victim);
        shop.wait_for_all();
        let after = shop.pids();
        for (name, pid) in &after {
            let same = of(&before, name) == *pid;
            assert_eq!(same, name != victim, "{victim} was killed: {name} {before:?} {after:?}");
        }
        let realm = shop.realm(victim);
        assert_eq!(realm["restart"]["cause"], "exited", "{realm:#}");
        assert_eq!(realm["restart"]["result"], "verified", "{realm:#}");
        let incidents = shop.incidents_of(victim);
        assert_eq!(incidents.len(), 1, "{victim}: {incidents:#?}");
        assert_eq!(incidents[0]["reason"], "Exited", "{incidents:#?}");
    }
    // The back office heard of each, also of its own death, once per step, and has verified every signature.
    shop.until("the back office to hear of everything", |shop| {
        let heard = std::fs::read_to_string(shop.dir.path().join("incidents")).ok()?;
        let steps: Vec<Value> = heard.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |victim: &str, event: &str| {
            let of = |step: &&Value| step["incident"]["root"] == victim && step["incident"]["event"] == event;
            steps.iter().filter(of).count() == 1
        };
        REALMS.iter().all(|victim| of(victim, "opened") && of(victim, "resolved")).then_some(())
    });
    // A database that is halted for a moment and continues: heartbeatd restarts no realm for it.
    let before = shop.pids();
    let sql = shop.pid_of("postgres");
    kill(pid(sql), Signal::SIGSTOP).unwrap();
    shop.until("the halt is seen", |shop| {
        let realm = shop.realm("postgres");
        let probes = realm["probes"].as_array().unwrap();
        probes.iter().any(|probe| probe["reason"] == "ProcessStopped").then_some(())
    });
    kill(pid(sql), Signal::SIGCONT).unwrap();
    shop.wait_for_all();
    assert_eq!(shop.pids(), before, "a moment is no outage");
    // One that hangs: the sites ask it in their own health, and are not to blame.
    let sites = [shop.pid_of("api"), shop.pid_of("backoffice")];
    kill(pid(sql), Signal::SIGSTOP).unwrap();
    let why = shop.until("why api names postgres", |shop| {
        let why = String::from_utf8_lossy(&shop.cli(&["why", "api"]).stdout).into_owned();
        (why.contains("needs postgres") && why.contains("root cause")).then_some(why)
    });
    assert!(why.contains("heartbeat-cli why postgres"), "{why}");
    let status = shop.json(&["status", "--json"]);
    let roots: Vec<&Value> = status["roots"].as_array().unwrap().iter().map(|root| &root["realm"]).collect();
    assert_eq!(roots, ["postgres"], "{:#}", status["roots"]);
    assert_eq!(status["ok"], false, "{:#}", status["summary"]);
    shop.recovered("postgres");
    shop.wait_for_all();
    assert_ne!(shop.pid_of("postgres"), sql, "the halted one was replaced");
    assert_eq!([shop.pid_of("api"), shop.pid_of("backoffice")], sites, "somebody else's fault");
    let newest = &shop.incidents_of("postgres")[0];
    assert_eq!(newest["reason"], "ProbeFailed", "{newest:#}");
    // The one incident of each site is that of its own death.
    assert_eq!([shop.incidents_of("api").len(), shop.incidents_of("backoffice").len()], [1, 1]);
    // Stopped on purpose: no incident, and every dependent waits for it.
    let told_before = shop.incidents_of("postgres").len();
    let refused = shop.cli(&["stop", "postgres"]);
    assert_eq!(refused.status.code(), Some(7), "{}", told(&refused));
    let stopped = shop.cli(&["stop", "postgres", "--yes"]);
    assert_eq!(stopped.status.code(), Some(0), "{}", told(&stopped));
    shop.until("api is blocked", |shop| (shop.realm("api")["status"] == "blocked").then_some(()));
    let status = shop.json(&["status", "--json"]);
    assert_eq!(status["status"], "blocked", "{:#}", status["summary"]);
    let started = shop.cli(&["start", "postgres"]);
    assert_eq!(started.status.code(), Some(0), "{}", told(&started));
    shop.wait_for_all();
    assert_eq!([shop.pid_of("api"), shop.pid_of("backoffice")], sites);
    assert_eq!(shop.incidents_of("postgres").len(), told_before);
    shop.close();
}

#[test]
fn a_site_that_answers_wrongly_late_or_not_at_all_is_replaced() {
    let flaky = "\n[realm.flaky]\nrun = \"sh -c 'echo it begins; exit 9'\"\ncritical = false\nrestart = { burst = 9, backoff = \"10ms\", backoff_max = \"20ms\", min_gap = \"1ms\" }\n";
    let Some(mut shop) = Shop::open(flaky) else { return };
    shop.wait_for_all();
    let others = |shop: &Shop| shop.pids().into_iter().filter(|(name, _)| name != "api").collect::<Vec<_>>();
    let before = others(&shop);
    let fault = shop.dir.path().join("shop.fault");
    for (kind, reason, words) in [
        ("500", "UnexpectedStatus", "500 Internal Server Error"),
        ("hang", "Timeout", "no answer within"),
        ("slow", "Timeout", "no answer within"),
    ] {
        let site = shop.pid_of("api");
        std::fs::write(&fault, kind).unwrap();
        let realm = shop.until(kind, |shop| {
            let realm = shop.realm("api");
            let ill = realm["status"] == "down" || realm["status"] == "restarting";
            // The next generation refuses connections first, and then fails in the same way.
            let told = realm["probes"][0]["reason"].as_str().is_some_and(|told| told.contains(reason));
            (ill && told).then_some(realm)
        });
        assert_eq!(realm["probes"][0]["outcome"], "fail", "{kind}: {realm:#}");
        let why = String::from_utf8_lossy(&shop.cli(&["why", "api"]).stdout).into_owned();
        assert!(why.contains(words), "{kind}: {why}");
        shop.daemon
            .read_until("the restart of api", |line| line.contains(" api ") && line.contains("restart"));
        std::fs::remove_file(&fault).unwrap();
        shop.recovered("api");
        shop.wait_for_all();
        assert_ne!(shop.pid_of("api"), site, "{kind}");
        assert_eq!(others(&shop), before, "{kind}");
        let newest = &shop.incidents_of("api")[0];
        assert_eq!(newest["reason"], "ProbeFailed", "{kind}: {newest:#}");
        // What fails again shortly after it has recovered has one incident until it stays well.
        let over = newest["event"] == "resolved";
        assert_eq!(over, kind == "500", "{kind}: {newest:#}");
    }
    // Another process has its port: heartbeatd names that process, never restarts the realm for it, and the realm is up
    // by itself when the port is free.
    let used = shop.realm("api")["restarts"]["used"].clone();
    assert_eq!(shop.cli(&["stop", "api", "--yes"]).status.code(), Some(0));
    let other = TcpListener::bind(("127.0.0.1", shop.api)).unwrap();
    assert_eq!(shop.cli(&["start", "api", "--no-wait"]).status.code(), Some(0));
    let realm = shop.until("a wrong process", |shop| {
        let realm = shop.realm("api");
        (realm["reason"] == "WrongProcess").then_some(realm)
    });
    let own = format!("pid {}", std::process::id());
    assert!(realm["message"].as_str().unwrap().contains(&own), "{realm:#}");
    let why = String::from_utf8_lossy(&shop.cli(&["why", "api"]).stdout).into_owned();
    let look = format!("ps -o pid,user,lstart,args -p {}", std::process::id());
    assert!(why.contains(&own) && why.contains(&look), "{why}");
    drop(other);
    shop.wait_for_all();
    let realm = shop.realm("api");
    assert!(realm["restarts"]["used"].as_u64() <= used.as_u64(), "{realm:#}");
    assert_eq!(others(&shop), before);
    // Ten exits at once: given up until a person looks, and said so.
    let realm = shop.until("flaky is given up", |shop| {
        let realm = shop.realm("flaky");
        (realm["status"] == "failed").then_some(realm)
    });
    assert_eq!(realm["process"]["last_exit"]["code"], 9, "{realm:#}");
    assert_eq!(realm["process"]["generation"], 10, "{realm:#}");
    let incident = &shop.incidents_of("flaky")[0];
    assert_eq!(incident["event"], "failed", "a person is needed: {incident:#}");
    assert_eq!(incident["severity"], "warning", "{incident:#}");
    assert_eq!(incident["log_tail"][0], "it begins", "{incident:#}");
    assert_eq!(shop.json(&["status", "--json"])["ok"], true, "it is not critical");
    shop.close();
}

#[test]
fn a_stop_while_half_of_it_is_starting_leaves_nothing() {
    let Some(mut shop) = Shop::open("") else { return };
    shop.daemon.read_until("redis to be up", |line| line.contains(" redis ") && line.contains(" up "));
    shop.close();
    // And once more while the sites are on their way.
    let Some(mut shop) = Shop::open("") else { return };
    shop.daemon
        .read_until("the sites to start", |line| line.contains(" migrate ") && line.contains(" done "));
    shop.close();
}
