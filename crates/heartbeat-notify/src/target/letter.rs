//! What one message is about.

use bytes::Bytes;
use heartbeat_status::{IncidentStep, Severity};
use heartbeat_wire::IncidentDocument;

use super::{Text, json};
use crate::worker::Document;
use crate::{DeliveryError, Template};

/// One notification, or all of a digest.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    /// The same at every attempt, so that the receiver recognises a repetition.
    pub(crate) key: String,
    /// The last one of the message.
    pub(crate) newest: Document,
    /// Those before it; none in a message about one notification.
    earlier: Vec<Document>,
    /// What the receiver calls the message that it has of the incident.
    pub(crate) conversation: Option<String>,
    /// It is about no incident.
    is_test: bool,
}

/// How much a message matters, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// Everything in it is over.
    Over,
    Warning,
    Critical,
    /// A person is needed.
    Person,
}

impl Letter {
    /// A message about one notification.
    pub(crate) fn one(document: Document) -> Self {
        Self {
            key: format!("{}.{}", document.id, document.seq),
            newest: document,
            earlier: Vec::new(),
            conversation: None,
            is_test: false,
        }
    }

    /// A message of a test, about an incident that does not exist.
    pub(crate) fn test(document: Document) -> Self {
        Self { is_test: true, ..Self::one(document) }
    }

    /// A message about the last of these and all before it. `None` without any.
    pub(crate) fn about(key: Option<&str>, mut documents: Vec<Document>) -> Option<Self> {
        let newest = documents.pop()?;
        let key = key.map(ToOwned::to_owned);
        let one = Self::one(newest);
        Some(Self { key: key.unwrap_or_else(|| one.key.clone()), earlier: documents, ..one })
    }

    /// The newest notification of each incident, in the order in which they came.
    pub(crate) fn incidents(&self) -> Vec<&IncidentDocument> {
        let mut newest: Vec<&IncidentDocument> = Vec::new();
        for document in self.earlier.iter().chain([&self.newest]) {
            match newest.iter_mut().find(|known| known.id == document.id) {
                Some(known) => *known = document,
                None => newest.push(document),
            }
        }
        newest
    }

    /// It is about several notifications.
    pub(crate) fn is_digest(&self) -> bool {
        !self.earlier.is_empty()
    }

    pub(crate) const fn is_test(&self) -> bool {
        self.is_test
    }

    pub(crate) fn weight(&self) -> Weight {
        let weight = |document: &IncidentDocument| match document.event.known() {
            Some(IncidentStep::Resolved) => Weight::Over,
            Some(IncidentStep::Failed) => Weight::Person,
            _ if document.severity.is(Severity::Warning) => Weight::Warning,
            _ => Weight::Critical,
        };
        self.incidents().into_iter().map(weight).max().unwrap_or(Weight::Over)
    }

    pub(crate) fn text(&self, template: Option<&Template>) -> Text {
        if self.is_digest() {
            Text::digest(&self.incidents(), template)
        } else if self.is_test {
            Text::test(&self.newest, template)
        } else {
            Text::of(&self.newest, template)
        }
    }

    /// The document as JSON, or the whole in the words of a template. A template that fails costs no notification: the
    /// document goes out instead.
    pub(crate) fn body(&self, template: Option<&Template>) -> Result<Bytes, DeliveryError> {
        let own = template.and_then(|template| {
            let text = self.text(None);
            template.render(&self.newest, (&text.title, &text.plain())).ok()
        });
        own.map_or_else(|| json(&self.newest), |own| Ok(own.into()))
    }
}
