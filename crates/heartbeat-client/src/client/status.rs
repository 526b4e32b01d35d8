//! What there is now: the ecosystem, its realms, the graph, and heartbeatd itself.

use heartbeat_wire::{GraphDocument, HealthDocument, RealmDocument, StatusDocument};
use http::{Method, StatusCode};

use super::{Client, JSON, segment};
use crate::ClientError;
use crate::transport::{Question, ask_at_once};

/// Text forms of the graph that heartbeatd renders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GraphFormat {
    /// The dot format of Graphviz.
    Dot,
    /// A flowchart of Mermaid.
    Mermaid,
}

impl GraphFormat {
    /// The word in `?format=`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dot => "dot",
            Self::Mermaid => "mermaid",
        }
    }
}

impl Client {
    /// The whole ecosystem; with `refresh` after a round of fresh probes.
    ///
    /// # Errors
    /// [`ClientError`], as for every question.
    pub async fn status(&self, refresh: bool) -> Result<StatusDocument, ClientError> {
        let path = if refresh { "/api/status/?refresh=1" } else { "/api/status/" };
        self.read(path, self.read_deadline(refresh)).await
    }

    /// The same without a refresh and without a runtime, over the Unix socket: for a program that asks once and ends.
    /// `None` where it is not as simple as that; [`status`](Self::status) says why.
    #[must_use]
    pub fn status_at_once(&self) -> Option<StatusDocument> {
        let question = Question {
            method: Method::GET,
            path: "/api/status/",
            accept: JSON,
            last_event_id: None,
            body: None,
            deadline: self.deadline,
        };
        let answer = ask_at_once(&self.host, &question)?;
        // Looked through once, its strings need not be looked through one by one.
        serde_json::from_str(std::str::from_utf8(answer.body()).ok()?).ok()
    }

    /// The ecosystem without its realms.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn summary(&self) -> Result<StatusDocument, ClientError> {
        self.read("/api/status/?fields=summary", self.deadline).await
    }

    /// One realm and its recent past; with `refresh` after fresh probes.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] with near names when there is no such realm.
    pub async fn realm(&self, name: &str, refresh: bool) -> Result<RealmDocument, ClientError> {
        let query = if refresh { "?refresh=1" } else { "" };
        self.read(&format!("/api/status/{}/{query}", segment(name)), self.read_deadline(refresh)).await
    }

    /// One realm with the last failures of its probes and what was said in each. On the Unix socket, or with a token.
    ///
    /// # Errors
    /// As for [`realm`](Self::realm), and [`ClientError`] on the read-only listener.
    pub async fn realm_with_transcripts(&self, name: &str) -> Result<RealmDocument, ClientError> {
        self.read(&format!("/api/status/{}/?transcripts=1", segment(name)), self.deadline).await
    }

    /// The dependencies of all realms.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn graph(&self) -> Result<GraphDocument, ClientError> {
        self.read("/api/graph/", self.deadline).await
    }

    /// The graph in a text form.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn graph_text(&self, format: GraphFormat) -> Result<String, ClientError> {
        self.read_text(&format!("/api/graph/?format={}", format.as_str()), self.deadline).await
    }

    /// heartbeatd's own health; an answer of 503 is a document that says `fail`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn health(&self) -> Result<HealthDocument, ClientError> {
        let answer = self.send(Method::GET, "/api/health/", None, self.deadline).await?;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE
            && let Ok(document) = serde_json::from_slice(&answer.body)
        {
            return Ok(document);
        }
        self.parse(answer)
    }
}
