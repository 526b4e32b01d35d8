//! The page: the status as a table for a browser, until there is a dashboard.
//!
//! It is one document that contains its style and its script. The script updates the page in place; without scripts the
//! page reloads itself.

mod graph;

use std::cmp::Reverse;
use std::fmt::Write;

use heartbeat_status::{
    Health, Status, WallTime, age, ahead, human_seconds, printed, sanitise, shortened, without_markup,
};
use heartbeat_wire::{RealmEntry, StatusDocument};
use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, HeaderValue};

use crate::answers::answer::{self, Answer};
use crate::answers::bodies::{Bodies, Freshness, Source};
use crate::answers::problem::ApiError;
use crate::backend::Backend;
use crate::requests::access::Caller;

/// Seconds after which the page loads itself again where scripts are off.
const RELOAD_SECONDS: u32 = 10;
/// Longest message of a realm, in characters.
const MAX_MESSAGE_CHARS: usize = 280;
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
/// Allows this style, this script, and requests to heartbeatd itself: nothing else runs, loads or is sent. A test
/// computes the digests.
const POLICY: &str = "default-src 'none'; \
    style-src 'sha256-NGR9W79d7TKqvpWHUSi1QznFDagMJa6WDKPob17gzX0='; \
    script-src 'sha256-KLgBHYNvve9LCXZMsJq11GAwX+s5+AC+akGQwv66hzI='; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Answers `GET /`. Never 304: the page shows the time of its data.
pub(crate) async fn page(
    ecosystem: &dyn Backend,
    bodies: &Bodies,
    caller: Caller,
) -> Result<Answer, ApiError> {
    let build = |source: &Source<'_>| {
        let document = StatusDocument::render(source.snapshot, source.about, source.now);
        Ok(html(&document).into_bytes())
    };
    let body = bodies.get(bodies.page(caller.is_public()), ecosystem, Freshness::Recent, build).await?;
    let mut answer = answer::fresh(StatusCode::OK, HTML, body.bytes());
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    Ok(answer)
}

fn html(document: &StatusDocument) -> String {
    let mut realms: Vec<&RealmEntry> = document.realms.iter().collect();
    realms.sort_by_key(|realm| Reverse(realm.known_status().severity())); // stable: start order within
    let mut page = String::with_capacity(12 * 1024 + realms.len() * 512);
    head(&mut page, document);
    page.push_str(
        "<table>\n<thead><tr><th scope=\"col\">realm</th><th scope=\"col\">status</th><th scope=\"col\">since</th>\
         <th scope=\"col\">why</th><th scope=\"col\">next</th></tr></thead>\n<tbody>\n",
    );
    for realm in realms {
        row(&mut page, realm, document.generated_at);
    }
    let _ =
        write!(page, "</tbody>\n</table>\n<details><summary>Dependencies</summary>\n<div id=\"picture\">\n");
    graph::draw(&mut page, document);
    let _ = write!(
        page,
        "</div>\n</details>\n<p class=\"note\">A realm leads to its JSON, <a href=\"api/status/\">api/status/</a> has all of it. \
         In a terminal: <code>heartbeat-cli why REALM</code>.</p>\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    );
    page
}

/// Everything before the table: the headline first.
fn head(page: &mut String, document: &StatusDocument) {
    let worst = document.status.known().unwrap_or(Status::Unknown);
    let well = document.ok && document.daemon.health.is(Health::Healthy);
    let (mark, hue) = match worst {
        _ if well => (Status::Up.mark(), "ok"),
        _ if document.ok => (Status::Degraded.mark(), "attention"),
        Status::Starting | Status::Stopping => (worst.mark(), "attention"),
        Status::Restarting if document.roots.is_empty() => (worst.mark(), "attention"),
        _ => (worst.mark(), "bad"),
    };
    let headline = escaped(&document.headline());
    let title = headline.split(" - ").next().unwrap_or_default();
    let (daemon, now) = (&document.daemon, document.generated_at);
    let shown = now.to_string().replace('T', " ");
    let shown = shown.split('.').next().unwrap_or_default();
    let uptime = human_seconds((now.as_millis() - daemon.started_at.as_millis()) / 1_000);
    let problem = daemon.config_problem.as_ref().map_or_else(String::new, |problem| {
        let problem = escaped(problem);
        format!("The configuration on disk cannot be loaded, so the one before stays in force: {problem}")
    });
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <noscript><meta http-equiv=\"refresh\" content=\"{RELOAD_SECONDS}\"></noscript>\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{mark} {title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <p id=\"silence\" role=\"status\" hidden></p>\n<main data-tag=\"{}-{}\" data-now=\"{now}\">\n\
         <h1 id=\"headline\" class=\"{hue}\"><span aria-hidden=\"true\">{mark}</span> {headline}</h1>\n\
         <p id=\"about\" class=\"note\">{} realms as of <time datetime=\"{now}\">{shown} UTC</time>, \
         heartbeatd {} for {uptime}</p>\n<p id=\"problem\" class=\"attention\">{problem}</p>\n",
        escaped(&document.instance),
        document.revision,
        document.summary.total,
        escaped(&daemon.version),
    );
}

fn row(page: &mut String, realm: &RealmEntry, now: WallTime) {
    let (name, status) = (escaped(&realm.name), realm.known_status());
    let title = realm.title.as_deref().map_or_else(|| name.clone(), escaped);
    let why = match realm.message.as_str() {
        "" => escaped(&realm.reason.to_string()),
        message => escaped(&shortened(&without_markup(message), MAX_MESSAGE_CHARS)),
    };
    let mut next = realm.next.sentence(now).map_or_else(String::new, |sentence| escaped(&sentence));
    if let Some(at) = realm.next.at {
        // The script counts it down.
        let word = escaped(&ahead(at, now));
        next = next.replacen(&word, &format!("<time data-at datetime=\"{at}\">{word}</time>"), 1);
    } else if next.is_empty() && !status.is_ok() {
        next.push_str("<span class=\"bad\">needs you</span>");
    }
    let since = realm.since;
    let _ = writeln!(
        page,
        "<tr id=\"realm-{name}\"><th scope=\"row\"><a href=\"api/status/{name}/\">{title}</a></th>\
         <td class=\"status {}\"><span aria-hidden=\"true\">{}</span> {}</td>\
         <td class=\"since\"><time data-since datetime=\"{since}\" title=\"{since}\">{}</time></td>\
         <td class=\"why\">{why}</td><td class=\"next\">{next}</td></tr>",
        hue(status),
        status.mark(),
        escaped(&realm.status.to_string()),
        age(since, now),
    );
}

/// The colour of a status; the mark and the word always say it too.
const fn hue(status: Status) -> &'static str {
    match status {
        Status::Up | Status::Done => "ok",
        Status::Degraded | Status::Starting | Status::Restarting | Status::Unknown => "attention",
        Status::Down | Status::Failed => "bad",
        Status::Blocked | Status::Stopping | Status::Stopped | Status::Paused => "neutral",
    }
}

/// One line of text, escaped for HTML. A browser gets no output of commands.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in sanitise(&printed::withheld(text)).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use ring::digest::{SHA256, digest};

    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(escaped("<b a='1' c=\"2\">&\u{1b}"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;?");
    }

    #[test]
    fn the_policy_admits_the_style_and_the_script_of_the_page_and_no_other() {
        for text in [STYLE, SCRIPT] {
            let digest = format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, text.as_bytes())));
            assert_eq!(POLICY.matches(&digest).count(), 1, "write {digest} into POLICY");
            assert!(!text.contains("</") && text.is_ascii(), "it stands inside of an element");
        }
        assert_eq!(POLICY.matches("sha256-").count(), 2, "{POLICY}");
        assert!(!POLICY.contains("unsafe"), "{POLICY}");
    }
}
