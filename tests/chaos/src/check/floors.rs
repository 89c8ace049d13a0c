//! What a read must have seen: for each key, and for each key in each instance, the most that the mutations ended by a time stand for; and
//! what an instance was promised by waiting for a point of the lane.

use std::collections::{BTreeMap, HashMap};

use super::History;
use crate::clock::Nanos;
use crate::event::{Mutation, Point, Told, Verb};
use crate::layout::{KEYS, Key, Target};

/// The least that a read may bring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Floor {
    /// Of this version.
    pub(super) version: u64,
    /// Of a load begun no earlier.
    pub(super) since: Nanos,
}

impl Floor {
    /// What a mutation stands for: all that was committed before it began, or the value that it puts.
    pub(super) fn of(history: &History, made: &Mutation, key: Key) -> Self {
        let version = if let Verb::SetHeld(put) = made.verb { put } else { history.version(key, made.span.start) };
        Self { version, since: made.span.start }
    }

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
        if before.and(floor) != before || self.0.is_empty() {
            self.0.push((at, before.and(floor)));
        }
    }

    /// From then on it is somebody else who asks.
    fn forget(&mut self, at: Nanos) {
        self.0.push((at, Floor::default()));
    }

    fn at(&self, time: Nanos) -> Option<Floor> {
        let before = self.0.partition_point(|(at, _)| *at <= time);
        self.0.get(before.checked_sub(1)?).map(|(_, floor)| *floor)
    }

    fn above(&self, version: u64) -> Option<Nanos> {
        self.0.get(self.0.partition_point(|(_, floor)| floor.version <= version)).map(|(at, _)| *at)
    }
}

/// The instances that were killed: who takes the place of one has done nothing yet, and was promised nothing.
struct Killed<'a>(&'a [(u16, Nanos)]);

impl<'a> Killed<'a> {
    fn of(history: &'a History) -> Self {
        Self(&history.killed)
    }

    /// Forgets what those had done that were killed by then and were not looked at yet, and returns which they are.
    fn forget(&mut self, steps: &mut [Steps], by: Nanos) -> Vec<u16> {
        let (now, later) = self.0.split_at(self.0.partition_point(|(_, at)| *at <= by));
        self.0 = later;
        for (instance, at) in now {
            for key in Key::all() {
                if let Some(steps) = steps.get_mut(place(*instance, key)) {
                    steps.forget(*at);
                }
            }
        }
        now.iter().map(|(instance, _)| *instance).collect()
    }
}

/// The floors of a history.
#[derive(Clone, Debug)]
pub(super) struct Floors {
    all: Vec<Steps>,
    /// Those of an instance one after the other.
    own: Vec<Steps>,
    /// The same.
    promised: Vec<Steps>,
}

impl Floors {
    pub(super) fn of(history: &History) -> Self {
        let keys = KEYS as usize;
        let of_instances = vec![Steps::default(); keys * usize::from(history.instances())];
        let mut floors = Self { all: vec![Steps::default(); keys], own: of_instances.clone(), promised: of_instances };
        let mut killed = Killed::of(history);
        for made in &history.mutations {
            killed.forget(&mut floors.own, made.span.end);
            for key in made.target.keys() {
                let floor = Floor::of(history, made, key);
                if let Some(steps) = floors.all.get_mut(key.0 as usize).filter(|_| made.told == Told::Applied) {
                    steps.add(made.span.end, floor);
                }
                if let Some(steps) = floors.own.get_mut(place(made.instance, key)).filter(|_| super::holds_for_own(made)) {
                    steps.add(made.span.end, floor);
                }
            }
        }
        killed.forget(&mut floors.own, Nanos::NEVER);
        floors.promise(history);
        floors
    }

    /// Who has waited for a point has been promised all that stands on the lane up to it.
    fn promise(&mut self, history: &History) {
        let applied = || history.mutations.iter().filter(|made| made.told == Told::Applied);
        let mut lanes: BTreeMap<Point, Vec<&Mutation>> = BTreeMap::new();
        for made in applied() {
            for point in &made.points.0 {
                lanes.entry(*point).or_default().push(made);
            }
        }
        // What concerns several parts has a point in each, and each of these tells of the keys of its part: those that were seen to be told there.
        let alone = applied().filter_map(|made| match (&made.target, made.points.0.as_slice()) {
            (Target::Key(key), [point]) => Some((*key, point.part)),
            _ => None,
        });
        let part_of: HashMap<Key, Option<u8>> = alone.collect();
        let mut reached: HashMap<(u16, Option<u8>, u32), u64> = HashMap::new();
        let mut killed = Killed::of(history);
        for waited in history.waited.iter().filter(|waited| waited.reached) {
            for instance in killed.forget(&mut self.promised, waited.span.end) {
                reached.retain(|(whose, ..), _| *whose != instance);
            }
            for point in &waited.points.0 {
                let before = reached.entry((waited.instance, point.part, point.era)).or_default();
                if point.seq <= *before {
                    continue;
                }
                let told = lanes.range(Point { seq: *before + 1, ..*point }..=*point);
                *before = point.seq;
                for made in told.flat_map(|(_, made)| made) {
                    for key in made.target.keys().filter(|key| point.part.is_none() || part_of.get(key) == Some(&point.part)) {
                        let floor = Floor::of(history, made, key);
                        if let Some(steps) = self.promised.get_mut(place(waited.instance, key)) {
                            steps.add(waited.span.end, floor);
                        }
                    }
                }
            }
        }
        killed.forget(&mut self.promised, Nanos::NEVER);
    }

    /// What had been acknowledged to anybody by then.
    pub(super) fn of_all(&self, key: Key, by: Nanos) -> Option<Floor> {
        self.all.get(key.0 as usize)?.at(by)
    }

    /// What this instance had done by then.
    pub(super) fn of_own(&self, instance: u16, key: Key, by: Nanos) -> Option<Floor> {
        self.own.get(place(instance, key))?.at(by)
    }

    /// What this instance had been promised by then.
    pub(super) fn of_promised(&self, instance: u16, key: Key, by: Nanos) -> Option<Floor> {
        self.promised.get(place(instance, key))?.at(by)
    }

    /// When something newer than this version was first acknowledged.
    pub(super) fn overtaken(&self, key: Key, version: u64) -> Option<Nanos> {
        self.all.get(key.0 as usize)?.above(version)
    }
}

fn place(instance: u16, key: Key) -> usize {
    usize::from(instance) * KEYS as usize + key.0 as usize
}
