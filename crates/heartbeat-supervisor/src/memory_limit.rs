//! Limits that the kernel does not enforce: which they are, and what the core does with a realm that uses too much
//! memory. Where the kernel would kill the realm, the core restarts it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use heartbeat_status::{EventKind, RestartCause, size_words};

use crate::ctx::Ctx;
use crate::realm::Realm;
use crate::state::{State, stopping};

/// Samples in a row over the limit before the core acts, so that it ignores a peak.
const MAX_SAMPLES_OVER: u32 = 3;

impl Realm {
    /// The kernel does not enforce these limits of the generation. The core reports them once, until the list changes.
    pub(crate) fn note_unbounded(&mut self, ctx: &mut Ctx<'_>, limits: Vec<String>) {
        if self.shown.unbounded != limits {
            self.shown.unbounded = limits;
            ctx.event(EventKind::Unbounded { limits: self.shown.unbounded.join(", ") });
        }
    }

    /// Takes a sample of the memory that the realm uses.
    pub(crate) fn memory_used(&mut self, ctx: &mut Ctx<'_>, bytes: u64) {
        let execed = match &self.state {
            State::Starting(starting) => starting.execed(),
            State::Running(_) => true,
            // No process runs, or the realm is being stopped already.
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
            format!("out of memory: its processes use {}, limit {}", size_words(bytes), size_words(limit));
        stopping::restart(self, ctx, RestartCause::OutOfMemory, detail);
    }
}
