//! `get`: a read that loads nothing, from a miss in L1 on.

use std::sync::Arc;

use tokio::time::timeout;

use super::answer::Answer;
use super::call::CallOptions;
use super::fetch::{MAX_WAITS, plan};
use super::open::Opened;
use super::served::{Answered, Origin};
use super::{Key, Part};
use crate::flight::outcome::{Begun, Outcome};
use crate::flight::{Entered, Landed, Purpose};
use crate::key::check_key;
use crate::l1::Entry;
use crate::view::Moment;
use crate::wire::slot::Slot;

impl Part {
    /// `get` after a miss in L1: reads the shared tier.
    pub(super) async fn look_up<A: Answer>(&self, key: Key<'_>, options: CallOptions) -> Option<Answered<A>> {
        if let Some(found) = self.prove(key, options).await {
            return Some(found);
        }
        if options.looks_here() {
            self.instance().counters.l1_misses.one();
        }
        if check_key(key.text).is_err() || self.closed() || self.shared.tier.is_none() {
            return None;
        }
        self.look_up_missed(key, options).await
    }

    /// `get` of a key that is known to be missing here, and that an entry can have.
    pub(super) async fn look_up_missed<A: Answer>(&self, key: Key<'_>, options: CallOptions) -> Option<Answered<A>> {
        if !options.reads.l2() || options.fresh {
            return None;
        }
        for _ in 0..MAX_WAITS {
            let begun = self.begin(key);
            let called = self.called(&begun);
            let flight = match self.instance().flights.enter(key.hash, plan::<A>(Purpose::Read, begun)) {
                Entered::Lead(flight) => flight,
                // A load is under way: this call does not wait for it, and what it reads enters nothing.
                Entered::Apart => {
                    return self.read::<A>(key, &begun).await.map(|(entry, answer)| Answered::new(answer, Origin::L2, entry));
                }
                Entered::Join(flight) => {
                    // Twice what its leader can take, who comes to no limit of its own when nobody polls it.
                    let Ok(landed) = timeout(self.shared.config.read_limit.saturating_mul(2), flight).await else { return None };
                    match landed {
                        Landed::Lead(flight) => flight,
                        Landed::Outcome(Outcome::Entry(entry), flight) => match self.take(&entry, flight.noted(), &called) {
                            Some(answer) => return Some(Answered::brought(answer, entry)),
                            None => continue,
                        },
                        Landed::Outcome(..) => return None,
                        Landed::Anew => continue,
                    }
                }
            };
            let begun = *flight.noted();
            if options.looks_here()
                && let Some((entry, answer)) = self.still_held(key, &begun).await
            {
                flight.finish(Outcome::Entry(Arc::clone(&entry)), || entry.clear(begun.noted.epoch));
                return Some(Answered::new(answer, Origin::L1, entry));
            }
            match self.read::<A>(key, &begun).await {
                Some((entry, answer)) => {
                    self.land(flight, key, Arc::clone(&entry), options.writes.l1());
                    return Some(Answered::new(answer, Origin::L2, entry));
                }
                None => flight.finish(Outcome::Nothing, || {}),
            }
            return None;
        }
        None
    }

    /// Reads the shared tier and plants nothing.
    async fn read<A: Answer>(&self, key: Key<'_>, begun: &Begun) -> Option<(Arc<Entry>, A)> {
        let tier = self.readable_tier(key, begun, self.now())?;
        let held = tier.read(&tier.name(key.text)).await.ok()?;
        self.found(key, held, begun, self.moment())
    }

    /// What a key holds, if it is a value that can be used.
    pub(super) fn found<A: Answer>(
        &self,
        key: Key<'_>,
        held: Option<Vec<u8>>,
        begun: &Begun,
        at: Moment,
    ) -> Option<(Arc<Entry>, A)> {
        let counters = &self.instance().counters;
        let Some(held) = held else {
            counters.l2_misses.one();
            return None;
        };
        match Slot::of(&held) {
            Slot::Value { bytes, .. } => match self.open(key, bytes, self.shared.config.policy.as_ref(), begun, at) {
                Opened::Usable(entry, answer) => {
                    counters.l2_hits.one();
                    Some((entry, answer))
                }
                // Only who loads has a use for what is stale.
                Opened::Stale(_) => {
                    counters.l2_misses.one();
                    None
                }
                Opened::Unusable | Opened::LeftAlone | Opened::OtherShape => None,
            },
            Slot::Foreign => {
                self.tell_foreign(key);
                None
            }
            Slot::Ticket(_) | Slot::Hold => {
                counters.l2_misses.one();
                None
            }
        }
    }
}
