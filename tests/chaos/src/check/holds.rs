//! W: what is loaded while a write guard holds its key is kept nowhere. Who has joined such a load still gets what it brings, and who could not
//! look whether the key is held keeps it for a moment.

use super::History;
use crate::clock::Nanos;
use crate::event::{Held, Read, Row};
use crate::layout::{KEYS, Key};
use crate::limits::HELD_FOR;
use crate::plan::Kind;

/// For each key, the times in which it was held, by their begins.
#[derive(Clone, Debug)]
pub(super) struct Holds {
    by_key: Vec<Vec<Held>>,
    /// How many there are.
    pub(super) kept: u64,
}

impl Holds {
    pub(super) fn of(history: &History) -> Self {
        let mut holds = Self { by_key: vec![Vec::new(); KEYS as usize], kept: 0 };
        for held in history.held.iter().filter(|held| !may_be_lost(history, held)) {
            if let Some(of_key) = holds.by_key.get_mut(held.key.0 as usize) {
                of_key.push(held.clone());
                holds.kept += 1;
            }
        }
        holds
    }

    /// The hold under which a value was loaded that is served too late.
    pub(super) fn broken(&self, history: &History, read: &Read, row: Row) -> Option<&Held> {
        // What was put was put by the guard itself, or after it.
        if row.put || read.unproven || read.span.start <= row.begun.plus(HELD_FOR) {
            return None;
        }
        let of_key = self.by_key.get(read.key.0 as usize)?;
        let held = of_key.iter().find(|held| held.span.start <= row.begun && row.begun < held.span.end)?;
        // A load in a frozen process ends late.
        let frozen = history.faults.iter().any(|fault| {
            let concerned = fault.instance.is_none_or(|whose| whose == read.instance || whose == held.instance);
            fault.kind == Kind::InstanceFrozen
                && concerned
                && overlap(fault.span.start, fault.span.end, held.span.start, read.span.start)
        });
        (!frozen).then_some(held)
    }
}

/// Whether the server may have forgotten the hold before its end: then it protects nothing any more.
pub(super) fn may_be_lost(history: &History, held: &Held) -> bool {
    history.faults.iter().any(|fault| {
        // A step forward ends holds, which last by the server's clock.
        let forgets = matches!(
            fault.kind,
            Kind::RestartEmpty | Kind::RestartOld | Kind::RestartTrusted | Kind::FlushAll | Kind::Eviction | Kind::ClockStepped
        );
        (forgets || fault.kind.fails_over()) && overlap(fault.span.start, fault.span.end, held.span.start, held.span.end)
    })
}

/// Whether a guard of the key was dropped whose hold may have been lost before its commit: a known limit, of which the ttl is the bound.
pub(super) fn was_lost(history: &History, key: Key, since: Nanos) -> bool {
    history.held.iter().any(|held| held.key == key && held.dropped && held.span.end >= since && may_be_lost(history, held))
}

fn overlap(start: Nanos, end: Nanos, other_start: Nanos, other_end: Nanos) -> bool {
    start <= other_end && other_start <= end
}
