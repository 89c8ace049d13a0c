//! `get_many`: a read of many keys that loads nothing, from a miss in L1 on.

use std::pin::{Pin, pin};

use tokio::time::{Sleep, sleep};

use super::super::answer::Maybe;
use super::super::ask::Flight;
use super::super::fetch::{Called, Waiting, plan};
use super::super::{Part, Value};
use super::keys::{Asked, Batch};
use crate::flight::outcome::{Begun, Outcome};
use crate::flight::{Entered, Landed, Purpose};
use crate::key::check_key;

/// One key that is read, with the flight that this call leads; without one where a load is under way, which it does not wait for: then what it
/// reads enters nothing.
struct Reading<'a> {
    asked: Asked<'a>,
    flight: Option<Flight>,
    begun: Begun,
}

impl Part {
    /// Answers what is open in a batch with what the shared tier has.
    pub(super) async fn look_up_many<V: Value>(&self, batch: &mut Batch<'_, V>) {
        if self.seek_proof().await {
            batch.look_at_l1();
        }
        let instance = self.instance();
        instance.counters.l1_misses.add(u64::try_from(batch.missed_here()).unwrap_or_default());
        batch.open.retain(|asked| check_key(asked.key.text).is_ok());
        let unasked = !batch.options.reads.l2() || batch.options.fresh;
        if batch.open.is_empty() || unasked || self.closed() || self.shared.tier.is_none() {
            return;
        }
        let noted = instance.view.note(instance.now());
        let (mut readings, mut awaited) = (Vec::with_capacity(batch.open.len()), Vec::new());
        for asked in std::mem::take(&mut batch.open) {
            let begun = Begun { noted, prefixes: instance.prefixes(asked.key.text), writes: None };
            match instance.flights.enter(asked.key.hash, plan::<Maybe<V>>(Purpose::Read, begun)) {
                Entered::Lead(flight) => readings.push(Reading { asked, flight: Some(flight), begun }),
                Entered::Apart => readings.push(Reading { asked, flight: None, begun }),
                Entered::Join(flight) => awaited.push((asked, flight, self.called(&begun))),
            }
        }
        self.read_many(batch, readings).await;
        // Only now: two that read what the other wants do not wait for each other. Twice what a leader can take, who comes to no limit of its
        // own when nobody polls it; for all of them together.
        let mut over = pin!(sleep(self.shared.config.read_limit.saturating_mul(2)));
        for (asked, flight, called) in awaited {
            let answer = match self.overheard(flight, &called, over.as_mut()).await {
                Some(answer) => answer,
                // What became of it is of no use to this call, which does what a single one would.
                None => Box::pin(self.look_up_missed(asked.key, batch.options)).await.map(|found| found.answer),
            };
            if let Some(answer) = answer {
                batch.answer(asked.place, answer);
            }
        }
    }

    /// What somebody else's read brings: an answer, that there is none, or nothing of use.
    async fn overheard<V: Value>(&self, flight: Waiting, called: &Called, over: Pin<&mut Sleep>) -> Option<Option<Maybe<V>>> {
        let landed = tokio::select! {
            // In this order: what has landed is taken also when it is over.
            biased;
            landed = flight => landed,
            () = over => return Some(None),
        };
        match landed {
            Landed::Outcome(Outcome::Entry(entry), flight) => self.take(&entry, flight.noted(), called).map(Some),
            Landed::Outcome(..) => Some(None),
            Landed::Lead(_) | Landed::Anew => None,
        }
    }

    /// Reads the shared tier, in one go, and plants nothing.
    async fn read_many<V: Value>(&self, batch: &mut Batch<'_, V>, readings: Vec<Reading<'_>>) {
        let (mut asked, now) = (Vec::with_capacity(readings.len()), self.now());
        for reading in readings {
            match self.readable_tier(reading.asked.key, &reading.begun, now) {
                Some(_) => asked.push(reading),
                None => reading.end(),
            }
        }
        let Some(tier) = self.shared.tier.as_ref().filter(|_| !asked.is_empty()) else { return };
        let names = tier.names(asked.iter().map(|reading| reading.asked.key.text));
        let answers = tier.read_many(&names.all()).await;
        let at = self.moment();
        for (reading, answer) in asked.into_iter().zip(answers) {
            let Some((entry, answer)) = answer.ok().and_then(|held| self.found(reading.asked.key, held, &reading.begun, at)) else {
                reading.end();
                continue;
            };
            batch.answer(reading.asked.place, answer);
            if let Some(flight) = reading.flight {
                self.land(flight, reading.asked.key, entry, batch.options.writes.l1());
            }
        }
    }
}

impl Reading<'_> {
    /// There is nothing.
    fn end(self) {
        if let Some(flight) = self.flight {
            flight.finish(Outcome::Nothing, || {});
        }
    }
}
