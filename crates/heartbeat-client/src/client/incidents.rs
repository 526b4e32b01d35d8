//! Incidents, and what was sent about them.

use std::time::Duration;

use heartbeat_wire::{
    AckRequest, EvidenceDocument, IncidentDocument, IncidentsDocument, NotificationsDocument,
    NotifyTestDocument, NotifyTestRequest,
};

use super::{Client, segment};
use crate::ClientError;

/// Longest test of a receiver: two attempts of 10 s each, and a margin.
const NOTIFY_TEST_LIMIT: Duration = Duration::from_secs(25);

impl Client {
    /// Incidents, the newest first: at most `limit`, only unresolved ones with `open`, and with `after` only those that
    /// are older than the one of this identifier ([`IncidentsDocument::next`]).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn incidents(
        &self,
        open: bool,
        limit: usize,
        after: Option<&str>,
    ) -> Result<IncidentsDocument, ClientError> {
        let open = if open { "&open=1" } else { "" };
        let after = after.map_or_else(String::new, |after| format!("&after={}", segment(after)));
        self.read(&format!("/api/incidents/?limit={limit}{open}{after}"), self.deadline).await
    }

    /// One incident.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when it is not remembered.
    pub async fn incident(&self, id: &str) -> Result<IncidentDocument, ClientError> {
        self.read(&format!("/api/incidents/{}/", segment(id)), self.deadline).await
    }

    /// Acknowledges an incident; the incident as it is then.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when it is not on record.
    pub async fn acknowledge(&self, id: &str, request: &AckRequest) -> Result<IncidentDocument, ClientError> {
        self.post(&format!("/api/incidents/{}/ack/", segment(id)), request, self.deadline).await
    }

    /// What was sent about an incident.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when the incident is not remembered.
    pub async fn notifications(&self, id: &str) -> Result<NotificationsDocument, ClientError> {
        self.read(&format!("/api/incidents/{}/notifications/", segment(id)), self.deadline).await
    }

    /// What heartbeatd saw when it opened an incident, and when it resolved it.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when the incident is not remembered.
    pub async fn evidence(&self, id: &str) -> Result<EvidenceDocument, ClientError> {
        self.read(&format!("/api/incidents/{}/evidence/", segment(id)), self.deadline).await
    }

    /// Sends a test to a receiver, or shows what it would be sent.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] with near names when there is no such receiver.
    pub async fn test_receiver(
        &self,
        receiver: &str,
        dry_run: bool,
    ) -> Result<NotifyTestDocument, ClientError> {
        let path = format!("/api/notify/{}/test/", segment(receiver));
        self.post(&path, &NotifyTestRequest { dry_run }, self.deadline.max(NOTIFY_TEST_LIMIT)).await
    }
}
