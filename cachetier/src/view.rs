//! What this instance knows of its lane: the proof it has, the tag table it holds, the points it has been told.
//!
//! Everything that a hit compares stands here as one number each. Orders that matter:
//! - the table's cells are written *before* the generation moves, and a reader loads the generation before the cells;
//! - an answered bump is written into the cells *before* its tick goes, and a reader looks at the ticks before the cells;
//! - an epoch ends in the same step in which the era is met that the next one is proven by, for a load notes the epoch first;
//! - an epoch ends *before* anything of the next one is applied, and its proof before it does: a reader loads the proof before the epoch;
//! - a point counts as applied *after* all that belongs to it is: copies dropped, cells written;
//! - what a load notes, it notes before it reads: epoch, then seq, then tick.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::clock::Millis;
use crate::key::TagHash;
use crate::progress::Progress;
use crate::proofs::{Proof, Proofs};
use crate::rule::needless::Census;
use crate::rule::seq::{Epoch, Era, Generation, Point, Seq, Tick};
use crate::rule::table::{TableCopy, TagTable};
use crate::sync::{Mutex, lock};
use crate::wire::message::Targets;

/// What a load notes before it reads anything: whatever is invalidated later is then newer than what the load brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) epoch: Epoch,
    /// The highest point that the lane had told.
    pub(crate) born: Point,
    pub(crate) tick: Tick,
    pub(crate) at: Millis,
}

/// What is known when a reply has come, by which that is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Millis,
    pub(crate) era: Era,
}

/// The present state of the lane as known here.
#[derive(Debug)]
pub(crate) struct View {
    epoch: AtomicU64,
    /// The latest epoch that this instance began in step with the lane.
    in_step_since: AtomicU64,
    /// From which epoch on copies may be served without proof, as far as that is allowed at all.
    vouched_from: AtomicU64,
    /// Until when it is proven that nothing was missed, on this process's clock. Zero: not at all.
    proof: AtomicU64,
    /// Over which connection calls went when that was asked, or a later proof.
    proof_line: AtomicU64,
    /// Until when copies may be served without proof, if their policy allows it: nobody who could prove them has answered lately.
    excused: AtomicU64,
    /// How often that was done.
    served_unproven: AtomicU64,
    /// How old the proof is, and how long there was none. Locked with each change of `proof`, inside `known` where that is locked, too.
    proofs: Mutex<Proofs>,
    generation: AtomicU64,
    table: TagTable,
    /// The highest point that the lane has told. A new era resets it. An epoch ends with this locked.
    known: Mutex<Point>,
    tick: AtomicU64,
    /// Own bumps that have no seq yet.
    unanswered: Mutex<Unanswered>,
    /// How many of them there are.
    unanswered_len: AtomicUsize,
    /// The server's clock less this process's, in milliseconds.
    server_offset: AtomicI64,
    /// How far the lane is applied.
    pub(crate) progress: Progress,
}

/// Own bumps under way: the tick of the latest for each target.
#[derive(Debug, Default)]
struct Unanswered {
    tags: HashMap<TagHash, Tick>,
    all: Option<Tick>,
    /// Those of a tag, or of everything, that were answered in another era than was known here then: their seqs cannot take the place of
    /// their ticks, for they compare with none that is known.
    elsewhere: HashMap<Option<TagHash>, (Tick, Point)>,
}

/// More tags than these, bumped while the lane's era is not met here, count as everything.
const MOST_ELSEWHERE: usize = 10_000;

impl View {
    /// A view without proof from `now` on. Epoch and generation begin above zero, which no entry carries.
    pub(crate) fn new(cells: u32, now: Millis) -> Self {
        Self {
            epoch: AtomicU64::new(1),
            in_step_since: AtomicU64::new(1),
            vouched_from: AtomicU64::new(0),
            proof: AtomicU64::new(0),
            proof_line: AtomicU64::new(0),
            excused: AtomicU64::new(0),
            served_unproven: AtomicU64::new(0),
            proofs: Mutex::new(Proofs::none_since(now)),
            generation: AtomicU64::new(1),
            table: TagTable::new(cells),
            known: Mutex::new(Point::default()),
            tick: AtomicU64::new(1),
            unanswered: Mutex::new(Unanswered::default()),
            unanswered_len: AtomicUsize::new(0),
            server_offset: AtomicI64::new(0),
            progress: Progress::new(),
        }
    }

    // --- what a hit compares

    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// Whether a copy of this epoch may be served without proof, as far as that is allowed at all: nobody was promised more in a later one,
    /// and nobody has doubted it.
    pub(crate) fn vouches_for(&self, epoch: Epoch) -> bool {
        epoch.0 >= self.vouched_from.load(Ordering::Acquire)
    }

    /// Somebody is told that all up to a point is applied here: copies of epochs before may lack some of that, for what is told while an
    /// instance is out of step is never heard.
    pub(crate) fn promise(&self) {
        self.vouched_from.fetch_max(self.in_step_since.load(Ordering::Acquire), Ordering::AcqRel);
    }

    pub(crate) fn proven(&self, now: Millis) -> bool {
        now.0 < self.proof.load(Ordering::Acquire)
    }

    /// Whether that was asked when calls went over this connection already: then it was asked of the process that answers over it.
    pub(crate) fn proven_of(&self, line: u64, now: Millis) -> bool {
        // In this order: a later proof may be read with an earlier one's time, and holds for that too.
        self.proven(now) && self.proof_line.load(Ordering::Acquire) >= line
    }

    /// Whether what cannot be proven may be served: only while there is no proof for anything.
    pub(crate) fn excuses(&self, now: Millis) -> bool {
        self.excused(now) && !self.proven(now)
    }

    /// That was done.
    pub(crate) fn count_unproven(&self) {
        self.served_unproven.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    // --- what a load notes and what is judged by it

    pub(crate) fn note(&self, now: Millis) -> Noted {
        let epoch = self.epoch();
        let (born, tick) = self.known();
        Noted { epoch, born, tick, at: now }
    }

    pub(crate) fn moment(&self, now: Millis) -> Moment {
        Moment { now, era: self.era() }
    }

    /// The highest point and tick known here: what a caller may ask of a load it waits for.
    pub(crate) fn known(&self) -> (Point, Tick) {
        let known = *lock(&self.known);
        (known, Tick(self.tick.load(Ordering::Acquire)))
    }

    /// What the lane is told by whoever speaks to it: below this point it cannot stand, unless it has forgotten some.
    pub(crate) fn floor(&self) -> Point {
        *lock(&self.known)
    }

    pub(crate) fn era(&self) -> Era {
        lock(&self.known).era
    }

    /// Rule T: none of `tags`, nor everything, was bumped after `since`, by anybody; nor, after `tick`, by this process.
    pub(crate) fn unmoved_since(&self, since: Seq, tick: Tick, tags: &[TagHash]) -> bool {
        // The ticks before the cells: a bump that is answered leaves the ticks when it stands in the cells, so looked at in this order
        // it is found in one of them.
        self.no_own_bump_after(tick, tags) && self.table.unmoved_since(since, tags)
    }

    fn no_own_bump_after(&self, tick: Tick, tags: &[TagHash]) -> bool {
        if self.unanswered_len.load(Ordering::Acquire) == 0 {
            return true;
        }
        let own = lock(&self.unanswered);
        own.all.is_none_or(|own| own <= tick) && tags.iter().all(|tag| own.tags.get(tag).is_none_or(|own| *own <= tick))
    }

    /// The size of the table.
    pub(crate) fn cells(&self) -> u32 {
        self.table.size()
    }

    /// Begins a count of the copies that bumps of other tags hide.
    pub(crate) fn census(&self) -> Census {
        Census::of(self.era(), self.table.sample())
    }

    // --- the server's clock

    pub(crate) fn server_millis(&self, now: Millis) -> u64 {
        now.0.saturating_add_signed(self.server_offset.load(Ordering::Relaxed))
    }

    fn set_server_clock(&self, now: Millis, server_millis: u64) {
        let offset = i64::try_from(i128::from(server_millis) - i128::from(now.0)).unwrap_or_default();
        self.server_offset.store(offset, Ordering::Relaxed);
    }

    // --- what others did

    /// Ends the epoch: nothing held here is proven any more.
    pub(crate) fn lose(&self, now: Millis) {
        let known = lock(&self.known);
        self.end_epoch(now);
        drop(known);
    }

    /// Ends the epoch by doubt: neither that it was loaded lately, nor that nobody can be asked, lets a copy of before be served.
    pub(crate) fn doubt(&self, now: Millis) {
        let known = lock(&self.known);
        let Epoch(begun) = self.end_epoch(now);
        self.vouched_from.fetch_max(begun, Ordering::AcqRel);
        drop(known);
    }

    /// Ends the epoch and takes the lane's point over, which may be of a new era; unless another epoch than `present` has begun by then.
    /// Returns the epoch begun: who notes it has met the era that it is proven by.
    pub(crate) fn meet(&self, told: Point, present: Option<Epoch>, now: Millis) -> Option<Epoch> {
        let mut known = lock(&self.known);
        if present.is_some_and(|present| present != self.epoch()) {
            return None;
        }
        if known.era == told.era {
            known.seq = known.seq.max(told.seq);
        } else {
            // Seqs of two eras do not compare.
            *known = told;
        }
        Some(self.end_epoch(now))
    }

    /// With `known` locked.
    fn end_epoch(&self, now: Millis) -> Epoch {
        let mut proofs = lock(&self.proofs);
        proofs.lost(now);
        self.proof.store(0, Ordering::Release);
        // The next one may have been asked of a process that was there before.
        self.proof_line.store(0, Ordering::Release);
        drop(proofs);
        Epoch(self.epoch.fetch_add(1, Ordering::AcqRel).saturating_add(1))
    }

    /// The present epoch, and up to where everything was applied when it was looked at.
    pub(crate) fn position(&self) -> (Epoch, Point) {
        let known = lock(&self.known);
        let (epoch, applied) = (self.epoch(), self.progress.applied());
        // Of another era than is known it says nothing: that one's table may not be here.
        let here = if applied.era == known.era { applied } else { Point::default() };
        drop(known);
        (epoch, here)
    }

    /// Takes over the table of the lane that was `told`, in the epoch that has begun with it.
    pub(crate) fn take_over(&self, begun: Epoch, told: Point, table: &TableCopy, (now, server_millis): (Millis, u64)) {
        self.in_step_since.fetch_max(begun.0, Ordering::AcqRel);
        self.set_server_clock(now, server_millis);
        self.table.merge(table);
        self.moved();
        self.clear_up(told);
    }

    /// Renews the proof: all up to where the lane stood when that was asked is applied here; calls went over connection `line` then.
    pub(crate) fn prove(&self, line: u64, proof: Proof) {
        let mut proofs = lock(&self.proofs);
        proofs.renewed(proof);
        self.proof_line.fetch_max(line, Ordering::AcqRel);
        self.proof.store(proof.until.0, Ordering::Release);
    }

    /// Renews the proof, unless another epoch has begun since `present` was read.
    pub(crate) fn prove_in(&self, present: Epoch, line: u64, proof: Proof) -> bool {
        let known = lock(&self.known);
        let current = self.epoch() == present;
        if current {
            let mut proofs = lock(&self.proofs);
            self.proof_line.fetch_max(line, Ordering::AcqRel);
            if self.proof.fetch_max(proof.until.0, Ordering::AcqRel) < proof.until.0 {
                proofs.renewed(proof);
            }
        }
        drop(known);
        current
    }

    /// Nobody who could prove anything has answered: until then, what may be served without proof is.
    pub(crate) fn excuse(&self, until: Millis) {
        self.excused.store(until.0, Ordering::Release);
    }

    /// Whether that was found out lately.
    pub(crate) fn excused(&self, now: Millis) -> bool {
        now.0 < self.excused.load(Ordering::Acquire)
    }

    /// How often a copy was served without proof.
    pub(crate) fn served_unproven(&self) -> u64 {
        self.served_unproven.load(Ordering::Relaxed)
    }

    /// How old the proof of `now` is, and how long there was none up to then.
    pub(crate) fn proofs(&self, now: Millis) -> (Option<Duration>, Duration) {
        let proofs = lock(&self.proofs);
        (proofs.age(now), proofs.without(now))
    }

    /// A check's answer: the server's clock.
    pub(crate) fn checked(&self, now: Millis, server_millis: u64) {
        self.set_server_clock(now, server_millis);
    }

    /// Applies the tags, prefixes and "everything" of a bump at `at`.
    pub(crate) fn apply(&self, targets: &Targets, at: Point) {
        for tag in targets.tags.iter().chain(&targets.prefixes) {
            self.table.bump(*tag, at.seq);
        }
        if targets.all {
            self.table.bump_all(at.seq);
        }
        if moves_table(targets) {
            self.moved();
        }
        self.told(at);
    }

    /// Takes note of a point. One of another era is the follower's to take over, with all that belongs to it.
    fn told(&self, point: Point) {
        let mut known = lock(&self.known);
        if known.era == point.era {
            known.seq = known.seq.max(point.seq);
        }
    }

    /// After the cells: an entry that saw them before they were written is then looked at again.
    fn moved(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    // --- what this process does

    /// Makes an own bump count here without a seq: before it is sent, and again when its answer is given up, so that what was
    /// loaded in between counts as older than it, too. Returns the tick that stands for it.
    pub(crate) fn begin_own(&self, targets: &Targets) -> Tick {
        let mut own = lock(&self.unanswered);
        let tick = Tick(self.tick.fetch_add(1, Ordering::AcqRel).saturating_add(1));
        for tag in targets.tags.iter().chain(&targets.prefixes) {
            own.tags.insert(*tag, tick);
        }
        if targets.all {
            own.all = Some(tick);
        }
        self.count_unanswered(&own);
        drop(own);
        if moves_table(targets) {
            self.moved();
        }
        tick
    }

    /// Own bumps with ticks up to `upto` were answered at `at`: the seq takes the ticks' place. A later bump of the same target
    /// has a later tick, which stays. Where `at` is of an era not met yet, or no longer known, the ticks stay until that is cleared up.
    pub(crate) fn end_own(&self, targets: &Targets, upto: Tick, at: Point) {
        self.apply(targets, at);
        let hashes = targets.tags.iter().chain(&targets.prefixes);
        let mut own = lock(&self.unanswered);
        if self.era() != at.era {
            let tags = hashes.map(|tag| Some(*tag)).chain(targets.all.then_some(None));
            own.elsewhere.extend(tags.map(|tag| (tag, (upto, at))));
            own.bound(at);
            self.count_unanswered(&own);
            return;
        }
        for tag in hashes {
            own.forget(*tag, upto);
        }
        if targets.all {
            own.forget_all(upto);
        }
        self.count_unanswered(&own);
    }

    /// The table of the lane as it stood at `told` is here: it has what was bumped until then, and of other eras nothing is usable.
    fn clear_up(&self, told: Point) {
        let mut own = lock(&self.unanswered);
        let (later, answered): (HashMap<_, _>, HashMap<_, _>) =
            std::mem::take(&mut own.elsewhere).into_iter().partition(|(_, (_, at))| at.era == told.era && at.seq > told.seq);
        own.elsewhere = later;
        for (tag, (tick, _)) in answered {
            match tag {
                Some(tag) => own.forget(tag, tick),
                None => own.forget_all(tick),
            }
        }
        self.count_unanswered(&own);
    }

    /// The latest tick given out.
    pub(crate) fn tick(&self) -> Tick {
        Tick(self.tick.load(Ordering::Acquire))
    }

    fn count_unanswered(&self, own: &Unanswered) {
        self.unanswered_len.store(own.tags.len().saturating_add(usize::from(own.all.is_some())), Ordering::Release);
    }

    /// The next point of a line that only this process sees: a cache without a shared tier.
    pub(crate) fn next_alone(&self) -> Point {
        let mut known = lock(&self.known);
        known.seq = Seq(known.seq.0.saturating_add(1));
        *known
    }
}

impl Unanswered {
    /// Keeps what was answered elsewhere from growing for as long as its era is not met.
    fn bound(&mut self, at: Point) {
        if self.elsewhere.len() > MOST_ELSEWHERE {
            let Some(tick) = self.elsewhere.values().map(|(tick, _)| *tick).max() else { return };
            self.all = self.all.max(Some(tick));
            self.tags.retain(|_, own| *own > tick);
            self.elsewhere = HashMap::from([(None, (tick, at))]);
        }
    }

    fn forget(&mut self, tag: TagHash, upto: Tick) {
        if self.tags.get(&tag).is_some_and(|tick| *tick <= upto) {
            self.tags.remove(&tag);
        }
    }

    /// Everything includes them.
    fn forget_all(&mut self, upto: Tick) {
        self.tags.retain(|_, tick| *tick > upto);
        self.all = self.all.filter(|tick| *tick > upto);
    }
}

fn moves_table(targets: &Targets) -> bool {
    targets.all || !targets.tags.is_empty() || !targets.prefixes.is_empty()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn whoever_judges_while_the_seq_takes_the_place_of_the_tick_sees_one_of_them() {
        const ROUNDS: u64 = 1_000;
        // Many other tags behind the one that is bumped: what is looked at last is looked at late.
        let others: Vec<TagHash> = (1_000..5_000).map(TagHash).collect();
        let (view, bumped, overlooked) = (View::new(1 << 16, Millis(0)), AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    let targets = Targets { tags: vec![TagHash(u64::MAX / round)], ..Targets::default() };
                    let tick = view.begin_own(&targets);
                    bumped.store(round, Ordering::Release);
                    std::thread::yield_now();
                    view.end_own(&targets, tick, Point { era: Era::default(), seq: Seq(round) });
                }
                bumped.store(u64::MAX, Ordering::Release);
            });
            loop {
                let round = bumped.load(Ordering::Acquire);
                if round == u64::MAX {
                    break;
                }
                let tags: Vec<TagHash> = [TagHash(u64::MAX / round.max(1))].into_iter().chain(others.iter().copied()).collect();
                if round > 0 && view.unmoved_since(Seq(0), Tick(0), &tags) {
                    overlooked.store(true, Ordering::Relaxed);
                }
            }
        });
        assert!(!overlooked.into_inner(), "a bump that had begun was seen neither as a tick nor as a seq");
    }

    #[test]
    fn an_own_bump_that_is_answered_in_another_era_counts_by_its_tick_until_that_is_taken_over() {
        let (view, tag, targets) =
            (View::new(1 << 12, Millis(0)), TagHash(7), |tag| Targets { tags: vec![tag], ..Targets::default() });
        let at = |era, seq| Point { era: Era(era), seq: Seq(seq) };
        view.meet(at(1, 900), None, Millis(0));
        let noted = view.note(Millis(0));
        // The lane has begun another era, and the server's clock has gone back.
        let own = view.begin_own(&targets(tag));
        view.end_own(&targets(tag), own, at(2, 5));
        assert!(!view.unmoved_since(noted.born.seq, noted.tick, &[tag]));
        let begun = view.meet(at(2, 4), None, Millis(0)).unwrap();
        view.take_over(begun, at(2, 4), &TableCopy::default(), (Millis(0), 0));
        assert!(!view.unmoved_since(Seq(4), noted.tick, &[tag]), "not in that table");
        let begun = view.meet(at(2, 5), None, Millis(0)).unwrap();
        view.take_over(begun, at(2, 5), &TableCopy::default(), (Millis(0), 0));
        assert!(view.unmoved_since(Seq(5), noted.tick, &[tag]));
        assert_eq!(view.unanswered_len.load(Ordering::Acquire), 0);
    }

    #[test]
    fn a_proof_vouches_for_no_connection_that_one_of_another_epoch_was_asked_over() {
        let view = View::new(64, Millis(0));
        let (proof, point) = (Proof { asked: Millis(0), until: Millis(50), now: Millis(0) }, Point { era: Era(1), seq: Seq(1) });
        view.prove(2, proof);
        assert!(view.proven_of(2, Millis(1)));
        view.meet(point, None, Millis(0));
        view.prove(1, proof);
        assert!(view.proven_of(1, Millis(1)) && !view.proven_of(2, Millis(1)));
    }

    #[test]
    fn a_point_of_another_era_than_is_known_is_no_position() {
        let view = View::new(1 << 12, Millis(0));
        let at = |era, seq| Point { era: Era(era), seq: Seq(seq) };
        view.meet(at(1, 5), None, Millis(0));
        view.progress.confirm(at(1, 5), view.progress.ask());
        assert_eq!(view.position().1, at(1, 5));
        view.meet(at(2, 5), None, Millis(0));
        assert_eq!(view.position().1, Point::default());
    }

    #[test]
    fn what_is_told_of_another_era_is_the_followers_to_take_over() {
        let view = View::new(1 << 8, Millis(0));
        view.meet(Point { era: Era(1), seq: Seq(100) }, None, Millis(0));
        view.apply(&Targets::default(), Point { era: Era(2), seq: Seq(700) });
        assert_eq!(view.floor(), Point { era: Era(1), seq: Seq(100) });
        view.meet(Point { era: Era(2), seq: Seq(20) }, None, Millis(0));
        assert_eq!(view.note(Millis(0)).born, Point { era: Era(2), seq: Seq(20) });
    }

    #[test]
    fn who_comes_late_proves_nothing_of_another_epoch() {
        let view = View::new(1 << 8, Millis(0));
        let (before, point) = (view.epoch(), Point { era: Era(1), seq: Seq(100) });
        let proof = Proof { asked: Millis(0), until: Millis(50), now: Millis(0) };
        let epoch = view.meet(point, Some(before), Millis(0)).expect("it is the present one");
        assert!(view.prove_in(epoch, 0, proof) && view.proven(Millis(49)));
        view.lose(Millis(0));
        assert!(!view.prove_in(epoch, 0, proof) && !view.proven(Millis(0)));
        assert_eq!(view.meet(Point { era: Era(2), seq: Seq(7) }, Some(epoch), Millis(0)), None);
        assert_eq!(view.floor(), point);
    }

    #[test]
    fn without_proof_is_only_served_what_nobody_could_prove() {
        let view = View::new(1 << 8, Millis(0));
        assert!(!view.excuses(Millis(5)));
        view.excuse(Millis(10));
        assert!(view.excuses(Millis(9)) && !view.excuses(Millis(10)));
        view.prove(0, Proof { asked: Millis(0), until: Millis(20), now: Millis(0) });
        assert!(!view.excuses(Millis(9)), "what is suspect can be asked about now");
    }
}
