//! The page: a plain table of the status that reloads itself, until there is a dashboard.

use std::fmt::Write;

use heartbeat_status::{NextAction, RealmStatus, Snapshot, Status, sanitise_line};
use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, HeaderValue};

use crate::answers::answer::{self, Answer};
use crate::answers::bodies::{Bodies, Freshness, Source};
use crate::answers::problem::ApiError;
use crate::backend::Backend;

/// Seconds after which the page loads itself again.
const RELOAD_SECONDS: u32 = 5;
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// No script, no frame, nothing from anywhere; the one style is in the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2em;color:#222;background:#fff}\
table{border-collapse:collapse}th,td{text-align:left;padding:.3em .9em;border-bottom:1px solid #ddd;vertical-align:top}\
.up,.done{color:#1b7a2f}.degraded,.starting,.restarting,.unknown{color:#8a6100}.down,.failed,.blocked{color:#b3161b}\
.stopping,.stopped,.paused{color:#666}";

/// `GET /`. Never 304: what a person looks at says when it was so.
pub(crate) async fn page(ecosystem: &dyn Backend, bodies: &Bodies) -> Result<Answer, ApiError> {
    let build = |source: &Source<'_>| Ok(html(source).into_bytes());
    let body = bodies.get(&bodies.page, ecosystem, Freshness::Recent, build).await?;
    let mut answer = answer::fresh(StatusCode::OK, HTML, body.bytes());
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    Ok(answer)
}

fn html(source: &Source<'_>) -> String {
    let (snapshot, about) = (source.snapshot, source.about);
    let name = escaped(&about.name);
    let worst = snapshot.worst();
    let realms = match worst {
        _ if snapshot.is_ok() && about.notes.is_empty() => "everything is as it should be",
        _ if snapshot.is_ok() => "every realm is as it should be",
        Status::Starting => "realms are on their way up",
        Status::Restarting if !faults(snapshot) => "realms are being restarted, as was asked for",
        _ => "something is wrong",
    };
    let verdict = match about.notes.as_slice() {
        [] => realms.to_owned(),
        notes => {
            let notes = escaped(&sanitise_line(&notes.join("; ")));
            format!("{realms}; heartbeatd itself is unhealthy: {notes}")
        }
    };
    let mut rows: Vec<&RealmStatus> = snapshot.in_start_order().map(|realm| &**realm).collect();
    rows.sort_by_key(|realm| std::cmp::Reverse(realm.status.severity())); // stable: start order within
    let mut page = String::with_capacity(1024 + rows.len() * 256);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"refresh\" content=\"{RELOAD_SECONDS}\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{name}: {worst}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{name}: <span class=\"{worst}\">{worst}</span></h1>\n\
         <p>{verdict}; {} realms, as of {}. The same as JSON: <a href=\"/api/status/\">/api/status/</a></p>\n\
         <table>\n<thead><tr><th>realm</th><th>status</th><th>why</th><th>since</th><th>next</th></tr></thead>\n<tbody>\n",
        rows.len(),
        about.anchor.wall(source.now),
    );
    for realm in rows {
        row(&mut page, realm, source);
    }
    page.push_str("</tbody>\n</table>\n</body>\n</html>\n");
    page
}

fn row(page: &mut String, realm: &RealmStatus, source: &Source<'_>) {
    let anchor = &source.about.anchor;
    let next = &realm.why.next;
    let mut then = if next.action == NextAction::None { String::new() } else { next.action.to_string() };
    if let Some(at) = next.at {
        let _ = write!(then, " at {}", anchor.wall(at));
    }
    if let Some(when) = &next.when {
        let _ = write!(then, " when {}", escaped(when));
    }
    let (name, status) = (&realm.info.name, realm.status);
    let title = realm.info.title.as_deref().map_or_else(|| name.to_string(), escaped);
    let _ = writeln!(
        page,
        "<tr><td><a href=\"/api/status/{name}/\">{title}</a></td><td class=\"{status}\">{status}</td>\
         <td>{}: {}</td><td>{}</td><td>{}</td></tr>",
        realm.why.reason,
        escaped(&realm.why.message),
        anchor.wall(realm.why.since),
        then.trim_start(),
    );
}

/// Something has gone wrong with a realm that is restarting or on its way up.
fn faults(snapshot: &Snapshot) -> bool {
    let open = |realm: &RealmStatus| {
        realm.restart.as_ref().is_some_and(|record| record.result.is_none() && record.cause.is_debited())
    };
    snapshot.in_start_order().any(|realm| realm.info.critical && open(realm))
}

/// One line of text that means nothing to HTML.
fn escaped(text: &str) -> String {
    let line = sanitise_line(text);
    let mut safe = String::with_capacity(line.len());
    for c in line.chars() {
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
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(escaped("<b a='1' c=\"2\">&\u{1b}"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;?");
    }
}
