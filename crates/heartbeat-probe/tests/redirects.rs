//! Servers that lead elsewhere, on real loopback sockets: what follows, how far, and what is never sent there.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its server has failed")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heartbeat_probe::{Connecting, HttpProbe, Networks, Probe, Resolving, Sockets};
use heartbeat_status::{CheckResult, FailReason, Outcome, ProbePhase};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// No server of these tests takes nearly this long, on however busy a machine.
const LONG: Duration = Duration::from_secs(60);

/// A server and the requests that it has had.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers each path with what `answer` makes of it: a location, or the body of a 200.
    async fn start(answer: impl Fn(&str) -> Result<String, u16> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    let mut piece = [0; 1024];
                    let read = stream.read(&mut piece).await.unwrap();
                    assert!(read > 0, "the request is cut off");
                    request.extend_from_slice(&piece[..read]);
                }
                let request = String::from_utf8(request).unwrap();
                let head = match answer(request.split(' ').nth(1).unwrap()) {
                    Ok(location) => format!("302 Found\r\nlocation: {location}\r\ncontent-length: 0"),
                    Err(status) => format!("{status} Here\r\ncontent-length: 0"),
                };
                heard.lock().unwrap().push(request);
                stream.write_all(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes()).await.unwrap();
            }
        });
        Self { address, requests }
    }

    /// The first lines of the requests.
    fn lines(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests.iter().map(|request| request.lines().next().unwrap().to_owned()).collect()
    }

    fn probe(&self, path: &str) -> HttpProbe {
        HttpProbe::new(&format!("http://{}{path}", self.address)).unwrap()
    }
}

async fn measured(probe: HttpProbe) -> CheckResult {
    Probe::from(probe).measure(LONG).await
}

#[track_caller]
fn refused(result: &CheckResult, why: &str) {
    let outcome = Outcome::Fail { reason: FailReason::Redirected, phase: Some(ProbePhase::FirstByte) };
    assert_eq!(result.outcome, outcome, "{result:?}");
    assert!(result.detail.ends_with(why), "{result:?}");
}

/// `/3` leads to `/2` and so on to `/0`.
fn countdown(path: &str) -> Result<String, u16> {
    match path.trim_start_matches('/').parse::<u32>() {
        Ok(0) => Err(200),
        Ok(left) => Ok((left - 1).to_string()),
        Err(_) => Err(404),
    }
}

#[tokio::test]
async fn so_many_are_followed_and_no_more() {
    let server = Server::start(countdown).await;
    let result = measured(server.probe("/2").with_redirects(2)).await;
    assert_eq!((&result.outcome, result.detail.as_str()), (&Outcome::Pass, "200"));
    assert_eq!(server.lines(), ["GET /2 HTTP/1.1", "GET /1 HTTP/1.1", "GET /0 HTTP/1.1"]);
    let result = measured(server.probe("/3").with_redirects(2)).await;
    refused(&result, "302 to 0, not followed: `redirects` permits 2");
    refused(&measured(server.probe("/1")).await, "302 to 0");
}

#[tokio::test]
async fn a_circle_ends_where_it_closes() {
    let server = Server::start(|path| Ok(if path == "/a" { "/b" } else { "/a" }.to_owned())).await;
    let result = measured(server.probe("/a").with_redirects(10)).await;
    refused(&result, "302 to /a, not followed: that was asked before");
    assert_eq!(server.lines().len(), 2);
}

#[tokio::test]
async fn what_fails_behind_a_redirect_is_named_with_its_url() {
    let server =
        Server::start(|path| if path == "/" { Ok("/login/?next=canary".to_owned()) } else { Err(503) });
    let server = server.await;
    let result = measured(server.probe("/").with_redirects(1)).await;
    let outcome = Outcome::Fail { reason: FailReason::UnexpectedStatus, phase: Some(ProbePhase::FirstByte) };
    assert_eq!(result.outcome, outcome, "{result:?}");
    let expected = format!("at http://{}/login/?(hidden): 503", server.address);
    assert!(result.detail.starts_with(&expected), "{result:?}");
}

#[tokio::test]
async fn a_status_that_passes_is_not_followed() {
    let server = Server::start(countdown).await;
    let probe = server.probe("/1").with_status("302".parse().unwrap()).with_redirects(5);
    assert_eq!(measured(probe).await.outcome, Outcome::Pass);
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn another_host_gets_neither_headers_nor_a_body() {
    let other = Server::start(|_| Err(200)).await;
    let to = format!("http://{}/x", other.address);
    let server =
        Server::start(move |path| if path == "/own" { Ok("/".to_owned()) } else { Ok(to.clone()) }).await;
    let with_secret = |path: &str| {
        server.probe(path).with_header("authorization", "Bearer canary").unwrap().with_redirects(3)
    };
    assert_eq!(measured(with_secret("/own")).await.outcome, Outcome::Pass);
    let own = server.requests.lock().unwrap().clone();
    assert!(own.len() == 2 && own.iter().all(|request| request.contains("canary")), "{own:?}");
    let others = other.requests.lock().unwrap().clone();
    assert!(others.len() == 1 && !others[0].contains("canary"), "{others:?}");
    assert!(others[0].contains(&format!("host: {}", other.address)), "{others:?}");
    // PUT would be sent again with its body.
    let put = with_secret("/").with_method("PUT").unwrap().with_body("canary");
    let result = measured(put).await;
    refused(&result, "it leads elsewhere, and the body stays with its host");
    assert_eq!(other.lines().len(), 1);
}

#[tokio::test]
async fn a_server_leads_to_no_unix_socket_and_to_no_link_local_address() {
    for (location, why) in [
        ("http://unix:/run/docker.sock:/", "it is not the URL of a server"),
        ("http://169.254.169.254/latest/meta-data/", "where clouds serve credentials"),
        ("ftp://127.0.0.1/", "ftp: is not HTTP"),
    ] {
        let server = Server::start(move |_| Ok(location.to_owned())).await;
        refused(&measured(server.probe("/").with_redirects(3)).await, why);
    }
}

#[tokio::test]
async fn a_target_with_networks_leads_to_no_other() {
    let server = Server::start(|_| Ok("http://10.1.2.3/".to_owned())).await;
    let probe = Probe::from(server.probe("/").with_redirects(3));
    let result = probe.within(Arc::new(Networks::loopback())).unwrap().measure(LONG).await;
    refused(&result, "10.1.2.3 is in none of the networks that it may connect to");
}

#[tokio::test]
async fn the_conversation_has_every_request() {
    let server = Server::start(countdown).await;
    let explanation = Probe::from(server.probe("/1").with_redirects(1)).explain(LONG).await;
    let text = explanation.conversation.join("\n");
    let places = ["> GET /1 ", "< location: 0", "> GET /0 ", "< HTTP/1.1 200"].map(|line| text.find(line));
    assert!(places.is_sorted() && places[0].is_some(), "{places:?} {text}");
}

/// Where `elsewhere.test` is.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));

/// A network in which a server of this test is elsewhere, and names that lead back to this host.
#[derive(Debug)]
struct Internet {
    server: SocketAddr,
}

impl Sockets for Internet {
    fn resolve(&self, host: &str, port: u16) -> Resolving {
        let ip = if host == "elsewhere.test" { ELSEWHERE } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
        Box::pin(std::future::ready(Ok(vec![SocketAddr::new(ip, port)])))
    }

    fn connect(&self, address: SocketAddr) -> Connecting {
        let to = if address.ip() == ELSEWHERE { self.server } else { address };
        Box::pin(TcpStream::connect(to))
    }
}

#[tokio::test]
async fn a_server_elsewhere_leads_to_nothing_on_this_host() {
    let inner = Server::start(|_| Err(200)).await;
    let port = inner.address.rsplit_once(':').unwrap().1.to_owned();
    for host in ["127.0.0.1", "127.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "inner.test"] {
        let to = format!("http://{host}:{port}/admin");
        let server = Server::start(move |_| Ok(to.clone())).await;
        let sockets = Arc::new(Internet { server: server.address.parse().unwrap() });
        let probe = HttpProbe::new("http://elsewhere.test/").unwrap().with_redirects(3);
        let result = Probe::from(probe).through(sockets).measure(LONG).await;
        let why = "is this host, and the redirect comes from elsewhere";
        assert!(result.detail.contains(why), "{host}: {result:?}");
        assert_eq!(result.outcome.passed(), Some(false), "{host}: {result:?}");
        assert_eq!(server.lines().len(), 1, "{host}");
    }
    assert_eq!(inner.lines(), [""; 0], "nothing on this host was asked");
}
