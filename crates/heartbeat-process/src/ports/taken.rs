//! Checks before a start whether the program can have its port.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, setsockopt, socket, sockopt,
};

use super::port_owner::port_owner;
use crate::LaunchError;

/// The error of a start whose port another process listens on. Binds the port and releases it, so it never waits.
#[must_use]
pub fn port_taken(address: SocketAddr) -> Option<LaunchError> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    // The program itself reports any other problem.
    let probe = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).ok()?;
    // As servers do: connections in TIME_WAIT must not make this fail.
    setsockopt(&probe, sockopt::ReuseAddr, &true).ok()?;
    let result = match address {
        SocketAddr::V4(address) => bind(probe.as_raw_fd(), &SockaddrIn::from(address)),
        SocketAddr::V6(address) => bind(probe.as_raw_fd(), &SockaddrIn6::from(address)),
    };
    if result != Err(Errno::EADDRINUSE) {
        return None;
    }
    let port = address.port();
    let unknown = || format!("port {port} is held by a process that cannot be named from here");
    let message = port_owner(address).map_or_else(unknown, |port_owner| port_owner.has_port(port));
    Some(LaunchError::port_taken(message))
}

#[cfg(test)]
mod tests {
    use heartbeat_status::StartFailure;

    use super::*;

    #[test]
    fn a_port_that_a_process_listens_on_is_taken_and_its_holder_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let error = port_taken(address).unwrap();
        assert!(error.message.contains(&format!("pid {}", std::process::id())), "{}", error.message);
        assert_eq!(error.failure, StartFailure::PortTaken);
        drop(listener);
        // A child that another test forks at this moment has a copy of the listener until its exec.
        while port_taken(address).is_some() {
            std::thread::yield_now();
        }
    }
}
