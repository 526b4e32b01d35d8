//! The incident document as JSON, following [Standard Webhooks](https://www.standardwebhooks.com).

use heartbeat_status::wire::IncidentDocument;

use super::{Message, json, key};
use crate::{DeliveryError, Endpoint, Secret};

/// A receiver of incident documents.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    /// Where documents are posted to.
    pub endpoint: Endpoint,
    /// Each signs every request; two during a rotation. Without any, requests have no signature.
    pub secrets: Vec<Secret>,
}

impl Webhook {
    pub(super) fn message(&self, document: &IncidentDocument, unix_s: u64) -> Result<Message, DeliveryError> {
        let (body, id) = (json(document)?, key(document));
        let signatures: Vec<String> =
            self.secrets.iter().map(|secret| secret.sign(&id, unix_s, &body)).collect();
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("webhook-id", id),
            ("webhook-timestamp", unix_s.to_string()),
        ];
        if !signatures.is_empty() {
            headers.push(("webhook-signature", signatures.join(" ")));
        }
        Ok(Message { headers, body })
    }
}
