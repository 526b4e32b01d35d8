//! A service on axum that serves its own health, registers with the heartbeatd of its host, and sends heartbeats.
//!
//! ```text
//! cargo run -p embed-probe --bin axum-shop
//! ```

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use heartbeat_client::{BeatEvent, Client, Host};
use heartbeat_probe::{Check, Checks, TcpProbe, Verdict};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Evaluated in the background: a request for the health costs no query.
    let checks = Checks::start([
        Check::probe("database", TcpProbe::new("127.0.0.1:5432")?).every(Duration::from_secs(2)),
        Check::new("disk", async || Verdict::Warn("91 % full".to_owned())).not_critical(),
    ]);
    // heartbeatd asks for the health, and expects a heartbeat per minute.
    let heartbeatd = Client::new(Host::from_environment());
    let realm = br#"{ "health": ["http://127.0.0.1:8001/api/health/", { "push": "60s" }] }"#;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8001").await?;
    heartbeatd.register("shop", realm.to_vec(), false).await?;
    tokio::spawn(send_heartbeats(heartbeatd, checks.clone()));

    let health = get(async move || checks.response());
    let app = Router::new().route("/", get("the shop")).route("/api/health/", health);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn send_heartbeats(heartbeatd: Client, checks: Checks) {
    let mut slots = tokio::time::interval(Duration::from_secs(20));
    loop {
        slots.tick().await;
        let (event, message) = match checks.verdict() {
            Verdict::Fail(why) => (BeatEvent::Fail, why),
            Verdict::Pass | Verdict::Warn(_) => (BeatEvent::Ok, String::new()),
        };
        // A heartbeatd that does not answer now gets the next one.
        let _ = heartbeatd.beat("shop", event, None, &message).await;
    }
}
