//! What follows where L1 lacks some keys of a batch, round by round: a turn for each, one look at the shared tier for all that this call
//! leads, one load for what is nowhere, and only then a wait for others.
//!
//! While this call leads a flight it waits for nobody in this instance, so two batches that lead what the other wants never wait for each
//! other; and what it loads itself is stored before it waits for another instance's ticket, so two instances do not either.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::super::answer::Maybe;
use super::super::ask::{Flight, Keep, POLL, jittered, past};
use super::super::fetch::{Called, MAX_ANEW, MAX_WAITS, Waiting, plan};
use super::super::load::is_running;
use super::super::places::lend;
use super::super::telling::{AsLoadError, Heard, Telling as _};
use super::super::{Part, Rules, TieredCache, Value};
use super::keys::{Asked, Batch};
use crate::all::all;
use crate::clock::{Millis, Stopwatch};
use crate::coherence::waits::Wait;
use crate::error::{CacheError, LoadError};
use crate::flight::outcome::{Begun, Failure, Outcome};
use crate::flight::{Entered, Landed, Purpose};
use crate::key::check_key;
use crate::l1::Entry;
use crate::l2::Prospect;
use crate::lease::Ticket;
use crate::rule::policy::Policy;
use crate::rule::stamp::Stamp;

/// How long after the first word of many a batch looks at them.
const TOGETHER: Duration = Duration::from_millis(1);

/// A key whose flight this call leads.
pub(super) struct Led<'a> {
    pub(super) asked: Asked<'a>,
    pub(super) flight: Flight,
    /// How long another instance's ticket has been waited for.
    pub(super) waited: Duration,
    /// The value that another instance refreshes.
    pub(super) refreshed: Option<Stamp>,
    /// What answers should the load fail, if the policy says so.
    pub(super) stale: Option<Arc<Entry>>,
    /// How often a claim came too late.
    pub(super) looks: u32,
    /// Whether another instance is at it, which is waited for before the next look.
    pub(super) awaits: bool,
}

impl<'a> Led<'a> {
    fn new(asked: Asked<'a>, flight: Flight) -> Self {
        Self { asked, flight, waited: Duration::ZERO, refreshed: None, stale: None, looks: 0, awaits: false }
    }

    /// What was noted when the flight began.
    pub(super) fn begun(&self) -> &Begun {
        self.flight.noted()
    }
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

/// What a call asks of one part, and what is open of it.
pub(super) struct Side<'b, 'a, V> {
    pub(super) batch: &'b mut Batch<'a, V>,
    pub(super) open: Open<'a>,
    pub(super) to_load: Vec<ToLoad<'a>>,
}

impl TieredCache {
    /// Answers what is open in the batches of a call: in all parts beside each other, and with one load for all of them.
    pub(super) async fn fetch_many<V, E, L, N, F, Fut>(
        &self,
        batches: &mut [Batch<'_, V>],
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
        let mut sides: Vec<Side<'_, '_, V>> = batches.iter_mut().filter(|batch| !batch.open.is_empty()).map(Side::of).collect();
        all(sides.iter_mut().map(Side::prove)).await;
        let missed: usize = sides.iter().map(|side| side.batch.missed_here()).sum();
        self.counters().l1_misses.add(u64::try_from(missed).unwrap_or_default());
        let (mut anew, mut pause, mut given_away) = (0, POLL.0, None);
        loop {
            // All of them before the first byte.
            for side in &mut sides {
                side.enter(rules.policy())?;
            }
            all(sides.iter_mut().map(|side| side.ask(rules.policy()))).await;
            if anew < MAX_ANEW {
                // Each of them: no `any`, which would end with the first.
                let anew_here = sides.iter_mut().fold(false, |any, side| side.begin_anew() | any);
                anew += u32::from(anew_here);
            }
            if sides.iter().any(|side| !side.to_load.is_empty() || !side.open.alone.is_empty()) {
                lend(&mut given_away);
                self.load_many(&mut sides, rules, &mut load).await?;
            }
            if sides.iter().any(|side| !side.batch.open.is_empty()) {
                all(sides.iter_mut().filter(|side| !side.batch.open.is_empty()).map(Side::prove)).await;
            } else if sides.iter().flat_map(|side| &side.open.led).any(|led| !led.awaits) {
                // It has moved on meanwhile: for that nobody is waited for.
            } else if sides.iter().any(|side| !side.open.led.is_empty()) {
                lend(&mut given_away);
                wait_for_others(&mut sides, self.config().wait_budget, &mut pause).await;
            } else if sides.iter().any(|side| !side.open.awaited.is_empty()) {
                lend(&mut given_away);
                wait_many(&mut sides).await?;
            } else {
                return Ok(());
            }
        }
    }
}

/// Waits until there is word of one of those that other instances load, or the time of one of their tickets is over.
async fn wait_for_others<V: Value>(sides: &mut [Side<'_, '_, V>], budget: Duration, pause: &mut Duration) {
    let watch = Stopwatch::start();
    let mut waits: Vec<Wait<'_>> = Vec::new();
    let asked = sides.iter().filter(|side| !side.open.led.is_empty()).map(|side| {
        let (part, led) = (side.batch.part, &side.open.led);
        waits.push(part.instance().waits.wait(led.iter().map(|led| led.asked.key.hash)));
        part.ask_to_be_told(led)
    });
    let mut longest = Some(budget);
    for told in all(asked.collect::<Vec<_>>()).await {
        longest = longest.zip(told).map(|(longest, told)| longest.min(told));
    }
    let led = || sides.iter().flat_map(|side| &side.open.led);
    // Who has the least of it left comes to its end in time.
    let left = led().map(|led| budget.saturating_sub(led.waited)).min().unwrap_or_default();
    let longest = longest.unwrap_or_else(|| jittered(pause));
    let mut is_told = |cx: &mut Context<'_>| waits.iter_mut().any(|wait| wait.poll_told(cx).is_ready());
    let told = poll_fn(|cx| if is_told(cx) { Poll::Ready(()) } else { Poll::Pending });
    if timeout(longest.min(left), told).await.is_ok() {
        // What is stored together is told of at once, and looked at in one go.
        sleep(TOGETHER).await;
        if let Some(part) = sides.first().map(|side| side.batch.part) {
            part.instance().counters.ticket_wakes.one();
        }
    }
    drop(waits);
    let led = sides.iter_mut().flat_map(|side| &mut side.open.led);
    for led in led {
        led.waited = led.waited.saturating_add(watch.elapsed());
        led.awaits = false;
    }
}

/// Waits for one of those that others lead, and takes with it what the rest have come to by then. Who has led one of them for as long as
/// there was patience for the first, without an end, is not waited for either: many that one caller leads and polls no more cost one
/// patience, and not one each.
async fn wait_many<V: Value, E: Send + Sync + 'static>(sides: &mut [Side<'_, '_, V>]) -> Result<(), LoadError<E>> {
    let Some(nth) = sides.iter().position(|side| !side.open.awaited.is_empty()) else { return Ok(()) };
    let Some(awaited) = sides.get_mut(nth).and_then(|side| side.open.awaited.pop_front()) else { return Ok(()) };
    let rest = sides.iter_mut().flat_map(|side| &mut side.open.awaited);
    rest.for_each(|awaited| awaited.signs = awaited.flight.signs());
    let Awaited { asked, flight, called, .. } = awaited;
    let Some(side) = sides.get_mut(nth) else { return Ok(()) };
    let part = side.batch.part;
    let landed = part.landing_of(flight).await;
    let in_vain = landed.is_none();
    match landed {
        Some(landed) => part.take_landed(side.batch, &mut side.open, (asked, &called), landed)?,
        None => side.open.alone.push(asked),
    }
    for Side { batch, open, .. } in sides {
        for awaited in std::mem::take(&mut open.awaited) {
            match awaited.flight.look() {
                Some(landed) => batch.part.take_landed(batch, open, (awaited.asked, &awaited.called), landed)?,
                None if in_vain && awaited.flight.signs() == awaited.signs => open.alone.push(awaited.asked),
                None => open.awaited.push_back(awaited),
            }
        }
    }
    Ok(())
}

impl<'b, 'a, V: Value> Side<'b, 'a, V> {
    fn of(batch: &'b mut Batch<'a, V>) -> Self {
        Self { batch, open: Open { led: Vec::new(), alone: Vec::new(), awaited: VecDeque::new() }, to_load: Vec::new() }
    }

    /// Looks for a proof, where there is none, and at L1 once more, where one was found.
    async fn prove(&mut self) {
        if self.batch.part.seek_proof().await {
            self.batch.look_at_l1();
        }
    }

    /// A turn for each key that has none.
    fn enter<E: Send + Sync + 'static>(&mut self, policy: &Policy) -> Result<(), LoadError<E>> {
        if !self.batch.open.is_empty() && self.batch.part.fails(policy) {
            return Err(LoadError::Unproven);
        }
        self.batch.part.enter_many(self.batch, &mut self.open)
    }

    /// One look at the shared tier for all that this call leads.
    async fn ask(&mut self, policy: &Policy) {
        self.to_load = self.batch.part.ask_many(self.batch, &mut self.open, policy).await;
    }

    /// By an epoch that has ended nothing can be judged, and nothing that is loaded is kept: those keys begin anew. Says whether there are any.
    fn begin_anew(&mut self) -> bool {
        let epoch = self.batch.part.instance().view.epoch();
        for over in self.to_load.extract_if(.., |one| one.led.begun().noted.epoch != epoch) {
            drop(over.led.flight.unstow());
            over.led.flight.finish(Outcome::Nothing, || {});
            self.batch.open.push(over.led.asked);
        }
        !self.batch.open.is_empty()
    }
}

impl Part {
    /// Asks to be told of the tickets of other instances. Returns for how long there is nothing else to be done; nothing where nobody tells of one
    /// of these.
    async fn ask_to_be_told(&self, led: &[Led<'_>]) -> Option<Duration> {
        let tier = self.shared.tier.as_ref()?;
        // Of a value that is refreshed nobody is told.
        let mut longest = if led.iter().any(|led| led.refreshed.is_some()) { None } else { Some(Duration::MAX) };
        let names = tier.names(led.iter().filter(|led| led.refreshed.is_none()).map(|led| led.asked.key.text));
        let listening = self.instance().waits.is_listening();
        for awaited in tier.wait_many(&names.all()).await {
            longest = match awaited {
                Ok(Prospect::Not(_)) => return Some(Duration::ZERO),
                Ok(Prospect::Told(left)) if listening => longest.map(|longest| longest.min(past(left))),
                Ok(Prospect::Told(_) | Prospect::Untold) | Err(_) => None,
            };
        }
        longest
    }

    /// A turn for each key that has none, by what is known before the first of them.
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
        // Nearly always this call leads all of them.
        open.led.reserve(batch.open.len());
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
                Entered::Lead(flight) => open.led.push(Led::new(asked, flight)),
                // As for one key.
                Entered::Join(_) if batch.options.fresh => match instance.flights.seen(asked.key.hash) {
                    Some((Purpose::Read, _)) => {
                        let plan = plan::<Maybe<V>>(Purpose::Load, begun);
                        open.led.push(Led::new(asked, instance.flights.supersede(asked.key.hash, plan, || {})));
                    }
                    _ => open.alone.push(asked),
                },
                Entered::Join(flight) => open.awaited.push_back(Awaited { asked, flight, called: self.called(&begun), signs: 0 }),
                Entered::Apart => open.alone.push(asked),
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
            Landed::Lead(flight) => {
                if let Some(flight) = self.to_load::<Maybe<V>>(flight, asked.key) {
                    open.led.push(Led::new(asked, flight));
                    return Ok(());
                }
            }
            Landed::Outcome(Outcome::Entry(entry), flight) => {
                if let Some(answer) = self.take(&entry, flight.noted(), called) {
                    batch.answer(asked.place, answer);
                    return Ok(());
                }
            }
            // What another instance says of one key is no failure of a batch.
            Landed::Outcome(Outcome::Nothing | Outcome::Failed(Failure::Elsewhere(_)), _) | Landed::Anew => {}
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
        }
        batch.open.push(asked);
        Ok(())
    }

    /// What L1 has by now of a key that this call leads.
    pub(super) fn landed_meanwhile<V: Value>(&self, led: &Led<'_>, now: Millis) -> Option<(Arc<Entry>, Maybe<V>)> {
        let entry = self.landed(led.asked.key, now)?;
        if let Some(answer) = self.coalesced::<Maybe<V>>(&entry) {
            return Some((entry, answer));
        }
        self.tell_other_type::<Maybe<V>>(led.asked.key, &entry);
        None
    }
}
