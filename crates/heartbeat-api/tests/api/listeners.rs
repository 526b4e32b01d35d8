//! Opening the listeners: stale and live sockets, modes, and ports that another process holds.

use std::os::unix::fs::PermissionsExt;

use heartbeat_api::{BindError, bind_tcp, bind_unix};

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hb.sock");
    let first = bind_unix(&path, 0o640, None).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    let held = bind_unix(&path, 0o640, None).unwrap_err();
    assert!(matches!(&held, BindError::SocketHeld { .. }), "{held}");
    assert!(held.to_string().contains(&format!("(pid {})", std::process::id())), "{held}");
    drop(first); // as a daemon that died: the file stays
    assert!(path.exists());
    let _second = bind_unix(&path, 0o600, None).unwrap();
    std::os::unix::net::UnixStream::connect(&path).unwrap();
}

#[test]
fn the_socket_belongs_to_its_group_before_a_client_can_connect() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hb.sock");
    // A group of this process, so that root is not needed.
    let own = std::fs::metadata(dir.path()).unwrap().gid();
    let _socket = bind_unix(&path, 0o660, Some(own)).unwrap();
    let found = std::fs::metadata(&path).unwrap();
    assert_eq!((found.gid(), found.permissions().mode() & 0o777), (own, 0o660));
    if found.uid() == 0 {
        heartbeat_api::permit_unix(&path, 0o640, Some(4_242)).unwrap();
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!((found.gid(), found.permissions().mode() & 0o777), (4_242, 0o640));
    }
}

#[test]
fn what_is_not_a_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("precious");
    std::fs::write(&path, "data").unwrap();
    assert!(matches!(bind_unix(&path, 0o600, None), Err(BindError::NotASocket { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "data");
    assert!(matches!(
        bind_unix(&dir.path().join("no/dir"), 0o600, None),
        Err(BindError::Socket { step: "bind", .. })
    ));
    let long = dir.path().join("x".repeat(120));
    assert!(matches!(bind_unix(&long, 0o600, None), Err(BindError::Socket { .. })));
}

#[test]
fn a_held_port_names_its_holder() {
    let first = bind_tcp("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let held = bind_tcp(first.local_addr().unwrap(), false).unwrap_err();
    assert!(matches!(&held, BindError::AddressHeld { .. }), "{held}");
    assert!(held.to_string().contains(&format!("(pid {})", std::process::id())), "{held}");
    assert!(held.to_string().contains("`listen`"), "{held}");
    let anywhere = "0.0.0.0:0".parse().unwrap();
    assert!(matches!(bind_tcp(anywhere, false), Err(BindError::NotLoopback { .. })));
    assert!(bind_tcp(anywhere, true).is_ok(), "TLS and a token protect it");
}
