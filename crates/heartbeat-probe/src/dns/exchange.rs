//! One query and its answer: over UDP, and over TCP where the answer does not fit a datagram.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use heartbeat_http::{SYSTEM, connect_first};
use heartbeat_status::{FailReason, ProbePhase};
use simple_dns::{PacketFlag, header_buffer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::{DNS_PORT, list};
use crate::broken::{Broken, io_broken, seconds};
use crate::target::unconnected;

/// Longest answer that is read, in bytes. It bounds the time to parse it as well, since names in it can be chained.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// The header of a message, in bytes.
const HEADER_BYTES: usize = 12;
/// Most servers of this host that are asked, as in resolv.conf(5).
const MAX_SERVERS: usize = 3;
/// Queries that each server gets, in equal parts of its time: a datagram may be lost.
const TRIES: u32 = 2;
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The DNS servers of this host.
pub(super) fn system_servers() -> Vec<SocketAddr> {
    servers_in(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default())
}

fn servers_in(text: &str) -> Vec<SocketAddr> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let server = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        Some(SocketAddr::new(server.parse::<IpAddr>().ok()?, DNS_PORT))
    });
    let named: Vec<_> = named.take(MAX_SERVERS).collect();
    if named.is_empty() { vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DNS_PORT)] } else { named }
}

/// Asks `servers` in turn, each for an equal part of `time`, and returns the first answer.
pub(super) async fn ask(servers: &[SocketAddr], query: &[u8], time: Duration) -> Result<Vec<u8>, Broken> {
    let share = time / u32::try_from(servers.len()).unwrap_or(1).max(1);
    let mut worst = None;
    for server in servers {
        match timeout(share, ask_one(*server, query, share)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(broken)) => worst = Some(broken),
            Err(_) => {}
        }
    }
    Err(worst.unwrap_or_else(|| {
        let detail = format!("{} does not answer within {}", list(servers), seconds(time));
        Broken::fail(FailReason::HeadersTimeout, ProbePhase::FirstByte, detail)
    }))
}

async fn ask_one(server: SocketAddr, query: &[u8], share: Duration) -> Result<Vec<u8>, Broken> {
    let broken = |error: io::Error| io_broken(&error, ProbePhase::FirstByte);
    let own: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((own, 0)).await.map_err(broken)?;
    // The kernel drops what comes from another address, and reports that nothing listens at this one.
    socket.connect(server).await.map_err(broken)?;
    let mut answer = vec![0; MAX_ANSWER_BYTES];
    loop {
        socket.send(query).await.map_err(broken)?;
        let Ok(received) = timeout(share / TRIES, receive(&socket, query, &mut answer)).await else {
            continue;
        };
        answer.truncate(received.map_err(broken)?);
        let is_cut = header_buffer::has_flags(&answer, PacketFlag::TRUNCATION).unwrap_or_default();
        return if is_cut { over_tcp(server, query).await } else { Ok(answer) };
    }
}

/// Waits for the answer to `query`. What has another number or asks another question is from someone else.
async fn receive(socket: &UdpSocket, query: &[u8], answer: &mut [u8]) -> io::Result<usize> {
    loop {
        let length = socket.recv(answer).await?;
        if answers(&answer[..length], query) {
            return Ok(length);
        }
    }
}

/// `message` is the answer to `query`: the same number, and the same question where it repeats one.
fn answers(message: &[u8], query: &[u8]) -> bool {
    let is_answer = header_buffer::has_flags(message, PacketFlag::RESPONSE).unwrap_or_default();
    let question = &query[HEADER_BYTES..];
    let repeated = message.get(HEADER_BYTES..HEADER_BYTES + question.len());
    is_answer
        && message[..2] == query[..2]
        && (header_buffer::questions(message).unwrap_or_default() == 0
            || repeated.is_some_and(|own| own.eq_ignore_ascii_case(question)))
}

async fn over_tcp(server: SocketAddr, query: &[u8]) -> Result<Vec<u8>, Broken> {
    let broken = |error: io::Error| io_broken(&error, ProbePhase::FirstByte);
    let mut stream = connect_first(&SYSTEM, &[server]).await.map_err(unconnected)?;
    let length = u16::try_from(query.len()).unwrap_or(u16::MAX);
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await.map_err(broken)?;
    let length = usize::from(stream.read_u16().await.map_err(broken)?);
    if length > MAX_ANSWER_BYTES {
        let detail = format!("the answer has {length} bytes, more than {} KiB", MAX_ANSWER_BYTES / 1024);
        return Err(Broken::fail(FailReason::Protocol, ProbePhase::FirstByte, detail));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await.map_err(broken)?;
    if answers(&answer, query) {
        return Ok(answer);
    }
    let detail = "what came over TCP is not the answer to the query";
    Err(Broken::fail(FailReason::Protocol, ProbePhase::FirstByte, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_of_a_host_are_those_of_its_file() {
        let text = "# a comment\nsearch example.org\nnameserver 192.0.2.1\n nameserver ::1 \nnameserver ns.example.org\n";
        let found: Vec<String> = servers_in(text).iter().map(SocketAddr::to_string).collect();
        assert_eq!(found, ["192.0.2.1:53", "[::1]:53"]);
        assert_eq!(servers_in("").len(), 1, "this host itself");
        assert_eq!(servers_in(&"nameserver ::1\n".repeat(9)).len(), MAX_SERVERS);
    }
}
