//! A service on bare hyper that serves its own health.
//!
//! ```text
//! cargo run -p embed-probe --bin hyper-shop
//! ```
#![expect(clippy::print_stdout, reason = "an example: it says where it listens")]

use std::convert::Infallible;
use std::time::Duration;

use heartbeat_probe::{Check, Checks, TcpProbe};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

/// Pause after a connection that could not be accepted: most likely no descriptors are left.
const PAUSE: Duration = Duration::from_millis(100);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let database = Check::probe("database", TcpProbe::new("127.0.0.1:5432")?);
    let checks = Checks::start([database.every(Duration::from_secs(2))]);
    let port: u16 = std::env::var("PORT").unwrap_or_else(|_| "8002".to_owned()).parse()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}/api/health/", listener.local_addr()?);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let checks = checks.clone();
        let service = service_fn(move |request| answer(checks.clone(), request));
        // The timer closes a connection whose request does not arrive.
        let connection =
            http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

async fn answer(checks: Checks, request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    match request.uri().path() {
        // The checks are a service. A program that serves nothing else passes them to `serve_connection`.
        "/api/health/" => checks.call(request).await,
        _ => {
            let mut response = Response::new("ask for /api/health/\n".to_owned());
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok(response)
        }
    }
}
