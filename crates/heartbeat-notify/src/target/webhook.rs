//! The incident document as JSON, following [Standard Webhooks](https://www.standardwebhooks.com).

use heartbeat_status::wire::IncidentDocument;

use super::{Message, Text, json, key};
use crate::{DeliveryError, Endpoint, Secret, Template};

/// A receiver of incident documents.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    /// Where documents are posted to.
    pub endpoint: Endpoint,
    /// Each signs every request; two during a rotation. Without any, requests have no signature.
    pub secrets: Vec<Secret>,
}

impl Webhook {
    pub(super) fn message(
        &self,
        document: &IncidentDocument,
        template: Option<&Template>,
        unix_s: u64,
    ) -> Result<Message, DeliveryError> {
        // A template that fails costs no notification: the document goes out instead.
        let own = template.and_then(|template| {
            let text = Text::of(document, None);
            template.render(document, (&text.title, &text.plain())).ok()
        });
        let is_json =
            own.as_ref().is_none_or(|own| serde_json::from_str::<serde::de::IgnoredAny>(own).is_ok());
        let kind = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
        let (body, id) = (own.map_or_else(|| json(document), |own| Ok(own.into()))?, key(document));
        let signatures: Vec<String> =
            self.secrets.iter().map(|secret| secret.sign(&id, unix_s, &body)).collect();
        let mut headers = vec![
            ("content-type", kind.to_owned()),
            ("webhook-id", id),
            ("webhook-timestamp", unix_s.to_string()),
        ];
        if !signatures.is_empty() {
            headers.push(("webhook-signature", signatures.join(" ")));
        }
        Ok(Message { headers, body })
    }
}
