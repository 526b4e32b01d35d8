//! Replies to operators. Each waits until its result is published, and on disk where it survives heartbeatd.

use std::collections::BTreeMap;

use heartbeat_api::Commanded;
use heartbeat_status::CommandId;
use heartbeat_supervisor::Reply;
use tokio::sync::oneshot;

use crate::inbox::ReloadAnswer;
use crate::storage::intent::IntentError;

/// Replies in progress.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    next_command: u64,
    waiting: BTreeMap<CommandId, oneshot::Sender<Commanded>>,
    /// Replies that wait until their version of the intent is on disk, or could not be written.
    held: Vec<(u64, CommandId, Reply)>,
    ready: Vec<(CommandId, Commanded)>,
    reloads: Vec<(oneshot::Sender<ReloadAnswer>, ReloadAnswer)>,
    intent: IntentOnDisk,
}

impl Replies {
    /// A number for a command whose answer goes to `reply`.
    pub(crate) fn expect(&mut self, reply: oneshot::Sender<Commanded>) -> CommandId {
        self.next_command += 1;
        let id = CommandId(self.next_command);
        self.waiting.insert(id, reply);
        id
    }

    /// The core has answered. The request survives heartbeatd from `version` of the intent on, so the reply waits for
    /// that.
    pub(crate) fn answer(&mut self, version: u64, id: CommandId, reply: Reply) {
        match self.intent.outcome(version) {
            Some(written) => self
                .ready
                .push((id, Commanded { reply, unwritten: written.err().map(|error| error.to_string()) })),
            None => self.held.push((version, id, reply)),
        }
    }

    /// A configuration is in force, or refused.
    pub(crate) fn reloaded(&mut self, reply: oneshot::Sender<ReloadAnswer>, answer: ReloadAnswer) {
        self.reloads.push((reply, answer));
    }

    /// The intent file was written up to a version, or could not be.
    pub(crate) fn note_intent(&mut self, version: u64, problem: Option<IntentError>) {
        self.intent.note(version, problem);
    }

    /// Looks again at the answers that were held.
    pub(crate) fn release(&mut self) {
        for (version, id, reply) in std::mem::take(&mut self.held) {
            self.answer(version, id, reply);
        }
    }

    /// Whether a reply can go out now.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Sends the replies that are ready. A client that has gone needs no answer.
    pub(crate) fn send(&mut self) {
        for (id, reply) in self.ready.drain(..) {
            if let Some(waiting) = self.waiting.remove(&id) {
                let _ = waiting.send(reply);
            }
        }
        for (reply, answer) in self.reloads.drain(..) {
            let _ = reply.send(answer);
        }
    }
}

/// The state of the intent file.
#[derive(Debug, Default)]
struct IntentOnDisk {
    /// The newest version that a write has tried.
    tried: u64,
    /// The newest version that is on disk.
    durable: u64,
    /// Why the last write failed.
    problem: Option<IntentError>,
}

impl IntentOnDisk {
    fn note(&mut self, version: u64, problem: Option<IntentError>) {
        self.tried = version;
        if problem.is_none() {
            self.durable = version;
        }
        self.problem = problem;
    }

    /// Whether a version is on disk, or why not; `None` before a write has tried it.
    fn outcome(&self, version: u64) -> Option<Result<(), &IntentError>> {
        if version <= self.durable {
            return Some(Ok(()));
        }
        self.problem.as_ref().filter(|_| version <= self.tried).map(Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> IntentError {
        IntentError::new("intent".as_ref(), std::io::ErrorKind::StorageFull.into())
    }

    #[test]
    fn an_answer_waits_for_its_version_and_says_when_it_is_not_on_disk() {
        let mut on_disk = IntentOnDisk::default();
        let outcome =
            |on_disk: &IntentOnDisk, version| on_disk.outcome(version).map(|written| written.is_ok());
        assert_eq!(outcome(&on_disk, 0), Some(true), "the command changed nothing");
        assert_eq!(outcome(&on_disk, 1), None, "not tried yet");
        on_disk.note(1, Some(full()));
        assert_eq!(outcome(&on_disk, 1), Some(false));
        assert_eq!(outcome(&on_disk, 2), None);
        assert_eq!(
            outcome(&on_disk, 1),
            Some(false),
            "a later command finds the same state, without another try"
        );
        on_disk.note(3, None);
        for version in 0..=3 {
            assert_eq!(outcome(&on_disk, version), Some(true), "{version}");
        }
        on_disk.note(4, Some(full()));
        assert_eq!(outcome(&on_disk, 3), Some(true), "what is on disk stays there");
        assert_eq!(outcome(&on_disk, 4), Some(false));
    }

    #[test]
    fn a_command_is_answered_when_its_intent_is_on_disk_and_not_before() {
        let mut replies = Replies::default();
        let (reply, mut answer) = oneshot::channel();
        let id = replies.expect(reply);
        let refreshed = || Reply::Refreshed { missing: 0 };
        replies.answer(2, id, refreshed());
        replies.note_intent(1, None);
        replies.release();
        assert!(!replies.has_ready(), "version 2 is not on disk");
        replies.send();
        assert!(answer.try_recv().is_err());
        replies.note_intent(2, Some(full()));
        replies.release();
        assert!(replies.has_ready());
        replies.send();
        let commanded = answer.try_recv().unwrap();
        assert_eq!((commanded.reply, commanded.unwritten), (refreshed(), Some(full().to_string())));
        assert!(!replies.has_ready(), "once");
    }

    #[test]
    fn two_commands_have_two_numbers_and_each_its_own_answer() {
        let mut replies = Replies::default();
        let (first, mut first_answer) = oneshot::channel();
        let (second, mut second_answer) = oneshot::channel();
        let (first, second) = (replies.expect(first), replies.expect(second));
        assert_ne!(first, second);
        replies.answer(0, second, Reply::Refreshed { missing: 0 });
        replies.send();
        assert!(first_answer.try_recv().is_err() && second_answer.try_recv().is_ok());
    }
}
