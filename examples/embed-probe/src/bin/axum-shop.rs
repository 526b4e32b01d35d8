//! A service on axum that serves its own health, registers with the heartbeatd of its host, and sends heartbeats: the
//! front page of `heartbeat-probe`.
//!
//! ```text
//! cargo run -p embed-probe --bin axum-shop
//! ```

use axum::{Router, routing::get};
use heartbeat_probe::{Check, Checks, Registration, TcpProbe, Verdict};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Evaluated in the background: a request for the health starts no query.
    let checks = Checks::start([
        Check::probe("database", TcpProbe::new("127.0.0.1:5432")?),
        Check::new("disk", async || Verdict::Warn("91 % full".to_owned())).not_critical(),
    ]);
    let port: u16 = std::env::var("PORT").unwrap_or_else(|_| "8001".to_owned()).parse()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;

    // heartbeatd asks for the health, and expects heartbeats. Without heartbeatd the service runs as well.
    let health = format!("http://{}/api/health/", listener.local_addr()?);
    let _registered = Registration::new("shop", health).start(checks.clone());

    let app = Router::new().route("/", get(async || "the shop")).route_service("/api/health/", checks);
    axum::serve(listener, app).await?;
    Ok(())
}
