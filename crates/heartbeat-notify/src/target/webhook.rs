//! The incident document as JSON, following [Standard Webhooks](https://www.standardwebhooks.com).

use super::{Letter, Message};
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
        letter: &Letter,
        template: Option<&Template>,
        unix_s: u64,
    ) -> Result<Message, DeliveryError> {
        let (body, id) = (letter.body(template)?, letter.key.clone());
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
        let kind = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
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
