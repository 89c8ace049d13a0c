//! A history in order: what happened, by kind, by time, and by key where that is asked for.

use std::collections::{HashMap, HashSet};

use crate::clock::Nanos;
use crate::event::{Commit, Counts, Event, Fault, Held, Load, Mutation, Read, Told, Waited};
use crate::layout::{KEYS, Key, Target};

/// All events of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// When the first of them was.
    pub begin: Nanos,
    /// When the last of them ended.
    pub end: Nanos,
    /// What was read, by the begin.
    pub reads: Vec<Read>,
    /// What was invalidated and put, by the end.
    pub mutations: Vec<Mutation>,
    /// What was held by guards, by the begin.
    pub held: Vec<Held>,
    /// What was waited for, by the end.
    pub waited: Vec<Waited>,
    /// What was loaded, by the begin.
    pub loads: Vec<Load>,
    /// What was broken, by the begin.
    pub faults: Vec<Fault>,
    /// Which instances were killed, by time.
    pub killed: Vec<(u16, Nanos)>,
    /// What each instance counted, by time: what one counts that takes a killed one's place counts on from there.
    pub counts: Vec<(u16, Nanos, Counts)>,
    /// What the processes complained of.
    pub complaints: Vec<(u16, String)>,
    /// What was committed, for each key by time.
    pub commits: Vec<Vec<Commit>>,
    /// When each call ended that puts a value, by key and begin.
    puts: HashMap<(Key, Nanos), Nanos>,
}

impl History {
    /// Brings events into order.
    #[must_use]
    pub fn of(events: Vec<Event>) -> Self {
        let (mut holding, mut let_go) = (Vec::new(), HashSet::new());
        let mut history = Self { commits: vec![Vec::new(); KEYS as usize], begin: Nanos::NEVER, ..Self::default() };
        for event in events {
            match event {
                Event::Read(read) => {
                    history.begin = history.begin.min(read.span.start);
                    history.end = history.end.max(read.span.end);
                    history.reads.push(read);
                }
                Event::Mutation(made) => {
                    if let (Target::Key(key), true) = (&made.target, super::puts(&made)) {
                        // What was not answered may still arrive.
                        let end = if made.told == Told::Applied { made.span.end } else { Nanos::NEVER };
                        history.puts.insert((*key, made.span.start), end);
                    }
                    history.mutations.push(made);
                }
                Event::Held(held) => {
                    let_go.insert((held.instance, held.span.start));
                    history.held.push(held);
                }
                Event::Holding(held) => holding.push(held),
                Event::LettingGo { instance, begun } => drop(let_go.insert((instance, begun))),
                Event::Killed { instance, at } => history.killed.push((instance, at)),
                Event::Waited(waited) => history.waited.push(waited),
                Event::Load(load) => history.loads.push(load),
                Event::Commit(commit) => {
                    if let Some(commits) = history.commits.get_mut(commit.key.0 as usize) {
                        commits.push(commit);
                    }
                }
                Event::Fault(fault) => history.faults.push(fault),
                Event::Counts { instance, at, counts } => history.counts.push((instance, at, counts)),
                Event::Complaint { instance, text } => history.complaints.push((instance, text)),
            }
        }
        // Guards that were killed with their process hold to their limit.
        history.held.extend(holding.into_iter().filter(|held| !let_go.contains(&(held.instance, held.span.start))));
        history.reads.sort_unstable_by_key(|read| read.span.start);
        history.mutations.sort_unstable_by_key(|made| made.span.end);
        history.held.sort_unstable_by_key(|held| held.span.start);
        history.waited.sort_unstable_by_key(|waited| waited.span.end);
        history.loads.sort_unstable_by_key(|load| load.span.start);
        history.faults.sort_unstable_by_key(|fault| fault.span.start);
        history.counts.sort_unstable_by_key(|(_, at, _)| *at);
        history.killed.sort_unstable_by_key(|(_, at)| *at);
        history.count_on();
        history.commits.iter_mut().for_each(|commits| commits.sort_unstable_by_key(|commit| commit.at));
        history
    }

    fn count_on(&mut self) {
        // The latest first: of those before, each has counted from zero.
        for (killed, at) in self.killed.iter().rev() {
            let split = self.counts.partition_point(|(_, when, _)| when <= at);
            let (before, after) = self.counts.split_at_mut(split);
            let Some((_, _, counted)) = before.iter().rev().find(|(instance, ..)| instance == killed) else { continue };
            for (_, _, counts) in after.iter_mut().filter(|(instance, ..)| instance == killed) {
                *counts = counts.plus(*counted);
            }
        }
    }

    /// The version that the database had of a key at a time.
    #[must_use]
    pub fn version(&self, key: Key, at: Nanos) -> u64 {
        let Some(commits) = self.commits.get(key.0 as usize) else { return 0 };
        let before = commits.partition_point(|commit| commit.at <= at);
        before.checked_sub(1).and_then(|last| commits.get(last)).map_or(0, |commit| commit.version)
    }

    /// When the call ended that began then and put a value of the key; never, if that is not known.
    #[must_use]
    pub fn put_until(&self, key: Key, begun: Nanos) -> Nanos {
        self.puts.get(&(key, begun)).copied().unwrap_or(Nanos::NEVER)
    }

    /// How many instances there are.
    #[must_use]
    pub fn instances(&self) -> u16 {
        self.reads.iter().map(|read| read.instance).max().map_or(0, |highest| highest + 1)
    }
}
