//! `[notify.NAME]`.

use super::Table::Notify;
use super::{Key, Takes};

/// Steps of an incident that a receiver may be sent.
pub(crate) const STEPS: &[&str] = &["opened", "updated", "failed", "resolved"];

pub(super) const KEYS: &[Key] = &[
    Key::new(
        Notify,
        "webhook",
        Takes::Text("http:// or https:// URL"),
        "URL to which heartbeatd posts a `heartbeat.incident/1` document for each step of an incident.",
        "\"http://127.0.0.1:3000/incidents/\"",
    )
    .also(&["url", "http", "endpoint"]),
    Key::new(
        Notify,
        "on",
        Takes::Words(STEPS),
        "Steps of an incident that the receiver is sent.",
        "[\"opened\", \"resolved\"]",
    )
    .default(|| "[\"opened\", \"failed\", \"resolved\"]".to_owned())
    .also(&["events", "event", "when"]),
    Key::new(
        Notify,
        "ca",
        Takes::Text("path"),
        "PEM file of the only certificates to trust for an https:// webhook.",
        "\"/etc/ssl/internal-ca.pem\"",
    )
    .default(|| "the system's roots".to_owned())
    .also(&["cacert", "cafile"]),
    Key::new(Notify, "realms", Takes::Texts("names"), "Only incidents of these realms.", "[\"a\"]")
        .default(|| "all".to_owned())
        .also(&["services", "programs", "only"]),
];
