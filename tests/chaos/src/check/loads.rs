//! I5: loads of one key at the same time, in time without faults, that no invalidation in between explains. Counted, not judged: a load
//! that outlasts what others wait for it is loaded again, by right.

use super::{History, Sound};
use crate::event::{Load, Span};
use crate::layout::{KEYS, Key};
use crate::limits::READ_LIMIT;

/// How many loads that still run are remembered for a key.
const MOST: usize = 64;

pub(super) fn doubled(history: &History, sound: &Sound) -> u64 {
    let mut by_key: Vec<Vec<Load>> = vec![Vec::new(); KEYS as usize];
    for load in &history.loads {
        if let Some(loads) = by_key.get_mut(load.key.0 as usize) {
            loads.push(*load);
        }
    }
    Key::all().zip(&by_key).map(|(key, loads)| of_key(history, sound, key, loads)).sum()
}

fn of_key(history: &History, sound: &Sound, key: Key, loads: &[Load]) -> u64 {
    let covering: Vec<Span> = history.mutations.iter().filter(|made| made.target.covers(key)).map(|made| made.span).collect();
    let mut running: Vec<Load> = Vec::new();
    let mut doubled = 0;
    for load in loads {
        running.retain(|other| other.span.end > load.span.start);
        let both = |other: &Load| Span { start: other.span.start, end: load.span.start };
        let unexplained = running.iter().filter(|other| {
            let time = both(other);
            // One that takes longer than the tier is waited for is its own explanation.
            let brief = time.end.since(time.start) < READ_LIMIT;
            // Others hear of it a little after its answer.
            let invalidated = covering.iter().any(|span| span.end.plus(READ_LIMIT) >= time.start && span.start <= time.end);
            let disturbed = sound.disturbed(load.instance, load.span) || sound.disturbed(other.instance, other.span);
            brief && !invalidated && !disturbed
        });
        doubled += u64::from(unexplained.count() > 0);
        if running.len() < MOST {
            running.push(*load);
        }
    }
    doubled
}
