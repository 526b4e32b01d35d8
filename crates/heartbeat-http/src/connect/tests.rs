use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{Instant, sleep};

use super::*;
use crate::Resolving;

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug)]
enum Attempt {
    Errno(i32),
    Hangs,
    Connects,
    ReachesItself,
}

const REFUSED: Attempt = Attempt::Errno(111);
const NO_ROUTE: Attempt = Attempt::Errno(101);
const NO_SUCH_FAMILY: Attempt = Attempt::Errno(99);
const NO_DESCRIPTORS: Attempt = Attempt::Errno(24);

/// A network with these addresses, and a log of who was tried when.
#[derive(Debug, Default)]
struct Played {
    attempts: BTreeMap<SocketAddr, Attempt>,
    tried: Mutex<Vec<(SocketAddr, Instant)>>,
}

fn now() -> Instant {
    sleep(Duration::ZERO).deadline()
}

impl Sockets for Played {
    fn resolve(&self, _: &str, _: u16) -> Resolving {
        Box::pin(std::future::ready(Ok(self.attempts.keys().copied().collect())))
    }

    fn connect(&self, address: SocketAddr) -> Connecting {
        self.tried.lock().unwrap().push((address, now()));
        match self.attempts[&address] {
            Attempt::Errno(code) => Box::pin(async move { Err(io::Error::from_raw_os_error(code)) }),
            Attempt::Hangs => Box::pin(std::future::pending()),
            Attempt::Connects => Box::pin(async {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                TcpStream::connect(listener.local_addr()?).await
            }),
            Attempt::ReachesItself => Box::pin(async {
                let socket = TcpSocket::new_v4()?;
                socket.bind("127.0.0.1:0".parse().unwrap())?;
                let own = socket.local_addr()?;
                socket.connect(own).await
            }),
        }
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What connecting to these comes to, and the waits before each of the attempts that were made.
async fn played(attempts: &[(&str, Attempt)]) -> (Result<TcpStream, ConnectError>, Vec<(String, u128)>) {
    let addresses: Vec<SocketAddr> = attempts.iter().map(|(text, _)| address(text)).collect();
    let network = Played {
        attempts: addresses.iter().copied().zip(attempts.iter().map(|(_, attempt)| *attempt)).collect(),
        ..Played::default()
    };
    let began = now();
    let ended = connect_first(&network, &addresses).await;
    let tried = network.tried.into_inner().unwrap();
    let waits = tried.iter().map(|(address, at)| (address.ip().to_string(), (*at - began).as_millis()));
    (ended, waits.collect())
}

fn waits(expected: &[(&str, u128)]) -> Vec<(String, u128)> {
    expected.iter().map(|(address, after)| ((*address).to_owned(), *after)).collect()
}

#[tokio::test(start_paused = true)]
async fn an_address_that_does_not_answer_holds_up_the_next_for_a_quarter_of_a_second() {
    let (ended, tried) = played(&[
        ("[::1]:80", Attempt::Hangs),
        ("10.0.0.1:80", Attempt::Hangs),
        ("10.0.0.2:80", Attempt::Hangs),
        ("10.0.0.3:80", Attempt::Hangs),
        ("10.0.0.4:80", Attempt::Connects),
        ("10.0.0.5:80", Attempt::Hangs),
    ])
    .await;
    ended.unwrap();
    let expected = [("::1", 0), ("10.0.0.1", 250), ("10.0.0.2", 500), ("10.0.0.3", 750), ("10.0.0.4", 1000)];
    // The clock of this test may run on while the last one connects.
    assert_eq!(tried[..5], waits(&expected));
}

#[tokio::test(start_paused = true)]
async fn a_family_that_does_not_answer_holds_up_the_other_once() {
    let attempts =
        [("[::1]:80", Attempt::Hangs), ("[::2]:80", Attempt::Hangs), ("10.0.0.1:80", Attempt::Connects)];
    let (ended, tried) = played(&attempts).await;
    ended.unwrap();
    assert_eq!(tried[..2], waits(&[("::1", 0), ("10.0.0.1", 250)]));
}

#[tokio::test(start_paused = true)]
async fn an_address_that_refuses_holds_up_nothing() {
    let (ended, tried) =
        played(&[("[::1]:80", REFUSED), ("10.0.0.1:80", NO_ROUTE), ("10.0.0.2:80", REFUSED)]).await;
    assert!(matches!(ended, Err(ConnectError::Io { .. })), "{ended:?}");
    assert_eq!(tried, waits(&[("::1", 0), ("10.0.0.1", 0), ("10.0.0.2", 0)]));
}

#[tokio::test(start_paused = true)]
async fn all_addresses_that_hang_hang() {
    let attempts = [("[::1]:80", Attempt::Hangs), ("10.0.0.1:80", Attempt::Hangs)];
    let deadline = Duration::from_secs(60);
    assert!(timeout(deadline, played(&attempts)).await.is_err(), "its caller has the deadline");
}

#[tokio::test(start_paused = true)]
async fn the_error_that_says_most_is_the_one_that_is_reported() {
    let reported = async |attempts: &[Attempt]| {
        let texts: Vec<String> = (1..=attempts.len()).map(|at| format!("10.0.0.{at}:80")).collect();
        let attempts: Vec<(&str, Attempt)> =
            texts.iter().map(String::as_str).zip(attempts.iter().copied()).collect();
        match played(&attempts).await.0 {
            Err(ConnectError::Io { source }) => source.raw_os_error(),
            Err(ConnectError::SelfConnected) => Some(0),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reported(&[NO_ROUTE, REFUSED]).await, Some(111), "one has answered");
    assert_eq!(reported(&[REFUSED, NO_ROUTE]).await, Some(111));
    assert_eq!(reported(&[REFUSED, NO_SUCH_FAMILY]).await, Some(111), "a host without IPv6");
    assert_eq!(reported(&[NO_SUCH_FAMILY, NO_SUCH_FAMILY]).await, Some(99), "no port is left");
    assert_eq!(reported(&[REFUSED, NO_DESCRIPTORS]).await, Some(24), "one was not tried at all");
    assert_eq!(reported(&[Attempt::ReachesItself, NO_ROUTE]).await, Some(0));
}

#[tokio::test]
async fn a_connection_to_itself_is_none() {
    let (ended, _) = played(&[("10.0.0.1:80", Attempt::ReachesItself)]).await;
    assert!(matches!(ended, Err(ConnectError::SelfConnected)), "{ended:?}");
    let (ended, _) =
        played(&[("10.0.0.1:80", Attempt::ReachesItself), ("10.0.0.2:80", Attempt::Connects)]).await;
    ended.unwrap();
}

#[tokio::test]
async fn a_name_without_an_address_is_not_found() {
    let nowhere = Address::parse("db:80", None).unwrap();
    let error = connect(&Played::default(), &nowhere).await.unwrap_err();
    assert!(matches!(error, ConnectError::Resolve(ResolveError::NotFound { .. })), "{error}");
}

#[test]
fn families_take_turns() {
    let all = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "[::1]:1", "[::2]:1"].map(address);
    let ordered = families_in_turn(&all);
    let expected = ["10.0.0.1:1", "[::1]:1", "10.0.0.2:1", "[::2]:1", "10.0.0.3:1"].map(address);
    assert_eq!(ordered, expected);
    assert_eq!(families_in_turn(&[]), []);
}
