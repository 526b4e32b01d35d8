//! `heartbeatd demo`: a small ecosystem from the binary itself. The demo breaks one of its realms after a while.
//!
//! The realms are real processes with real ports ([`realm::serve`]), supervised by a real [`Daemon`] in a directory of
//! its own. Only the fault is staged: the lines are the daemon's own events.

pub mod realm;
mod story;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use heartbeat_config::{Loaded, Report, load_str};

use crate::Daemon;
use crate::Sentences;
use crate::Start;
use crate::error::DaemonError;
use crate::reporting::console_reporter::EventSink;

pub use realm::Fault;
use story::{Story, Victim};

/// The realm that the demo breaks unless another is named.
pub const DEFAULT_VICTIM: &str = "auth";

/// Options of the demo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The realm to break; `None` for no fault at all.
    pub victim: Option<String>,
    /// How it is broken.
    pub fault: Fault,
    /// heartbeat-cli as a person types it, without the socket.
    pub cli: String,
}

impl Default for Script {
    fn default() -> Self {
        Self { victim: Some(DEFAULT_VICTIM.to_owned()), fault: Fault::Hang, cli: "heartbeat-cli".to_owned() }
    }
}

/// Why the demo cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// No free port, no directory, or no path of our own binary.
    #[error("cannot prepare the demo: {what}")]
    Prepare {
        /// The missing thing.
        what: &'static str,
        /// Cause of the failure.
        source: std::io::Error,
    },
    /// There is no such realm in the demo.
    #[error("`{name}` is not a realm of the demo that can be broken; these are: {known}")]
    NoSuchRealm {
        /// The name that was asked for.
        name: String,
        /// The names of the realms.
        known: String,
    },
    /// The demo's own configuration is refused: a defect.
    #[error("the demo's configuration is refused:\n{0}")]
    Config(Report),
    /// The daemon cannot run.
    #[error("the demo's daemon cannot run")]
    Daemon(#[from] DaemonError),
}

/// A realm of the demo: its name, the realms that its health check asks, and its lines of configuration.
struct Part {
    name: &'static str,
    asks: &'static [&'static str],
    config: &'static str,
}

/// In start order. `migrate` runs once; the others serve a port.
const PARTS: &[Part] = &[
    Part { name: "store", asks: &[], config: "title = \"Data store\"" },
    Part { name: "cache", asks: &[], config: "title = \"Cache\"" },
    Part { name: "auth", asks: &["store"], config: "title = \"Sign-in\"\nneeds = [\"store\"]" },
    Part {
        name: "shop",
        asks: &["store", "cache", "auth"],
        config: "title = \"Shop\"\nneeds = [\"auth\", \"cache\", { realm = \"migrate\", until = \"done\" }]",
    },
    Part { name: "web", asks: &["shop"], config: "title = \"Front\"\nneeds = [\"shop\"]" },
];

/// The ecosystem of the demo, prepared: free ports, a directory of its own, a configuration that loads.
#[derive(Debug)]
pub struct Demo {
    loaded: Loaded,
    addresses: Vec<(&'static str, SocketAddr)>,
    dir: PathBuf,
}

impl Demo {
    /// Prepares the demo below `dir`, with realms from `program` (our own binary).
    ///
    /// # Errors
    /// [`DemoError`] when there is no free port or the configuration is refused.
    pub fn prepare(dir: &Path, program: &Path) -> Result<Self, DemoError> {
        let mut addresses = Vec::new();
        let mut ports = candidate_ports();
        for part in PARTS {
            addresses.push((part.name, free_address(&mut ports)?));
        }
        let text = configuration(dir, program, &addresses);
        let loaded =
            load_str("demo.toml", &text, &std::collections::BTreeMap::new()).map_err(DemoError::Config)?;
        Ok(Self { loaded, addresses, dir: dir.to_owned() })
    }

    /// The directory of the demo.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The socket its daemon answers on.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.loaded.config.heartbeat.socket
    }

    /// Starts everything, tells the story, and breaks the realm of `script` once everything has been up for a while.
    /// The daemon runs until it is stopped.
    ///
    /// # Errors
    /// [`DemoError`] when the realm to break does not exist or the daemon cannot start.
    pub fn start(self, script: &Script, sentences: Sentences, sink: EventSink) -> Result<Daemon, DemoError> {
        let victim = match &script.victim {
            Some(name) => Some(self.victim(name, script.fault)?),
            None => None,
        };
        let cli = format!("{} -H unix:{}", script.cli, self.socket().display());
        let story = Story { sentences, cli, victim };
        story.begin();
        let daemon = Daemon::start(Start::new(self.loaded.config, sink))?;
        let (changes, statuses) = (daemon.changes(), daemon.statuses());
        daemon.spawn(async move {
            // A demo that ends before its story has nothing left to say.
            let _ = story.tell(changes, statuses).await;
        });
        Ok(daemon)
    }

    fn victim(&self, name: &str, fault: Fault) -> Result<Victim, DemoError> {
        let found = self.addresses.iter().find(|(known, _)| *known == name);
        found.map(|(name, address)| Victim { name, address: *address, fault }).ok_or_else(|| {
            DemoError::NoSuchRealm {
                name: name.to_owned(),
                known: PARTS.iter().map(|part| part.name).collect::<Vec<_>>().join(", "),
            }
        })
    }
}

/// First port and number of ports for demos: below those that the kernel gives to outgoing connections, which could
/// take one between the check and the realm's own bind.
const PORTS: (u16, u16) = (20_000, 12_000);
/// The ports of one demo are adjacent, so that two demos at a time look in different places.
const PORTS_PER_DEMO: u32 = 8;

/// Every port of the range, beginning where no other demo begins.
fn candidate_ports() -> impl Iterator<Item = u16> {
    let (first, count) = PORTS;
    let start = std::process::id().wrapping_mul(PORTS_PER_DEMO) % u32::from(count);
    (0..u32::from(count))
        .filter_map(move |at| u16::try_from((start + at) % u32::from(count)).ok())
        .map(move |at| first + at)
}

fn free_address(ports: &mut impl Iterator<Item = u16>) -> Result<SocketAddr, DemoError> {
    ports
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .find(|address| TcpListener::bind(address).is_ok())
        .ok_or_else(|| DemoError::Prepare {
            what: "a free port",
            source: std::io::ErrorKind::AddrInUse.into(),
        })
}

/// The demo's `heartbeat.toml`.
fn configuration(dir: &Path, program: &Path, addresses: &[(&'static str, SocketAddr)]) -> String {
    let address_of = |name: &str| addresses.iter().find(|(known, _)| *known == name).map(|(_, at)| *at);
    let quoted = |path: &Path| format!("{:?}", path.to_string_lossy());
    let mut text = format!(
        "[heartbeat]\nname = \"demo\"\nlisten = \"off\"\nstate_dir = {state}\nruntime_dir = {run}\nsocket = {socket}\n\n",
        state = quoted(&dir.join("state")),
        run = quoted(&dir.join("run")),
        socket = quoted(&dir.join("run").join("heartbeat.sock")),
    );
    for part in PARTS {
        let Some(address) = address_of(part.name) else { continue };
        let mut argv = vec![
            program.to_string_lossy().into_owned(),
            "demo-realm".to_owned(),
            format!("--listen={address}"),
        ];
        argv.extend(
            part.asks.iter().filter_map(|asked| address_of(asked)).map(|asked| format!("--asks={asked}")),
        );
        let argv: Vec<String> = argv.iter().map(|word| format!("{word:?}")).collect();
        text.push_str(&format!(
            "[realm.{name}]\nrun = [{argv}]\nport = {port}\n{config}\n\
             health = {{ http = \"http://{address}/api/health/\", interval = \"1s\", timeout = \"500ms\" }}\n\n",
            name = part.name,
            argv = argv.join(", "),
            port = address.port(),
            config = part.config,
        ));
    }
    let program = format!("{:?}", program.to_string_lossy());
    text.push_str(&format!(
        "[realm.migrate]\nrun = [{program}, \"demo-realm\", \"--once\"]\ntitle = \"Migrations\"\noneshot = true\nneeds = [\"store\"]\n"
    ));
    text
}
