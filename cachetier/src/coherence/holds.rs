//! Which keys this instance's own write guards hold, on this process's clock. What a load begins under one of them is kept nowhere,
//! whether the shared tier can be asked or not; without a shared tier these are all the holds there are.
//! What the shared tier holds for them is `l2`'s, who asks for it `cache/guard.rs`.
//!
//! An order matters: a guard stands here *before* it detaches the flights of its keys, and a load is registered *before* it looks
//! here. So a load that saw no guard is detached by the one that came.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::clock::Millis;
use crate::key::KeyHash;
use crate::rule::hold::Hold;
use crate::rule::stamp::Stamp;
use crate::sync::{Mutex, lock};

/// Below this many keys those whose hold has ended are not looked for.
const SWEEP_FROM: usize = 1_024;

/// The holds of one instance.
#[derive(Debug)]
pub(crate) struct Holds {
    held: Mutex<Held>,
    /// How many keys there are, so that a reader need not lock.
    len: AtomicUsize,
}

#[derive(Debug)]
struct Held {
    keys: HashMap<KeyHash, Hold>,
    /// The number of keys at which those are thrown out whose hold has ended. Doubles with the others.
    sweep_at: usize,
}

impl Holds {
    pub(crate) fn new() -> Self {
        Self { held: Mutex::new(Held { keys: HashMap::new(), sweep_at: SWEEP_FROM }), len: AtomicUsize::new(0) }
    }

    /// Lets a guard hold all of the keys, or none where one of them has no room. Planted again, it stands until then.
    pub(crate) fn plant(&self, keys: &[KeyHash], guard: Stamp, until: Millis, now: Millis) -> bool {
        self.change(|held| {
            let room = keys.iter().all(|key| held.keys.get(key).is_none_or(|hold| hold.has_room_for(guard, now)));
            if room {
                held.sweep(now);
                for key in keys {
                    held.keys.entry(*key).or_default().plant(guard, until, now);
                }
            }
            room
        })
    }

    /// Takes a guard out, or leaves it until the end of a lag.
    pub(crate) fn release(&self, keys: &[KeyHash], guard: Stamp, lag_end: Option<Millis>, now: Millis) {
        self.change(|held| {
            for key in keys {
                if lag_end.is_some() || held.keys.contains_key(key) {
                    held.keys.entry(*key).or_default().release(guard, lag_end, now);
                }
                held.forget_ended(*key);
            }
        });
    }

    /// Takes a guard out of a key. Says whether it has been alone on it all the time.
    pub(crate) fn trade(&self, key: KeyHash, guard: Stamp, now: Millis) -> bool {
        self.change(|held| {
            let Some(hold) = held.keys.get_mut(&key) else { return false };
            let only = hold.is_only(guard, now);
            hold.release(guard, None, now);
            held.forget_ended(key);
            only
        })
    }

    /// Marks the key's hold, if there is one, and says whether there is: somebody has changed it.
    pub(crate) fn touch(&self, key: KeyHash, now: Millis) -> bool {
        if self.len.load(Ordering::Acquire) == 0 {
            return false;
        }
        lock(&self.held).keys.get_mut(&key).is_some_and(|hold| {
            hold.lapse(now);
            hold.touched = true;
            hold.end().is_some()
        })
    }

    /// Whether a guard of this instance holds the key.
    pub(crate) fn covers(&self, key: KeyHash, now: Millis) -> bool {
        self.len.load(Ordering::Acquire) != 0 && lock(&self.held).keys.get(&key).and_then(Hold::end).is_some_and(|end| end > now)
    }

    fn change<R>(&self, act: impl FnOnce(&mut Held) -> R) -> R {
        let mut held = lock(&self.held);
        let result = act(&mut held);
        self.len.store(held.keys.len(), Ordering::Release);
        result
    }
}

impl Held {
    fn sweep(&mut self, now: Millis) {
        if self.keys.len() >= self.sweep_at {
            self.keys.retain(|_, hold| hold.end().is_some_and(|end| end > now));
            self.sweep_at = self.keys.len().saturating_mul(2).max(SWEEP_FROM);
        }
    }

    fn forget_ended(&mut self, key: KeyHash) {
        if self.keys.get(&key).is_some_and(|hold| hold.records.is_empty()) {
            self.keys.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_000);
    const LATER: Millis = Millis(2_000);
    const KEY: KeyHash = KeyHash(7);
    const ONE: Stamp = Stamp([1; 16]);

    #[test]
    fn a_key_is_held_until_its_guard_goes_or_ends() {
        let holds = Holds::new();
        assert!(holds.plant(&[KEY], ONE, LATER, NOW));
        assert!(holds.covers(KEY, NOW));
        assert!(!holds.covers(KeyHash(8), NOW));
        assert!(!holds.covers(KEY, LATER), "it has ended");
        holds.release(&[KEY], ONE, None, NOW);
        assert!(!holds.covers(KEY, NOW));
    }

    #[test]
    fn all_keys_are_held_or_none() {
        let holds = Holds::new();
        for name in 0..64 {
            assert!(holds.plant(&[KEY], Stamp([name; 16]), LATER, NOW));
        }
        assert!(!holds.plant(&[KeyHash(8), KEY], Stamp([99; 16]), LATER, NOW));
        assert!(!holds.covers(KeyHash(8), NOW));
        assert!(holds.plant(&[KEY], ONE, LATER, NOW), "one that stands there already needs no room");
    }

    #[test]
    fn holds_that_ended_unseen_do_not_pile_up() {
        let holds = Holds::new();
        for i in 0..100_000_u64 {
            assert!(holds.plant(&[KeyHash(u128::from(i))], ONE, Millis(i + 10), Millis(i)));
        }
        let kept = lock(&holds.held).keys.len();
        assert!(kept <= SWEEP_FROM, "{kept} keys are kept, 10 of them held");
    }

    #[test]
    fn who_had_company_or_was_touched_is_not_alone() {
        let holds = Holds::new();
        holds.plant(&[KEY], ONE, LATER, NOW);
        holds.plant(&[KEY], ONE, LATER, NOW);
        assert!(holds.trade(KEY, ONE, NOW));
        assert!(!holds.trade(KEY, ONE, NOW), "it is gone");
        holds.plant(&[KEY], ONE, LATER, NOW);
        assert!(holds.touch(KEY, NOW));
        assert!(!holds.trade(KEY, ONE, NOW));
        assert!(!holds.touch(KEY, NOW), "nobody holds it any more");
    }
}
