//! Who holds a port or a socket, as far as /proc tells.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;

use heartbeat_status::sanitise_line;

/// State `LISTEN` in /proc/net/tcp.
const LISTEN: &str = "0A";
/// Processes looked at; more than that and the holder stays unnamed.
const MAX_PROCESSES: usize = 65_536;

/// The process at the other end of a connected Unix socket.
pub(crate) fn peer(stream: &UnixStream) -> Option<String> {
    let credentials =
        nix::sys::socket::getsockopt(stream, nix::sys::socket::sockopt::PeerCredentials).ok()?;
    Some(describe(u32::try_from(credentials.pid()).ok()?))
}

/// The process that listens on `address`, found by the inode of its socket.
pub(crate) fn listener(address: SocketAddr) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, address))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.flatten().take(MAX_PROCESSES);
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| holds(*pid, &inodes))
        .map(describe)
}

/// Inodes of the sockets of a table that listen on `address`, or on its port at every address.
fn listening_inodes(table: &str, address: SocketAddr) -> Vec<String> {
    let port = format!("{:04X}", address.port());
    let ip = kernel_hex(address.ip());
    let lines = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local_ip, local_port) = fields.next()?.split_once(':')?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?;
        // The IPv4 part of a mapped address is its end.
        let here = local_ip.ends_with(&ip) || local_ip.bytes().all(|digit| digit == b'0');
        (here && local_port == port && state == LISTEN).then(|| inode.to_owned())
    });
    lines.collect()
}

/// An address as /proc/net writes it: 32-bit words in the machine's own byte order.
fn kernel_hex(ip: IpAddr) -> String {
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    octets.as_chunks::<4>().0.iter().map(|word| format!("{:08X}", u32::from_ne_bytes(*word))).collect()
}

fn holds(pid: u32, inodes: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|link| link.to_str().is_some_and(|link| inodes.iter().any(|inode| inode == link)))
}

fn describe(pid: u32) -> String {
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("{} (pid {pid})", sanitise_line(&name)),
        Err(_) => format!("pid {pid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listeners_of_the_port_are_picked() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:10E7 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:10E7 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1
   2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0";
        let at = |address: &str| listening_inodes(table, address.parse().unwrap());
        assert_eq!(at("127.0.0.1:4327"), ["4711"]);
        assert_eq!(at("127.0.0.1:8080"), ["4713"], "it listens everywhere");
        assert!(at("127.0.0.2:4327").is_empty());
        assert!(listening_inodes("", "127.0.0.1:1".parse().unwrap()).is_empty());
    }
}
