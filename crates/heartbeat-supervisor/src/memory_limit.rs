//! Limits that no kernel keeps: which they are, and what becomes of a realm that uses more memory than it may. Where the
//! kernel would kill it, it is restarted here.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use heartbeat_status::{EventKind, RestartCause};

use crate::ctx::Ctx;
use crate::realm::Realm;
use crate::state::{State, stopping};

/// So many samples in a row are over the limit before anything is done: a peak is none.
const MAX_SAMPLES_OVER: u32 = 3;

/// These limits of the generation are kept by nobody. Told once, until it is others.
pub(crate) fn unbounded(realm: &mut Realm, ctx: &mut Ctx<'_>, limits: Vec<String>) {
    if realm.shown.unbounded != limits {
        realm.shown.unbounded = limits;
        ctx.event(EventKind::Unbounded { limits: realm.shown.unbounded.join(", ") });
    }
}

/// So much memory is used now.
pub(crate) fn used(realm: &mut Realm, ctx: &mut Ctx<'_>, bytes: u64) {
    let execed = match &realm.state {
        State::Starting(starting) => starting.execed(),
        State::Running(_) => true,
        // Nothing runs, or it is being ended already.
        _ => false,
    };
    let Some(limit) = ctx.spec.memory_limit.filter(|limit| execed && bytes > *limit) else {
        realm.evidence.samples_over = 0;
        return;
    };
    realm.evidence.samples_over = realm.evidence.samples_over.saturating_add(1);
    if realm.evidence.samples_over < MAX_SAMPLES_OVER || realm.wish.pause.is_some() {
        return;
    }
    realm.evidence.samples_over = 0;
    let detail = format!("out of memory: its processes use {}, limit {}", size(bytes), size(limit));
    stopping::restart(realm, ctx, RestartCause::OutOfMemory, detail);
}

/// A size for a person: `80.3 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) if bytes.is_multiple_of(*unit) => format!("{} {name}", bytes / unit),
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}
