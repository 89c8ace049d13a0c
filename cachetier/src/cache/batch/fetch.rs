//! What follows where L1 lacks some keys of a batch, round by round: a turn for each, one look at the shared tier for all that this call
//! leads, one load for what is nowhere, and only then a wait for others.
//!
//! While this call leads a flight it waits for nobody in this instance, so two batches that lead what the other wants never wait for each
//! other; and what it loads itself is stored before it waits for another instance's ticket, so two instances do not either.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::super::answer::Maybe;
use super::super::ask::{Flight, Keep, POLL};
use super::super::fetch::{Called, MAX_ANEW, MAX_WAITS, Waiting, plan};
use super::super::load::is_running;
use super::super::places::lend;
use super::super::telling::{AsLoadError, Heard, Telling as _};
use super::super::{Rules, TieredCache, Value};
use super::keys::{Asked, Batch};
use crate::error::{CacheError, LoadError};
use crate::flight::outcome::{Begun, Outcome};
use crate::flight::{Entered, Landed, Purpose};
use crate::key::check_key;
use crate::l1::Entry;
use crate::lease::Ticket;
use crate::rule::stamp::Stamp;

/// A key whose flight this call leads.
pub(super) struct Led<'a> {
    pub(super) asked: Asked<'a>,
    pub(super) flight: Flight,
    pub(super) begun: Begun,
    /// How long another instance's ticket has been waited for.
    pub(super) waited: Duration,
    /// The value that another instance refreshes.
    pub(super) refreshed: Option<Stamp>,
    /// What answers should the load fail, if the policy says so.
    pub(super) stale: Option<Arc<Entry>>,
    /// How often a claim came too late.
    pub(super) looks: u32,
}

/// A key to be loaded, and what may be kept of it.
pub(super) struct ToLoad<'a> {
    pub(super) led: Led<'a>,
    pub(super) keep: Keep,
}

/// A key whose flight somebody else leads. Nobody polls it while this call has something of its own to do: who does not poll is not woken to
/// lead, so it takes no turn from others.
struct Awaited<'a> {
    asked: Asked<'a>,
    flight: Waiting,
    called: Called,
    /// How many signs of life there were when this call last began to wait.
    signs: u64,
}

/// What is open, by what it needs next. Those without a turn stand in the batch.
pub(super) struct Open<'a> {
    pub(super) led: Vec<Led<'a>>,
    /// To be loaded for this caller, and kept nowhere.
    pub(super) alone: Vec<Asked<'a>>,
    awaited: VecDeque<Awaited<'a>>,
}

impl TieredCache {
    /// Answers what is open in a batch.
    pub(super) async fn fetch_many<V, E, L, N, F, Fut>(
        &self,
        batch: &mut Batch<'_, V>,
        rules: &impl Rules<V>,
        mut load: F,
    ) -> Result<(), LoadError<E>>
    where
        V: Value,
        E: Send + Sync + 'static,
        L: IntoIterator<Item = (N, V)>,
        N: AsRef<str>,
        F: FnMut(Vec<String>) -> Fut,
        Fut: Future<Output = Result<L, E>>,
    {
        if self.seek_proof().await {
            batch.look_at_l1(self);
        }
        self.instance().counters.l1_misses.add(u64::try_from(batch.open.len()).unwrap_or_default());
        let mut open = Open { led: Vec::new(), alone: Vec::new(), awaited: VecDeque::new() };
        let (mut anew, mut pause, mut given_away) = (0, POLL.0, None);
        loop {
            if !batch.open.is_empty() && self.fails(rules.policy()) {
                return Err(LoadError::Unproven);
            }
            self.enter_many(batch, &mut open)?;
            let mut to_load = self.ask_many(batch, &mut open, rules.policy()).await;
            if anew < MAX_ANEW && self.begin_anew(batch, &mut to_load) {
                anew += 1;
            }
            if !to_load.is_empty() || !open.alone.is_empty() {
                lend(&mut given_away);
                self.load_many(batch, &mut open, to_load, rules, &mut load).await?;
            }
            if !batch.open.is_empty() {
                if self.seek_proof().await {
                    batch.look_at_l1(self);
                }
            } else if !open.led.is_empty() {
                let budget = self.shared.config.wait_budget;
                // Who has the least of it left comes to its end in time.
                let left = open.led.iter().map(|led| budget.saturating_sub(led.waited)).min().unwrap_or_default();
                let jittered = pause.mul_f64(0.5 + fastrand::f64() / 2.0).min(left);
                lend(&mut given_away);
                sleep(jittered).await;
                open.led.iter_mut().for_each(|led| led.waited = led.waited.saturating_add(jittered));
                pause = pause.saturating_mul(2).min(POLL.1);
            } else if !open.awaited.is_empty() {
                lend(&mut given_away);
                self.wait_many(batch, &mut open).await?;
            } else {
                return Ok(());
            }
        }
    }

    /// A turn for each key that has none: all of them before the first byte, and by what is known before the first of them.
    fn enter_many<'a, V: Value, E: Send + Sync + 'static>(
        &self,
        batch: &mut Batch<'a, V>,
        open: &mut Open<'a>,
    ) -> Result<(), LoadError<E>> {
        if batch.open.is_empty() {
            return Ok(());
        }
        let instance = self.instance();
        if let Some(asked) = batch.open.iter().find(|asked| is_running(self.load_id(asked.key))) {
            instance.counters.recursions.one();
            return Err(LoadError::Recursive(asked.key.text.into()));
        }
        let noted = instance.view.note(instance.now());
        for mut asked in std::mem::take(&mut batch.open) {
            asked.turns += 1;
            if let Err(error) = check_key(asked.key.text) {
                self.tell_not_stored::<V>(asked.key, &CacheError::Key(error));
                open.alone.push(asked);
                continue;
            }
            if self.closed() || asked.turns > MAX_WAITS {
                open.alone.push(asked);
                continue;
            }
            let begun = Begun { noted, prefixes: instance.prefixes(asked.key.text), writes: None };
            match instance.flights.enter(asked.key.hash, plan::<Maybe<V>>(Purpose::Load, begun)) {
                Entered::Lead(flight) => {
                    open.led.push(Led { asked, flight, begun, waited: Duration::ZERO, refreshed: None, stale: None, looks: 0 });
                }
                Entered::Join(flight) => open.awaited.push_back(Awaited { asked, flight, called: self.called(&begun), signs: 0 }),
                Entered::Apart => open.alone.push(asked),
            }
        }
        Ok(())
    }

    /// By an epoch that has ended nothing can be judged, and nothing that is loaded is kept: those keys begin anew. Says whether there are
    /// any.
    fn begin_anew<'a, V>(&self, batch: &mut Batch<'a, V>, to_load: &mut Vec<ToLoad<'a>>) -> bool {
        let epoch = self.instance().view.epoch();
        for over in to_load.extract_if(.., |one| one.led.begun.noted.epoch != epoch) {
            drop(over.led.flight.unstow());
            over.led.flight.finish(Outcome::Nothing, || {});
            batch.open.push(over.led.asked);
        }
        !batch.open.is_empty()
    }

    /// Waits for one of those that others lead, and takes with it what the rest have come to by then. Who has led one of them for as long as
    /// there was patience for the first, without an end, is not waited for either: many that one caller leads and polls no more cost one
    /// patience, and not one each.
    async fn wait_many<'a, V: Value, E: Send + Sync + 'static>(
        &self,
        batch: &mut Batch<'a, V>,
        open: &mut Open<'a>,
    ) -> Result<(), LoadError<E>> {
        let Some(Awaited { asked, flight, called, .. }) = open.awaited.pop_front() else { return Ok(()) };
        open.awaited.iter_mut().for_each(|awaited| awaited.signs = awaited.flight.signs());
        let landed = self.landing_of(flight).await;
        let in_vain = landed.is_none();
        match landed {
            Some(landed) => self.take_landed(batch, open, (asked, &called), landed)?,
            None => open.alone.push(asked),
        }
        for awaited in std::mem::take(&mut open.awaited) {
            match awaited.flight.look() {
                Some(landed) => self.take_landed(batch, open, (awaited.asked, &awaited.called), landed)?,
                None if in_vain && awaited.flight.signs() == awaited.signs => open.alone.push(awaited.asked),
                None => open.awaited.push_back(awaited),
            }
        }
        Ok(())
    }

    /// What a flight that was waited for is to this call.
    fn take_landed<'a, V: Value, E: Send + Sync + 'static>(
        &self,
        batch: &mut Batch<'a, V>,
        open: &mut Open<'a>,
        (asked, called): (Asked<'a>, &Called),
        landed: Landed<Outcome, Ticket, Begun>,
    ) -> Result<(), LoadError<E>> {
        match landed {
            Landed::Lead(flight) => match flight.noted().copied() {
                Some(begun) if flight.purpose() == Some(Purpose::Load) => {
                    open.led.push(Led { asked, flight, begun, waited: Duration::ZERO, refreshed: None, stale: None, looks: 0 });
                    return Ok(());
                }
                // It only read, and found nothing, or was left: the next one is for loading.
                _ => flight.finish(Outcome::Nothing, || {}),
            },
            Landed::Outcome(Outcome::Entry(entry), flight) => {
                if let Some(answer) = self.take(&entry, flight.noted(), called) {
                    batch.answer(asked.place, answer);
                    return Ok(());
                }
            }
            Landed::Outcome(Outcome::Failed(failure), _) => match AsLoadError.heard(&failure) {
                Heard::Told(told) => {
                    self.instance().counters.coalesced.one();
                    return Err(told);
                }
                Heard::Again => {}
                Heard::Alone => {
                    open.alone.push(asked);
                    return Ok(());
                }
            },
            Landed::Outcome(Outcome::Nothing, _) | Landed::Anew => {}
        }
        batch.open.push(asked);
        Ok(())
    }

    /// What L1 has by now of a key that this call leads.
    pub(super) fn landed_meanwhile<V: Value>(&self, led: &Led<'_>) -> Option<(Arc<Entry>, Maybe<V>)> {
        let entry = self.landed(led.asked.key)?;
        if let Some(answer) = self.coalesced::<Maybe<V>>(&entry) {
            return Some((entry, answer));
        }
        self.tell_other_type::<Maybe<V>>(led.asked.key, &entry);
        None
    }
}
