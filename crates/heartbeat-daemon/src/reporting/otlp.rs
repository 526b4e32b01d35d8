//! Traces in the JSON encoding of OTLP: identifiers in hexadecimal digits, times in nanoseconds as texts.

use serde_json::{Value, json};

use crate::reporting::trace::{Span, Trace};

/// A span of heartbeatd itself.
const INTERNAL: u8 = 1;
const OK: u8 = 1;
const ERROR: u8 = 2;

/// Who sends the traces.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) ecosystem: String,
    pub(crate) instance: String,
}

/// The body of one `POST /v1/traces`. `random` gives the identifiers.
pub(crate) fn request(sender: &Sender, traces: &[Trace], mut random: impl FnMut() -> u64) -> Value {
    let spans: Vec<Value> = traces.iter().flat_map(|trace| spans(trace, &mut random)).collect();
    let version = env!("CARGO_PKG_VERSION");
    json!({ "resourceSpans": [ {
        "resource": { "attributes": [
            attribute("service.name", "heartbeatd"),
            attribute("service.namespace", &sender.ecosystem),
            attribute("service.instance.id", &sender.instance),
            attribute("service.version", version),
        ] },
        "scopeSpans": [ { "scope": { "name": "heartbeatd", "version": version }, "spans": spans } ],
    } ] })
}

fn spans(trace: &Trace, random: &mut impl FnMut() -> u64) -> Vec<Value> {
    let trace_id = format!("{:016x}{:016x}", word(random), word(random));
    let ids: Vec<String> = trace.spans.iter().map(|_| format!("{:016x}", word(random))).collect();
    let of = |(span, id): (&Span, &String)| {
        let nanos = |ms: i64| (i128::from(ms) * 1_000_000).to_string();
        let attributes: Vec<Value> =
            span.attributes.iter().map(|(key, value)| attribute(key, value)).collect();
        let mut rendered = json!({
            "traceId": trace_id,
            "spanId": id,
            "name": span.name,
            "kind": INTERNAL,
            "startTimeUnixNano": nanos(span.from.as_millis()),
            "endTimeUnixNano": nanos(span.to.as_millis()),
            "attributes": attributes,
            "status": match &span.failure {
                Some(message) => json!({ "code": ERROR, "message": message }),
                None => json!({ "code": OK }),
            },
        });
        if let Some(parent) = span.parent.and_then(|parent| ids.get(parent)) {
            rendered["parentSpanId"] = json!(parent);
        }
        rendered
    };
    trace.spans.iter().zip(&ids).map(of).collect()
}

/// An identifier of zeros is invalid.
fn word(random: &mut impl FnMut() -> u64) -> u64 {
    random().max(1)
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_status::RestartResult;

    #[test]
    fn a_restart_is_rendered_as_the_specification_has_it() {
        let sender = Sender { ecosystem: "shop".to_owned(), instance: "k3v9".to_owned() };
        let trace = crate::reporting::trace::tests::restart(RestartResult::Failed);
        let mut count = 0;
        let body = request(&sender, &[trace], || {
            count += 1;
            // The first one is drawn as zero.
            count - 1
        });
        let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
        let expected = json!({
            "traceId": "00000000000000010000000000000001",
            "spanId": "0000000000000003",
            "parentSpanId": "0000000000000002",
            "name": "backoff",
            "kind": 1,
            "startTimeUnixNano": "1001000000000",
            "endTimeUnixNano": "1001500000000",
            "attributes": [ { "key": "heartbeat.realm", "value": { "stringValue": "db" } } ],
            "status": { "code": 1 },
        });
        assert_eq!(spans[1], expected);
        assert_eq!(spans[0]["status"], json!({ "code": 2, "message": "exit code 1" }));
        assert!(spans[0].get("parentSpanId").is_none(), "the root has no parent");
        let resource = &body["resourceSpans"][0]["resource"]["attributes"];
        assert_eq!(resource[1], attribute("service.namespace", "shop"));
    }
}
