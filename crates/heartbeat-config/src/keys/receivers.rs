//! `[notify.NAME]`.

use super::Table::Notify;
use super::{Key, Takes};

/// Steps of an incident that a receiver may be sent.
pub(crate) const STEPS: &[&str] = &["opened", "updated", "failed", "resolved"];
/// What keeps an incident from a receiver with a delay.
pub(crate) const UNLESS: &[&str] = &["ack"];

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
        "alertmanager",
        Takes::Text("http:// or https:// URL"),
        "Base URL of an Alertmanager: heartbeatd posts every open incident to it as an alert every 60 s, and its end at once.",
        "\"http://127.0.0.1:9093\"",
    )
    .also(&["prometheus"]),
    Key::new(
        Notify,
        "ntfy",
        Takes::Text("http:// or https:// URL"),
        "URL of a topic of an ntfy server, which gets a message for each step of an incident.",
        "\"https://ntfy.example.org/alerts\"",
    ),
    Key::new(
        Notify,
        "slack",
        Takes::Text("http:// or https:// URL"),
        "URL of an incoming webhook of Slack, or of a server that takes the same, such as Mattermost; with `channel`, the base of Slack's Web API.",
        "\"https://slack.example.org/services/T/B/x\"",
    )
    .also(&["mattermost", "rocketchat"]),
    Key::new(
        Notify,
        "pagerduty",
        Takes::Text("http:// or https:// URL"),
        "URL of PagerDuty's Events API v2; `token_file` holds the routing key of the integration.",
        "\"https://events.pagerduty.com/v2/enqueue\"",
    ),
    Key::new(
        Notify,
        "exec",
        Takes::Command,
        "Program that heartbeatd runs for each step of an incident: it reads the `heartbeat.incident/1` document from its standard input, and takes it by exit code 0.",
        "[\"/usr/local/bin/page-the-team\", \"--urgent\"]",
    )
    .also(&["command", "cmd", "script", "program", "run"]),
    Key::new(
        Notify,
        "smtp",
        Takes::Text("smtp:// or smtps:// URL"),
        "Mail server: `smtp://` demands STARTTLS (heartbeatd sends to a server on this machine without TLS, unless `ca` is set), `smtps://` begins with TLS. `token_file` holds `USER:PASSWORD`.",
        "\"smtp://mail.example.org:587\"",
    ),
    Key::new(
        Notify,
        "from",
        Takes::Text("mail address"),
        "With `smtp`: the sender of the mails.",
        "\"Shop <heartbeat@example.org>\"",
    ),
    Key::new(
        Notify,
        "to",
        Takes::Texts("mail addresses"),
        "With `smtp`: who gets the mails.",
        "[\"ops@example.org\"]",
    ),
    Key::new(
        Notify,
        "channel",
        Takes::Text("channel"),
        "With `slack` and the `token_file` of a bot: where the bot writes. It edits its message while the incident goes on, and answers it.",
        "\"#ops\"",
    ),
    Key::new(
        Notify,
        "secret_file",
        Takes::Text("path"),
        "File with the secret that signs a webhook: `whsec_BASE64` (HMAC-SHA256) or `whsk_BASE64` (Ed25519).",
        "\"/etc/heartbeat/ops.secret\"",
    )
    .default(|| "no signature".to_owned())
    .also(&["secret", "signingsecret"]),
    Key::new(
        Notify,
        "next_secret_file",
        Takes::Text("path"),
        "File with the next secret: during a rotation, both sign.",
        "\"/etc/heartbeat/ops.secret.next\"",
    ),
    Key::new(
        Notify,
        "token_file",
        Takes::Text("path"),
        "File with the access token of `ntfy`, the routing key of `pagerduty`, the token of a bot of `slack`, or the `USER:PASSWORD` of `smtp`.",
        "\"/etc/heartbeat/ntfy.token\"",
    )
    .also(&["token", "routingkey", "apikey"]),
    Key::new(
        Notify,
        "template",
        Takes::Text("minijinja template"),
        "Words of its messages, from the fields of the incident document, `title` and `text`; for `webhook` the whole body.",
        "\"{{ root }} {{ event }}: {{ message }}\"",
    )
    .default(|| "the words of heartbeatd".to_owned())
    .also(&["message", "body", "format"]),
    Key::new(
        Notify,
        "delay",
        Takes::Duration,
        "The receiver hears only of incidents that have been open for so long.",
        "\"10m\"",
    )
    .default(|| "at once".to_owned())
    .also(&["after", "wait"]),
    Key::new(
        Notify,
        "repeat",
        Takes::Text("duration or \"off\""),
        "The receiver gets `opened` again when it has heard nothing of an open incident for so long, until a person acknowledges the incident.",
        "\"4h\"",
    )
    .default(|| "\"off\"".to_owned())
    .also(&["repeatinterval", "remind", "renotify"]),
    Key::new(
        Notify,
        "unless",
        Takes::Word(UNLESS),
        "With `delay`: the receiver does not hear of an incident that a person has acknowledged by then.",
        "\"ack\"",
    ),
    Key::new(
        Notify,
        "fallback",
        Takes::Text("name of a receiver"),
        "Another receiver, which hears of it when this one has failed for 5 min.",
        "\"chat\"",
    )
    .also(&["backup"]),
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
    Key::new(Notify, "realms", Takes::Texts("selectors"), "Only incidents of these realms: names, patterns (`web*`), `@group`, `label=value`, `+api`, `api+`.", "[\"a\"]")
        .default(|| "all".to_owned())
        .also(&["services", "programs", "only"]),
];
