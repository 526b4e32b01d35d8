//! Limits that no kernel keeps: which they are, and what becomes of a realm that uses more memory than it may. Where the
//! kernel would kill it, it is restarted here.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use heartbeat_status::{EventKind, RestartCause};

use crate::ctx::Ctx;
use crate::realm::Realm;
use crate::state::{State, stopping};
use crate::words;

/// So many samples in a row are over the limit before anything is done: a peak is none.
const MAX_SAMPLES_OVER: u32 = 3;

impl Realm {
    /// No kernel enforces these limits of the generation. Reported once, until the list changes.
    pub(crate) fn note_unbounded(&mut self, ctx: &mut Ctx<'_>, limits: Vec<String>) {
        if self.shown.unbounded != limits {
            self.shown.unbounded = limits;
            ctx.event(EventKind::Unbounded { limits: self.shown.unbounded.join(", ") });
        }
    }

    /// So much memory is used now.
    pub(crate) fn memory_used(&mut self, ctx: &mut Ctx<'_>, bytes: u64) {
        let execed = match &self.state {
            State::Starting(starting) => starting.execed(),
            State::Running(_) => true,
            // Nothing runs, or it is being ended already.
            _ => false,
        };
        let Some(limit) = ctx.spec.memory_limit.filter(|limit| execed && bytes > *limit) else {
            self.evidence.samples_over = 0;
            return;
        };
        self.evidence.samples_over = self.evidence.samples_over.saturating_add(1);
        if self.evidence.samples_over < MAX_SAMPLES_OVER || self.wish.pause.is_some() {
            return;
        }
        self.evidence.samples_over = 0;
        let detail =
            format!("out of memory: its processes use {}, limit {}", words::size(bytes), words::size(limit));
        stopping::restart(self, ctx, RestartCause::OutOfMemory, detail);
    }
}
