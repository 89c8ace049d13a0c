//! How an instance writes: one who commits and then tells, with the cache or with an `Invalidator` beside it, and one who commits under
//! write guards.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cachetier::{CacheError, Delivery, WriteGuard};
use tokio::time::{sleep, timeout};

use super::work::{Work, answers_stale, rules};
use crate::clock::Nanos;
use crate::event::{Event, Held, Mutation, Points, Row, Span, Told, Verb};
use crate::layout::{GROUPS, Key, NARROW, Tag, Target, WIDE};
use crate::limits::{GIVEN_UP, GUARD_LIMIT, GUARD_LIMITS, UNGUARDED_FOR};

/// What the writers of all instances rest on average between two mutations, in milliseconds, if there were one.
const WRITER_REST: u64 = 5;
/// The same of those who guard.
const GUARD_REST: u64 = 12;
/// The longest transaction, and the longest lag, in milliseconds.
const TRANSACTION: u64 = 60;
const LAG: u64 = 400;
/// Who has so little of a guard's limit left when he has committed releases it: what is committed after the limit is not guarded.
const SPARE: Duration = Duration::from_millis(50);

impl Work {
    pub(super) async fn write_on(&self, mut dice: fastrand::Rng) {
        while !self.quiet.load(Ordering::Relaxed) {
            self.write(&mut dice).await;
            sleep(Duration::from_millis(dice.u64(0..=2 * WRITER_REST * u64::from(self.of)))).await;
        }
    }

    /// Commits, then tells. Of what it tells about, mostly not everything has changed.
    async fn write(&self, dice: &mut fastrand::Rng) {
        let (verb, target) = self.draw(dice);
        let written: Vec<Key> = match (&target, verb) {
            (Target::Key(key), _) => vec![*key],
            (Target::Keys(keys), _) => keys.clone(),
            (target, _) => {
                let mut keys: Vec<Key> = target.keys().filter(|key| key.putter(self.of).is_none()).collect();
                dice.shuffle(&mut keys);
                keys.truncate(dice.usize(1..4));
                keys
            }
        };
        // A process without its database does nothing more: the leader is gone.
        let Ok(versions) = self.connection.commit(&written).await else { return };
        let start = Nanos::now();
        let call = async {
            match (verb, &target) {
                (Verb::Set, Target::Key(key)) => {
                    let version = versions.first().copied().unwrap_or_default();
                    self.cache.set(&key.text(), Row { key: *key, version, begun: start, put: true }, rules(*key)).await
                }
                (Verb::Remove, Target::Key(key)) => self.cache.remove(&key.text()).await.map(|removed| removed.delivery),
                (Verb::Outside, target) => self.invalidate_outside(target).await,
                (_, target) => self.invalidate(target).await,
            }
        };
        self.tell_of(verb, &target, start, call, dropped_after(dice)).await;
    }

    /// Makes a mutation, or drops it in the middle, and records what came of it.
    async fn tell_of(
        &self,
        verb: Verb,
        target: &Target,
        start: Nanos,
        call: impl Future<Output = Result<Delivery, CacheError>>,
        dropped_after: Option<Duration>,
    ) -> Told {
        let (told, points) = match timeout(dropped_after.unwrap_or(GIVEN_UP), call).await {
            Ok(Ok(Delivery::Applied(token))) => (Told::Applied, Points::of(token)),
            Ok(Ok(_)) => (Told::Pending, Points::default()),
            Ok(Err(error)) => {
                self.complain(format!("{verb:?} {target:?}: {error}"));
                (Told::Refused, Points::default())
            }
            Err(_) if dropped_after.is_some() => (Told::Dropped, Points::default()),
            Err(_) => (Told::Overdue, Points::default()),
        };
        let span = Span { start, end: Nanos::now() };
        let made = Mutation { instance: self.instance, verb, target: target.clone(), span, told, points: points.clone() };
        self.record.add(&Event::Mutation(made));
        if !points.0.is_empty() {
            // Nobody listens any more: the leader is gone.
            let _ = self.connection.tell(&points).await;
        }
        told
    }

    async fn invalidate(&self, target: &Target) -> Result<Delivery, CacheError> {
        match target {
            // To who reads it is the same: nothing loaded before is served.
            Target::Key(key) if fastrand::u32(0..4) == 0 && !answers_stale(*key) => self.cache.expire(&key.text()).await,
            Target::Key(key) => self.cache.invalidate(&key.text()).await,
            Target::Keys(keys) => self.cache.invalidate_many(keys.iter().map(|key| key.text())).await,
            Target::Tag(tag) => self.cache.invalidate_tag(&tag.text()).await,
            Target::Group(group) => self.cache.invalidate_prefix(&Target::prefix(*group)).await,
            Target::Everything => self.cache.clear().await,
        }
    }

    async fn invalidate_outside(&self, target: &Target) -> Result<Delivery, CacheError> {
        match target {
            Target::Key(key) => self.outside.invalidate(&key.text()).await,
            Target::Keys(keys) => self.outside.invalidate_many(keys.iter().map(|key| key.text())).await,
            Target::Tag(tag) => self.outside.invalidate_tag(&tag.text()).await,
            Target::Group(group) => self.outside.invalidate_prefix(&Target::prefix(*group)).await,
            Target::Everything => self.outside.clear().await,
        }
    }

    fn draw(&self, dice: &mut fastrand::Rng) -> (Verb, Target) {
        let verb = if dice.u32(0..6) == 0 && self.tells_outside { Verb::Outside } else { Verb::Invalidate };
        match dice.u32(0..1_000) {
            0..550 => (verb, Target::Key(self.loaded(dice))),
            550..650 => (verb, Target::Keys(self.several(dice, 2..6))),
            650..780 => (verb, Target::Tag(Tag::Narrow(dice.u32(0..NARROW)))),
            780..800 => (verb, Target::Tag(Tag::Wide(dice.u32(0..WIDE)))),
            800..850 => (verb, Target::Group(dice.u32(0..GROUPS))),
            850..880 => (Verb::Remove, Target::Key(self.loaded(dice))),
            880..998 => match dice.choice(self.own.iter()) {
                Some(key) => (Verb::Set, Target::Key(*key)),
                None => (verb, Target::Key(self.loaded(dice))),
            },
            _ => (verb, Target::Everything),
        }
    }

    /// A key that is loaded and never put but under a guard, so that anybody may write it.
    fn loaded(&self, dice: &mut fastrand::Rng) -> Key {
        let key = self.zipf.draw(dice);
        if key.putter(self.of).is_none() { key } else { Key(key.0 - 1) }
    }

    fn several(&self, dice: &mut fastrand::Rng, many: std::ops::Range<u32>) -> Vec<Key> {
        let mut keys: Vec<Key> = (0..dice.u32(many)).map(|_| self.loaded(dice)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    // --- under a guard

    pub(super) async fn guard_on(&self, mut dice: fastrand::Rng) {
        while !self.quiet.load(Ordering::Relaxed) {
            if self.guards_are_used() {
                self.write_guarded(&mut dice).await;
            }
            sleep(Duration::from_millis(dice.u64(0..=2 * GUARD_REST * u64::from(self.of)))).await;
        }
    }

    /// In two turns of three, the same in all processes.
    fn guards_are_used(&self) -> bool {
        let turn = Nanos::now().since(self.begun).as_millis() / UNGUARDED_FOR.as_millis();
        !turn.is_multiple_of(3)
    }

    /// Holds keys, commits, and ends the guard in one of the ways there are.
    async fn write_guarded(&self, dice: &mut fastrand::Rng) {
        let keys = self.several(dice, 1..4);
        // One that is put is only held: whoever puts it meets the hold.
        let held = keys.iter().copied().chain(dice.choice(self.own.iter()).copied().filter(|_| dice.bool()));
        let held: Vec<Key> = held.collect();
        let limit = if dice.bool() { GUARD_LIMIT } else { Duration::from_millis(dice.u64(GUARD_LIMITS)) };
        let start = Nanos::now();
        let Some(guard) = self.hold(&held, limit, dice).await else { return };
        self.tell_holding(&held, Span { start, end: start.plus(limit) });
        sleep(drawn(dice, TRANSACTION)).await;
        let Ok(versions) = self.connection.commit(&keys).await else { return };
        let in_time = start.plus(limit.saturating_sub(SPARE)) > Nanos::now();
        if in_time && dice.u32(0..4) == 0 {
            drop(guard);
            let span = Span { start, end: start.plus(limit) };
            for key in held {
                self.tell_held(key, span, true);
            }
            return;
        }
        sleep(drawn(dice, TRANSACTION)).await;
        self.tell_letting_go(start);
        self.end(guard, held, (keys, versions), start, dice).await;
    }

    async fn hold(&self, keys: &[Key], limit: Duration, dice: &mut fastrand::Rng) -> Option<WriteGuard> {
        let dropped_after = dropped_after(dice);
        let start = Nanos::now();
        let texts: Vec<String> = keys.iter().map(|key| key.text()).collect();
        let call =
            async { if limit == GUARD_LIMIT { self.cache.guard(&texts).await } else { self.cache.guard_for(&texts, limit).await } };
        let (guard, told) = match timeout(dropped_after.unwrap_or(GIVEN_UP), call).await {
            Ok(Ok(guard)) => (Some(guard), Told::Applied),
            Ok(Err(CacheError::NotGuarded(_))) => (None, Told::NotHeld),
            Ok(Err(error)) => {
                self.complain(format!("a guard of {keys:?}: {error}"));
                (None, Told::Refused)
            }
            Err(_) if dropped_after.is_some() => (None, Told::Dropped),
            Err(_) => (None, Told::Overdue),
        };
        let span = Span { start, end: Nanos::now() };
        let (verb, target) = (Verb::Hold, Target::Keys(keys.to_vec()));
        self.record.add(&Event::Mutation(Mutation {
            instance: self.instance,
            verb,
            target,
            span,
            told,
            points: Points::default(),
        }));
        guard
    }

    /// Puts some of what was committed, and releases the rest, with a lag or without.
    async fn end(
        &self,
        mut guard: WriteGuard,
        mut held: Vec<Key>,
        (keys, versions): (Vec<Key>, Vec<u64>),
        start: Nanos,
        dice: &mut fastrand::Rng,
    ) {
        if let (Some(key), Some(version), true) = (keys.first(), versions.first(), dice.bool()) {
            let put = Nanos::now();
            let row = Row { key: *key, version: *version, begun: put, put: true };
            let text = key.text();
            let call = guard.set(&text, row, rules(*key));
            self.tell_of(Verb::SetHeld(*version), &Target::Key(*key), put, call, dropped_after(dice)).await;
            self.tell_held(*key, Span { start, end: put }, false);
            held.retain(|other| other != key);
        }
        let lag = if dice.u32(0..3) == 0 { drawn(dice, LAG) } else { Duration::ZERO };
        let release = Nanos::now();
        let target = Target::Keys(held.clone());
        let told = self.tell_of(Verb::Release, &target, release, guard.release_after(lag), dropped_after(dice)).await;
        // Unless it was confirmed, only its own instance is sure to wait for the lag.
        let end = if told == Told::Applied { release.plus(lag) } else { release };
        for key in held {
            self.tell_held(key, Span { start, end }, false);
        }
    }

    /// Nobody would know of the guards of a process that is killed: so it is written at once, as is the end of each.
    fn tell_holding(&self, keys: &[Key], span: Span) {
        for key in keys {
            self.record.add(&Event::Holding(Held { instance: self.instance, key: *key, span, dropped: true }));
        }
        self.flush();
    }

    fn tell_letting_go(&self, begun: Nanos) {
        self.record.add(&Event::LettingGo { instance: self.instance, begun });
        self.flush();
    }

    fn flush(&self) {
        if let Err(error) = self.record.flush() {
            self.complain(format!("the history is cut off: {error}"));
        }
    }

    fn tell_held(&self, key: Key, span: Span, dropped: bool) {
        self.record.add(&Event::Held(Held { instance: self.instance, key, span, dropped }));
    }
}

/// After how long a caller gives a mutation up, if he is one of those who do.
fn dropped_after(dice: &mut fastrand::Rng) -> Option<Duration> {
    (dice.u32(0..100) < 5).then(|| Duration::from_micros(dice.u64(0..3_000)))
}

/// A time of so many milliseconds at most; most are far shorter.
fn drawn(dice: &mut fastrand::Rng, most: u64) -> Duration {
    Duration::from_millis(most).mul_f64(dice.f64().powi(3))
}
