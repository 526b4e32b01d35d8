//! The dependencies, as a document and in two text forms.

use std::fmt::Write;

use heartbeat_status::{EdgeKind, Gate, RealmStatus, Snapshot, Status};
use heartbeat_wire::{GRAPH_SCHEMA, GraphDocument, GraphEdge, GraphNode};
use http::header::HeaderValue;
use http::{HeaderMap, StatusCode};

use crate::answers::answer::{Answer, JSON, TEXT};
use crate::answers::bodies::{Bodies, Freshness, Source};
use crate::answers::problem::ApiError;
use crate::backend::Backend;
use crate::requests::access::Caller;
use crate::requests::query::Query;

/// Answers `GET /api/graph/`.
pub(crate) async fn graph(
    ecosystem: &dyn Backend,
    bodies: &Bodies,
    query: &Query<'_>,
    headers: &HeaderMap,
    caller: Caller,
) -> Result<Answer, ApiError> {
    type Build = fn(&Source<'_>) -> Result<Vec<u8>, serde_json::Error>;
    let (slot, media_type, build): (_, _, Build) = match query.get("format") {
        None | Some("json") => {
            (bodies.graph(caller.is_public()), JSON, |source| serde_json::to_vec(&document(source)))
        }
        Some("dot") => {
            let media_type = HeaderValue::from_static("text/vnd.graphviz; charset=utf-8");
            (&bodies.dot, media_type, |source| Ok(dot(source.snapshot).into_bytes()))
        }
        Some("mermaid") => (&bodies.mermaid, TEXT, |source| Ok(mermaid(source.snapshot).into_bytes())),
        Some(_) => return Err(ApiError::bad("`format` is json, dot or mermaid")),
    };
    let body = bodies.get(slot, ecosystem, Freshness::Recent, build).await?;
    Ok(body.answer(StatusCode::OK, media_type, headers))
}

fn document(source: &Source<'_>) -> GraphDocument {
    let snapshot = source.snapshot;
    let node = |realm: &RealmStatus| GraphNode {
        name: realm.info.name.to_string(),
        tier: realm.info.tier,
        order: realm.info.order,
        status: realm.status.into(),
        message: realm.why.message.clone(),
    };
    let edges = snapshot.in_start_order().flat_map(|realm| {
        realm.info.needs.iter().map(|need| GraphEdge {
            from: realm.info.name.to_string(),
            to: need.name.to_string(),
            kind: need.kind.into(),
            until: need.until.into(),
            while_down: (need.kind == EdgeKind::Needs).then(|| need.while_down.into()),
        })
    });
    GraphDocument {
        schema: GRAPH_SCHEMA.to_owned(),
        revision: snapshot.revision,
        generated_at: source.about.anchor.wall(source.now),
        nodes: snapshot.in_start_order().map(|realm| node(realm)).collect(),
        edges: edges.collect(),
        start_order: snapshot.in_start_order().map(|realm| realm.info.name.to_string()).collect(),
    }
}

/// Fill colour of a status in both text forms.
fn colour(status: Status) -> &'static str {
    match status {
        Status::Up | Status::Done => "#c8e6c9",
        Status::Degraded | Status::Starting | Status::Restarting | Status::Unknown => "#fff3c4",
        Status::Down | Status::Failed => "#ffcdd2",
        Status::Blocked => "#ffe0cc",
        Status::Stopping | Status::Stopped | Status::Paused => "#e0e0e0",
    }
}

/// The label of an edge; none for the plain `needs` until `up`.
fn label(kind: EdgeKind, until: Gate) -> Option<&'static str> {
    match (kind, until) {
        (EdgeKind::Needs, Gate::Up) => None,
        (EdgeKind::Needs, until) => Some(until.as_str()),
        (kind, _) => Some(kind.as_str()),
    }
}

// Names match [a-z0-9_-] and every other word comes from a closed list, so nothing needs to be quoted further.

/// Graphviz: an arrow points from a dependent to what it depends on.
fn dot(snapshot: &Snapshot) -> String {
    let mut text =
        String::from("digraph heartbeat {\n  rankdir=LR;\n  node [shape=box, style=\"rounded,filled\"];\n");
    for realm in snapshot.in_start_order() {
        let (name, status) = (&realm.info.name, realm.status);
        // Writing to a String cannot fail, here and below.
        let _ =
            writeln!(text, "  \"{name}\" [label=\"{name}\\n{status}\", fillcolor=\"{}\"];", colour(status));
    }
    for realm in snapshot.in_start_order() {
        for need in &realm.info.needs {
            let _ = write!(text, "  \"{}\" -> \"{}\"", realm.info.name, need.name);
            let style = if need.kind == EdgeKind::Needs { "solid" } else { "dashed" };
            let _ = match label(need.kind, need.until) {
                Some(label) => writeln!(text, " [style={style}, label=\"{label}\"];"),
                None => writeln!(text, ";"),
            };
        }
    }
    text.push_str("}\n");
    text
}

/// Mermaid: ids are numbers, because a realm may be called `end`.
fn mermaid(snapshot: &Snapshot) -> String {
    let mut text = String::from("flowchart LR\n");
    for realm in snapshot.in_start_order() {
        let (id, name, status) = (realm.info.ix.0, &realm.info.name, realm.status);
        let _ = writeln!(text, "  r{id}[\"{name}<br/>{status}\"]:::{status}");
    }
    for realm in snapshot.in_start_order() {
        for need in &realm.info.needs {
            let arrow = if need.kind == EdgeKind::Needs { "-->" } else { "-.->" };
            let label = label(need.kind, need.until).map(|label| format!("|{label}|")).unwrap_or_default();
            let _ = writeln!(text, "  r{} {arrow}{label} r{}", realm.info.ix.0, need.realm.0);
        }
    }
    for status in Status::ALL {
        let _ = writeln!(text, "  classDef {status} fill:{}", colour(*status));
    }
    text
}
