//! Who holds a port, with real listeners. This program is also the listener: `listen ADDRESS` as its arguments.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;

use heartbeat_process::{CommandRunId, Key, LaunchSpec, LogTarget, Notice};
use heartbeat_process::{Listeners, Ownership, Tree, User, owner_of, port_owner};
use heartbeat_status::{RealmName, RunFact, Signal};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, getsockname, listen, setsockopt,
    socket, sockopt,
};

use super::*;

/// The role of a listener, until the test kills it.
pub(super) fn listen_for_ever(address: &str) -> ExitCode {
    let address: SocketAddr = address.parse().unwrap();
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::empty(), None).unwrap();
    setsockopt(&fd, sockopt::ReusePort, &true).unwrap();
    let raw = std::os::fd::AsRawFd::as_raw_fd(&fd);
    match address {
        SocketAddr::V4(address) => bind(raw, &nix::sys::socket::SockaddrIn::from(address)).unwrap(),
        SocketAddr::V6(address) => bind(raw, &nix::sys::socket::SockaddrIn6::from(address)).unwrap(),
    }
    listen(&fd, Backlog::new(1).unwrap()).unwrap();
    let bound: SockaddrStorage = getsockname(raw).unwrap();
    println!("listening {bound} ");
    loop {
        nix::unistd::pause();
    }
}

/// The role of a heartbeatd without rights: says whether an address belongs to a tree. Port 0: one of its own.
pub(super) fn owner_seen(address: &str, main: &str) -> ExitCode {
    let mut address: SocketAddr = address.parse().unwrap();
    let own = (address.port() == 0).then(|| TcpListener::bind(address).unwrap());
    if let Some(own) = &own {
        address = own.local_addr().unwrap();
    }
    let tree = Tree::of(main.parse().unwrap_or_else(|_| std::process::id()));
    println!("{:?}", owner_of(&Listeners::take().unwrap(), address, &tree));
    ExitCode::SUCCESS
}

struct Listening {
    bench: Bench,
    key: Key,
    main: u32,
    address: SocketAddr,
}

impl Listening {
    /// A realm of this name that runs `script`, in which `LISTEN` is this program as a listener.
    fn start(realm: &str, script: &str) -> Self {
        let bench = Bench::new();
        let exe = std::env::current_exe().unwrap();
        let spec = bench.shell(&script.replace("LISTEN", &format!("{} listen", exe.display())));
        let key = key(1);
        bench.processes.launch(key, &RealmName::new(realm).unwrap(), &spec);
        let main = bench.started();
        let text = bench.wait_for_output(" \n");
        let address = text.trim().strip_prefix("listening ").unwrap().parse().unwrap();
        Self { bench, key, main, address }
    }

    fn owner(&self, tree: &Tree) -> Ownership {
        owner_of(&Listeners::take().unwrap(), self.address, tree)
    }

    fn tree(&self) -> Tree {
        Tree::of(self.main)
    }

    fn at(&self, ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), self.address.port())
    }

    fn stop(self) {
        self.bench.processes.signal(self.key, Signal::KILL);
        let (_, empty) = exit_of(&self.bench.next());
        if !empty {
            assert_eq!(self.bench.next(), Notice::Run { key: self.key, fact: RunFact::Emptied });
        }
    }
}

pub(super) fn a_port_of_the_tree_is_ours() {
    for script in
        ["exec LISTEN 127.0.0.1:0", "LISTEN 127.0.0.1:0 & wait", "(LISTEN 127.0.0.1:0 & wait) & wait"]
    {
        let realm = Listening::start("db", script);
        assert_eq!(realm.owner(&realm.tree()), Ownership::Ours, "{script}");
        let tree = realm.tree();
        assert_eq!((tree.main(), tree.pids()[0]), (realm.main, realm.main));
        assert_eq!(realm.owner(&Tree::of(std::process::id())), Ownership::Ours, "a child is a descendant");
        let address = realm.address;
        realm.stop();
        let nobody = owner_of(&Listeners::take().unwrap(), address, &tree);
        assert_eq!(nobody, Ownership::NotListening, "{script}");
    }
}

pub(super) fn a_daemon_is_known_by_its_mark() {
    let realm = Listening::start("db", "(setsid -f LISTEN 127.0.0.1:0); exec sleep 640");
    let daemon = port_owner(realm.address).unwrap();
    assert_ne!(daemon.pid, realm.main);
    assert!(!realm.tree().pids().contains(&daemon.pid), "neither session nor parents tell");
    assert_eq!(realm.tree().strays(), [daemon.pid]);
    assert_eq!(realm.owner(&realm.tree()), Ownership::Ours);
    assert_eq!(realm.owner(&Tree::tagged(realm.main, "db", &instance_tag())), Ownership::Ours);
    // A process of another realm, or of a realm of another heartbeatd, is none of it.
    for tree in [Tree::tagged(realm.main, "web", &instance_tag()), Tree::tagged(realm.main, "db", "other")] {
        assert_eq!(realm.owner(&tree), Ownership::Other(daemon.clone()));
    }
    kill_main(daemon.pid);
    realm.stop();
}

pub(super) fn another_process_is_named() {
    let realm = Listening::start("db", "exec LISTEN 127.0.0.1:0");
    let other = Listening::start("web", "exec LISTEN 127.0.0.1:0");
    match other.owner(&realm.tree()) {
        Ownership::Other(found) => {
            assert_eq!(found.pid, other.main);
            assert!(found.command.starts_with("children"), "{found:?}");
            assert_eq!(found.uid, nix::unistd::geteuid().as_raw());
            assert!(!found.user.is_empty() && found.started_at > 0, "{found:?}");
            assert_eq!(port_owner(other.address), Some(found));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(other.owner(&other.tree()), Ownership::Ours);
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = own.local_addr().unwrap();
    let listeners = Listeners::take().unwrap();
    assert!(matches!(owner_of(&listeners, address, &realm.tree()),
        Ownership::Other(found) if found.pid == std::process::id()));
    drop(own);
    // The socket listened when the table was read, and no process has it any more.
    assert!(matches!(owner_of(&listeners, address, &realm.tree()), Ownership::Unattributable(_)));
    realm.stop();
    other.stop();
}

pub(super) fn a_caller_without_permission_gets_no_guess() {
    if !nix::unistd::geteuid().is_root() {
        println!("  skipped: only root has processes that others may not look into");
        return;
    }
    let realm = Listening::start("db", "exec LISTEN 127.0.0.1:0");
    // A copy that every user may execute.
    std::fs::set_permissions(realm.bench.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = realm.bench.dir.path().join("owner_seen");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let owner_seen = |address: SocketAddr, main: &str, user: Option<User>| {
        let words = ["owner_seen", &address.to_string(), main].map(OsString::from);
        let argv = [program.clone().into()].into_iter().chain(words).collect();
        let spec = LaunchSpec { argv, user, log: LogTarget::Capture, ..realm.bench.shell("") };
        realm.bench.processes.run_command(CommandRunId(1), &spec, PATIENCE);
        match realm.bench.next() {
            Notice::CommandDone { output, .. } => String::from_utf8(output).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert!(owner_seen(realm.address, "self", None).starts_with("Other(PortOwner { pid:"));
    let nobody = User::find("nobody").unwrap();
    let told = owner_seen(realm.address, "self", Some(nobody.clone()));
    assert!(told.starts_with("Unattributable(") && told.contains("must not be read"), "{told}");
    assert_eq!(owner_seen(realm.at("127.0.0.2"), "self", Some(nobody.clone())).trim(), "NotListening");
    // It sees who holds the port, but not whether the realm holds it, too: that is no other owner yet.
    let (main, own) = (realm.main.to_string(), "127.0.0.1:0".parse().unwrap());
    let told = owner_seen(own, &main, Some(nobody));
    assert!(told.starts_with("Unattributable("), "{told}");
    assert!(owner_seen(own, &main, None).starts_with("Other("));
    realm.stop();
}

pub(super) fn one_socket_of_several_is_enough() {
    let first = Listening::start("db", "exec LISTEN 127.0.0.1:0");
    let second = Listening::start("web", &format!("exec LISTEN {}", first.address));
    assert_eq!(first.address, second.address);
    assert_eq!(Listeners::take().unwrap().on(first.address).len(), 2);
    for realm in [&first, &second] {
        assert_eq!(realm.owner(&realm.tree()), Ownership::Ours);
    }
    let third = Listening::start("api", "exec LISTEN 127.0.0.1:0");
    assert!(matches!(first.owner(&third.tree()), Ownership::Other(_)));
    for realm in [first, second, third] {
        realm.stop();
    }
}

pub(super) fn wildcards_and_ipv6_are_understood() {
    let every = Listening::start("db", "exec LISTEN 0.0.0.0:0");
    let tree = every.tree();
    let owner = |address| owner_of(&Listeners::take().unwrap(), address, &tree);
    assert_eq!(owner(every.at("127.0.0.1")), Ownership::Ours);
    assert_eq!(owner(every.at("::ffff:127.0.0.1")), Ownership::Ours);
    assert_eq!(owner(every.at("::1")), Ownership::NotListening);
    every.stop();
    if TcpListener::bind("[::1]:0").is_err() {
        println!("  skipped in part: no IPv6 here");
        return;
    }
    let dual = Listening::start("db", "exec LISTEN [::]:0");
    let tree = dual.tree();
    let owner = |address| owner_of(&Listeners::take().unwrap(), address, &tree);
    for ip in ["127.0.0.1", "::1", "0.0.0.0", "::"] {
        assert_eq!(owner(dual.at(ip)), Ownership::Ours, "{ip}");
    }
    // Another process at the exact address takes the connections.
    if let Ok(exact) = TcpListener::bind(dual.at("127.0.0.1")) {
        assert!(matches!(owner(dual.at("127.0.0.1")), Ownership::Other(_)));
        drop(exact);
    }
    dual.stop();
    let six = Listening::start("db", "exec LISTEN [::1]:0");
    assert_eq!(six.owner(&six.tree()), Ownership::Ours);
    assert_eq!(
        owner_of(&Listeners::take().unwrap(), six.at("127.0.0.1"), &six.tree()),
        Ownership::NotListening
    );
    six.stop();
}
