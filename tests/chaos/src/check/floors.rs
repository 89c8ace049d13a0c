//! What a read must have seen: for each key, and for each key in each instance, the most that the mutations ended by a time stand for.

use super::History;
use crate::clock::Nanos;
use crate::event::Told;
use crate::layout::{KEYS, Key};

/// The least that a read may bring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Floor {
    /// Of this version.
    pub(super) version: u64,
    /// Of a load begun no earlier.
    pub(super) since: Nanos,
}

impl Floor {
    pub(super) fn and(self, other: Self) -> Self {
        Self { version: self.version.max(other.version), since: self.since.max(other.since) }
    }
}

/// Floors by the time from which they hold, each the most of all before it.
#[derive(Clone, Debug, Default)]
struct Steps(Vec<(Nanos, Floor)>);

impl Steps {
    /// Mutations come by their ends.
    fn add(&mut self, at: Nanos, floor: Floor) {
        let before = self.0.last().map_or(Floor::default(), |(_, floor)| *floor);
        self.0.push((at, before.and(floor)));
    }

    fn at(&self, time: Nanos) -> Option<Floor> {
        let before = self.0.partition_point(|(at, _)| *at <= time);
        self.0.get(before.checked_sub(1)?).map(|(_, floor)| *floor)
    }

    fn above(&self, version: u64) -> Option<Nanos> {
        self.0.get(self.0.partition_point(|(_, floor)| floor.version <= version)).map(|(at, _)| *at)
    }
}

/// The floors of a history.
#[derive(Clone, Debug)]
pub(super) struct Floors {
    all: Vec<Steps>,
    /// Those of an instance one after the other.
    own: Vec<Steps>,
}

impl Floors {
    pub(super) fn of(history: &History) -> Self {
        let keys = KEYS as usize;
        let mut floors =
            Self { all: vec![Steps::default(); keys], own: vec![Steps::default(); keys * usize::from(history.instances())] };
        for made in &history.mutations {
            for key in made.target.keys() {
                let floor = Floor { version: history.version(key, made.span.start), since: made.span.start };
                if let Some(steps) = floors.all.get_mut(key.0 as usize).filter(|_| made.told == Told::Applied) {
                    steps.add(made.span.end, floor);
                }
                if let Some(steps) = floors.own.get_mut(place(made.instance, key)).filter(|_| super::holds_for_own(made)) {
                    steps.add(made.span.end, floor);
                }
            }
        }
        floors
    }

    /// What had been acknowledged to anybody by then.
    pub(super) fn of_all(&self, key: Key, by: Nanos) -> Option<Floor> {
        self.all.get(key.0 as usize)?.at(by)
    }

    /// What this instance had done by then.
    pub(super) fn of_own(&self, instance: u16, key: Key, by: Nanos) -> Option<Floor> {
        self.own.get(place(instance, key))?.at(by)
    }

    /// When something newer than this version was first acknowledged.
    pub(super) fn overtaken(&self, key: Key, version: u64) -> Option<Nanos> {
        self.all.get(key.0 as usize)?.above(version)
    }
}

fn place(instance: u16, key: Key) -> usize {
    usize::from(instance) * KEYS as usize + key.0 as usize
}
