//! The strings of the tier and their expiry: what each command does to one key, as a Redis server and its scripts would do it.
//! Takes the time as an argument, knows no caller and never waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Millis, millis};
use crate::error::Fault;
use crate::l2::walk::{Doomed, READ, Selection, Swept, Verdict};
use crate::l2::{Claimed, Filled, LeaseCall, Leased, Prospect};
use crate::rule::hold::Hold;
use crate::rule::stamp::Stamp;
use crate::wire::wake::{MOST_WAITING, Mailbox, waiting};
use crate::wire::{envelope, hold, slot};

/// Below this many keys the dead are not looked for.
const SWEEP_FROM: usize = 1_024;

/// What one key holds.
#[derive(Clone, Debug)]
enum What {
    /// A string.
    Bytes(Vec<u8>),
    /// Some other type, which no string command touches.
    OtherType,
}

#[derive(Clone, Debug)]
struct Held {
    what: What,
    /// The first moment at which the key is gone.
    until: Millis,
}

impl Held {
    fn bytes(&self) -> Result<&[u8], Fault> {
        match &self.what {
            What::Bytes(bytes) => Ok(bytes),
            What::OtherType => Err(Fault::Foreign),
        }
    }
}

/// All keys of a tier.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    held: HashMap<String, Held>,
    /// The number of keys, dead ones included, at which the dead are thrown out. Doubles with the living, so that a sweep costs
    /// each insertion a constant.
    sweep_at: usize,
}

impl Keys {
    pub(super) fn new() -> Self {
        Self { held: HashMap::new(), sweep_at: SWEEP_FROM }
    }

    /// `SET key ticket NX GET PX lease`.
    pub(super) fn probe(&mut self, key: &str, ticket: Stamp, lease: Duration, now: Millis) -> Result<Option<Vec<u8>>, Fault> {
        let until = expiry(lease, now)?;
        if let Some(held) = self.live(key, now) {
            return Ok(Some(held.bytes()?.to_vec()));
        }
        self.plant(key, ticket, until, now);
        Ok(None)
    }

    /// `GET key`.
    pub(super) fn read(&self, key: &str, now: Millis) -> Result<Option<Vec<u8>>, Fault> {
        self.live(key, now).map(|held| held.bytes().map(<[u8]>::to_vec)).transpose()
    }

    /// Stores `value` where `seen` is the ticket; where the key begins like `value` already, an earlier copy of this call did.
    pub(super) fn fill(&mut self, key: &str, seen: Stamp, value: &[u8], life: Duration, now: Millis) -> Result<Filled, Fault> {
        self.swap(key, slot::prefix(slot::TICKET, seen), value, life, now)
    }

    /// [`Keys::fill`] where `seen` is a value.
    pub(super) fn refill(&mut self, key: &str, seen: Stamp, value: &[u8], life: Duration, now: Millis) -> Result<Filled, Fault> {
        self.swap(key, slot::prefix(slot::VALUE, seen), value, life, now)
    }

    fn swap(&mut self, key: &str, seen: [u8; slot::PREFIX], value: &[u8], life: Duration, now: Millis) -> Result<Filled, Fault> {
        let found = self.prefix(key, now)?;
        if found == Some(seen) {
            self.put(key, value.to_vec(), expiry(life, now)?, now);
            return Ok(Filled::Stored);
        }
        let ours = found.is_some_and(|found| found.first() == Some(&slot::VALUE) && value.starts_with(&found));
        Ok(if ours { Filled::Stored } else { Filled::Refused })
    }

    /// Takes, lengthens or gives back the lease of the value stamped `seen`.
    pub(super) fn lease(&mut self, key: &str, seen: Stamp, who: u8, call: LeaseCall, now: Millis) -> Result<Leased, Fault> {
        if self.prefix(key, now)? != Some(slot::prefix(slot::VALUE, seen)) {
            return Ok(Leased::Moved);
        }
        let Some(What::Bytes(bytes)) = self.held.get_mut(key).map(|held| &mut held.what) else { return Ok(Leased::Moved) };
        let Some((created, hard, ends)) = envelope::lease(bytes) else { return Ok(Leased::Moved) };
        let since = now.0.saturating_sub(created);
        let (over, holder) = (u64::from(ends & !0xff), ends.to_be_bytes()[3]);
        let refused = if matches!(call, LeaseCall::Take(_)) { over > since } else { holder != who };
        if refused {
            return Ok(Leased::Not);
        }
        if let LeaseCall::Take(time) = call
            && u64::from(hard).saturating_sub(since) < millis(time)
        {
            return Ok(Leased::Ending);
        }
        let upto = match call {
            LeaseCall::GiveBack => 0,
            call => envelope::lease_of(who, since.saturating_add(millis(call.time()))),
        };
        envelope::set_lease(bytes, upto);
        Ok(if upto == 0 { Leased::Not } else { Leased::Yes })
    }

    /// Lets the value stamped `seen` live anew, with another stamp and what may change of its header.
    pub(super) fn renew(
        &mut self,
        key: &str,
        (seen, stamp): (Stamp, Stamp),
        header: &[u8],
        life: Duration,
        now: Millis,
    ) -> Result<Filled, Fault> {
        let (found, until) = (self.prefix(key, now)?, expiry(life, now)?);
        if found == Some(slot::prefix(slot::VALUE, seen)) {
            if let Some(held) = self.held.get_mut(key)
                && let What::Bytes(bytes) = &mut held.what
            {
                envelope::renew(bytes, stamp, header);
                held.until = until;
            }
            return Ok(Filled::Stored);
        }
        Ok(if found == Some(slot::prefix(slot::VALUE, stamp)) { Filled::Stored } else { Filled::Refused })
    }

    /// Swaps the value stamped `seen` for `ticket`.
    pub(super) fn claim(&mut self, key: &str, seen: Stamp, ticket: Stamp, lease: Duration, now: Millis) -> Result<Claimed, Fault> {
        if self.prefix(key, now)? != Some(slot::prefix(slot::VALUE, seen)) {
            return Ok(Claimed::No);
        }
        self.plant(key, ticket, expiry(lease, now)?, now);
        Ok(Claimed::Yes)
    }

    /// Lets `ticket` live for another `lease` where it still stands.
    pub(super) fn extend(&mut self, key: &str, ticket: Stamp, lease: Duration, now: Millis) -> Result<(), Fault> {
        let until = expiry(lease, now)?;
        if self.prefix(key, now)? == Some(slot::prefix(slot::TICKET, ticket))
            && let Some(held) = self.held.get_mut(key)
        {
            held.until = until;
        }
        Ok(())
    }

    /// Writes a mailbox behind the ticket that the key holds.
    pub(super) fn wait(&mut self, key: &str, mailbox: Mailbox, now: Millis) -> Result<Prospect, Fault> {
        if self.first(key, now) != Some(slot::TICKET) {
            return Ok(Prospect::Not(self.read(key, now)?));
        }
        let Some(Held { what: What::Bytes(bytes), until }) = self.held.get_mut(key) else { return Ok(Prospect::Not(None)) };
        if !waiting(bytes).any(|told| told == mailbox) {
            if waiting(bytes).count() >= MOST_WAITING {
                return Ok(Prospect::Untold);
            }
            bytes.extend_from_slice(&mailbox.0);
        }
        Ok(Prospect::Told(now.until(*until)))
    }

    /// Who waits for the ticket that the key holds.
    pub(super) fn waiting(&self, key: &str, now: Millis) -> Vec<Mailbox> {
        self.live(key, now).and_then(|held| held.bytes().ok()).map(|bytes| waiting(bytes).collect()).unwrap_or_default()
    }

    /// Removes `ticket` where it still stands; says whether it did.
    pub(super) fn abandon(&mut self, key: &str, ticket: Stamp, now: Millis) -> Result<bool, Fault> {
        let stood = self.prefix(key, now)? == Some(slot::prefix(slot::TICKET, ticket));
        if stood {
            self.held.remove(key);
        }
        Ok(stood)
    }

    /// Removes what the key holds, unless a write guard holds it, whose hold is marked; says whether anything went.
    pub(super) fn drop_unless_held(&mut self, key: &str, now: Millis) -> bool {
        if self.on_hold(key, now) {
            if let Some(What::Bytes(bytes)) = self.held.get_mut(key).map(|held| &mut held.what) {
                hold::touch(bytes);
            }
            return false;
        }
        self.remove(key, now)
    }

    /// Makes the value that the key holds stale, under another stamp; drops whatever else it holds, unless a write guard does. Says whether it
    /// was a value.
    pub(super) fn expire(&mut self, key: &str, stamp: Stamp, now: Millis) -> bool {
        let alive = self.live(key, now).is_some();
        if let Some(What::Bytes(bytes)) = self.held.get_mut(key).map(|held| &mut held.what)
            && alive
            && envelope::expire(bytes, stamp)
        {
            return true;
        }
        self.drop_unless_held(key, now);
        false
    }

    /// Whether the guard may hold the key, too.
    pub(super) fn has_room_for(&self, key: &str, guard: Stamp, now: Millis) -> bool {
        self.hold(key, now).is_none_or(|hold| hold.has_room_for(guard, now))
    }

    /// Plants a guard's hold, in the place of anything but other guards'.
    pub(super) fn plant_hold(&mut self, key: &str, guard: Stamp, until: Millis, now: Millis) {
        let mut hold = self.hold(key, now).unwrap_or_default();
        hold.plant(guard, until, now);
        self.put_hold(key, &hold, now);
    }

    /// Takes a guard out of the key's hold; what is no hold any more is dropped. Says whether the guard still stood.
    pub(super) fn release_hold(&mut self, key: &str, guard: Stamp, lag_end: Option<Millis>, now: Millis) -> bool {
        let mut hold = self.hold(key, now).unwrap_or_default();
        let stood = hold.release(guard, lag_end, now);
        self.put_hold(key, &hold, now);
        stood
    }

    /// Swaps the hold for `ticket` if its guard has been alone on the key all the time, else releases it.
    pub(super) fn trade_hold(&mut self, key: &str, guard: Stamp, ticket: Stamp, until: Millis, now: Millis) -> bool {
        let planted = self.hold(key, now).is_some_and(|hold| hold.is_only(guard, now));
        if planted {
            self.plant(key, ticket, until, now);
        } else {
            self.release_hold(key, guard, None, now);
        }
        planted
    }

    fn hold(&self, key: &str, now: Millis) -> Option<Hold> {
        hold::read(self.live(key, now)?.bytes().ok()?)
    }

    fn put_hold(&mut self, key: &str, hold: &Hold, now: Millis) {
        match hold.end() {
            Some(end) => self.put(key, hold::write(hold), end, now),
            None => {
                self.remove(key, now);
            }
        }
    }

    /// Says whether a write guard holds the key.
    pub(super) fn on_hold(&self, key: &str, now: Millis) -> bool {
        self.first(key, now) == Some(slot::HOLD)
    }

    /// Puts `ticket` in the place of whatever the key holds.
    pub(super) fn plant(&mut self, key: &str, ticket: Stamp, until: Millis, now: Millis) {
        self.put(key, slot::prefix(slot::TICKET, ticket).to_vec(), until, now);
    }

    /// `SET key bytes`, by anybody.
    pub(super) fn put(&mut self, key: &str, bytes: Vec<u8>, until: Millis, now: Millis) {
        self.insert(key, Held { what: What::Bytes(bytes), until }, now);
    }

    /// Makes the key hold another type than a string, for ever.
    pub(super) fn put_other_type(&mut self, key: &str, now: Millis) {
        self.insert(key, Held { what: What::OtherType, until: Millis::NEVER }, now);
    }

    /// The names that are selected.
    pub(super) fn names(&self, selection: &Selection, now: Millis) -> Vec<Vec<u8>> {
        let living = self.held.iter().filter(|(name, held)| held.until > now && selection.finds(name.as_bytes()));
        living.map(|(name, _)| name.clone().into_bytes()).collect()
    }

    /// Deletes what is doomed of what stands under the names.
    pub(super) fn sweep(&mut self, names: &[Vec<u8>], doomed: Doomed, now: Millis) -> Swept {
        let mut swept = Swept::default();
        for name in names.iter().filter_map(|name| str::from_utf8(name).ok()) {
            let Some(held) = self.live(name, now) else { continue };
            let Ok(bytes) = held.bytes() else {
                swept.count(Verdict::Foreign, 0);
                continue;
            };
            let verdict = doomed.judge(bytes.get(..READ).unwrap_or(bytes));
            swept.count(verdict, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            if verdict == Verdict::Goes {
                self.held.remove(name);
            }
        }
        swept
    }

    /// `DEL key`; says whether something went.
    pub(super) fn remove(&mut self, key: &str, now: Millis) -> bool {
        self.held.remove(key).is_some_and(|held| held.until > now)
    }

    /// `FLUSHALL`.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// How many keys hold something.
    pub(super) fn count(&self, now: Millis) -> usize {
        self.held.values().filter(|held| held.until > now).count()
    }

    /// The first byte of the string that the key holds.
    pub(super) fn first(&self, key: &str, now: Millis) -> Option<u8> {
        self.live(key, now)?.bytes().ok()?.first().copied()
    }

    fn live(&self, key: &str, now: Millis) -> Option<&Held> {
        self.held.get(key).filter(|held| held.until > now)
    }

    /// Kind and stamp of what the key holds, if it is long enough to have them.
    fn prefix(&self, key: &str, now: Millis) -> Result<Option<[u8; slot::PREFIX]>, Fault> {
        let Some(held) = self.live(key, now) else { return Ok(None) };
        Ok(held.bytes()?.first_chunk().copied())
    }

    fn insert(&mut self, key: &str, held: Held, now: Millis) {
        if let Some(place) = self.held.get_mut(key) {
            *place = held;
            return;
        }
        if self.held.len() >= self.sweep_at {
            self.held.retain(|_, held| held.until > now);
            self.sweep_at = self.held.len().saturating_mul(2).max(SWEEP_FROM);
        }
        self.held.insert(key.to_owned(), held);
    }
}

/// The end of a life that begins now. A server refuses an expiry of no time, and one beyond the range of its signed clock.
pub(super) fn expiry(life: Duration, now: Millis) -> Result<Millis, Fault> {
    let (life, longest) = (millis(life), i64::MAX.unsigned_abs().saturating_sub(now.0));
    if life == 0 || life > longest {
        return Err(Fault::Refused(Arc::from("invalid expire time, expected 1 ms or more")));
    }
    Ok(Millis(now.0.saturating_add(life)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_expired_unseen_do_not_pile_up() {
        let mut keys = Keys::new();
        for i in 0..100_000_u64 {
            let now = Millis(i);
            let until = expiry(Duration::from_millis(10), now).expect("valid");
            keys.put(&format!("k{i}"), vec![1], until, now);
        }
        assert!(keys.held.len() <= SWEEP_FROM, "{} keys are kept, 10 of them alive", keys.held.len());
        assert_eq!(keys.count(Millis(99_999)), 10);
    }

    #[test]
    fn a_sweep_keeps_the_living() {
        let mut keys = Keys::new();
        for i in 0..5_000 {
            keys.put(&format!("k{i}"), vec![1], Millis::NEVER, Millis(1));
        }
        assert_eq!(keys.count(Millis(2)), 5_000);
    }
}
